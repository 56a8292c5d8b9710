//! The bytes of stored objects: encoding and decoding, without I/O.
//!
//! * `codec`: numbers and lengths; a reader that refuses damaged bytes and never panics.
//! * `frame`: the header and compression of chunks, nodes and staged edits.
//! * `chunk`: sizes and hashes of chunks. `content`: size, hash and slices of a file.
//! * `node`: nodes of trees. `node_builder`: where nodes end, and how they are encoded.
//!
//! Formats are versioned by their first byte. Bytes from disk are never trusted with an allocation or an index.

pub(crate) mod chunk;
pub(crate) mod codec;
pub(crate) mod content;
pub(crate) mod frame;
pub(crate) mod node;
pub(crate) mod node_builder;
