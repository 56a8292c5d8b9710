//! One command: its start, its pipes, its end, and the end of all processes that it left behind.
//!
//! - [`start`] looks up the user, hands the work directories over and spawns the command;
//! - [`RunningCommand`] moves bytes between pipes and frames, kills, and finishes the run;
//! - [`sweep`] kills and reaps all remaining descendants.
//!
//! A command that cannot start is no error of this module: the reason is a text for the user. An
//! [`io::Error`] means that processes cannot be killed or reaped, or that the work directories
//! cannot be handed back. Then the container is unusable and the program ends.

use std::fs;
use std::io::{self, Read, Write};
use std::os::fd::{AsRawFd, RawFd};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{ChildStderr, ChildStdin, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use crate::frame::{self, CommandEnd, RunCommand};
use crate::sys::{self, ChildProcesses, POLLIN, POLLOUT, PollFd, WaitStatus};
use crate::users::{self, CommandUser};
use crate::{explain, owner};

/// Most bytes read from a pipe at once: the default capacity of a pipe.
const READ_SIZE: usize = 64 * 1024;

/// Time limit for killed processes to end. A process that takes longer hangs in the kernel.
const SWEEP_LIMIT: Duration = Duration::from_secs(10);

/// A command that has started and has not been reaped.
#[derive(Debug)]
pub struct RunningCommand {
    /// Process id of the command, and id of its process group.
    pid: i32,
    stdin: Option<PendingInput>,
    stdout: Option<ChildStdout>,
    stderr: Option<ChildStderr>,
    deadline: Option<Instant>,
    /// The first reason for which this program killed the command.
    killed: Option<CommandEnd>,
    work_dirs: Vec<PathBuf>,
    give_back: Option<(u32, u32)>,
}

/// Bytes of the standard input that the pipe has not taken yet.
#[derive(Debug)]
struct PendingInput {
    pipe: ChildStdin,
    bytes: Vec<u8>,
    written: usize,
}

/// Starts a command. The error is a text for the user.
pub fn start(run: RunCommand) -> Result<RunningCommand, String> {
    let work_dirs: Vec<PathBuf> = run.work_dirs.iter().map(PathBuf::from).collect();
    let mut user = None;
    if !run.user.is_empty() {
        let found = users::lookup(Path::new("/"), &run.user)?;
        // Before the spawn: the command may write into its directories at once.
        if found.uid != sys::effective_uid() {
            for dir in &work_dirs {
                owner::give(dir, found.uid, found.gid)
                    .map_err(|e| format!("cannot give {} to user {}: {e}", dir.display(), run.user))?;
            }
        }
        user = Some(found);
    }
    let command = spawn(run, user, work_dirs);
    // Leave the command's directory: as the current directory of this process it could not be
    // unmounted.
    let _ = std::env::set_current_dir("/");
    command
}

fn spawn(run: RunCommand, user: Option<CommandUser>, work_dirs: Vec<PathBuf>) -> Result<RunningCommand, String> {
    let cwd = if run.cwd.is_empty() { "/" } else { &run.cwd };
    // Set for this process and not with `Command::current_dir`, because then the standard library
    // forks instead of using the faster posix_spawn.
    std::env::set_current_dir(cwd).map_err(|e| match e.kind() {
        io::ErrorKind::NotFound => format!("working directory {cwd}: not found in the image"),
        io::ErrorKind::NotADirectory => format!("working directory {cwd}: is not a directory"),
        _ => format!("working directory {cwd}: {e}"),
    })?;
    let (name, arguments) = run.argv.split_first().ok_or("there is no command to run")?;
    let value = |wanted: &str| {
        let found = run.env.iter().rev().find(|(name, _)| name == wanted);
        found.map(|(_, value)| value.as_str())
    };
    let program = explain::find_program(name, value("PATH"))?;

    let mut command = Command::new(&program);
    command
        .arg0(name)
        .args(arguments)
        .env_clear()
        .envs(run.env.iter().map(|(name, value)| (name, value)))
        // A group of its own, whose id is the command's process id. `kill` and `finish` rely on it.
        .process_group(0)
        .stdin(match run.stdin {
            Some(_) => Stdio::piped(),
            None => Stdio::null(),
        })
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    if value("HOME").is_none() {
        // Without a user in the request the command runs as this process, and the container
        // engine has set HOME for that user.
        let home = match &user {
            Some(user) => user.home.clone(),
            None => std::env::var("HOME").unwrap_or_else(|_| "/".to_owned()),
        };
        command.env("HOME", home);
    }
    if let Some(user) = user.filter(needs_change) {
        // SAFETY: the closure makes three system calls on data prepared beforehand; it neither
        // allocates nor takes locks, so it is allowed between fork and exec.
        unsafe {
            command.pre_exec(move || sys::become_user(user.uid, user.gid, &user.groups));
        }
    }
    let mut child = command
        .spawn()
        .map_err(|e| explain::spawn_error(&program, &run.user, &e))?;

    let pid = i32::try_from(child.id()).map_err(|e| format!("the command's process id {}: {e}", child.id()))?;
    let stdin = child.stdin.take().zip(run.stdin).map(|(pipe, bytes)| PendingInput {
        pipe,
        bytes,
        written: 0,
    });
    let timeout = Some(run.timeout_ms).filter(|ms| *ms > 0);
    let mut command = RunningCommand {
        pid,
        stdin,
        stdout: child.stdout.take(),
        stderr: child.stderr.take(),
        deadline: timeout.and_then(|ms| Instant::now().checked_add(Duration::from_millis(ms))),
        killed: None,
        work_dirs,
        give_back: run.give_back,
    };
    for fd in command.descriptors() {
        if let Err(e) = sys::set_nonblocking(fd) {
            // The command is reported as never started, so it must not run on. The server reaps
            // it as an unknown child.
            let killed = sys::kill_group(command.pid);
            return Err(match killed {
                Ok(()) => format!("cannot set up the command's pipes: {e}"),
                Err(kill) => format!("cannot set up the command's pipes: {e}; cannot kill it: {kill}"),
            });
        }
    }
    // A small input fits into the pipe now and saves one turn of the poll loop.
    command.write_input();
    Ok(command)
}

/// Returns whether the command needs a change of user: not for root in a program that runs as root.
fn needs_change(user: &CommandUser) -> bool {
    (user.uid, user.gid) != (0, 0) || sys::effective_uid() != 0
}

impl RunningCommand {
    fn descriptors(&self) -> Vec<RawFd> {
        [
            self.stdin.as_ref().map(|s| s.pipe.as_raw_fd()),
            self.stdout.as_ref().map(|s| s.as_raw_fd()),
            self.stderr.as_ref().map(|s| s.as_raw_fd()),
        ]
        .into_iter()
        .flatten()
        .collect()
    }

    /// Returns the process id of the command.
    pub fn pid(&self) -> i32 {
        self.pid
    }

    /// Adds the descriptors to wait for. The output pipes are among them only when there is `room`.
    pub fn watch(&self, fds: &mut Vec<PollFd>, room: bool) {
        if let Some(input) = &self.stdin {
            fds.push(PollFd::new(input.pipe.as_raw_fd(), POLLOUT));
        }
        if room {
            if let Some(pipe) = &self.stdout {
                fds.push(PollFd::new(pipe.as_raw_fd(), POLLIN));
            }
            if let Some(pipe) = &self.stderr {
                fds.push(PollFd::new(pipe.as_raw_fd(), POLLIN));
            }
        }
    }

    /// Returns the milliseconds until the time limit, as `poll` takes them (-1: no limit).
    pub fn wait_limit(&self) -> i32 {
        match self.deadline {
            None => -1,
            Some(deadline) => {
                let left = deadline.saturating_duration_since(Instant::now());
                // Rounded up: rounded down to 0, the loop would spin through the last millisecond.
                i32::try_from(left.as_micros().div_ceil(1000)).unwrap_or(i32::MAX)
            }
        }
    }

    /// Kills the command when its time limit has passed.
    pub fn enforce_deadline(&mut self) -> io::Result<()> {
        if self.deadline.is_some_and(|d| d <= Instant::now()) {
            self.kill(CommandEnd::TimedOut)?;
        }
        Ok(())
    }

    /// Kills the command and its process group; [`Self::finish`] then reports `why`.
    ///
    /// The first reason wins. Errors mean that the process id is not one of a child.
    pub fn kill(&mut self, why: CommandEnd) -> io::Result<()> {
        // Otherwise a deadline in the past makes `wait_limit` return 0, and the loop spins until
        // the command is reaped.
        self.deadline = None;
        if self.killed.is_none() {
            self.killed = Some(why);
        }
        // The command has not been reaped (`finish` consumes it), so no other process and no other
        // group has its number.
        sys::kill_group(self.pid)?;
        // The command may have moved itself into another group.
        sys::kill_process(self.pid)
    }

    /// Moves bytes for every descriptor that `ready` reports: input into the pipe, output as frames
    /// into `out`.
    pub fn pump(&mut self, ready: &[PollFd], out: &mut Vec<u8>) {
        let is_ready = |fd: RawFd| ready.iter().any(|p| p.is_for(fd) && p.is_ready());
        if self
            .stdin
            .as_ref()
            .is_some_and(|input| is_ready(input.pipe.as_raw_fd()))
        {
            self.write_input();
        }
        if self.stdout.as_ref().is_some_and(|p| is_ready(p.as_raw_fd())) {
            read_some(&mut self.stdout, frame::STDOUT, out);
        }
        if self.stderr.as_ref().is_some_and(|p| is_ready(p.as_raw_fd())) {
            read_some(&mut self.stderr, frame::STDERR, out);
        }
    }

    /// Writes as much input as the pipe takes. An error ends the input, because a command need not
    /// read it.
    fn write_input(&mut self) {
        let Some(input) = &mut self.stdin else { return };
        while let Some(rest) = input.bytes.get(input.written..).filter(|rest| !rest.is_empty()) {
            match input.pipe.write(rest) {
                Ok(n) if n > 0 => input.written += n,
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => return,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                _ => break,
            }
        }
        // Dropping the pipe is the end of file for the command.
        self.stdin = None;
    }

    /// Finishes the run of a command that has ended and has not been reaped.
    ///
    /// Kills the remaining processes, appends the remaining output to `out`, hands the work
    /// directories back, and returns how the command ended. After an error the container is
    /// unusable.
    pub fn finish(mut self, out: &mut Vec<u8>) -> io::Result<CommandEnd> {
        self.stdin = None;
        // Before the reap: as long as the command is a zombie, its number cannot become the id of
        // another group. After the reap this could kill a group that a remaining process made.
        sys::kill_group(self.pid)?;
        // Before the sweep, which reaps every child and drops its status.
        let status = sys::reap(self.pid)?;
        // Before the pipes: a process that left the group may still hold them open and write.
        sweep()?;
        // No process is left that writes. The pipes hold the last output, and reading them ends.
        while read_some(&mut self.stdout, frame::STDOUT, out) {}
        while read_some(&mut self.stderr, frame::STDERR, out) {}
        // After the sweep: a process that still runs could add a file of the wrong owner.
        if let Some((uid, gid)) = self.give_back {
            for dir in &self.work_dirs {
                owner::give(dir, uid, gid)?;
            }
        }
        Ok(match (self.killed, status) {
            // The worker asked for the kill. It gets this answer also when the command ended by
            // itself before the signal reached it.
            (Some(CommandEnd::Killed), _) => CommandEnd::Killed,
            (Some(why), WaitStatus::Signal(sys::SIGKILL)) => why,
            // It ended by itself, possibly just before the time limit.
            (_, WaitStatus::Code(code)) => CommandEnd::Code(code),
            (_, WaitStatus::Signal(signal)) => CommandEnd::Signal(signal),
        })
    }
}

/// Reads once from a pipe and appends a frame of these bytes. Returns whether there were bytes.
///
/// Closes the pipe at its end and after an error.
fn read_some<P: Read>(pipe: &mut Option<P>, kind: u8, out: &mut Vec<u8>) -> bool {
    let Some(open) = pipe else { return false };
    let before = out.len();
    let result = frame::append_filled(out, kind, |out| {
        let at = out.len();
        out.resize(at + READ_SIZE, 0);
        let result = open.read(out.get_mut(at..).unwrap_or_default());
        out.truncate(at + result.as_ref().copied().unwrap_or(0));
        match result {
            Ok(0) => Err(io::ErrorKind::UnexpectedEof.into()),
            other => other.map(drop),
        }
    });
    if let Err(e) = result
        && !matches!(e.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted)
    {
        *pipe = None;
    }
    out.len() > before
}

/// Kills and reaps all descendants of this process.
///
/// This process is process 1 or a subreaper: a process whose parent dies becomes its child. So
/// killing the children again and again reaches processes that left the group, at any depth.
pub fn sweep() -> io::Result<()> {
    let started = Instant::now();
    loop {
        match sys::peek_child()? {
            ChildProcesses::None => return Ok(()),
            ChildProcesses::Ended(pid) => {
                sys::reap(pid)?;
            }
            ChildProcesses::Running => {
                // No other code reaps children, so these process ids are still theirs.
                for pid in own_children() {
                    sys::kill_process(pid)?;
                }
                if started.elapsed() > SWEEP_LIMIT {
                    return Err(io::Error::other("killed processes do not go away"));
                }
                // A killed process needs a moment to end. Its SIGCHLD may be in the signal pipe
                // already from another child, so waiting for the pipe could wait for ever.
                sys::wait_ready(&mut [], 1)?;
            }
        }
    }
}

/// Returns the process ids of the direct children.
fn own_children() -> Vec<i32> {
    let pid = std::process::id();
    if let Ok(list) = fs::read_to_string(format!("/proc/self/task/{pid}/children")) {
        return list.split_ascii_whitespace().filter_map(|n| n.parse().ok()).collect();
    }
    // A kernel without that file: look at the parent of every process.
    let Ok(all) = fs::read_dir("/proc") else {
        return Vec::new();
    };
    all.flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok())
        .filter(|child| parent_of(*child) == Some(pid))
        .collect()
}

fn parent_of(pid: i32) -> Option<u32> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The second field is the program's name in parentheses. It may contain parentheses itself.
    let (_, rest) = stat.rsplit_once(')')?;
    rest.split_ascii_whitespace().nth(1)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parents_are_read_from_proc() {
        let own = std::process::id();
        assert!(parent_of(own as i32).is_some_and(|p| p > 0));
        assert_eq!(parent_of(i32::MAX), None);
    }
}
