//! A call that panics is answered with `INTERNAL` and the id under which the log has the panic; other calls go on.

use axum::extract::Request;
use axum::middleware::Next;
use axum::response::Response;
use tonic::Status;

use crate::panics::{Panic, catch_task_panic};

/// Returns the status of a call that panicked. The message of the panic is only in the log.
pub(super) fn internal(panic: &Panic) -> Status {
    Status::internal(format!(
        "internal error of the server; its log says more under {}",
        panic.id
    ))
}

/// Answers a call, also if it panics before its reply begins. Streamed replies do so themselves, see `reply`.
pub(super) async fn answer_panics(request: Request, next: Next) -> Response {
    let path = request.uri().path().to_owned();
    match catch_task_panic(&path, next.run(request)).await {
        Ok(response) => response,
        Err(panic) => internal(&panic).into_http(),
    }
}

#[cfg(test)]
mod tests {
    use axum::Router;
    use axum::body::Body;
    use axum::routing::get;
    use tower::ServiceExt;

    use super::*;

    #[tokio::test]
    async fn a_call_that_panics_is_answered_with_an_id() {
        async fn call() -> &'static str {
            panic!("secret detail")
        }
        let routes = Router::new()
            .route("/call", get(call))
            .layer(axum::middleware::from_fn(answer_panics));
        let request = Request::get("/call").body(Body::empty()).expect("a request");
        let answer = routes.oneshot(request).await.expect("an answer");
        assert_eq!(answer.headers()["grpc-status"], "13");
        let message = answer.headers()["grpc-message"].to_str().expect("text");
        assert!(message.contains("log%20says%20more%20under"), "{message}");
        assert!(!message.contains("secret"), "{message}");
    }
}
