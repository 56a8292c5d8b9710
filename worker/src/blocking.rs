//! Blocking work called from async code.
//!
//! Both functions return [`InfraError::Task`] if the work panics on the blocking pool or the runtime shuts down before
//! it begins. Errors of the work itself are part of its result.

use crate::error::InfraError;
use crate::thread_role::is_slot_thread;

/// Runs blocking work of any length on Tokio's blocking pool.
///
/// The work runs to its end even if the returned future is dropped.
pub(crate) async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, InfraError> {
    tokio::task::spawn_blocking(work).await.map_err(|_| InfraError::Task)
}

/// Runs a short piece of blocking work: in place on the thread of a slot, else on the blocking pool.
pub(crate) async fn short<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, InfraError> {
    if is_slot_thread() {
        Ok(work())
    } else {
        blocking(work).await
    }
}
