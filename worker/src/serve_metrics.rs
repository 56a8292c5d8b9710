//! The worker's HTTP endpoints: `/metrics` and `/healthz`.

use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::header::CONTENT_TYPE;
use axum::response::IntoResponse;
use axum::routing::get;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::error::WorkerError;
use crate::metrics::Metrics;

/// Starts serving on a task, which ends after `stop` is cancelled.
///
/// # Errors
/// If the address cannot be bound.
pub(crate) async fn start(
    addr: SocketAddr,
    metrics: Arc<Metrics>,
    stop: CancellationToken,
) -> Result<JoinHandle<()>, WorkerError> {
    let listener = tokio::net::TcpListener::bind(addr)
        .await
        .map_err(|source| WorkerError::Metrics { addr, source })?;
    let routes = Router::new()
        .route("/metrics", get(page))
        .route("/healthz", get(|| async { "ok\n" }))
        .with_state(metrics);
    Ok(tokio::spawn(async move {
        let serving = axum::serve(listener, routes).with_graceful_shutdown(async move { stop.cancelled().await });
        if let Err(error) = serving.await {
            tracing::warn!(%error, "metrics are no longer served");
        }
    }))
}

async fn page(State(metrics): State<Arc<Metrics>>) -> impl IntoResponse {
    let kind = "text/plain; version=0.0.4; charset=utf-8";
    ([(CONTENT_TYPE, kind)], metrics.page())
}
