//! What stored objects look like: bytes to values and back, without I/O.

pub(crate) mod codec;
pub(crate) mod content;
pub(crate) mod node;
