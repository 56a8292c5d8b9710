//! What the fuzz targets of `common/fuzz` call: readers of stored bytes that are private otherwise.
//!
//! Built only with `--cfg fuzzing`. A reader may refuse any bytes, but must not panic, and what it accepts must be
//! consistent.

use bytes::Bytes;
use howdah_model::ContentHash;

use crate::format::codec::put_bytes;
use crate::format::frame;
use crate::format::node::Node;
use crate::log::fuzzing as log;

/// Reads bytes as a frame, and reads back a frame that is made of them.
pub fn frame(bytes: &[u8]) {
    let bytes = Bytes::copy_from_slice(bytes);
    let _ = frame::open_frame(&bytes);
    assert_eq!(frame::open_frame(&frame::frame(&bytes)), Ok(bytes.clone()));
    assert_eq!(frame::open_frame(&frame::frame_quickly(&bytes)), Ok(bytes));
}

/// Reads bytes as a node: as they are, and with the hashes that the fuzzer cannot guess. Two bytes say how long the
/// identity is, the rest are the placements.
pub fn node(bytes: &[u8]) {
    let _ = Node::decode(&ContentHash::new([0; 32]), Bytes::copy_from_slice(bytes));
    let Some((&[low, high], rest)) = bytes.split_first_chunk::<2>() else {
        return;
    };
    let (identity, placements) = rest.split_at(usize::from(u16::from_le_bytes([low, high])).min(rest.len()));
    let mut payload = Vec::new();
    put_bytes(&mut payload, identity);
    payload.extend_from_slice(placements);
    payload.extend_from_slice(blake3::hash(placements).as_bytes());
    let name = ContentHash::new(*blake3::hash(identity).as_bytes());
    let Ok(node) = Node::decode(&name, payload.into()) else {
        return;
    };
    for index in 0..node.len() {
        let item = node.item(index);
        assert_eq!(&item.key[..], node.key(index));
        assert_eq!(&item.data[..], node.data(index));
        assert!(index == 0 || node.key(index - 1) < node.key(index));
        assert_eq!(node.lower_bound(&item.key), index);
        if node.level() > 0 {
            assert_eq!(item.child().ok(), Some(node.child(index)));
        }
    }
    assert_eq!(node.last_key(), node.key(node.len() - 1));
    assert!(node.memory() < 1 << 30);
}

/// Reads bytes as a record of the log, and reads back records that are made of them.
pub fn record(bytes: &[u8]) {
    log::record(&Bytes::copy_from_slice(bytes));
}
