//! The folders that one stage container sees as `/pfs`, try after try.
//!
//! [`Workspace::begin`] readies them for a try: it removes what the try before left and makes links, output folder and
//! variables. Where the next try has inputs of the same names, only the files in them change (`workspace_reuse`). The
//! caller then places the input files. Paths are described in [`layout`](crate::pfs::layout).
//!
//! All functions block. Errors are [`InfraError`]s; after one, the next `begin` clears everything and starts from
//! nothing.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;

use crate::cache::scratch::Scratch;
use crate::error::InfraError;
use crate::pfs::fs_steps::{
    make_folder, make_open_folder, open_for_all, open_tree_for_all, remove_with_parents, write_with_parents,
};
use crate::pfs::layout::{PfsLayout, SCRATCH, WRITABLE};
pub use crate::pfs::workspace_reuse::{CommitFolder, DatumInputs, ReusedFolders};
use crate::pfs::workspace_reuse::{LaidOutInputs, reset_pfs, reuse_inputs};
use crate::runtime::SlotDirs;

/// The folders of one stage container.
pub struct Workspace {
    layout: PfsLayout,
    scratch: Scratch,
    /// What the running try was given. `None` for private copies, which the command may change, and after an error.
    laid_out: Option<LaidOutInputs>,
}

/// A small input file to be written.
pub struct SmallFile {
    /// Name of the input.
    pub input: Arc<str>,
    /// Path in its commit, beginning with `/`.
    pub path: String,
    /// Its content.
    pub bytes: Bytes,
}

/// Locks a workspace.
pub fn lock_workspace(workspace: &Mutex<Workspace>) -> MutexGuard<'_, Workspace> {
    // Still usable after a panic of the last holder: every try begins by clearing or checking the folders.
    workspace.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Workspace {
    /// Takes new, empty folders into use.
    pub fn new(dirs: SlotDirs, scratch: Scratch) -> Self {
        Self {
            layout: PfsLayout {
                dirs,
                number: 0,
                writable: false,
            },
            scratch,
            laid_out: None,
        }
    }

    /// Returns the paths of the running try.
    pub fn layout(&self) -> &PfsLayout {
        &self.layout
    }

    /// Returns the output folder on the worker's side.
    pub fn out(&self) -> PathBuf {
        self.layout.out()
    }

    /// Removes what the try before left and makes everything for the next one except its input files.
    ///
    /// Returns the inputs whose folders were kept with the files of an earlier commit: in these the caller only has to
    /// apply the differences.
    pub fn begin(&mut self, inputs: &DatumInputs, writable: bool, env: &str) -> Result<ReusedFolders, InfraError> {
        // Taken, not borrowed: if anything below fails, the next `begin` must not build on folders in an unknown state.
        let laid_out = self.laid_out.take().filter(|_| !writable);
        let reused = match laid_out {
            Some(laid_out) => {
                let pfs_is_reset = reset_pfs(&self.layout, &laid_out, env);
                // An error is not reported here: clearing everything meets it again if it persists.
                let reused = reuse_inputs(&self.layout, laid_out, inputs, |path| self.scratch.discard(path));
                reused.ok().flatten().map(|reused| (pfs_is_reset, reused))
            }
            None => None,
        };
        let Some((pfs_is_reset, (laid_out, folders))) = reused else {
            self.clear()?;
            // A new number: a late write of the try before (a fetch that was given up) lands in a folder that no link
            // names.
            self.layout.number += 1;
            self.layout.writable = writable;
            self.make_inputs(inputs)?;
            self.make_pfs(inputs, env)?;
            self.laid_out = (!writable).then(|| LaidOutInputs::new(inputs.keys()));
            return Ok(ReusedFolders::new());
        };
        if !pfs_is_reset {
            self.clear_pfs()?;
            self.make_pfs(inputs, env)?;
        }
        self.laid_out = Some(laid_out);
        Ok(folders)
    }

    fn make_inputs(&self, inputs: &DatumInputs) -> Result<(), InfraError> {
        let folder = self.layout.inputs();
        if self.layout.writable {
            make_open_folder(&self.layout.dirs.pfs.join(WRITABLE))?;
        }
        make_folder(&folder)?;
        for input in inputs.keys() {
            let own = folder.join(&**input);
            make_folder(&own)?;
            if self.layout.writable {
                open_for_all(&own)?;
            }
        }
        Ok(())
    }

    fn make_pfs(&self, inputs: &DatumInputs, env: &str) -> Result<(), InfraError> {
        for input in inputs.keys() {
            let link = self.layout.dirs.pfs.join(&**input);
            symlink(self.layout.link_target(input), &link).map_err(InfraError::io("make the link", &link))?;
        }
        make_open_folder(&self.out())?;
        let env_file = self.layout.env_file();
        fs::write(&env_file, env).map_err(InfraError::io("write", &env_file))
    }

    /// Records a file that the caller is about to place; returns its path on the worker's side.
    pub fn expect_file(&mut self, input: &str, path: &str) -> PathBuf {
        let target = self.layout.input_path(input, path);
        if let Some(laid_out) = &mut self.laid_out {
            laid_out.add(input, target.clone());
        }
        target
    }

    /// Records that all files of an input's folder have been placed.
    pub fn complete(&mut self, input: &str, folder: CommitFolder) {
        if let Some(laid_out) = &mut self.laid_out {
            laid_out.complete(input, folder);
        }
    }

    /// Makes the next try start from nothing.
    pub fn forget(&mut self) {
        self.laid_out = None;
    }

    /// Removes everything of the last try.
    pub fn clear(&mut self) -> Result<(), InfraError> {
        self.laid_out = None;
        self.clear_folder(&self.layout.dirs.inputs)?;
        self.clear_pfs()
    }

    fn clear_pfs(&self) -> Result<(), InfraError> {
        self.clear_folder(&self.layout.dirs.pfs)
    }

    fn clear_folder(&self, folder: &Path) -> Result<(), InfraError> {
        let entries = fs::read_dir(folder).map_err(InfraError::io("read the folder", folder))?;
        for entry in entries {
            let entry = entry.map_err(InfraError::io("read the folder", folder))?;
            // The mount point of the inputs is in use by the container.
            if entry.file_name() == SCRATCH && folder == self.layout.dirs.pfs {
                continue;
            }
            let path = entry.path();
            self.scratch
                .discard(&path)
                .map_err(InfraError::io("clear away", &path))?;
        }
        Ok(())
    }

    /// Writes small input files.
    pub fn write(&mut self, files: &[SmallFile]) -> Result<(), InfraError> {
        let mode = if self.layout.writable { 0o666 } else { 0o444 };
        for file in files {
            // Recorded before it is written: a file that is only half written must be known, or reuse would keep it.
            let target = self.expect_file(&file.input, &file.path);
            write_with_parents(&target, &file.bytes, mode).map_err(InfraError::io("write the input file", &target))?;
        }
        Ok(())
    }

    /// Removes files of an input whose folder is reused, and folders that become empty.
    pub fn remove(&self, input: &str, paths: &[String]) -> Result<(), InfraError> {
        let inputs = self.layout.inputs();
        for path in paths {
            let target = self.layout.input_path(input, path);
            remove_with_parents(&target, &inputs).map_err(InfraError::io("remove the input file", &target))?;
        }
        Ok(())
    }

    /// Lets every user write to the folders of private copies. Does nothing for read-only inputs.
    pub fn open_folders(&self) -> Result<(), InfraError> {
        if self.layout.writable {
            open_tree_for_all(&self.layout.inputs())
        } else {
            Ok(())
        }
    }

    /// Gives the folders up for removal.
    pub fn give_up(&self) {
        if let Err(error) = self.scratch.discard_slot(&self.layout.dirs) {
            tracing::warn!(folder = %self.layout.dirs.pfs.display(), %error, "folders of a slot not removed");
        }
    }
}

#[cfg(test)]
mod tests;
