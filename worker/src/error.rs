//! Errors of the worker: [`WorkerError`] ends the process, [`InfraError`] hands a datum set back.
//!
//! A failure of a datum itself (its command, its output) is neither: it is part of the set's result.

use std::any::Any;
use std::path::{Path, PathBuf};

use howdah_model::names::CommitKey;
use howdah_protocol::installation::InstallationError;
use howdah_protocol::messages::SetFailure;
use howdah_protocol::wire::WireError;
use howdah_queue::QueueError;
use howdah_store::StoreError;

use crate::runtime::RuntimeError;

/// Why a worker cannot start or continue.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum WorkerError {
    /// A setting makes no sense.
    #[error("setting {setting}: {text}")]
    Setting {
        /// Its name.
        setting: &'static str,
        /// What is wrong and what is expected.
        text: String,
    },
    /// The scratch folder cannot be used.
    #[error("cannot use the scratch folder {folder}: {text}")]
    Scratch {
        /// The folder.
        folder: PathBuf,
        /// What failed, or what to do.
        text: String,
        /// The system's error, if there is one.
        #[source]
        source: Option<std::io::Error>,
    },
    /// The object store does not answer.
    #[error("cannot open the object store")]
    Store(#[source] StoreError),
    /// The identity of the installation is damaged.
    #[error("cannot use the objects meta/cluster-id and meta/queue-key of the store")]
    Installation(#[source] InstallationError),
    /// NATS does not answer.
    #[error("cannot use the queue")]
    Queue(#[source] QueueError),
    /// The runtime cannot be used.
    #[error("cannot use the {runtime} runtime")]
    Runtime {
        /// Its name.
        runtime: &'static str,
        /// Why.
        #[source]
        source: RuntimeError,
    },
    /// The metrics page cannot be served.
    #[error("cannot serve metrics on {addr}")]
    Metrics {
        /// Address.
        addr: std::net::SocketAddr,
        /// The system's error.
        #[source]
        source: std::io::Error,
    },
}

impl WorkerError {
    pub(crate) fn scratch(folder: &Path, text: &str, source: std::io::Error) -> Self {
        Self::Scratch {
            folder: folder.to_owned(),
            text: text.to_owned(),
            source: Some(source),
        }
    }
}

/// A failure of infrastructure, not of the datum. The set is handed back to the queue and tried again.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum InfraError {
    /// The object store failed.
    #[error("{doing}")]
    Store {
        /// What failed, as a sentence.
        doing: &'static str,
        /// Why it failed.
        #[source]
        source: StoreError,
    },
    /// An input file cannot be read.
    #[error("cannot read file {path} of commit {commit}")]
    Input {
        /// Its path.
        path: String,
        /// The commit, as `repo@id`.
        commit: String,
        /// Why.
        #[source]
        source: StoreError,
    },
    /// An object of the job cannot be decoded.
    #[error("object {key} of the job cannot be used")]
    Object {
        /// Its key.
        key: String,
        /// Why.
        #[source]
        source: WireError,
    },
    /// An input file is not in its commit.
    #[error("file {path} is not in commit {commit}: the plan of the job does not fit the data")]
    InputMissing {
        /// Its path.
        path: String,
        /// The commit, as `repo@id`.
        commit: String,
    },
    /// An input has a name or a path that cannot be laid out.
    #[error("input {name:?} is refused: {text}")]
    InputName {
        /// The name of the input, or its name and the path of the file.
        name: String,
        /// What is wrong with it.
        text: String,
    },
    /// The stage's container could not be started or was lost.
    #[error("cannot run the stage")]
    Runtime(#[source] RuntimeError),
    /// The scratch folder has no room.
    #[error(
        "no space left in the worker's scratch folder {folder} ({free_mib} MiB free, \
         {needed_mib} MiB needed): free space there, or give the worker another --scratch"
    )]
    ScratchFull {
        /// The folder.
        folder: PathBuf,
        /// Free space.
        free_mib: u64,
        /// What the datum needs at least, as far as it is known.
        needed_mib: u64,
    },
    /// A file-system operation failed.
    #[error("cannot {doing} {path}")]
    Io {
        /// What was tried, as a verb.
        doing: &'static str,
        /// On which path.
        path: PathBuf,
        /// The system's error.
        #[source]
        source: std::io::Error,
    },
    /// A task or thread of the worker ended early, because it panicked or the process is about to exit.
    #[error("a background task of the worker ended early")]
    Task,
    /// The work on the set panicked.
    #[error("internal error of the worker, see its log: {0}")]
    Panic(String),
}

impl InfraError {
    /// Returns whether retries will fail until a person changes something.
    pub fn needs_attention(&self) -> bool {
        match self {
            Self::Runtime(error) => error.is_users_fault(),
            Self::ScratchFull { .. } | Self::InputMissing { .. } | Self::InputName { .. } | Self::Object { .. } => true,
            Self::Store { source, .. } | Self::Input { source, .. } => source.is_damage(),
            Self::Io { .. } | Self::Task | Self::Panic(_) => false,
        }
    }

    /// Makes the error of a panic. The panic hook has logged it with its place.
    pub(crate) fn of_panic(payload: &(dyn Any + Send)) -> Self {
        let text = payload.downcast_ref::<&str>().map(|text| (*text).to_owned());
        let text = text.or_else(|| payload.downcast_ref::<String>().cloned());
        Self::Panic(text.unwrap_or_else(|| "no message".to_owned()))
    }

    /// Tells what the failure says about another attempt to run the set.
    pub fn failure(&self) -> SetFailure {
        match self {
            Self::Store { source, .. } | Self::Input { source, .. } => match source.damaged_object() {
                Some(key) if howdah_store::keys::is_of_job(key) => SetFailure::Plan,
                Some(_) => SetFailure::Damage,
                None if source.is_damage() => SetFailure::Damage,
                None if source.is_outage() => SetFailure::Outage,
                None => SetFailure::Passing,
            },
            // A worker of an older release cannot read what a newer coordinator wrote; another worker can.
            Self::Object {
                source: WireError::UnknownVersion { .. },
                ..
            } => SetFailure::Passing,
            Self::Object { .. } => SetFailure::Plan,
            Self::InputMissing { .. } | Self::InputName { .. } => SetFailure::Damage,
            Self::Runtime(_) | Self::ScratchFull { .. } => SetFailure::Outage,
            Self::Io { .. } if self.is_disk_full() => SetFailure::Outage,
            Self::Io { .. } | Self::Task | Self::Panic(_) => SetFailure::Passing,
        }
    }

    /// Names the input file that could not be read, if that is what failed.
    pub(crate) fn of_input(self, path: &str, commit: &CommitKey) -> Self {
        match self {
            Self::Store { source, .. } => Self::Input {
                path: path.to_owned(),
                commit: commit.to_string(),
                source,
            },
            other => other,
        }
    }

    pub(crate) fn store(doing: &'static str) -> impl FnOnce(StoreError) -> Self {
        move |source| Self::Store { doing, source }
    }

    pub(crate) fn io(doing: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.into();
        move |source| Self::Io { doing, path, source }
    }

    /// Returns whether this machine cannot have a path of the input, so that retries would fail too.
    pub(crate) fn is_about_a_name(&self) -> bool {
        match self {
            Self::InputName { .. } => true,
            Self::Io { source, .. } => source.kind() == std::io::ErrorKind::InvalidFilename,
            _ => false,
        }
    }

    /// Returns whether a file could not be made because it exists.
    pub(crate) fn is_file_there(&self) -> bool {
        matches!(self, Self::Io { source, .. } if source.kind() == std::io::ErrorKind::AlreadyExists)
    }

    /// Returns whether this machine's disk is full.
    pub(crate) fn is_disk_full(&self) -> bool {
        matches!(self, Self::Io { source, .. }
            if matches!(source.kind(),
                std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded))
    }
}
