//! Version, identity and licence of the server: the calls with which a client begins.
//!
//! They do not use the store, so they answer at once, also while the store does not.

use std::sync::Arc;

use howdah_api::admin_v2::api_server::Api as AdminApi;
use howdah_api::admin_v2::{ClusterInfo, InspectClusterRequest};
use howdah_api::enterprise_v2::api_server::Api as EnterpriseApi;
use howdah_api::enterprise_v2::{GetStateRequest, GetStateResponse, State};
use howdah_api::file_broker::{FILE_BROKER_HEADER, FileBroker};
use howdah_api::versionpb_v2::Version as VersionMessage;
use howdah_api::versionpb_v2::api_server::Api as VersionApi;
use howdah_api::{API_VERSION, HOWDAH_VERSION_HEADER, convert};
use howdah_model::ProjectName;
use tonic::metadata::MetadataValue;
use tonic::{Request, Response, Status};

use crate::metadata::Core;

/// Answers `versionpb_v2.API`.
pub(super) struct VersionService;

#[tonic::async_trait]
impl VersionApi for VersionService {
    async fn get_version(&self, _: Request<()>) -> Result<Response<VersionMessage>, Status> {
        let mut response = Response::new(version());
        let own = MetadataValue::from_static(env!("CARGO_PKG_VERSION"));
        response.metadata_mut().insert(HOWDAH_VERSION_HEADER, own);
        Ok(response)
    }
}

/// Returns the version of the API. Clients compare its first two numbers with theirs.
fn version() -> VersionMessage {
    let (major, minor, micro) = API_VERSION;
    VersionMessage {
        major,
        minor,
        micro,
        platform: format!("{}/{}", std::env::consts::OS, std::env::consts::ARCH),
        ..VersionMessage::default()
    }
}

/// Answers `admin_v2.API`.
pub(super) struct AdminService {
    core: Core,
    file_broker: Option<Arc<FileBroker>>,
}

impl AdminService {
    /// Makes the service; it tells clients the name of `file_broker`, which receives the files that they offer.
    pub(super) fn new(core: Core, file_broker: Option<Arc<FileBroker>>) -> Self {
        Self { core, file_broker }
    }
}

#[tonic::async_trait]
impl AdminApi for AdminService {
    async fn inspect_cluster(&self, request: Request<InspectClusterRequest>) -> Result<Response<ClusterInfo>, Status> {
        let request = request.into_inner();
        let mut warnings = Vec::new();
        warnings.extend(request.client_version.as_ref().and_then(version_warning));
        if let Some(project) = &request.current_project {
            let name = convert::project_name(Some(project));
            let known = ProjectName::new(name).is_ok_and(|name| self.core.state().project(&name).is_some());
            if !known {
                warnings.push(format!(
                    "the project {name:?} of your context does not exist on this server; make it \
                     with `create project {name}` or choose another with `config update context \
                     --project`"
                ));
            }
        }
        let id = self.core.cluster_id().to_owned();
        let mut response = Response::new(ClusterInfo {
            deployment_id: id.clone(),
            id,
            warnings_ok: true,
            warnings,
            ..ClusterInfo::default()
        });
        if let Some(name) = self.file_broker.as_ref().and_then(|broker| broker.name().parse().ok()) {
            response.metadata_mut().insert(FILE_BROKER_HEADER, name);
        }
        Ok(response)
    }
}

/// Returns a warning for a client of another version of the API; none for a development build (0.0.0).
fn version_warning(client: &VersionMessage) -> Option<String> {
    let (major, minor, _) = API_VERSION;
    let development = (client.major, client.minor, client.micro) == (0, 0, 0);
    if development || (client.major, client.minor) == (major, minor) {
        return None;
    }
    Some(format!(
        "this client speaks version {}.{}.{} of the API, the server {major}.{minor}; some commands \
         may not work as expected",
        client.major, client.minor, client.micro
    ))
}

/// Answers `enterprise_v2.API`: there is no licence, and none is needed.
pub(super) struct EnterpriseService;

#[tonic::async_trait]
impl EnterpriseApi for EnterpriseService {
    async fn get_state(&self, _: Request<GetStateRequest>) -> Result<Response<GetStateResponse>, Status> {
        Ok(Response::new(GetStateResponse {
            state: State::None as i32,
            ..GetStateResponse::default()
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_client_of_another_api_version_gets_a_warning() {
        let client = |major, minor, micro| VersionMessage {
            major,
            minor,
            micro,
            ..VersionMessage::default()
        };
        assert_eq!(version_warning(&client(2, 12, 0)), None);
        assert_eq!(version_warning(&client(0, 0, 0)), None);
        assert!(version_warning(&client(2, 8, 1)).is_some());
    }
}
