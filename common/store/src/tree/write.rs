//! Storing nodes, several at a time.

use std::sync::Arc;

use tokio::task::JoinSet;

use crate::backend::PutOutcome;
use crate::chunk::{by_size, frame_quickly};
use crate::error::{Result, StoreError};
use crate::format::node::{BuiltNode, CachedNode, Node};
use crate::store::{Kind, Store};

/// Takes finished nodes and stores them in the background, a bounded number at once.
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

    /// Begins to store a node; waits while too many are under way.
    pub(crate) async fn put(&mut self, node: BuiltNode) -> Result<()> {
        if self.store.is_known(Kind::Node, &node.hash) {
            return Ok(());
        }
        while self.writes.len() >= self.store.inner.limits.write_concurrency.max(1) {
            self.join_one().await?;
        }
        let store = self.store.clone();
        self.writes.spawn(async move { store_node(&store, node).await });
        Ok(())
    }

    /// Waits until everything is stored, durably.
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
    let outcome = store.put_content(Kind::Node, &hash, framed).await?;
    // A node that was there already may name other places for the same content, and what it names is
    // what stays referred to: ours must not be served from the cache.
    if outcome == PutOutcome::Created {
        store.inner.nodes.insert(hash, CachedNode(Arc::new(node)));
    }
    Ok(())
}
