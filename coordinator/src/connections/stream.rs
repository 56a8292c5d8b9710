//! The bytes of one connection, with or without TLS.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::server::TlsStream;
use tonic::transport::server::Connected;

use super::registry::{Connection, Place};

/// How a connection of HTTP/2 begins.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Where the bytes come from.
pub enum Transport {
    /// The socket itself.
    Plain(TcpStream),
    /// A socket whose bytes are encrypted.
    Tls(Box<TlsStream<TcpStream>>),
}

/// Calls a method of the transport in use.
macro_rules! transport {
    ($stream:expr, $io:ident => $call:expr) => {
        match &mut $stream.io {
            Transport::Plain($io) => $call,
            Transport::Tls($io) => $call,
        }
    };
}

/// A connection that is ready for HTTP.
pub struct Stream {
    io: Transport,
    connection: Arc<Connection>,
    /// Bytes of [`PREFACE`] that have come; `None` once it is complete, or the connection does not begin with it.
    preface: Option<usize>,
    /// Frees the place of the connection after its descriptor is closed: fields are dropped in order.
    _place: Place,
}

impl Stream {
    /// Makes the stream of a connection that has `place`.
    pub fn new(io: Transport, connection: Arc<Connection>, place: Place) -> Self {
        Self {
            io,
            connection,
            preface: Some(0),
            _place: place,
        }
    }
}

/// Returns how much of the preface has come, after `seen` bytes of it and then `bytes`.
fn preface_after(seen: usize, bytes: &[u8]) -> Option<usize> {
    let rest = PREFACE.get(seen..)?;
    (bytes.len() < rest.len() && rest.starts_with(bytes)).then_some(seen + bytes.len())
}

fn closed() -> io::Error {
    io::Error::new(io::ErrorKind::ConnectionAborted, "closed by the server")
}

impl AsyncRead for Stream {
    fn poll_read(self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.connection.poll_closed(context) {
            return Poll::Ready(Err(closed()));
        }
        let filled = buffer.filled().len();
        let read = transport!(this, io => Pin::new(io).poll_read(context, buffer));
        if let (Poll::Ready(Ok(())), Some(seen)) = (&read, this.preface) {
            this.preface = preface_after(seen, buffer.filled().get(filled..).unwrap_or_default());
            if this.preface.is_none() {
                this.connection.set_preface();
            }
        }
        read
    }
}

impl AsyncWrite for Stream {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        if this.connection.is_closed() {
            return Poll::Ready(Err(closed()));
        }
        transport!(this, io => Pin::new(io).poll_write(context, bytes))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        if this.connection.is_closed() {
            return Poll::Ready(Err(closed()));
        }
        transport!(this, io => Pin::new(io).poll_write_vectored(context, slices))
    }

    fn is_write_vectored(&self) -> bool {
        match &self.io {
            Transport::Plain(io) => io.is_write_vectored(),
            Transport::Tls(io) => io.is_write_vectored(),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        transport!(self.get_mut(), io => Pin::new(io).poll_flush(context))
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        transport!(self.get_mut(), io => Pin::new(io).poll_shutdown(context))
    }
}

impl Connected for Stream {
    type ConnectInfo = Arc<Connection>;

    fn connect_info(&self) -> Arc<Connection> {
        Arc::clone(&self.connection)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_of_the_preface_is_not_enough() {
        assert_eq!(preface_after(0, b""), Some(0));
        assert_eq!(preface_after(0, b"PRI"), Some(3));
        assert_eq!(preface_after(3, b" * HTTP/2.0\r\n"), Some(16));
        assert_eq!(preface_after(16, b"\r\nSM\r\n\r\n"), None);
        assert_eq!(preface_after(0, b"GET / HTTP/1.1"), None);
        assert_eq!(preface_after(1, b"OST"), None);
        assert_eq!(preface_after(0, &[PREFACE, b"\0\0\0"].concat()), None);
    }
}
