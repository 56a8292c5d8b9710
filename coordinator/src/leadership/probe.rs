//! The question whether a coordinator leads, and its answer.
//!
//! `GET /leader` answers 200 with [`Leading`] at the leader, and 503 elsewhere. It is asked over plain HTTP on the port of the
//! API, without a name or token: the answer contains nothing that needs one.

use std::sync::Arc;
use std::time::Duration;

use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

/// Path of the question.
pub const PATH: &str = "/leader";

/// Longest time that one question may take.
const LIMIT: Duration = Duration::from_secs(1);
/// Most bytes of an answer that are read.
const MAX_ANSWER_BYTES: u64 = 4 << 10;

/// The answer of a coordinator that leads.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Leading {
    /// Number of its claim.
    pub epoch: u64,
    /// Number of the last record that it has written.
    pub last: u64,
}

/// Asks the coordinator at `address`, with TLS if there is a `tls`. Returns `None` if it does not answer in time, or does not lead.
pub async fn ask(address: &str, tls: Option<&Arc<ClientConfig>>) -> Option<Leading> {
    tokio::time::timeout(LIMIT, exchange(address, tls)).await.ok()?.ok()?
}

async fn exchange(address: &str, tls: Option<&Arc<ClientConfig>>) -> std::io::Result<Option<Leading>> {
    let connection = TcpStream::connect(address).await?;
    let Some(tls) = tls else {
        return exchange_over(connection, address).await;
    };
    let host = address.rsplit_once(':').map_or(address, |(host, _)| host);
    let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
    let name = ServerName::try_from(host).map_err(std::io::Error::other)?;
    let connection = TlsConnector::from(Arc::clone(tls)).connect(name, connection).await?;
    exchange_over(connection, address).await
}

async fn exchange_over(
    mut connection: impl AsyncRead + AsyncWrite + Unpin,
    address: &str,
) -> std::io::Result<Option<Leading>> {
    // One request on a connection of its own: a frozen process keeps its connections open, and only a new answer shows that
    // it lives.
    let request = format!("GET {PATH} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n\r\n");
    connection.write_all(request.as_bytes()).await?;
    let mut answer = Vec::new();
    connection.take(MAX_ANSWER_BYTES).read_to_end(&mut answer).await?;
    Ok(parse(&answer))
}

/// Reads the answer; `None` for any but a leader's.
fn parse(answer: &[u8]) -> Option<Leading> {
    let text = std::str::from_utf8(answer).ok()?;
    let (head, body) = text.split_once("\r\n\r\n")?;
    if head.split(' ').nth(1)? != "200" {
        return None;
    }
    serde_json::from_str(body.trim()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_answer_of_a_leader_counts() {
        let leading = Leading { epoch: 7, last: 9 };
        let body = serde_json::to_string(&leading).unwrap();
        let length = body.len();
        let answer = format!("HTTP/1.1 200 OK\r\ncontent-length: {length}\r\n\r\n{body}");
        assert_eq!(parse(answer.as_bytes()), Some(leading));
        for other in [
            "",
            "HTTP/1.1 200 OK\r\n\r\nok",
            "HTTP/1.1 503 No\r\n\r\n{\"epoch\":7,\"last\":9}",
            "SSH-2.0",
        ] {
            assert_eq!(parse(other.as_bytes()), None, "{other}");
        }
    }
}
