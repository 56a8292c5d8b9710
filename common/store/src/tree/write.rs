//! Storing nodes in the background, several at a time.

use std::sync::Arc;

use tokio::task::JoinSet;

use crate::backend::PutOutcome;
use crate::error::{Result, StoreError};
use crate::format::frame::frame_quickly;
use crate::format::node::Node;
use crate::format::node_builder::BuiltNode;
use crate::objects::keys::ContentKey;
use crate::offload::by_size;
use crate::store::Store;

/// Stores finished nodes in the background, a bounded number at once.
#[derive(Debug)]
pub(crate) struct NodeSink {
    store: Store,
    writes: JoinSet<Result<()>>,
}

impl NodeSink {
    pub(crate) fn new(store: &Store) -> Self {
        NodeSink {
            store: store.clone(),
            writes: JoinSet::new(),
        }
    }

    /// Begins to store a node. Waits while too many are being stored.
    pub(crate) async fn put(&mut self, node: BuiltNode) -> Result<()> {
        let replaces = self.store.shared.replaced_nodes.has(&node.hash);
        if !replaces && self.store.is_known(&ContentKey::Node(node.hash)) {
            return Ok(());
        }
        while self.writes.len() >= self.store.shared.limits.write_concurrency.max(1) {
            self.join_one().await?;
        }
        let store = self.store.clone();
        self.writes.spawn(async move { store_node(&store, node).await });
        Ok(())
    }

    /// Waits until all nodes are durable.
    pub(crate) async fn flush(&mut self) -> Result<()> {
        while !self.writes.is_empty() {
            self.join_one().await?;
        }
        Ok(())
    }

    async fn join_one(&mut self) -> Result<()> {
        match self.writes.join_next().await {
            None => Ok(()),
            Some(Ok(result)) => result,
            Some(Err(error)) => Err(StoreError::task(&error)),
        }
    }
}

async fn store_node(store: &Store, node: BuiltNode) -> Result<()> {
    let BuiltNode { hash, node, .. } = node;
    debug_assert!(Node::decode(&hash, node.payload().clone()).is_ok_and(|read| read == node));
    let payload = node.payload().clone();
    let framed = by_size(payload.len(), move || frame_quickly(&payload)).await?;
    if store.shared.replaced_nodes.has(&hash) {
        store.replace_content(ContentKey::Node(hash), framed).await?;
        store.shared.replaced_nodes.remove(&hash);
        store.shared.nodes.insert(hash, Arc::new(node));
        return Ok(());
    }
    let outcome = store.put_content(ContentKey::Node(hash), framed).await?;
    // A node that existed already may have other placements for the same content. Only the chunks of that stored node
    // are referred to. If the cache had our node, readers would use chunks that no stored node refers to, which a
    // garbage collection (there is none yet) could remove.
    if outcome == PutOutcome::Created {
        store.shared.nodes.insert(hash, Arc::new(node));
    }
    Ok(())
}
