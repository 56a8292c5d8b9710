//! The few system calls that the standard library does not offer.
//!
//! Declared by hand so that this crate needs no dependency. Linux only; the layouts used here are
//! the same on every architecture that the worker supports (x86-64, aarch64, riscv64).

use std::ffi::{c_int, c_long, c_short, c_uint, c_ulong, c_void};
use std::io::{self, PipeReader, PipeWriter, Read};
use std::os::fd::{AsRawFd, RawFd};
use std::sync::atomic::{AtomicI32, Ordering};

/// Number of SIGINT.
pub const SIGINT: c_int = 2;
/// Number of SIGKILL.
pub const SIGKILL: c_int = 9;
/// Number of SIGTERM.
pub const SIGTERM: c_int = 15;
/// Number of SIGCHLD.
pub const SIGCHLD: c_int = 17;

/// "There is something to read."
pub const POLLIN: c_short = 0x1;
/// "There is room to write."
pub const POLLOUT: c_short = 0x4;

const F_GETFL: c_int = 3;
const F_SETFL: c_int = 4;
const O_NONBLOCK: c_int = 0o4000;
const PR_SET_CHILD_SUBREAPER: c_int = 36;
const P_ALL: c_uint = 0;
const WNOHANG: c_int = 1;
const WEXITED: c_int = 4;
const WNOWAIT: c_int = 0x0100_0000;

/// One descriptor to wait for.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct PollFd {
    fd: c_int,
    events: c_short,
    revents: c_short,
}

impl PollFd {
    /// Waits for `events` on `fd`; errors and hang-ups are always reported.
    pub fn new(fd: RawFd, events: c_short) -> Self {
        Self { fd, events, revents: 0 }
    }

    /// Says whether anything at all was reported.
    pub fn is_ready(&self) -> bool {
        self.revents != 0
    }

    /// Says whether the descriptor is what was asked for, by number.
    pub fn is_for(&self, fd: RawFd) -> bool {
        self.fd == fd
    }
}

/// The part of `siginfo_t` that `waitid` fills in, padded to its full size.
#[repr(C, align(8))]
struct SignalInfo {
    number: c_int,
    errno: c_int,
    code: c_int,
    _pad: c_int,
    pid: c_int,
    uid: c_uint,
    status: c_int,
    _rest: [u8; 100],
}

unsafe extern "C" {
    fn poll(fds: *mut PollFd, count: c_ulong, timeout_ms: c_int) -> c_int;
    fn fcntl(fd: c_int, command: c_int, argument: c_long) -> c_int;
    fn kill(pid: c_int, signal: c_int) -> c_int;
    fn waitpid(pid: c_int, status: *mut c_int, options: c_int) -> c_int;
    fn waitid(kind: c_uint, id: c_uint, info: *mut SignalInfo, options: c_int) -> c_int;
    fn signal(number: c_int, handler: extern "C" fn(c_int)) -> usize;
    fn prctl(option: c_int, a: c_ulong, b: c_ulong, c: c_ulong, d: c_ulong) -> c_int;
    fn setgroups(count: usize, groups: *const u32) -> c_int;
    fn setgid(gid: u32) -> c_int;
    fn setuid(uid: u32) -> c_int;
    fn geteuid() -> u32;
    fn write(fd: c_int, bytes: *const c_void, count: usize) -> isize;
    fn __errno_location() -> *mut c_int;
}

fn check(result: c_int) -> io::Result<c_int> {
    if result < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(result)
    }
}

/// Waits until one of `fds` is ready or `timeout_ms` has passed (-1: for ever).
///
/// An interrupted wait counts as one in which nothing was ready.
pub fn wait_ready(fds: &mut [PollFd], timeout_ms: c_int) -> io::Result<()> {
    // SAFETY: pointer and length describe the slice, which lives through the call.
    match check(unsafe { poll(fds.as_mut_ptr(), fds.len() as c_ulong, timeout_ms) }) {
        Err(e) if e.kind() == io::ErrorKind::Interrupted => {
            fds.iter_mut().for_each(|fd| fd.revents = 0);
            Ok(())
        }
        other => other.map(drop),
    }
}

/// Makes reads and writes of `fd` return at once.
pub fn set_nonblocking(fd: RawFd) -> io::Result<()> {
    // SAFETY: these commands touch no memory; a bad descriptor is an error.
    let flags = check(unsafe { fcntl(fd, F_GETFL, 0) })?;
    // SAFETY: as above.
    check(unsafe { fcntl(fd, F_SETFL, c_long::from(flags | O_NONBLOCK)) }).map(drop)
}

/// Sends SIGKILL to one process. One that has gone already is fine.
pub fn kill_process(pid: i32) {
    debug_assert!(pid > 1);
    // SAFETY: touches no memory.
    unsafe { kill(pid, SIGKILL) };
}

/// Sends SIGKILL to every process of a group. One that has gone already is fine.
pub fn kill_group(group: i32) {
    debug_assert!(group > 1);
    // SAFETY: touches no memory.
    unsafe { kill(-group, SIGKILL) };
}

/// Makes this process the parent of descendants whose own parent has died.
pub fn become_subreaper() -> io::Result<()> {
    // SAFETY: touches no memory.
    check(unsafe { prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) }).map(drop)
}

/// A child that has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// With an exit code.
    Code(i32),
    /// By a signal.
    Signal(i32),
}

/// Where the children stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Children {
    /// There are none.
    None,
    /// There are some, and all of them run.
    Running,
    /// This one has ended and waits to be reaped.
    Ended(i32),
}

/// Looks for a child that has ended, without reaping it.
///
/// While it is not reaped its number cannot be given to another process, so that its group may
/// still be killed safely.
pub fn peek_child() -> io::Result<Children> {
    // SAFETY: all-zero bytes are a valid value of this plain struct.
    let mut info: SignalInfo = unsafe { std::mem::zeroed() };
    // SAFETY: `info` has the size and alignment of siginfo_t and outlives the call.
    match check(unsafe { waitid(P_ALL, 0, &mut info, WEXITED | WNOHANG | WNOWAIT) }) {
        Ok(_) if info.pid == 0 => Ok(Children::Running),
        Ok(_) => Ok(Children::Ended(info.pid)),
        Err(e) if e.raw_os_error() == Some(10) => Ok(Children::None),
        Err(e) => Err(e),
    }
}

/// Reaps a child that has ended.
pub fn reap(pid: i32) -> io::Result<Ended> {
    let mut status: c_int = 0;
    // SAFETY: `status` outlives the call.
    check(unsafe { waitpid(pid, &mut status, 0) })?;
    Ok(match status & 0x7f {
        0 => Ended::Code((status >> 8) & 0xff),
        signal => Ended::Signal(signal),
    })
}

/// Becomes another user for good. Meant for the moment between fork and exec.
pub fn become_user(uid: u32, gid: u32, groups: &[u32]) -> io::Result<()> {
    // SAFETY: pointer and length describe the slice, which lives through the call.
    check(unsafe { setgroups(groups.len(), groups.as_ptr()) })?;
    // SAFETY: touches no memory.
    check(unsafe { setgid(gid) })?;
    // SAFETY: touches no memory.
    check(unsafe { setuid(uid) }).map(drop)
}

/// Returns the effective user of this process.
pub fn effective_uid() -> u32 {
    // SAFETY: touches no memory and cannot fail.
    unsafe { geteuid() }
}

/// The end of the signal pipe that the handler writes to.
static SIGNAL_PIPE: AtomicI32 = AtomicI32::new(-1);

/// Puts the number of a signal into the pipe. Runs at any moment: only a system call here.
extern "C" fn on_signal(number: c_int) {
    let byte = number as u8;
    // SAFETY: `write` may be called from a handler; the byte outlives the call. `errno` belongs to
    // this thread and is put back, for the code that was interrupted may be about to read it.
    unsafe {
        let saved = *__errno_location();
        // A full pipe is fine: what is in it wakes the reader just as well.
        write(SIGNAL_PIPE.load(Ordering::Relaxed), (&raw const byte).cast(), 1);
        *__errno_location() = saved;
    }
}

/// Receives the signals that matter here as something to read.
///
/// A pipe filled by a handler rather than a signalfd: that needs the signals blocked, and a blocked
/// signal would stay blocked in every command started (the standard library hands the mask on).
#[derive(Debug)]
pub struct Signals {
    reader: PipeReader,
    /// Kept open for the handler.
    _writer: PipeWriter,
}

impl Signals {
    /// Collects SIGCHLD, SIGTERM and SIGINT from now on. To be called once.
    pub fn collect() -> io::Result<Self> {
        let (reader, writer) = io::pipe()?;
        set_nonblocking(reader.as_raw_fd())?;
        set_nonblocking(writer.as_raw_fd())?;
        SIGNAL_PIPE.store(writer.as_raw_fd(), Ordering::Relaxed);
        for number in [SIGCHLD, SIGTERM, SIGINT] {
            // SAFETY: the handler does only what handlers may, see there.
            let old = unsafe { signal(number, on_signal) };
            if old == usize::MAX {
                return Err(io::Error::last_os_error());
            }
        }
        Ok(Self {
            reader,
            _writer: writer,
        })
    }

    /// Takes everything that has come; says whether a signal to end was among it.
    pub fn take(&mut self) -> io::Result<bool> {
        let mut end = false;
        let mut buffer = [0_u8; 64];
        loop {
            match self.reader.read(&mut buffer) {
                Ok(n) => {
                    end |= buffer[..n].iter().any(|b| c_int::from(*b) != SIGCHLD);
                    if n < buffer.len() {
                        return Ok(end);
                    }
                }
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => return Ok(end),
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(e),
            }
        }
    }
}

impl AsRawFd for Signals {
    fn as_raw_fd(&self) -> RawFd {
        self.reader.as_raw_fd()
    }
}
