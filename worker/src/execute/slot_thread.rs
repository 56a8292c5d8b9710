//! The threads on which slots run.
//!
//! A trivial datum is a sequence of short blocking steps: a few files are laid out, a message is sent to `stage-init`
//! and its answer is received, a few files are read. Moving each step to Tokio's blocking pool costs more for waking
//! threads than the step itself. On a thread of its own a slot blocks in place and delays no other task; timers and
//! sockets that it awaits are driven by Tokio's threads.
//!
//! A thread whose work has ended waits [`IDLE_LIMIT`] for more, because starting a thread per datum of a short command
//! would cost as much as laying out its files. A panic ends the work, not the thread.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::{self, RecvTimeoutError, SendError, Sender};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread::{self, ThreadId};
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::sync::oneshot;

use crate::thread_role::mark_slot_thread;

/// How long an idle thread waits for more work.
const IDLE_LIMIT: Duration = Duration::from_secs(10);

type ThreadWork = Box<dyn FnOnce() + Send>;

/// Threads that wait for work. The last one is reused first, so that surplus threads stay idle and end.
static IDLE: Mutex<Vec<(ThreadId, Sender<ThreadWork>)>> = Mutex::new(Vec::new());

/// Runs work on a thread of its own and waits until it ends, also by a panic.
///
/// The work is made on that thread and need not be `Send`.
///
/// # Errors
/// If no thread can be started; the work is dropped then.
pub(crate) async fn run<W: Future<Output = ()>>(make: impl FnOnce() -> W + Send + 'static) -> io::Result<()> {
    let runtime = Handle::current();
    let (done, ended) = oneshot::channel::<()>();
    hand_over(Box::new(move || {
        runtime.block_on(make());
        drop(done);
    }))?;
    // Nothing is sent: the channel closes when the work ends, or when its closure is dropped by a panic.
    let _ = ended.await;
    Ok(())
}

/// Hands work to an idle thread, or to a new one.
fn hand_over(mut work: ThreadWork) -> io::Result<()> {
    loop {
        let Some((_, thread)) = idle().pop() else { break };
        match thread.send(work) {
            Ok(()) => return Ok(()),
            // Not expected: a thread removes itself from the list before it ends.
            Err(SendError(refused)) => work = refused,
        }
    }
    thread::Builder::new().name("slot".to_owned()).spawn(move || {
        mark_slot_thread();
        let (more, next) = mpsc::channel::<ThreadWork>();
        let own = thread::current().id();
        loop {
            // The panic hook has reported the panic, and `run` returns because the work's channel is closed.
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
                    // Not on the list: `hand_over` has taken this thread and is about to send. Ending now would lose
                    // the work.
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

fn idle() -> MutexGuard<'static, Vec<(ThreadId, Sender<ThreadWork>)>> {
    IDLE.lock().unwrap_or_else(PoisonError::into_inner)
}
