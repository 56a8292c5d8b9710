//! Errors of the store: one variant for each operation that can fail, with the object it failed for.

use std::io;

use howdah_model::ContentHash;

/// A failure of the disk or the object server.
///
/// Never shown alone: a [`StoreError`] names the object and has this as its source.
#[derive(Debug, thiserror::Error)]
pub enum BackendError {
    /// The file system failed.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// The object server, or the connection to it, failed.
    #[error("{0}")]
    Remote(Box<opendal::Error>),
    /// The object server does not have the operation.
    #[error("the object store does not support {0}")]
    Unsupported(&'static str),
    /// A test injected this failure.
    #[error("injected fault {0} the store acted")]
    Injected(&'static str),
}

impl From<opendal::Error> for BackendError {
    fn from(error: opendal::Error) -> Self {
        BackendError::Remote(Box::new(error))
    }
}

impl BackendError {
    /// Tells whether the disk or bucket is full.
    #[must_use]
    pub fn is_full(&self) -> bool {
        matches!(self, BackendError::Io(error)
            if matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded))
    }

    /// Tells whether the disk or the server does not work at all at present, whatever object is asked for.
    fn is_outage(&self) -> bool {
        use io::ErrorKind as Kind;
        match self {
            BackendError::Io(error) => matches!(
                error.kind(),
                Kind::TimedOut
                    | Kind::ConnectionRefused
                    | Kind::ConnectionReset
                    | Kind::ConnectionAborted
                    | Kind::NotConnected
                    | Kind::NetworkDown
                    | Kind::NetworkUnreachable
                    | Kind::HostUnreachable
                    | Kind::StaleNetworkFileHandle
                    | Kind::StorageFull
                    | Kind::QuotaExceeded
            ),
            // A server that answers says what is wrong with the request. No answer has no kind of its own.
            BackendError::Remote(error) => {
                matches!(
                    error.kind(),
                    opendal::ErrorKind::Unexpected | opendal::ErrorKind::RateLimited
                )
            }
            BackendError::Unsupported(_) | BackendError::Injected(_) => false,
        }
    }
}

/// Any failure of the store.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The URL of the store cannot be understood.
    #[error("storage URL {url:?} is not usable: {reason}")]
    BadUrl {
        /// The URL as given.
        url: String,
        /// What is wrong and what would be right.
        reason: String,
    },
    /// The store does not answer or cannot be prepared.
    #[error("cannot open the store {url}")]
    Open {
        /// Which store.
        url: String,
        /// The failure of the backend.
        #[source]
        source: BackendError,
    },
    /// The store was written by a version of the program with another layout.
    #[error(
        "the store {url} has format {found}, this program reads format {expected}: use the version of howdah that wrote it"
    )]
    Format {
        /// Which store.
        url: String,
        /// The version in its marker.
        found: String,
        /// The version that this program reads.
        expected: u32,
    },
    /// An object was written by a version of the program that writes another format.
    #[error(
        "object {key} has format {found}, this program reads format {expected}: use the version of howdah that wrote it"
    )]
    ObjectFormat {
        /// The object.
        key: String,
        /// The version that the object says it has.
        found: u32,
        /// The version that this program reads.
        expected: u32,
    },
    /// An object could not be read.
    #[error("cannot read object {key}")]
    Read {
        /// The object.
        key: String,
        /// The failure of the backend.
        #[source]
        source: BackendError,
    },
    /// An object could not be written; whether it exists now is unknown.
    #[error("cannot write object {key}")]
    Write {
        /// The object.
        key: String,
        /// The failure of the backend.
        #[source]
        source: BackendError,
    },
    /// There is no room for an object.
    #[error("cannot write object {key}: no space left in the store; free space or enlarge the volume, then repeat")]
    Full {
        /// The object.
        key: String,
        /// The failure of the backend.
        #[source]
        source: BackendError,
    },
    /// An object could not be deleted.
    #[error("cannot delete object {key}")]
    Delete {
        /// The object.
        key: String,
        /// The failure of the backend.
        #[source]
        source: BackendError,
    },
    /// Objects could not be listed.
    #[error("cannot list objects below {prefix:?}")]
    List {
        /// The common beginning of the keys asked for.
        prefix: String,
        /// The failure of the backend.
        #[source]
        source: BackendError,
    },
    /// An object that is referred to does not exist.
    #[error("object {key} is missing from the store: restore it from a backup")]
    Missing {
        /// The object.
        key: String,
    },
    /// The bytes of an object are not those that were written.
    #[error("object {key} is corrupt: {reason}; restore it from a backup")]
    Corrupt {
        /// The object.
        key: String,
        /// What did not match.
        reason: String,
    },
    /// The chunks of a file are whole, but together they are not the bytes of the file.
    #[error(
        "the bytes of the file with hash {hash} have another hash: its record or its list of chunks is damaged or \
         forged; restore it from a backup"
    )]
    WrongFile {
        /// The hash that the record of the file has.
        hash: ContentHash,
    },
    /// A sequence number of the metadata log has no record although later ones exist.
    #[error("the metadata log has a gap: record {key} is missing while later ones exist; restore it from a backup")]
    LogGap {
        /// The first missing record.
        key: String,
    },
    /// Other coordinators wrote the metadata log each time that this one tried to take it over.
    #[error(
        "{attempts} times another coordinator wrote the metadata log while this one was taking it over: start only one"
    )]
    Contested {
        /// How often this one tried.
        attempts: usize,
    },
    /// A key is not allowed in a tree.
    #[error("key {key:?} is not usable: {reason}")]
    BadKey {
        /// The key, lossily as text.
        key: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// The edits that a caller passed do not ascend by key.
    #[error("edits of a tree must ascend by key, but {key:?} does not come after its predecessor")]
    Unsorted {
        /// The key that is out of order, lossily as text.
        key: String,
    },
    /// A temporary file of a sorter failed.
    #[error(
        "a temporary file in {} could not be written or read; see that there is room, or name another folder with TMPDIR",
        folder.display()
    )]
    Scratch {
        /// The folder for temporary files.
        folder: std::path::PathBuf,
        /// The failure of the file system.
        #[source]
        source: io::Error,
    },
    /// A glob takes too many steps to match the names of a commit.
    #[error(
        "glob {glob:?} takes too many steps to match: make it simpler or shorter, above all the groups `!( )`, or narrow \
         it to a folder"
    )]
    CostlyGlob {
        /// The glob.
        glob: String,
    },
    /// A caller wrote file bytes without beginning a file.
    #[error("bytes were written before a file was begun")]
    NoOpenFile,
    /// A local file that is being stored cannot be read, or became shorter meanwhile.
    #[error(
        "cannot read the file that is being put; if it is being written to, wait until that is over and put it again"
    )]
    Source(#[source] io::Error),
    /// A background task ended without a result, because it panicked or the program is ending.
    #[error("a background task of the store ended early: {0}")]
    Task(String),
}

impl StoreError {
    pub(crate) fn write(key: &str, source: BackendError) -> Self {
        let key = key.to_owned();
        if source.is_full() {
            StoreError::Full { key, source }
        } else {
            StoreError::Write { key, source }
        }
    }

    pub(crate) fn corrupt(key: impl Into<String>, reason: impl Into<String>) -> Self {
        StoreError::Corrupt {
            key: key.into(),
            reason: reason.into(),
        }
    }

    pub(crate) fn task(error: &tokio::task::JoinError) -> Self {
        StoreError::Task(error.to_string())
    }

    /// Wraps a failure of a temporary file.
    #[must_use]
    pub fn scratch(source: io::Error) -> Self {
        StoreError::Scratch {
            folder: std::env::temp_dir(),
            source,
        }
    }

    /// Tells whether data is damaged or lost, so that repeating the operation cannot help.
    #[must_use]
    pub fn is_damage(&self) -> bool {
        matches!(
            self,
            StoreError::Missing { .. }
                | StoreError::Corrupt { .. }
                | StoreError::WrongFile { .. }
                | StoreError::LogGap { .. }
        )
    }

    /// Returns the key of the object that is damaged or lost, if that is the failure.
    #[must_use]
    pub fn damaged_object(&self) -> Option<&str> {
        match self {
            StoreError::Missing { key } | StoreError::Corrupt { key, .. } | StoreError::LogGap { key } => Some(key),
            _ => None,
        }
    }

    /// Tells whether the store cannot be reached, or is full, so that the failure is not about this object.
    #[must_use]
    pub fn is_outage(&self) -> bool {
        match self {
            StoreError::Full { .. } => true,
            StoreError::Open { source, .. }
            | StoreError::Read { source, .. }
            | StoreError::Write { source, .. }
            | StoreError::Delete { source, .. }
            | StoreError::List { source, .. } => source.is_outage(),
            _ => false,
        }
    }
}

/// Result of an operation of the store.
pub type Result<T, E = StoreError> = std::result::Result<T, E>;
