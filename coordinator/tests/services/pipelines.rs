use std::collections::BTreeMap;

use howdah_api::{convert, pfs_v2 as pfs, pps_v2 as pps};
use howdah_model::{
    BranchName, Command, Content, DatumCounts, DatumHash, DatumId, DatumIndex, GlobalId, ImagePin, JobKey, JobOutcome,
    JobStats, PipelineKey, RepoKey, TreeRoot,
};
use howdah_protocol::messages::LogBatch;
use howdah_protocol::objects::{DatumInput, DatumOutcome, DatumRecord, DatumStats, LogLine, LogObject, log_key};
use howdah_protocol::wire;
use howdah_store::{Edit, Tree, Value};
use jiff::Timestamp;
use tonic::{Code, Request};

use super::{Server, all, code_and_text, head, next, repo, soon};

const SPEC: &str = r#"{
    "pipeline": {"name": "edges"},
    "description": "finds edges",
    "input": {"pfs": {"repo": "images", "glob": "/*"}},
    "transform": {"image": "example/edges:1", "cmd": ["/edges"]}
}"#;

async fn create(
    server: &Server,
    spec: &str,
    update: bool,
) -> Result<tonic::Response<pps::CreatePipelineV2Response>, tonic::Status> {
    let request = pps::CreatePipelineV2Request {
        create_pipeline_request_json: spec.to_owned(),
        update,
        ..Default::default()
    };
    server.client.pps().create_pipeline_v2(request).await
}

/// A server with repo `images`, one file in it, and pipeline `edges` on it.
async fn with_pipeline() -> Server {
    let server = Server::start().await;
    server.create_repo("images").await;
    server.put(&head("images", "master"), "/one", "1").await;
    create(&server, SPEC, false).await.unwrap();
    server
}

async fn jobs(server: &Server, request: pps::ListJobRequest) -> Vec<pps::JobInfo> {
    let jobs = server.client.pps().list_job(request).await.unwrap().into_inner();
    all(jobs).await.unwrap()
}

fn edges() -> pps::Pipeline {
    convert::pipeline("default", "edges")
}

fn edges_key() -> PipelineKey {
    "default/edges".parse().unwrap()
}

/// Ends a job the way the scheduler does, with one datum of the file `/one`.
async fn finish(server: &Server, id: GlobalId) -> DatumId {
    let job = edges_key().job(id);
    server.submit(Command::StartJob { job: job.clone() }).await;
    let counts = DatumCounts {
        total: 1,
        ..Default::default()
    };
    let plan = Command::PlanJob {
        job: job.clone(),
        plan: "none".into(),
        counts,
    };
    server.submit(plan).await;
    let datum = DatumId::new([7; 32]);
    let record = DatumRecord {
        hash: DatumHash::new([8; 32]),
        state: DatumOutcome::Success,
        job: id,
        inputs: vec![input()],
        stats: DatumStats {
            process_ms: 1500,
            ..Default::default()
        },
        image: ImagePin {
            reference: "example/edges:1".into(),
            digest: "sha256:abc".into(),
        },
        pipeline_version: 1,
        reason: None,
        log_key: None,
    };
    let value = Value::plain(wire::encode(&record), 0);
    let edit = Edit::put(datum.as_bytes().to_vec(), value);
    let records = Tree::empty(server.core.store()).apply_all([edit]).await.unwrap().root();
    let end = Command::FinishJob {
        job,
        outcome: JobOutcome::Success,
        counts: DatumCounts { processed: 1, ..counts },
        stats: JobStats::default(),
        output: Some(Content::EMPTY),
        datums: Some(DatumIndex { records, outputs: None }),
    };
    server.submit(end).await;
    datum
}

fn input() -> DatumInput {
    let repo: RepoKey = "default/images".parse().unwrap();
    DatumInput {
        name: "images".into(),
        repo,
        branch: BranchName::master(),
        commit: GlobalId::from_number(1),
        root: TreeRoot::new([1; 32]),
        path: "/one".into(),
        is_dir: false,
        size: 1,
        hash: howdah_model::ContentHash::new([2; 32]),
        join_on: String::new(),
        group_by: String::new(),
    }
}

async fn only_job(server: &Server) -> (pps::Job, GlobalId) {
    let found = jobs(server, pps::ListJobRequest::default()).await;
    let job = found[0].job.clone().unwrap();
    let id = job.id.parse().unwrap();
    (job, id)
}

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
async fn a_pipeline_is_inspected_with_what_was_given_and_what_came_of_it() {
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
async fn what_is_wrong_with_a_spec_is_said() {
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
async fn a_dry_run_only_answers() {
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
async fn a_message_makes_a_pipeline_too() {
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
        // What the SDK sends along without being asked.
        service: Some(pps::Service::default()),
        ..Default::default()
    };
    server.client.pps().create_pipeline(request).await.unwrap();
    assert_eq!(jobs(&server, pps::ListJobRequest::default()).await.len(), 1);
}

fn images() -> pps::Input {
    pps::Input {
        pfs: Some(pps::PfsInput {
            repo: "images".into(),
            glob: "/*".into(),
            ..Default::default()
        }),
        ..Default::default()
    }
}

#[tokio::test]
async fn an_update_says_how_many_results_it_keeps() {
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

    // The same code with another number of workers leaves nothing stale.
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
async fn everything_about_the_making_of_a_file_is_within_reach() {
    let server = with_pipeline().await;
    let (job, id) = only_job(&server).await;
    let datum = finish(&server, id).await;
    let request = pps::InspectDatumRequest {
        datum: Some(pps::Datum {
            job: Some(job.clone()),
            id: datum.to_string(),
        }),
    };
    let info = server.client.pps().inspect_datum(request).await.unwrap().into_inner();
    assert_eq!(info.state, pps::DatumState::Success as i32);
    assert_eq!(info.image_id, "sha256:abc");
    let file = info.data[0].file.clone().unwrap();
    assert_eq!(file.path, "/one");
    assert_eq!(file.commit.unwrap().repo, Some(repo("images")));
    assert_eq!(info.stats.unwrap().process_time.unwrap().seconds, 1);
    assert_eq!(info.pfs_state.unwrap().commit.unwrap().repo.unwrap().r#type, "meta");

    let unknown = pps::InspectDatumRequest {
        datum: Some(pps::Datum {
            job: Some(job.clone()),
            id: "00".repeat(32),
        }),
    };
    let status = server.client.pps().inspect_datum(unknown).await.unwrap_err();
    let text = format!("datum {} not found in job default/edges@{}", "00".repeat(32), job.id);
    assert_eq!(code_and_text(&status), (Code::Unknown, text.as_str()));

    let list = pps::ListDatumRequest {
        job: Some(job),
        ..Default::default()
    };
    let listed = server.client.pps().list_datum(list).await.unwrap().into_inner();
    assert_eq!(all(listed).await.unwrap().len(), 1);
}

#[tokio::test]
async fn waiting_for_a_job_ends_when_it_does() {
    let server = with_pipeline().await;
    let (job, id) = only_job(&server).await;
    let mut pps = server.client.pps();
    let request = pps::InspectJobRequest {
        job: Some(job.clone()),
        wait: true,
        details: false,
    };
    let waiting = tokio::spawn(async move { pps.inspect_job(request).await });
    let mut pps = server.client.pps();
    let set = pps::InspectJobSetRequest {
        job_set: Some(pps::JobSet { id: job.id.clone() }),
        wait: true,
        details: false,
    };
    let mut set = pps.inspect_job_set(set).await.unwrap().into_inner();
    finish(&server, id).await;
    let info = soon(waiting).await.unwrap().unwrap().into_inner();
    assert_eq!(info.state, pps::JobState::JobSuccess as i32);
    let info = next(&mut set).await.unwrap().unwrap();
    assert_eq!(info.job, Some(job));
    assert!(next(&mut set).await.is_none());
}

#[tokio::test]
async fn jobs_are_filtered_by_program_and_by_version() {
    let server = with_pipeline().await;
    let (job, _) = only_job(&server).await;
    let stop = pps::StopJobRequest {
        job: Some(job.clone()),
        reason: String::new(),
    };
    server.client.pps().stop_job(stop.clone()).await.unwrap();
    server.client.pps().stop_job(stop).await.unwrap();
    let filtered = |jq: &str| pps::ListJobRequest {
        jq_filter: jq.into(),
        ..Default::default()
    };
    let killed = ".state == \"JOB_FAILURE\" or .state == \"JOB_KILLED\"";
    assert_eq!(jobs(&server, filtered(killed)).await.len(), 1);
    let succeeded = ".state == \"JOB_SUCCESS\"";
    assert_eq!(jobs(&server, filtered(succeeded)).await.len(), 0);

    create(&server, SPEC, true).await.unwrap();
    let with_history = |history| pps::ListJobRequest {
        pipeline: Some(edges()),
        history,
        ..Default::default()
    };
    assert_eq!(jobs(&server, with_history(0)).await.len(), 1);
    assert_eq!(jobs(&server, with_history(1)).await.len(), 2);
    assert_eq!(jobs(&server, with_history(-1)).await.len(), 2);
    let sets = server
        .client
        .pps()
        .list_job_set(pps::ListJobSetRequest::default())
        .await
        .unwrap();
    assert_eq!(all(sets.into_inner()).await.unwrap().len(), 2);

    let delete = pps::DeleteJobRequest { job: Some(job.clone()) };
    server.client.pps().delete_job(delete).await.unwrap();
    let inspect = pps::InspectJobRequest {
        job: Some(job.clone()),
        ..Default::default()
    };
    let status = server.client.pps().inspect_job(inspect).await.unwrap_err();
    let text = format!("jobs default/edges@{} not found", job.id);
    assert_eq!(code_and_text(&status), (Code::NotFound, text.as_str()));
}

#[tokio::test]
async fn datums_of_an_input_come_in_the_batches_asked_for() {
    let server = Server::start().await;
    server.create_repo("images").await;
    let steps = (0..50).map(|n| {
        let path: &'static str = Box::leak(format!("/{n}").into_boxed_str());
        super::add(path, "x")
    });
    server.modify(&head("images", "master"), steps.collect()).await.unwrap();

    let (requests, receiver) = tokio::sync::mpsc::channel(1);
    let stream = tokio_stream::wrappers::ReceiverStream::new(receiver);
    let ask = |number, start| {
        use pps::create_datum_request::Body;
        let body = if start {
            Body::Start(pps::StartCreateDatumRequest {
                input: Some(images()),
                number,
            })
        } else {
            Body::Continue(pps::ContinueCreateDatumRequest { number })
        };
        pps::CreateDatumRequest { body: Some(body) }
    };
    requests.send(ask(10, true)).await.unwrap();
    let mut datums = server
        .client
        .pps()
        .create_datum(Request::new(stream))
        .await
        .unwrap()
        .into_inner();
    let mut take = async |number| {
        for _ in 0..number {
            let info = next(&mut datums).await.unwrap().unwrap();
            assert_eq!(info.state, pps::DatumState::Unknown as i32);
        }
    };
    take(10).await;
    for (number, expected) in [(5, 5), (20, 20), (10, 10), (10, 5)] {
        requests.send(ask(number, false)).await.unwrap();
        take(expected).await;
    }
    // The server ends the call although the client has not.
    assert!(next(&mut datums).await.is_none());

    let list = pps::ListDatumRequest {
        input: Some(images()),
        number: 3,
        ..Default::default()
    };
    let listed = server.client.pps().list_datum(list).await.unwrap().into_inner();
    let ids: Vec<String> = all(listed)
        .await
        .unwrap()
        .into_iter()
        .map(|info| info.datum.unwrap().id)
        .collect();
    assert_eq!(ids.len(), 3);
    assert!(ids.is_sorted());
}

fn line(message: &str, datum: Option<DatumId>) -> LogLine {
    LogLine {
        ts: Timestamp::now(),
        datum,
        user: true,
        message: message.into(),
    }
}

#[tokio::test]
async fn lines_are_read_from_the_store_and_as_they_come() {
    let server = with_pipeline().await;
    let (job, id) = only_job(&server).await;
    let datum = finish(&server, id).await;
    let key = edges_key();
    let object = LogObject {
        pipeline: key.clone(),
        job: id,
        set: 0,
        worker: "w".into(),
        lines: vec![line("one", Some(datum)), line("two", None)],
        dropped: 0,
    };
    let stored = log_key(&key, &id, 0, "w");
    server
        .core
        .store()
        .put(&stored, wire::encode(&object).into())
        .await
        .unwrap();

    let request = |change: fn(&mut pps::GetLogsRequest)| {
        let mut request = pps::GetLogsRequest {
            job: Some(job.clone()),
            ..Default::default()
        };
        change(&mut request);
        request
    };
    let texts = async |request| -> Vec<String> {
        let lines = server.client.pps().get_logs(request).await.unwrap().into_inner();
        all(lines).await.unwrap().into_iter().map(|line| line.message).collect()
    };
    assert_eq!(texts(request(|_| {})).await, ["one", "two"]);
    assert_eq!(texts(request(|request| request.tail = 1)).await, ["two"]);
    let by_path = request(|request| request.data_filters = vec!["/one".into()]);
    assert_eq!(texts(by_path).await, ["one"]);
    let by_other_path = request(|request| request.data_filters = vec!["/other".into()]);
    assert_eq!(texts(by_other_path).await, Vec::<String>::new());

    // A set that is being stored just now is in both places.
    let batch = LogBatch {
        pipeline: key.clone(),
        job: id,
        set: 0,
        worker: "w".into(),
        lines: object.lines.clone(),
    };
    server.core.live().logs.add(key.job(id), batch, true);
    assert_eq!(texts(request(|_| {})).await, ["one", "two"]);

    let follow = request(|request| request.follow = true);
    let mut lines = server.client.pps().get_logs(follow).await.unwrap().into_inner();
    for expected in ["one", "two"] {
        assert_eq!(next(&mut lines).await.unwrap().unwrap().message, expected);
    }
    let batch = LogBatch {
        pipeline: key.clone(),
        job: id,
        set: 1,
        worker: "w".into(),
        lines: vec![line("three", None)],
    };
    let job_key: JobKey = key.job(id);
    server.core.live().logs.add(job_key, batch, true);
    let message = next(&mut lines).await.unwrap().unwrap();
    assert_eq!(message.message, "three");
    assert_eq!(
        (message.pipeline_name.as_str(), message.worker_id.as_str()),
        ("edges", "w")
    );

    let status = server
        .client
        .pps()
        .get_logs(pps::GetLogsRequest::default())
        .await
        .unwrap_err();
    assert_eq!(status.code(), Code::Unimplemented);
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
async fn defaults_are_merged_under_specs_and_regenerate_them() {
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
async fn secrets_are_kept_but_not_shown() {
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
