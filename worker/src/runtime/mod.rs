//! Runs the commands of stages: the [`Runtime`] trait and its implementations.
//!
//! A [`Runtime`] starts a [`Stage`]: the container of one slot for one pipeline version. The stage
//! keeps running, and commands run in it one after the other. This module starts commands, streams
//! their output and returns how they ended. It knows nothing about datums, tries and stores.
//!
//! - [`docker`]: stages as containers of a Docker engine or of Podman's compatible socket;
//! - [`init_client`]: the worker's end of the connection to `stage-init`, the first process of a
//!   stage container; [`init_program`]: the embedded program itself;
//! - [`scripted`]: stages without containers, for tests and benchmarks.
//!
//! [`RuntimeError`] lists what can go wrong. A command that fails is a [`RunOutcome`], not an error.

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

/// Starts stages.
#[async_trait]
pub trait Runtime: Send + Sync {
    /// Resolves an image reference to a digest. Pulls the image if this machine does not have it.
    ///
    /// [`Runtime::start`] accepts the pin also after the tag has moved to another image.
    async fn resolve(&self, image: &str, auth: Option<RegistryAuth>) -> Result<ImagePin, RuntimeError>;

    /// Pulls the image of a pin if this machine does not have it, before [`Runtime::start`] needs
    /// it. Cancel safe.
    async fn fetch(&self, image: &ImagePin) -> Result<(), RuntimeError>;

    /// Starts the stage of one slot. No command of the user runs yet.
    async fn start(&self, req: &StageRequest) -> Result<Box<dyn Stage>, RuntimeError>;

    /// Removes the stages that an earlier worker with the same scratch folder left behind.
    async fn cleanup_orphans(&self) -> Result<(), RuntimeError>;

    /// Returns the runtime's name for messages and metrics.
    fn name(&self) -> &'static str;
}

/// A running container of a pipeline. It runs one command at a time.
///
/// A dropped stage is removed in the background. If that fails, the next
/// [`Runtime::cleanup_orphans`] removes it. [`Stage::stop`] waits for the removal.
#[async_trait]
pub trait Stage: Send {
    /// Runs one command to its end and passes its output to `out` piece by piece.
    ///
    /// When this returns `Ok`, all processes of the command are dead. An `Err` means that the stage
    /// is lost and a new one must be started.
    async fn run(
        &mut self,
        req: RunRequest,
        out: &mut OutputSink<'_>,
        cancel: &CancellationToken,
    ) -> Result<RunOutcome, RuntimeError>;

    /// Returns the path of `stage-init` in the container. With the argument [`COPY_LINKS`] it is a
    /// command that a stage can run.
    ///
    /// [`COPY_LINKS`]: howdah_stage_init::COPY_LINKS
    fn init(&self) -> &str;

    /// Returns the environment variables that the image sets.
    fn image_env(&self) -> &[(String, String)];

    /// Returns the working directory that the image sets.
    fn image_workdir(&self) -> Option<&str>;

    /// Returns the user that the image sets, in one of the forms of [`RunRequest::user`].
    fn image_user(&self) -> Option<&str>;

    /// Returns whether the stage can run commands.
    async fn alive(&mut self) -> bool;

    /// Ends the stage with all its processes and waits for its removal.
    async fn stop(self: Box<Self>);
}

/// Credentials for the registry that an image is pulled from.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct RegistryAuth {
    /// User name; empty when a token is used.
    pub username: String,
    /// Password or access token.
    pub password: String,
    /// Identity token of an OAuth login.
    pub identity_token: Option<String>,
    /// Registry of these credentials; `None` means the registry of the image.
    pub server: Option<String>,
}

impl std::fmt::Debug for RegistryAuth {
    /// Omits the secret fields, so that they cannot get into a log.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RegistryAuth")
            .field("username", &self.username)
            .field("server", &self.server)
            .finish_non_exhaustive()
    }
}

/// A stage to start.
#[derive(Clone, Debug)]
pub struct StageRequest {
    /// Readable part of the container's name; the runtime appends a unique suffix.
    pub name: String,
    /// Image with its digest.
    pub image: ImagePin,
    /// Folders of the slot.
    pub dirs: SlotDirs,
    /// Labels of the container that say what it is for.
    pub labels: BTreeMap<String, String>,
    /// Labels from the user's spec.
    pub user_labels: BTreeMap<String, String>,
    /// Memory limit in bytes.
    pub memory_bytes: Option<u64>,
    /// Processor limit in cores.
    pub cpus: Option<f64>,
    /// Network of the container.
    pub network: Network,
}

/// Network of a stage.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Network {
    /// The usual one: that of the worker's settings, by default a network in which containers do not reach each other.
    #[default]
    Default,
    /// No network.
    None,
    /// A network of the engine, by name (for example `host`).
    Named(String),
}

/// Folders of one slot on the worker's machine. The paths are absolute and the folders exist.
#[derive(Clone, Debug)]
pub struct SlotDirs {
    /// Mounted as `/pfs`, writable.
    pub pfs: PathBuf,
    /// Mounted as `/pfs/.scratch`, read-only.
    pub inputs: PathBuf,
    /// Contains the socket to the first process of the container.
    pub run: PathBuf,
}

/// One command to run in a stage.
#[derive(Clone, Debug, Default)]
pub struct RunRequest {
    /// Program and arguments. They are passed on without a shell.
    pub argv: Vec<String>,
    /// The complete environment. If a name occurs twice, the last value is used.
    pub env: Vec<(String, String)>,
    /// Working directory; `None` means that of the image, or `/` if the image sets none.
    pub cwd: Option<String>,
    /// `name`, `uid`, `name:group` or `uid:gid`; `None` means the user of the image, or root if the
    /// image sets none.
    pub user: Option<String>,
    /// Bytes for standard input; `None` means an empty input.
    pub stdin: Option<Vec<u8>>,
    /// Time limit, after which all processes of the command are killed.
    pub timeout: Option<Duration>,
    /// Whether the folders for temporary files are emptied before the command starts.
    pub empty_first: bool,
}

/// Receives a command's output piece by piece.
///
/// A type alias, because `async_trait` mishandles the closure's lifetime if the type is written out.
pub type OutputSink<'a> = dyn FnMut(Stream, &[u8]) + Send + 'a;

/// One of the two output streams of a command.
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
    /// It exited with this code.
    Exited(i32),
    /// This signal ended it, and the runtime did not send it.
    Signaled(i32),
    /// The runtime killed it at its time limit.
    TimedOut,
    /// The runtime killed it because the caller cancelled.
    Cancelled,
    /// It could not start. The text is the reason, for the user.
    SpawnFailed(String),
    /// It was not started, because the folders for temporary files cannot be emptied, for this reason. A new stage can
    /// run it.
    NotEmptied(String),
}

/// An error of a runtime.
///
/// [`RuntimeError::is_users_fault`] separates errors that the user must fix from errors that may
/// disappear on a retry.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RuntimeError {
    /// No container engine answers.
    #[error("{text}")]
    EngineUnavailable {
        /// The addresses that were tried, the cause, and what to do.
        text: String,
    },
    /// Neither this machine nor the registry has the image.
    #[error("image {image:?} was not found: {detail}")]
    ImageNotFound {
        /// Reference as the user wrote it.
        image: String,
        /// Message of the engine or registry, and what to check.
        detail: String,
    },
    /// The registry denies access to the image.
    #[error("image {image:?} may not be pulled: {detail}")]
    PullDenied {
        /// Reference as the user wrote it.
        image: String,
        /// Message of the registry, and what to check.
        detail: String,
    },
    /// The pull failed for another reason (network, registry down, disk full).
    #[error("image {image:?} could not be pulled: {detail}")]
    PullFailed {
        /// Reference as the user wrote it.
        image: String,
        /// Message of the engine or registry.
        detail: String,
    },
    /// The text is not an image reference.
    #[error("{image:?} is not an image reference: {detail}")]
    BadReference {
        /// Text as the user wrote it.
        image: String,
        /// The syntax error.
        detail: String,
    },
    /// The engine answered a request with an error.
    #[error("the container engine could not {operation}: {detail}")]
    Engine {
        /// The request, as a verb with its object.
        operation: &'static str,
        /// Message of the engine.
        detail: String,
    },
    /// The stage ended unexpectedly, or did not start.
    #[error("stage container {name} {what}")]
    StageLost {
        /// Name of the container.
        name: String,
        /// The cause, as the rest of a sentence after the name.
        what: String,
    },
    /// A system call on the worker's machine failed.
    #[error("{context}")]
    Io {
        /// The attempted operation, with the path.
        context: String,
        /// The system's error.
        #[source]
        source: std::io::Error,
    },
}

impl RuntimeError {
    /// Returns whether the image cannot work until the user changes the pipeline, the image or the
    /// registry.
    ///
    /// False for errors of the machine or the network, which may disappear on a retry.
    pub fn is_users_fault(&self) -> bool {
        matches!(
            self,
            Self::ImageNotFound { .. } | Self::PullDenied { .. } | Self::BadReference { .. }
        )
    }
}
