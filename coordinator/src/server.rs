//! One port for everything: gRPC, `/metrics`, `/healthz`, `/readyz`.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use axum::extract::State as Extract;
use axum::http::StatusCode;
use axum::response::IntoResponse;
use axum::routing::get;
use howdah_api::file_broker::FileBroker;
use howdah_queue::Queue;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tonic::service::Routes;
use tonic::transport::Server;
use tonic::transport::server::TcpIncoming;

use crate::metadata::Core;
use crate::metrics;

/// What a client may send on one call before we have read it.
const STREAM_WINDOW_BYTES: u32 = 2 << 20;
/// The largest frame a client may send. Each costs a turn through the HTTP/2 library, whatever its size, and the default
/// is 16 KiB.
const FRAME_BYTES: u32 = 256 << 10;
/// The same for a whole connection. It also bounds how many small frames may wait: the HTTP/2 library counts 256
/// bytes for each of them against half of this, and hangs up beyond that. A put of many tiny files is one small
/// frame each, so with the default of 64 KiB it would be taken for an attack.
const CONNECTION_WINDOW_BYTES: u32 = 64 << 20;

/// Binds the address, or says what to do when that is not possible.
pub async fn bind(address: SocketAddr) -> anyhow::Result<TcpListener> {
    TcpListener::bind(address).await.map_err(|error| match error.kind() {
        std::io::ErrorKind::AddrInUse => anyhow::anyhow!(
            "port {} on {} is taken, perhaps by another Howdah: stop that one, or choose a port with --port",
            address.port(),
            address.ip()
        ),
        _ => anyhow::anyhow!("cannot listen on {address}: {error}"),
    })
}

/// Serves until `shutdown` is cancelled, then lets running calls finish for a moment.
pub async fn serve(listener: TcpListener, core: Core, queue: Queue, shutdown: CancellationToken) -> anyhow::Result<()> {
    metrics::touch();
    let (desk, taking) = lending_desk();
    let app = crate::services::router(core.clone(), Some(queue), desk).merge(http_routes(core));
    let stopped = shutdown.clone();
    let serving = Server::builder()
        .accept_http1(true)
        .initial_stream_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
        .max_frame_size(FRAME_BYTES)
        .add_routes(Routes::from(app))
        .serve_with_incoming_shutdown(
            // The builder's own setting does not reach connections of a listener that is handed in.
            TcpIncoming::from(listener).with_nodelay(Some(true)),
            async move { stopped.cancelled().await },
        );
    tokio::select! {
        result = serving => Ok(result?),
        never = taking => match never {},
        // Follow and wait calls stay open for hours: they are cut off after a grace period.
        () = async { shutdown.cancelled().await; tokio::time::sleep(std::time::Duration::from_millis(500)).await } => Ok(()),
    }
}

/// Opens the desk where clients on this machine may lend files, and returns what serves it as long as it is polled.
/// There is none where the system does not let us: clients send bytes then.
fn lending_desk() -> (Option<Arc<FileBroker>>, impl Future<Output = Infallible>) {
    let opened = FileBroker::open().inspect_err(|error| tracing::warn!(%error, "files cannot be lent on this machine"));
    let (desk, listener) = opened.ok().unzip();
    let serving = desk.clone().zip(listener);
    let taking = async move {
        if let Some((desk, listener)) = serving {
            match desk.serve(listener).await {}
        }
        std::future::pending().await
    };
    (desk, taking)
}

fn http_routes(core: Core) -> Router {
    Router::new()
        .route(
            "/metrics",
            get(|| async { ([("content-type", "text/plain; version=0.0.4")], metrics::render()) }),
        )
        .route("/healthz", get(|| async { "ok\n" }))
        .route("/readyz", get(ready))
        .with_state(core)
}

/// Ready means: the log can be written as far as known and somebody can do the work.
async fn ready(Extract(core): Extract<Core>) -> impl IntoResponse {
    let workers = core.live().workers.list().len();
    (StatusCode::OK, format!("ready, {workers} worker(s)\n"))
}
