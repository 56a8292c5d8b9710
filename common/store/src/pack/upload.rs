//! Storing one piece of the stream: hashing its files, then hashing, packing and sending its bytes.

use howdah_model::ContentHash;
use tokio::sync::{OwnedSemaphorePermit, oneshot};

use super::piece::{FileHasher, Piece};
use crate::error::{Result, StoreError};
use crate::format::chunk::ChunkHash;
use crate::format::frame::frame_in_place;
use crate::objects::keys::ContentKey;
use crate::offload::INLINE_BYTES;
use crate::store::Store;

/// A piece that is durable.
#[derive(Debug)]
pub(super) struct StoredPiece {
    /// `None` if the piece has no bytes.
    pub(super) chunk: Option<ChunkHash>,
    /// Hashes of the files that end in it.
    pub(super) files: Vec<ContentHash>,
}

/// The right to hash files. Pieces have it one after the other, in the order of the stream: the hash of a file that
/// spans several pieces needs their bytes in order, while everything else of the pieces runs in parallel.
pub(super) struct HashingTurn {
    pub(super) hasher: oneshot::Receiver<FileHasher>,
    pub(super) pass_on: oneshot::Sender<FileHasher>,
}

/// Hashes the files of a piece when it has the turn, hashes and packs its bytes, and stores them unless they exist.
///
/// Takes a part of the write buffer, which is free again when this ends.
pub(super) async fn upload(
    store: Store,
    mut piece: Piece,
    turn: HashingTurn,
    _room: OwnedSemaphorePermit,
) -> Result<StoredPiece> {
    let HashingTurn { hasher, pass_on } = turn;
    let gone = |_| StoreError::Task("the hasher of a file writer has failed before".to_owned());
    let mut hasher = hasher.await.map_err(gone)?;
    let known = store.clone();
    let small = piece.bytes().len() <= INLINE_BYTES;
    let prepare = move || {
        let files = hasher.hash(&mut piece);
        // Passed on before the slower work on this piece, so that the next piece can begin. The send fails if the
        // writer was dropped, or after the last piece; both are no error.
        let _ = pass_on.send(hasher);
        if piece.bytes().is_empty() {
            return (files, None);
        }
        let hash = ContentHash::new(*blake3::hash(piece.bytes()).as_bytes());
        let framed = (!known.is_known(&ContentKey::Chunk(hash))).then(|| frame_in_place(piece.into_framed()));
        (files, Some((hash, framed)))
    };
    let (files, chunk) = if small {
        prepare()
    } else {
        tokio::task::spawn_blocking(prepare)
            .await
            .map_err(|error| StoreError::task(&error))?
    };
    if let Some((hash, Some(framed))) = &chunk {
        store.put_content(ContentKey::Chunk(*hash), framed.clone()).await?;
    }
    Ok(StoredPiece {
        chunk: chunk.map(|(hash, _)| ChunkHash(hash)),
        files,
    })
}
