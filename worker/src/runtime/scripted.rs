//! A runtime without containers: its commands are functions of a test or benchmark.
//!
//! Only the command is replaced. Folders, links, environment, tries and output are those of the
//! worker. A function receives a [`ScriptedCall`], writes into the slot's folders where a command
//! writes into `/pfs`, and returns a [`ScriptedEnd`]. The runtime does not enforce that inputs are
//! read-only.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use futures::future::BoxFuture;
use howdah_model::entities::ImagePin;
use tokio::sync::{Notify, watch};
use tokio_util::sync::CancellationToken;

use super::{
    OutputSink, RegistryAuth, RunOutcome, RunRequest, Runtime, RuntimeError, SlotDirs, Stage, StageRequest, Stream,
};

/// Name under which a test defines the command that replaces links out of `/pfs`.
pub const INIT: &str = "stage-init";

/// The argument of a scripted command.
pub struct ScriptedCall {
    /// The worker's request.
    pub request: RunRequest,
    /// Folders of the slot.
    pub dirs: SlotDirs,
    /// Name of the stage.
    pub stage: String,
}

impl ScriptedCall {
    /// Returns the value of an environment variable. If the name occurs twice, the last one.
    pub fn var(&self, name: &str) -> Option<&str> {
        let found = self.request.env.iter().rev().find(|(n, _)| n == name);
        found.map(|(_, value)| value.as_str())
    }

    /// Maps `/pfs` or a path below it to the path on this machine. Follows the link of an input.
    pub fn path(&self, path: &str) -> PathBuf {
        let inside = path.strip_prefix("/pfs").unwrap_or(path).trim_start_matches('/');
        let (first, rest) = inside.split_once('/').unwrap_or((inside, ""));
        let real = match std::fs::read_link(self.dirs.pfs.join(first)) {
            Ok(target) => match target.strip_prefix(".scratch") {
                Ok(inside) => self.dirs.inputs.join(inside),
                Err(_) => self.dirs.pfs.join(target),
            },
            Err(_) => self.dirs.pfs.join(first),
        };
        if rest.is_empty() { real } else { real.join(rest) }
    }
}

/// The end and the output of a scripted command.
#[derive(Debug, Default)]
pub struct ScriptedEnd {
    /// Exit code; `None` means that the command runs until it is cancelled or reaches its time limit.
    pub code: Option<i32>,
    /// Standard output.
    pub stdout: String,
    /// Standard error.
    pub stderr: String,
    /// The command does not end: the stage is lost.
    pub lost: bool,
}

impl ScriptedEnd {
    /// Makes the end of a command that succeeds.
    pub fn ok() -> Self {
        Self::exit(0)
    }

    /// Makes the end of a command that exits with `code`.
    pub fn exit(code: i32) -> Self {
        Self {
            code: Some(code),
            ..Self::default()
        }
    }

    /// Makes the end of a command that does not end by itself.
    pub fn endless() -> Self {
        Self::default()
    }
}

/// A scripted command.
pub type Script = Arc<dyn Fn(ScriptedCall) -> BoxFuture<'static, ScriptedEnd> + Send + Sync>;

/// Holds the start of stages: the start signals the first half and waits for the second.
pub type StartGate = (Arc<Notify>, Arc<Notify>);

/// The runtime. Clones share all state.
#[derive(Clone, Default)]
pub struct ScriptedRuntime {
    scripts: Arc<Mutex<HashMap<String, Script>>>,
    refuse: Arc<Mutex<Option<String>>>,
    gate: Arc<Mutex<Option<StartGate>>>,
    /// Changes when all stages are killed.
    kills: Arc<watch::Sender<u64>>,
    counts: Arc<CallCounts>,
}

/// Numbers of calls of the runtime, and of stages that run now.
#[derive(Default)]
struct CallCounts {
    started: AtomicUsize,
    refused: AtomicUsize,
    alive: AtomicUsize,
    cleaned: AtomicUsize,
}

impl ScriptedRuntime {
    /// Makes a runtime without commands.
    pub fn new() -> Self {
        Self::default()
    }

    /// Defines a command by the first word of its argument vector.
    pub fn define<F>(&self, name: &str, script: F)
    where
        F: Fn(ScriptedCall) -> ScriptedEnd + Send + Sync + 'static,
    {
        let script = Arc::new(script);
        self.define_async(name, move |call| {
            let script = Arc::clone(&script);
            Box::pin(async move { script(call) })
        });
    }

    /// Defines an asynchronous command.
    pub fn define_async<F>(&self, name: &str, script: F)
    where
        F: Fn(ScriptedCall) -> BoxFuture<'static, ScriptedEnd> + Send + Sync + 'static,
    {
        let mut scripts = self.scripts.lock().unwrap_or_else(PoisonError::into_inner);
        scripts.insert(name.to_owned(), Arc::new(script));
    }

    /// Makes starts of stages and resolutions of images fail with a text; `None` ends this.
    pub fn refuse(&self, why: Option<&str>) {
        *self.refuse.lock().unwrap_or_else(PoisonError::into_inner) = why.map(str::to_owned);
    }

    /// Makes every start of a stage signal the first half of the gate and wait for the second.
    pub fn hold_starts(&self) -> StartGate {
        let gate = (Arc::new(Notify::new()), Arc::new(Notify::new()));
        *self.gate.lock().unwrap_or_else(PoisonError::into_inner) = Some(gate.clone());
        gate
    }

    /// Ends all stages that run now, as if their containers were killed from outside.
    pub fn kill_stages(&self) {
        self.kills.send_modify(|kills| *kills += 1);
    }

    /// Returns the number of stages started so far.
    pub fn started(&self) -> usize {
        self.counts.started.load(Ordering::SeqCst)
    }

    /// Returns the number of refused calls.
    pub fn refused(&self) -> usize {
        self.counts.refused.load(Ordering::SeqCst)
    }

    /// Returns the number of stages that run now.
    pub fn alive(&self) -> usize {
        self.counts.alive.load(Ordering::SeqCst)
    }

    /// Returns the number of calls of [`Runtime::cleanup_orphans`].
    pub fn cleaned(&self) -> usize {
        self.counts.cleaned.load(Ordering::SeqCst)
    }

    fn check(&self, image: &str) -> Result<(), RuntimeError> {
        let refuse = self.refuse.lock().unwrap_or_else(PoisonError::into_inner);
        match &*refuse {
            Some(detail) => {
                self.counts.refused.fetch_add(1, Ordering::SeqCst);
                Err(RuntimeError::ImageNotFound {
                    image: image.to_owned(),
                    detail: detail.clone(),
                })
            }
            None => Ok(()),
        }
    }
}

#[async_trait]
impl Runtime for ScriptedRuntime {
    async fn resolve(&self, image: &str, _auth: Option<RegistryAuth>) -> Result<ImagePin, RuntimeError> {
        self.check(image)?;
        Ok(ImagePin {
            reference: image.to_owned(),
            digest: format!("sha256:{image}"),
        })
    }

    async fn fetch(&self, image: &ImagePin) -> Result<(), RuntimeError> {
        self.check(&image.reference)
    }

    async fn start(&self, req: &StageRequest) -> Result<Box<dyn Stage>, RuntimeError> {
        self.check(&req.image.reference)?;
        let gate = self.gate.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some((begun, go_on)) = gate {
            begun.notify_one();
            go_on.notified().await;
        }
        self.counts.started.fetch_add(1, Ordering::SeqCst);
        self.counts.alive.fetch_add(1, Ordering::SeqCst);
        Ok(Box::new(ScriptedStage {
            runtime: self.clone(),
            dirs: req.dirs.clone(),
            name: req.name.clone(),
            lost: false,
            kills: self.kills.subscribe(),
        }))
    }

    async fn cleanup_orphans(&self) -> Result<(), RuntimeError> {
        self.counts.cleaned.fetch_add(1, Ordering::SeqCst);
        Ok(())
    }

    fn name(&self) -> &'static str {
        "scripted"
    }
}

struct ScriptedStage {
    runtime: ScriptedRuntime,
    dirs: SlotDirs,
    name: String,
    lost: bool,
    kills: watch::Receiver<u64>,
}

impl Drop for ScriptedStage {
    fn drop(&mut self) {
        self.runtime.counts.alive.fetch_sub(1, Ordering::SeqCst);
    }
}

#[async_trait]
impl Stage for ScriptedStage {
    async fn run(
        &mut self,
        req: RunRequest,
        out: &mut OutputSink<'_>,
        cancel: &CancellationToken,
    ) -> Result<RunOutcome, RuntimeError> {
        let name = req.argv.first().cloned().unwrap_or_default();
        let script = {
            let scripts = self.runtime.scripts.lock().unwrap_or_else(PoisonError::into_inner);
            scripts.get(&name).cloned()
        };
        let Some(script) = script else {
            let text = format!("{name:?} was not found in the image");
            return Ok(RunOutcome::SpawnFailed(text));
        };
        let timeout = req.timeout;
        let call = ScriptedCall {
            request: req,
            dirs: self.dirs.clone(),
            stage: self.name.clone(),
        };
        let time_limit = async {
            match timeout {
                Some(limit) => tokio::time::sleep(limit).await,
                None => std::future::pending().await,
            }
        };
        let running = async {
            let end = script(call).await;
            out(Stream::Stdout, end.stdout.as_bytes());
            out(Stream::Stderr, end.stderr.as_bytes());
            match end.code {
                _ if end.lost => None,
                Some(code) => Some(code),
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            code = running => match code {
                Some(code) => Ok(RunOutcome::Exited(code)),
                None => {
                    self.lost = true;
                    Err(RuntimeError::StageLost {
                        name: self.name.clone(),
                        what: "went away as scripted".to_owned(),
                    })
                }
            },
            _ = self.kills.changed() => {
                self.lost = true;
                Err(RuntimeError::StageLost {
                    name: self.name.clone(),
                    what: "was killed as scripted".to_owned(),
                })
            }
            () = cancel.cancelled() => Ok(RunOutcome::Cancelled),
            () = time_limit => Ok(RunOutcome::TimedOut),
        }
    }

    fn init(&self) -> &str {
        INIT
    }

    fn image_env(&self) -> &[(String, String)] {
        &[]
    }

    fn image_workdir(&self) -> Option<&str> {
        None
    }

    fn image_user(&self) -> Option<&str> {
        None
    }

    async fn alive(&mut self) -> bool {
        !self.lost && !self.kills.has_changed().unwrap_or(true)
    }

    async fn stop(self: Box<Self>) {}
}
