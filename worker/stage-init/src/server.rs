//! The conversation with the worker: one thread, one `poll` loop.

use std::io::{self, Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;

use crate::frame::{Exit, Inbox, Reply, Request, VERSION};
use crate::run::{self, Active};
use crate::sys::{self, Children, POLLIN, POLLOUT, PollFd, Signals};

/// Output waiting for the worker above which nothing more is read from the command, which then
/// has to wait itself. Large enough that a worker busy elsewhere for a moment stalls nothing.
const OUTBOX_LIMIT: usize = 1024 * 1024;

/// Serves requests until the worker goes away or asks to end.
pub fn serve(socket: UnixStream) -> io::Result<()> {
    let mut server = Server {
        signals: Signals::collect()?,
        socket,
        inbox: Inbox::default(),
        outbox: Vec::new(),
        sent: 0,
        active: None,
    };
    server.socket.set_nonblocking(true)?;
    if std::process::id() != 1 {
        sys::become_subreaper()?;
    }
    Reply::Hello { version: VERSION }.encode(&mut server.outbox);
    let result = server.run();
    if let Some(mut active) = server.active.take() {
        active.kill(Exit::Killed);
    }
    // As process 1 we take everything with us; elsewhere it has to be done by hand.
    run::sweep()?;
    result
}

struct Server {
    signals: Signals,
    socket: UnixStream,
    inbox: Inbox,
    outbox: Vec<u8>,
    sent: usize,
    active: Option<Active>,
}

/// Whether to go on.
#[derive(PartialEq, Eq)]
enum Next {
    Continue,
    End,
}

impl Server {
    fn run(&mut self) -> io::Result<()> {
        let mut fds = Vec::new();
        loop {
            if self.flush()? == Next::End {
                return Ok(());
            }
            fds.clear();
            let waiting = self.outbox.len() - self.sent;
            let events = if waiting > 0 { POLLIN | POLLOUT } else { POLLIN };
            fds.push(PollFd::new(self.socket.as_raw_fd(), events));
            fds.push(PollFd::new(self.signals.as_raw_fd(), POLLIN));
            let mut limit = -1;
            if let Some(active) = &self.active {
                active.watch(&mut fds, waiting < OUTBOX_LIMIT);
                limit = active.wait_limit();
            }
            sys::wait_ready(&mut fds, limit)?;

            if let Some(active) = &mut self.active {
                active.enforce_deadline();
                active.pump(&fds[2..], &mut self.outbox);
            }
            if fds[1].is_ready() && self.on_signal()? == Next::End {
                return Ok(());
            }
            if fds[0].is_ready() && self.receive()? == Next::End {
                return Ok(());
            }
        }
    }

    /// Reaps what has ended; among it may be the command itself.
    fn on_signal(&mut self) -> io::Result<Next> {
        if self.signals.take()? {
            return Ok(Next::End);
        }
        while let Children::Ended(pid) = sys::peek_child()? {
            match self.active.take_if(|active| active.pid() == pid) {
                Some(active) => {
                    let exit = active.finish(&mut self.outbox)?;
                    Reply::Exit(exit).encode(&mut self.outbox);
                }
                None => {
                    sys::reap(pid)?;
                }
            }
        }
        Ok(Next::Continue)
    }

    /// Reads what the worker sent and does it.
    fn receive(&mut self) -> io::Result<Next> {
        let mut buffer = [0_u8; 64 * 1024];
        loop {
            match self.socket.read(&mut buffer) {
                Ok(0) => return Ok(Next::End),
                Ok(n) => {
                    self.inbox.push(&buffer[..n]);
                    if n < buffer.len() {
                        break;
                    }
                }
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => break,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) if e.kind() == io::ErrorKind::ConnectionReset => return Ok(Next::End),
                Err(e) => return Err(e),
            }
        }
        while let Some(frame) = self.inbox.next_frame().map_err(io::Error::other)? {
            match Request::decode(frame).map_err(io::Error::other)? {
                Request::Shutdown => return Ok(Next::End),
                Request::Kill => {
                    if let Some(active) = &mut self.active {
                        active.kill(Exit::Killed);
                    }
                }
                Request::Run(_) if self.active.is_some() => {
                    return Err(io::Error::other("asked to run while a command runs"));
                }
                Request::Run(run) => match run::start(*run) {
                    Ok(active) => self.active = Some(active),
                    Err(text) => Reply::Exit(Exit::NotStarted(text)).encode(&mut self.outbox),
                },
            }
        }
        Ok(Next::Continue)
    }

    /// Sends what the socket takes.
    fn flush(&mut self) -> io::Result<Next> {
        while self.sent < self.outbox.len() {
            match self.socket.write(&self.outbox[self.sent..]) {
                Ok(n) => self.sent += n,
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => return Ok(Next::Continue),
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) if matches!(e.kind(), io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset) => {
                    return Ok(Next::End);
                }
                Err(e) => return Err(e),
            }
        }
        self.outbox.clear();
        self.sent = 0;
        Ok(Next::Continue)
    }
}
