//! Reusing the folders of one try for the next.
//!
//! Removing and making every folder and link anew costs more than starting a trivial command. Two parts are reused,
//! each by itself:
//!
//! - `/pfs` ([`reset_pfs`]): if it holds exactly what the worker made, plus a few plain output files, only those files
//!   are removed. Commands can write there, so everything is checked first; anything unexpected makes the caller clear
//!   `/pfs`.
//! - Inputs ([`reuse_inputs`]): commands cannot write to them, so they need no check. Files that were placed one by one
//!   are removed; a complete large folder that the next try needs too is kept, of the same commit or another one, and
//!   the caller applies the differences.
//!
//! An I/O error here is not reported: the caller clears everything instead. If the error persists, clearing fails and
//! reports it.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use howdah_model::ids::TreeRoot;

use crate::pfs::fs_steps::remove_with_parents;
use crate::pfs::layout::{PfsLayout, SCRATCH};

/// Files of an input that are removed one by one. The folder of an input with more files is renamed aside as a whole.
const FEW_FILES: usize = 32;

/// A folder of a commit that is all that an input consists of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CommitFolder {
    /// Its path, with a slash at the end.
    pub path: String,
    /// The file tree of the commit.
    pub root: TreeRoot,
}

/// The inputs of a datum by name; with its folder where an input consists of one folder and nothing else.
pub type DatumInputs = BTreeMap<Arc<str>, Option<CommitFolder>>;

/// Inputs whose folder was kept, by name, with the tree of the commit that its files are from.
pub type ReusedFolders = BTreeMap<Arc<str>, TreeRoot>;

/// What a try was given as one input.
#[derive(Debug)]
enum LaidOutInput {
    /// Exactly these files.
    Files(Vec<PathBuf>),
    /// More files than are remembered: all files of the folder if it was laid out completely, else unknown files.
    Folder(Option<CommitFolder>),
}

/// What a try was given: its inputs by name.
#[derive(Debug, Default)]
pub(super) struct LaidOutInputs {
    inputs: BTreeMap<Arc<str>, LaidOutInput>,
}

impl LaidOutInputs {
    /// Starts with empty folders.
    pub fn new<'a>(names: impl IntoIterator<Item = &'a Arc<str>>) -> Self {
        let empty = |name: &Arc<str>| (Arc::clone(name), LaidOutInput::Files(Vec::new()));
        Self {
            inputs: names.into_iter().map(empty).collect(),
        }
    }

    /// Records a file that is about to be placed.
    pub fn add(&mut self, input: &str, file: PathBuf) {
        let Some(laid_out) = self.inputs.get_mut(input) else {
            return;
        };
        match laid_out {
            LaidOutInput::Files(files) if files.len() < FEW_FILES => files.push(file),
            // Not known to be complete any more.
            _ => *laid_out = LaidOutInput::Folder(None),
        }
    }

    /// Records that all files of an input have been placed.
    pub fn complete(&mut self, input: &str, folder: CommitFolder) {
        if let Some(LaidOutInput::Folder(known)) = self.inputs.get_mut(input) {
            *known = Some(folder);
        }
    }
}

/// Readies the folders of inputs for the next try; returns the new record and the folders that were kept.
///
/// Returns `None` if the next try has inputs of other names.
pub(super) fn reuse_inputs(
    layout: &PfsLayout,
    laid_out: LaidOutInputs,
    next: &DatumInputs,
    discard: impl Fn(&Path) -> io::Result<()>,
) -> io::Result<Option<(LaidOutInputs, ReusedFolders)>> {
    if !laid_out.inputs.keys().eq(next.keys()) {
        return Ok(None);
    }
    let inputs = layout.inputs();
    let mut record = LaidOutInputs::new(next.keys());
    let mut reused = ReusedFolders::new();
    for (name, laid_out) in laid_out.inputs {
        let is_needed = |folder: &CommitFolder| {
            next.get(&name)
                .and_then(Option::as_ref)
                .is_some_and(|next| next.path == folder.path)
        };
        match laid_out {
            LaidOutInput::Files(files) => {
                for file in &files {
                    remove_with_parents(file, &inputs)?;
                }
            }
            LaidOutInput::Folder(Some(folder)) if is_needed(&folder) => {
                // Recorded as incomplete until the caller has applied the differences: a try that fails in between must
                // not pass a mixture of two commits on to the next one.
                record.inputs.insert(Arc::clone(&name), LaidOutInput::Folder(None));
                reused.insert(name, folder.root);
            }
            LaidOutInput::Folder(_) => {
                let folder = inputs.join(&*name);
                discard(&folder)?;
                fs::create_dir(&folder)?;
            }
        }
    }
    Ok(Some((record, reused)))
}

/// Resets `/pfs` without making anything anew. Returns `false` if that was not possible; it is half reset then and must
/// be cleared.
pub(super) fn reset_pfs(layout: &PfsLayout, laid_out: &LaidOutInputs, env: &str) -> bool {
    matches!(try_reset(layout, laid_out, env), Ok(true))
}

fn try_reset(layout: &PfsLayout, laid_out: &LaidOutInputs, env: &str) -> io::Result<bool> {
    // Checked first: nothing is removed through a folder that the command replaced.
    Ok(is_as_made(layout, laid_out)? && empty_out(&layout.out())? && rewrite_env(&layout.env_file(), env)?)
}

/// Returns whether `/pfs` holds what the worker made and nothing else.
fn is_as_made(layout: &PfsLayout, laid_out: &LaidOutInputs) -> io::Result<bool> {
    let mut found = 0;
    for entry in fs::read_dir(&layout.dirs.pfs)? {
        let entry = entry?;
        let kind = entry.file_type()?;
        let name = entry.file_name();
        let expected = match name.to_str() {
            Some(SCRATCH | "out") => kind.is_dir(),
            Some(".env") => kind.is_file(),
            Some(name) => {
                kind.is_symlink()
                    && laid_out.inputs.contains_key(name)
                    && fs::read_link(entry.path())? == Path::new(&layout.link_target(name))
            }
            None => false,
        };
        if !expected {
            return Ok(false);
        }
        found += 1;
    }
    // `.scratch`, `out`, `.env` and a link per input.
    Ok(found == laid_out.inputs.len() + 3)
}

/// Empties the output folder. Returns `false` if it holds a folder or many files, or if its mode was changed.
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

/// Overwrites the file of variables. Returns `false` if it is not a plain, readable file of its own any more.
fn rewrite_env(file: &Path, env: &str) -> io::Result<bool> {
    // The command may have replaced the file by a link or a pipe: neither is followed or waited for.
    let mut open = fs::OpenOptions::new()
        .write(true)
        .custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK)
        .open(file)?;
    let meta = open.metadata()?;
    // More than one link: writing would change another file of the command's choice.
    if !meta.is_file() || meta.nlink() != 1 || meta.permissions().mode() & 0o444 != 0o444 {
        return Ok(false);
    }
    open.write_all(env.as_bytes())?;
    if meta.len() > env.len() as u64 {
        open.set_len(env.len() as u64)?;
    }
    Ok(true)
}
