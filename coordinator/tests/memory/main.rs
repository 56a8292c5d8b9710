//! The memory of a server, whatever clients send and ask for. Each test compares the most memory that its process has
//! used with a limit, over a store in a folder.
//!
//! `cargo nextest` runs each test in a process of its own. In one process they run one after the other.

#![expect(clippy::unwrap_used, reason = "a test ends at the first surprise")]

mod bombs;
mod datums;
mod logs;
mod streams;

use std::fs;
use std::future::IntoFuture;
use std::sync::{Mutex, MutexGuard, PoisonError};

use howdah_api::address::Address;
use howdah_api::client::{Client, ClientOptions};
use howdah_api::{convert, pfs_v2 as pfs, pps_v2 as pps};
use howdah_coordinator::live::LiveStatus;
use howdah_coordinator::metadata::{self, Core};
use howdah_coordinator::services;
use howdah_model::{Command, DatumCounts, GlobalId, PipelineKey};
use howdah_store::{Store, StoreConfig};
use tempfile::TempDir;

const SPEC: &str = r#"{
    "pipeline": {"name": "edges"},
    "input": {"pfs": {"repo": "images", "glob": "/*"}},
    "transform": {"image": "example/edges:1", "cmd": ["/edges"]}
}"#;

/// A server over a folder, with repo `images`, pipeline `edges` on it, and its job.
struct Server {
    core: Core,
    client: Client,
    port: u16,
    job: GlobalId,
    _folder: TempDir,
}

impl Server {
    /// Starts with so much memory for what clients send.
    async fn start(request_memory_bytes: usize) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let store = StoreConfig::new(format!("file://{}", folder.path().display()));
        let store = Store::open(&store).await.unwrap();
        let live = LiveStatus::new(request_memory_bytes);
        let (core, command_loop) = metadata::open(store, live).await.unwrap();
        tokio::spawn(command_loop.run());
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        tokio::spawn(axum::serve(listener, services::router(core.clone(), None, None, None)).into_future());
        let address = Address::tcp("127.0.0.1", port);
        let client = Client::connect(&address, ClientOptions::default()).await.unwrap();
        let create = pfs::CreateRepoRequest {
            repo: Some(convert::repo("default", "images")),
            ..Default::default()
        };
        client.pfs().create_repo(create).await.unwrap();
        let create = pps::CreatePipelineV2Request {
            create_pipeline_request_json: SPEC.to_owned(),
            ..Default::default()
        };
        client.pps().create_pipeline_v2(create).await.unwrap();
        let commit = pfs::StartCommitRequest {
            branch: Some(convert::branch_of(convert::repo("default", "images"), "master")),
            ..Default::default()
        };
        let commit = client.pfs().start_commit(commit).await.unwrap().into_inner();
        let finish = pfs::FinishCommitRequest {
            commit: Some(commit),
            ..Default::default()
        };
        client.pfs().finish_commit(finish).await.unwrap();
        let jobs = client.pps().list_job(pps::ListJobRequest::default()).await;
        let newest = jobs.unwrap().into_inner().message().await.unwrap().unwrap();
        Self {
            core,
            client,
            port,
            job: newest.job.unwrap().id.parse().unwrap(),
            _folder: folder,
        }
    }

    fn job(&self) -> pps::Job {
        convert::job(convert::pipeline("default", "edges"), self.job.to_string())
    }

    /// Lets the job run by a plan, as the scheduler does.
    async fn run(&self, plan: String, counts: DatumCounts) {
        let job = edges().job(self.job);
        let commands = [
            Command::StartJob { job: job.clone() },
            Command::PlanJob { job, plan, counts },
        ];
        for command in commands {
            self.core.submit(command).await.unwrap();
        }
    }
}

fn edges() -> PipelineKey {
    "default/edges".parse().unwrap()
}

/// Measures the memory of this process.
struct PeakMemory(#[expect(dead_code, reason = "keeps other tests of the process waiting")] MutexGuard<'static, ()>);

impl PeakMemory {
    /// Begins. Later measurements begin when this one has ended.
    fn begin() -> Self {
        static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
        let guard = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
        // Sets the mark of the kernel to what is used now.
        fs::write("/proc/self/clear_refs", "5").unwrap();
        Self(guard)
    }

    /// Fails if more was used at any time since the beginning.
    fn expect_at_most(&self, bytes: usize) {
        let status = fs::read_to_string("/proc/self/status").unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
        let kib: usize = line.trim().trim_end_matches(" kB").parse().unwrap();
        assert!(kib << 10 <= bytes, "{} MiB used, {} allowed", kib >> 10, bytes >> 20);
    }
}
