//! One stage container: creation, start, commands and removal.
//!
//! - [`start`] creates a container, starts it and waits for the greeting of its `stage-init`;
//! - [`DockerStage`] runs commands in it;
//! - [`remove`] kills and removes a container.
//!
//! No container may stay behind. A container that has started ends when its connection closes, and
//! the engine removes it (`AutoRemove`). A container that was created and never started has no such
//! protection: [`start`] removes it after an error. If the worker is killed in between, the next
//! worker on the same scratch folder finds the container by its label
//! [`WORKER_LABEL`](super::definition::WORKER_LABEL).

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::time::Duration;

use async_trait::async_trait;
use bollard::Docker;
use bollard::models::ImageConfig;
use bollard::query_parameters::{
    CreateContainerOptionsBuilder, RemoveContainerOptionsBuilder, WaitContainerOptionsBuilder,
};
use futures::StreamExt;
use howdah_stage_init::explain::DEFAULT_PATH;
use howdah_stage_init::frame::{CommandEnd, RunCommand};
use tokio_util::sync::CancellationToken;

use super::super::init_client::{InitConnection, InitListener, InitRun};
use super::super::{OutputSink, RunOutcome, RunRequest, RuntimeError, Stage, StageRequest};
use super::definition::{INIT, PFS, StageSetup, container_name, definition};
use super::engine::{self, Engine};
use super::image::LocalImage;

/// Time limit from the start of a container to the greeting of `stage-init`.
const GREETING_LIMIT: Duration = Duration::from_secs(60);

/// Interval at which the state of a container is checked until the greeting.
const CHECK_INTERVAL: Duration = Duration::from_millis(250);

/// Time limit for a removal that the engine has already begun.
const REMOVAL_LIMIT: Duration = Duration::from_secs(20);

/// A running stage container.
pub struct DockerStage {
    api: Docker,
    id: String,
    name: String,
    connection: InitConnection,
    env: Vec<(String, String)>,
    workdir: Option<String>,
    user: Option<String>,
    give_back: Option<(u32, u32)>,
    removed: bool,
}

/// Creates and starts a container and waits for the greeting of its `stage-init`.
///
/// Cancel safe: when this future is dropped, the container is removed in the background.
pub async fn start(
    setup: &StageSetup<'_>,
    request: &StageRequest,
    image: LocalImage,
) -> Result<DockerStage, RuntimeError> {
    let io = |context: String| move |source| RuntimeError::Io { context, source };
    let mount_point = request.dirs.pfs.join(".scratch");
    // The engine would create the missing folder as root, and a worker that is not root could not
    // remove it.
    fs::create_dir_all(&mount_point).map_err(io(format!("cannot create {}", mount_point.display())))?;
    let run_dir = &request.dirs.run;
    // Before the container starts: stage-init connects at once, and ends if there is no socket.
    let listener = fs::set_permissions(run_dir, fs::Permissions::from_mode(0o755))
        .and_then(|()| InitListener::bind(run_dir))
        .map_err(io(format!("cannot listen in {}", run_dir.display())))?;

    let name = container_name(&request.name);
    let api = setup.engine.api.clone();
    let options = CreateContainerOptionsBuilder::default().name(&name).build();
    let definition = definition(setup, request, &image);
    let give_back = give_back(setup.engine);
    let reference = request.image.reference.clone();
    // In a task of its own, because the caller may drop this future (its job was stopped) while the
    // engine works. The task then completes and drops the stage, which removes the container.
    // Dropped in place, the steps below would leave a container that is created and never started,
    // and that the engine never removes.
    let started = tokio::spawn(async move {
        let created = api
            .create_container(Some(options), definition)
            .await
            .map_err(|e| engine::failed("create a stage container", &e))?;
        for warning in created.warnings {
            tracing::debug!(container = name, "{warning}");
        }
        let connection = match start_and_connect(&api, &created.id, &name, &listener).await {
            Ok(connection) => connection,
            Err(e) => {
                // `AutoRemove` covers only a container that has started and ended.
                remove(&api, &created.id).await;
                return Err(e);
            }
        };
        tracing::debug!(container = name, image = reference, "stage container is up");
        let LocalImage { config, .. } = image;
        Ok(DockerStage {
            api,
            id: created.id,
            name,
            connection,
            env: image_env(&config),
            workdir: config.working_dir.filter(|d| !d.is_empty()),
            user: config.user.filter(|u| !u.is_empty()),
            give_back,
            removed: false,
        })
    });
    match started.await {
        Ok(stage) => stage,
        Err(e) => Err(RuntimeError::Io {
            context: "cannot wait for a stage container".to_owned(),
            source: e.into(),
        }),
    }
}

/// Starts a container and waits for the greeting of its `stage-init`.
async fn start_and_connect(
    api: &Docker,
    id: &str,
    name: &str,
    listener: &InitListener,
) -> Result<InitConnection, RuntimeError> {
    api.start_container(id, None)
        .await
        .map_err(|e| engine::failed("start a stage container", &e))?;
    wait_for_greeting(api, id, name, listener).await
}

/// Returns the user and group, as ids inside the container, that output must belong to after a run
/// so that this process can read and remove it. `None` for root, which can do that in any case.
fn give_back(engine: &Engine) -> Option<(u32, u32)> {
    let own = fs::metadata("/proc/self").ok()?;
    match own.uid() {
        0 => None,
        // A rootless engine runs as the same user as this process, and maps it to root inside.
        _ if engine.rootless => Some((0, 0)),
        uid => Some((uid, own.gid())),
    }
}

/// Waits for the greeting of `stage-init`. Fails at once when the container has ended.
async fn wait_for_greeting(
    api: &Docker,
    id: &str,
    name: &str,
    listener: &InitListener,
) -> Result<InitConnection, RuntimeError> {
    let lost = |what: String| RuntimeError::StageLost {
        name: name.to_owned(),
        what,
    };
    // One future for all turns of the loop: a new one for each turn would drop a connection whose
    // greeting is still to come, and stage-init connects only once.
    let accept = listener.accept();
    tokio::pin!(accept);
    let deadline = tokio::time::Instant::now() + GREETING_LIMIT;
    loop {
        tokio::select! {
            connection = &mut accept => {
                return connection.map_err(|e| lost(format!("did not greet: {e}")));
            }
            () = tokio::time::sleep(CHECK_INTERVAL) => {}
        }
        // The socket does not show that a container has ended before stage-init connected.
        let state = match api.inspect_container(id, None).await {
            Ok(found) => found.state.unwrap_or_default(),
            // The container has ended, and `AutoRemove` has removed it.
            Err(e) if engine::status(&e) == Some(404) => {
                return Err(lost("ended as soon as it had started".to_owned()));
            }
            Err(e) => return Err(engine::failed("look at a stage container", &e)),
        };
        if state.running == Some(false) {
            let code = state.exit_code.unwrap_or_default();
            return Err(lost(format!("ended as soon as it had started, with code {code}")));
        }
        if tokio::time::Instant::now() > deadline {
            return Err(lost(format!(
                "did not answer within {} s; containers of this engine cannot reach sockets in \
                 mounted folders, or the machine is overloaded",
                GREETING_LIMIT.as_secs()
            )));
        }
    }
}

/// Returns the environment of the image, completed by a `PATH`.
fn image_env(config: &ImageConfig) -> Vec<(String, String)> {
    let mut env: Vec<(String, String)> = config
        .env
        .iter()
        .flatten()
        .filter_map(|entry| entry.split_once('='))
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect();
    if !env.iter().any(|(name, _)| name == "PATH") {
        env.push(("PATH".to_owned(), DEFAULT_PATH.to_owned()));
    }
    env
}

/// Kills and removes a container, and waits until the engine has removed it.
///
/// A container that does not exist any more is no error. Other errors are logged: the container is
/// removed by the next [`cleanup_orphans`](super::super::Runtime::cleanup_orphans).
pub async fn remove(api: &Docker, id: &str) {
    let options = RemoveContainerOptionsBuilder::default().force(true).v(true).build();
    match api.remove_container(id, Some(options)).await {
        Ok(()) => {}
        Err(e) if engine::status(&e) == Some(404) => {}
        // The container has just ended and `AutoRemove` is at work. Its folders are still mounted,
        // so the caller must not reuse them yet.
        Err(e) if engine::status(&e) == Some(409) => {
            let options = WaitContainerOptionsBuilder::default().condition("removed").build();
            // Every answer (the exit code, or that there is no such container) means that the
            // container is removed.
            let mut gone = api.wait_container(id, Some(options));
            let _ = tokio::time::timeout(REMOVAL_LIMIT, gone.next()).await;
        }
        Err(e) => tracing::warn!(container = id, "cannot remove: {}", engine::message(&e)),
    }
}

#[async_trait]
impl Stage for DockerStage {
    async fn run(
        &mut self,
        req: RunRequest,
        out: &mut OutputSink<'_>,
        cancel: &CancellationToken,
    ) -> Result<RunOutcome, RuntimeError> {
        let user = req.user.or_else(|| self.user.clone());
        let cwd = req.cwd.or_else(|| self.workdir.clone());
        // Rounded up, because 0 means no limit.
        let limit = |d: Duration| u64::try_from(d.as_micros().div_ceil(1000)).unwrap_or(u64::MAX);
        let run = RunCommand {
            argv: req.argv,
            env: req.env,
            cwd: cwd.unwrap_or_default(),
            user: user.unwrap_or_default(),
            stdin: req.stdin,
            timeout_ms: req.timeout.map_or(0, |d| limit(d).max(1)),
            work_dirs: vec![PFS.to_owned()],
            give_back: self.give_back,
            empty_first: req.empty_first,
        };
        match self.connection.run(run, out, cancel).await {
            Ok(InitRun::Exit(exit)) => Ok(match exit {
                CommandEnd::Code(code) => RunOutcome::Exited(code),
                CommandEnd::Signal(signal) => RunOutcome::Signaled(signal),
                CommandEnd::TimedOut => RunOutcome::TimedOut,
                CommandEnd::Killed => RunOutcome::Cancelled,
                CommandEnd::NotStarted(text) => RunOutcome::SpawnFailed(text),
                CommandEnd::NotEmptied(text) => RunOutcome::NotEmptied(text),
            }),
            Ok(InitRun::Refused(text)) => Ok(RunOutcome::SpawnFailed(text)),
            Err(e) => Err(RuntimeError::StageLost {
                name: self.name.clone(),
                what: match e.kind() {
                    std::io::ErrorKind::UnexpectedEof
                    | std::io::ErrorKind::ConnectionReset
                    | std::io::ErrorKind::BrokenPipe => "ended in the middle of a command; it was \
                        killed from outside, or ran out of memory"
                        .to_owned(),
                    _ => format!("is lost: {e}"),
                },
            }),
        }
    }

    fn init(&self) -> &str {
        INIT
    }

    fn image_env(&self) -> &[(String, String)] {
        &self.env
    }

    fn image_workdir(&self) -> Option<&str> {
        self.workdir.as_deref()
    }

    fn image_user(&self) -> Option<&str> {
        self.user.as_deref()
    }

    async fn alive(&mut self) -> bool {
        self.connection.is_alive()
    }

    async fn stop(mut self: Box<Self>) {
        self.connection.request_shutdown();
        remove(&self.api, &self.id).await;
        // After the await: if this future is dropped before, `drop` repeats the removal.
        self.removed = true;
    }
}

impl Drop for DockerStage {
    fn drop(&mut self) {
        if self.removed {
            return;
        }
        // The connection closes after this function. That ends stage-init and with it the
        // container. The removal is for a container that hangs. Without an async runtime (the
        // worker is ending) it is left to the next worker's cleanup.
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            let (api, id) = (self.api.clone(), std::mem::take(&mut self.id));
            runtime.spawn(async move { remove(&api, &id).await });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn images_without_a_path_get_the_default_one() {
        let mut config = ImageConfig {
            env: Some(vec!["A=b=c".into(), "broken".into()]),
            ..ImageConfig::default()
        };
        let env = image_env(&config);
        assert_eq!(env[0], ("A".into(), "b=c".into()));
        assert_eq!(env[1].0, "PATH");
        config.env = Some(vec!["PATH=/x".into()]);
        assert_eq!(image_env(&config), [("PATH".into(), "/x".into())]);
    }
}
