//! Threads of their own for slots.
//!
//! What a slot does for a trivial datum is a row of short steps that block: a few files laid out, a
//! message to `stage-init` and its answer, a few files read. Handed to a pool of threads one by one,
//! they cost more in waking threads than in work. On a thread of its own a slot simply does them,
//! and keeps nobody else waiting; what it awaits is driven by the worker's ordinary threads.

use std::cell::Cell;
use std::io;
use std::thread;

use tokio::runtime::Handle;
use tokio::sync::oneshot;

use crate::error::Trouble;
use crate::file_cache::blocking;

thread_local! {
    static IS_SLOTS: Cell<bool> = const { Cell::new(false) };
}

/// Says whether this thread belongs to a slot, so that blocking for a moment harms nobody.
pub(crate) fn is_current() -> bool {
    IS_SLOTS.get()
}

/// Runs work on a thread of its own and waits for its end, also when it panics.
///
/// The work is made on that thread, so that it need not be movable between threads.
pub(crate) async fn run<W: Future<Output = ()>>(
    slot: usize,
    make: impl FnOnce() -> W + Send + 'static,
) -> io::Result<()> {
    let runtime = Handle::current();
    let (done, ended) = oneshot::channel::<()>();
    thread::Builder::new().name(format!("slot-{slot}")).spawn(move || {
        IS_SLOTS.set(true);
        runtime.block_on(make());
        drop(done);
    })?;
    // Nothing is ever sent: the other half goes with the thread.
    let _ = ended.await;
    Ok(())
}

/// Does a short piece of blocking work: here if this is a slot's thread, else where that harms nobody.
pub(crate) async fn short<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, Trouble> {
    if is_current() { Ok(work()) } else { blocking(work).await }
}
