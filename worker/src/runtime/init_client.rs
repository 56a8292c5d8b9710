//! The worker's end of the connection to `stage-init`.
//!
//! The worker listens on a Unix socket in a folder that the container sees. `stage-init` connects
//! once, when it starts. Then the listener is dropped and the socket file removed, so that no other
//! process in the container can connect instead.
//!
//! - [`InitListener`]: the socket until `stage-init` has connected;
//! - [`InitConnection`]: runs one command after the other and passes the output on;
//! - [`InitRun`]: how a run ended.
//!
//! An [`io::Error`] of a run means that the stage is lost: its container ended, `stage-init` does
//! not answer in time, or the bytes on the socket are no valid reply. A connection is also lost
//! when the future of a run is dropped before its end. The caller then starts a new stage.

use std::fs::{self, Permissions};
use std::io::{self, Read as _, Write as _};
use std::os::fd::AsRawFd;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use howdah_stage_init::frame::{CommandEnd, FrameBuffer, InitReply, InitRequest, RunCommand, VERSION};
use howdah_stage_init::sys::{self, POLLIN, PollFd};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixListener;
use tokio::time::{Instant, sleep, sleep_until, timeout};
use tokio_util::sync::CancellationToken;

use super::{OutputSink, Stream};
use crate::thread_role::is_slot_thread;

/// File name of the socket in its folder.
pub const SOCKET_NAME: &str = "init.sock";

/// Time after a command's time limit, or after a kill request, until the stage counts as lost.
///
/// Longer than the ten seconds after which `stage-init` itself gives up on processes that it cannot
/// kill.
const GRACE: Duration = Duration::from_secs(30);

/// Time that a slot's own thread blocks while it waits for a command to end.
const BLOCKING_WAIT: Duration = Duration::from_millis(5);

/// Most bytes read at once: the default capacity of a pipe in the container.
const READ_SIZE: usize = 64 * 1024;

/// A socket to which `stage-init` has not connected yet. Dropping it removes the socket file.
#[derive(Debug)]
pub struct InitListener {
    listener: UnixListener,
    path: PathBuf,
}

impl InitListener {
    /// Starts to listen in `dir`. Replaces the socket file of an earlier listener.
    pub fn bind(dir: &Path) -> io::Result<Self> {
        let path = dir.join(SOCKET_NAME);
        match fs::remove_file(&path) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
            _ => {}
        }
        // A socket address holds a path of at most 107 bytes, and the scratch folder may have a
        // longer one. The path through the folder's descriptor is always short enough.
        let folder = fs::File::open(dir)?;
        let short = format!("/proc/self/fd/{}/{SOCKET_NAME}", folder.as_raw_fd());
        let listener = UnixListener::bind(short)?;
        // Root in the container may be another user outside (rootless engine, user namespace).
        fs::set_permissions(&path, Permissions::from_mode(0o666))?;
        Ok(Self { listener, path })
    }

    /// Waits for `stage-init` to connect and to send its greeting.
    ///
    /// Cancel safe until `stage-init` has connected. After that, a dropped future closes the
    /// connection and `stage-init` ends.
    pub async fn accept(&self) -> io::Result<InitConnection> {
        let (socket, _) = self.listener.accept().await?;
        let mut connection = InitConnection {
            // Taken out of the runtime's poll registration: a slot's own thread waits for the
            // socket without the runtime. `registered` adds a registration where it is needed. The
            // socket stays non-blocking.
            socket: socket.into_std()?,
            inbox: FrameBuffer::default(),
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

/// How a run ended.
#[derive(Debug, PartialEq, Eq)]
pub enum InitRun {
    /// As `stage-init` reports it.
    Exit(CommandEnd),
    /// The request is too large to be sent. The text is for the user.
    Refused(String),
}

/// A connection to a `stage-init`.
#[derive(Debug)]
pub struct InitConnection {
    socket: UnixStream,
    inbox: FrameBuffer,
    buffer: Vec<u8>,
    /// False from the start of a run until its end has been received. Stays false after an error.
    usable: bool,
}

impl InitConnection {
    /// Runs a command to its end. After an error the stage is lost.
    ///
    /// Not cancel safe: when this future is dropped, the connection is lost, too. Use `cancel` to
    /// end the command and keep the connection.
    pub async fn run(
        &mut self,
        run: RunCommand,
        out: &mut OutputSink<'_>,
        cancel: &CancellationToken,
    ) -> io::Result<InitRun> {
        if !self.usable {
            return Err(io::Error::other("an earlier run was abandoned"));
        }
        let limit = Some(run.timeout_ms).filter(|ms| *ms > 0);
        let mut bytes = Vec::new();
        // Encoded completely before the first byte is sent: half a frame would make the connection
        // unusable, and a request that is too large is the user's mistake.
        if let Err(e) = InitRequest::Run(Box::new(run)).encode(&mut bytes) {
            return Ok(InitRun::Refused(format!(
                "the command, its environment and its standard input are too large: {e}"
            )));
        }
        // Cleared before the first await. If this future is dropped, half a request may be sent,
        // and the replies of this run are still to come: the next run would take them as its own.
        self.usable = false;
        self.send_run(&bytes, limit, cancel).await?;
        // The standard input in it may be large, and the run may be long.
        drop(bytes);
        if is_slot_thread()
            && let Some(exit) = self.wait_blocking(out, cancel)?
        {
            self.usable = true;
            return Ok(InitRun::Exit(exit));
        }
        let mut socket = self.registered()?;
        // `stage-init` enforces the time limit. This deadline is later and detects a stage-init
        // that does not answer, which would otherwise occupy the slot for ever.
        let lost_after = |d: Duration| Instant::now().checked_add(d + GRACE);
        let mut deadline = limit.and_then(|ms| lost_after(Duration::from_millis(ms)));
        let mut killed = false;
        loop {
            // Before waiting: what the last read brought may hold the end of the command already, and no event of
            // the socket follows it.
            if let Some(exit) = self.take_output(out)? {
                self.usable = true;
                return Ok(InitRun::Exit(exit));
            }
            let deadline_passed = async {
                match deadline {
                    Some(deadline) => sleep_until(deadline).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                // In this order: reading is always ready while a command writes without pause, and
                // would starve cancellation and deadline if it came first.
                biased;
                // Once only: a cancelled token stays ready, and the loop would spin and never read
                // the end of the command.
                () = cancel.cancelled(), if !killed => {
                    killed = true;
                    deadline = lost_after(Duration::ZERO);
                    let mut kill = Vec::new();
                    InitRequest::Kill.encode(&mut kill).map_err(io::Error::other)?;
                    // The run continues until the end is received. Returning here would leave the
                    // remaining replies to the next run.
                    timeout(GRACE, self.send(&kill)).await.map_err(|_| no_answer())??;
                }
                () = deadline_passed => return Err(no_answer()),
                n = socket.read(&mut self.buffer) => {
                    let n = n?;
                    if n == 0 {
                        return Err(io::ErrorKind::UnexpectedEof.into());
                    }
                    self.push_received(n);
                }
            }
        }
    }

    /// Returns a second handle of the socket that is registered with the async runtime.
    fn registered(&self) -> io::Result<tokio::net::UnixStream> {
        tokio::net::UnixStream::from_std(self.socket.try_clone()?)
    }

    /// Blocks this thread for up to [`BLOCKING_WAIT`] until the command ends.
    ///
    /// For a trivial command, waking this thread through the async runtime costs more than the
    /// command. The wait is short, because this thread cannot react to a cancellation meanwhile.
    fn wait_blocking(
        &mut self,
        out: &mut OutputSink<'_>,
        cancel: &CancellationToken,
    ) -> io::Result<Option<CommandEnd>> {
        let until = std::time::Instant::now() + BLOCKING_WAIT;
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

    /// Reads once without blocking. Returns whether there were bytes; the end of the stream is an
    /// error.
    fn receive(&mut self) -> io::Result<bool> {
        loop {
            match (&self.socket).read(&mut self.buffer) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(n) => {
                    self.push_received(n);
                    return Ok(true);
                }
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => return Ok(false),
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(e),
            }
        }
    }

    /// Moves the first `n` bytes of the read buffer into the inbox.
    fn push_received(&mut self, n: usize) {
        self.inbox.push(self.buffer.get(..n).unwrap_or(&self.buffer));
    }

    /// Passes the received output on. Returns the end of the run when it has been received.
    fn take_output(&mut self, out: &mut (dyn FnMut(Stream, &[u8]) + Send)) -> io::Result<Option<CommandEnd>> {
        while let Some(frame) = self.inbox.next_frame().map_err(io::Error::other)? {
            match InitReply::decode(frame).map_err(io::Error::other)? {
                InitReply::Stdout(bytes) => out(Stream::Stdout, bytes),
                InitReply::Stderr(bytes) => out(Stream::Stderr, bytes),
                InitReply::Exit(exit) => return Ok(Some(exit)),
                InitReply::Hello { .. } => return Err(io::Error::other("a second greeting")),
            }
        }
        Ok(None)
    }

    /// Returns whether `stage-init` is connected and idle.
    pub fn is_alive(&self) -> bool {
        // An idle stage-init sends nothing, so a successful read is the end of the stream or an
        // unexpected message.
        let silent = |e: io::Error| e.kind() == io::ErrorKind::WouldBlock;
        self.usable && (&self.socket).read(&mut [0]).is_err_and(silent)
    }

    /// Asks `stage-init` to end, if the request can be sent without waiting.
    ///
    /// Errors are ignored: closing the connection has the same effect.
    pub fn request_shutdown(&self) {
        let mut bytes = Vec::new();
        if InitRequest::Shutdown.encode(&mut bytes).is_ok() {
            let _ = (&self.socket).write(&bytes);
        }
    }

    /// Sends the request to run a command.
    ///
    /// A stage-init that does not read a large request counts as lost like one that does not answer:
    /// [`GRACE`] after the command's time limit in milliseconds, or after a cancellation.
    async fn send_run(&mut self, bytes: &[u8], limit: Option<u64>, cancel: &CancellationToken) -> io::Result<()> {
        let given_up = async {
            match limit {
                Some(limit) => {
                    // Both ends of this wait mean the same.
                    let _ = timeout(Duration::from_millis(limit), cancel.cancelled()).await;
                }
                None => cancel.cancelled().await,
            }
            sleep(GRACE).await;
        };
        tokio::select! {
            // Sending comes first: most requests fit into the socket's buffer, and then no timer is set.
            biased;
            sent = self.send(bytes) => sent,
            () = given_up => Err(no_answer()),
        }
    }

    /// Sends a message. Waits while the socket's buffer is full.
    async fn send(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            match (&self.socket).write(bytes) {
                Ok(n) => bytes = bytes.get(n..).unwrap_or_default(),
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => {
                    return self.registered()?.write_all(bytes).await;
                }
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(e),
            }
        }
        Ok(())
    }

    /// Receives the greeting and returns its protocol version.
    async fn hello(&mut self) -> io::Result<u32> {
        let mut socket = self.registered()?;
        loop {
            if let Some(frame) = self.inbox.next_frame().map_err(io::Error::other)? {
                return match InitReply::decode(frame).map_err(io::Error::other)? {
                    InitReply::Hello { version } => Ok(version),
                    _ => Err(io::Error::other("no greeting from stage-init")),
                };
            }
            let n = socket.read(&mut self.buffer).await?;
            if n == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            self.push_received(n);
        }
    }
}

fn no_answer() -> io::Error {
    io::Error::new(io::ErrorKind::TimedOut, "it does not answer any more")
}

#[cfg(test)]
mod tests;
