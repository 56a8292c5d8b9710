//! Building nodes: where a node ends, and how it is encoded.
//!
//! Trees are prolly trees, an idea of Noms (Attic Labs): B-trees in which hashes of the content decide where nodes end,
//! so that equal content gives equal nodes. As in Dolt, it is the key that is hashed. Unlike in Dolt, the probability
//! that a node ends after an entry depends on the size of that entry, not on the size of the node so far. Merkle search
//! trees (Auvolat and Taïani, 2019) serve the same purpose: they derive the level of an entry from the hash of its key.

use std::ops::Range;

use bytes::Bytes;
use howdah_model::ContentHash;

use super::codec::{put_bytes, put_number};
use super::node::{EntrySpans, Node, NodeEntry, VERSION};

/// Bytes of identity that a node has on average. Entries have 60 to 100 bytes, so a leaf holds about two thousand
/// files, and a change of one file among a million writes two or three nodes of this size. Smaller nodes would be
/// cheaper to change, but a commit of small files would then write more node objects than chunks, and in object storage
/// each is a request.
///
/// A later version may only increase it: [`NodeBuilder::push_run`] relies on the fact that an entry inside of a stored
/// node does not end a node now.
///
/// Unit tests use tiny nodes, so that small samples make tall trees.
const TARGET_BYTES: u64 = if cfg!(test) { 400 } else { 128 << 10 };

impl NodeEntry {
    /// Decides whether a node ends after this entry.
    ///
    /// This depends on the entry alone. If it depended on how full the node is, an edit could move several boundaries
    /// after it, and [`NodeBuilder::push_run`] could not copy entries without looking at each. The probability is
    /// proportional to the size of the entry, which keeps nodes near the target size for small and large entries.
    fn ends_node(&self, level: u8) -> bool {
        let size = (self.key.len() + self.data.len() + 8) as u64;
        // Otherwise huge keys could end an inner node after each entry: the level above would have as many entries, and
        // building would not terminate.
        let size = if level == 0 { size } else { size.min(TARGET_BYTES / 4) };
        // Each level draws from its own four bytes of the hash. With the same bytes on all levels, the last key of a
        // node, which ended it, would end the node above as well, and every inner node would have one entry.
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
    /// Its entry in the level above.
    pub item: NodeEntry,
    /// Its name.
    pub hash: ContentHash,
    /// The node, as decoding its stored bytes would return it.
    pub node: Node,
}

/// Encodes entries until a node is complete.
#[derive(Debug)]
pub(crate) struct NodeBuilder {
    level: u8,
    body: Vec<u8>,
    placements: Vec<u8>,
    /// All keys in full, one after the other.
    keys: Vec<u8>,
    /// Begin and end of the parts of each entry, in `keys`, `body` and `placements`.
    spans: Vec<EntrySpans>,
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
            spans: Vec::new(),
            count: 0,
            weight: 0,
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.spans.is_empty()
    }

    fn last_key(&self) -> &[u8] {
        let (start, end) = self.spans.last().map_or((0, 0), |last| last.key);
        &self.keys[start as usize..end as usize]
    }

    /// Adds the next entry; returns the node if it ends here.
    pub(crate) fn push(&mut self, item: &NodeEntry) -> Option<BuiltNode> {
        self.append(item);
        if item.ends_node(self.level) {
            self.finish()
        } else {
            None
        }
    }

    /// Adds a run of entries of a stored node of this level, which must not contain its last entry. Their bytes are
    /// copied without decoding: none of them ends a node, because the stored node would have ended there.
    pub(crate) fn push_run(&mut self, node: &Node, run: Range<usize>) {
        debug_assert!(node.level == self.level && run.end < node.len());
        if node.level > 0 {
            // Inner nodes have few entries, and the offsets of their stored bytes are not known.
            run.for_each(|index| self.append(&node.item(index)));
            return;
        }
        let Range { mut start, end } = run;
        // A key is stored as its difference from the key before. If the first entry of the run follows another key now,
        // its stored bytes would decode to a wrong key: it must be encoded anew.
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

    /// Copies the stored bytes of a run of entries of a leaf, which must not be empty.
    fn extend(&mut self, node: &Node, run: Range<usize>) {
        let run_spans = &node.spans[run.clone()];
        let first_key = run_spans[0].key.0;
        let (first_data, first_placement) = node.begin(run.start);
        let (body, placements) = node.stored_run(run);
        let keys = &node.keys[first_key as usize..run_spans[run_spans.len() - 1].key.1 as usize];
        // The shift may be negative. Offsets are below 4 GiB, so wrapping arithmetic gives the right result.
        let key_shift = (self.keys.len() as u32).wrapping_sub(first_key);
        let data_shift = (self.body.len() as u32).wrapping_sub(first_data);
        let placement_shift = (self.placements.len() as u32).wrapping_sub(first_placement);
        append_with_room(&mut self.keys, keys);
        append_with_room(&mut self.body, body);
        append_with_room(&mut self.placements, placements);
        self.spans.extend(run_spans.iter().map(|span| EntrySpans {
            key: shifted(span.key, key_shift),
            data: shifted(span.data, data_shift),
            placement: shifted(span.placement, placement_shift),
            ..*span
        }));
        for span in run_spans {
            self.count += span.count;
            self.weight = self.weight.saturating_add(span.weight);
        }
    }

    fn append(&mut self, item: &NodeEntry) {
        let shared = self
            .last_key()
            .iter()
            .zip(&item.key)
            .take_while(|(a, b)| a == b)
            .count();
        put_number(&mut self.body, shared as u64);
        put_bytes(&mut self.body, &item.key[shared..]);
        self.keys.extend_from_slice(&item.key);
        let mut span = EntrySpans {
            key: last_part(&self.keys, item.key.len()),
            data: (0, 0),
            placement: (0, 0),
            count: item.count,
            weight: item.weight,
        };
        if self.level == 0 {
            put_number(&mut self.body, item.weight);
            put_bytes(&mut self.body, &item.data);
            span.data = last_part(&self.body, item.data.len());
            put_bytes(&mut self.placements, &item.placement);
            span.placement = last_part(&self.placements, item.placement.len());
        } else {
            self.body.extend_from_slice(&item.data);
            span.data = last_part(&self.body, item.data.len());
            put_number(&mut self.body, item.count);
            put_number(&mut self.body, item.weight);
        }
        self.spans.push(span);
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
        put_number(&mut head, done.spans.len() as u64);
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
        let item = NodeEntry {
            key: Bytes::copy_from_slice(done.last_key()),
            data: Bytes::copy_from_slice(&hash),
            placement: Bytes::new(),
            count: done.count,
            weight: done.weight,
        };
        for span in &mut done.spans {
            span.data = shifted(span.data, body_at);
            if done.level == 0 {
                span.placement = shifted(span.placement, placements_at);
            }
        }
        // The node may be in the cache for a long time.
        done.keys.shrink_to_fit();
        done.spans.shrink_to_fit();
        Some(BuiltNode {
            item,
            hash: ContentHash::new(hash),
            node: Node {
                level: done.level,
                keys: done.keys.into(),
                payload: payload.into(),
                first: (body_at, placements_at),
                spans: done.spans,
            },
        })
    }
}

/// Appends bytes and reserves some room. Without the room, the next entry would copy everything again.
fn append_with_room(to: &mut Vec<u8>, bytes: &[u8]) {
    to.reserve(bytes.len() + bytes.len() / 8);
    to.extend_from_slice(bytes);
}

/// Returns begin and end of the last `length` bytes.
fn last_part(bytes: &[u8], length: usize) -> (u32, u32) {
    ((bytes.len() - length) as u32, bytes.len() as u32)
}

fn shifted(part: (u32, u32), by: u32) -> (u32, u32) {
    (part.0.wrapping_add(by), part.1.wrapping_add(by))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn item(key: &str, data: &str) -> NodeEntry {
        NodeEntry {
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
    fn nodes_survive_a_round_trip() {
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
    fn every_flipped_bit_is_detected() {
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
    fn placements_do_not_change_the_name() {
        let (mut a, mut b) = (NodeBuilder::new(0), NodeBuilder::new(0));
        a.push(&item("k", "v"));
        b.push(&NodeEntry {
            placement: Bytes::from_static(b"elsewhere"),
            ..item("k", "v")
        });
        assert_eq!(a.finish().unwrap().hash, b.finish().unwrap().hash);
    }
}
