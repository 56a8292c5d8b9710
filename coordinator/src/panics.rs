//! Keeps a panic where it happens: it becomes a [`Panic`], which is logged with an id and handled like an error.
//!
//! A caught panic says that an invariant of this program did not hold. What the code was working on is dropped, and
//! everything else goes on. Shared tables are behind mutexes whose poison is ignored, so a caught panic makes none of
//! them unusable.

use std::any::Any;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use futures::FutureExt;

use crate::fresh_id::fresh_id;

/// First pause before a background task that panicked is started again; doubles up to [`MAX_PAUSE`].
const FIRST_PAUSE: Duration = Duration::from_secs(1);
/// Longest such pause.
const MAX_PAUSE: Duration = Duration::from_secs(300);

/// A panic that was caught and logged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Panic {
    /// Id under which the log has it.
    pub id: String,
    /// The message of the panic.
    pub message: String,
}

impl Panic {
    /// Makes one of what a panic carried, and logs it. `place` says what panicked.
    pub fn caught(place: &str, payload: &(dyn Any + Send)) -> Self {
        let message = payload
            .downcast_ref::<&str>()
            .map(|text| (*text).to_owned())
            .or_else(|| payload.downcast_ref::<String>().cloned())
            .unwrap_or_else(|| "no message".to_owned());
        let panic = Self {
            id: fresh_id().to_string(),
            message,
        };
        tracing::error!(
            id = panic.id,
            place,
            message = panic.message,
            "internal error: a panic was caught"
        );
        panic
    }
}

impl fmt::Display for Panic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "internal error (see {} in the coordinator's log): {}",
            self.id, self.message
        )
    }
}

impl std::error::Error for Panic {}

/// Runs a future to its end, or until it panics.
pub(crate) async fn catch_task_panic<T>(place: &str, task: impl Future<Output = T>) -> Result<T, Panic> {
    let ended = AssertUnwindSafe(task).catch_unwind().await;
    ended.map_err(|payload| Panic::caught(place, &*payload))
}

/// Runs `work`, and returns what it returns unless it panics.
pub(crate) fn catch_panic<T>(place: &str, work: impl FnOnce() -> T) -> Result<T, Panic> {
    catch_unwind(AssertUnwindSafe(work)).map_err(|payload| Panic::caught(place, &*payload))
}

/// Runs a background task; after a panic it is reported and the task is made again, after a pause that doubles.
///
/// Returns when a task ends by itself.
pub(crate) async fn keep_running<Task, Report>(
    place: &str,
    mut make: impl FnMut() -> Task,
    mut report: impl FnMut(Panic) -> Report,
) where
    Task: Future<Output = ()>,
    Report: Future<Output = ()>,
{
    let mut pause = FIRST_PAUSE;
    while let Err(panic) = catch_task_panic(place, make()).await {
        report(panic).await;
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(MAX_PAUSE);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use tokio::time::Instant;

    use super::*;

    #[tokio::test]
    async fn a_caught_panic_has_its_message_and_an_id() {
        let panic = catch_task_panic("a test", async { panic!("number {}", 7) }).await;
        let panic: Panic = panic.map(|(): ()| ()).unwrap_err();
        assert_eq!(panic.message, "number 7");
        assert!(panic.to_string().contains(&panic.id));
        assert_eq!(catch_panic("a test", || 5), Ok(5));
    }

    #[tokio::test(start_paused = true)]
    async fn a_task_that_panics_is_reported_and_started_again_after_a_pause() {
        let starts = AtomicU32::new(0);
        let reports = AtomicU32::new(0);
        let begin = Instant::now();
        let task = || async {
            if starts.fetch_add(1, Ordering::SeqCst) < 2 {
                panic!("again");
            }
        };
        keep_running("a test", task, |_| async {
            reports.fetch_add(1, Ordering::SeqCst);
        })
        .await;
        assert_eq!(
            (starts.into_inner(), reports.into_inner()),
            (3, 2),
            "the third one ended by itself"
        );
        assert_eq!(begin.elapsed().as_secs(), 3);
    }
}
