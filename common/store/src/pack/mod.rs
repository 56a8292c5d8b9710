//! Writing files.

mod batch;
mod cutter;
mod gear;
mod piece;
mod writer;

use writer::MAX_CHUNK_FILES;
pub use writer::{AVERAGE_CHUNK, LARGE_FILE, MAX_CHUNK, MIN_CHUNK, PackWriter};
pub(crate) use writer::{hash_more, push_slice};
