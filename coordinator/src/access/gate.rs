//! The layer through which every request passes.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::body::Body;
use axum::extract::{Request, State as Extract};
use axum::http::StatusCode;
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use tonic::Status;

use super::body::{BoundedBody, CallBody};
use super::callers::Callers;
use super::hosts::Hosts;
use super::request_form::{self, RequestKind, is_grpc};
use super::table::{Rule, rule};
use crate::connections::accept::{KnowsUser, LogLimit};
use crate::connections::registry::Connection;
use crate::leadership::peer_key::{FORWARDED, PeerKey};
use crate::metrics;
use crate::services::unsupported;

/// What the layer decides by.
pub struct Gate {
    /// Names of this server.
    pub hosts: Hosts,
    /// Everybody who may call.
    pub callers: Arc<Callers>,
    /// Knows the calls that other coordinators forward.
    pub peer_key: PeerKey,
    /// Longest silence of a client in the middle of a call.
    pub silence: Duration,
    log: Mutex<LogLimit>,
}

/// Why a request is refused.
struct Refusal {
    label: &'static str,
    http: StatusCode,
    grpc: Status,
}

impl Gate {
    /// Makes the layer.
    pub fn new(hosts: Hosts, callers: Callers, peer_key: PeerKey, silence: Duration) -> Self {
        Self {
            hosts,
            callers: Arc::new(callers),
            peer_key,
            silence,
            log: Mutex::default(),
        }
    }

    /// Returns what decides whether a user of this machine needs no token.
    pub fn trust(&self) -> KnowsUser {
        let callers = Arc::clone(&self.callers);
        Arc::new(move |user| callers.trust(user))
    }

    /// Checks a request. A call gets its caller as an extension; pages have none.
    fn check(&self, request: Request, connection: &Connection) -> Result<(RequestKind, Request), Refusal> {
        let (mut parts, body) = request.into_parts();
        let kind = request_form::check(&parts, &self.hosts, connection.local.ip()).map_err(|error| Refusal {
            label: error.label,
            http: error.status,
            grpc: Status::permission_denied(error.text),
        })?;
        if kind == RequestKind::Page {
            return Ok((kind, Request::from_parts(parts, body)));
        }
        let unknown_caller = |text: String| Refusal {
            label: "caller",
            http: StatusCode::UNAUTHORIZED,
            grpc: Status::unauthenticated(text),
        };
        let path = parts.uri.path();
        if rule(path) != Some(Rule::Everybody) {
            let caller = if parts.headers.contains_key(FORWARDED) {
                let call = self.peer_key.verify(path, &parts.headers).map_err(unknown_caller)?;
                parts.extensions.insert(call.epoch);
                call.caller
            } else {
                self.callers
                    .caller(connection, &parts.headers)
                    .map_err(unknown_caller)?
            };
            connection.set_known();
            parts.extensions.insert(caller);
        }
        let body = Body::new(BoundedBody::new(body, self.silence));
        Ok((kind, Request::from_parts(parts, body)))
    }

    fn refuse(&self, refusal: Refusal, is_grpc: bool, connection: &Connection) -> Response {
        metrics::REQUESTS_REFUSED.with_label_values(&[refusal.label]).inc();
        let due = self.log.lock().unwrap_or_else(PoisonError::into_inner).admit();
        if let Some(times) = due {
            let reason = refusal.grpc.message();
            tracing::warn!(peer = %connection.peer, times, reason, "request refused");
        }
        if is_grpc {
            return refusal.grpc.into_http();
        }
        (refusal.http, format!("{}\n", refusal.grpc.message())).into_response()
    }
}

/// Answers a request, or refuses it.
pub async fn admit(Extract(gate): Extract<Arc<Gate>>, request: Request, next: Next) -> Response {
    let Some(connection) = request.extensions().get::<Arc<Connection>>().cloned() else {
        return Status::internal("the connection of the call is not known").into_http();
    };
    let call = connection.begin_call();
    let is_grpc = is_grpc(request.headers());
    let response = match gate.check(request, &connection) {
        // Default deny: what the table does not have never reaches a service.
        Ok((RequestKind::Call, request)) if rule(request.uri().path()).is_none() => unsupported(request.uri().path()),
        Ok((_, request)) => next.run(request).await,
        Err(refusal) => gate.refuse(refusal, is_grpc, &connection),
    };
    response.map(|body| Body::new(CallBody::new(body, call)))
}
