//! Reading a small file alone: without the rest of the chunk that it shares with other files.
//!
//! Reading whole chunks pays if neighbouring files are read soon. If chunks are evicted before that, each small file
//! costs a whole chunk; then a range request for the file's own bytes is cheaper. It works for chunks that are stored
//! uncompressed only. If anything differs from what is expected, the chunks are read after all.

use bytes::{Bytes, BytesMut};

use crate::error::Result;
use crate::format::content::{FileContent, Placement, Slice};
use crate::format::frame::HEADER;
use crate::objects::keys;
use crate::store::Store;

/// Larger files are always read by their chunks.
const MAX_ALONE: u64 = 128 << 10;

impl Store {
    /// Reads a small file alone if its chunks were evicted from the cache lately, so that reading them again would not
    /// help the next reader either. The bytes have been compared with the hash of the file.
    ///
    /// `None` = the chunks must be read: they are compressed, the file is large, or the bytes differ.
    pub(crate) async fn read_alone(&self, content: &FileContent) -> Result<Option<Bytes>> {
        let was_evicted = |slice: &Slice| self.shared.chunks.was_evicted(&slice.chunk);
        self.read_alone_if(content, was_evicted).await
    }

    /// Reads a small file alone if each of its slices passes a test.
    pub(super) async fn read_alone_if(
        &self,
        content: &FileContent,
        wanted: impl Fn(&Slice) -> bool,
    ) -> Result<Option<Bytes>> {
        let Placement::Direct(slices) = &content.placement else {
            return Ok(None);
        };
        if content.size > MAX_ALONE || slices.is_empty() || !slices.iter().all(wanted) {
            return Ok(None);
        }
        let mut bytes = BytesMut::with_capacity(content.size as usize);
        for slice in slices {
            let start = u64::from(slice.offset) + HEADER as u64;
            let range = start..start + u64::from(slice.len);
            bytes.extend_from_slice(&self.get_range(&keys::chunk(&slice.chunk.0), range).await?);
        }
        // The range may contain bytes of a compressed chunk or of a damaged one. The hash detects both.
        let whole = blake3::hash(&bytes).as_bytes() == content.hash.as_bytes();
        Ok(whole.then(|| bytes.freeze()))
    }
}
