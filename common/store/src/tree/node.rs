//! Nodes of a tree: how they are cut, encoded, named and checked.
//!
//! A stored node is a [`crate::chunk::frame`] around
//! ```text
//! length of the identity · identity · placements · BLAKE3 of the placements (32 bytes)
//! identity   = version · level · number of entries · entries
//! entry      = bytes shared with the key before · length and bytes of the rest of the key ·
//!                leaf:  weight · length and bytes of the data
//!                inner: hash of the child · its count · its weight       (the key is the child's last)
//! placements = for each entry of a leaf: length and bytes
//! ```
//! A node's name is the hash of its *identity* alone. Where bytes lie is carried along, guarded by
//! a hash of its own: the same files written twice in different company give the same root.

use std::ops::Range;

use bytes::Bytes;
use howdah_model::ContentHash;

use crate::cache::Weighted;
use crate::codec::{DecodeError, Reader, put_bytes, put_number};

const VERSION: u8 = 1;

/// Bytes of identity a node has on average. Entries are some 60 to 100 bytes, so a leaf holds about
/// two thousand files and changing one file of a million writes two or three nodes of this size. Smaller nodes would be
/// cheaper to change, but a commit of small files would cost more objects than its data: in object storage each is a
/// request.
///
/// It may only ever grow: entries that do not end a stored node are taken not to end one, see [`NodeBuilder::push_run`].
///
/// Unit tests use tiny nodes, so that small samples make tall trees.
const TARGET_BYTES: u64 = if cfg!(test) { 400 } else { 128 << 10 };

/// An entry of a node of any level. In inner nodes `data` is the child's hash and `key` its last key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Item {
    pub key: Bytes,
    pub data: Bytes,
    pub placement: Bytes,
    pub count: u64,
    pub weight: u64,
}

impl Item {
    /// Returns the hash of the child this entry of an inner node stands for.
    pub(crate) fn child(&self) -> Result<ContentHash, DecodeError> {
        Ok(ContentHash::new(Reader::new(&self.data).hash()?))
    }

    /// Decides whether a node ends after this entry: a function of the entry alone, so that a tree's
    /// shape depends on nothing but its content. Larger entries end a node more often, which keeps
    /// nodes near the target size whatever the size of their entries.
    fn ends_node(&self, level: u8) -> bool {
        let size = (self.key.len() + self.data.len() + 8) as u64;
        // Inner nodes must have some fan-out even if keys are huge, or trees would not end.
        let size = if level == 0 { size } else { size.min(TARGET_BYTES / 4) };
        // Each level looks at its own four bytes: an end on one level says nothing about the next.
        let mut draw = [0; 4];
        let mut hasher = blake3::Hasher::new();
        hasher.update(&self.key);
        if level < 8 {
            let at = 4 * usize::from(level);
            draw.copy_from_slice(&hasher.finalize().as_bytes()[at..at + 4]);
        } else {
            let mut output = hasher.finalize_xof();
            output.set_position(4 * u64::from(level));
            output.fill(&mut draw);
        }
        u64::from(u32::from_le_bytes(draw)) * TARGET_BYTES < size << 32
    }
}

/// A finished node, ready to be stored.
#[derive(Debug)]
pub(crate) struct BuiltNode {
    /// What the level above holds for it.
    pub item: Item,
    /// Its name.
    pub hash: ContentHash,
    /// Its stored form, not yet framed.
    pub payload: Bytes,
    /// Number of its entries.
    pub entries: usize,
}

/// Gathers entries until a node is complete.
#[derive(Debug)]
pub(crate) struct NodeBuilder {
    level: u8,
    body: Vec<u8>,
    placements: Vec<u8>,
    last_key: Bytes,
    entries: usize,
    count: u64,
    weight: u64,
}

impl NodeBuilder {
    pub(crate) fn new(level: u8) -> Self {
        NodeBuilder {
            level,
            body: Vec::new(),
            placements: Vec::new(),
            last_key: Bytes::new(),
            entries: 0,
            count: 0,
            weight: 0,
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.entries == 0
    }

    /// Adds the next entry; returns the node if it ends here.
    pub(crate) fn push(&mut self, item: &Item) -> Option<BuiltNode> {
        self.append(item);
        if item.ends_node(self.level) {
            self.finish()
        } else {
            None
        }
    }

    /// Adds a run of entries of a stored node of this level, without its last one. None of them ends a node, or the stored
    /// one would have ended there; so they are taken over as they stand, without looking at each.
    pub(crate) fn push_run(&mut self, node: &Node, run: Range<usize>) {
        debug_assert!(node.level == self.level && run.end < node.len());
        if node.level > 0 {
            // Few, and their stored forms are not told apart.
            run.for_each(|index| self.append(&node.item(index)));
            return;
        }
        let Range { mut start, end } = run;
        // A key is written as what differs from the one before: the first entry may have another one before it now.
        let follows = match start.checked_sub(1) {
            None => self.is_empty(),
            Some(before) => !self.is_empty() && self.last_key == node.key(before),
        };
        if start < end && !follows {
            self.append(&node.item(start));
            start += 1;
        }
        if start < end {
            let (body, placements) = node.stored_run(start..end);
            self.body.extend_from_slice(body);
            self.placements.extend_from_slice(placements);
            self.last_key = node.item(end - 1).key;
            self.entries += end - start;
            for slot in &node.slots[start..end] {
                self.count += slot.count;
                self.weight = self.weight.saturating_add(slot.weight);
            }
        }
    }

    fn append(&mut self, item: &Item) {
        let shared = self.last_key.iter().zip(&item.key).take_while(|(a, b)| a == b).count();
        put_number(&mut self.body, shared as u64);
        put_bytes(&mut self.body, &item.key[shared..]);
        if self.level == 0 {
            put_number(&mut self.body, item.weight);
            put_bytes(&mut self.body, &item.data);
            put_bytes(&mut self.placements, &item.placement);
        } else {
            self.body.extend_from_slice(&item.data);
            put_number(&mut self.body, item.count);
            put_number(&mut self.body, item.weight);
        }
        self.last_key = item.key.clone();
        self.entries += 1;
        self.count += item.count;
        self.weight = self.weight.saturating_add(item.weight);
    }

    /// Ends the node here, whatever its size; `None` if it has no entries.
    pub(crate) fn finish(&mut self) -> Option<BuiltNode> {
        if self.is_empty() {
            return None;
        }
        let done = std::mem::replace(self, NodeBuilder::new(self.level));
        let mut identity = Vec::with_capacity(done.body.len() + 12);
        identity.push(VERSION);
        identity.push(done.level);
        put_number(&mut identity, done.entries as u64);
        identity.extend_from_slice(&done.body);
        let hash = *blake3::hash(&identity).as_bytes();

        let mut payload = Vec::with_capacity(identity.len() + done.placements.len() + 40);
        put_bytes(&mut payload, &identity);
        payload.extend_from_slice(&done.placements);
        payload.extend_from_slice(blake3::hash(&done.placements).as_bytes());
        Some(BuiltNode {
            item: Item {
                // A copy: the key may be a part of a whole node's memory.
                key: Bytes::copy_from_slice(&done.last_key),
                data: Bytes::copy_from_slice(&hash),
                placement: Bytes::new(),
                count: done.count,
                weight: done.weight,
            },
            hash: ContentHash::new(hash),
            payload: payload.into(),
            entries: done.entries,
        })
    }
}

/// A node in memory.
#[derive(Debug)]
pub(crate) struct Node {
    level: u8,
    /// All keys one after the other, whole.
    keys: Bytes,
    payload: Bytes,
    /// Where in `payload` the first entry and the first placement begin.
    first: (u32, u32),
    slots: Vec<Slot>,
}

/// Where the parts of an entry are: in `keys`, and in `payload`.
#[derive(Debug)]
struct Slot {
    key: (u32, u32),
    data: (u32, u32),
    placement: (u32, u32),
    count: u64,
    weight: u64,
}

/// Tells why bytes are not the node they should be.
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

/// Tells where in a stored node its identity and its placements are.
fn parts(payload: &[u8]) -> Result<(Range<usize>, Range<usize>), DecodeError> {
    let mut outer = Reader::new(payload);
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
    /// Reads a stored node and checks it against its name.
    pub(crate) fn decode(expected: &ContentHash, payload: Bytes) -> Result<Node, NodeError> {
        let (identity, placements) = parts(&payload)?;
        if blake3::hash(&payload[identity]).as_bytes() != expected.as_bytes() {
            return Err(NodeError::Identity);
        }
        if blake3::hash(&payload[placements.clone()]).as_bytes() != &payload[placements.end..] {
            return Err(NodeError::Placements);
        }
        Node::decode_own(payload)
    }

    /// Reads a node that has just been built, whose hashes need no check.
    pub(crate) fn decode_own(payload: Bytes) -> Result<Node, NodeError> {
        let (identity, placements) = parts(&payload)?;
        let (start, placements_start) = (identity.start, placements.start);
        let (identity, placements) = (&payload[identity], &payload[placements]);
        let mut reader = Reader::new(identity);
        match reader.byte()? {
            VERSION => {}
            other => return Err(DecodeError::Version(other).into()),
        }
        let level = reader.byte()?;
        let entries = reader.length()?;
        let first = ((start + reader.position()) as u32, placements_start as u32);
        let mut places = Reader::new(placements);
        let mut keys = Vec::with_capacity(identity.len());
        // No entry takes less than three bytes, so a damaged count cannot ask for much memory.
        let mut slots = Vec::with_capacity(entries.min(identity.len() / 3));
        let mut last = (0usize, 0usize);
        for _ in 0..entries {
            let shared = reader.length()?;
            let rest = reader.take_prefixed()?;
            if shared > last.1 - last.0 {
                return Err(DecodeError::Range.into());
            }
            let at = keys.len();
            keys.extend_from_within(last.0..last.0 + shared);
            keys.extend_from_slice(rest);
            if !slots.is_empty() && keys[last.0..last.1] >= keys[at..] {
                return Err(NodeError::Order);
            }
            last = (at, keys.len());
            let mut slot = Slot {
                key: (at as u32, keys.len() as u32),
                data: (0, 0),
                placement: (0, 0),
                count: 1,
                weight: 0,
            };
            if level == 0 {
                slot.weight = reader.number()?;
                let length = reader.take_prefixed()?.len();
                let end = start + reader.position();
                slot.data = ((end - length) as u32, end as u32);
                let length = places.take_prefixed()?.len();
                let end = placements_start + places.position();
                slot.placement = ((end - length) as u32, end as u32);
            } else {
                reader.hash()?;
                let end = start + reader.position();
                slot.data = ((end - 32) as u32, end as u32);
                slot.count = reader.number()?;
                slot.weight = reader.number()?;
            }
            slots.push(slot);
        }
        reader.finish()?;
        places.finish()?;
        Ok(Node {
            level,
            keys: keys.into(),
            payload,
            first,
            slots,
        })
    }

    /// Returns the stored form of entries of a leaf, and that of their placements.
    fn stored_run(&self, run: Range<usize>) -> (&[u8], &[u8]) {
        let last = &self.slots[run.end - 1];
        // Each entry begins where the one before ends.
        let (body, placements) = match run.start.checked_sub(1) {
            Some(before) => (self.slots[before].data.1, self.slots[before].placement.1),
            None => self.first,
        };
        (
            &self.payload[body as usize..last.data.1 as usize],
            &self.payload[placements as usize..last.placement.1 as usize],
        )
    }

    pub(crate) fn level(&self) -> u8 {
        self.level
    }

    pub(crate) fn len(&self) -> usize {
        self.slots.len()
    }

    pub(crate) fn key(&self, index: usize) -> &[u8] {
        let (start, end) = self.slots[index].key;
        &self.keys[start as usize..end as usize]
    }

    pub(crate) fn last_key(&self) -> &[u8] {
        self.key(self.len() - 1)
    }

    pub(crate) fn count(&self, index: usize) -> u64 {
        self.slots[index].count
    }

    pub(crate) fn weight(&self, index: usize) -> u64 {
        self.slots[index].weight
    }

    pub(crate) fn data(&self, index: usize) -> &[u8] {
        let (start, end) = self.slots[index].data;
        &self.payload[start as usize..end as usize]
    }

    /// Returns an entry; its parts share the node's memory.
    pub(crate) fn item(&self, index: usize) -> Item {
        let slot = &self.slots[index];
        let part = |(start, end): (u32, u32)| self.payload.slice(start as usize..end as usize);
        Item {
            key: self.keys.slice(slot.key.0 as usize..slot.key.1 as usize),
            data: part(slot.data),
            placement: part(slot.placement),
            count: slot.count,
            weight: slot.weight,
        }
    }

    /// Returns the hash of a child of an inner node.
    pub(crate) fn child(&self, index: usize) -> ContentHash {
        let mut hash = [0; 32];
        hash.copy_from_slice(self.data(index));
        ContentHash::new(hash)
    }

    /// Returns the index of the first entry whose key is not below `key`; `len` if there is none.
    pub(crate) fn lower_bound(&self, key: &[u8]) -> usize {
        self.slots
            .partition_point(|slot| &self.keys[slot.key.0 as usize..slot.key.1 as usize] < key)
    }
}

/// A node in the cache.
#[derive(Debug, Clone)]
pub(crate) struct CachedNode(pub(crate) std::sync::Arc<Node>);

impl Weighted for CachedNode {
    fn weight(&self) -> usize {
        let node = &self.0;
        node.keys.len() + node.payload.len() + node.slots.len() * size_of::<Slot>() + 128
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn item(key: &str, data: &str) -> Item {
        Item {
            key: Bytes::copy_from_slice(key.as_bytes()),
            data: Bytes::copy_from_slice(data.as_bytes()),
            placement: Bytes::from_static(b"somewhere"),
            count: 1,
            weight: data.len() as u64,
        }
    }

    fn sample() -> BuiltNode {
        let mut builder = NodeBuilder::new(0);
        for key in ["/a", "/a/b", "/abc", "/b"] {
            assert!(builder.push(&item(key, &key.repeat(2))).is_none());
        }
        builder.finish().unwrap()
    }

    #[test]
    fn nodes_come_back() {
        let built = sample();
        let node = Node::decode(&built.hash, built.payload.clone()).unwrap();
        assert_eq!((node.level(), node.len(), built.entries), (0, 4, 4));
        assert_eq!(node.item(2), item("/abc", "/abc/abc"));
        assert_eq!(node.last_key(), b"/b");
        assert_eq!((node.lower_bound(b"/a/"), node.lower_bound(b"/z")), (1, 4));
        assert_eq!((built.item.count, built.item.weight), (4, 4 + 8 + 8 + 4));
    }

    #[test]
    fn every_flipped_bit_is_found() {
        let built = sample();
        for at in 0..built.payload.len() {
            for bit in 0..8 {
                let mut payload = built.payload.to_vec();
                payload[at] ^= 1 << bit;
                assert!(
                    Node::decode(&built.hash, payload.into()).is_err(),
                    "byte {at} bit {bit}"
                );
            }
        }
        for cut in 0..built.payload.len() {
            assert!(
                Node::decode(&built.hash, built.payload.slice(..cut)).is_err(),
                "cut at {cut}"
            );
        }
    }

    #[test]
    fn places_do_not_change_the_name() {
        let (mut a, mut b) = (NodeBuilder::new(0), NodeBuilder::new(0));
        a.push(&item("k", "v"));
        b.push(&Item {
            placement: Bytes::from_static(b"elsewhere"),
            ..item("k", "v")
        });
        assert_eq!(a.finish().unwrap().hash, b.finish().unwrap().hash);
    }
}
