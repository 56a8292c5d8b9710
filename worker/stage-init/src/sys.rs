//! The few system calls that the standard library does not offer.
//!
//! They are declared by hand, so that this crate needs no dependency. Linux only: the constants and
//! layouts are the same on every architecture that the worker supports (x86-64, aarch64, riscv64).
//!
//! - [`wait_ready`] and [`set_nonblocking`]: waiting for several descriptors in one thread;
//! - [`kill_process`], [`kill_group`], [`peek_child`] and [`reap`]: the end of child processes;
//! - [`become_user`]: change of user between fork and exec;
//! - [`SignalPipe`]: signals as bytes to read.
//!
//! A wrong number in `kill` or `waitpid` has a meaning of its own (every process, the caller's own
//! group, any child). These functions return an error for such numbers.

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

/// Event: the descriptor has bytes to read.
pub const POLLIN: c_short = 0x1;
/// Event: the descriptor accepts bytes.
pub const POLLOUT: c_short = 0x4;

const F_GETFL: c_int = 3;
const F_SETFL: c_int = 4;
const O_NONBLOCK: c_int = 0o4000;
const PR_SET_CHILD_SUBREAPER: c_int = 36;
const P_ALL: c_uint = 0;
const WNOHANG: c_int = 1;
const WEXITED: c_int = 4;
const WNOWAIT: c_int = 0x0100_0000;
/// Error number of `waitid` when there are no children.
const ECHILD: i32 = 10;

/// A descriptor to wait for, in the layout of `struct pollfd`.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct PollFd {
    fd: c_int,
    events: c_short,
    revents: c_short,
}

impl PollFd {
    /// Makes an entry for `events` on `fd`. The kernel always reports errors and hang-ups too.
    pub fn new(fd: RawFd, events: c_short) -> Self {
        Self { fd, events, revents: 0 }
    }

    /// Returns whether the last wait reported any event.
    pub fn is_ready(&self) -> bool {
        self.revents != 0
    }

    /// Returns whether this entry is for the descriptor `fd`.
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

/// Waits until one of `fds` is ready or `timeout_ms` has passed (-1: no limit).
///
/// When a signal interrupts the wait, no descriptor is reported as ready.
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

/// Makes reads and writes of `fd` return [`io::ErrorKind::WouldBlock`] instead of blocking.
pub fn set_nonblocking(fd: RawFd) -> io::Result<()> {
    // SAFETY: these commands touch no memory; a bad descriptor is an error.
    let flags = check(unsafe { fcntl(fd, F_GETFL, 0) })?;
    // SAFETY: as above.
    check(unsafe { fcntl(fd, F_SETFL, c_long::from(flags | O_NONBLOCK)) }).map(drop)
}

/// Sends SIGKILL to one process.
///
/// Fails only when `pid` is 1 or less. The kernel's answer is ignored: a process that has ended
/// already is no error, and [`peek_child`] shows a process that survives.
pub fn kill_process(pid: i32) -> io::Result<()> {
    let target = process_target(pid)?;
    // SAFETY: touches no memory.
    unsafe { kill(target, SIGKILL) };
    Ok(())
}

/// Sends SIGKILL to every process of a process group.
///
/// Fails only when `group` is 1 or less. The kernel's answer is ignored, as in [`kill_process`].
pub fn kill_group(group: i32) -> io::Result<()> {
    let target = group_target(group)?;
    // SAFETY: touches no memory.
    unsafe { kill(target, SIGKILL) };
    Ok(())
}

/// Returns the argument of `kill` and `waitpid` that means the process `pid` and nothing else.
///
/// 0 means the caller's own group, -1 means every process, other negative numbers mean groups, and
/// process 1 is this program itself or the init process of the machine.
fn process_target(pid: i32) -> io::Result<c_int> {
    if pid > 1 {
        Ok(pid)
    } else {
        Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            format!("{pid} is not the process id or group id of a child"),
        ))
    }
}

/// Returns the argument of `kill` that means every process of `group` and nothing else.
fn group_target(group: i32) -> io::Result<c_int> {
    process_target(group).map(|group| -group)
}

/// Makes this process the parent of descendants whose own parent has died.
pub fn become_subreaper() -> io::Result<()> {
    // SAFETY: touches no memory.
    check(unsafe { prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) }).map(drop)
}

/// How a child process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WaitStatus {
    /// It exited with this code.
    Code(i32),
    /// This signal ended it.
    Signal(i32),
}

/// State of the child processes, as [`peek_child`] finds it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChildProcesses {
    /// There are no children.
    None,
    /// There are children, and all of them run.
    Running,
    /// The child with this process id has ended and must be reaped.
    Ended(i32),
}

/// Looks for a child that has ended, without reaping it.
///
/// The kernel does not reuse the process id of a child until it is reaped. Until then it is safe
/// to kill the process group with that number.
pub fn peek_child() -> io::Result<ChildProcesses> {
    // SAFETY: all-zero bytes are a valid value of this plain struct.
    let mut info: SignalInfo = unsafe { std::mem::zeroed() };
    // SAFETY: `info` has the size and alignment of siginfo_t and outlives the call.
    match check(unsafe { waitid(P_ALL, 0, &mut info, WEXITED | WNOHANG | WNOWAIT) }) {
        Ok(_) if info.pid == 0 => Ok(ChildProcesses::Running),
        Ok(_) => Ok(ChildProcesses::Ended(info.pid)),
        Err(e) if e.raw_os_error() == Some(ECHILD) => Ok(ChildProcesses::None),
        Err(e) => Err(e),
    }
}

/// Waits for the end of a child, frees its process id and returns how it ended.
pub fn reap(pid: i32) -> io::Result<WaitStatus> {
    let target = process_target(pid)?;
    let mut status: c_int = 0;
    // SAFETY: `status` outlives the call.
    check(unsafe { waitpid(target, &mut status, 0) })?;
    Ok(match status & 0x7f {
        0 => WaitStatus::Code((status >> 8) & 0xff),
        signal => WaitStatus::Signal(signal),
    })
}

/// Changes the user, the group and the supplementary groups of this process, irrevocably.
///
/// Called in the child between fork and exec. It makes system calls only.
pub fn become_user(uid: u32, gid: u32, groups: &[u32]) -> io::Result<()> {
    // SAFETY: pointer and length describe the slice, which lives through the call.
    check(unsafe { setgroups(groups.len(), groups.as_ptr()) })?;
    // SAFETY: touches no memory.
    check(unsafe { setgid(gid) })?;
    // SAFETY: touches no memory.
    check(unsafe { setuid(uid) }).map(drop)
}

/// Returns the effective user id of this process.
pub fn effective_uid() -> u32 {
    // SAFETY: touches no memory and cannot fail.
    unsafe { geteuid() }
}

/// Descriptor of the end of the signal pipe that the handler writes to.
static SIGNAL_PIPE: AtomicI32 = AtomicI32::new(-1);

/// Writes the number of a signal into the pipe.
///
/// A handler interrupts other code at any instruction, so it makes one system call and no more.
extern "C" fn on_signal(number: c_int) {
    let byte = number as u8;
    // SAFETY: `write` is allowed in a handler; the byte outlives the call. `errno` belongs to this
    // thread. It is restored, because the interrupted code may be about to read it.
    unsafe {
        let saved = *__errno_location();
        // A full pipe is no failure: its bytes already wake the reader, which then looks at all
        // children.
        write(SIGNAL_PIPE.load(Ordering::Relaxed), (&raw const byte).cast(), 1);
        *__errno_location() = saved;
    }
}

/// Delivers SIGCHLD, SIGTERM and SIGINT as bytes of a pipe, so that `poll` can wait for them.
///
/// A signal handler fills the pipe. A signalfd would need blocked signals, and they would stay
/// blocked in every command, because the standard library passes the signal mask on.
#[derive(Debug)]
pub struct SignalPipe {
    reader: PipeReader,
    /// Keeps the descriptor in [`SIGNAL_PIPE`] open.
    _writer: PipeWriter,
}

impl SignalPipe {
    /// Installs the signal handlers. Call it once in a process.
    pub fn install() -> io::Result<Self> {
        let (reader, writer) = io::pipe()?;
        set_nonblocking(reader.as_raw_fd())?;
        set_nonblocking(writer.as_raw_fd())?;
        SIGNAL_PIPE.store(writer.as_raw_fd(), Ordering::Relaxed);
        for number in [SIGCHLD, SIGTERM, SIGINT] {
            // SAFETY: the handler does only what a handler may do, see `on_signal`.
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

    /// Empties the pipe and returns whether it held SIGTERM or SIGINT.
    pub fn drain(&mut self) -> io::Result<bool> {
        let mut end = false;
        let mut buffer = [0_u8; 64];
        loop {
            match self.reader.read(&mut buffer) {
                Ok(n) => {
                    end |= buffer.iter().take(n).any(|b| c_int::from(*b) != SIGCHLD);
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

impl AsRawFd for SignalPipe {
    fn as_raw_fd(&self) -> RawFd {
        self.reader.as_raw_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::process::CommandExt;
    use std::process::{Child, Command, Stdio};

    fn child_in_its_own_group() -> Child {
        Command::new("cat")
            .stdin(Stdio::piped())
            .process_group(0)
            .spawn()
            .unwrap()
    }

    fn pid(child: &Child) -> i32 {
        i32::try_from(child.id()).unwrap()
    }

    /// Tests the numbers, not the calls: if a check were missing, the call would kill every process
    /// of this user.
    #[test]
    fn numbers_that_mean_more_than_one_child_are_refused() {
        for number in [1, 0, -1, -2, i32::MIN] {
            for target in [process_target(number), group_target(number)] {
                let error = target.unwrap_err();
                assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
                assert!(error.to_string().contains(&number.to_string()), "{error}");
            }
        }
        assert_eq!(process_target(2).unwrap(), 2);
        assert_eq!(group_target(2).unwrap(), -2);
        assert_eq!(group_target(i32::MAX).unwrap(), -i32::MAX);
        assert_eq!(reap(0).unwrap_err().kind(), io::ErrorKind::InvalidInput);
    }

    #[test]
    #[expect(
        clippy::zombie_processes,
        reason = "`reap`, which is tested here, waits for the child"
    )]
    fn a_process_and_a_group_are_killed_and_reaped() {
        for kill in [kill_process, kill_group] {
            let child = child_in_its_own_group();
            kill(pid(&child)).unwrap();
            // It has not been reaped, so the number still belongs to it.
            kill(pid(&child)).unwrap();
            assert_eq!(reap(pid(&child)).unwrap(), WaitStatus::Signal(SIGKILL));
        }
    }
}
