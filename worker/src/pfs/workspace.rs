//! The folders that one stage container sees as `/pfs`, try after try.
//!
//! [`Workspace::begin`] readies them for a try: it removes what the try before left and makes links, output folder and
//! variables. Where the next try has inputs of the same names, only the files in them change (`workspace_reuse`). The
//! caller then places the input files. Paths are described in [`layout`](crate::pfs::layout).
//!
//! All functions block. Errors are [`InfraError`]s; after one, the next `begin` clears everything and starts from
//! nothing.

use std::ffi::CString;
use std::io::{self, Write};
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use howdah_store::{PathRules, check_path};

use crate::beneath::{Access, DirBuffer, FileBeneath, Folder};
use crate::cache::scratch::Scratch;
use crate::error::InfraError;
use crate::pfs::layout::{ENV_FILE, OUT, PfsLayout, SCRATCH, WRITABLE, is_input_name};
pub(crate) use crate::pfs::workspace_reuse::{CommitFolder, DatumInputs, ReusedFolders};
use crate::pfs::workspace_reuse::{LaidOutInputs, remove_with_parents, reset_pfs, reuse_inputs};
use crate::runtime::SlotDirs;

/// Entries of a folder that are listed before they are removed.
const CLEAR_BATCH: usize = 4096;

/// The folders of one stage container.
///
/// They stay open, and everything below them is reached without following a link: a command can write to `/pfs`.
pub(crate) struct Workspace {
    layout: PfsLayout,
    /// `/pfs` of the container.
    pfs: Folder,
    /// `/pfs/.scratch` of the container, which commands cannot write to.
    inputs: Folder,
    /// The folder in one of the two that holds the inputs of the running try.
    current: Option<Folder>,
    scratch: Scratch,
    /// What the running try was given. `None` for private copies, which the command may change, and after an error.
    laid_out: Option<LaidOutInputs>,
}

/// What the worker sees of a workspace when it collects output.
#[derive(Clone, Copy)]
pub(crate) struct PfsView<'a> {
    /// The paths of the running try.
    pub layout: &'a PfsLayout,
    /// `/pfs` of the container.
    pub pfs: &'a Folder,
    /// `/pfs/.scratch` of the container.
    pub inputs: &'a Folder,
}

/// A small input file to be written.
pub(crate) struct SmallFile {
    /// Name of the input.
    pub input: Arc<str>,
    /// Path in its commit, beginning with `/`.
    pub path: String,
    /// Its content.
    pub bytes: Bytes,
}

/// Locks a workspace.
pub(crate) fn lock_workspace(workspace: &Mutex<Workspace>) -> MutexGuard<'_, Workspace> {
    // Still usable after a panic of the last holder: every try begins by clearing or checking the folders.
    workspace.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Workspace {
    /// Takes new, empty folders into use.
    ///
    /// # Errors
    /// [`InfraError::Io`] if they cannot be opened.
    pub(crate) fn open(dirs: SlotDirs, scratch: Scratch) -> Result<Self, InfraError> {
        let open = |path: &Path| Folder::open(path).map_err(InfraError::io("open", path));
        Ok(Self {
            pfs: open(&dirs.pfs)?,
            inputs: open(&dirs.inputs)?,
            current: None,
            layout: PfsLayout {
                dirs,
                number: 0,
                writable: false,
            },
            scratch,
            laid_out: None,
        })
    }

    /// Returns what is needed to collect the output of the running try.
    pub(crate) fn view(&self) -> PfsView<'_> {
        PfsView {
            layout: &self.layout,
            pfs: &self.pfs,
            inputs: &self.inputs,
        }
    }

    /// Returns the paths of the running try.
    #[cfg(test)]
    pub(crate) fn layout(&self) -> &PfsLayout {
        &self.layout
    }

    /// Returns the output folder on the worker's side.
    #[cfg(test)]
    pub(crate) fn out(&self) -> std::path::PathBuf {
        self.layout.out()
    }

    /// Removes what the try before left and makes everything for the next one except its input files.
    ///
    /// Returns the inputs whose folders were kept with the files of an earlier commit: in these the caller only has to
    /// apply the differences.
    pub(crate) fn begin(
        &mut self,
        inputs: &DatumInputs,
        writable: bool,
        env: &str,
    ) -> Result<ReusedFolders, InfraError> {
        // The names come from a message. A wrong one would lead out of the folder of inputs, or replace the output.
        if let Some(name) = inputs.keys().find(|name| !is_input_name(name)) {
            return Err(InfraError::InputName {
                name: name.to_string(),
                text: "it is not the name of one folder, or it is reserved".to_owned(),
            });
        }
        // Taken, not borrowed: if anything below fails, the next `begin` must not build on folders in an unknown state.
        let laid_out = self.laid_out.take().filter(|_| !writable);
        let reused = match laid_out.zip(self.current.as_ref()) {
            Some((laid_out, current)) => {
                let pfs_is_reset = reset_pfs(&self.pfs, &self.layout, &laid_out, env);
                // An error is not reported here: clearing everything meets it again if it persists.
                let reused = reuse_inputs(current, laid_out, inputs, |name| self.scratch.discard(current, name));
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
            self.make_inputs(inputs)
                .map_err(InfraError::io("make the folders of the inputs in", self.pfs.shown()))?;
            self.make_pfs(inputs, env)?;
            self.laid_out = (!writable).then(|| LaidOutInputs::new(inputs.keys()));
            return Ok(ReusedFolders::new());
        };
        if !pfs_is_reset {
            self.clear_folder(&self.pfs)?;
            self.make_pfs(inputs, env)?;
        }
        self.laid_out = Some(laid_out);
        Ok(folders)
    }

    fn access(&self) -> Access {
        if self.layout.writable {
            Access::All
        } else {
            Access::ReadOnly
        }
    }

    fn make_inputs(&mut self, inputs: &DatumInputs) -> io::Result<()> {
        let home = if self.layout.writable {
            self.pfs.make_folder(WRITABLE, Access::All)?;
            self.pfs.folder(WRITABLE)?
        } else {
            self.inputs.clone()
        };
        let number = self.layout.number.to_string();
        home.make_folder(&number, Access::ReadOnly)?;
        let current = home.folder(&number)?;
        for input in inputs.keys() {
            current.make_folder(input, self.access())?;
        }
        self.current = Some(current);
        Ok(())
    }

    fn make_pfs(&self, inputs: &DatumInputs, env: &str) -> Result<(), InfraError> {
        let make = || {
            for input in inputs.keys() {
                self.pfs.make_link(input, &self.layout.link_target(input))?;
            }
            self.pfs.make_folder(OUT, Access::All)?;
            let mut file = self.pfs.create(Path::new(ENV_FILE), Access::Owner)?;
            file.write_all(env.as_bytes())
        };
        make().map_err(InfraError::io(
            "make links, output folder and variables in",
            self.pfs.shown(),
        ))
    }

    /// Records a file that the caller is about to place; returns where.
    ///
    /// # Errors
    /// [`InfraError::InputName`] if the path is none of a file in a commit.
    pub(crate) fn expect_file(&mut self, input: &str, path: &str) -> Result<FileBeneath, InfraError> {
        let target = self.input_file(input, path)?;
        if let Some(laid_out) = &mut self.laid_out {
            laid_out.add(input, target.path.clone());
        }
        Ok(target)
    }

    /// Returns the place of an input file.
    fn input_file(&self, input: &str, path: &str) -> Result<FileBeneath, InfraError> {
        check_path(path, PathRules::Relaxed).map_err(|error| InfraError::InputName {
            name: format!("{input}:{path}"),
            text: error.to_string(),
        })?;
        let folder = self.current.clone().ok_or(InfraError::Task)?;
        let path = Path::new(input).join(path.trim_start_matches('/'));
        Ok(FileBeneath { folder, path })
    }

    /// Records that all files of an input's folder have been placed.
    pub(crate) fn complete(&mut self, input: &str, folder: CommitFolder) {
        if let Some(laid_out) = &mut self.laid_out {
            laid_out.complete(input, folder);
        }
    }

    /// Makes the next try start from nothing.
    pub(crate) fn forget(&mut self) {
        self.laid_out = None;
    }

    /// Removes everything of the last try.
    pub(crate) fn clear(&mut self) -> Result<(), InfraError> {
        self.laid_out = None;
        self.current = None;
        self.clear_folder(&self.inputs)?;
        self.clear_folder(&self.pfs)
    }

    fn clear_folder(&self, folder: &Folder) -> Result<(), InfraError> {
        let mut buffer = DirBuffer::new();
        loop {
            let names = self
                .names_in(folder, &mut buffer)
                .map_err(InfraError::io("read the folder", folder.shown()))?;
            for name in &names {
                self.scratch.discard(folder, name).map_err(InfraError::io(
                    "clear away",
                    folder.shown().join(name.to_string_lossy().as_ref()),
                ))?;
            }
            if names.len() < CLEAR_BATCH {
                return Ok(());
            }
        }
    }

    /// Lists what is to be removed from a folder, or the first part of it.
    fn names_in(&self, folder: &Folder, buffer: &mut DirBuffer) -> io::Result<Vec<CString>> {
        let mut names = Vec::new();
        folder.for_each_entry(buffer, |name, _| {
            // The mount point of the inputs is in use by the container.
            let is_kept = name.to_bytes() == SCRATCH.as_bytes() && std::ptr::eq(folder, &self.pfs);
            if !is_kept && names.len() < CLEAR_BATCH {
                names.push(name.to_owned());
            }
            Ok::<(), io::Error>(())
        })?;
        Ok(names)
    }

    /// Writes small input files.
    pub(crate) fn write(&mut self, files: &[SmallFile]) -> Result<(), InfraError> {
        let access = self.access();
        for file in files {
            // Recorded before it is written: a file that is only half written must be known, or reuse would keep it.
            let target = self.expect_file(&file.input, &file.path)?;
            match target.create(access).and_then(|mut new| new.write_all(&file.bytes)) {
                Ok(()) => {}
                // Two matches of one datum overlap: it is the same file of the same commit.
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(InfraError::io("write the input file", target.shown())(error)),
            }
        }
        Ok(())
    }

    /// Removes files of an input whose folder is reused, and folders that become empty.
    pub(crate) fn remove(&self, input: &str, paths: &[String]) -> Result<(), InfraError> {
        for path in paths {
            let file = self.input_file(input, path)?;
            remove_with_parents(&file.folder, &file.path)
                .map_err(InfraError::io("remove the input file", file.shown()))?;
        }
        Ok(())
    }

    /// Gives the folders up for removal.
    pub(crate) fn give_up(&self) {
        if let Err(error) = self.scratch.discard_slot(&self.layout.dirs) {
            tracing::warn!(folder = %self.layout.dirs.pfs.display(), %error, "folders of a slot not removed");
        }
    }
}

#[cfg(test)]
mod tests;
