//! The identity of the installation, which the first coordinator over a store makes.

use anyhow::Context;
use howdah_protocol::installation::{Installation, QUEUE_KEY_BYTES};
use howdah_store::{Store, StoreError, keys};

use crate::fresh_id::fresh_id;

/// Returns the identity that the store has, making what is missing. Coordinators that start at the same time get the same.
///
/// # Errors
/// When the store fails, or an object of the identity is damaged.
pub(crate) async fn ensure(store: &Store) -> anyhow::Result<Installation> {
    let id = ensure_id(store).await?;
    let key = Installation::encode_key(&rand::random::<[u8; QUEUE_KEY_BYTES]>());
    let key = get_or_make(store, keys::QUEUE_KEY, key).await?;
    Installation::parse(id.as_bytes(), key.as_bytes())
        .with_context(|| format!("cannot read {} and {} of the store", keys::CLUSTER_ID, keys::QUEUE_KEY))
}

/// Returns the id of the installation, making it if the store is new.
///
/// # Errors
/// When the store fails.
pub(crate) async fn ensure_id(store: &Store) -> Result<String, StoreError> {
    get_or_make(store, keys::CLUSTER_ID, fresh_id().to_string()).await
}

/// Returns the text of an object, which is `fresh` if there is none. Coordinators that start at the same time get the same.
///
/// # Errors
/// When the store fails.
pub(crate) async fn get_or_make(store: &Store, key: &str, fresh: String) -> Result<String, StoreError> {
    if store.get_opt(key).await?.is_none() {
        store.put_if_absent(key, fresh.into()).await?;
    }
    let bytes = store.get(key).await?;
    Ok(String::from_utf8_lossy(&bytes).trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_identity_is_made_once() {
        let store = Store::in_memory().await;
        let (one, other) = tokio::join!(ensure(&store), ensure(&store));
        let (one, other) = (one.unwrap(), other.unwrap());
        assert_eq!(one, other);
        assert_eq!(ensure(&store).await.unwrap(), one);
        let elsewhere = ensure(&Store::in_memory().await).await.unwrap();
        assert!(elsewhere.cluster() != one.cluster() && elsewhere.key() != one.key());
    }

    #[tokio::test]
    async fn a_store_of_an_earlier_release_keeps_its_id() {
        let store = Store::in_memory().await;
        store.put(keys::CLUSTER_ID, "0123".into()).await.unwrap();
        assert_eq!(ensure(&store).await.unwrap().cluster(), "0123");
        store.put(keys::QUEUE_KEY, "damaged".into()).await.unwrap();
        assert!(ensure(&store).await.is_err());
    }
}
