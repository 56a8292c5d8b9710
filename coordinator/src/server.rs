//! One port for everything: gRPC, `/metrics`, `/healthz`, `/readyz`.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

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

/// Bytes that a client may send on one call before the server has read them.
const STREAM_WINDOW_BYTES: u32 = 2 << 20;
/// Largest frame that a client may send. Each costs a pass through the HTTP/2 library, whatever its size; the default is
/// 16 KiB.
const FRAME_BYTES: u32 = 256 << 10;
/// Bytes that a client may send on one connection before the server has read them. This also bounds how many small frames
/// may wait: the HTTP/2 library counts 256 bytes for each against half of this, and closes the connection beyond that. A
/// put of many tiny files sends one small frame for each, so the default of 64 KiB would end it.
const CONNECTION_WINDOW_BYTES: u32 = 64 << 20;
/// Silence on a connection after which the system asks whether the client's machine is still there. Without it, a follower
/// or a wait would be kept for ever if that machine, or the network, fails. Pings of HTTP/2 would do the same, but a
/// suspended client cannot answer them.
const KEEP_ALIVE_AFTER: Duration = Duration::from_secs(60);
/// Time between two such questions. After nine without an answer the connection is closed.
const KEEP_ALIVE_INTERVAL: Duration = Duration::from_secs(15);

/// Binds the address. The error says what to do.
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

/// Serves until `shutdown` is cancelled; running calls then get a short time to finish.
pub async fn serve(listener: TcpListener, core: Core, queue: Queue, shutdown: CancellationToken) -> anyhow::Result<()> {
    metrics::register_unlabelled();
    let (broker, accepting) = open_file_broker();
    let app = crate::services::router(core.clone(), Some(queue), broker).merge(http_routes(core));
    let stopped = shutdown.clone();
    let serving = Server::builder()
        .accept_http1(true)
        .initial_stream_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
        .max_frame_size(FRAME_BYTES)
        .add_routes(Routes::from(app))
        .serve_with_incoming_shutdown(
            // The builder's own settings do not apply to the connections of a listener that is passed in.
            TcpIncoming::from(listener)
                .with_nodelay(Some(true))
                .with_keepalive(Some(KEEP_ALIVE_AFTER))
                .with_keepalive_interval(Some(KEEP_ALIVE_INTERVAL)),
            async move { stopped.cancelled().await },
        );
    tokio::select! {
        result = serving => Ok(result?),
        never = accepting => match never {},
        // Calls that follow or wait stay open for hours, so a graceful shutdown would not end: they are cut off.
        () = async { shutdown.cancelled().await; tokio::time::sleep(Duration::from_millis(500)).await } => Ok(()),
    }
}

/// Opens the broker that takes open files from clients on this machine, and returns the future that serves it.
///
/// There is no broker where the system does not allow it; clients then send the bytes.
fn open_file_broker() -> (Option<Arc<FileBroker>>, impl Future<Output = Infallible>) {
    let opened = FileBroker::open()
        .inspect_err(|error| tracing::warn!(%error, "clients on this machine cannot pass open files, they send bytes"));
    let (broker, listener) = opened.ok().unzip();
    let serving = broker.clone().zip(listener);
    let accepting = async move {
        if let Some((broker, listener)) = serving {
            match broker.serve(listener).await {}
        }
        std::future::pending().await
    };
    (broker, accepting)
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

/// Answers 200 as soon as the server runs, with the number of connected workers. It checks neither the store nor NATS:
/// both were reachable before the server started, and while one of them cannot be reached later this still answers 200.
async fn ready(Extract(core): Extract<Core>) -> impl IntoResponse {
    let workers = core.live().workers.list().len();
    (StatusCode::OK, format!("ready, {workers} worker(s)\n"))
}
