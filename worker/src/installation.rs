//! The identity of the installation, read from the store.

use std::time::Duration;

use howdah_protocol::installation::Installation;
use howdah_store::{Store, keys};
use tokio_util::sync::CancellationToken;

use crate::error::WorkerError;

/// Pause between two looks for the identity in the store.
const PAUSE: Duration = Duration::from_secs(1);

/// Waits until a coordinator has made the identity of the store; returns `None` if `shutdown` is cancelled first.
///
/// # Errors
/// If the store fails, or an object of the identity is damaged.
pub async fn wait(store: &Store, shutdown: &CancellationToken) -> Result<Option<Installation>, WorkerError> {
    let mut told = false;
    loop {
        let (id, key) = tokio::try_join!(store.get_opt(keys::CLUSTER_ID), store.get_opt(keys::QUEUE_KEY))
            .map_err(WorkerError::Store)?;
        if let (Some(id), Some(key)) = (id, key) {
            let read = Installation::parse(&id, &key);
            return read.map(Some).map_err(WorkerError::Installation);
        }
        if !told {
            tracing::warn!("no coordinator has used this store yet: waiting for one");
            told = true;
        }
        tokio::select! {
            () = shutdown.cancelled() => return Ok(None),
            () = tokio::time::sleep(PAUSE) => {}
        }
    }
}
