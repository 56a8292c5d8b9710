//! Memory that all readers and writers of a store share.
//!
//! * `cache`: decoded objects, bounded in bytes, with one load for concurrent readers.
//! * `buffers`: the large buffers in which chunks are gathered.
//! * `marked`: a bounded set of hashes.

pub(crate) mod buffers;
pub(crate) mod cache;
pub(crate) mod marked;
