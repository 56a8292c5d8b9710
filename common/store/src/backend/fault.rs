//! A backend that fails on demand, for tests of everything that must survive failures.
//!
//! There are two ways to lose a request: it does not reach the store, or it does and the answer is lost. The second one
//! breaks naive code. Both can be injected into every operation.

use std::fmt;
use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use bytes::Bytes;

use super::{Backend, ObjectMeta, PutOutcome};
use crate::error::BackendError;

/// Names an operation of a backend.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operation {
    /// Whole or partial read, or `stat`.
    Read,
    /// Unconditional write.
    Put,
    /// Conditional write.
    PutIfAbsent,
    /// Removal.
    Delete,
    /// Listing.
    List,
}

/// How one request fails, if at all.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// It does not fail.
    None,
    /// It fails, and the store has not acted.
    Before,
    /// It fails after the store has acted.
    After,
}

type FaultPlan = Box<dyn FnMut(Operation, &str) -> Fault + Send>;

/// Wraps a backend and asks a plan before each request how it shall fail.
pub struct FaultBackend {
    inner: Arc<dyn Backend>,
    plan: Mutex<FaultPlan>,
}

impl FaultBackend {
    /// Wraps a backend; the plan sees every operation and its key.
    pub fn new(inner: Arc<dyn Backend>, plan: impl FnMut(Operation, &str) -> Fault + Send + 'static) -> Self {
        FaultBackend {
            inner,
            plan: Mutex::new(Box::new(plan)),
        }
    }

    /// Replaces the plan.
    pub fn set_plan(&self, plan: impl FnMut(Operation, &str) -> Fault + Send + 'static) {
        *self.plan.lock().unwrap_or_else(PoisonError::into_inner) = Box::new(plan);
    }

    fn ask(&self, operation: Operation, key: &str) -> Fault {
        let mut plan = self.plan.lock().unwrap_or_else(PoisonError::into_inner);
        plan(operation, key)
    }

    async fn run<T>(
        &self,
        operation: Operation,
        key: &str,
        act: impl Future<Output = Result<T, BackendError>> + Send,
    ) -> Result<T, BackendError> {
        match self.ask(operation, key) {
            Fault::None => act.await,
            Fault::Before => Err(BackendError::Injected("before")),
            Fault::After => {
                act.await?;
                Err(BackendError::Injected("after"))
            }
        }
    }
}

impl fmt::Debug for FaultBackend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FaultBackend")
            .field("inner", &self.inner)
            .finish_non_exhaustive()
    }
}

#[async_trait]
impl Backend for FaultBackend {
    fn describe(&self) -> String {
        self.inner.describe()
    }

    async fn supports_put_if_absent(&self) -> Result<bool, BackendError> {
        self.inner.supports_put_if_absent().await
    }

    async fn get(&self, key: &str) -> Result<Option<Bytes>, BackendError> {
        self.run(Operation::Read, key, self.inner.get(key)).await
    }

    async fn get_range(&self, key: &str, range: Range<u64>) -> Result<Option<Bytes>, BackendError> {
        self.run(Operation::Read, key, self.inner.get_range(key, range)).await
    }

    async fn stat(&self, key: &str) -> Result<Option<ObjectMeta>, BackendError> {
        self.run(Operation::Read, key, self.inner.stat(key)).await
    }

    async fn put(&self, key: &str, bytes: Bytes) -> Result<(), BackendError> {
        self.run(Operation::Put, key, self.inner.put(key, bytes)).await
    }

    async fn put_if_absent(&self, key: &str, bytes: Bytes) -> Result<PutOutcome, BackendError> {
        self.run(Operation::PutIfAbsent, key, self.inner.put_if_absent(key, bytes))
            .await
    }

    fn looks_before_writing(&self) -> bool {
        self.inner.looks_before_writing()
    }

    fn is_near(&self) -> bool {
        self.inner.is_near()
    }

    async fn delete(&self, key: &str) -> Result<(), BackendError> {
        self.run(Operation::Delete, key, self.inner.delete(key)).await
    }

    async fn list(&self, prefix: &str, after: Option<&str>) -> Result<Vec<ObjectMeta>, BackendError> {
        self.run(Operation::List, prefix, self.inner.list(prefix, after)).await
    }
}
