//! Where a stage's commands run: the [`Runtime`] trait and its implementations.
//!
//! A [`Runtime`] keeps one environment per slot and pipeline version warm (a [`Stage`]); commands
//! are then run in it one after the other, cheaply. This module knows nothing of datums, tries or
//! stores: it starts what it is told to start, streams the output and says how the command ended.
//!
//! - [`docker`]: containers of a Docker engine or of Podman's compatible socket.
//! - [`init_client`]: the worker's half of the conversation with `stage-init`, the program that
//!   is the first process inside a stage container; [`init_program`] is that program.

pub mod docker;
pub mod init_client;
pub mod init_program;
#[cfg(any(test, feature = "test-util"))]
pub mod scripted;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use async_trait::async_trait;
use howdah_model::entities::ImagePin;
use tokio_util::sync::CancellationToken;

/// Starts environments in which the commands of stages run.
#[async_trait]
pub trait Runtime: Send + Sync {
    /// Finds out which exact image a reference means now, fetching it where it is missing.
    ///
    /// The pin's digest stays valid for [`Runtime::start`] even when the reference moves on.
    async fn resolve(&self, image: &str, auth: Option<RegistryAuth>) -> Result<ImagePin, RuntimeError>;

    /// Fetches the image of a pin where it is missing, so that [`Runtime::start`] finds it here. May
    /// be given up at any time.
    async fn fetch(&self, image: &ImagePin) -> Result<(), RuntimeError>;

    /// Starts the environment of one slot. Nothing of the user's runs yet.
    async fn start(&self, req: &StageRequest) -> Result<Box<dyn Stage>, RuntimeError>;

    /// Removes what an earlier worker on the same scratch folder left running.
    async fn cleanup_orphans(&self) -> Result<(), RuntimeError>;

    /// Returns the runtime's name for messages and metrics.
    fn name(&self) -> &'static str;
}

/// One warm environment; commands run in it one at a time.
///
/// Dropping a stage without [`Stage::stop`] leaves its cleaning to a background attempt and to the
/// next [`Runtime::cleanup_orphans`].
#[async_trait]
pub trait Stage: Send {
    /// Runs one command to its end and hands every piece of output to `out` as it comes.
    ///
    /// Whatever ends the run, its whole process group is dead when this returns `Ok`. An `Err`
    /// means that the environment is lost and a new one must be started.
    async fn run(
        &mut self,
        req: RunRequest,
        out: &mut OutputSink<'_>,
        cancel: &CancellationToken,
    ) -> Result<RunOutcome, RuntimeError>;

    /// Returns the path of `stage-init` in the environment, whose [`COPY_LINKS`] is a command too.
    ///
    /// [`COPY_LINKS`]: howdah_stage_init::COPY_LINKS
    fn init(&self) -> &str;

    /// Returns the environment variables that the image sets.
    fn image_env(&self) -> &[(String, String)];

    /// Returns the working directory that the image sets, if any.
    fn image_workdir(&self) -> Option<&str>;

    /// Returns the user that the image sets, if any (any form of `transform.user`).
    fn image_user(&self) -> Option<&str>;

    /// Says whether the environment can still run commands.
    async fn alive(&mut self) -> bool;

    /// Ends the environment and everything that still runs in it.
    async fn stop(self: Box<Self>);
}

/// Credentials for the registry that an image is pulled from.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct RegistryAuth {
    /// User name; empty when a token is used.
    pub username: String,
    /// Password or access token.
    pub password: String,
    /// Identity token of an OAuth login, if there is one.
    pub identity_token: Option<String>,
    /// Registry that these credentials are for; `None` means the image's own.
    pub server: Option<String>,
}

impl std::fmt::Debug for RegistryAuth {
    /// Never shows the secret parts.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RegistryAuth")
            .field("username", &self.username)
            .field("server", &self.server)
            .finish_non_exhaustive()
    }
}

/// What to start for a slot.
#[derive(Clone, Debug)]
pub struct StageRequest {
    /// Name for people and for the engine; the runtime adds what makes it unique.
    pub name: String,
    /// Image, already resolved.
    pub image: ImagePin,
    /// Folders of the slot.
    pub dirs: SlotDirs,
    /// Labels to put on the container (pipeline, user's metadata labels).
    pub labels: BTreeMap<String, String>,
    /// Memory limit in bytes.
    pub memory_bytes: Option<u64>,
    /// Processor limit in cores.
    pub cpus: Option<f64>,
    /// Network of the container.
    pub network: Network,
}

/// Network that a stage's commands see.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Network {
    /// The engine's default network.
    #[default]
    Default,
    /// No network at all.
    None,
    /// A network of the engine, by name (`host` included).
    Named(String),
}

/// Folders of one slot on the worker's side, all absolute and existing.
///
/// `pfs` is seen as `/pfs` (writable), `inputs` as `/pfs/.scratch` (read-only); `run` is the
/// runtime's own place for its socket.
#[derive(Clone, Debug)]
pub struct SlotDirs {
    /// Becomes `/pfs`.
    pub pfs: PathBuf,
    /// Becomes `/pfs/.scratch`, read-only.
    pub inputs: PathBuf,
    /// Holds the socket to the first process of the container.
    pub run: PathBuf,
}

/// One command to run in a stage.
#[derive(Clone, Debug, Default)]
pub struct RunRequest {
    /// Program and arguments; never goes through a shell.
    pub argv: Vec<String>,
    /// The complete environment (nothing is added to it); of a name given twice the last wins.
    pub env: Vec<(String, String)>,
    /// Working directory; `None` means the image's, else `/`.
    pub cwd: Option<String>,
    /// `name`, `uid`, `name:group` or `uid:gid`; `None` means the image's user, else root.
    pub user: Option<String>,
    /// Bytes for standard input; `None` is an empty one.
    pub stdin: Option<Vec<u8>>,
    /// Time after which the process group is killed.
    pub timeout: Option<Duration>,
}

/// Receives a command's output, piece by piece as it comes.
///
/// An alias, for `async_trait` misreads the closure's own lifetime when the type is spelled out.
pub type OutputSink<'a> = dyn FnMut(Stream, &[u8]) + Send + 'a;

/// Which of a command's two outputs some bytes belong to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Stream {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
}

/// How a command ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RunOutcome {
    /// It exited by itself with this code.
    Exited(i32),
    /// A signal that we did not send ended it.
    Signaled(i32),
    /// The time limit passed and it was killed.
    TimedOut,
    /// It was killed because the caller cancelled.
    Cancelled,
    /// It could not be started; the text says why, for the user.
    SpawnFailed(String),
}

/// Why a runtime could not do what was asked.
///
/// [`RuntimeError::is_users_fault`] tells what a pipeline must show from what passes by itself.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RuntimeError {
    /// No container engine answers.
    #[error("{text}")]
    EngineUnavailable {
        /// What was tried, what was found, what to do.
        text: String,
    },
    /// The image is neither here nor in its registry.
    #[error("image {image:?} was not found: {detail}")]
    ImageNotFound {
        /// Reference as the user wrote it.
        image: String,
        /// What engine or registry said, and what to check.
        detail: String,
    },
    /// The registry refuses to hand out the image.
    #[error("image {image:?} may not be pulled: {detail}")]
    PullDenied {
        /// Reference as the user wrote it.
        image: String,
        /// What the registry said, and what to check.
        detail: String,
    },
    /// The image could not be fetched for another reason (network, registry down, disk full).
    #[error("image {image:?} could not be pulled: {detail}")]
    PullFailed {
        /// Reference as the user wrote it.
        image: String,
        /// What engine or registry said.
        detail: String,
    },
    /// The text is no image reference at all.
    #[error("{image:?} is not an image reference: {detail}")]
    BadReference {
        /// Reference as the user wrote it.
        image: String,
        /// What is wrong with it.
        detail: String,
    },
    /// The engine answered a request with an error.
    #[error("the container engine could not {operation}: {detail}")]
    Engine {
        /// What we asked for.
        operation: &'static str,
        /// The engine's own words.
        detail: String,
    },
    /// The environment ended, or never came up.
    #[error("stage container {name} {what}")]
    StageLost {
        /// Its name.
        name: String,
        /// How it was lost.
        what: String,
    },
    /// Something on the worker's own machine failed.
    #[error("{context}")]
    Io {
        /// What was being done, with the path.
        context: String,
        /// The system's error.
        #[source]
        source: std::io::Error,
    },
}

impl RuntimeError {
    /// Says whether the image as named cannot work until somebody changes something.
    ///
    /// False for troubles of the machine or the network, which may pass by themselves.
    pub fn is_users_fault(&self) -> bool {
        matches!(
            self,
            Self::ImageNotFound { .. } | Self::PullDenied { .. } | Self::BadReference { .. }
        )
    }
}
