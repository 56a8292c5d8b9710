//! One port for everything: gRPC and the pages of [`pages`].

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use howdah_api::file_broker::FileBroker;
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio_stream::StreamExt;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::service::Routes;
use tonic::transport::Server;

use crate::access::gate::Gate;
use crate::connections::accept::{Setup, accept};
use crate::connections::registry::Registry;
use crate::leadership::role::RoleReader;
use crate::tls::Tls;
use crate::{metrics, pages};

/// Bytes that a client may send on one call before the server has read them.
const STREAM_WINDOW_BYTES: u32 = 2 << 20;
/// Largest frame that a client may send. Each costs a pass through the HTTP/2 library, whatever its size; the default is
/// 16 KiB.
const FRAME_BYTES: u32 = 256 << 10;
/// Bytes that a client may send on one connection before the server has read them. This also bounds how many small frames
/// may wait: the HTTP/2 library counts 256 bytes for each against half of this, and closes the connection beyond that. A
/// put of many tiny files sends one small frame for each, so the default of 64 KiB would end it.
const CONNECTION_WINDOW_BYTES: u32 = 64 << 20;
/// Calls that a client may have open on one connection. It waits with further ones.
const CONNECTION_CALLS: u32 = 1000;
/// Pause between two pings of HTTP/2. A client that does not answer is gone, or hangs: its calls are ended.
const PING_INTERVAL: Duration = Duration::from_secs(60);
/// Longest wait for the answer. A user may have suspended the client for a moment.
const PING_LIMIT: Duration = Duration::from_secs(120);
/// Connections that are accepted and wait for the HTTP server.
const READY_CONNECTIONS: usize = 64;

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

/// Serves until `shutdown` is cancelled; running calls then get a short time to finish. `accepting` serves the file broker.
///
/// # Errors
/// When the HTTP server fails.
pub async fn serve(
    listener: TcpListener,
    registry: Registry,
    role: RoleReader,
    gate: Gate,
    tls: Option<Arc<Tls>>,
    accepting: impl Future<Output = Infallible>,
    shutdown: CancellationToken,
) -> anyhow::Result<()> {
    metrics::register_unlabelled();
    let stopped = shutdown.clone();
    let (ready, connections) = mpsc::channel(READY_CONNECTIONS);
    let peers = tls.as_deref().map(Tls::client).transpose()?.map(Arc::new);
    let setup = Setup {
        knows: gate.trust(),
        tls,
    };
    // Ends before running calls do, so that the port is free at once.
    let accepting_connections = shutdown.run_until_cancelled(accept(listener, registry.clone(), setup, ready));
    let serving = Server::builder()
        .accept_http1(true)
        .initial_stream_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
        .max_frame_size(FRAME_BYTES)
        .max_concurrent_streams(CONNECTION_CALLS)
        .http2_keepalive_interval(Some(PING_INTERVAL))
        .http2_keepalive_timeout(Some(PING_LIMIT))
        .add_routes(Routes::from(pages::router(role, gate, peers)))
        .serve_with_incoming_shutdown(ReceiverStream::new(connections).map(Ok::<_, Infallible>), async move {
            stopped.cancelled().await
        });
    let serving = async {
        let mut serving = std::pin::pin!(serving);
        tokio::select! {
            result = &mut serving => result,
            _ = accepting_connections => serving.await,
        }
    };
    tokio::select! {
        result = serving => Ok(result?),
        () = registry.sweep() => Ok(()),
        never = accepting => match never {},
        // Calls that follow or wait stay open for hours, so a graceful shutdown would not end: they are cut off.
        () = async { shutdown.cancelled().await; tokio::time::sleep(Duration::from_millis(500)).await } => Ok(()),
    }
}

/// Opens the broker that takes open files from clients on this machine, and returns the future that serves it.
///
/// There is no broker where the system does not allow it; clients then send the bytes.
pub fn open_file_broker() -> (Option<Arc<FileBroker>>, impl Future<Output = Infallible>) {
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
