//! Nodes of trees: format, name and checks.
//!
//! A stored node is a [frame](super::frame) around
//! ```text
//! length of the identity · identity · placements · BLAKE3 of the placements (32 bytes)
//! identity   = version · level · number of entries · entries
//! entry      = bytes shared with the key before · length and bytes of the rest of the key ·
//!                leaf:  weight · length and bytes of the data
//!                inner: hash of the child · its count · its weight       (the key is the child's last)
//! placements = for each entry of a leaf: length and bytes
//! ```
//! The name of a node is the hash of its *identity* alone. Placements (the slices of files) are stored beside it with a
//! hash of their own. So the same files have the same root, even if their bytes are in different chunks because they
//! were written together with other files.

use std::ops::Range;

use bytes::Bytes;
use howdah_model::ContentHash;

use super::codec::{DecodeError, FieldReader};

pub(super) const VERSION: u8 = 1;

/// Most bytes of all keys of a node in full. Keys are stored as the difference from the key before, so a damaged or
/// forged node of a few kilobytes could ask for gigabytes.
const MAX_KEYS_BYTES: usize = 256 << 20;

/// An entry of a node of any level. In an inner node, `data` is the hash of a child and `key` the last key of that
/// child.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct NodeEntry {
    pub key: Bytes,
    pub data: Bytes,
    pub placement: Bytes,
    pub count: u64,
    pub weight: u64,
}

impl NodeEntry {
    /// Returns the hash of the child, for an entry of an inner node.
    pub(crate) fn child(&self) -> Result<ContentHash, DecodeError> {
        Ok(ContentHash::new(FieldReader::new(&self.data).hash()?))
    }
}

/// A node in memory.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Node {
    pub(super) level: u8,
    /// All keys in full, one after the other.
    pub(super) keys: Bytes,
    pub(super) payload: Bytes,
    /// Offsets in `payload` of the first entry and of the first placement.
    pub(super) first: (u32, u32),
    pub(super) spans: Vec<EntrySpans>,
}

/// Begin and end of the parts of an entry: of the key in `keys`, of the others in `payload`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct EntrySpans {
    pub(super) key: (u32, u32),
    pub(super) data: (u32, u32),
    pub(super) placement: (u32, u32),
    pub(super) count: u64,
    pub(super) weight: u64,
}

/// Why bytes are not the node that they should be.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NodeError {
    #[error("its entries do not have the hash it is named by")]
    Identity,
    #[error("its list of places does not have the hash stored with it")]
    Placements,
    #[error("its keys are not in order")]
    Order,
    #[error(transparent)]
    Decode(#[from] DecodeError),
}

/// Returns the ranges of identity and placements in a stored node.
fn parts(payload: &[u8]) -> Result<(Range<usize>, Range<usize>), DecodeError> {
    let mut outer = FieldReader::new(payload);
    let length = outer.length()?;
    let start = outer.position();
    outer.take(length)?;
    let placements = outer.position();
    let end = payload.len().checked_sub(32).ok_or(DecodeError::Truncated)?;
    if placements > end {
        return Err(DecodeError::Truncated);
    }
    Ok((start..placements, placements..end))
}

impl Node {
    /// Decodes a stored node and compares it with its name.
    ///
    /// # Errors
    /// When a hash differs, keys do not ascend, or a field is out of range.
    pub(crate) fn decode(expected: &ContentHash, payload: Bytes) -> Result<Node, NodeError> {
        let (identity, placements) = parts(&payload)?;
        if blake3::hash(&payload[identity.clone()]).as_bytes() != expected.as_bytes() {
            return Err(NodeError::Identity);
        }
        if blake3::hash(&payload[placements.clone()]).as_bytes() != &payload[placements.end..] {
            return Err(NodeError::Placements);
        }
        let (start, placements_start) = (identity.start, placements.start);
        let (identity, placements) = (&payload[identity], &payload[placements]);
        let mut reader = FieldReader::new(identity);
        match reader.byte()? {
            VERSION => {}
            other => return Err(DecodeError::Version(other).into()),
        }
        let level = reader.byte()?;
        let entries = reader.length()?;
        if entries == 0 {
            // Never written: an empty tree has no node. Readers rely on a last key.
            return Err(DecodeError::Range.into());
        }
        let first = ((start + reader.position()) as u32, placements_start as u32);
        let mut places = FieldReader::new(placements);
        let mut keys = Vec::with_capacity(identity.len());
        // An entry has at least three bytes: a damaged count must not allocate memory for entries that cannot exist.
        let mut spans = Vec::with_capacity(entries.min(identity.len() / 3));
        let mut last = (0usize, 0usize);
        for _ in 0..entries {
            let shared = reader.length()?;
            let rest = reader.take_prefixed()?;
            let at = keys.len();
            if shared > last.1 - last.0 || at + shared + rest.len() > MAX_KEYS_BYTES {
                return Err(DecodeError::Range.into());
            }
            keys.extend_from_within(last.0..last.0 + shared);
            keys.extend_from_slice(rest);
            if !spans.is_empty() && keys[last.0..last.1] >= keys[at..] {
                return Err(NodeError::Order);
            }
            last = (at, keys.len());
            let mut span = EntrySpans {
                key: (at as u32, keys.len() as u32),
                data: (0, 0),
                placement: (0, 0),
                count: 1,
                weight: 0,
            };
            if level == 0 {
                span.weight = reader.number()?;
                let length = reader.take_prefixed()?.len();
                let end = start + reader.position();
                span.data = ((end - length) as u32, end as u32);
                let length = places.take_prefixed()?.len();
                let end = placements_start + places.position();
                span.placement = ((end - length) as u32, end as u32);
            } else {
                reader.hash()?;
                let end = start + reader.position();
                span.data = ((end - 32) as u32, end as u32);
                span.count = reader.number()?;
                span.weight = reader.number()?;
            }
            spans.push(span);
        }
        reader.finish()?;
        places.finish()?;
        Ok(Node {
            level,
            keys: keys.into(),
            payload,
            first,
            spans,
        })
    }

    /// Returns the offsets at which an entry of a leaf and its placement begin: those at which the entry before ends.
    pub(super) fn begin(&self, index: usize) -> (u32, u32) {
        match index.checked_sub(1) {
            Some(before) => (self.spans[before].data.1, self.spans[before].placement.1),
            None => self.first,
        }
    }

    /// Counts how many entries of a leaf, from `index` on, are equal to those of another leaf from `other_index` on,
    /// without their placements. Compares stored bytes, not entries.
    ///
    /// The entries before the two must have the same key: keys are stored as the difference from the key before, so
    /// equal bytes mean equal entries only if both begin with the same key.
    pub(crate) fn shared_run(&self, index: usize, other: &Node, other_index: usize) -> usize {
        debug_assert!(self.level == 0 && other.level == 0);
        let rest = |node: &Node, index: usize| {
            let (begin, end) = (node.begin(index).0, node.begin(node.len()).0);
            begin as usize..end as usize
        };
        let (mine, theirs) = (rest(self, index), rest(other, other_index));
        let begin = mine.start;
        let shared = begin + common_prefix(&self.payload[mine], &other.payload[theirs]);
        self.spans[index..].partition_point(|span| span.data.1 as usize <= shared)
    }

    /// Returns the stored bytes of entries of a leaf, and those of their placements.
    pub(super) fn stored_run(&self, run: Range<usize>) -> (&[u8], &[u8]) {
        let last = &self.spans[run.end - 1];
        let (body, placements) = self.begin(run.start);
        (
            &self.payload[body as usize..last.data.1 as usize],
            &self.payload[placements as usize..last.placement.1 as usize],
        )
    }

    /// Returns its stored bytes, without the frame.
    pub(crate) fn payload(&self) -> &Bytes {
        &self.payload
    }

    /// Returns about how many bytes of memory it takes.
    pub(crate) fn memory(&self) -> usize {
        self.keys.len() + self.payload.len() + self.spans.len() * size_of::<EntrySpans>()
    }

    pub(crate) fn level(&self) -> u8 {
        self.level
    }

    pub(crate) fn len(&self) -> usize {
        self.spans.len()
    }

    pub(crate) fn key(&self, index: usize) -> &[u8] {
        let (start, end) = self.spans[index].key;
        &self.keys[start as usize..end as usize]
    }

    pub(crate) fn last_key(&self) -> &[u8] {
        self.key(self.len() - 1)
    }

    pub(crate) fn count(&self, index: usize) -> u64 {
        self.spans[index].count
    }

    pub(crate) fn weight(&self, index: usize) -> u64 {
        self.spans[index].weight
    }

    pub(crate) fn data(&self, index: usize) -> &[u8] {
        let (start, end) = self.spans[index].data;
        &self.payload[start as usize..end as usize]
    }

    /// Returns an entry. Its parts share the memory of the node.
    pub(crate) fn item(&self, index: usize) -> NodeEntry {
        let span = &self.spans[index];
        let part = |(start, end): (u32, u32)| self.payload.slice(start as usize..end as usize);
        NodeEntry {
            key: self.keys.slice(span.key.0 as usize..span.key.1 as usize),
            data: part(span.data),
            placement: part(span.placement),
            count: span.count,
            weight: span.weight,
        }
    }

    /// Returns the hash of a child of an inner node.
    pub(crate) fn child(&self, index: usize) -> ContentHash {
        let mut hash = [0; 32];
        hash.copy_from_slice(self.data(index));
        ContentHash::new(hash)
    }

    /// Returns the index of the first entry whose key is `key` or greater; `len` if there is none.
    pub(crate) fn lower_bound(&self, key: &[u8]) -> usize {
        self.spans
            .partition_point(|span| &self.keys[span.key.0 as usize..span.key.1 as usize] < key)
    }
}

/// Returns the length of the common prefix of two slices.
fn common_prefix(a: &[u8], b: &[u8]) -> usize {
    // Whole stretches are compared by the C library, many bytes at a time.
    const STRETCH: usize = 1024;
    let stretches = a.chunks(STRETCH).zip(b.chunks(STRETCH));
    let same: usize = stretches.take_while(|(a, b)| a == b).map(|(a, _)| a.len()).sum();
    same + a[same..].iter().zip(&b[same..]).take_while(|(a, b)| a == b).count()
}
