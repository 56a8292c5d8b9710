//! Calls that no service answers. Each gets status `UNIMPLEMENTED` and a sentence that names the call.

use axum::extract::Request;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

/// Clients search for this text to find out that access control is off.
const NO_AUTH: &str = "the auth service is not activated";

/// The text of the generated stubs. It does not help a user, so a sentence replaces it.
const STUB: &str = "Not yet implemented";

const GRPC_STATUS: &str = "grpc-status";
const GRPC_MESSAGE: &str = "grpc-message";
const UNIMPLEMENTED: &str = "12";

/// Answers a call to an unknown service.
pub(super) async fn unknown_service(request: Request) -> Response {
    if !is_grpc(request.headers()) {
        return (
            StatusCode::NOT_FOUND,
            "not found; this port answers gRPC, /metrics, /healthz and /readyz\n",
        )
            .into_response();
    }
    unsupported(request.uri().path())
}

/// Returns the answer to a call to a method that does not exist.
pub fn unsupported(path: &str) -> Response {
    let mut response = StatusCode::OK.into_response();
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    headers.insert(GRPC_STATUS, HeaderValue::from_static(UNIMPLEMENTED));
    set_sentence(path, headers);
    response
}

/// Adds a sentence to every `UNIMPLEMENTED` that has none.
pub(super) async fn explain_unimplemented(request: Request, next: Next) -> Response {
    let path = request.uri().path().to_owned();
    let mut response = next.run(request).await;
    let headers = response.headers_mut();
    let unimplemented = headers.get(GRPC_STATUS).is_some_and(|status| status == UNIMPLEMENTED);
    if unimplemented && wants_sentence(headers) {
        set_sentence(&path, headers);
    }
    response
}

fn is_grpc(headers: &HeaderMap) -> bool {
    headers
        .get(header::CONTENT_TYPE)
        .is_some_and(|value| value.as_bytes().starts_with(b"application/grpc"))
}

fn wants_sentence(headers: &HeaderMap) -> bool {
    match headers.get(GRPC_MESSAGE) {
        None => true,
        Some(message) => {
            // Blanks may be percent-encoded.
            let message = message.to_str().unwrap_or_default().replace("%20", " ");
            message.is_empty() || message == STUB
        }
    }
}

fn set_sentence(path: &str, headers: &mut HeaderMap) {
    let text = sentence(path);
    // The path comes from the client, and may have characters that a header cannot have.
    let value = HeaderValue::from_str(&text).unwrap_or_else(|_| HeaderValue::from_static("this call is not supported"));
    headers.insert(GRPC_MESSAGE, value);
}

fn sentence(path: &str) -> String {
    let (service, call) = path.trim_start_matches('/').split_once('/').unwrap_or((path, ""));
    match service {
        "auth_v2.API" | "identity_v2.API" => NO_AUTH.to_owned(),
        "auth.API" | "pfs.API" | "pps.API" | "transaction.API" | "admin.API" | "version.API" | "versionpb.API" => {
            format!("{service} belongs to version 1 of the API; use a client of version 2")
        }
        _ => format!("{service}/{call} is not supported by this server"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sentence_names_the_call() {
        assert_eq!(
            sentence("/pps_v2.API/RunLoadTest"),
            "pps_v2.API/RunLoadTest is not supported by this server"
        );
        assert_eq!(sentence("/auth_v2.API/WhoAmI"), NO_AUTH);
        assert_eq!(sentence("/identity_v2.API/DeleteAll"), NO_AUTH);
    }
}
