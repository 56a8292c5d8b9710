//! Shared parts of the tests of the Docker runtime: an image, folders of a slot, a runtime.

use std::collections::BTreeMap;
use std::hash::{Hash, Hasher};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::OnceLock;

use howdah_model::entities::ImagePin;
use howdah_worker::runtime::docker::containment::Containment;
use howdah_worker::runtime::docker::credentials::Credentials;
use howdah_worker::runtime::docker::{DockerConfig, DockerRuntime};
use howdah_worker::runtime::{Network, RunOutcome, RunRequest, Runtime, SlotDirs, Stage, StageRequest, Stream};
use tokio_util::sync::CancellationToken;

pub(crate) mod registry;

const TOOL: &str = include_str!("tool.rs");

const DOCKERFILE: &str = "FROM scratch
COPY tool /tool
ENV GREETING=\"hello world\"
WORKDIR /work
";

/// Runs a command and fails the test if the command fails.
pub(crate) fn sh(program: &str, args: &[&str]) -> Output {
    let output = Command::new(program).args(args).output().unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{program} {args:?}: {stderr}");
    output
}

/// Returns the path of the test tool. Compiles it unless an earlier test process has done so.
pub(crate) fn tool() -> &'static Path {
    static PATH: OnceLock<PathBuf> = OnceLock::new();
    PATH.get_or_init(|| {
        let dir = Path::new(env!("CARGO_TARGET_TMPDIR"));
        let mut hasher = std::hash::DefaultHasher::new();
        TOOL.hash(&mut hasher);
        let path = dir.join(format!("tool-{:016x}", hasher.finish()));
        if path.exists() {
            return path;
        }
        let folder = tempfile::tempdir_in(dir).unwrap();
        let source = folder.path().join("tool.rs");
        let program = folder.path().join("tool");
        std::fs::write(&source, TOOL).unwrap();
        let rustc = std::env::var("RUSTC").unwrap_or_else(|_| "rustc".into());
        // Without the folder's name in the program, the same source always gives the same image.
        let remap = format!("--remap-path-prefix={}=.", folder.path().display());
        let flags = "--edition 2024 -C target-feature=+crt-static -C strip=symbols";
        let mut args: Vec<&str> = flags.split(' ').collect();
        args.push(&remap);
        args.extend([source.to_str().unwrap(), "-o", program.to_str().unwrap()]);
        sh(&rustc, &args);
        // Test processes run concurrently, and each may rename its own program to this path. All
        // programs are the same.
        std::fs::rename(&program, &path).unwrap();
        path
    })
}

/// Builds the image of the tests once and returns its reference.
pub(crate) fn image() -> &'static str {
    static IMAGE: OnceLock<String> = OnceLock::new();
    IMAGE.get_or_init(|| {
        let context = tempfile::tempdir().unwrap();
        std::fs::copy(tool(), context.path().join("tool")).unwrap();
        std::fs::write(context.path().join("Dockerfile"), DOCKERFILE).unwrap();
        let image = "howdah-test/tool:1";
        sh("docker", &["build", "--tag", image, context.path().to_str().unwrap()]);
        image.to_owned()
    })
}

/// A runtime with a scratch folder and the folders of one slot.
pub(crate) struct DockerFixture {
    pub scratch: tempfile::TempDir,
    pub runtime: DockerRuntime,
    pub dirs: SlotDirs,
}

impl DockerFixture {
    pub(crate) fn new() -> Self {
        Self::with_credentials(Credentials::default())
    }

    pub(crate) fn with_credentials(credentials: Credentials) -> Self {
        let scratch = tempfile::tempdir().unwrap();
        let dirs = slot_dirs(scratch.path());
        let runtime = runtime_over(scratch.path(), credentials);
        Self { scratch, runtime, dirs }
    }

    pub(crate) async fn request(&self) -> StageRequest {
        StageRequest {
            name: "default/edges-v1".into(),
            image: self.runtime.resolve(image(), None).await.unwrap(),
            dirs: self.dirs.clone(),
            labels: BTreeMap::new(),
            user_labels: BTreeMap::new(),
            memory_bytes: None,
            cpus: None,
            network: Network::Default,
        }
    }

    pub(crate) async fn start(&self) -> Box<dyn Stage> {
        let request = self.request().await;
        self.runtime.start(&request).await.unwrap()
    }

    pub(crate) async fn start_image(&self, image: ImagePin) -> Box<dyn Stage> {
        let request = StageRequest {
            image,
            ..self.request().await
        };
        self.runtime.start(&request).await.unwrap()
    }

    /// Returns the ids of this runtime's containers, running or not.
    pub(crate) fn containers(&self) -> Vec<String> {
        let label = format!("label=howdah.worker={}", self.scratch.path().display());
        let output = sh("docker", &["ps", "--all", "--quiet", "--no-trunc", "--filter", &label]);
        let text = String::from_utf8(output.stdout).unwrap();
        text.lines().map(str::to_owned).collect()
    }
}

impl Drop for DockerFixture {
    /// Removes the containers of a test that failed.
    fn drop(&mut self) {
        for id in self.containers() {
            let _ = Command::new("docker").args(["rm", "--force", &id]).output();
        }
    }
}

pub(crate) fn runtime_over(scratch: &Path, credentials: Credentials) -> DockerRuntime {
    DockerRuntime::new(DockerConfig {
        scratch: scratch.to_owned(),
        host: None,
        credentials,
        scratch_on_engine: None,
        containment: Containment::default(),
    })
}

pub(crate) fn slot_dirs(scratch: &Path) -> SlotDirs {
    let slot = scratch.join("slots/1");
    let dirs = SlotDirs {
        pfs: slot.join("pfs"),
        inputs: slot.join("inputs"),
        run: slot.join("run"),
    };
    for dir in [&dirs.pfs.join("out"), &dirs.inputs, &dirs.run] {
        std::fs::create_dir_all(dir).unwrap();
    }
    dirs
}

/// The end and the output of a command.
#[derive(Debug)]
pub(crate) struct CommandResult {
    pub outcome: RunOutcome,
    pub out: String,
    pub err: String,
}

pub(crate) fn tool_request(args: &[&str]) -> RunRequest {
    let mut argv = vec!["/tool".to_owned()];
    argv.extend(args.iter().map(|a| (*a).to_owned()));
    RunRequest {
        argv,
        ..RunRequest::default()
    }
}

pub(crate) async fn run(stage: &mut Box<dyn Stage>, request: RunRequest) -> CommandResult {
    let (mut out, mut err) = (Vec::new(), Vec::new());
    let mut sink = |stream: Stream, bytes: &[u8]| match stream {
        Stream::Stdout => out.extend_from_slice(bytes),
        Stream::Stderr => err.extend_from_slice(bytes),
    };
    let never = CancellationToken::new();
    let outcome = stage.run(request, &mut sink, &never).await.unwrap();
    CommandResult {
        outcome,
        out: String::from_utf8(out).unwrap(),
        err: String::from_utf8(err).unwrap(),
    }
}

pub(crate) async fn tool_run(stage: &mut Box<dyn Stage>, args: &[&str]) -> CommandResult {
    run(stage, tool_request(args)).await
}
