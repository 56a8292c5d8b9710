//! Files and folders below an open folder, reached without following a link.
//!
//! Commands can write to `/pfs`, and a process of theirs may change it while the worker works there. A path that the
//! worker checks and then opens may lead elsewhere by then: a folder in it was replaced by a link to the worker's own
//! files. So everything here starts from an open folder and follows no link, in no element of a path.
//!
//! - `folder`: [`Folder`], with the operations on what is below it; [`FileBeneath`]: a file by its path from there.
//! - `open`: opening a path without links, by `openat2` or element by element; the text of paths and names is checked.
//! - `entries`: listing a folder.
//! - `remove`: removing a tree of any depth with few open folders.
//!
//! All functions block. Errors are plain [`std::io::Error`]s; a path that climbs out of its folder or is no path at all
//! is [`std::io::ErrorKind::InvalidInput`].

mod entries;
mod folder;
mod open;
mod remove;

pub(crate) use entries::{DirBuffer, EntryKind};
pub(crate) use folder::{Access, FileBeneath, Folder, read_opened_link};
pub(crate) use open::is_file_name;
pub(crate) use remove::{Quota, Removal, remove};
