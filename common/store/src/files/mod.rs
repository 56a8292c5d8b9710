//! Files by path: the meaning of a commit's data, on top of [`crate::tree`].
//!
//! The tree holds one entry per file; its key is the file's whole path. Directories are not stored:
//! they exist through the files in them. Order is byte order of whole paths, directories written with a
//! slash at the end, so a directory comes just before its contents:
//! ```text
//! /           directory
//! /a-b        file
//! /a/         directory
//! /a/1        file
//! /a/x/       directory
//! /a/x/2      file
//! ```
//!
//! * [`FileTree`] reads: `inspect`, `list`, `walk`, `glob`, `diff`.
//! * [`FileEdits`] gathers put, append, delete and copy steps and applies them in order, at once.
//! * [`clean_path`] and [`check_path`] are the rules of paths.
//!
//! What is not here: commits, repositories, who may write.

mod diff;
mod edits;
mod path;
mod staged;
mod steps;
#[cfg(test)]
mod tests;
mod view;
mod walk;

pub use diff::FileDiff;
pub use edits::{ClosedEdits, EditError, FileEdits, StepNumber};
pub use path::{PathError, PathRules, check_path, clean_path};
pub use staged::{MAX_STAGED_BYTES, StagedEdits, StagedObject, StagedPaths};
pub use view::{Collision, FileKind, FileNode, FileTree};
pub use walk::Page;
