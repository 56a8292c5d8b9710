//! The content of a file: its size, its hash, and the slices of chunks that have its bytes.

use bytes::Bytes;
use howdah_model::ContentHash;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use super::chunk::ChunkHash;
use super::codec::{DecodeError, FieldReader, put_number};

/// A range of bytes of a chunk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Slice {
    /// The chunk.
    pub chunk: ChunkHash,
    /// Offset in the plain bytes of the chunk.
    pub offset: u32,
    /// Number of bytes.
    pub len: u32,
}

/// The slices of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Placement {
    /// The slices themselves, in order.
    Direct(Vec<Slice>),
    /// Slices of a stored list: the list of the file's slices is long and therefore stored in chunks itself.
    Listed(Vec<Slice>),
}

/// The bytes of a file: their number, their hash, and the slices of chunks that have them.
///
/// Two contents are equal if size and hash are equal: the same bytes may be in different chunks.
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

/// Longer lists are stored in chunks of their own: the slices of a huge file must not fill a tree node.
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

    /// Returns the content of a file that is one slice of a chunk, or has no bytes.
    ///
    /// `None` if the slice is missing or has another size than the file.
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

    /// Returns the slice that has all the bytes, if it is only one.
    #[must_use]
    pub fn single_slice(&self) -> Option<Slice> {
        match &self.placement {
            Placement::Direct(slices) if slices.len() == 1 => Some(slices[0]),
            _ => None,
        }
    }

    /// Returns a hash of everything that a read depends on: size, hash and slices. The same bytes in other chunks have
    /// another fingerprint.
    #[must_use]
    pub fn fingerprint(&self) -> ContentHash {
        let mut hasher = blake3::Hasher::new();
        hasher.update(self.hash.as_bytes());
        hasher.update(&self.size.to_le_bytes());
        hasher.update(&self.encode_placement());
        ContentHash::new(*hasher.finalize().as_bytes())
    }

    /// Encodes the slices.
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

    /// Returns the content of a size, a hash and encoded slices.
    ///
    /// # Errors
    /// When the placement was not made by [`FileContent::encode_placement`].
    pub fn from_parts(size: u64, hash: ContentHash, placement: &[u8]) -> Result<Self, DecodeError> {
        let mut reader = FieldReader::new(placement);
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

pub(crate) fn decode_slices(reader: &mut FieldReader<'_>) -> Result<Vec<Slice>, DecodeError> {
    let count = reader.length()?;
    // A damaged count must not allocate memory for slices that do not exist.
    let mut slices = Vec::with_capacity(count.min(MAX_DIRECT_SLICES));
    let number = |reader: &mut FieldReader<'_>| u32::try_from(reader.number()?).map_err(|_| DecodeError::Range);
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

/// Adds a slice to a list. A slice that continues the last one is joined to it.
pub(crate) fn push_slice(slices: &mut Vec<Slice>, slice: Slice) {
    if let Some(last) = slices.last_mut()
        && last.chunk == slice.chunk
        && last.offset + last.len == slice.offset
    {
        last.len += slice.len;
    } else {
        slices.push(slice);
    }
}
