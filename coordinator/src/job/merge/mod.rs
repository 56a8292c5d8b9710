//! From the results of datum sets to the output commit and the datum index.
//!
//! The output of a job is that of the datums it took over plus that of the datums it ran. All trees are made by editing
//! those of the base job: files of dropped datums are removed, new ones are added, and nothing else is read or written.
//!
//! ```text
//!  results, as they come in --Merger::add--> three sorters --Merger::finish--> files, records, outputs
//! ```
//!
//! - `merger`: [`Merger`], [`Merged`].
//! - `file_changes`: the changes to the files of the base, and files that two datums wrote.
//! - `edit_sorter`: tree edits, sorted in bounded memory.
//!
//! Results may be added in any order: the trees, and the failure that is reported, are the same. A file that two datums
//! wrote fails the job; it is not an error of the merge.

mod edit_sorter;
mod file_changes;
mod merger;

pub use merger::{MergeError, Merged, Merger, output_key};
