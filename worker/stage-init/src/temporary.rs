//! The folders for temporary files, emptied between datums.
//!
//! A container runs the commands of many datums. Files that one command writes to `/tmp` must not be seen by the
//! next one, or output would depend on more than the input. The worker says which folders are emptied (arguments of this
//! program), and before which commands ([`RunCommand::empty_first`](crate::frame::RunCommand::empty_first)).
//!
//! - [`TemporaryFolders::list`] remembers what the image has in these folders. It runs before any command.
//! - [`TemporaryFolders::empty`] removes everything else. It fails if a file of the image was changed or removed, and
//!   if the removal takes too long, is too deep or meets an error. The worker then replaces the container.
//!
//! No process of a command runs meanwhile: [`sweep`](crate::run::sweep) has killed them. The walk changes the current
//! directory and has at most one folder open. After each step it checks that it has arrived where it looked, so it never
//! follows a link. It does not enter other mounts. Its depth is bounded.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs::{self, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// Files of the image that are remembered, over all folders. The check of each costs about a microsecond.
const MAX_LISTED: usize = 10_000;
/// Deepest level of folders that is listed or emptied.
const MAX_DEPTH: usize = 128;
/// Time for emptying all folders. A new container costs less than waiting longer.
const TIME_LIMIT: Duration = Duration::from_secs(1);
/// Names that are read before they are removed.
const BATCH: usize = 1024;
/// Folders that are never emptied, wherever a link in the image leads.
const NEVER: [&str; 4] = ["/proc", "/sys", "/pfs", "/.howdah"];

/// The folders, with what the image has in them.
#[derive(Debug, Default)]
pub struct TemporaryFolders {
    folders: Vec<(PathBuf, AtStart)>,
    /// Whether a command has run since the listing.
    used: bool,
}

/// What was found at a path before the first command.
#[derive(Debug)]
enum AtStart {
    Absent,
    Folder(FolderListing),
    /// The folder cannot be emptied, for this reason.
    Unknown(String),
}

/// A folder of the image.
#[derive(Debug)]
struct FolderListing {
    stamp: Stamp,
    children: BTreeMap<OsString, Listed>,
}

/// An entry of a folder of the image.
#[derive(Debug)]
enum Listed {
    Folder(FolderListing),
    /// A folder of another file system. It is not entered.
    Mount,
    /// Anything else.
    File(Stamp),
}

/// What must be as it was. For a folder the times are zero: they change with its entries.
#[derive(Debug, PartialEq, Eq)]
struct Stamp {
    mode: u32,
    owner: (u32, u32),
    size: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

impl Stamp {
    fn of(meta: &Metadata) -> Self {
        let is_folder = meta.is_dir();
        let unless_folder = |time| if is_folder { (0, 0) } else { time };
        Self {
            mode: meta.mode(),
            owner: (meta.uid(), meta.gid()),
            size: if is_folder { 0 } else { meta.size() },
            modified: unless_folder((meta.mtime(), meta.mtime_nsec())),
            changed: unless_folder((meta.ctime(), meta.ctime_nsec())),
        }
    }
}

impl TemporaryFolders {
    /// Lists folders of the image. Call it before the first command.
    #[must_use]
    pub fn list(paths: impl IntoIterator<Item = PathBuf>) -> Self {
        let mut folders: Vec<(PathBuf, AtStart)> = Vec::new();
        let mut room = MAX_LISTED;
        for path in paths {
            // A link of the image, such as /var/tmp -> /tmp, is followed; later only its target counts.
            let (path, at_start) = match fs::canonicalize(&path) {
                Err(e) if e.kind() == io::ErrorKind::NotFound => (path, AtStart::Absent),
                Err(e) => (path, AtStart::Unknown(e.to_string())),
                Ok(target) => {
                    let found = list_folder(&target, &mut room);
                    (target, found.map_or_else(AtStart::Unknown, AtStart::Folder))
                }
            };
            if folders.iter().all(|(other, _)| *other != path) {
                folders.push((path, at_start));
            }
        }
        // A current directory would keep a folder from being removed.
        let _ = std::env::set_current_dir("/");
        Self { folders, used: false }
    }

    /// Notes that a command runs: the folders may no longer be as the image has them.
    pub fn mark_used(&mut self) {
        self.used = true;
    }

    /// Removes everything that the image does not have, if a command has run.
    ///
    /// # Errors
    /// A text that says why the container must be replaced.
    pub fn empty(&self) -> Result<(), String> {
        if !self.used {
            return Ok(());
        }
        let walk = Walk {
            deadline: Instant::now() + TIME_LIMIT,
        };
        let emptied = self.folders.iter().try_for_each(|(path, at_start)| {
            walk.empty_folder(path, at_start)
                .map_err(|what| format!("{} cannot be emptied: {what}", path.display()))
        });
        let _ = std::env::set_current_dir("/");
        emptied
    }
}

/// Lists a folder of the image by its path without links.
fn list_folder(path: &Path, room: &mut usize) -> Result<FolderListing, String> {
    if path == Path::new("/") || NEVER.iter().any(|never| path.starts_with(never)) {
        return Err(format!("it is a link to {}", path.display()));
    }
    let meta = enter_root(path)?;
    list_here(&meta, 0, room)
}

/// Lists the current directory.
fn list_here(here: &Metadata, depth: usize, room: &mut usize) -> Result<FolderListing, String> {
    let names: Vec<OsString> = fs::read_dir(".")
        .and_then(|entries| {
            // One more than there is room for, so that the loop below finds out.
            let names = entries.take(*room + 1).map(|entry| Ok(entry?.file_name()));
            names.collect()
        })
        .map_err(text)?;
    let mut children = BTreeMap::new();
    for name in names {
        *room = room
            .checked_sub(1)
            .ok_or_else(|| format!("the image has more than {MAX_LISTED} files there"))?;
        let meta = fs::symlink_metadata(&name).map_err(text)?;
        let listed = if !meta.is_dir() {
            Listed::File(Stamp::of(&meta))
        } else if meta.dev() != here.dev() {
            Listed::Mount
        } else {
            check_depth(depth)?;
            enter(&name, &meta)?;
            let listing = list_here(&meta, depth + 1, room)?;
            leave(here)?;
            Listed::Folder(listing)
        };
        children.insert(name, listed);
    }
    Ok(FolderListing {
        stamp: Stamp::of(here),
        children,
    })
}

/// One walk over all folders.
struct Walk {
    deadline: Instant,
}

impl Walk {
    fn empty_folder(&self, path: &Path, at_start: &AtStart) -> Result<(), String> {
        let listing = match at_start {
            AtStart::Unknown(why) => return Err(why.clone()),
            AtStart::Absent => match fs::symlink_metadata(path) {
                Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(()),
                _ => None,
            },
            AtStart::Folder(listing) => Some(listing),
        };
        let here = enter_root(path)?;
        if listing.is_some_and(|listing| listing.stamp != Stamp::of(&here)) {
            return Err("a command changed its owner or its permissions".to_owned());
        }
        self.empty_here(&here, listing, 0)
    }

    /// Checks the entries of the image in the current directory, and removes all others.
    fn empty_here(&self, here: &Metadata, listing: Option<&FolderListing>, depth: usize) -> Result<(), String> {
        for (name, listed) in listing.iter().flat_map(|listing| &listing.children) {
            self.check_listed(here, name, listed, depth)?;
        }
        let is_listed = |name: &OsString| listing.is_some_and(|listing| listing.children.contains_key(name));
        loop {
            // A batch at a time: a folder may have millions of names.
            let names: Vec<OsString> = fs::read_dir(".")
                .and_then(|entries| {
                    let names = entries.map(|entry| Ok(entry?.file_name()));
                    let others = names.filter(|name| !name.as_ref().is_ok_and(is_listed));
                    others.take(BATCH).collect()
                })
                .map_err(text)?;
            if names.is_empty() {
                return Ok(());
            }
            for name in &names {
                self.remove(here, name, depth)?;
            }
        }
    }

    /// Checks an entry of the image, and empties it if it is a folder.
    fn check_listed(&self, here: &Metadata, name: &OsString, listed: &Listed, depth: usize) -> Result<(), String> {
        self.check_time()?;
        let shown = Path::new(name).display();
        let meta = match fs::symlink_metadata(name) {
            Ok(meta) => meta,
            Err(e) if e.kind() == io::ErrorKind::NotFound => {
                return Err(format!("a command removed {shown}, which is part of the image"));
            }
            Err(e) => return Err(text(e)),
        };
        let (stamp, folder) = match listed {
            Listed::Mount => return Ok(()),
            Listed::File(stamp) => (stamp, None),
            Listed::Folder(folder) => (&folder.stamp, Some(folder)),
        };
        if *stamp != Stamp::of(&meta) {
            return Err(format!("a command changed {shown}, which is part of the image"));
        }
        if let Some(folder) = folder {
            enter(name, &meta)?;
            self.empty_here(&meta, Some(folder), depth + 1)?;
            leave(here)?;
        }
        Ok(())
    }

    /// Removes an entry that the image does not have.
    fn remove(&self, here: &Metadata, name: &OsString, depth: usize) -> Result<(), String> {
        self.check_time()?;
        let failed = |e: io::Error| format!("{}: {e}", Path::new(name).display());
        let meta = fs::symlink_metadata(name).map_err(failed)?;
        if !meta.is_dir() {
            return fs::remove_file(name).map_err(failed);
        }
        // Most folders are empty or become so.
        if fs::remove_dir(name).is_ok() {
            return Ok(());
        }
        if meta.dev() != here.dev() {
            return Err(format!("{} is a mount", Path::new(name).display()));
        }
        check_depth(depth)?;
        enter(name, &meta)?;
        self.empty_here(&meta, None, depth + 1)?;
        leave(here)?;
        fs::remove_dir(name).map_err(failed)
    }

    fn check_time(&self) -> Result<(), String> {
        if Instant::now() < self.deadline {
            return Ok(());
        }
        Err(format!("it takes longer than {TIME_LIMIT:?}"))
    }
}

fn check_depth(depth: usize) -> Result<(), String> {
    if depth < MAX_DEPTH {
        return Ok(());
    }
    Err(format!("it has folders nested more than {MAX_DEPTH} levels deep"))
}

/// Makes a folder without links in its path the current directory.
fn enter_root(path: &Path) -> Result<Metadata, String> {
    std::env::set_current_dir(path).map_err(text)?;
    if std::env::current_dir().map_err(text)? != path {
        return Err("a command replaced it by a link".to_owned());
    }
    fs::metadata(".").map_err(text)
}

/// Makes a folder of the current directory the current directory.
fn enter(name: &OsString, expected: &Metadata) -> Result<(), String> {
    std::env::set_current_dir(name).map_err(text)?;
    check_arrived(expected)
}

/// Makes the parent of the current directory the current directory.
fn leave(parent: &Metadata) -> Result<(), String> {
    std::env::set_current_dir("..").map_err(text)?;
    check_arrived(parent)
}

fn check_arrived(expected: &Metadata) -> Result<(), String> {
    let here = fs::metadata(".").map_err(text)?;
    if (here.dev(), here.ino()) == (expected.dev(), expected.ino()) {
        return Ok(());
    }
    Err("its folders change while they are emptied".to_owned())
}

#[expect(clippy::needless_pass_by_value, reason = "it is the argument of map_err")]
fn text(error: io::Error) -> String {
    error.to_string()
}

#[cfg(test)]
mod tests;
