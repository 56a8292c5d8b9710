//! The gRPC API: calls of clients, in terms of the state, the store and the command loop.
//!
//! - [`pfs`]: projects, repos, branches, commits, files. [`pps`]: pipelines, jobs, datums, logs.
//! - [`transaction`]: several changes as one. [`cluster`]: version, identity, licence. [`fallback`]: unknown calls.
//! - [`call_memory`]: bounds on the messages of all calls.
//! - Below them: [`change`] submits commands. [`pending`]: commits of a transaction. [`list_options`]: options that
//!   requests share. [`find`]: look-ups that answer with a status. [`reply`]: streamed replies. [`status`]: errors. [`panicked`]: panics.
//!   [`wire`]: names of messages and of the model.
//!
//! The services decide nothing: a change becomes a command that the model decides; a read looks at one published state
//! and at the store. A call that waits watches the state; nothing polls.

mod call_memory;
mod change;
mod cluster;
mod fallback;
mod find;
mod list_options;
mod panicked;
mod pending;
pub mod pfs;
pub mod pps;
mod reply;
mod status;
mod transaction;
mod wire;

pub use fallback::unsupported;

use std::convert::Infallible;
use std::sync::Arc;

use axum::Router;
use axum::extract::Request;
use axum::middleware;
use howdah_api::MAX_MESSAGE_BYTES;
use howdah_api::admin_v2::api_server::ApiServer as AdminServer;
use howdah_api::enterprise_v2::api_server::ApiServer as EnterpriseServer;
use howdah_api::file_broker::FileBroker;
use howdah_api::pfs_v2::api_server::ApiServer as PfsServer;
use howdah_api::pps_v2::api_server::ApiServer as PpsServer;
use howdah_api::transaction_v2::api_server::ApiServer as TransactionServer;
use howdah_api::versionpb_v2::api_server::ApiServer as VersionServer;
use howdah_queue::CoordinatorQueue;
use tonic::codec::CompressionEncoding;
use tonic::service::Routes;
use tower::{Service, ServiceExt};

use self::call_memory::{LARGER_CALLS, SMALL_MESSAGE_BYTES};
use crate::leadership::lease::Lease;
use crate::metadata::Core;

/// Configures a service: gzip is accepted, and messages up to a size, which is that of their uncompressed form.
macro_rules! serve {
    ($server:ident, $service:expr, $limit:expr) => {
        $server::from_arc(Arc::clone(&$service))
            .max_decoding_message_size($limit)
            .max_encoding_message_size(MAX_MESSAGE_BYTES)
            .accept_compressed(CompressionEncoding::Gzip)
    };
}

/// Returns a router with every gRPC service.
///
/// `queue` is the connection to the workers, `file_broker` receives the files that clients on this machine offer. Calls
/// that need one of them fail without it. Without a `lease`, this is the only coordinator. A call that no service answers
/// gets status `UNIMPLEMENTED` and a sentence that names the call.
pub fn router(
    core: Core,
    queue: Option<CoordinatorQueue>,
    file_broker: Option<Arc<FileBroker>>,
    lease: Option<Lease>,
) -> Router {
    howdah_api::codec::prepare();
    let (_, health) = tonic_health::server::health_reporter();
    let memory = core.live().request_memory.clone();
    let pfs = Arc::new(pfs::PfsService::new(core.clone(), file_broker.clone(), lease));
    let pps = Arc::new(pps::PpsService::new(core.clone(), queue));
    let transaction = Arc::new(transaction::TransactionService::new(core.clone()));
    let admin = Arc::new(cluster::AdminService::new(core, file_broker));
    let (version, enterprise) = (Arc::new(cluster::VersionService), Arc::new(cluster::EnterpriseService));
    let mut router = Routes::new(serve!(PfsServer, pfs, SMALL_MESSAGE_BYTES))
        .add_service(serve!(PpsServer, pps, SMALL_MESSAGE_BYTES))
        .add_service(serve!(TransactionServer, transaction, SMALL_MESSAGE_BYTES))
        .add_service(serve!(AdminServer, admin, SMALL_MESSAGE_BYTES))
        .add_service(serve!(VersionServer, version, SMALL_MESSAGE_BYTES))
        .add_service(serve!(EnterpriseServer, enterprise, SMALL_MESSAGE_BYTES))
        .add_service(health)
        .into_axum_router();
    // A service has one limit for all its calls. These calls have another one, so each has a service of its own.
    for (path, limit) in LARGER_CALLS {
        router = if path.starts_with("/pfs_v2.API/") {
            router.route_service(path, with_body(serve!(PfsServer, pfs, limit)))
        } else if path.starts_with("/pps_v2.API/") {
            router.route_service(path, with_body(serve!(PpsServer, pps, limit)))
        } else {
            router.route_service(path, with_body(serve!(TransactionServer, transaction, limit)))
        };
    }
    router
        .fallback(fallback::unknown_service)
        .layer(middleware::from_fn(fallback::explain_unimplemented))
        .layer(middleware::from_fn_with_state(memory, call_memory::bound_messages))
        .layer(middleware::from_fn(panicked::answer_panics))
}

/// Makes a gRPC service take the requests of the router.
fn with_body<S>(
    service: S,
) -> impl Service<Request, Response = S::Response, Error = Infallible, Future = S::Future> + Clone
where
    S: Service<tonic::codegen::http::Request<tonic::body::Body>, Error = Infallible> + Clone,
{
    service.map_request(|request: Request| request.map(tonic::body::Body::new))
}
