//! Threads of their own for slots.
//!
//! What a slot does for a trivial datum is a row of short steps that block: a few files laid out, a
//! message to `stage-init` and its answer, a few files read. Handed to a pool of threads one by one,
//! they cost more in waking threads than in work. On a thread of its own a slot simply does them,
//! and keeps nobody else waiting; what it awaits is driven by the worker's ordinary threads.
//!
//! A thread whose work has ended waits a while for more: making one for each datum of a short command would cost as much
//! as laying out its files.

use std::cell::Cell;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::{self, RecvTimeoutError, SendError, Sender};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread::{self, ThreadId};
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::sync::oneshot;

use crate::cache::file_cache::blocking;
use crate::error::Trouble;

/// How long a thread waits for more work.
const IDLE_LIMIT: Duration = Duration::from_secs(10);

type Work = Box<dyn FnOnce() + Send>;

/// Threads that wait for work, the last to become idle at the end.
static IDLE: Mutex<Vec<(ThreadId, Sender<Work>)>> = Mutex::new(Vec::new());

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
pub(crate) async fn run<W: Future<Output = ()>>(make: impl FnOnce() -> W + Send + 'static) -> io::Result<()> {
    let runtime = Handle::current();
    let (done, ended) = oneshot::channel::<()>();
    give(Box::new(move || {
        runtime.block_on(make());
        drop(done);
    }))?;
    // Nothing is ever sent: the other half goes with the work.
    let _ = ended.await;
    Ok(())
}

/// Gives work to a thread that waits for some, or to a new one.
fn give(mut work: Work) -> io::Result<()> {
    loop {
        let Some((_, thread)) = idle().pop() else { break };
        match thread.send(work) {
            Ok(()) => return Ok(()),
            Err(SendError(refused)) => work = refused,
        }
    }
    thread::Builder::new().name("slot".to_owned()).spawn(move || {
        IS_SLOTS.set(true);
        let (more, next) = mpsc::channel::<Work>();
        let own = thread::current().id();
        loop {
            // What is left of it is seen by whoever waits for it; the panic itself has been reported.
            let _ = catch_unwind(AssertUnwindSafe(work));
            idle().push((own, more.clone()));
            work = match next.recv_timeout(IDLE_LIMIT) {
                Ok(work) => work,
                Err(RecvTimeoutError::Disconnected) => return,
                Err(RecvTimeoutError::Timeout) => {
                    let mut idle = idle();
                    if let Some(at) = idle.iter().position(|(thread, _)| *thread == own) {
                        idle.remove(at);
                        return;
                    }
                    drop(idle);
                    // Somebody has just taken it off the list to give it work.
                    match next.recv() {
                        Ok(work) => work,
                        Err(_) => return,
                    }
                }
            };
        }
    })?;
    Ok(())
}

fn idle() -> MutexGuard<'static, Vec<(ThreadId, Sender<Work>)>> {
    IDLE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Does a short piece of blocking work: here if this is a slot's thread, else where that harms nobody.
pub(crate) async fn short<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, Trouble> {
    if is_current() { Ok(work()) } else { blocking(work).await }
}
