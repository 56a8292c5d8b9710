//! Making a workspace fresh again with what the try before left.
//!
//! Removing and making every folder and link anew costs more than starting a trivial command.
//! When the next try needs the same folders and everything in `/pfs` is found as expected, only files go.
//! Anything unexpected ends the attempt, and `/pfs` is cleared and made from nothing.
//!
//! Inputs are apart from that, since no command can write to them: whatever it did in `/pfs`, a large folder
//! that the next try needs too, of another commit or the same, stands, and only what differs is changed in it.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use howdah_model::ids::TreeRoot;

use crate::pfs::workspace::{SCRATCH, Workspace};

/// Files of an input that are removed one by one; the folder of one with more is renamed aside as a whole.
const FEW_FILES: usize = 32;

/// A folder of a commit that is all that an input consists of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Whole {
    /// Its path, with a slash at the end.
    pub path: String,
    /// The file tree of the commit.
    pub root: TreeRoot,
}

/// What a try was given as one input, as far as it is known to the last file.
#[derive(Debug)]
enum Laid {
    /// These files and nothing else.
    Few(Vec<PathBuf>),
    /// Too many to be remembered one by one: all that is below the folder, if it was laid out to the end.
    Many(Option<Whole>),
}

/// What a try was given: its inputs by name.
#[derive(Debug, Default)]
pub(crate) struct Given {
    inputs: BTreeMap<Arc<str>, Laid>,
}

impl Given {
    /// Begins with empty folders.
    pub fn new<'a>(names: impl IntoIterator<Item = &'a Arc<str>>) -> Self {
        let empty = |name: &Arc<str>| (Arc::clone(name), Laid::Few(Vec::new()));
        Self {
            inputs: names.into_iter().map(empty).collect(),
        }
    }

    /// Remembers a file that is about to be placed.
    pub fn add(&mut self, input: &str, file: PathBuf) {
        let Some(laid) = self.inputs.get_mut(input) else {
            return;
        };
        match laid {
            Laid::Few(files) if files.len() < FEW_FILES => files.push(file),
            _ => *laid = Laid::Many(None),
        }
    }

    /// Remembers that an input has been laid out to the end.
    pub fn complete(&mut self, input: &str, whole: Whole) {
        if let Some(Laid::Many(known)) = self.inputs.get_mut(input) {
            *known = Some(whole);
        }
    }

    /// Says whether these are the inputs.
    fn has_inputs(&self, wanted: &Wanted) -> bool {
        self.inputs.keys().eq(wanted.keys())
    }
}

/// The inputs of the next try by name, each with its folder where it consists of one and nothing else.
pub type Wanted = BTreeMap<Arc<str>, Option<Whole>>;

/// What stands from the try before, by name of the input: the same folder of another commit, or of the same.
pub type Standing = BTreeMap<Arc<str>, TreeRoot>;

/// Readies the folders of inputs for the next try: what the next one needs too stands, all else goes. `None`
/// if they are not the same inputs.
pub(crate) fn reuse_inputs(
    space: &Workspace,
    given: Given,
    wanted: &Wanted,
    discard: impl Fn(&Path) -> io::Result<()>,
) -> io::Result<Option<(Given, Standing)>> {
    if !given.has_inputs(wanted) {
        return Ok(None);
    }
    let inputs = space.inputs();
    let mut next = Given::new(wanted.keys());
    let mut standing = Standing::new();
    for (name, laid) in given.inputs {
        let same = |whole: &Whole| {
            wanted
                .get(&name)
                .and_then(Option::as_ref)
                .is_some_and(|next| next.path == whole.path)
        };
        match laid {
            Laid::Few(files) => {
                for file in &files {
                    remove_with_parents(file, &inputs)?;
                }
            }
            Laid::Many(Some(whole)) if same(&whole) => {
                // Not known to be complete again until the differences are made.
                next.inputs.insert(Arc::clone(&name), Laid::Many(None));
                standing.insert(name, whole.root);
            }
            Laid::Many(_) => {
                let folder = inputs.join(&*name);
                discard(&folder)?;
                fs::create_dir(&folder)?;
            }
        }
    }
    Ok(Some((next, standing)))
}

/// Makes `/pfs` as good as new without making anything anew; `false` if that was not possible.
pub(crate) fn reset(space: &Workspace, given: &Given, env: &str) -> bool {
    // An error is no trouble yet: clearing everything meets it again if it is one.
    matches!(try_reset(space, given, env), Ok(true))
}

fn try_reset(space: &Workspace, given: &Given, env: &str) -> io::Result<bool> {
    Ok(is_as_made(space, given)? && empty_out(&space.out())? && rewrite_env(&space.dirs().pfs.join(".env"), env)?)
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
                    && given.inputs.contains_key(name)
                    && fs::read_link(entry.path())? == Path::new(&space.link_target(name))
            }
            None => false,
        };
        if !expected {
            return Ok(false);
        }
        found += 1;
    }
    Ok(found == given.inputs.len() + 3)
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
pub(crate) fn remove_with_parents(file: &Path, inputs: &Path) -> io::Result<()> {
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
