//! Computing on the caller's thread or on another one, by the number of bytes.
//!
//! Work on few bytes takes less time than a thread switch; work on many bytes would delay the other tasks of the
//! runtime's thread.

use bytes::Bytes;

use crate::error::{Result, StoreError};

/// Most bytes that are handled on the thread of the caller.
pub(crate) const INLINE_BYTES: usize = 64 << 10;

/// Does work on `bytes` bytes: on the thread of the caller if they are few, otherwise on a thread that may block.
pub(crate) async fn by_size<T: Send + 'static>(bytes: usize, work: impl FnOnce() -> T + Send + 'static) -> Result<T> {
    if bytes <= INLINE_BYTES {
        return Ok(work());
    }
    tokio::task::spawn_blocking(work)
        .await
        .map_err(|error| StoreError::task(&error))
}

/// Adds bytes to a hasher, on another thread if they are many.
pub(crate) async fn hash_more(mut hasher: blake3::Hasher, bytes: Bytes) -> Result<blake3::Hasher> {
    if bytes.len() <= INLINE_BYTES {
        hasher.update(&bytes);
        return Ok(hasher);
    }
    let hashing = tokio::task::spawn_blocking(move || {
        hasher.update(&bytes);
        hasher
    });
    hashing.await.map_err(|error| StoreError::task(&error))
}
