//! The loop that accepts connections.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use nix::sys::socket::setsockopt;
use nix::sys::socket::sockopt::{KeepAlive, TcpKeepIdle, TcpKeepInterval};
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio_rustls::TlsAcceptor;

use super::facts::PREFACE_LIMIT;
use super::registry::{Connection, Place, Registry, UserId};
use super::socket_owner::user_of;
use super::stream::{Stream, Transport};
use crate::metrics;
use crate::tls::Tls;

/// Pause after a failure to accept, for example because too many files are open. Without it, the loop would keep one
/// processor busy until some are closed.
const FAILURE_PAUSE: Duration = Duration::from_millis(200);
/// Pause between two log lines about the same trouble.
const LOG_PAUSE: Duration = Duration::from_secs(10);
/// Silence on a connection after which the system asks whether the machine at the other end is still there.
const KEEP_ALIVE_AFTER_SECONDS: u32 = 60;
/// Seconds between two such questions. After nine without an answer the connection is closed.
const KEEP_ALIVE_INTERVAL_SECONDS: u32 = 15;

/// Decides whether a connection of a user of this machine is known before its first call.
pub type KnowsUser = Arc<dyn Fn(Option<UserId>) -> bool + Send + Sync>;

/// First byte of a connection with TLS.
const TLS_HANDSHAKE: u8 = 22;
/// Answer to a client that sends a request without TLS.
const NEEDS_TLS: &[u8] = b"HTTP/1.1 400 Bad Request\r\nconnection: close\r\ncontent-length: 56\r\n\r\n\
                           this port speaks TLS: use a grpcs:// or https:// address";

/// How connections are set up.
#[derive(Clone)]
pub struct Setup {
    /// Decides whether a connection is known before its first call.
    pub knows: KnowsUser,
    /// The certificate; without one, connections are not encrypted.
    pub tls: Option<Arc<Tls>>,
}

/// Accepts connections and sends them on when they are ready, until the receiver is gone.
pub async fn accept(listener: TcpListener, registry: Registry, setup: Setup, ready: mpsc::Sender<Stream>) {
    let (mut full, mut failed) = (LogLimit::default(), LogLimit::default());
    while !ready.is_closed() {
        let place = registry.place(|limit| {
            if let Some(times) = full.admit() {
                tracing::warn!(
                    limit,
                    times,
                    "every connection has a running call: new ones wait (--max-connections)"
                );
            }
        });
        let place = place.await;
        match listener.accept().await {
            Ok((socket, peer)) => {
                let (setup, ready) = (setup.clone(), ready.clone());
                tokio::spawn(async move {
                    match prepare(socket, peer, place, &setup).await {
                        // An error means that the server stops.
                        Ok(stream) => drop(ready.send(stream).await),
                        Err(error) => tracing::debug!(%error, %peer, "connection lost while it was set up"),
                    }
                });
            }
            Err(error) if is_of_one_connection(&error) => {}
            Err(error) => {
                metrics::ACCEPT_FAILURES.inc();
                if let Some(times) = failed.admit() {
                    tracing::error!(%error, times, "connections cannot be accepted, trying again");
                }
                tokio::time::sleep(FAILURE_PAUSE).await;
            }
        }
    }
}

async fn prepare(socket: TcpStream, peer: SocketAddr, place: Place, setup: &Setup) -> io::Result<Stream> {
    socket.set_nodelay(true)?;
    setsockopt(&socket, KeepAlive, &true)?;
    setsockopt(&socket, TcpKeepIdle, &KEEP_ALIVE_AFTER_SECONDS)?;
    setsockopt(&socket, TcpKeepInterval, &KEEP_ALIVE_INTERVAL_SECONDS)?;
    let local = socket.local_addr()?;
    let user = user_of(peer, local);
    let connection = Arc::new(Connection::new(peer, local, user, (setup.knows)(user)));
    place.enter(&connection);
    let io = match &setup.tls {
        None => Transport::Plain(socket),
        Some(tls) => tokio::time::timeout(PREFACE_LIMIT, encrypt(socket, tls)).await??,
    };
    Ok(Stream::new(io, connection, place))
}

async fn encrypt(mut socket: TcpStream, tls: &Tls) -> io::Result<Transport> {
    let mut first = [0];
    socket.peek(&mut first).await?;
    if first != [TLS_HANDSHAKE] {
        socket.write_all(NEEDS_TLS).await?;
        socket.shutdown().await?;
        return Err(io::Error::new(
            io::ErrorKind::InvalidData,
            "the client does not speak TLS",
        ));
    }
    let encrypted = TlsAcceptor::from(tls.server()).accept(socket).await?;
    Ok(Transport::Tls(Box::new(encrypted)))
}

/// Returns whether a failure to accept concerns one connection, which its client has given up.
fn is_of_one_connection(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset | io::ErrorKind::Interrupted
    )
}

/// Bounds log lines about one kind of trouble.
#[derive(Debug, Default)]
pub struct LogLimit {
    last: Option<Instant>,
    times: u64,
}

impl LogLimit {
    /// Counts an event. Returns the number of events since the last line, if a line is due.
    pub fn admit(&mut self) -> Option<u64> {
        self.times += 1;
        if self.last.is_some_and(|last| last.elapsed() < LOG_PAUSE) {
            return None;
        }
        self.last = Some(Instant::now());
        Some(std::mem::take(&mut self.times))
    }
}
