//! The entry of a file in a tree.

use howdah_model::{ContentHash, DatumId};
use serde::{Deserialize, Serialize};

use crate::error::{Result, StoreError};
use crate::format::codec::{DecodeError, FieldReader, put_number};
use crate::format::content::FileContent;
use crate::tree::{TreeEntry, TreeValue};

/// A file in a tree: its content, and the datum that wrote it if it is output of a pipeline.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileEntry {
    /// The bytes.
    pub content: FileContent,
    /// The datum that wrote the file; `None` for files that users put.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub datum: Option<DatumId>,
}

const ENTRY_VERSION: u8 = 1;
const HAS_DATUM: u8 = 1;

impl FileEntry {
    /// Returns the entry of a content that no datum wrote.
    #[must_use]
    pub fn new(content: FileContent) -> Self {
        FileEntry { content, datum: None }
    }

    /// Encodes the entry as a value of a tree. Its weight is the size of the file, so that weights of ranges are
    /// numbers of bytes. The slices are the placement and so without effect on the root.
    #[must_use]
    pub fn encode(&self) -> TreeValue {
        let mut data = Vec::with_capacity(76);
        data.push(ENTRY_VERSION);
        data.push(if self.datum.is_some() { HAS_DATUM } else { 0 });
        put_number(&mut data, self.content.size);
        data.extend_from_slice(self.content.hash.as_bytes());
        if let Some(datum) = &self.datum {
            data.extend_from_slice(datum.as_bytes());
        }
        TreeValue {
            data: data.into(),
            placement: self.content.encode_placement(),
            weight: self.content.size,
        }
    }

    /// Decodes a value of a tree.
    ///
    /// # Errors
    /// When the value is not an encoded entry.
    pub fn decode(value: &TreeValue) -> Result<Self, DecodeError> {
        let (size, hash, datum) = decode_identity(&value.data)?;
        let content = FileContent::from_parts(size, hash, &value.placement)?;
        Ok(FileEntry { content, datum })
    }
}

/// Decodes size, hash and datum, without the slices.
pub(super) fn decode_identity(data: &[u8]) -> Result<(u64, ContentHash, Option<DatumId>), DecodeError> {
    let mut reader = FieldReader::new(data);
    match reader.byte()? {
        ENTRY_VERSION => {}
        other => return Err(DecodeError::Version(other)),
    }
    let flags = reader.byte()?;
    let size = reader.number()?;
    let hash = ContentHash::new(reader.hash()?);
    let datum = if flags & HAS_DATUM != 0 {
        Some(DatumId::new(reader.hash()?))
    } else {
        None
    };
    reader.finish()?;
    Ok((size, hash, datum))
}

/// Returns the path of a key.
pub(super) fn path_of(key: &[u8]) -> Result<&str> {
    std::str::from_utf8(key).map_err(|_| StoreError::BadKey {
        key: String::from_utf8_lossy(key).into_owned(),
        reason: "it is not text, so this is not a tree of files",
    })
}

pub(super) fn damaged_entry(path: &str, reason: &DecodeError) -> StoreError {
    StoreError::corrupt(format!("of the tree entry {path:?}"), reason.to_string())
}

/// Decodes an entry of the tree: path and file.
pub(super) fn decode_file(entry: &TreeEntry) -> Result<(String, FileEntry)> {
    let path = path_of(&entry.key)?.to_owned();
    let file = FileEntry::decode(&entry.value).map_err(|reason| damaged_entry(&path, &reason))?;
    Ok((path, file))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::chunk::ChunkHash;
    use crate::format::content::{Placement, Slice};

    fn sample(slices: usize) -> FileEntry {
        let slice = |i: usize| Slice {
            chunk: ChunkHash(ContentHash::new([i as u8; 32])),
            offset: i as u32 * 1000,
            len: 7,
        };
        let content = FileContent {
            size: 7 * slices as u64,
            hash: ContentHash::new([9; 32]),
            placement: Placement::Direct((0..slices).map(slice).collect()),
        };
        FileEntry {
            content,
            datum: Some(DatumId::new([3; 32])),
        }
    }

    #[test]
    fn entries_survive_a_round_trip_through_both_codecs() {
        for slices in [0, 1, 5] {
            let entry = sample(slices);
            let decoded = FileEntry::decode(&entry.encode()).unwrap();
            assert_eq!(decoded, entry);
            assert_eq!(decoded.content.placement, entry.content.placement);
            let json = serde_json::to_string(&entry).unwrap();
            let decoded: FileEntry = serde_json::from_str(&json).unwrap();
            assert_eq!(decoded.content.placement, entry.content.placement);
            assert_eq!(decoded.datum, entry.datum);
        }
    }

    #[test]
    fn slices_are_not_part_of_the_identity() {
        let (mut a, b) = (sample(2), sample(2));
        a.content.placement = Placement::Direct(Vec::new());
        assert_eq!(a, b);
        assert_eq!(a.encode().data, b.encode().data);
        assert_ne!(a.encode().placement, b.encode().placement);
    }

    #[test]
    fn damaged_entries_are_refused() {
        let value = sample(1).encode();
        for cut in 0..value.data.len() {
            assert!(decode_identity(&value.data[..cut]).is_err());
        }
        for cut in 0..value.placement.len() {
            let placement = value.placement.slice(..cut);
            assert!(
                FileEntry::decode(&TreeValue {
                    placement,
                    ..value.clone()
                })
                .is_err()
            );
        }
    }
}
