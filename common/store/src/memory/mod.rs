//! Memory that an open store shares: caches and buffers.

pub(crate) mod buffers;
pub(crate) mod cache;
