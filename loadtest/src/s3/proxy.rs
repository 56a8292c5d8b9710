//! A proxy in front of an S3 server that delays every request and records it.
//!
//! Requests do not wait for each other, and bodies are streamed. Headers are not changed: the signature of a request
//! covers the `Host` header.

use std::net::Ipv4Addr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::Context;
use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::header::CONTENT_LENGTH;
use axum::http::uri::{Authority, PathAndQuery, Scheme};
use axum::http::{HeaderMap, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use axum::serve::ListenerExt;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use tokio::net::TcpListener;
use tokio_util::task::AbortOnDropHandle;

use super::traffic::{RequestKind, S3Request, key_of};

/// A running proxy. Dropping it stops it.
pub(super) struct Proxy {
    port: u16,
    shared: Arc<ProxyState>,
    _server: AbortOnDropHandle<()>,
}

struct ProxyState {
    server: Authority,
    latency: Duration,
    client: Client<HttpConnector, Body>,
    seen: Mutex<Vec<S3Request>>,
    /// Start of the times in the records.
    start: Instant,
}

impl Proxy {
    /// Starts a proxy for the server at a port of this machine.
    pub(super) async fn start(server_port: u16, latency: Duration) -> anyhow::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await;
        let listener = listener.context("no free port on 127.0.0.1 for the proxy")?;
        let port = listener.local_addr()?.port();
        let mut connector = HttpConnector::new();
        connector.set_nodelay(true);
        let shared = Arc::new(ProxyState {
            server: format!("127.0.0.1:{server_port}").parse()?,
            latency,
            client: Client::builder(TokioExecutor::new()).build(connector),
            seen: Mutex::default(),
            start: Instant::now(),
        });
        let service = Router::new().fallback(forward).with_state(Arc::clone(&shared));
        let listener = listener.tap_io(|connection| {
            // Otherwise delayed acknowledgements would add more latency than the benchmark simulates.
            let _ = connection.set_nodelay(true);
        });
        let server = tokio::spawn(async move {
            // The future ends only with an error of the listener; then clients fail, and the benchmark with them.
            let _ = axum::serve(listener, service).await;
        });
        Ok(Self {
            port,
            shared,
            _server: AbortOnDropHandle::new(server),
        })
    }

    /// Returns the URL for the clients of the server.
    pub(super) fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// Returns the requests that were answered since the last call.
    pub(super) fn take(&self) -> Vec<S3Request> {
        std::mem::take(&mut self.shared.seen())
    }
}

impl ProxyState {
    fn seen(&self) -> MutexGuard<'_, Vec<S3Request>> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn forward(State(shared): State<Arc<ProxyState>>, request: Request) -> Response {
    let began = shared.start.elapsed();
    let kind = RequestKind::of(request.method(), request.uri());
    let key = key_of(request.uri());
    tokio::time::sleep(shared.latency).await;
    let bytes_up = length(request.headers());
    let (mut head, body) = request.into_parts();
    head.uri = to_server(&shared.server, head.uri);
    let answer = shared.client.request(Request::from_parts(head, body)).await;
    let response = match answer {
        Ok(answer) => answer.map(Body::new),
        Err(error) => {
            let text = format!("the S3 server does not answer: {error}");
            (StatusCode::BAD_GATEWAY, text).into_response()
        }
    };
    let bytes_down = match kind {
        // The answer has the length of the object in its header, and no body.
        RequestKind::Head => 0,
        _ => length(response.headers()),
    };
    let asked = S3Request {
        kind,
        key,
        status: response.status().as_u16(),
        bytes_up,
        bytes_down,
        began,
        ended: shared.start.elapsed(),
    };
    shared.seen().push(asked);
    response
}

/// Returns the length of a body according to its headers; bodies are not changed, so it is the number of bytes sent.
fn length(headers: &HeaderMap) -> u64 {
    let length = headers.get(CONTENT_LENGTH).and_then(|length| length.to_str().ok());
    length.and_then(|length| length.parse().ok()).unwrap_or(0)
}

fn to_server(server: &Authority, asked: Uri) -> Uri {
    let mut parts = asked.into_parts();
    parts.scheme = Some(Scheme::HTTP);
    parts.authority = Some(server.clone());
    parts
        .path_and_query
        .get_or_insert_with(|| PathAndQuery::from_static("/"));
    Uri::from_parts(parts).unwrap_or_default()
}
