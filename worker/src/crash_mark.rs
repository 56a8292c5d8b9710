//! Marks which datum set ended the process.
//!
//! A stack overflow, an allocation that fails, or a panic during a panic ends the process with SIGABRT (or SIGILL), on
//! the thread that did it. A handler of these signals writes the number of that thread's work into a file, which the
//! next start reads (`intake::delivery_journal`). A process that is killed from outside writes nothing: SIGKILL cannot
//! be handled, and another thread than that of a set handles what is sent to the whole process.
//!
//! [`CrashFile`] is the file of one worker, [`CrashMark`] the number of a piece of work, [`MarkedThread`] connects it
//! with the current thread. Errors cost the mark and nothing else.

use std::cell::Cell;
use std::fs::File;
use std::io;
use std::marker::PhantomData;
use std::os::fd::{AsRawFd, RawFd};
use std::path::Path;
use std::sync::{Arc, Once};

use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, Signal, sigaction};

/// Signals by which a process ends itself.
const OWN_FAULTS: [Signal; 4] = [Signal::SIGABRT, Signal::SIGILL, Signal::SIGFPE, Signal::SIGTRAP];

thread_local! {
    /// What this thread works on: descriptor of the file and number. It has no destructor and is made without an
    /// allocation, so that a signal handler may read it.
    static CURRENT: Cell<(RawFd, u64)> = const { Cell::new((-1, 0)) };
}

/// The file that the marks are written to.
#[derive(Clone)]
pub(crate) struct CrashFile(Arc<File>);

impl CrashFile {
    /// Makes the file, empties it, and installs the handler for the whole process.
    pub(crate) fn create(path: &Path) -> io::Result<Self> {
        static INSTALLED: Once = Once::new();
        let file = File::create(path)?;
        INSTALLED.call_once(install);
        Ok(Self(Arc::new(file)))
    }

    /// Returns the mark of a piece of work.
    pub(crate) fn mark(&self, number: u64) -> CrashMark {
        CrashMark {
            file: self.clone(),
            number,
        }
    }
}

/// Reads the numbers that a file holds.
pub(crate) fn read_marks(path: &Path) -> io::Result<Vec<u64>> {
    let bytes = std::fs::read(path)?;
    let numbers = bytes.chunks_exact(size_of::<u64>());
    Ok(numbers
        .filter_map(|number| Some(u64::from_le_bytes(number.try_into().ok()?)))
        .collect())
}

/// The number of a piece of work that several threads may do.
#[derive(Clone)]
pub(crate) struct CrashMark {
    file: CrashFile,
    number: u64,
}

impl CrashMark {
    /// Notes that this thread does the work, until the returned value is dropped.
    pub(crate) fn on_this_thread(&self) -> MarkedThread {
        let before = CURRENT.replace((self.file.0.as_raw_fd(), self.number));
        MarkedThread {
            before,
            _file: self.file.clone(),
            _not_send: PhantomData,
        }
    }
}

/// A thread that does a piece of work.
pub(crate) struct MarkedThread {
    before: (RawFd, u64),
    /// Open as long as the handler may write to it.
    _file: CrashFile,
    /// The mark belongs to the thread that made it.
    _not_send: PhantomData<*const ()>,
}

impl Drop for MarkedThread {
    fn drop(&mut self) {
        CURRENT.set(self.before);
    }
}

fn install() {
    // On the stack for signals: the thread's own may be full. With the default action again from the first signal on,
    // which ends the process.
    let flags = SaFlags::SA_ONSTACK | SaFlags::SA_RESETHAND;
    let action = SigAction::new(SigHandler::Handler(write_mark), flags, SigSet::empty());
    for signal in OWN_FAULTS {
        // SAFETY: the handler does only what a handler may do, see there.
        if let Err(error) = unsafe { sigaction(signal, &action) } {
            tracing::debug!(%signal, %error, "ends of the process by this signal are not marked");
        }
    }
}

/// Writes the number of this thread's work, and ends the process.
extern "C" fn write_mark(signal: libc::c_int) {
    let (file, number) = CURRENT.get();
    let bytes = number.to_le_bytes();
    // SAFETY: `write` and `raise` are allowed in a handler, and the bytes outlive the call. The signal is blocked until
    // the handler returns and has its default action by then.
    unsafe {
        if file >= 0 {
            libc::write(file, bytes.as_ptr().cast(), bytes.len());
        }
        libc::raise(signal);
    }
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    /// Name of the variable that makes [`ends_the_process`] do so.
    const VARIABLE: &str = "CRASH_MARK_TEST_FILE";

    /// Not a test of its own: the child process of the test below.
    #[test]
    fn ends_the_process() {
        let Some(path) = std::env::var_os(VARIABLE) else { return };
        let file = CrashFile::create(Path::new(&path)).unwrap();
        let other = file.mark(6).on_this_thread();
        let ended = std::thread::spawn(move || {
            let _outer = file.mark(5).on_this_thread();
            drop(file.mark(8).on_this_thread());
            let _inner = file.mark(7).on_this_thread();
            overflow(&[0; 100]);
        });
        let _ = ended.join();
        drop(other);
    }

    #[expect(unconditional_recursion, reason = "it overflows the stack")]
    fn overflow(bytes: &[u8; 100]) -> u8 {
        let mut own = *bytes;
        own[1] = own[0].wrapping_add(1);
        overflow(std::hint::black_box(&own)).wrapping_add(own[1])
    }

    #[test]
    fn the_work_of_the_thread_that_overflows_its_stack_is_marked() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("crashed");
        let status = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "crash_mark::tests::ends_the_process", "--nocapture"])
            .env(VARIABLE, &path)
            .output()
            .unwrap()
            .status;
        assert!(!status.success(), "{status}");
        assert_eq!(read_marks(&path).unwrap(), [7]);
    }
}
