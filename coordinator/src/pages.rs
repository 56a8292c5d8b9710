//! What the port answers: `/metrics`, `/healthz`, `/readyz` and `/leader` by itself, everything else through the leader. Every
//! request passes through [`access`] first.

use std::sync::Arc;

use axum::extract::{Request, State as Extract};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router, middleware};
use howdah_api::retry::RetryHint;
use rustls::ClientConfig;
use tower::ServiceExt;

use crate::access::gate::{Gate, admit};
use crate::caller::Caller;
use crate::leadership::forward::{Forwarder, unavailable};
use crate::leadership::peer_key::LeaderEpoch;
use crate::leadership::probe::{self, Leading};
use crate::leadership::role::{Leader, Role, RoleReader};
use crate::metrics;

/// What every answer needs.
#[derive(Clone)]
struct Pages {
    role: RoleReader,
    forwarder: Forwarder,
}

/// Makes the routes of the port, behind the gate. Other coordinators are connected to with `peers`, if they have TLS.
pub(crate) fn router(role: RoleReader, gate: Gate, peers: Option<Arc<ClientConfig>>) -> Router {
    let pages = Pages {
        role,
        forwarder: Forwarder::unconnected(gate.peer_key.clone(), peers),
    };
    Router::new()
        .route(
            "/metrics",
            get(|| async { ([("content-type", "text/plain; version=0.0.4")], metrics::render()) }),
        )
        .route("/healthz", get(|| async { "ok\n" }))
        .route("/readyz", get(ready))
        .route(probe::PATH, get(leading))
        .fallback(call)
        .with_state(pages)
        .layer(middleware::from_fn_with_state(Arc::new(gate), admit))
}

/// Answers a call, here or through the leader. While there is no leader, the call waits for one.
async fn call(Extract(pages): Extract<Pages>, request: Request) -> Response {
    match pages.role.wait_for_leader().await {
        Role::Leader(leader) => answer(&leader, request).await,
        Role::Standby { leader, epoch } => pages.forwarder.forward(&leader, LeaderEpoch(epoch), request).await,
        Role::Waiting => unavailable(RetryHint::Always, "no coordinator leads at the moment"),
    }
}

async fn answer(leader: &Leader, request: Request) -> Response {
    let forwarded_to = request.extensions().get::<LeaderEpoch>().copied();
    if forwarded_to.is_some_and(|LeaderEpoch(epoch)| epoch != leader.epoch) {
        return unavailable(RetryHint::Always, "the call was forwarded to another leader");
    }
    let caller = request.extensions().get::<Caller>().cloned();
    let answer = leader.routes.clone().oneshot(request);
    let caller = caller.unwrap_or_else(Caller::anonymous);
    match caller.scope(answer).await {
        Ok(answer) => answer,
        Err(never) => match never {},
    }
}

/// Answers whether calls can be served, and what this coordinator is.
async fn ready(Extract(pages): Extract<Pages>) -> impl IntoResponse {
    match pages.role.now() {
        Role::Leader(leader) => match obstacle(&leader) {
            None => {
                let workers = leader.core.live().workers.list().len();
                let text = format!("ready, leader of epoch {}, {workers} worker(s)\n", leader.epoch);
                (StatusCode::OK, text)
            }
            Some(obstacle) => (
                StatusCode::SERVICE_UNAVAILABLE,
                format!("not ready, leader: {obstacle}\n"),
            ),
        },
        Role::Standby { epoch, leader } => (
            StatusCode::OK,
            format!("ready, standby: calls go to the leader of epoch {epoch} at {leader}\n"),
        ),
        Role::Waiting => (
            StatusCode::SERVICE_UNAVAILABLE,
            "not ready: no coordinator leads\n".to_owned(),
        ),
    }
}

/// Returns what keeps a leader from its work; `None` if nothing does.
fn obstacle(leader: &Leader) -> Option<String> {
    if let Some(doubt) = leader.core.log_status().in_doubt {
        return Some(format!("the metadata log cannot be written: {doubt}"));
    }
    (!leader.queue.is_connected()).then(|| "NATS cannot be reached".to_owned())
}

/// Answers the question of other coordinators whether this one leads.
async fn leading(Extract(pages): Extract<Pages>) -> Response {
    let Role::Leader(leader) = pages.role.now() else {
        return (StatusCode::SERVICE_UNAVAILABLE, "this coordinator does not lead\n").into_response();
    };
    let leading = Leading {
        epoch: leader.epoch,
        last: leader.core.log_status().last,
    };
    Json(leading).into_response()
}
