//! Making a workspace fresh again by removing the few things that a trivial datum left.
//!
//! Removing and making every folder and link anew costs more than starting a trivial command.
//! When the next try needs the same folders and everything is found as expected, only files go.
//! Anything unexpected ends the attempt, and the workspace is cleared and made from nothing.

use std::collections::BTreeSet;
use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::workspace::{SCRATCH, Workspace};

/// Files that are removed one by one; with more of them, folders are renamed aside as a whole.
const FEW_FILES: usize = 32;

/// What a try was given, as far as it is known to the last file.
#[derive(Default)]
pub(crate) struct Given {
    names: BTreeSet<Arc<str>>,
    files: Vec<PathBuf>,
}

impl Given {
    /// Begins with the folders of these inputs.
    pub fn new(names: &BTreeSet<Arc<str>>) -> Self {
        Self {
            names: names.clone(),
            files: Vec::new(),
        }
    }

    /// Remembers a file that is about to be placed; `false` when it is one too many to remember.
    pub fn add(&mut self, file: PathBuf) -> bool {
        self.files.push(file);
        self.files.len() <= FEW_FILES
    }
}

/// Makes the workspace as good as new for the same inputs; `false` if that was not possible.
pub(crate) fn reset(space: &Workspace, given: &Given, names: &BTreeSet<Arc<str>>, env: &str) -> bool {
    // An error is no trouble yet: clearing everything meets it again if it is one.
    given.names == *names && matches!(try_reset(space, given, env), Ok(true))
}

fn try_reset(space: &Workspace, given: &Given, env: &str) -> io::Result<bool> {
    if !is_as_made(space, given)? || !empty_out(&space.out())? {
        return Ok(false);
    }
    let inputs = space.inputs();
    for file in &given.files {
        remove_with_parents(file, &inputs)?;
    }
    rewrite_env(&space.dirs().pfs.join(".env"), env)
}

/// Says whether `/pfs` holds what it was given and nothing else.
fn is_as_made(space: &Workspace, given: &Given) -> io::Result<bool> {
    let mut found = 0;
    for entry in fs::read_dir(&space.dirs().pfs)? {
        let entry = entry?;
        let kind = entry.file_type()?;
        let name = entry.file_name();
        let expected = match name.to_str() {
            Some(SCRATCH | "out") => kind.is_dir(),
            Some(".env") => kind.is_file(),
            Some(name) => {
                kind.is_symlink()
                    && given.names.contains(name)
                    && fs::read_link(entry.path())? == Path::new(&space.link_target(name))
            }
            None => false,
        };
        if !expected {
            return Ok(false);
        }
        found += 1;
    }
    Ok(found == given.names.len() + 3)
}

/// Empties the output folder if it holds a few plain files and is as open as it was made.
fn empty_out(out: &Path) -> io::Result<bool> {
    for (number, entry) in fs::read_dir(out)?.enumerate() {
        let entry = entry?;
        if number >= FEW_FILES || entry.file_type()?.is_dir() {
            return Ok(false);
        }
        fs::remove_file(entry.path())?;
    }
    Ok(fs::symlink_metadata(out)?.mode() & 0o7777 == 0o777)
}

/// Removes an input file and the folders that were made for it, up to the input's own.
fn remove_with_parents(file: &Path, inputs: &Path) -> io::Result<()> {
    match fs::remove_file(file) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut folder = file.parent();
    while let Some(made) = folder {
        // `inputs/<input>` itself stays.
        if made == inputs || made.parent() == Some(inputs) {
            return Ok(());
        }
        match fs::remove_dir(made) {
            Ok(()) => folder = made.parent(),
            // Shared with a file that is still to be removed, or went with one before.
            Err(error) if matches!(error.kind(), io::ErrorKind::DirectoryNotEmpty | io::ErrorKind::NotFound) => {
                folder = (error.kind() == io::ErrorKind::NotFound)
                    .then(|| made.parent())
                    .flatten();
            }
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Writes the variables into the file that is there, if it is still an ordinary one of ours.
fn rewrite_env(file: &Path, env: &str) -> io::Result<bool> {
    let mut open = fs::OpenOptions::new()
        .write(true)
        .custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK)
        .open(file)?;
    let meta = open.metadata()?;
    if !meta.is_file() || meta.nlink() != 1 || meta.permissions().mode() & 0o444 != 0o444 {
        return Ok(false);
    }
    open.write_all(env.as_bytes())?;
    if meta.len() > env.len() as u64 {
        open.set_len(env.len() as u64)?;
    }
    Ok(true)
}
