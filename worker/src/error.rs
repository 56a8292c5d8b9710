//! What can stop a worker, and what makes it hand a datum set back.

use std::path::{Path, PathBuf};

use howdah_protocol::wire::WireError;
use howdah_queue::QueueError;
use howdah_store::StoreError;

use crate::runtime::RuntimeError;

/// Why a worker could not start or go on.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum WorkerError {
    /// A setting makes no sense.
    #[error("setting {setting}: {text}")]
    Setting {
        /// Its name.
        setting: &'static str,
        /// What is wrong and what was expected.
        text: String,
    },
    /// The scratch folder cannot be used.
    #[error("cannot use the scratch folder {folder}: {text}")]
    Scratch {
        /// The folder.
        folder: PathBuf,
        /// What was being done, or what to do.
        text: String,
        /// The system's error, if there is one.
        #[source]
        source: Option<std::io::Error>,
    },
    /// The object store does not answer.
    #[error("cannot open the object store")]
    Store(#[source] StoreError),
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

/// Trouble with infrastructure: no fault of the datum. The set is handed back and tried again.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Trouble {
    /// The object store failed.
    #[error("{doing}")]
    Store {
        /// What was being done.
        doing: &'static str,
        /// Why it failed.
        #[source]
        source: StoreError,
    },
    /// An object of the job cannot be read.
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
        /// What the datum needs at least, as far as known.
        needed_mib: u64,
    },
    /// Something on this machine failed.
    #[error("cannot {doing} {path}")]
    Io {
        /// What was being done.
        doing: &'static str,
        /// To what.
        path: PathBuf,
        /// The system's error.
        #[source]
        source: std::io::Error,
    },
    /// A part of the worker ended early.
    #[error("a background task of the worker ended early")]
    Task,
}

impl Trouble {
    /// Says whether nothing will change until somebody acts.
    pub fn needs_attention(&self) -> bool {
        match self {
            Self::Runtime(error) => error.is_users_fault(),
            Self::ScratchFull { .. } | Self::InputMissing { .. } | Self::Object { .. } => true,
            Self::Store { source, .. } => source.is_damage(),
            Self::Io { .. } | Self::Task => false,
        }
    }

    pub(crate) fn store(doing: &'static str) -> impl FnOnce(StoreError) -> Self {
        move |source| Self::Store { doing, source }
    }

    pub(crate) fn io(doing: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.into();
        move |source| Self::Io { doing, path, source }
    }

    /// Says whether a path of the input is longer than this machine can have, which no other attempt
    /// would change.
    pub(crate) fn is_name_too_long(&self) -> bool {
        matches!(self, Self::Io { source, .. } if source.kind() == std::io::ErrorKind::InvalidFilename)
    }

    /// Says whether this machine's disk is full.
    pub(crate) fn is_disk_full(&self) -> bool {
        matches!(self, Self::Io { source, .. }
            if matches!(source.kind(),
                std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded))
    }
}
