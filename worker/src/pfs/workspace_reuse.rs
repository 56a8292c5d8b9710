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
use std::ffi::{CStr, CString};
use std::io::{self, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use howdah_model::ids::TreeRoot;

use crate::beneath::{Access, DirBuffer, EntryKind, Folder};
use crate::pfs::layout::{ENV_FILE, OUT, PfsLayout, SCRATCH};

/// Files of an input that are removed one by one. The folder of an input with more files is renamed aside as a whole.
const FEW_FILES: usize = 32;

/// A folder of a commit that is all that an input consists of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct CommitFolder {
    /// Its path, with a slash at the end.
    pub path: String,
    /// The file tree of the commit.
    pub root: TreeRoot,
}

/// The inputs of a datum by name; with its folder where an input consists of one folder and nothing else.
pub(crate) type DatumInputs = BTreeMap<Arc<str>, Option<CommitFolder>>;

/// Inputs whose folder was kept, by name, with the tree of the commit that its files are from.
pub(crate) type ReusedFolders = BTreeMap<Arc<str>, TreeRoot>;

/// What a try was given as one input.
#[derive(Debug)]
enum LaidOutInput {
    /// Exactly these files, by their paths from the folder of all inputs.
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
    pub(super) fn new<'a>(names: impl IntoIterator<Item = &'a Arc<str>>) -> Self {
        let empty = |name: &Arc<str>| (Arc::clone(name), LaidOutInput::Files(Vec::new()));
        Self {
            inputs: names.into_iter().map(empty).collect(),
        }
    }

    /// Records a file that is about to be placed.
    pub(super) fn add(&mut self, input: &str, file: PathBuf) {
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
    pub(super) fn complete(&mut self, input: &str, folder: CommitFolder) {
        if let Some(LaidOutInput::Folder(known)) = self.inputs.get_mut(input) {
            *known = Some(folder);
        }
    }
}

/// Readies the folders of inputs for the next try; returns the new record and the folders that were kept.
///
/// Returns `None` if the next try has inputs of other names.
pub(super) fn reuse_inputs(
    inputs: &Folder,
    laid_out: LaidOutInputs,
    next: &DatumInputs,
    discard: impl Fn(&CStr) -> io::Result<()>,
) -> io::Result<Option<(LaidOutInputs, ReusedFolders)>> {
    if !laid_out.inputs.keys().eq(next.keys()) {
        return Ok(None);
    }
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
                    remove_with_parents(inputs, file)?;
                }
            }
            LaidOutInput::Folder(Some(folder)) if is_needed(&folder) => {
                // Recorded as incomplete until the caller has applied the differences: a try that fails in between must
                // not pass a mixture of two commits on to the next one.
                record.inputs.insert(Arc::clone(&name), LaidOutInput::Folder(None));
                reused.insert(name, folder.root);
            }
            LaidOutInput::Folder(_) => {
                discard(&CString::new(&*name)?)?;
                inputs.make_folder(&name, Access::ReadOnly)?;
            }
        }
    }
    Ok(Some((record, reused)))
}

/// Removes an input file and the folders that become empty, up to the input's own folder, which stays.
pub(super) fn remove_with_parents(inputs: &Folder, file: &Path) -> io::Result<()> {
    match inputs.remove_file(file) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut folder = file.parent();
    while let Some(path) = folder.filter(|path| path.components().nth(1).is_some()) {
        match inputs.remove_folder(path) {
            // Not found: it was removed with a file before.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            // Another file is still to be removed.
            Err(error) if error.kind() == io::ErrorKind::DirectoryNotEmpty => return Ok(()),
            other => other?,
        }
        folder = path.parent();
    }
    Ok(())
}

/// Resets `/pfs` without making anything anew. Returns `false` if that was not possible; it is half reset then and must
/// be cleared.
pub(super) fn reset_pfs(pfs: &Folder, layout: &PfsLayout, laid_out: &LaidOutInputs, env: &str) -> bool {
    matches!(try_reset(pfs, layout, laid_out, env), Ok(true))
}

fn try_reset(pfs: &Folder, layout: &PfsLayout, laid_out: &LaidOutInputs, env: &str) -> io::Result<bool> {
    let mut buffer = DirBuffer::new();
    // Checked first: nothing is removed through a folder that the command replaced.
    Ok(is_as_made(pfs, layout, laid_out, &mut buffer)? && empty_out(pfs, &mut buffer)? && rewrite_env(pfs, env)?)
}

/// Returns whether `/pfs` holds what the worker made and nothing else.
fn is_as_made(pfs: &Folder, layout: &PfsLayout, laid_out: &LaidOutInputs, buffer: &mut DirBuffer) -> io::Result<bool> {
    let mut found = 0;
    let checked = pfs.for_each_entry(buffer, |name, kind| {
        let expected = match name.to_str() {
            Ok(SCRATCH | OUT) => kind == EntryKind::Folder,
            Ok(ENV_FILE) => kind == EntryKind::File,
            Ok(name) => {
                kind == EntryKind::Link
                    && laid_out.inputs.contains_key(name)
                    && pfs.read_link(name)? == *layout.link_target(name)
            }
            Err(_) => false,
        };
        found += 1;
        if expected { Ok(()) } else { Err(Unexpected::Entry) }
    });
    // `.scratch`, `out`, `.env` and a link per input.
    Ok(as_expected(checked)? && found == laid_out.inputs.len() + 3)
}

/// Empties the output folder. Returns `false` if it holds a folder or many files, or if its mode was changed.
fn empty_out(pfs: &Folder, buffer: &mut DirBuffer) -> io::Result<bool> {
    let out = pfs.folder(OUT)?;
    let mut names = Vec::new();
    let listed = out.for_each_entry(buffer, |name, kind| {
        if names.len() >= FEW_FILES || kind == EntryKind::Folder {
            return Err(Unexpected::Entry);
        }
        names.push(name.to_owned());
        Ok(())
    });
    if !as_expected(listed)? {
        return Ok(false);
    }
    for name in &names {
        out.remove_entry(name)?;
    }
    Ok(out.file().metadata()?.mode() & 0o7777 == 0o777)
}

/// Why a folder is not as expected.
enum Unexpected {
    /// An entry of another kind, or too many.
    Entry,
    Failed(io::Error),
}

impl From<io::Error> for Unexpected {
    fn from(error: io::Error) -> Self {
        Self::Failed(error)
    }
}

fn as_expected(checked: Result<(), Unexpected>) -> io::Result<bool> {
    match checked {
        Ok(()) => Ok(true),
        Err(Unexpected::Entry) => Ok(false),
        Err(Unexpected::Failed(error)) => Err(error),
    }
}

/// Overwrites the file of variables. Returns `false` if it is not a plain, readable file of its own any more.
fn rewrite_env(pfs: &Folder, env: &str) -> io::Result<bool> {
    // The command may have replaced the file by a link or a pipe: neither is followed or waited for.
    let mut open = pfs.open_to_write(ENV_FILE)?;
    let meta = open.metadata()?;
    // More than one link: writing would change another file of the command's choice.
    if !meta.is_file() || meta.nlink() != 1 || meta.mode() & 0o444 != 0o444 {
        return Ok(false);
    }
    open.write_all(env.as_bytes())?;
    if meta.len() > env.len() as u64 {
        open.set_len(env.len() as u64)?;
    }
    Ok(true)
}
