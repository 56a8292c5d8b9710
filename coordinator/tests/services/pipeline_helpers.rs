//! What tests about pipelines, jobs and logs share: pipeline `edges`, and what the scheduler would do with its job.

use howdah_api::{convert, pps_v2 as pps};
use howdah_model::{
    BranchName, Command, Content, DatumCounts, DatumHash, DatumId, DatumIndex, GlobalId, ImagePin, JobOutcome,
    JobStats, PipelineKey, RepoKey, TreeRoot,
};
use howdah_protocol::objects::{DatumInput, DatumOutcome, DatumRecord, DatumStats};
use howdah_protocol::wire;
use howdah_store::{Store, Tree, TreeEdit, TreeValue};

use super::{Server, all, head};

pub(super) const SPEC: &str = r#"{
    "pipeline": {"name": "edges"},
    "description": "finds edges",
    "input": {"pfs": {"repo": "images", "glob": "/*"}},
    "transform": {"image": "example/edges:1", "cmd": ["/edges"]}
}"#;

pub(super) async fn create(
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

/// Starts a server with repo `images`, one file in it, and pipeline `edges` on it.
pub(super) async fn with_pipeline() -> Server {
    with_pipeline_on(Store::in_memory().await).await
}

/// Does what [`with_pipeline`] does, over a new store.
pub(super) async fn with_pipeline_on(store: Store) -> Server {
    let server = Server::on(store).await;
    server.create_repo("images").await;
    server.put(&head("images", "master"), "/one", "1").await;
    create(&server, SPEC, false).await.unwrap();
    server
}

pub(super) async fn jobs(server: &Server, request: pps::ListJobRequest) -> Vec<pps::JobInfo> {
    let jobs = server.client.pps().list_job(request).await.unwrap().into_inner();
    all(jobs).await.unwrap()
}

pub(super) fn edges() -> pps::Pipeline {
    convert::pipeline("default", "edges")
}

pub(super) fn edges_key() -> PipelineKey {
    "default/edges".parse().unwrap()
}

/// Finishes a job as the scheduler does, with one datum of the file `/one`.
pub(super) async fn finish(server: &Server, id: GlobalId) -> DatumId {
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
    let value = TreeValue::plain(wire::encode(&record), 0);
    let edit = TreeEdit::put(datum.as_bytes().to_vec(), value);
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

pub(super) fn input() -> DatumInput {
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

pub(super) async fn only_job(server: &Server) -> (pps::Job, GlobalId) {
    let found = jobs(server, pps::ListJobRequest::default()).await;
    let job = found[0].job.clone().unwrap();
    let id = job.id.parse().unwrap();
    (job, id)
}

pub(super) fn images() -> pps::Input {
    pps::Input {
        pfs: Some(pps::PfsInput {
            repo: "images".into(),
            glob: "/*".into(),
            ..Default::default()
        }),
        ..Default::default()
    }
}
