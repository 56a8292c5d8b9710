//! The worker's half of the conversation with `stage-init`.
//!
//! The worker listens on a Unix socket in a folder that the container sees; `stage-init` connects
//! once when it starts. After that the socket's name is removed: what runs in the container cannot
//! connect in its stead.

use std::fs::{self, Permissions};
use std::io::{self, Read as _, Write as _};
use std::os::fd::AsRawFd;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use howdah_stage_init::frame::{Exit, Inbox, Reply, Request, Run, VERSION};
use howdah_stage_init::sys::{self, POLLIN, PollFd};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixListener;
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

use super::{OutputSink, Stream};
use crate::thread_role::is_slot_thread;

/// Name of the socket in its folder.
pub const SOCKET_NAME: &str = "init.sock";

/// How much longer than a time limit or a kill the answer may take before the stage counts as
/// lost. `stage-init` itself gives up on unkillable processes after ten seconds.
const GRACE: Duration = Duration::from_secs(30);

/// How long a slot's own thread waits for a command by itself, deaf to everything else.
const WAIT_HERE: Duration = Duration::from_millis(5);

/// Bytes read at once; what a pipe in the container holds by default.
const READ_SIZE: usize = 64 * 1024;

/// A socket that waits for its `stage-init`.
#[derive(Debug)]
pub struct InitListener {
    listener: UnixListener,
    path: PathBuf,
}

impl InitListener {
    /// Starts to listen in `dir`, replacing a socket left over from an earlier life.
    pub fn bind(dir: &Path) -> io::Result<Self> {
        let path = dir.join(SOCKET_NAME);
        match fs::remove_file(&path) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
            _ => {}
        }
        // A socket's name holds at most 107 bytes, and scratch folders may lie deep. Through
        // the descriptor of the folder the name is always short.
        let folder = fs::File::open(dir)?;
        let short = format!("/proc/self/fd/{}/{SOCKET_NAME}", folder.as_raw_fd());
        let listener = UnixListener::bind(short)?;
        // Root in the container may be somebody else out here (rootless engines, user namespaces).
        fs::set_permissions(&path, Permissions::from_mode(0o666))?;
        Ok(Self { listener, path })
    }

    /// Waits for `stage-init` to connect and greet. Cancel safe.
    pub async fn accept(&self) -> io::Result<InitConnection> {
        let (socket, _) = self.listener.accept().await?;
        let mut connection = InitConnection {
            // Stays as it is, not blocking; every run watches it as long as it needs to.
            socket: socket.into_std()?,
            inbox: Inbox::default(),
            buffer: vec![0; READ_SIZE],
            usable: true,
        };
        let version = connection.hello().await?;
        if version != VERSION {
            return Err(io::Error::other(format!(
                "stage-init speaks version {version}, expected {VERSION}"
            )));
        }
        Ok(connection)
    }
}

impl Drop for InitListener {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.path);
    }
}

/// How a run ended, seen from here.
#[derive(Debug, PartialEq, Eq)]
pub enum Ended {
    /// As `stage-init` says.
    Exit(Exit),
    /// The request cannot be sent at all, for this reason.
    Refused(String),
}

/// A connected `stage-init`.
#[derive(Debug)]
pub struct InitConnection {
    socket: UnixStream,
    inbox: Inbox,
    buffer: Vec<u8>,
    /// False from the start of a run until its end has been seen, and for ever after an error.
    usable: bool,
}

impl InitConnection {
    /// Runs a command. An error means that the other end is lost.
    pub async fn run(&mut self, run: Run, out: &mut OutputSink<'_>, cancel: &CancellationToken) -> io::Result<Ended> {
        if !self.usable {
            return Err(io::Error::other("an earlier run was abandoned"));
        }
        let limit = Some(run.timeout_ms).filter(|ms| *ms > 0);
        let mut bytes = Vec::new();
        if let Err(e) = Request::Run(Box::new(run)).encode(&mut bytes) {
            return Ok(Ended::Refused(format!(
                "the command, its environment and its standard input are too large: {e}"
            )));
        }
        // If this future is dropped half-way, nobody knows what is still to come on the socket.
        self.usable = false;
        self.send(&bytes).await?;
        drop(bytes);
        if is_slot_thread()
            && let Some(exit) = self.wait_here(out, cancel)?
        {
            self.usable = true;
            return Ok(Ended::Exit(exit));
        }
        let mut socket = self.watched()?;
        let patience = |d: Duration| Instant::now().checked_add(d + GRACE);
        let mut deadline = limit.and_then(|ms| patience(Duration::from_millis(ms)));
        let mut killed = false;
        loop {
            if let Some(exit) = self.take_output(out)? {
                self.usable = true;
                return Ok(Ended::Exit(exit));
            }
            let give_up = async {
                match deadline {
                    Some(deadline) => sleep_until(deadline).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                // Reading comes last: under a flood of output it is always ready, and would keep the
                // others from ever being looked at.
                biased;
                () = cancel.cancelled(), if !killed => {
                    killed = true;
                    deadline = patience(Duration::ZERO);
                    let mut kill = Vec::new();
                    Request::Kill.encode(&mut kill).map_err(io::Error::other)?;
                    self.send(&kill).await?;
                }
                () = give_up => {
                    return Err(io::Error::new(
                        io::ErrorKind::TimedOut,
                        "it does not answer any more",
                    ));
                }
                n = socket.read(&mut self.buffer) => {
                    let n = n?;
                    if n == 0 {
                        return Err(io::ErrorKind::UnexpectedEof.into());
                    }
                    self.inbox.push(&self.buffer[..n]);
                }
            }
        }
    }

    /// Returns the socket for waiting as others wait. Both share everything but this registration.
    fn watched(&self) -> io::Result<tokio::net::UnixStream> {
        tokio::net::UnixStream::from_std(self.socket.try_clone()?)
    }

    /// Waits for the end of a command for a moment, without the detour over other threads that
    /// costs more than a trivial command.
    fn wait_here(&mut self, out: &mut OutputSink<'_>, cancel: &CancellationToken) -> io::Result<Option<Exit>> {
        let until = std::time::Instant::now() + WAIT_HERE;
        while !cancel.is_cancelled() {
            let left = until.saturating_duration_since(std::time::Instant::now()).as_millis();
            if left == 0 {
                break;
            }
            let limit = i32::try_from(left).unwrap_or(i32::MAX);
            sys::wait_ready(&mut [PollFd::new(self.socket.as_raw_fd(), POLLIN)], limit)?;
            if self.receive()?
                && let Some(exit) = self.take_output(out)?
            {
                return Ok(Some(exit));
            }
        }
        Ok(None)
    }

    /// Takes what has come, if anything has; an error at the end of the stream.
    fn receive(&mut self) -> io::Result<bool> {
        loop {
            match (&self.socket).read(&mut self.buffer) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(n) => {
                    self.inbox.push(&self.buffer[..n]);
                    return Ok(true);
                }
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => return Ok(false),
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(e),
            }
        }
    }

    /// Hands on the output received so far; returns the end of the run when it has come.
    fn take_output(&mut self, out: &mut (dyn FnMut(Stream, &[u8]) + Send)) -> io::Result<Option<Exit>> {
        while let Some(frame) = self.inbox.next_frame().map_err(io::Error::other)? {
            match Reply::decode(frame).map_err(io::Error::other)? {
                Reply::Stdout(bytes) => out(Stream::Stdout, bytes),
                Reply::Stderr(bytes) => out(Stream::Stderr, bytes),
                Reply::Exit(exit) => return Ok(Some(exit)),
                Reply::Hello { .. } => return Err(io::Error::other("a second greeting")),
            }
        }
        Ok(None)
    }

    /// Says whether the other end is there and idle.
    pub fn is_alive(&self) -> bool {
        // It says nothing unasked: anything to read is an end of file or a fault.
        let silent = |e: io::Error| e.kind() == io::ErrorKind::WouldBlock;
        self.usable && (&self.socket).read(&mut [0]).is_err_and(silent)
    }

    /// Asks the other end to stop, if it can be asked without waiting.
    pub fn request_shutdown(&self) {
        let mut bytes = Vec::new();
        if Request::Shutdown.encode(&mut bytes).is_ok() {
            let _ = (&self.socket).write(&bytes);
        }
    }

    /// Sends a message, waiting for room where there is none.
    async fn send(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            match (&self.socket).write(bytes) {
                Ok(n) => bytes = &bytes[n..],
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => {
                    return self.watched()?.write_all(bytes).await;
                }
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(e),
            }
        }
        Ok(())
    }

    async fn hello(&mut self) -> io::Result<u32> {
        let mut socket = self.watched()?;
        loop {
            if let Some(frame) = self.inbox.next_frame().map_err(io::Error::other)? {
                return match Reply::decode(frame).map_err(io::Error::other)? {
                    Reply::Hello { version } => Ok(version),
                    _ => Err(io::Error::other("no greeting from stage-init")),
                };
            }
            let n = socket.read(&mut self.buffer).await?;
            if n == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            self.inbox.push(&self.buffer[..n]);
        }
    }
}
