//! Staged edits: edits of an open commit that are stored as objects and applied later.
//!
//! An open commit may be written to many times. If each write made a tree, the next write would replace nearly all of
//! its nodes. So each write is stored in an object of its own, and all of them are applied together when the tree is
//! needed: when a reader asks for the commit, or when it is finished.
//!
//! ```text
//! object = frame of: version (1 byte) · number of records · records, ascending by path
//! record = path · kind (1 byte) · if it writes: number of parts · parts
//! ```
//!
//! Numbers, and the lengths before paths and parts, are variable-length. A part is an encoded entry of a step.
//!
//! A record is the folded effect of one write on one path, so applying the records of all objects in the order of the
//! writes has the same effect as applying the writes one by one.

use std::sync::Arc;
use std::time::SystemTime;

use bytes::Bytes;
use howdah_model::{ContentHash, GlobalId};

use super::apply::ClosedEdits;
use super::edits::FileEdits;
use super::entry::path_of;
use super::staged_paths::{StagedPaths, StagedPathsBuilder};
use super::steps::{FileChange, FoldedStep, StepKind};
use crate::error::{Result, StoreError};
use crate::format::codec::{DecodeError, FieldReader, put_bytes, put_number};
use crate::format::frame::{frame_quickly, open_frame};
use crate::objects::keys;
use crate::offload::by_size;
use crate::store::Store;

/// Edits that are larger when encoded are applied and not staged: a staged object is read into memory as a whole.
pub const MAX_STAGED_BYTES: usize = 4 << 20;

const VERSION: u8 = 1;

/// The file has this content.
const WRITE: u8 = 0;
/// This content is added at the end of the file.
const APPEND: u8 = 1;
/// The file is removed.
const REMOVE: u8 = 2;
/// Everything in the directory is removed; the path ends with a slash.
const CLEAR: u8 = 3;

/// Encoded edits of one write, ready to be stored.
#[derive(Debug)]
pub struct StagedEdits {
    records: u64,
    encoded: Bytes,
    paths: Arc<StagedPaths>,
    /// Number of bytes of the files written.
    pub bytes: u64,
}

impl ClosedEdits {
    /// Encodes the edits; `None` if they are larger than [`MAX_STAGED_BYTES`].
    ///
    /// # Errors
    /// When temporary files fail.
    pub fn stage(&self) -> Result<Option<StagedEdits>> {
        let mut body = Vec::new();
        let mut paths = StagedPathsBuilder::default();
        let (mut records, mut bytes) = (0, 0);
        for step in self.folded() {
            match step? {
                FoldedStep::Cleared(directory) => {
                    put_bytes(&mut body, &directory);
                    body.push(CLEAR);
                }
                FoldedStep::File(path, FileChange::Remove) => {
                    put_bytes(&mut body, &path);
                    body.push(REMOVE);
                }
                FoldedStep::File(path, FileChange::Write(write)) => {
                    put_bytes(&mut body, &path);
                    body.push(if write.after_base { APPEND } else { WRITE });
                    put_number(&mut body, write.parts.len() as u64);
                    for part in &write.parts {
                        put_bytes(&mut body, part.encoded());
                        bytes += part.entry()?.content.size;
                    }
                    paths.add(path_of(&path)?);
                }
            }
            if body.len() > MAX_STAGED_BYTES {
                return Ok(None);
            }
            records += 1;
        }
        let paths = paths.finish();
        let mut encoded = vec![VERSION];
        put_number(&mut encoded, records);
        encoded.append(&mut body);
        Ok(Some(StagedEdits {
            records,
            encoded: encoded.into(),
            paths: Arc::new(paths),
            bytes,
        }))
    }
}

impl StagedEdits {
    /// Tells whether they have no effect.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.records == 0
    }

    /// Returns the paths that are written to.
    #[must_use]
    pub fn paths(&self) -> &Arc<StagedPaths> {
        &self.paths
    }

    /// Returns the number of encoded bytes.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.encoded.len() as u64
    }

    /// Returns the hash of the encoded edits, which [`Store::staged`] compares.
    #[must_use]
    pub fn hash(&self) -> ContentHash {
        ContentHash::new(*blake3::hash(&self.encoded).as_bytes())
    }
}

impl FileEdits {
    /// Adds staged edits as steps, after the steps so far.
    ///
    /// # Errors
    /// When the object is damaged, or there is no room for temporary files.
    pub async fn add_staged(&mut self, staged: &StagedObject) -> Result<()> {
        let mut records = StagedRecords::new(&staged.bytes).map_err(|error| staged.damaged(error))?;
        while let Some(record) = records.next().map_err(|error| staged.damaged(error))? {
            match record.edit {
                StagedChange::Remove => self.delete(record.path),
                StagedChange::Clear => self.clear(record.path),
                StagedChange::Write { after_base, parts } => {
                    for (place, part) in parts.into_iter().enumerate() {
                        let number = self.reserve();
                        let kind = if after_base || place > 0 {
                            StepKind::AppendEncoded(part)
                        } else {
                            StepKind::PutEncoded(part)
                        };
                        self.push(number, record.path, &kind);
                    }
                }
            }
            self.make_room().await?;
        }
        Ok(())
    }
}

/// Staged edits that were read from the store.
#[derive(Debug)]
pub struct StagedObject {
    key: String,
    bytes: Bytes,
}

impl StagedObject {
    /// Returns the paths that are written to.
    ///
    /// # Errors
    /// When the object was not written by [`Store::put_staged`].
    pub fn paths(&self) -> Result<StagedPaths> {
        let mut paths = StagedPathsBuilder::default();
        let mut records = StagedRecords::new(&self.bytes).map_err(|error| self.damaged(error))?;
        while let Some(record) = records.next().map_err(|error| self.damaged(error))? {
            if matches!(record.edit, StagedChange::Write { .. }) {
                paths.add(record.path);
            }
        }
        Ok(paths.finish())
    }

    fn damaged(&self, error: DecodeError) -> StoreError {
        StoreError::corrupt(&self.key, error.to_string())
    }
}

struct StagedRecords<'a> {
    reader: FieldReader<'a>,
    left: u64,
}

struct StagedRecord<'a> {
    path: &'a str,
    edit: StagedChange<'a>,
}

enum StagedChange<'a> {
    Remove,
    Clear,
    Write { after_base: bool, parts: Vec<&'a [u8]> },
}

impl<'a> StagedRecords<'a> {
    fn new(bytes: &'a [u8]) -> Result<Self, DecodeError> {
        let mut reader = FieldReader::new(bytes);
        match reader.byte()? {
            VERSION => {}
            other => return Err(DecodeError::Version(other)),
        }
        let left = reader.number()?;
        Ok(StagedRecords { reader, left })
    }

    fn next(&mut self) -> Result<Option<StagedRecord<'a>>, DecodeError> {
        if self.left == 0 {
            self.reader.finish()?;
            return Ok(None);
        }
        self.left -= 1;
        let path = str::from_utf8(self.reader.take_prefixed()?).map_err(|_| DecodeError::Range)?;
        let edit = match self.reader.byte()? {
            REMOVE => StagedChange::Remove,
            CLEAR => StagedChange::Clear,
            kind @ (WRITE | APPEND) => {
                let parts = (0..self.reader.number()?).map(|_| self.reader.take_prefixed());
                StagedChange::Write {
                    after_base: kind == APPEND,
                    parts: parts.collect::<Result<_, _>>()?,
                }
            }
            _ => return Err(DecodeError::Range),
        };
        Ok(Some(StagedRecord { path, edit }))
    }
}

impl Store {
    /// Stores staged edits under an id, which must be unique.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn put_staged(&self, id: &GlobalId, edits: &StagedEdits) -> Result<()> {
        let encoded = edits.encoded.clone();
        let framed = by_size(encoded.len(), move || frame_quickly(&encoded)).await?;
        self.put(&keys::staged(id), framed).await
    }

    /// Reads staged edits; `None` if the object does not exist (any more).
    ///
    /// # Errors
    /// When the bytes do not have this hash, or the store fails.
    pub async fn staged(&self, id: &GlobalId, hash: &ContentHash) -> Result<Option<StagedObject>> {
        let key = keys::staged(id);
        let Some(stored) = self.get_opt(&key).await? else {
            return Ok(None);
        };
        let hash = *hash;
        by_size(stored.len(), move || {
            let bytes = open_frame(&stored).map_err(|reason| StoreError::corrupt(&key, reason))?;
            if blake3::hash(&bytes).as_bytes() == hash.as_bytes() {
                Ok(Some(StagedObject { key, bytes }))
            } else {
                Err(StoreError::corrupt(
                    key,
                    "its bytes do not have the hash they should have",
                ))
            }
        })
        .await?
    }

    /// Removes staged edits.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn delete_staged(&self, id: &GlobalId) -> Result<()> {
        self.delete(&keys::staged(id)).await
    }

    /// Lists the ids of all staged edits, and when they were written, if the backend knows.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn list_staged(&self) -> Result<Vec<(GlobalId, Option<SystemTime>)>> {
        let objects = self.list(keys::STAGED).await?;
        let id = |key: &str| key.rsplit('/').next()?.parse().ok();
        let found = objects
            .iter()
            .filter_map(|object| Some((id(&object.key)?, object.modified)));
        Ok(found.collect())
    }
}
