//! [`PausingBackend`]: lets other tasks run before and after each request, so that tests reach the states between.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use async_trait::async_trait;
use bytes::Bytes;
use howdah_store::backend::{Backend, MemoryBackend};
use howdah_store::{BackendError, ObjectMeta, PutOutcome};

/// Objects in memory. Every request yields some times before it acts, and as often before it answers.
#[derive(Debug)]
pub(super) struct PausingBackend {
    objects: Arc<MemoryBackend>,
    /// How often the requests yield; the requests take the numbers in turn, again and again.
    pauses: Vec<u8>,
    requests: AtomicUsize,
}

impl PausingBackend {
    /// Makes the backend. `pauses` has at least one number.
    pub(super) fn new(objects: Arc<MemoryBackend>, pauses: Vec<u8>) -> Self {
        Self {
            objects,
            pauses,
            requests: AtomicUsize::new(0),
        }
    }

    async fn run<T: Send>(&self, act: impl Future<Output = T> + Send) -> T {
        let number = self.requests.fetch_add(1, Ordering::Relaxed);
        let pause = self.pauses[number % self.pauses.len()];
        yield_times(pause).await;
        let done = act.await;
        yield_times(pause).await;
        done
    }
}

/// Yields to the other tasks so often.
pub(super) async fn yield_times(times: u8) {
    for _ in 0..times {
        tokio::task::yield_now().await;
    }
}

#[async_trait]
impl Backend for PausingBackend {
    fn describe(&self) -> String {
        self.objects.describe()
    }

    async fn supports_put_if_absent(&self) -> Result<bool, BackendError> {
        self.objects.supports_put_if_absent().await
    }

    async fn get(&self, key: &str) -> Result<Option<Bytes>, BackendError> {
        self.run(self.objects.get(key)).await
    }

    async fn get_range(&self, key: &str, range: Range<u64>) -> Result<Option<Bytes>, BackendError> {
        self.run(self.objects.get_range(key, range)).await
    }

    async fn stat(&self, key: &str) -> Result<Option<ObjectMeta>, BackendError> {
        self.run(self.objects.stat(key)).await
    }

    async fn put(&self, key: &str, bytes: Bytes) -> Result<(), BackendError> {
        self.run(self.objects.put(key, bytes)).await
    }

    async fn put_if_absent(&self, key: &str, bytes: Bytes) -> Result<PutOutcome, BackendError> {
        self.run(self.objects.put_if_absent(key, bytes)).await
    }

    async fn delete(&self, key: &str) -> Result<(), BackendError> {
        self.run(self.objects.delete(key)).await
    }

    async fn list(&self, prefix: &str, after: Option<&str>) -> Result<Vec<ObjectMeta>, BackendError> {
        self.run(self.objects.list(prefix, after)).await
    }
}
