//! Chunks and nodes that the walk over the commits has not met. No commit needs them, but a later write of the same content
//! would find that they exist.

use std::sync::atomic::Ordering;

use futures::{FutureExt, StreamExt, stream};
use howdah_model::ContentHash;
use howdah_store::{StoreError, keys};

use super::damage::Fault;
use super::deep::DeepCheck;
use crate::services::reply::StreamError;
use crate::services::status::IntoStatus;

/// Objects that are read at the same time.
const OBJECTS_AT_ONCE: usize = 8;

impl DeepCheck<'_> {
    /// Checks the rest of the chunks and nodes. Their keys begin with two digits; one pair of digits at a time is listed.
    ///
    /// # Errors
    /// When the store fails.
    pub(super) async fn rest(&mut self) -> Result<(), StreamError> {
        for kind in [keys::NODES, keys::CHUNKS] {
            for digits in 0..=u8::MAX {
                self.rest_below(&format!("{kind}{digits:02x}/")).await?;
            }
        }
        Ok(())
    }

    async fn rest_below(&mut self, prefix: &str) -> Result<(), StreamError> {
        let listed = self.store.list(prefix).await.map_err(IntoStatus::into_status)?;
        let unseen: Vec<String> = listed
            .into_iter()
            .map(|object| object.key)
            .filter(|key| !self.is_checked(key))
            .collect();
        let store = self.store.clone();
        let checks = unseen.into_iter().map(|key| {
            let store = store.clone();
            async move { store.check_object(&key).await }.boxed()
        });
        let mut checks = stream::iter(checks).buffered(OBJECTS_AT_ONCE).boxed();
        while let Some(checked) = checks.next().await {
            self.report.objects.fetch_add(1, Ordering::Relaxed);
            match checked {
                // Staged edits and nodes are not the only things that are removed: another check may repair, too.
                Ok(()) | Err(StoreError::Missing { .. }) => {}
                Err(error) if error.is_damage() => self.damage.add(&Fault::of(&error)),
                Err(error) => return Err(error.into_status().into()),
            }
        }
        Ok(())
    }

    fn is_checked(&self, key: &str) -> bool {
        let hash = key.rsplit('/').next().and_then(|hash| hash.parse::<ContentHash>().ok());
        let checked = if key.starts_with(keys::NODES) {
            &self.nodes
        } else {
            &self.chunks
        };
        hash.is_some_and(|hash| checked.has(hash.as_bytes()))
    }
}
