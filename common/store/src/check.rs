//! Objects compared with their names, one by one and past the caches; and damaged objects taken out of the way.
//!
//! A reader never needs this: every read checks what it gets. It is for a check of the whole store (`fsck`), which wants to
//! know about damage before a reader meets it, and for repairs.

use bytes::Bytes;
use howdah_model::ContentHash;

use crate::error::{Result, StoreError};
use crate::format::chunk::{ChunkHash, open_chunk};
use crate::format::frame::{frame, frame_quickly};
use crate::objects::keys::{self, ContentKey};
use crate::offload::by_size;
use crate::store::Store;
use crate::tree::{TreeEntry, open_node};

/// A node of a tree, as a walk over the tree needs it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TreeNode {
    /// Hashes of the nodes below it, in the order of their keys.
    Inner(Vec<ContentHash>),
    /// Entries, in the order of their keys.
    Leaf(Vec<TreeEntry>),
}

/// What became of an object that was found to be damaged or missing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ObjectRepair {
    /// It is whole by now.
    Whole,
    /// It was written again, from a copy in memory.
    Restored,
    /// It was moved below `damaged/`: the next write of the same content stores it again.
    Removed,
    /// It is missing: the next write of the same content stores it again.
    Missing,
}

/// Compares the bytes of a chunk or node with its name.
async fn check_bytes(key: &str, content: ContentKey, stored: Bytes) -> Result<()> {
    let key = key.to_owned();
    by_size(stored.len(), move || match content {
        ContentKey::Chunk(hash) => open_chunk(&key, &hash, &stored).map(drop),
        ContentKey::Node(hash) => open_node(&key, &hash, &stored).map(drop),
    })
    .await?
}

impl Store {
    /// Reads a node of a tree, and checks it. A store that was opened with empty caches reads the stored object.
    ///
    /// # Errors
    /// When the node is missing or damaged, or the store does not answer.
    pub async fn tree_node(&self, hash: &ContentHash) -> Result<TreeNode> {
        let node = self.node(*hash).await?;
        Ok(if node.level() == 0 {
            TreeNode::Leaf((0..node.len()).map(|index| TreeEntry::from(node.item(index))).collect())
        } else {
            TreeNode::Inner((0..node.len()).map(|index| node.child(index)).collect())
        })
    }

    /// Reads a stored chunk or node and compares it with its name. Objects of other kinds are not read.
    ///
    /// # Errors
    /// When the object is missing or damaged, or the store does not answer.
    pub async fn check_object(&self, key: &str) -> Result<()> {
        let Some(content) = ContentKey::of_object(key) else {
            return Ok(());
        };
        check_bytes(key, content, self.get(key).await?).await
    }

    /// Takes a damaged chunk or node out of the way. A damaged object is never overwritten by a write of the same content,
    /// which finds that it exists. If this store has a good copy in memory, the object is written again.
    ///
    /// Nothing that can be read is lost: the object is checked again first, and its bytes are kept below `damaged/`.
    ///
    /// # Errors
    /// When the store does not answer.
    pub async fn repair_object(&self, key: &str) -> Result<ObjectRepair> {
        let Some(content) = ContentKey::of_object(key) else {
            return Ok(ObjectRepair::Whole);
        };
        let stored = self.get_opt(key).await?;
        let removed = stored.is_some();
        if let Some(stored) = stored {
            // The bytes that are checked are those that are moved: meanwhile, a writer may have stored good ones.
            match check_bytes(key, content, stored.clone()).await {
                Ok(()) => return Ok(ObjectRepair::Whole),
                Err(error) if !error.is_damage() => return Err(error),
                Err(_) => self.move_aside(key, stored).await?,
            }
        }
        // After the removal: a writer that found the object before would remember it again.
        self.forget_seen_object(&content);
        let good = match content {
            ContentKey::Chunk(hash) => {
                let chunk = self.shared.chunks.get(&ChunkHash(hash)).map(|chunk| chunk.bytes);
                match chunk {
                    Some(bytes) => Some(by_size(bytes.len(), move || frame(&bytes)).await?),
                    None => None,
                }
            }
            ContentKey::Node(hash) => {
                let node = self.shared.nodes.get(&hash);
                node.map(|node| frame_quickly(node.payload()))
            }
        };
        if let Some(good) = good {
            self.put_if_absent(key, good).await?;
            return Ok(ObjectRepair::Restored);
        }
        Ok(if removed {
            ObjectRepair::Removed
        } else {
            ObjectRepair::Missing
        })
    }

    /// Moves an object below `damaged/`. Returns `false` if there is none.
    ///
    /// # Errors
    /// When the store does not answer.
    pub async fn move_to_damaged(&self, key: &str) -> Result<bool> {
        let Some(stored) = self.get_opt(key).await? else {
            return Ok(false);
        };
        self.move_aside(key, stored).await?;
        Ok(true)
    }

    /// Writes the bytes of an object below `damaged/` and removes the object.
    async fn move_aside(&self, key: &str, stored: Bytes) -> Result<()> {
        self.put(&keys::damaged(key), stored).await?;
        self.delete(key).await
    }

    /// Lets the next write of a node replace the stored one. The two have the same entries, but the stored one refers to
    /// chunks that are lost; without this, a write would find it and keep it.
    ///
    /// Kept in memory only, for a bounded number of nodes. A repair that was interrupted is repeated.
    pub fn replace_node_when_written(&self, node: ContentHash) {
        self.shared.replaced_nodes.add(node);
    }

    /// Compares every record and snapshot of the metadata log with its hash. Returns the damage that it finds. What is
    /// pruned meanwhile counts as whole.
    ///
    /// # Errors
    /// When the store does not answer.
    pub async fn check_log(&self) -> Result<Vec<StoreError>> {
        crate::log::check(self).await
    }
}
