//! Files by path: what the data of a commit means, on top of a tree.
//!
//! The tree has one entry for each file; its key is the full path. Directories are not stored: a directory exists if a
//! file is in it. Order is the byte order of full paths, with a slash at the end of directories, so a directory comes
//! directly before its contents:
//! ```text
//! /           directory
//! /a-b        file
//! /a/         directory
//! /a/1        file
//! /a/x/       directory
//! /a/x/2      file
//! ```
//!
//! From the bottom up:
//! * `path`: the rules of paths. `entry`: a file as an entry of a tree. `file_node`: files and directories as users see
//!   them.
//! * `matching`: names against a glob. `directory_hash`, `view` ([`FileTree`]), `walk` (listings), `diff`: reading.
//! * `steps`, `collisions`, `apply` ([`ClosedEdits`]), `edits` ([`FileEdits`]): put, append, delete and copy steps are
//!   gathered and applied in order, all at once.
//! * `staged_paths`, `staged`: edits of an open commit that are stored and applied later.
//!
//! What can go wrong: a path breaks the rules ([`PathError`]), a path would be both a file and a directory
//! ([`Collision`]), or the store fails. Nothing has changed then.
//!
//! What is not here: commits, repositories, permissions.

mod apply;
mod collisions;
mod diff;
mod directory_hash;
mod edits;
mod entry;
mod file_node;
mod matching;
mod path;
mod staged;
mod staged_paths;
mod steps;
#[cfg(test)]
mod tests;
mod view;
mod walk;

pub use apply::{ClosedEdits, EditError};
pub use collisions::Collision;
pub use diff::FileDiff;
pub use edits::FileEdits;
pub use entry::FileEntry;
pub use file_node::{FileKind, FileNode};
pub use path::{PathError, PathRules, check_path, clean_path};
pub use staged::{MAX_STAGED_BYTES, StagedEdits, StagedObject};
pub use staged_paths::{StagedPaths, StagedPathsCache};
pub use steps::StepNumber;
pub use view::FileTree;
pub use walk::ListingPage;
