//! The ordered map for every index: an immutable, content-addressed search tree (a prolly tree).
//!
//! A node ends after an entry if the hash of the entry's *key*, weighted by the entry's size, falls below a threshold.
//! The level above has one entry for each node, and so on until one node is left. So the shape depends on the content
//! alone:
//! * equal content has an equal root, whatever the order of edits that led to it;
//! * an edit changes the nodes around it and the path above them, and nothing else;
//! * two trees that share most of their content share most of their nodes, and [`Tree::diff`] does not read shared
//!   ones.
//!
//! ```text
//! level 1                [ ..c | ..k | ..z ]            entry = last key, hash, count, weight of a child
//!                        /        |        \
//! level 0     [a b c]      [d f h k]      [m x z]       entry = key, weight, data, placement
//! ```
//!
//! Inner entries have counts and sums of weights, so the totals of a range need two paths from the root. All scans are
//! streams. Applying edits keeps one entry for each *changed node* in memory.
//!
//! A value has two parts: `data`, its meaning, and `placement`, the places of its bytes. Only `data`, key and weight
//! decide the root and count as a difference.
//!
//! * `map`: [`Tree`]. `entry`: [`TreeEntry`], [`TreeValue`], [`TreeEdit`], [`DiffItem`], [`Aggregate`]. `range`:
//!   [`KeyRange`].
//! * `cursor`: moving on one level and over entries, with read-ahead. `scan`: ranges, totals. `diff`: comparing.
//! * `apply`: edits, level by level. `write`: storing nodes in the background.
//!
//! Damaged and missing nodes are errors that name the object. The tree does not know paths or files.

mod apply;
mod cursor;
mod diff;
mod entry;
mod map;
mod range;
mod scan;
#[cfg(test)]
mod tests;
mod write;

pub use apply::MAX_KEY_BYTES;
pub(crate) use cursor::{Cursor, open_node};
pub use entry::{Aggregate, DiffItem, TreeEdit, TreeEntry, TreeValue};
pub use map::Tree;
pub use range::KeyRange;
pub(crate) use range::end_of_prefix;
