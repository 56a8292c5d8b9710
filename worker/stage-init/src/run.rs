//! One command: start it, move its bytes, end it and everything that it left behind.

use std::fs;
use std::io::{self, Read, Write};
use std::os::fd::{AsRawFd, RawFd};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{ChildStderr, ChildStdin, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use crate::frame::{self, Exit, Run};
use crate::sys::{self, Children, Ended, POLLIN, POLLOUT, PollFd};
use crate::users::{self, Identity};
use crate::{explain, owner};

/// Most bytes taken from a pipe at once; what a pipe holds by default.
const READ_SIZE: usize = 64 * 1024;

/// How long killed processes may take to vanish. More means that they hang in the kernel.
const SWEEP_LIMIT: Duration = Duration::from_secs(10);

/// A command that runs.
#[derive(Debug)]
pub struct Active {
    pid: i32,
    stdin: Option<Feed>,
    stdout: Option<ChildStdout>,
    stderr: Option<ChildStderr>,
    deadline: Option<Instant>,
    killed: Option<Exit>,
    work_dirs: Vec<PathBuf>,
    give_back: Option<(u32, u32)>,
}

/// Bytes still to be written to standard input.
#[derive(Debug)]
struct Feed {
    pipe: ChildStdin,
    bytes: Vec<u8>,
    written: usize,
}

/// Starts a command. The error is a text for the user.
pub fn start(run: Run) -> Result<Active, String> {
    let work_dirs: Vec<PathBuf> = run.work_dirs.iter().map(PathBuf::from).collect();
    let mut identity = None;
    if !run.user.is_empty() {
        let found = users::lookup(Path::new("/"), &run.user)?;
        if found.uid != sys::effective_uid() {
            for dir in &work_dirs {
                owner::give(dir, found.uid, found.gid)
                    .map_err(|e| format!("cannot give {} to user {}: {e}", dir.display(), run.user))?;
            }
        }
        identity = Some(found);
    }
    let active = spawn(run, identity, work_dirs);
    // Back out of the command's directory, so that it may be removed or unmounted.
    let _ = std::env::set_current_dir("/");
    active
}

fn spawn(run: Run, identity: Option<Identity>, work_dirs: Vec<PathBuf>) -> Result<Active, String> {
    let cwd = if run.cwd.is_empty() { "/" } else { &run.cwd };
    // Changed here and not by `Command`, which would have to fork instead of using posix_spawn.
    std::env::set_current_dir(cwd).map_err(|e| match e.kind() {
        io::ErrorKind::NotFound => format!("working directory {cwd}: not found in the image"),
        io::ErrorKind::NotADirectory => format!("working directory {cwd}: is not a directory"),
        _ => format!("working directory {cwd}: {e}"),
    })?;
    let name = run.argv.first().ok_or("there is no command to run")?;
    let value = |wanted: &str| {
        let found = run.env.iter().rev().find(|(name, _)| name == wanted);
        found.map(|(_, value)| value.as_str())
    };
    let program = explain::find_program(name, value("PATH"))?;

    let mut command = Command::new(&program);
    command
        .arg0(name)
        .args(&run.argv[1..])
        .env_clear()
        .envs(run.env.iter().map(|(name, value)| (name, value)))
        .process_group(0)
        .stdin(match run.stdin {
            Some(_) => Stdio::piped(),
            None => Stdio::null(),
        })
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    if value("HOME").is_none() {
        // Without a user of its own the command has ours, and the engine has set our HOME.
        let home = match &identity {
            Some(identity) => identity.home.clone(),
            None => std::env::var("HOME").unwrap_or_else(|_| "/".to_owned()),
        };
        command.env("HOME", home);
    }
    if let Some(identity) = identity.filter(needs_change) {
        // SAFETY: the closure makes three system calls on data prepared beforehand; it neither
        // allocates nor takes locks, so it is fine between fork and exec.
        unsafe {
            command.pre_exec(move || sys::become_user(identity.uid, identity.gid, &identity.groups));
        }
    }
    let mut child = command
        .spawn()
        .map_err(|e| explain::spawn_error(&program, &run.user, &e))?;

    let stdin = child.stdin.take().zip(run.stdin).map(|(pipe, bytes)| Feed {
        pipe,
        bytes,
        written: 0,
    });
    let timeout = Some(run.timeout_ms).filter(|ms| *ms > 0);
    let mut active = Active {
        pid: child.id() as i32,
        stdin,
        stdout: child.stdout.take(),
        stderr: child.stderr.take(),
        deadline: timeout.and_then(|ms| Instant::now().checked_add(Duration::from_millis(ms))),
        killed: None,
        work_dirs,
        give_back: run.give_back,
    };
    for fd in active.descriptors() {
        if let Err(e) = sys::set_nonblocking(fd) {
            sys::kill_group(active.pid);
            return Err(format!("cannot set up the command's pipes: {e}"));
        }
    }
    // Small input goes out now and spares the loop a turn.
    active.feed();
    Ok(active)
}

/// Says whether becoming this user changes anything. Root with root's groups is what we are.
fn needs_change(identity: &Identity) -> bool {
    (identity.uid, identity.gid) != (0, 0) || sys::effective_uid() != 0
}

impl Active {
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

    /// Returns the process number of the command.
    pub fn pid(&self) -> i32 {
        self.pid
    }

    /// Adds what this command waits for; output only when there is `room` for it.
    pub fn watch(&self, fds: &mut Vec<PollFd>, room: bool) {
        if let Some(feed) = &self.stdin {
            fds.push(PollFd::new(feed.pipe.as_raw_fd(), POLLOUT));
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

    /// Returns the milliseconds until something is due, in the form that `poll` takes.
    pub fn wait_limit(&self) -> i32 {
        match self.deadline {
            None => -1,
            Some(deadline) => {
                let left = deadline.saturating_duration_since(Instant::now());
                // Rounded up, or the loop would spin through the last millisecond.
                i32::try_from(left.as_micros().div_ceil(1000)).unwrap_or(i32::MAX)
            }
        }
    }

    /// Kills the command when its time is up.
    pub fn enforce_deadline(&mut self) {
        if self.deadline.is_some_and(|d| d <= Instant::now()) {
            self.kill(Exit::TimedOut);
        }
    }

    /// Kills the command; its end will be reported as `why`.
    pub fn kill(&mut self, why: Exit) {
        self.deadline = None;
        if self.killed.is_none() {
            self.killed = Some(why);
        }
        sys::kill_group(self.pid);
        // It may have moved itself into another group.
        sys::kill_process(self.pid);
    }

    /// Moves bytes for every ready descriptor.
    pub fn pump(&mut self, ready: &[PollFd], out: &mut Vec<u8>) {
        let is_ready = |fd: RawFd| ready.iter().any(|p| p.is_for(fd) && p.is_ready());
        if self.stdin.as_ref().is_some_and(|f| is_ready(f.pipe.as_raw_fd())) {
            self.feed();
        }
        if self.stdout.as_ref().is_some_and(|p| is_ready(p.as_raw_fd())) {
            read_some(&mut self.stdout, frame::STDOUT, out);
        }
        if self.stderr.as_ref().is_some_and(|p| is_ready(p.as_raw_fd())) {
            read_some(&mut self.stderr, frame::STDERR, out);
        }
    }

    /// Writes as much input as the pipe takes. Any error ends the input: a command need not read it.
    fn feed(&mut self) {
        let Some(feed) = &mut self.stdin else { return };
        while feed.written < feed.bytes.len() {
            match feed.pipe.write(&feed.bytes[feed.written..]) {
                Ok(n) if n > 0 => feed.written += n,
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => return,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                _ => break,
            }
        }
        self.stdin = None;
    }

    /// Ends the run after the command has ended but before it is reaped.
    ///
    /// Kills what it left behind, takes the output that is still in the pipes, and hands the
    /// working area back. Fails only when processes cannot be killed: then the container is lost.
    pub fn finish(mut self, out: &mut Vec<u8>) -> io::Result<Exit> {
        self.stdin = None;
        sys::kill_group(self.pid);
        let ended = sys::reap(self.pid)?;
        sweep()?;
        // Every writer is dead: what the pipes hold is all there will be.
        while read_some(&mut self.stdout, frame::STDOUT, out) {}
        while read_some(&mut self.stderr, frame::STDERR, out) {}
        if let Some((uid, gid)) = self.give_back {
            for dir in &self.work_dirs {
                owner::give(dir, uid, gid)?;
            }
        }
        Ok(match (self.killed, ended) {
            // It was quicker than the signal.
            (Some(Exit::Killed), _) => Exit::Killed,
            (Some(why), Ended::Signal(sys::SIGKILL)) => why,
            (_, Ended::Code(code)) => Exit::Code(code),
            (_, Ended::Signal(signal)) => Exit::Signal(signal),
        })
    }
}

/// Reads once from a pipe into a frame; closes the pipe at its end. Says whether bytes came.
fn read_some<P: Read>(pipe: &mut Option<P>, kind: u8, out: &mut Vec<u8>) -> bool {
    let Some(open) = pipe else { return false };
    let before = out.len();
    let result = frame::append_filled(out, kind, |out| {
        let at = out.len();
        out.resize(at + READ_SIZE, 0);
        let result = open.read(&mut out[at..]);
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

/// Kills and reaps every descendant that is left.
///
/// After the group has been killed this is usually nothing. Processes that had left the group
/// became our children when their parents died, and are found as such.
pub fn sweep() -> io::Result<()> {
    let started = Instant::now();
    loop {
        match sys::peek_child()? {
            Children::None => return Ok(()),
            Children::Ended(pid) => {
                sys::reap(pid)?;
            }
            Children::Running => {
                for pid in own_children() {
                    sys::kill_process(pid);
                }
                if started.elapsed() > SWEEP_LIMIT {
                    return Err(io::Error::other("killed processes do not go away"));
                }
                // A killed process needs a moment; there is nothing to wait on but its signal,
                // which may have been taken already, so look again soon.
                sys::wait_ready(&mut [], 1)?;
            }
        }
    }
}

/// Returns the numbers of our direct children.
fn own_children() -> Vec<i32> {
    let pid = std::process::id();
    if let Ok(list) = fs::read_to_string(format!("/proc/self/task/{pid}/children")) {
        return list.split_ascii_whitespace().filter_map(|n| n.parse().ok()).collect();
    }
    // Kernels without that file: look at everybody's parent.
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
    // The program's name stands in parentheses and may itself contain some.
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
