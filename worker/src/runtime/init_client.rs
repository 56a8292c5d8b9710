//! The worker's half of the conversation with `stage-init`.
//!
//! The worker listens on a Unix socket in a folder that the container sees; `stage-init` connects
//! once when it starts. After that the socket's name is removed: what runs in the container cannot
//! connect in its stead.

use std::fs::{self, Permissions};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use howdah_stage_init::frame::{Exit, Inbox, Reply, Request, Run, VERSION};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{UnixListener, UnixStream};
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

use super::{OutputSink, Stream};

/// Name of the socket in its folder.
pub const SOCKET_NAME: &str = "init.sock";

/// How much longer than a time limit or a kill the answer may take before the stage counts as
/// lost. `stage-init` itself gives up on unkillable processes after ten seconds.
const GRACE: Duration = Duration::from_secs(30);

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
            socket,
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
        self.socket.write_all(&bytes).await?;
        drop(bytes);

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
                    self.send(&Request::Kill).await?;
                }
                () = give_up => {
                    return Err(io::Error::new(
                        io::ErrorKind::TimedOut,
                        "it does not answer any more",
                    ));
                }
                n = self.socket.read(&mut self.buffer) => {
                    let n = n?;
                    if n == 0 {
                        return Err(io::ErrorKind::UnexpectedEof.into());
                    }
                    self.inbox.push(&self.buffer[..n]);
                }
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
        self.usable && self.socket.try_read(&mut [0]).is_err_and(silent)
    }

    /// Asks the other end to stop, if it can be asked without waiting.
    pub fn request_shutdown(&self) {
        let mut bytes = Vec::new();
        if Request::Shutdown.encode(&mut bytes).is_ok() {
            let _ = self.socket.try_write(&bytes);
        }
    }

    async fn send(&mut self, request: &Request) -> io::Result<()> {
        let mut bytes = Vec::new();
        request.encode(&mut bytes).map_err(io::Error::other)?;
        self.socket.write_all(&bytes).await
    }

    async fn hello(&mut self) -> io::Result<u32> {
        loop {
            if let Some(frame) = self.inbox.next_frame().map_err(io::Error::other)? {
                return match Reply::decode(frame).map_err(io::Error::other)? {
                    Reply::Hello { version } => Ok(version),
                    _ => Err(io::Error::other("no greeting from stage-init")),
                };
            }
            let n = self.socket.read(&mut self.buffer).await?;
            if n == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            self.inbox.push(&self.buffer[..n]);
        }
    }
}
