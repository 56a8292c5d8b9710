//! A proxy in front of an S3 server that holds every request up for a while and remembers what was asked.
//!
//! Requests do not wait for each other, and bodies pass through as they come. Headers stay as they are: the
//! signature of a request covers the `Host` that the client spoke to.

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

use super::traffic::{Asked, Kind, key_of};

/// A running proxy. Dropping it stops it.
pub struct Proxy {
    port: u16,
    shared: Arc<Shared>,
    _server: AbortOnDropHandle<()>,
}

struct Shared {
    server: Authority,
    latency: Duration,
    client: Client<HttpConnector, Body>,
    seen: Mutex<Vec<Asked>>,
    /// Since when moments are counted.
    start: Instant,
}

impl Proxy {
    /// Starts a proxy for the server at a port of this machine.
    pub async fn start(server_port: u16, latency: Duration) -> anyhow::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await;
        let listener = listener.context("no free port on 127.0.0.1 for the proxy")?;
        let port = listener.local_addr()?.port();
        let mut connector = HttpConnector::new();
        connector.set_nodelay(true);
        let shared = Arc::new(Shared {
            server: format!("127.0.0.1:{server_port}").parse()?,
            latency,
            client: Client::builder(TokioExecutor::new()).build(connector),
            seen: Mutex::default(),
            start: Instant::now(),
        });
        let service = Router::new().fallback(forward).with_state(Arc::clone(&shared));
        let listener = listener.tap_io(|connection| {
            // Without it, nothing but added latency: delayed acknowledgements take longer than what is simulated.
            let _ = connection.set_nodelay(true);
        });
        let server = tokio::spawn(async move {
            // Serving never ends by itself.
            let _ = axum::serve(listener, service).await;
        });
        Ok(Self {
            port,
            shared,
            _server: AbortOnDropHandle::new(server),
        })
    }

    /// Returns the URL that clients of the server are to use.
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// Returns the requests that were answered since this was last called.
    pub fn take(&self) -> Vec<Asked> {
        std::mem::take(&mut self.shared.seen())
    }
}

impl Shared {
    fn seen(&self) -> MutexGuard<'_, Vec<Asked>> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn forward(State(shared): State<Arc<Shared>>, request: Request) -> Response {
    let began = shared.start.elapsed();
    let kind = Kind::of(request.method(), request.uri());
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
        // It tells how long the object is, and sends nothing.
        Kind::Head => 0,
        _ => length(response.headers()),
    };
    let asked = Asked {
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

/// Returns the length that headers give for the body; bodies pass untouched, so it is what travels.
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
