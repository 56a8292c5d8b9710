//! Sends calls to the leader, and its answers back.
//!
//! A call is not looked into: its messages pass as the bytes that they are. When the leader dies, the connection to it ends,
//! also if only the machine or the network died (keep-alive), and the client gets `UNAVAILABLE`, after which clients try again.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::Request;
use axum::http::uri::{PathAndQuery, Scheme};
use axum::http::{Uri, Version, header};
use axum::response::Response;
use howdah_api::client::TOKEN_HEADER;
use howdah_api::retry::RetryHint;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use rustls::{ClientConfig, RootCertStore};
use tonic::Status;

use super::peer_key::{FORWARDED, LeaderEpoch, PeerKey};
use crate::caller::Caller;

/// Longest time for connecting.
const CONNECT_LIMIT: Duration = Duration::from_secs(2);
/// Pause between two signs of life that are asked of the leader, and the longest wait for one.
const KEEP_ALIVE: Duration = Duration::from_secs(2);
/// Bytes of one call that may be on their way.
const STREAM_WINDOW_BYTES: u32 = 2 << 20;
/// Bytes of all calls that may be on their way.
const CONNECTION_WINDOW_BYTES: u32 = 16 << 20;

/// Sends calls to another coordinator. A clone shares the connections.
#[derive(Clone)]
pub struct Forwarder {
    client: Client<HttpsConnector<HttpConnector>, Body>,
    scheme: Scheme,
    key: PeerKey,
}

impl Forwarder {
    /// Makes a forwarder without connections; it signs calls with `key`, and encrypts them if there is a `tls`.
    pub fn unconnected(key: PeerKey, tls: Option<Arc<ClientConfig>>) -> Self {
        let mut connector = HttpConnector::new();
        connector.set_connect_timeout(Some(CONNECT_LIMIT));
        connector.set_nodelay(true);
        // Otherwise it refuses addresses with the scheme https before the connection is made.
        connector.enforce_http(false);
        let scheme = if tls.is_some() { Scheme::HTTPS } else { Scheme::HTTP };
        let tls = tls.map_or_else(without_roots, |tls| (*tls).clone());
        let connector = HttpsConnectorBuilder::new()
            .with_tls_config(tls)
            .https_or_http()
            .enable_http2()
            .wrap_connector(connector);
        let client = Client::builder(TokioExecutor::new())
            .timer(TokioTimer::new())
            .http2_only(true)
            .http2_initial_stream_window_size(STREAM_WINDOW_BYTES)
            .http2_initial_connection_window_size(CONNECTION_WINDOW_BYTES)
            .http2_keep_alive_interval(KEEP_ALIVE)
            .http2_keep_alive_timeout(KEEP_ALIVE)
            .build(connector);
        Self { client, scheme, key }
    }

    /// Sends a call to the coordinator that leads in `epoch`, at the address `leader`, and returns its answer. The caller is
    /// an extension of the request; a call without one is for everybody.
    pub async fn forward(&self, leader: &str, epoch: LeaderEpoch, call: Request) -> Response {
        let (mut parts, body) = call.into_parts();
        // Only once: two coordinators that take each other for the leader would send the call to and fro.
        if parts.headers.contains_key(FORWARDED) {
            return unavailable(RetryHint::Always, "this coordinator does not lead any more");
        }
        let Ok(address) = leader.parse() else {
            let text = format!("the leader's address {leader:?} is not HOST:PORT (--advertise)");
            return unavailable(RetryHint::Always, &text);
        };
        let mut uri = parts.uri.into_parts();
        uri.scheme = Some(self.scheme.clone());
        uri.authority = Some(address);
        uri.path_and_query.get_or_insert(PathAndQuery::from_static("/"));
        let Ok(uri) = Uri::from_parts(uri) else {
            return unavailable(RetryHint::Always, "the call has no path");
        };
        parts.uri = uri;
        parts.version = Version::HTTP_2;
        parts.headers.remove(header::HOST);
        // The leader needs no token: this coordinator has checked it.
        parts.headers.remove(TOKEN_HEADER);
        let caller = parts.extensions.remove::<Caller>().unwrap_or_else(Caller::anonymous);
        let Some(signature) = self.key.sign(parts.uri.path(), &caller, epoch) else {
            return unavailable(RetryHint::Always, "the name of the caller cannot be sent");
        };
        for (name, value) in signature {
            parts.headers.insert(name, value);
        }
        match self.client.request(Request::from_parts(parts, body)).await {
            Ok(answer) => answer.map(Body::new),
            Err(error) => {
                let hint = if error.is_connect() {
                    RetryHint::Always
                } else {
                    RetryHint::IfRead
                };
                let text = howdah_telemetry::error_chain(&error);
                unavailable(
                    hint,
                    &format!("the leading coordinator at {leader} cannot be reached: {text}"),
                )
            }
        }
    }
}

/// Returns settings of TLS for a connector that makes no encrypted connection.
fn without_roots() -> ClientConfig {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("the provider supports the default versions")
        .with_root_certificates(RootCertStore::empty())
        .with_no_client_auth()
}

/// Answers a call with `UNAVAILABLE` and whether clients may repeat it.
pub fn unavailable(hint: RetryHint, reason: &str) -> Response {
    hint.mark(Status::unavailable(format!("{reason}; try again in a moment")))
        .into_http()
}
