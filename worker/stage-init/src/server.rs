//! The poll loop that serves the worker: one thread, at most one command at a time.
//!
//! The loop waits for the socket, for signals and for the pipes of the command. It ends when the
//! worker closes the connection or asks for the end, on SIGTERM and SIGINT, and on errors. In each
//! case it first kills all processes that a command started.

use std::io::{self, Read, Write};
use std::ops::ControlFlow;
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;

use crate::frame::{CommandEnd, FrameBuffer, InitReply, InitRequest, RunCommand, VERSION};
use crate::run::{self, RunningCommand};
use crate::sys::{self, ChildProcesses, POLLIN, POLLOUT, PollFd, SignalPipe};
use crate::temporary::TemporaryFolders;

/// Bytes of unsent output above which the loop stops reading from the command.
///
/// The command then blocks on its full pipe. The limit is large, so that a worker that is busy for
/// a moment does not slow the command down.
const OUTBOX_LIMIT: usize = 1024 * 1024;

/// Serves requests until the worker closes the connection or asks for the end.
///
/// `temporary` are the folders that are emptied before commands that ask for it.
pub fn serve(socket: UnixStream, temporary: TemporaryFolders) -> io::Result<()> {
    let mut server = CommandServer {
        signals: SignalPipe::install()?,
        socket,
        inbox: FrameBuffer::default(),
        outbox: Vec::new(),
        sent: 0,
        command: None,
        temporary,
    };
    server.socket.set_nonblocking(true)?;
    if std::process::id() != 1 {
        // Before the first command: an orphan of a command must become a child of this process,
        // or `sweep` does not find it. Process 1 has this property without asking.
        sys::become_subreaper()?;
    }
    InitReply::Hello { version: VERSION }.encode(&mut server.outbox);
    let result = server.serve_requests();
    let killed = match &mut server.command {
        Some(command) => command.kill(CommandEnd::Killed),
        None => Ok(()),
    };
    // The end of process 1 ends the container with all processes. Elsewhere (in tests) the
    // processes of the command would outlive this program.
    run::sweep()?;
    result.and(killed)
}

/// State of the poll loop.
struct CommandServer {
    signals: SignalPipe,
    socket: UnixStream,
    /// Received bytes that are not yet a complete request.
    inbox: FrameBuffer,
    /// Encoded replies; the first `sent` bytes are with the kernel.
    outbox: Vec<u8>,
    sent: usize,
    /// The command that runs.
    command: Option<RunningCommand>,
    temporary: TemporaryFolders,
}

impl CommandServer {
    /// Runs the loop. `Break` in the steps below means: end the program.
    fn serve_requests(&mut self) -> io::Result<()> {
        let mut fds = Vec::new();
        loop {
            if self.flush()?.is_break() {
                return Ok(());
            }
            fds.clear();
            let unsent = self.outbox.len() - self.sent;
            let events = if unsent > 0 { POLLIN | POLLOUT } else { POLLIN };
            fds.push(PollFd::new(self.socket.as_raw_fd(), events));
            fds.push(PollFd::new(self.signals.as_raw_fd(), POLLIN));
            let mut limit = -1;
            if let Some(command) = &self.command {
                command.watch(&mut fds, unsent < OUTBOX_LIMIT);
                // Also when the outbox is full: the time limit holds for a command that is blocked
                // on its output, too.
                limit = command.wait_limit();
            }
            sys::wait_ready(&mut fds, limit)?;
            let Some(([socket, signals], pipes)) = fds.split_first_chunk() else {
                return Err(io::Error::other("no descriptors to wait for"));
            };

            // The pipes come first: the other two steps may end this command and start the next
            // one, whose pipes may get the same descriptor numbers.
            if let Some(command) = &mut self.command {
                command.enforce_deadline()?;
                command.pump(pipes, &mut self.outbox);
            }
            // Signals come before requests: a kill request for a command that has ended by itself
            // then finds no command, and the end is reported as it was.
            if signals.is_ready() && self.handle_signals()?.is_break() {
                return Ok(());
            }
            if socket.is_ready() && self.receive()?.is_break() {
                return Ok(());
            }
        }
    }

    /// Reaps children that have ended, and finishes the run when the command is among them.
    fn handle_signals(&mut self) -> io::Result<ControlFlow<()>> {
        // The pipe is emptied before the children are looked at. In the other order, a child that
        // ends in between has its byte removed without being seen, and the loop waits for ever.
        if self.signals.drain()? {
            return Ok(ControlFlow::Break(()));
        }
        while let ChildProcesses::Ended(pid) = sys::peek_child()? {
            match self.command.take_if(|command| command.pid() == pid) {
                Some(command) => {
                    // The exit goes into the outbox after the last output: the worker takes it as
                    // the end of the run and reads no further.
                    let end = command.finish(&mut self.outbox)?;
                    InitReply::Exit(end).encode(&mut self.outbox);
                }
                // An orphan of the command, which became a child of this process.
                None => {
                    sys::reap(pid)?;
                }
            }
        }
        Ok(ControlFlow::Continue(()))
    }

    /// Reads and carries out the worker's requests.
    fn receive(&mut self) -> io::Result<ControlFlow<()>> {
        let mut buffer = [0_u8; 64 * 1024];
        loop {
            match self.socket.read(&mut buffer) {
                // The worker is gone: no reader is left for what the command does.
                Ok(0) => return Ok(ControlFlow::Break(())),
                Ok(n) => {
                    self.inbox.push(buffer.get(..n).unwrap_or(&buffer));
                    if n < buffer.len() {
                        break;
                    }
                }
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => break,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) if e.kind() == io::ErrorKind::ConnectionReset => return Ok(ControlFlow::Break(())),
                Err(e) => return Err(e),
            }
        }
        while let Some(frame) = self.inbox.next_frame().map_err(io::Error::other)? {
            match InitRequest::decode(frame).map_err(io::Error::other)? {
                InitRequest::Shutdown => return Ok(ControlFlow::Break(())),
                InitRequest::Kill => {
                    // Without a command the request is late: its command has ended, and the worker
                    // has not read the exit yet.
                    if let Some(command) = &mut self.command {
                        command.kill(CommandEnd::Killed)?;
                    }
                }
                InitRequest::Run(_) if self.command.is_some() => {
                    return Err(io::Error::other("asked to run while a command runs"));
                }
                InitRequest::Run(run) => match self.start(*run) {
                    Ok(command) => self.command = Some(command),
                    Err(end) => InitReply::Exit(end).encode(&mut self.outbox),
                },
            }
        }
        Ok(ControlFlow::Continue(()))
    }

    /// Starts a command, after emptying the temporary folders if it asks for that.
    fn start(&mut self, run: RunCommand) -> Result<RunningCommand, CommandEnd> {
        if run.empty_first {
            self.temporary.empty().map_err(CommandEnd::NotEmptied)?;
        }
        self.temporary.mark_used();
        run::start(run).map_err(CommandEnd::NotStarted)
    }

    /// Sends as many replies as the socket takes.
    fn flush(&mut self) -> io::Result<ControlFlow<()>> {
        while let Some(rest) = self.outbox.get(self.sent..).filter(|rest| !rest.is_empty()) {
            match self.socket.write(rest) {
                Ok(n) => self.sent += n,
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => return Ok(ControlFlow::Continue(())),
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) if matches!(e.kind(), io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset) => {
                    return Ok(ControlFlow::Break(()));
                }
                Err(e) => return Err(e),
            }
        }
        self.outbox.clear();
        self.sent = 0;
        Ok(ControlFlow::Continue(()))
    }
}
