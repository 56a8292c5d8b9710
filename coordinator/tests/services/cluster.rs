//! Version, identity and licence of the server, and calls that it does not know.

use howdah_api::{admin_v2, auth_v2, convert, enterprise_v2, pps_v2, versionpb_v2};
use tonic::Code;

use super::{Server, code_and_text};

#[tokio::test]
async fn the_handshake_of_other_clients_gives_no_warning() {
    let server = Server::start().await;
    let answer = server.client.version().get_version(()).await.unwrap();
    // The version of Howdah is in a header: other clients compare the message with their own version.
    let own = answer.metadata().get(howdah_api::HOWDAH_VERSION_HEADER).unwrap();
    assert_eq!(own, env!("CARGO_PKG_VERSION"));
    let version = answer.into_inner();
    assert_eq!((version.major, version.minor, version.micro), (2, 12, 2));
    assert_eq!(version.additional, "");
    let request = admin_v2::InspectClusterRequest {
        client_version: Some(versionpb_v2::Version {
            major: 2,
            minor: 12,
            ..Default::default()
        }),
        current_project: Some(convert::project("default")),
    };
    let info = server
        .client
        .admin()
        .inspect_cluster(request)
        .await
        .unwrap()
        .into_inner();
    assert!(info.warnings_ok);
    assert_eq!(info.warnings, Vec::<String>::new());
    assert!(!info.id.is_empty() && info.id == info.deployment_id);
}

#[tokio::test]
async fn a_missing_project_gives_a_warning_and_no_error() {
    let server = Server::start().await;
    let request = admin_v2::InspectClusterRequest {
        client_version: None,
        current_project: Some(convert::project("vision")),
    };
    let info = server
        .client
        .admin()
        .inspect_cluster(request)
        .await
        .unwrap()
        .into_inner();
    assert!(info.warnings[0].contains("\"vision\""), "{:?}", info.warnings);
}

#[tokio::test]
async fn clients_learn_that_access_control_is_off() {
    let server = Server::start().await;
    let status = server
        .client
        .auth()
        .who_am_i(auth_v2::WhoAmIRequest {})
        .await
        .unwrap_err();
    assert_eq!(
        code_and_text(&status),
        (Code::Unimplemented, "the auth service is not activated")
    );
}

#[tokio::test]
async fn no_licence_is_needed() {
    let server = Server::start().await;
    let state = server
        .client
        .enterprise()
        .get_state(enterprise_v2::GetStateRequest {})
        .await
        .unwrap()
        .into_inner();
    assert_eq!(state.state, enterprise_v2::State::None as i32);
}

#[tokio::test]
async fn the_status_of_an_unknown_call_names_it() {
    let server = Server::start().await;
    // A call of a service that exists.
    let status = server
        .client
        .pps()
        .render_template(pps_v2::RenderTemplateRequest::default())
        .await
        .unwrap_err();
    assert_eq!(
        code_and_text(&status),
        (
            Code::Unimplemented,
            "pps_v2.API/RenderTemplate is not supported by this server"
        )
    );
    // A call of an unknown service.
    let status = server
        .client
        .metadata()
        .edit_metadata(howdah_api::metadata::EditMetadataRequest::default())
        .await
        .unwrap_err();
    assert_eq!(
        code_and_text(&status),
        (
            Code::Unimplemented,
            "metadata.API/EditMetadata is not supported by this server"
        )
    );
}
