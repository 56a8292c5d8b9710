//! What is collected from `/pfs/out`, and why it cannot be.

use std::ffi::CStr;
use std::io;

use howdah_telemetry::LeftOut;

use crate::error::InfraError;
use crate::pfs::output_time::TimeUp;
use crate::pfs::stored_file::DiskFile;

/// Characters of a long path that are shown.
const SHOWN_PATH: usize = 120;

/// Everything that a command left in `/pfs/out`.
#[derive(Debug, Default)]
pub(crate) struct CollectedOutput {
    /// The files, sorted by path.
    pub files: Vec<CollectedFile>,
    /// Bytes that the files take on the disk. Sparse files take less than their size.
    pub disk_bytes: u64,
    /// Pipes, sockets and devices.
    pub left_out: LeftOut,
}

/// One output file.
#[derive(Debug)]
pub(crate) struct CollectedFile {
    /// Path in the output, beginning with `/`.
    pub path: String,
    /// Where its content is.
    pub content: ContentSource,
}

/// Where the content of an output file is.
#[derive(Debug)]
pub(crate) enum ContentSource {
    /// In memory: a small file that is read already.
    Memory(Vec<u8>),
    /// On the worker's disk. Not held open here: there may be more such files than a process can open.
    Disk(DiskFile),
    /// In the store already: an unmodified file of an input.
    Input {
        /// Name of the input.
        input: String,
        /// Path in its commit.
        path: String,
    },
}

/// Why there is no output.
#[derive(Debug, thiserror::Error)]
pub(crate) enum OutputError {
    /// The output is not acceptable; the try fails with this text.
    #[error("{0}")]
    Rejected(String),
    /// These links, as paths of the container, lead into its own file system.
    #[error("links of the output lead out of /pfs: {0:?}")]
    Outside(Vec<String>),
    /// The set is stopped.
    #[error("the set is stopped")]
    Stopped,
    /// This machine failed.
    #[error(transparent)]
    Infra(#[from] InfraError),
}

impl From<TimeUp> for OutputError {
    fn from(up: TimeUp) -> Self {
        match up {
            TimeUp::Stopped => Self::Stopped,
            TimeUp::Over(reason) => Self::Rejected(reason),
        }
    }
}

/// Makes the error for output that cannot be accepted.
pub(super) fn rejected(text: impl Into<String>) -> OutputError {
    OutputError::Rejected(text.into())
}

/// Returns the name of an entry as text.
pub(super) fn text_of<'a>(folder: &str, name: &'a CStr) -> Result<&'a str, OutputError> {
    name.to_str().map_err(|_| {
        let shown = name.to_string_lossy();
        rejected(format!(
            "path \"{}/{shown}\" invalid: only printable ASCII characters allowed, \
             found bytes that are not text",
            shortened(folder)
        ))
    })
}

/// Shortens a long path in the middle, for messages.
pub(super) fn shortened(path: &str) -> String {
    let count = path.chars().count();
    if count <= SHOWN_PATH {
        return path.to_owned();
    }
    let head: String = path.chars().take(SHOWN_PATH / 2).collect();
    let tail: String = path.chars().skip(count - SHOWN_PATH / 2).collect();
    format!("{head}...{tail}")
}

/// Classifies why something in the output cannot be read: an error of this machine, or of the output.
pub(super) fn unreadable(what: &str, path: &str, error: io::Error) -> OutputError {
    if let Some(libc::EMFILE | libc::ENFILE | libc::EIO | libc::ENOMEM) = error.raw_os_error() {
        return InfraError::io("read the output", format!("/pfs/out{path}"))(error).into();
    }
    rejected(format!(
        "cannot read the {what} /pfs/out{}: {error}{}",
        shortened(path),
        if error.kind() == io::ErrorKind::PermissionDenied {
            " (the worker does not run as root: files in /pfs/out must be readable for all)"
        } else {
            ""
        }
    ))
}
