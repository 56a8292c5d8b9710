//! Writing files: one stream of bytes, cut into chunks at places that its content decides.
//!
//! ```text
//! files    | a | b |  c  |        d (large)        | e |
//! stream   aaabbbcccccc|ddddddddd|dddddddddddd|dddd|eee
//! chunks   -----------  ---------  ----------- ----  ---      one object each, named by its hash
//! ```
//!
//! Small files share chunks, so a hundred thousand of them are some fifty objects. A file of [`LARGE_FILE`] bytes or
//! more has chunks of its own: they do not depend on the files beside it, so writing it again next to other files finds
//! all of them in the store.
//!
//! ```text
//! write ──► pending batch ──► Cutter (one thread at a time) ──► upload tasks, one for each piece
//!                              gathers, finds cuts                hash files, one piece after the other;
//!                                                                 hash, compress, put; bounded by the write buffer
//! ```
//!
//! Memory of one writer: up to 9 MiB in the pending batch, as much in the cutter and in pieces that wait for the write
//! buffer, and the write buffer itself, which all writers of a store share. In addition some 200 bytes for each file
//! that is not stored yet (2 KB for an append), whose number is bounded: a chunk ends after 32,768 files or some 3,600
//! appends. Contents of stored files are kept until they are taken ([`PackWriter::take_stored`]).
//!
//! * `batch`, `piece`: the stream before and after cutting. `gear`: finding cuts. `cutter`: gathering and cutting.
//! * `upload`: hashing and storing one piece. `ledger`: which files are durable. `writer`: [`PackWriter`].
//!
//! After an error of the store or of a local file, the writer must be dropped. The chunks that it has stored stay in
//! the store without a reference, because there is no garbage collection yet.

mod batch;
mod cutter;
mod gear;
mod ledger;
mod piece;
mod upload;
mod writer;

pub use writer::{LARGE_FILE, PackWriter};
