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

use crate::format::codec::{DecodeError, Reader, put_bytes, put_number};
use crate::memory::cache::Weighted;

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
    /// As reading its stored form would give it.
    pub node: Node,
}

/// Gathers entries until a node is complete.
#[derive(Debug)]
pub(crate) struct NodeBuilder {
    level: u8,
    body: Vec<u8>,
    placements: Vec<u8>,
    /// All keys one after the other, whole.
    keys: Vec<u8>,
    /// Where the parts of an entry are: in `keys`, in `body` and in `placements`.
    slots: Vec<Slot>,
    count: u64,
    weight: u64,
}

impl NodeBuilder {
    pub(crate) fn new(level: u8) -> Self {
        NodeBuilder {
            level,
            body: Vec::new(),
            placements: Vec::new(),
            keys: Vec::new(),
            slots: Vec::new(),
            count: 0,
            weight: 0,
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.slots.is_empty()
    }

    fn last_key(&self) -> &[u8] {
        let (start, end) = self.slots.last().map_or((0, 0), |last| last.key);
        &self.keys[start as usize..end as usize]
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
            Some(before) => !self.is_empty() && self.last_key() == node.key(before),
        };
        if start < end && !follows {
            self.append(&node.item(start));
            start += 1;
        }
        if start < end {
            self.extend(node, start..end);
        }
    }

    /// Takes over a run of entries of a stored leaf that is not empty.
    fn extend(&mut self, node: &Node, run: Range<usize>) {
        let run_slots = &node.slots[run.clone()];
        let first_key = run_slots[0].key.0;
        let (first_data, first_placement) = node.begin(run.start);
        let (body, placements) = node.stored_run(run);
        let keys = &node.keys[first_key as usize..run_slots[run_slots.len() - 1].key.1 as usize];
        // Positions are less than 4 GiB, so what wraps around below zero comes back above it.
        let key_shift = (self.keys.len() as u32).wrapping_sub(first_key);
        let data_shift = (self.body.len() as u32).wrapping_sub(first_data);
        let placement_shift = (self.placements.len() as u32).wrapping_sub(first_placement);
        append_with_room(&mut self.keys, keys);
        append_with_room(&mut self.body, body);
        append_with_room(&mut self.placements, placements);
        self.slots.extend(run_slots.iter().map(|slot| Slot {
            key: shifted(slot.key, key_shift),
            data: shifted(slot.data, data_shift),
            placement: shifted(slot.placement, placement_shift),
            ..*slot
        }));
        for slot in run_slots {
            self.count += slot.count;
            self.weight = self.weight.saturating_add(slot.weight);
        }
    }

    fn append(&mut self, item: &Item) {
        let shared = self
            .last_key()
            .iter()
            .zip(&item.key)
            .take_while(|(a, b)| a == b)
            .count();
        put_number(&mut self.body, shared as u64);
        put_bytes(&mut self.body, &item.key[shared..]);
        self.keys.extend_from_slice(&item.key);
        let mut slot = Slot {
            key: last_part(&self.keys, item.key.len()),
            data: (0, 0),
            placement: (0, 0),
            count: item.count,
            weight: item.weight,
        };
        if self.level == 0 {
            put_number(&mut self.body, item.weight);
            put_bytes(&mut self.body, &item.data);
            slot.data = last_part(&self.body, item.data.len());
            put_bytes(&mut self.placements, &item.placement);
            slot.placement = last_part(&self.placements, item.placement.len());
        } else {
            self.body.extend_from_slice(&item.data);
            slot.data = last_part(&self.body, item.data.len());
            put_number(&mut self.body, item.count);
            put_number(&mut self.body, item.weight);
        }
        self.slots.push(slot);
        self.count += item.count;
        self.weight = self.weight.saturating_add(item.weight);
    }

    /// Ends the node here, whatever its size; `None` if it has no entries.
    pub(crate) fn finish(&mut self) -> Option<BuiltNode> {
        if self.is_empty() {
            return None;
        }
        let mut done = std::mem::replace(self, NodeBuilder::new(self.level));
        let mut head = vec![VERSION, done.level];
        put_number(&mut head, done.slots.len() as u64);
        let hash = *blake3::Hasher::new()
            .update(&head)
            .update(&done.body)
            .finalize()
            .as_bytes();

        let length = head.len() + done.body.len();
        let mut payload = Vec::with_capacity(length + done.placements.len() + 40);
        put_number(&mut payload, length as u64);
        payload.extend_from_slice(&head);
        let body_at = payload.len() as u32;
        payload.extend_from_slice(&done.body);
        let placements_at = payload.len() as u32;
        payload.extend_from_slice(&done.placements);
        payload.extend_from_slice(blake3::hash(&done.placements).as_bytes());
        let item = Item {
            key: Bytes::copy_from_slice(done.last_key()),
            data: Bytes::copy_from_slice(&hash),
            placement: Bytes::new(),
            count: done.count,
            weight: done.weight,
        };
        for slot in &mut done.slots {
            slot.data = shifted(slot.data, body_at);
            if done.level == 0 {
                slot.placement = shifted(slot.placement, placements_at);
            }
        }
        // It may be cached for long.
        done.keys.shrink_to_fit();
        done.slots.shrink_to_fit();
        Some(BuiltNode {
            item,
            hash: ContentHash::new(hash),
            node: Node {
                level: done.level,
                keys: done.keys.into(),
                payload: payload.into(),
                first: (body_at, placements_at),
                slots: done.slots,
            },
        })
    }
}

/// Appends bytes, with room for what is likely to come, or the next entry moves it all.
fn append_with_room(to: &mut Vec<u8>, bytes: &[u8]) {
    to.reserve(bytes.len() + bytes.len() / 8);
    to.extend_from_slice(bytes);
}

/// Returns where the last `length` bytes are.
fn last_part(bytes: &[u8], length: usize) -> (u32, u32) {
    ((bytes.len() - length) as u32, bytes.len() as u32)
}

fn shifted(part: (u32, u32), by: u32) -> (u32, u32) {
    (part.0.wrapping_add(by), part.1.wrapping_add(by))
}

/// A node in memory.
#[derive(Debug, PartialEq, Eq)]
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
#[derive(Debug, Clone, PartialEq, Eq)]
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
        if blake3::hash(&payload[identity.clone()]).as_bytes() != expected.as_bytes() {
            return Err(NodeError::Identity);
        }
        if blake3::hash(&payload[placements.clone()]).as_bytes() != &payload[placements.end..] {
            return Err(NodeError::Placements);
        }
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

    /// Returns where the stored form of an entry of a leaf begins, and that of its placement: where the one before ends.
    fn begin(&self, index: usize) -> (u32, u32) {
        match index.checked_sub(1) {
            Some(before) => (self.slots[before].data.1, self.slots[before].placement.1),
            None => self.first,
        }
    }

    /// Counts the entries of a leaf, from one on, that another leaf has too from one of its own on, in the same order, their
    /// placements aside. The entries before those two must have the same key. Looks at stored bytes, not at each entry.
    pub(crate) fn shared_run(&self, index: usize, other: &Node, other_index: usize) -> usize {
        debug_assert!(self.level == 0 && other.level == 0);
        let rest = |node: &Node, index: usize| {
            let (begin, end) = (node.begin(index).0, node.begin(node.len()).0);
            begin as usize..end as usize
        };
        let (mine, theirs) = (rest(self, index), rest(other, other_index));
        let begin = mine.start;
        let shared = begin + common_prefix(&self.payload[mine], &other.payload[theirs]);
        self.slots[index..].partition_point(|slot| slot.data.1 as usize <= shared)
    }

    /// Returns the stored form of entries of a leaf, and that of their placements.
    fn stored_run(&self, run: Range<usize>) -> (&[u8], &[u8]) {
        let last = &self.slots[run.end - 1];
        let (body, placements) = self.begin(run.start);
        (
            &self.payload[body as usize..last.data.1 as usize],
            &self.payload[placements as usize..last.placement.1 as usize],
        )
    }

    /// Returns its stored form, not yet framed.
    pub(crate) fn payload(&self) -> &Bytes {
        &self.payload
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

/// Returns how many bytes two slices have in common at their beginning.
fn common_prefix(a: &[u8], b: &[u8]) -> usize {
    // Long stretches of equal bytes are compared by the C library, many at a time.
    const STRETCH: usize = 1024;
    let stretches = a.chunks(STRETCH).zip(b.chunks(STRETCH));
    let same: usize = stretches.take_while(|(a, b)| a == b).map(|(a, _)| a.len()).sum();
    same + a[same..].iter().zip(&b[same..]).take_while(|(a, b)| a == b).count()
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
        let node = Node::decode(&built.hash, built.node.payload.clone()).unwrap();
        assert_eq!((node.level(), node.len()), (0, 4));
        assert_eq!(node, built.node);
        assert_eq!(node.item(2), item("/abc", "/abc/abc"));
        assert_eq!(node.last_key(), b"/b");
        assert_eq!((node.lower_bound(b"/a/"), node.lower_bound(b"/z")), (1, 4));
        assert_eq!((built.item.count, built.item.weight), (4, 4 + 8 + 8 + 4));
    }

    #[test]
    fn every_flipped_bit_is_found() {
        let built = sample();
        for at in 0..built.node.payload.len() {
            for bit in 0..8 {
                let mut payload = built.node.payload.to_vec();
                payload[at] ^= 1 << bit;
                assert!(
                    Node::decode(&built.hash, payload.into()).is_err(),
                    "byte {at} bit {bit}"
                );
            }
        }
        for cut in 0..built.node.payload.len() {
            assert!(
                Node::decode(&built.hash, built.node.payload.slice(..cut)).is_err(),
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
