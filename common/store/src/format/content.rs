//! What a file is to the store: its size, its hash and where its bytes lie.

use bytes::Bytes;
use howdah_model::{ContentHash, DatumId};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use crate::format::codec::{DecodeError, Reader, put_number};
use crate::tree::Value;

/// Names a chunk: the BLAKE3 hash of its bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ChunkHash(pub ContentHash);

impl std::fmt::Display for ChunkHash {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

/// A part of a chunk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Slice {
    /// Which chunk.
    pub chunk: ChunkHash,
    /// Where in the chunk's bytes it begins.
    pub offset: u32,
    /// How many bytes it has.
    pub len: u32,
}

/// Where the bytes of a file lie.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Placement {
    /// In these slices, one after the other.
    Direct(Vec<Slice>),
    /// In so many slices that their list is itself stored, in these slices.
    Listed(Vec<Slice>),
}

/// The bytes of a file: how many, their hash, and where they lie.
///
/// Two contents are equal when size and hash are: the same bytes may lie in several places.
#[derive(Debug, Clone)]
pub struct FileContent {
    /// Number of bytes.
    pub size: u64,
    /// BLAKE3 hash of the bytes.
    pub hash: ContentHash,
    pub(crate) placement: Placement,
}

impl PartialEq for FileContent {
    fn eq(&self, other: &Self) -> bool {
        self.size == other.size && self.hash == other.hash
    }
}

impl Eq for FileContent {}

/// Lists longer than this are stored apart: a tree node must not carry the map of a huge file.
pub(crate) const MAX_DIRECT_SLICES: usize = 256;

impl FileContent {
    /// Returns the content of an empty file.
    #[must_use]
    pub fn empty() -> Self {
        FileContent {
            size: 0,
            hash: ContentHash::new(*blake3::hash(b"").as_bytes()),
            placement: Placement::Direct(Vec::new()),
        }
    }

    /// Puts together the content of a file that lies in one part of one chunk, or has no bytes.
    ///
    /// `None` if the part has another size than the file, or is missing.
    #[must_use]
    pub fn in_one_slice(size: u64, hash: ContentHash, slice: Option<Slice>) -> Option<Self> {
        if size != slice.map_or(0, |slice| u64::from(slice.len)) {
            return None;
        }
        Some(FileContent {
            size,
            hash,
            placement: Placement::Direct(slice.into_iter().collect()),
        })
    }

    /// Returns where all the bytes lie, if that is one part of one chunk.
    #[must_use]
    pub fn single_slice(&self) -> Option<Slice> {
        match &self.placement {
            Placement::Direct(slices) if slices.len() == 1 => Some(slices[0]),
            _ => None,
        }
    }

    /// Encodes where the bytes lie.
    #[must_use]
    pub fn encode_placement(&self) -> Bytes {
        let (kind, slices) = match &self.placement {
            Placement::Direct(slices) => (0, slices),
            Placement::Listed(slices) => (1, slices),
        };
        let mut out = Vec::with_capacity(2 + slices.len() * 40);
        out.push(kind);
        encode_slices(slices, &mut out);
        out.into()
    }

    /// Puts a content together from its parts.
    ///
    /// # Errors
    /// When the placement was not made by [`FileContent::encode_placement`].
    pub fn from_parts(size: u64, hash: ContentHash, placement: &[u8]) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(placement);
        let kind = reader.byte()?;
        let slices = decode_slices(&mut reader)?;
        reader.finish()?;
        let placement = match kind {
            0 => Placement::Direct(slices),
            1 => Placement::Listed(slices),
            other => return Err(DecodeError::Version(other)),
        };
        Ok(FileContent { size, hash, placement })
    }
}

pub(crate) fn encode_slices(slices: &[Slice], out: &mut Vec<u8>) {
    put_number(out, slices.len() as u64);
    for slice in slices {
        out.extend_from_slice(slice.chunk.0.as_bytes());
        put_number(out, slice.offset.into());
        put_number(out, slice.len.into());
    }
}

pub(crate) fn decode_slices(reader: &mut Reader<'_>) -> Result<Vec<Slice>, DecodeError> {
    let count = reader.length()?;
    // The count is not trusted with an allocation before the slices have been seen.
    let mut slices = Vec::with_capacity(count.min(MAX_DIRECT_SLICES));
    let number = |reader: &mut Reader<'_>| u32::try_from(reader.number()?).map_err(|_| DecodeError::Range);
    for _ in 0..count {
        let chunk = ChunkHash(ContentHash::new(reader.hash()?));
        slices.push(Slice {
            chunk,
            offset: number(reader)?,
            len: number(reader)?,
        });
    }
    Ok(slices)
}

#[derive(Serialize, Deserialize)]
struct WireContent<At> {
    size: u64,
    hash: ContentHash,
    at: At,
}

impl Serialize for FileContent {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let (size, hash, at) = (self.size, self.hash, self.encode_placement());
        if serializer.is_human_readable() {
            let at = hex::encode(at);
            WireContent { size, hash, at }.serialize(serializer)
        } else {
            let at = &at[..];
            WireContent { size, hash, at }.serialize(serializer)
        }
    }
}

impl<'de> Deserialize<'de> for FileContent {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let (size, hash, at) = if deserializer.is_human_readable() {
            let wire = WireContent::<String>::deserialize(deserializer)?;
            (wire.size, wire.hash, hex::decode(&wire.at).map_err(de::Error::custom)?)
        } else {
            let wire = WireContent::<Vec<u8>>::deserialize(deserializer)?;
            (wire.size, wire.hash, wire.at)
        };
        FileContent::from_parts(size, hash, &at).map_err(de::Error::custom)
    }
}

/// A file in a tree: its content, and the datum that made it if it is a pipeline's output.
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
    /// Wraps a content that no datum made.
    #[must_use]
    pub fn new(content: FileContent) -> Self {
        FileEntry { content, datum: None }
    }

    /// Encodes the entry as a value of a tree. Its weight is the file's size, so that aggregates
    /// over file trees are sums of bytes. Where the bytes lie is stored but not part of the
    /// value's identity.
    #[must_use]
    pub fn encode(&self) -> Value {
        let mut data = Vec::with_capacity(76);
        data.push(ENTRY_VERSION);
        data.push(if self.datum.is_some() { HAS_DATUM } else { 0 });
        put_number(&mut data, self.content.size);
        data.extend_from_slice(self.content.hash.as_bytes());
        if let Some(datum) = &self.datum {
            data.extend_from_slice(datum.as_bytes());
        }
        Value {
            data: data.into(),
            placement: self.content.encode_placement(),
            weight: self.content.size,
        }
    }

    /// Reads an entry back from a value of a tree.
    ///
    /// # Errors
    /// When the value is not an encoded entry.
    pub fn decode(value: &Value) -> Result<Self, DecodeError> {
        let (size, hash, datum) = decode_identity(&value.data)?;
        let content = FileContent::from_parts(size, hash, &value.placement)?;
        Ok(FileEntry { content, datum })
    }
}

/// Reads size, hash and datum without looking at where the bytes lie.
pub(crate) fn decode_identity(data: &[u8]) -> Result<(u64, ContentHash, Option<DatumId>), DecodeError> {
    let mut reader = Reader::new(data);
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

#[cfg(test)]
mod tests {
    use super::*;

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
    fn entries_come_back_from_both_codecs() {
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
    fn where_bytes_lie_is_not_part_of_the_identity() {
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
                FileEntry::decode(&Value {
                    placement,
                    ..value.clone()
                })
                .is_err()
            );
        }
    }
}
