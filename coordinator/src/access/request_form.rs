//! What a request must look like.
//!
//! A web page that a user of this machine visits can make the browser send requests to this port. It can send forms and
//! texts over HTTP/1.1 without being asked, but not gRPC over HTTP/2 without an `Origin` header. So calls are refused that a
//! page could have sent. The caller does not matter here.

use axum::http::request::Parts;
use axum::http::{HeaderMap, Method, StatusCode, Version, header};
use std::net::IpAddr;

use super::hosts::Hosts;
use crate::leadership::probe;

/// Paths that are answered over plain HTTP, to everybody.
const PAGES: &[&str] = &["/metrics", "/healthz", "/readyz", probe::PATH];

/// What a request is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RequestKind {
    /// One of the pages.
    Page,
    /// A call of gRPC.
    Call,
}

/// Why a request is refused because of its form.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FormError {
    /// Status of the answer over plain HTTP.
    pub status: StatusCode,
    /// Label in the metrics.
    pub label: &'static str,
    /// A sentence for the user of the client.
    pub text: String,
}

/// Checks the form of a request on a connection to the address `connected_to`.
///
/// # Errors
/// When a web page could have sent it, or the port does not answer such requests.
pub fn check(request: &Parts, hosts: &Hosts, connected_to: IpAddr) -> Result<RequestKind, FormError> {
    check_host(request, hosts, connected_to)?;
    if PAGES.contains(&request.uri.path()) {
        return Ok(RequestKind::Page);
    }
    if request.headers.contains_key(header::ORIGIN) {
        return Err(FormError {
            status: StatusCode::FORBIDDEN,
            label: "origin",
            text: "calls from web pages are not accepted (the request has the header Origin)".to_owned(),
        });
    }
    if is_grpc(&request.headers) && request.version == Version::HTTP_2 {
        return Ok(RequestKind::Call);
    }
    Err(FormError {
        status: if request.method == Method::GET || request.method == Method::HEAD {
            StatusCode::NOT_FOUND
        } else {
            StatusCode::UNSUPPORTED_MEDIA_TYPE
        },
        label: "protocol",
        text: "not found; this port answers gRPC over HTTP/2, /metrics, /healthz and /readyz".to_owned(),
    })
}

/// Checks every name that the request gives to the server: there may be one in the URI and one in the headers.
fn check_host(request: &Parts, hosts: &Hosts, connected_to: IpAddr) -> Result<(), FormError> {
    let authority = request.uri.authority().map(|authority| Some(authority.as_str()));
    let headers = request
        .headers
        .get_all(header::HOST)
        .iter()
        .map(|value| value.to_str().ok());
    let mut named = 0;
    for name in authority.into_iter().chain(headers) {
        named += 1;
        if !name.is_some_and(|name| hosts.allow(name, connected_to)) {
            return Err(wrong_host(name.unwrap_or("?")));
        }
    }
    // Health checks of version 1.0 name none; browsers do not speak that version.
    if named == 0 && request.version != Version::HTTP_10 {
        return Err(wrong_host(""));
    }
    Ok(())
}

fn wrong_host(name: &str) -> FormError {
    FormError {
        status: StatusCode::FORBIDDEN,
        label: "host",
        text: format!(
            "this server is not called {name:?}: use its address, or start it with --host-name and the name that \
             clients use"
        ),
    }
}

/// Returns whether a request has a body of gRPC.
pub fn is_grpc(headers: &HeaderMap) -> bool {
    let rest = headers
        .get(header::CONTENT_TYPE)
        .and_then(|value| value.as_bytes().strip_prefix(b"application/grpc"));
    // Not `application/grpc-web`, which is made for web pages.
    rest.is_some_and(|rest| matches!(rest.first(), None | Some(b'+' | b';')))
}

#[cfg(test)]
mod tests {
    use axum::http::Request;

    use super::*;

    fn checked(
        version: Version,
        method: &str,
        uri: &str,
        headers: &[(&str, &str)],
    ) -> Result<RequestKind, &'static str> {
        let mut request = Request::builder().version(version).method(method).uri(uri);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let (parts, ()) = request.body(()).unwrap().into_parts();
        let here = IpAddr::from([127, 0, 0, 1]);
        check(&parts, &Hosts::default(), here).map_err(|error| error.label)
    }

    const CALL: &str = "http://localhost:30650/pps_v2.API/CreatePipeline";
    const GRPC: (&str, &str) = ("content-type", "application/grpc");

    #[test]
    fn clients_pass() {
        for form in ["application/grpc", "application/grpc+proto", "application/grpc;x=y"] {
            let call = checked(Version::HTTP_2, "POST", CALL, &[("content-type", form)]);
            assert_eq!(call, Ok(RequestKind::Call));
        }
        let host = [("host", "localhost:30650")];
        assert_eq!(
            checked(Version::HTTP_11, "GET", "/metrics", &host),
            Ok(RequestKind::Page)
        );
        assert_eq!(checked(Version::HTTP_10, "GET", "/readyz", &[]), Ok(RequestKind::Page));
    }

    #[test]
    fn what_a_web_page_can_send_is_refused() {
        let host = ("host", "localhost:30650");
        let text = ("content-type", "text/plain");
        let path = "/pps_v2.API/CreatePipeline";
        assert_eq!(checked(Version::HTTP_11, "POST", path, &[host, text]), Err("protocol"));
        assert_eq!(checked(Version::HTTP_11, "POST", path, &[host, GRPC]), Err("protocol"));
        assert_eq!(checked(Version::HTTP_2, "POST", CALL, &[text]), Err("protocol"));
        assert_eq!(checked(Version::HTTP_2, "POST", CALL, &[]), Err("protocol"));
        let web = ("content-type", "application/grpc-web+proto");
        assert_eq!(checked(Version::HTTP_2, "POST", CALL, &[web]), Err("protocol"));
        for origin in ["null", "http://localhost:30650", "https://evil.example"] {
            let with_origin = [GRPC, ("origin", origin)];
            assert_eq!(checked(Version::HTTP_2, "POST", CALL, &with_origin), Err("origin"));
        }
    }

    #[test]
    fn every_name_of_the_server_counts() {
        let evil = "http://evil.example:30650/pfs_v2.API/ListRepo";
        assert_eq!(checked(Version::HTTP_2, "POST", evil, &[GRPC]), Err("host"));
        let two = [GRPC, ("host", "evil.example")];
        assert_eq!(checked(Version::HTTP_2, "POST", CALL, &two), Err("host"));
        let two = [("host", "localhost"), ("host", "evil.example")];
        assert_eq!(checked(Version::HTTP_11, "GET", "/metrics", &two), Err("host"));
        assert_eq!(
            checked(Version::HTTP_11, "GET", "/metrics", &[("host", "evil.example")]),
            Err("host")
        );
        assert_eq!(checked(Version::HTTP_11, "GET", "/metrics", &[]), Err("host"));
    }
}
