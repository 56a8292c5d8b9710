//! Objects in memory, for tests.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use async_trait::async_trait;
use bytes::Bytes;

use super::{Backend, ObjectMeta, PutOutcome};
use crate::error::BackendError;

/// A map from key to object.
#[derive(Debug, Default)]
pub struct MemoryBackend {
    objects: Mutex<BTreeMap<String, (Bytes, SystemTime)>>,
}

impl MemoryBackend {
    fn objects(&self) -> MutexGuard<'_, BTreeMap<String, (Bytes, SystemTime)>> {
        // No code that can panic runs while this lock is held, so a poisoned map is complete.
        self.objects.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn meta(key: &str, (bytes, modified): &(Bytes, SystemTime)) -> ObjectMeta {
    ObjectMeta {
        key: key.to_owned(),
        size: bytes.len() as u64,
        modified: Some(*modified),
    }
}

#[async_trait]
impl Backend for MemoryBackend {
    fn describe(&self) -> String {
        "memory://".to_owned()
    }

    async fn supports_put_if_absent(&self) -> Result<bool, BackendError> {
        Ok(true)
    }

    async fn get(&self, key: &str) -> Result<Option<Bytes>, BackendError> {
        Ok(self.objects().get(key).map(|(bytes, _)| bytes.clone()))
    }

    async fn get_range(&self, key: &str, range: Range<u64>) -> Result<Option<Bytes>, BackendError> {
        Ok(self.objects().get(key).map(|(bytes, _)| {
            let end = range.end.min(bytes.len() as u64) as usize;
            let start = (range.start as usize).min(end);
            bytes.slice(start..end)
        }))
    }

    async fn stat(&self, key: &str) -> Result<Option<ObjectMeta>, BackendError> {
        Ok(self.objects().get(key).map(|object| meta(key, object)))
    }

    async fn put(&self, key: &str, bytes: Bytes) -> Result<(), BackendError> {
        self.objects().insert(key.to_owned(), (bytes, SystemTime::now()));
        Ok(())
    }

    async fn put_if_absent(&self, key: &str, bytes: Bytes) -> Result<PutOutcome, BackendError> {
        let mut objects = self.objects();
        if objects.contains_key(key) {
            return Ok(PutOutcome::Exists);
        }
        objects.insert(key.to_owned(), (bytes, SystemTime::now()));
        Ok(PutOutcome::Created)
    }

    async fn delete(&self, key: &str) -> Result<(), BackendError> {
        self.objects().remove(key);
        Ok(())
    }

    async fn list(&self, prefix: &str, after: Option<&str>) -> Result<Vec<ObjectMeta>, BackendError> {
        let objects = self.objects();
        let from = after.map_or(prefix, |after| after.max(prefix));
        Ok(objects
            .range(from.to_owned()..)
            .take_while(|(key, _)| key.starts_with(prefix))
            .filter(|(key, _)| Some(key.as_str()) != after)
            .map(|(key, object)| meta(key, object))
            .collect())
    }
}
