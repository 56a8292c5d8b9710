//! One stage container: made, started, talked to, removed.

use std::collections::HashMap;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use async_trait::async_trait;
use bollard::Docker;
use bollard::models::{
    ContainerCreateBody, HealthConfig, HostConfig, HostConfigLogConfig, ImageConfig, Mount, MountType,
};
use bollard::query_parameters::{
    CreateContainerOptionsBuilder, RemoveContainerOptionsBuilder, WaitContainerOptionsBuilder,
};
use futures::StreamExt;
use howdah_stage_init::frame::{Exit, Run};
use tokio_util::sync::CancellationToken;

use super::super::init_client::{Ended, InitConnection, InitListener, SOCKET_NAME};
use super::super::{Network, OutputSink, RunOutcome, RunRequest, RuntimeError, Stage, StageRequest};
use super::engine::{self, Engine};
use super::image::LocalImage;

/// Label whose value is the scratch folder of the worker that made a container.
pub const WORKER_LABEL: &str = "howdah.worker";

/// Where things are inside the container.
const PFS: &str = "/pfs";
const INPUTS: &str = "/pfs/.scratch";
const INIT: &str = "/.howdah/init";
const RUN_DIR: &str = "/.howdah/run";

/// `PATH` of containers whose image sets none; what engines use.
const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// How long a started container may take until `stage-init` greets.
const GREETING_LIMIT: Duration = Duration::from_secs(60);

/// How often a container that has not greeted yet is looked at.
const LOOK_AGAIN: Duration = Duration::from_millis(250);

/// How long a removal that is under way is waited for.
const REMOVAL_LIMIT: Duration = Duration::from_secs(20);

/// What a container needs beside the request.
pub struct Setup<'a> {
    /// The engine to use.
    pub engine: &'a Engine,
    /// `stage-init`, as a path on this side.
    pub init: &'a Path,
    /// Value of [`WORKER_LABEL`].
    pub owner: &'a str,
    /// Turns a path of this side into one of the engine's machine.
    pub to_engine: &'a (dyn Fn(&Path) -> PathBuf + Sync),
}

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

/// Makes and starts a container and waits for its `stage-init`.
pub async fn start(setup: &Setup<'_>, request: &StageRequest, image: LocalImage) -> Result<DockerStage, RuntimeError> {
    let io = |context: String| move |source| RuntimeError::Io { context, source };
    let mount_point = request.dirs.pfs.join(".scratch");
    // Made here, for the engine would make it as root.
    fs::create_dir_all(&mount_point).map_err(io(format!("cannot create {}", mount_point.display())))?;
    let run_dir = &request.dirs.run;
    let listener = fs::set_permissions(run_dir, fs::Permissions::from_mode(0o755))
        .and_then(|()| InitListener::bind(run_dir))
        .map_err(io(format!("cannot listen in {}", run_dir.display())))?;

    let name = container_name(&request.name);
    let api = setup.engine.api.clone();
    let options = CreateContainerOptionsBuilder::default().name(&name).build();
    let definition = definition(setup, request, &image);
    let give_back = give_back(setup.engine);
    let reference = request.image.reference.clone();
    // A task of its own: whoever waits may give up (the job was stopped) while the engine is still at it. The
    // stage is then dropped when it is complete, and so removed; a container that was made and never started
    // would stay for ever.
    let begun = tokio::spawn(async move {
        let created = api
            .create_container(Some(options), definition)
            .await
            .map_err(|e| engine::failed("create a stage container", &e))?;
        for warning in created.warnings {
            tracing::debug!(container = name, "{warning}");
        }
        let connection = match begin(&api, &created.id, &name, &listener).await {
            Ok(connection) => connection,
            Err(e) => {
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
    match begun.await {
        Ok(stage) => stage,
        Err(e) => Err(RuntimeError::Io {
            context: "cannot wait for a stage container".to_owned(),
            source: e.into(),
        }),
    }
}

/// Starts a container and waits for its `stage-init`.
async fn begin(api: &Docker, id: &str, name: &str, listener: &InitListener) -> Result<InitConnection, RuntimeError> {
    api.start_container(id, None)
        .await
        .map_err(|e| engine::failed("start a stage container", &e))?;
    greeting(api, id, name, listener).await
}

/// Returns the owner, in the container's numbers, that lets this process read and remove what
/// commands write. Root needs none.
fn give_back(engine: &Engine) -> Option<(u32, u32)> {
    let own = fs::metadata("/proc/self").ok()?;
    match own.uid() {
        0 => None,
        // A rootless engine runs as ourselves and shows us as root.
        _ if engine.rootless => Some((0, 0)),
        uid => Some((uid, own.gid())),
    }
}

fn container_name(wanted: &str) -> String {
    let mut name: String = wanted
        .chars()
        .map(|c| {
            if c.is_ascii_alphanumeric() || "_.-".contains(c) {
                c
            } else {
                '-'
            }
        })
        .take(80)
        .collect();
    // Several workers may share an engine: the end makes it unique.
    let random = uuid::Uuid::new_v4().simple().to_string();
    name.push('-');
    name.push_str(&random[..12]);
    format!("howdah-{name}")
}

fn definition(setup: &Setup<'_>, request: &StageRequest, image: &LocalImage) -> ContainerCreateBody {
    let mut labels: HashMap<String, String> = request.labels.clone().into_iter().collect();
    labels.insert(WORKER_LABEL.to_owned(), setup.owner.to_owned());
    let mount = |source: &Path, target: &str, read_only: bool| Mount {
        typ: Some(MountType::BIND),
        source: Some((setup.to_engine)(source).to_string_lossy().into_owned()),
        target: Some(target.to_owned()),
        read_only: Some(read_only),
        ..Mount::default()
    };
    let memory = request
        .memory_bytes
        .map(|bytes| i64::try_from(bytes).unwrap_or(i64::MAX));
    let network = match &request.network {
        Network::Default => None,
        Network::None => Some("none".to_owned()),
        Network::Named(name) => Some(name.clone()),
    };
    ContainerCreateBody {
        image: Some(image.id.clone()),
        entrypoint: Some(vec![INIT.to_owned(), format!("{RUN_DIR}/{SOCKET_NAME}")]),
        cmd: Some(Vec::new()),
        // It becomes the stage's user itself, for each command.
        user: Some("0:0".to_owned()),
        working_dir: Some("/".to_owned()),
        labels: Some(labels),
        // An image's own check would run beside the stage's commands, and be killed with them.
        healthcheck: Some(HealthConfig {
            test: Some(vec!["NONE".to_owned()]),
            ..HealthConfig::default()
        }),
        host_config: Some(HostConfig {
            mounts: Some(vec![
                mount(setup.init, INIT, true),
                mount(&request.dirs.run, RUN_DIR, true),
                mount(&request.dirs.pfs, PFS, false),
                mount(&request.dirs.inputs, INPUTS, true),
            ]),
            memory,
            // Without this as much again may be swapped, and the limit is none.
            memory_swap: memory,
            nano_cpus: request.cpus.map(|cpus| (cpus * 1e9).round() as i64),
            network_mode: network,
            init: Some(false),
            auto_remove: Some(true),
            log_config: Some(HostConfigLogConfig {
                typ: Some("none".to_owned()),
                config: None,
            }),
            // SELinux would keep the container from its mounts; ignored where there is none.
            security_opt: Some(vec!["label=disable".to_owned()]),
            ..HostConfig::default()
        }),
        ..ContainerCreateBody::default()
    }
}

/// Waits for `stage-init`, but not for one whose container has ended.
async fn greeting(api: &Docker, id: &str, name: &str, listener: &InitListener) -> Result<InitConnection, RuntimeError> {
    let lost = |what: String| RuntimeError::StageLost {
        name: name.to_owned(),
        what,
    };
    let accept = listener.accept();
    tokio::pin!(accept);
    let patience = tokio::time::Instant::now() + GREETING_LIMIT;
    loop {
        tokio::select! {
            connection = &mut accept => {
                return connection.map_err(|e| lost(format!("did not greet: {e}")));
            }
            () = tokio::time::sleep(LOOK_AGAIN) => {}
        }
        let state = match api.inspect_container(id, None).await {
            Ok(found) => found.state.unwrap_or_default(),
            Err(e) if engine::status(&e) == Some(404) => {
                return Err(lost("ended as soon as it had started".to_owned()));
            }
            Err(e) => return Err(engine::failed("look at a stage container", &e)),
        };
        if state.running == Some(false) {
            let code = state.exit_code.unwrap_or_default();
            return Err(lost(format!("ended as soon as it had started, with code {code}")));
        }
        if tokio::time::Instant::now() > patience {
            return Err(lost(format!(
                "did not answer within {} s; containers of this engine cannot reach sockets in \
                 mounted folders, or the machine is overloaded",
                GREETING_LIMIT.as_secs()
            )));
        }
    }
}

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

/// Kills and removes a container, and returns when it is gone. One that is gone already is fine.
pub async fn remove(api: &Docker, id: &str) {
    let options = RemoveContainerOptionsBuilder::default().force(true).v(true).build();
    match api.remove_container(id, Some(options)).await {
        Ok(()) => {}
        Err(e) if engine::status(&e) == Some(404) => {}
        // It ended a moment ago and the engine is removing it by itself.
        Err(e) if engine::status(&e) == Some(409) => {
            let options = WaitContainerOptionsBuilder::default().condition("removed").build();
            // Whatever the answer says (the exit code, or that there is no such container), it is
            // the end of the container.
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
        // Rounded up: 0 would mean no limit.
        let limit = |d: Duration| u64::try_from(d.as_micros().div_ceil(1000)).unwrap_or(u64::MAX);
        let run = Run {
            argv: req.argv,
            env: req.env,
            cwd: cwd.unwrap_or_default(),
            user: user.unwrap_or_default(),
            stdin: req.stdin,
            timeout_ms: req.timeout.map_or(0, |d| limit(d).max(1)),
            work_dirs: vec![PFS.to_owned()],
            give_back: self.give_back,
        };
        match self.connection.run(run, out, cancel).await {
            Ok(Ended::Exit(exit)) => Ok(match exit {
                Exit::Code(code) => RunOutcome::Exited(code),
                Exit::Signal(signal) => RunOutcome::Signaled(signal),
                Exit::TimedOut => RunOutcome::TimedOut,
                Exit::Killed => RunOutcome::Cancelled,
                Exit::NotStarted(text) => RunOutcome::SpawnFailed(text),
            }),
            Ok(Ended::Refused(text)) => Ok(RunOutcome::SpawnFailed(text)),
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
        self.removed = true;
    }
}

impl Drop for DockerStage {
    fn drop(&mut self) {
        if self.removed {
            return;
        }
        // Closing the connection ends stage-init and with it the container. Removing it is only
        // for the case that it hangs.
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
    fn names_are_legal_and_never_the_same() {
        let name = container_name("default/edges v2 ü");
        assert!(name.starts_with("howdah-default-edges-v2---"), "{name}");
        assert_ne!(name, container_name("default/edges v2 ü"));
    }

    #[test]
    fn images_without_a_path_get_the_engines() {
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
