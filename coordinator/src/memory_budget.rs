//! Memory that calls of clients share.
//!
//! A call reserves what it needs before it allocates it. If too much is reserved already, it waits; after
//! [`LONGEST_WAIT`] it fails. A reservation ends when it is dropped.
//!
//! To avoid deadlocks, a call that waits for a reservation holds no other one of the same budget. A call that may need
//! more while it holds one uses [`MemoryBudget::try_reserve`].

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::metrics;

/// Longest wait for a reservation.
pub const LONGEST_WAIT: Duration = Duration::from_secs(30);

/// Bytes of one permit: a semaphore counts at most 2^29 permits on machines of 32 bits.
const UNIT_BYTES: usize = 4 << 10;

/// A number of bytes that calls share. Clones share it.
#[derive(Clone, Debug)]
pub struct MemoryBudget {
    permits: Arc<Semaphore>,
    total: u32,
    waiting: Arc<AtomicUsize>,
}

/// No memory became free in time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("calls of other clients use all of the {} MiB that the server has for them; try again later", .total_bytes >> 20)]
pub struct BudgetExhausted {
    /// Bytes of the budget.
    pub total_bytes: usize,
}

/// A part of a budget.
#[derive(Debug)]
pub struct Reservation(OwnedSemaphorePermit);

impl Reservation {
    /// Gives back what is more than so many bytes.
    pub fn shrink(&mut self, bytes: usize) {
        let surplus = self.0.num_permits().saturating_sub(bytes.div_ceil(UNIT_BYTES));
        drop(self.0.split(surplus));
    }
}

/// Counts a waiting call as long as it exists.
struct Waiting<'a>(&'a AtomicUsize);

impl<'a> Waiting<'a> {
    fn new(count: &'a AtomicUsize) -> Self {
        count.fetch_add(1, Ordering::Relaxed);
        Self(count)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl MemoryBudget {
    /// Makes a budget of so many bytes.
    #[must_use]
    pub fn new(bytes: usize) -> Self {
        let total = u32::try_from(bytes.div_ceil(UNIT_BYTES)).unwrap_or(u32::MAX);
        let total = total.clamp(1, u32::try_from(Semaphore::MAX_PERMITS).unwrap_or(u32::MAX));
        Self {
            permits: Arc::new(Semaphore::new(total as usize)),
            total,
            waiting: Arc::default(),
        }
    }

    /// Reserves bytes, and waits for them. More than the whole budget counts as the whole budget: such a call runs alone.
    ///
    /// # Errors
    /// When they are not free within [`LONGEST_WAIT`].
    pub async fn reserve(&self, bytes: usize) -> Result<Reservation, BudgetExhausted> {
        if let Some(reservation) = self.try_reserve(bytes) {
            return Ok(reservation);
        }
        let _waiting = Waiting::new(&self.waiting);
        let permit = Arc::clone(&self.permits).acquire_many_owned(self.permits_for(bytes));
        match tokio::time::timeout(LONGEST_WAIT, permit).await {
            Ok(Ok(permit)) => Ok(Reservation(permit)),
            _ => {
                metrics::CALLS_WITHOUT_MEMORY.inc();
                Err(BudgetExhausted {
                    total_bytes: self.total as usize * UNIT_BYTES,
                })
            }
        }
    }

    /// Reserves bytes if they are free and no other call waits for some.
    #[must_use]
    pub fn try_reserve(&self, bytes: usize) -> Option<Reservation> {
        if self.is_contended() {
            return None;
        }
        let permit = Arc::clone(&self.permits).try_acquire_many_owned(self.permits_for(bytes));
        permit.ok().map(Reservation)
    }

    /// Returns whether calls wait for a reservation.
    #[must_use]
    pub fn is_contended(&self) -> bool {
        self.waiting.load(Ordering::Relaxed) > 0
    }

    fn permits_for(&self, bytes: usize) -> u32 {
        u32::try_from(bytes.div_ceil(UNIT_BYTES))
            .unwrap_or(u32::MAX)
            .min(self.total)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: usize = 1 << 20;

    #[tokio::test(start_paused = true)]
    async fn a_call_waits_for_memory_and_fails_in_the_end() {
        let budget = MemoryBudget::new(10 * MIB);
        let held = budget.reserve(6 * MIB).await.unwrap();
        let waiting = tokio::spawn({
            let budget = budget.clone();
            async move { budget.reserve(6 * MIB).await }
        });
        while !budget.is_contended() {
            tokio::task::yield_now().await;
        }
        assert!(budget.try_reserve(1).is_none(), "those that wait come first");
        drop(held);
        let held = waiting.await.unwrap().unwrap();
        assert!(!budget.is_contended());
        let error = budget.reserve(6 * MIB).await.unwrap_err();
        assert!(error.to_string().contains("10 MiB"), "{error}");
        drop(held);
        assert!(budget.try_reserve(10 * MIB).is_some());
    }

    #[tokio::test]
    async fn a_reservation_larger_than_the_budget_is_the_whole_budget() {
        let budget = MemoryBudget::new(MIB);
        let mut all = budget.reserve(100 * MIB).await.unwrap();
        assert!(budget.try_reserve(1).is_none());
        all.shrink(MIB / 2);
        assert!(budget.try_reserve(MIB / 2).is_some());
        all.shrink(MIB);
        assert!(budget.try_reserve(MIB / 2 + 1).is_none());
    }
}
