//! From set results to the output commit and the datum index.

mod edit_sorter;
mod merger;

pub use merger::{MergeError, Merged, Merger, output_key};
