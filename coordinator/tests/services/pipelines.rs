//! Pipelines, defaults and secrets.

use std::collections::BTreeMap;

use howdah_api::{convert, pfs_v2 as pfs, pps_v2 as pps};
use howdah_coordinator::live::LiveStatus;
use howdah_coordinator::metadata;
use howdah_coordinator::sealing::is_sealed;
use howdah_model::Command;
use howdah_store::Store;
use tonic::Code;

use super::pipeline_helpers::{SPEC, create, edges, finish, images, jobs, only_job, with_pipeline};
use super::{Server, all, code_and_text, head, repo};

#[tokio::test]
async fn a_new_pipeline_has_a_job_at_once() {
    let server = with_pipeline().await;
    let found = jobs(&server, pps::ListJobRequest::default()).await;
    assert_eq!(found.len(), 1);
    assert_eq!(found[0].state, pps::JobState::JobCreated as i32);
    assert_eq!(found[0].details, None);
    let job = found[0].job.clone().unwrap();
    assert_eq!(job.pipeline, Some(edges()));
    assert_eq!(found[0].output_commit.as_ref().unwrap().id, job.id);

    server.put(&head("images", "master"), "/two", "2").await;
    let found = jobs(&server, pps::ListJobRequest::default()).await;
    assert_eq!(found.len(), 2);
    let newest = found[0].job.clone().unwrap();
    let input = server.inspect_commit(&head("images", "master")).await.unwrap();
    let input = input.commit.unwrap();
    assert_eq!(
        newest.id, input.id,
        "one global id for a change and what follows from it"
    );

    let of_input = pps::ListJobRequest {
        input_commit: vec![input.clone()],
        ..Default::default()
    };
    assert_eq!(jobs(&server, of_input).await.len(), 1);
    let inspect = pps::InspectJobRequest {
        job: Some(newest),
        details: true,
        ..Default::default()
    };
    let info = server.client.pps().inspect_job(inspect).await.unwrap().into_inner();
    let details = info.details.unwrap();
    assert_eq!(details.transform.unwrap().cmd, ["/edges"]);
    assert_eq!(details.input.unwrap().pfs.unwrap().commit, input.id);
}

#[tokio::test]
async fn an_inspected_pipeline_has_its_spec_and_its_details() {
    let server = with_pipeline().await;
    let inspect = |name: &str, details| pps::InspectPipelineRequest {
        pipeline: Some(convert::pipeline("default", name)),
        details,
    };
    let mut pps = server.client.pps();
    let info = pps.inspect_pipeline(inspect("edges", true)).await.unwrap().into_inner();
    assert_eq!(info.version, 1);
    assert_eq!(info.r#type, pps::pipeline_info::PipelineType::Transform as i32);
    let user: serde_json::Value = serde_json::from_str(&info.user_spec_json).unwrap();
    assert_eq!(user.get("datumTries"), None);
    let effective: serde_json::Value = serde_json::from_str(&info.effective_spec_json).unwrap();
    assert_eq!(effective["outputBranch"], "master");
    let details = info.details.unwrap();
    assert_eq!(details.description, "finds edges");
    assert_eq!(details.output_branch, "master");
    assert_eq!(details.datum_tries, 3);
    assert_eq!(details.salt.len(), 32);
    assert!(details.created_at.is_some());

    let info = pps
        .inspect_pipeline(inspect("edges", false))
        .await
        .unwrap()
        .into_inner();
    assert_eq!(info.details, None);
    let status = pps.inspect_pipeline(inspect("nothing", false)).await.unwrap_err();
    assert_eq!(
        code_and_text(&status),
        (Code::NotFound, "pipeline \"default/nothing\" not found")
    );
    let listed = pps.list_pipeline(pps::ListPipelineRequest::default()).await.unwrap();
    let listed = all(listed.into_inner()).await.unwrap();
    assert!(listed[0].details.is_some());
}

#[tokio::test]
async fn the_status_of_a_bad_spec_names_what_is_wrong() {
    let server = with_pipeline().await;
    let status = create(&server, SPEC, false).await.unwrap_err();
    assert_eq!(
        code_and_text(&status),
        (Code::AlreadyExists, "pipeline \"default/edges\" already exists")
    );
    let unknown_field = SPEC.replace("\"description\"", "\"descripton\"");
    let status = create(&server, &unknown_field, false).await.unwrap_err();
    assert_eq!(status.code(), Code::InvalidArgument);
    assert!(status.message().contains("descripton"), "{status}");
    let missing_repo = SPEC.replace("edges", "other").replace("images", "nothing");
    let status = create(&server, &missing_repo, false).await.unwrap_err();
    assert_eq!(
        code_and_text(&status),
        (Code::NotFound, "repo default/nothing not found")
    );
    let later = SPEC.replace("\"edges\"", "\"later\"").replace(
        "\"description\": \"finds edges\"",
        "\"autoscaling\": true, \"spout\": {}",
    );
    let status = create(&server, &later, false).await.unwrap_err();
    assert!(
        matches!(status.code(), Code::Unimplemented | Code::InvalidArgument),
        "{status}"
    );
    let service = SPEC.replace("\"edges\"", "\"later\"").replace(
        "\"description\": \"finds edges\"",
        "\"service\": {\"internalPort\": 80}",
    );
    let status = create(&server, &service, false).await.unwrap_err();
    assert_eq!(status.code(), Code::Unimplemented);
    assert!(status.message().starts_with("not supported yet: service"), "{status}");
}

#[tokio::test]
async fn a_dry_run_makes_no_pipeline() {
    let server = Server::start().await;
    server.create_repo("images").await;
    let request = pps::CreatePipelineV2Request {
        create_pipeline_request_json: SPEC.into(),
        dry_run: true,
        ..Default::default()
    };
    let reply = server.client.pps().create_pipeline_v2(request).await.unwrap();
    assert!(
        reply
            .into_inner()
            .effective_create_pipeline_request_json
            .contains("until_success")
    );
    let listed = server
        .client
        .pps()
        .list_pipeline(pps::ListPipelineRequest::default())
        .await;
    assert_eq!(all(listed.unwrap().into_inner()).await.unwrap(), []);
}

#[tokio::test]
async fn a_pipeline_can_be_made_from_a_message() {
    let server = Server::start().await;
    server.create_repo("images").await;
    let request = pps::CreatePipelineRequest {
        pipeline: Some(edges()),
        transform: Some(pps::Transform {
            image: "example/edges:1".into(),
            cmd: vec!["/edges".into()],
            ..Default::default()
        }),
        input: Some(images()),
        // The SDK always sends this field.
        service: Some(pps::Service::default()),
        ..Default::default()
    };
    server.client.pps().create_pipeline(request).await.unwrap();
    assert_eq!(jobs(&server, pps::ListJobRequest::default()).await.len(), 1);
}

#[tokio::test]
async fn an_update_warns_of_the_results_that_it_keeps() {
    let server = with_pipeline().await;
    let (_, id) = only_job(&server).await;
    finish(&server, id).await;
    let other_code = SPEC.replace("edges:1", "edges:2");
    let reply = create(&server, &other_code, true).await.unwrap();
    let warnings = howdah_api::client::warnings(&reply);
    let kept = warnings
        .iter()
        .find(|text| text.contains("--reprocess"))
        .expect("a warning");
    assert!(
        kept.starts_with("1 datum keeps its result of version 1 of pipeline edges"),
        "{kept}"
    );

    let inspect = |name: &str| pps::InspectPipelineRequest {
        pipeline: Some(convert::pipeline("default", name)),
        details: true,
    };
    let mut pps = server.client.pps();
    let info = pps.inspect_pipeline(inspect("edges")).await.unwrap().into_inner();
    assert_eq!(info.version, 2);
    let info = pps.inspect_pipeline(inspect("edges^1")).await.unwrap().into_inner();
    assert_eq!(info.version, 1);
    assert_eq!(info.details.unwrap().transform.unwrap().image, "example/edges:1");
    let history = |history| pps::ListPipelineRequest {
        history,
        ..Default::default()
    };
    let all_versions = pps.list_pipeline(history(-1)).await.unwrap().into_inner();
    let versions: Vec<u64> = all(all_versions).await.unwrap().iter().map(|one| one.version).collect();
    assert_eq!(versions, [2, 1]);
    let present = pps.list_pipeline(history(0)).await.unwrap().into_inner();
    assert_eq!(all(present).await.unwrap().len(), 1);

    // Another number of workers does not change the code, so there is no warning.
    let same_code = other_code.replace(
        "\"description\"",
        "\"parallelismSpec\": {\"constant\": 2}, \"description\"",
    );
    let reply = create(&server, &same_code, true).await.unwrap();
    assert!(
        !howdah_api::client::warnings(&reply)
            .iter()
            .any(|text| text.contains("--reprocess"))
    );
}

#[tokio::test]
async fn pipelines_are_stopped_started_and_deleted() {
    let server = with_pipeline().await;
    let mut pps = server.client.pps();
    let stop = pps::StopPipelineRequest {
        pipeline: Some(edges()),
        must_exist: true,
    };
    pps.stop_pipeline(stop).await.unwrap();
    let inspect = pps::InspectPipelineRequest {
        pipeline: Some(edges()),
        details: false,
    };
    let info = pps.inspect_pipeline(inspect.clone()).await.unwrap().into_inner();
    assert!(info.stopped);
    let start = pps::StartPipelineRequest {
        pipeline: Some(edges()),
    };
    pps.start_pipeline(start).await.unwrap();
    let info = pps.inspect_pipeline(inspect.clone()).await.unwrap().into_inner();
    assert!(!info.stopped);

    let repo_of_pipeline = pfs::DeleteRepoRequest {
        repo: Some(repo("edges")),
        force: false,
    };
    let status = server.client.pfs().delete_repo(repo_of_pipeline).await.unwrap_err();
    assert!(
        status
            .message()
            .starts_with("cannot delete a repo associated with a pipeline"),
        "{status}"
    );
    let cron = pps::RunCronRequest {
        pipeline: Some(edges()),
    };
    let status = pps.run_cron(cron).await.unwrap_err();
    assert!(status.message().ends_with("have a cron input"), "{status}");
    let delete = pps::DeletePipelineRequest {
        pipeline: Some(edges()),
        ..Default::default()
    };
    pps.delete_pipeline(delete.clone()).await.unwrap();
    pps.delete_pipeline(delete).await.unwrap();
    assert_eq!(pps.inspect_pipeline(inspect).await.unwrap_err().code(), Code::NotFound);
}

#[tokio::test]
async fn new_defaults_regenerate_pipelines() {
    let server = with_pipeline().await;
    let mut pps = server.client.pps();
    let get = pps::GetClusterDefaultsRequest {};
    let found = pps.get_cluster_defaults(get).await.unwrap().into_inner();
    assert_eq!(found.cluster_defaults_json, "{}");
    let set = pps::SetClusterDefaultsRequest {
        cluster_defaults_json: r#"{"createPipelineRequest": {"datumTries": "5"}}"#.into(),
        regenerate: true,
        ..Default::default()
    };
    let found = pps.set_cluster_defaults(set).await.unwrap().into_inner();
    assert_eq!(found.affected_pipelines, [edges()]);
    let inspect = pps::InspectPipelineRequest {
        pipeline: Some(edges()),
        details: true,
    };
    let info = pps.inspect_pipeline(inspect).await.unwrap().into_inner();
    assert_eq!((info.version, info.details.unwrap().datum_tries), (2, 5));
    let broken = pps::SetClusterDefaultsRequest {
        cluster_defaults_json: r#"{"createPipelineRequest": {"datumTrys": 5}}"#.into(),
        ..Default::default()
    };
    let status = pps.set_cluster_defaults(broken).await.unwrap_err();
    assert_eq!(status.code(), Code::InvalidArgument);
}

#[tokio::test]
async fn secrets_are_stored_and_listed() {
    let server = Server::start().await;
    let mut pps = server.client.pps();
    let file = serde_json::json!({
        "kind": "Secret", "apiVersion": "v1", "metadata": {"name": "token", "labels": null},
        "data": BTreeMap::from([("key", "dmFsdWU=")]),
    });
    let create = pps::CreateSecretRequest {
        file: file.to_string().into_bytes(),
    };
    pps.create_secret(create).await.unwrap();
    let stored = server.core.state().secret("token").unwrap().data.clone();
    assert!(is_sealed(&stored) && !stored.contains("dmFsdWU"), "{stored}");
    let opened = server.core.sealer().open("token", &stored).unwrap();
    assert!(opened.contains("dmFsdWU="));
    let listed = pps.list_secret(()).await.unwrap().into_inner();
    assert_eq!(listed.secret_info.len(), 1);
    let secret = || Some(pps::Secret { name: "token".into() });
    let inspect = pps::InspectSecretRequest { secret: secret() };
    let info = pps.inspect_secret(inspect.clone()).await.unwrap().into_inner();
    assert!(info.creation_timestamp.is_some());
    let delete = pps::DeleteSecretRequest { secret: secret() };
    pps.delete_secret(delete).await.unwrap();
    assert_eq!(pps.inspect_secret(inspect).await.unwrap_err().code(), Code::NotFound);
}

#[tokio::test]
async fn secrets_of_an_earlier_version_are_sealed_when_a_coordinator_leads() {
    let server = Server::start().await;
    let create = |name: &str| Command::CreateSecret {
        name: name.to_owned(),
        kind: "Opaque".to_owned(),
        data: r#"{"data": {"key": "dmFsdWU="}}"#.to_owned(),
    };
    server.submit(create("first")).await;
    server.submit(create("second")).await;
    let secret = |name: &str| server.core.state().secret(name).unwrap().clone();
    let before = secret("first");
    metadata::seal_plain_secrets(&server.core).await;
    for name in ["first", "second"] {
        let sealed = secret(name);
        assert!(is_sealed(&sealed.data) && !sealed.data.contains("dmFsdWU"));
        let opened = server.core.sealer().open(name, &sealed.data).unwrap();
        assert_eq!(opened.as_str(), &*before.data);
    }
    assert_eq!(secret("first").created, before.created);
    let sealed = secret("first");
    metadata::seal_plain_secrets(&server.core).await;
    assert_eq!(secret("first"), sealed, "what is sealed stays as it is");
}

#[tokio::test]
async fn without_a_key_secrets_are_listed_and_deleted_but_not_stored() {
    let (core, command_loop) = metadata::open(Store::in_memory().await, LiveStatus::default())
        .await
        .unwrap();
    tokio::spawn(command_loop.run());
    let server = Server::of(core).await;
    server
        .submit(Command::CreateSecret {
            name: "old".to_owned(),
            kind: "Opaque".to_owned(),
            data: "{}".to_owned(),
        })
        .await;
    metadata::seal_plain_secrets(&server.core).await;
    let mut pps = server.client.pps();
    let create = pps::CreateSecretRequest {
        file: br#"{"metadata": {"name": "new"}, "data": {"key": "dmFsdWU="}}"#.to_vec(),
    };
    let status = pps.create_secret(create).await.unwrap_err();
    assert_eq!(status.code(), Code::FailedPrecondition);
    assert!(status.message().contains("--secret-key-file"), "{status}");
    assert_eq!(pps.list_secret(()).await.unwrap().into_inner().secret_info.len(), 1);
    let secret = Some(pps::Secret { name: "old".into() });
    pps.delete_secret(pps::DeleteSecretRequest { secret }).await.unwrap();
}
