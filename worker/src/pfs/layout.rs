//! Where the folders of a stage container are, on the worker's side and as the container sees them.
//!
//! ```text
//! on the worker            in the container
//! inputs/<n>/images/a/1    /pfs/.scratch/<n>/images/a/1   read-only
//! pfs/images               /pfs/images -> .scratch/<n>/images
//! pfs/out                  /pfs/out                       writable, empty
//! pfs/.env                 /pfs/.env
//! ```
//!
//! With private copies (`writable_inputs`) the inputs are below `/pfs/.writable/<n>` instead. The number `<n>` grows
//! whenever the folders are made anew. Only paths here: nothing touches the disk.

#[cfg(test)]
use std::path::PathBuf;

use crate::beneath::is_file_name;
use crate::runtime::SlotDirs;

/// Name of the read-only mount within `/pfs`.
pub(crate) const SCRATCH: &str = ".scratch";
/// Name of the folder of private copies within `/pfs`.
pub(crate) const WRITABLE: &str = ".writable";
/// Name of the output folder within `/pfs`.
pub(crate) const OUT: &str = "out";
/// Name of the file of environment variables within `/pfs`.
pub(crate) const ENV_FILE: &str = ".env";

/// Returns whether an input may have this name: that of one folder, and none of those that the worker uses itself.
pub(crate) fn is_input_name(name: &str) -> bool {
    is_file_name(name) && !matches!(name, SCRATCH | WRITABLE | OUT | ENV_FILE)
}

/// Paths of one stage container and of the try that runs in it.
pub(crate) struct PfsLayout {
    /// The container's folders on the worker's side.
    pub dirs: SlotDirs,
    /// Number of the inputs folder of the running try.
    pub number: u64,
    /// Whether inputs are private copies.
    pub writable: bool,
}

impl PfsLayout {
    /// Returns the folder that holds the inputs of the running try, on the worker's side.
    #[cfg(test)]
    pub(crate) fn inputs(&self) -> PathBuf {
        if self.writable {
            self.dirs.pfs.join(WRITABLE).join(self.number.to_string())
        } else {
            self.dirs.inputs.join(self.number.to_string())
        }
    }

    /// Returns the path of an input file on the worker's side.
    #[cfg(test)]
    pub(crate) fn input_path(&self, input: &str, path: &str) -> PathBuf {
        self.inputs().join(input).join(path.trim_start_matches('/'))
    }

    /// Returns the output folder on the worker's side.
    #[cfg(test)]
    pub(crate) fn out(&self) -> PathBuf {
        self.dirs.pfs.join(OUT)
    }

    /// Returns the target of an input's link in `/pfs`.
    pub(crate) fn link_target(&self, input: &str) -> String {
        let folder = if self.writable { WRITABLE } else { SCRATCH };
        format!("{folder}/{}/{input}", self.number)
    }
}
