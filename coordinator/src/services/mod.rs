//! The gRPC API: what clients call, in terms of the state, the store and the command loop.
//!
//! - [`pfs`]: projects, repos, branches, commits, files. [`pps`]: pipelines, jobs, datums, logs.
//! - [`transaction`]: several changes as one. [`cluster`]: version, identity, licence.
//! - [`wire`]: names both ways. [`status`]: errors. [`find`]: look-ups that answer with a status.
//!
//! Nothing is decided here: changes become commands of the model, reads look at one published state
//! and at the store. Waiting watches the state; nothing polls.

mod change;
mod cluster;
mod fallback;
mod find;
pub mod pfs;
pub mod pps;
mod reply;
mod status;
mod transaction;
mod wire;

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
use howdah_queue::Queue;
use tonic::codec::CompressionEncoding;
use tonic::service::Routes;

use crate::core::Core;

/// Configures a service: messages of 20 MiB, gzip accepted.
macro_rules! serve {
    ($server:ident, $service:expr) => {
        $server::new($service)
            .max_decoding_message_size(MAX_MESSAGE_BYTES)
            .max_encoding_message_size(MAX_MESSAGE_BYTES)
            .accept_compressed(CompressionEncoding::Gzip)
    };
}

/// Returns a router with every gRPC service; `queue` is the way to the workers, `desk` is where clients on this machine
/// may lend files.
///
/// What no service answers gets status `UNIMPLEMENTED` and a sentence that names the call.
pub fn router(core: Core, queue: Option<Queue>, desk: Option<Arc<FileBroker>>) -> Router {
    let (_, health) = tonic_health::server::health_reporter();
    Routes::new(serve!(PfsServer, pfs::Pfs::new(core.clone(), desk.clone())))
        .add_service(serve!(PpsServer, pps::Pps::new(core.clone(), queue)))
        .add_service(serve!(TransactionServer, transaction::Transactions::new(core.clone())))
        .add_service(serve!(AdminServer, cluster::Admin::new(core, desk)))
        .add_service(serve!(VersionServer, cluster::Version))
        .add_service(serve!(EnterpriseServer, cluster::Enterprise))
        .add_service(health)
        .into_axum_router()
        .fallback(fallback::unknown_service)
        .layer(middleware::from_fn(fallback::explain_unimplemented))
}
