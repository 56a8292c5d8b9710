//! What a tree holds, and how two trees may differ.

use bytes::Bytes;

use crate::format::node::NodeEntry;

/// The value of a key.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TreeValue {
    /// The meaning; decides the root.
    pub data: Bytes,
    /// The places of its bytes: stored, but without effect on the root and on differences. If two trees have the same
    /// node, the placements of the node that was stored first remain.
    pub placement: Bytes,
    /// What the entry adds to the weight of every range that contains it.
    pub weight: u64,
}

impl TreeValue {
    /// Returns a value without placement.
    pub fn plain(data: impl Into<Bytes>, weight: u64) -> Self {
        TreeValue {
            data: data.into(),
            placement: Bytes::new(),
            weight,
        }
    }

    /// Tells whether two values have the same meaning.
    #[must_use]
    pub fn same(&self, other: &TreeValue) -> bool {
        self.data == other.data && self.weight == other.weight
    }
}

/// A key and its value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TreeEntry {
    /// The key.
    pub key: Bytes,
    /// The value.
    pub value: TreeValue,
}

/// A change of one key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TreeEdit {
    /// The key.
    pub key: Bytes,
    /// The new value; `None` removes the key.
    pub value: Option<TreeValue>,
}

impl TreeEdit {
    /// Returns the edit that sets a key.
    pub fn put(key: impl Into<Bytes>, value: TreeValue) -> Self {
        TreeEdit {
            key: key.into(),
            value: Some(value),
        }
    }

    /// Returns the edit that removes a key; without effect if the key does not exist.
    pub fn remove(key: impl Into<Bytes>) -> Self {
        TreeEdit {
            key: key.into(),
            value: None,
        }
    }
}

/// A key at which two trees differ.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DiffItem {
    /// The key.
    pub key: Bytes,
    /// The value in the old tree.
    pub old: Option<TreeValue>,
    /// The value in the new tree.
    pub new: Option<TreeValue>,
}

/// Totals over a range of a tree.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Aggregate {
    /// Number of entries.
    pub count: u64,
    /// Sum of their weights.
    pub weight: u64,
}

impl From<NodeEntry> for TreeEntry {
    fn from(item: NodeEntry) -> Self {
        TreeEntry {
            key: item.key,
            value: TreeValue {
                data: item.data,
                placement: item.placement,
                weight: item.weight,
            },
        }
    }
}
