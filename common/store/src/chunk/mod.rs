//! Reading file bytes: chunks by hash, and files as streams of slices of chunks.
//!
//! * `source`: [`ChunkSource`], and the store as one, with its cache.
//! * `slices`: the slices of a file, read from its entry or from a list that is stored apart, and that list written.
//! * `alone`: small files without the rest of their chunk. `read`: whole files and parts of files, with read-ahead.
//!
//! Every byte has been compared with a hash: with that of its chunk or, for a small file that is read alone, with that
//! of the file.

mod alone;
mod read;
mod slices;
mod source;

pub use read::read_file_from;
pub use slices::slices_from;
pub use source::ChunkSource;
