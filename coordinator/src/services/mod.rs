//! The gRPC API: calls of clients, in terms of the state, the store and the command loop.
//!
//! - [`pfs`]: projects, repos, branches, commits, files. [`pps`]: pipelines, jobs, datums, logs.
//! - [`transaction`]: several changes as one. [`cluster`]: version, identity, licence. [`fallback`]: unknown calls.
//! - Below them: [`change`] submits commands. [`pending`]: commits of a transaction. [`list_options`]: options that
//!   requests share. [`find`]: look-ups that answer with a status. [`reply`]: streamed replies. [`status`]: errors. [`panicked`]: panics.
//!   [`wire`]: names of messages and of the model.
//!
//! The services decide nothing: a change becomes a command that the model decides; a read looks at one published state
//! and at the store. A call that waits watches the state; nothing polls.

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

use std::sync::Arc;

use axum::Router;
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

use crate::leadership::lease::Lease;
use crate::metadata::Core;

/// Configures a service: messages of 20 MiB, gzip accepted.
macro_rules! serve {
    ($server:ident, $service:expr) => {
        $server::new($service)
            .max_decoding_message_size(MAX_MESSAGE_BYTES)
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
    let (_, health) = tonic_health::server::health_reporter();
    Routes::new(serve!(
        PfsServer,
        pfs::PfsService::new(core.clone(), file_broker.clone(), lease)
    ))
    .add_service(serve!(PpsServer, pps::PpsService::new(core.clone(), queue)))
    .add_service(serve!(
        TransactionServer,
        transaction::TransactionService::new(core.clone())
    ))
    .add_service(serve!(AdminServer, cluster::AdminService::new(core, file_broker)))
    .add_service(serve!(VersionServer, cluster::VersionService))
    .add_service(serve!(EnterpriseServer, cluster::EnterpriseService))
    .add_service(health)
    .into_axum_router()
    .fallback(fallback::unknown_service)
    .layer(middleware::from_fn(fallback::explain_unimplemented))
    .layer(middleware::from_fn(panicked::answer_panics))
}
