//! Edits that wait.
//!
//! A commit that is open may be written to many times. If every time made a tree, nearly all nodes of all those trees
//! would be replaced by the next one. So what a modification writes is kept in an object of its own, and what all of
//! them wrote becomes a tree when somebody wants to see it: the commit's reader, or its finish.
//!
//! ```text
//! object = frame (see chunk.rs) of: version (1 byte) · number of records · records, ascending by path
//! record = path · kind (1 byte) · if it writes: number of parts · parts
//! ```
//!
//! Numbers, and the lengths in front of paths and parts, are those of codec.rs. A part is an entry as steps have it.
//!
//! Whether edits that wait fit together is told from their paths alone, to be on the safe side: what one of them removes
//! counts as if it stayed. Where that shows a path that may be both a file and a directory, nothing can wait any longer.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::SystemTime;

use bytes::Bytes;
use howdah_model::{ContentHash, GlobalId};

use super::edits::{ClosedEdits, FileEdits};
use super::path::{as_directory, directories, without_slash};
use super::steps::{Change, Folded, StepKind};
use super::view::{Collision, CollisionFinder, FileTree, path_of};
use crate::chunk::{by_size, frame_quickly, open_frame};
use crate::error::{Result, StoreError};
use crate::format::codec::{DecodeError, Reader, put_bytes, put_number};
use crate::objects::keys;
use crate::store::Store;

/// Edits larger than this, encoded, are not staged but applied: what waits is read as a whole.
pub const MAX_STAGED_BYTES: usize = 4 << 20;

const VERSION: u8 = 1;

/// The file gets this content.
const WRITE: u8 = 0;
/// This content comes after what the file has.
const APPEND: u8 = 1;
/// The file goes.
const REMOVE: u8 = 2;
/// Everything in the directory goes; the path ends with a slash.
const CLEAR: u8 = 3;

/// What a modification does, ready to be kept.
#[derive(Debug)]
pub struct StagedEdits {
    records: u64,
    encoded: Bytes,
    paths: Arc<StagedPaths>,
    /// Bytes that are written to files.
    pub bytes: u64,
}

impl ClosedEdits {
    /// Encodes the edits; `None` if they are too many.
    ///
    /// # Errors
    /// When temporary files fail.
    pub fn stage(&self) -> Result<Option<StagedEdits>> {
        let mut body = Vec::new();
        let mut paths = Paths::default();
        let (mut records, mut bytes) = (0, 0);
        for step in self.folded() {
            match step? {
                Folded::Cleared(directory) => {
                    put_bytes(&mut body, &directory);
                    body.push(CLEAR);
                }
                Folded::File(path, Change::Remove) => {
                    put_bytes(&mut body, &path);
                    body.push(REMOVE);
                }
                Folded::File(path, Change::Write(write)) => {
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
    /// Tells whether they do nothing.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.records == 0
    }

    /// Returns what is written to.
    #[must_use]
    pub fn paths(&self) -> &Arc<StagedPaths> {
        &self.paths
    }

    /// Returns the number of encoded bytes.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.encoded.len() as u64
    }

    /// Returns the hash that [`Store::staged`] asks for.
    #[must_use]
    pub fn hash(&self) -> ContentHash {
        ContentHash::new(*blake3::hash(&self.encoded).as_bytes())
    }
}

/// The files that staged edits write, and the directories they lie in.
#[derive(Debug)]
pub struct StagedPaths {
    /// Ascending.
    files: Vec<Box<str>>,
    /// Without slash and root; ascending.
    directories: Vec<Box<str>>,
    memory: usize,
}

#[derive(Default)]
struct Paths {
    files: Vec<Box<str>>,
    directories: BTreeSet<Box<str>>,
    /// Directory of the last file, its slash included.
    last: Box<str>,
}

impl Paths {
    /// Adds a file; they ascend.
    fn add(&mut self, path: &str) {
        let parent = directories(path).next_back().unwrap_or_default();
        if *parent != *self.last {
            let known = directories(path).skip(1).map(without_slash);
            self.directories.extend(known.map(Box::from));
            self.last = parent.into();
        }
        self.files.push(path.into());
    }

    fn finish(self) -> StagedPaths {
        let paths = self.files.iter().chain(&self.directories);
        let memory = paths.map(|path| path.len() + 2 * size_of::<Box<str>>()).sum();
        StagedPaths {
            memory,
            files: self.files,
            directories: self.directories.into_iter().collect(),
        }
    }
}

impl StagedPaths {
    /// Returns about how many bytes of memory they take.
    #[must_use]
    pub fn memory(&self) -> usize {
        self.memory
    }

    /// Finds a path that is a file on one side and a directory on the other. The sides may be the same.
    #[must_use]
    pub fn collision_with(&self, other: &StagedPaths) -> Option<Collision> {
        self.file_in(other).or_else(|| other.file_in(self))
    }

    /// Finds a file of `self` that is a directory of `other`.
    fn file_in(&self, other: &StagedPaths) -> Option<Collision> {
        // The smaller side is looked up in the larger one.
        let (few, many) = match self.files.len() < other.directories.len() {
            true => (&self.files, &other.directories),
            false => (&other.directories, &self.files),
        };
        let directory = few.iter().find(|path| many.binary_search(path).is_ok())?;
        let prefix = as_directory(directory);
        let at = other.files.partition_point(|file| **file < *prefix);
        Some(Collision {
            file: directory.to_string(),
            member: other.files.get(at)?.to_string(),
        })
    }

    /// Finds a path that is a file here and a directory among the files of a commit, or the reverse.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn collision_in(&self, files: &FileTree) -> Result<Option<Collision>> {
        let mut finder = CollisionFinder::new(files).await?;
        for path in &self.files {
            let collision = finder.check_coming(path).await?;
            if collision.is_some() {
                return Ok(collision);
            }
        }
        Ok(None)
    }
}

impl FileEdits {
    /// Adds what staged edits do.
    ///
    /// # Errors
    /// When there is no room for temporary files.
    pub async fn add_staged(&mut self, staged: &StagedObject) -> Result<()> {
        let mut records = Records::new(&staged.bytes).map_err(|error| staged.damaged(error))?;
        while let Some(record) = records.next().map_err(|error| staged.damaged(error))? {
            match record.edit {
                RecordEdit::Remove => self.delete(record.path),
                RecordEdit::Clear => self.clear(record.path),
                RecordEdit::Write { after_base, parts } => {
                    for (place, part) in parts.into_iter().enumerate() {
                        let number = self.reserve();
                        let kind = if after_base || place > 0 {
                            StepKind::AppendPart(part)
                        } else {
                            StepKind::PutPart(part)
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

/// Staged edits as they came from the store.
#[derive(Debug)]
pub struct StagedObject {
    key: String,
    bytes: Bytes,
}

impl StagedObject {
    /// Returns what is written to.
    ///
    /// # Errors
    /// When the object was not written by [`Store::put_staged`].
    pub fn paths(&self) -> Result<StagedPaths> {
        let mut paths = Paths::default();
        let mut records = Records::new(&self.bytes).map_err(|error| self.damaged(error))?;
        while let Some(record) = records.next().map_err(|error| self.damaged(error))? {
            if matches!(record.edit, RecordEdit::Write { .. }) {
                paths.add(record.path);
            }
        }
        Ok(paths.finish())
    }

    fn damaged(&self, error: DecodeError) -> StoreError {
        StoreError::corrupt(&self.key, error.to_string())
    }
}

struct Records<'a> {
    reader: Reader<'a>,
    left: u64,
}

struct Record<'a> {
    path: &'a str,
    edit: RecordEdit<'a>,
}

enum RecordEdit<'a> {
    Remove,
    Clear,
    Write { after_base: bool, parts: Vec<&'a [u8]> },
}

impl<'a> Records<'a> {
    fn new(bytes: &'a [u8]) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(bytes);
        match reader.byte()? {
            VERSION => {}
            other => return Err(DecodeError::Version(other)),
        }
        let left = reader.number()?;
        Ok(Records { reader, left })
    }

    fn next(&mut self) -> Result<Option<Record<'a>>, DecodeError> {
        if self.left == 0 {
            self.reader.finish()?;
            return Ok(None);
        }
        self.left -= 1;
        let path = str::from_utf8(self.reader.take_prefixed()?).map_err(|_| DecodeError::Range)?;
        let edit = match self.reader.byte()? {
            REMOVE => RecordEdit::Remove,
            CLEAR => RecordEdit::Clear,
            kind @ (WRITE | APPEND) => {
                let parts = (0..self.reader.number()?).map(|_| self.reader.take_prefixed());
                RecordEdit::Write {
                    after_base: kind == APPEND,
                    parts: parts.collect::<Result<_, _>>()?,
                }
            }
            _ => return Err(DecodeError::Range),
        };
        Ok(Some(Record { path, edit }))
    }
}

impl Store {
    /// Keeps staged edits under an id that nothing else has.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn put_staged(&self, id: &GlobalId, edits: &StagedEdits) -> Result<()> {
        let encoded = edits.encoded.clone();
        let framed = by_size(encoded.len(), move || frame_quickly(&encoded)).await?;
        self.put(&keys::staged(id), framed).await
    }

    /// Reads staged edits back; `None` if there are none under this id (any more).
    ///
    /// # Errors
    /// When they do not have the hash, or the store fails.
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

    /// Lists the ids of all staged edits, and when they were written, where the store knows.
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
