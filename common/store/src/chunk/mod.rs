//! Reading file bytes: chunks by hash, and files as streams of slices of chunks.
//!
//! * `source`: [`ChunkSource`], and the store as one, with its cache.
//! * `slices`: the slices of a file, read from its entry or from a list that is stored apart, and that list written.
//! * `whole`: the bytes of whole files compared with the hashes of the files. `alone`: small files without the rest of their chunk. `read`: whole files and parts of files, with read-ahead.
//!
//! Every chunk has been compared with its hash, and every file that is read from its beginning with that of the file.
//! Only a read that begins later relies on the chunks alone.

mod alone;
mod read;
mod slices;
mod source;
mod whole;

pub use read::read_file_from;
pub use slices::slices_from;
pub use source::ChunkSource;
