//! The protocol between the worker and stage-init.
//!
//! A message is a frame: one byte for the kind, four bytes for the length of the payload (little
//! endian), the payload. The worker sends [`InitRequest`]s, stage-init sends [`InitReply`]s.
//!
//! - [`InitRequest`], [`RunCommand`], [`InitReply`], [`CommandEnd`]: the messages, with encoding and
//!   decoding;
//! - [`FrameBuffer`]: received bytes, cut into [`Frame`]s;
//! - [`append_filled`]: a frame whose payload is read directly into the buffer that is sent.
//!
//! Both ends are built from the same source. The version in [`InitReply::Hello`] detects a mix of
//! two builds; there is no negotiation. Bytes that are no valid frame give [`BadFrame`], and the
//! connection is then unusable, because the next frame cannot be found.

use std::fmt;

/// Version of this protocol.
pub const VERSION: u32 = 2;

/// Largest valid payload in bytes. A larger length means that the stream is corrupt.
pub const MAX_PAYLOAD: usize = 256 * 1024 * 1024;

/// Length of the header in bytes: kind and payload length.
pub const HEADER: usize = 5;

const RUN: u8 = 1;
const KILL: u8 = 2;
const SHUTDOWN: u8 = 3;
const HELLO: u8 = 16;
/// Kind of a frame that holds standard output.
pub const STDOUT: u8 = 17;
/// Kind of a frame that holds standard error.
pub const STDERR: u8 = 18;
const EXIT: u8 = 19;

/// Message from the worker to stage-init.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum InitRequest {
    /// Runs a command. Only one command runs at a time.
    Run(Box<RunCommand>),
    /// Kills the running command. Without a command it has no effect.
    Kill,
    /// Kills the running command and ends stage-init.
    Shutdown,
}

/// A command to run.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RunCommand {
    /// Program and arguments.
    pub argv: Vec<String>,
    /// The complete environment. If a name occurs twice, the last value is used.
    pub env: Vec<(String, String)>,
    /// Working directory; empty means `/`.
    pub cwd: String,
    /// `name`, `uid`, `name:group` or `uid:gid`; empty means the user of stage-init.
    pub user: String,
    /// Bytes for standard input; `None` means `/dev/null`.
    pub stdin: Option<Vec<u8>>,
    /// Time limit in milliseconds; 0 means no limit.
    pub timeout_ms: u64,
    /// Directories whose owner becomes the user, with all content, before the command starts.
    /// Nothing changes when the user is the user of stage-init.
    pub work_dirs: Vec<String>,
    /// User and group that own `work_dirs` after the end of the command, for a worker that is not
    /// root.
    pub give_back: Option<(u32, u32)>,
    /// Empties the [temporary folders](crate::temporary) before the command starts, if an earlier command has run.
    pub empty_first: bool,
}

/// Message from stage-init to the worker. Output borrows the received bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum InitReply<'a> {
    /// First message after connecting.
    Hello {
        /// [`VERSION`] of the sender.
        version: u32,
    },
    /// Bytes from the command's standard output.
    Stdout(&'a [u8]),
    /// Bytes from the command's standard error.
    Stderr(&'a [u8]),
    /// The command has ended or could not start. The next [`InitRequest::Run`] is now allowed.
    Exit(CommandEnd),
}

/// How a command ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CommandEnd {
    /// It exited with this code.
    Code(i32),
    /// This signal ended it, and stage-init did not send it.
    Signal(i32),
    /// stage-init killed it at its time limit.
    TimedOut,
    /// stage-init killed it on request.
    Killed,
    /// It could not start. The text is the reason, for the user.
    NotStarted(String),
    /// It was not started, because the temporary folders cannot be emptied, for this reason. Another container must run
    /// it.
    NotEmptied(String),
}

/// Bytes that are not a valid frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BadFrame(&'static str);

impl fmt::Display for BadFrame {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "bad message on the stage socket: {}", self.0)
    }
}

impl std::error::Error for BadFrame {}

/// One frame, still encoded.
#[derive(Clone, Copy, Debug)]
pub struct Frame<'a> {
    kind: u8,
    payload: &'a [u8],
}

/// Buffer of received bytes that returns complete frames.
#[derive(Debug, Default)]
pub struct FrameBuffer {
    bytes: Vec<u8>,
    /// Number of bytes at the front that belong to frames already returned.
    start: usize,
}

impl FrameBuffer {
    /// Adds received bytes.
    pub fn push(&mut self, bytes: &[u8]) {
        if self.start > 0 {
            self.bytes.drain(..self.start);
            self.start = 0;
        }
        self.bytes.extend_from_slice(bytes);
    }

    /// Returns the next frame, or `None` until all its bytes are received.
    pub fn next_frame(&mut self) -> Result<Option<Frame<'_>>, BadFrame> {
        let rest = self.bytes.get(self.start..).unwrap_or_default();
        let Some((header, body)) = rest.split_first_chunk::<HEADER>() else {
            return Ok(None);
        };
        let [kind, len @ ..] = *header;
        let len = u32::from_le_bytes(len) as usize;
        // Checked before the payload is complete: the buffer would grow until then.
        if len > MAX_PAYLOAD {
            return Err(BadFrame("too long"));
        }
        let Some(payload) = body.get(..len) else {
            return Ok(None);
        };
        self.start += HEADER + len;
        Ok(Some(Frame { kind, payload }))
    }
}

/// Appends a frame whose payload `fill` writes. `out` stays unchanged when `fill` writes nothing.
pub fn append_filled<E>(
    out: &mut Vec<u8>,
    kind: u8,
    fill: impl FnOnce(&mut Vec<u8>) -> Result<(), E>,
) -> Result<(), E> {
    let at = out.len();
    out.extend_from_slice(&[kind, 0, 0, 0, 0]);
    let result = fill(out);
    let len = out.len() - at - HEADER;
    if len == 0 {
        out.truncate(at);
    } else {
        out[at + 1..at + HEADER].copy_from_slice(&(len as u32).to_le_bytes());
    }
    result
}

fn frame(out: &mut Vec<u8>, kind: u8, payload: &[u8]) {
    out.push(kind);
    out.extend_from_slice(&(payload.len() as u32).to_le_bytes());
    out.extend_from_slice(payload);
}

impl InitRequest {
    /// Appends the encoded request to `out`. Fails when the payload is larger than [`MAX_PAYLOAD`].
    pub fn encode(&self, out: &mut Vec<u8>) -> Result<(), BadFrame> {
        match self {
            Self::Kill => frame(out, KILL, &[]),
            Self::Shutdown => frame(out, SHUTDOWN, &[]),
            Self::Run(run) => {
                let mut body = Vec::new();
                put_list(&mut body, &run.argv)?;
                put_len(&mut body, run.env.len())?;
                for (name, value) in &run.env {
                    put_bytes(&mut body, name.as_bytes())?;
                    put_bytes(&mut body, value.as_bytes())?;
                }
                put_bytes(&mut body, run.cwd.as_bytes())?;
                put_bytes(&mut body, run.user.as_bytes())?;
                body.push(u8::from(run.stdin.is_some()));
                put_bytes(&mut body, run.stdin.as_deref().unwrap_or_default())?;
                body.extend_from_slice(&run.timeout_ms.to_le_bytes());
                put_list(&mut body, &run.work_dirs)?;
                body.push(u8::from(run.give_back.is_some()));
                let (uid, gid) = run.give_back.unwrap_or_default();
                body.extend_from_slice(&uid.to_le_bytes());
                body.extend_from_slice(&gid.to_le_bytes());
                body.push(u8::from(run.empty_first));
                if body.len() > MAX_PAYLOAD {
                    return Err(BadFrame("too long"));
                }
                frame(out, RUN, &body);
            }
        }
        Ok(())
    }

    /// Decodes a request from a frame.
    pub fn decode(frame: Frame<'_>) -> Result<Self, BadFrame> {
        match frame.kind {
            KILL => Ok(Self::Kill),
            SHUTDOWN => Ok(Self::Shutdown),
            RUN => {
                let mut r = PayloadReader(frame.payload);
                let argv = r.list()?;
                let mut env = Vec::new();
                for _ in 0..r.u32()? {
                    env.push((r.string()?, r.string()?));
                }
                let cwd = r.string()?;
                let user = r.string()?;
                let has_stdin = r.flag()?;
                let stdin = r.bytes()?.to_vec();
                let timeout_ms = r.u64()?;
                let work_dirs = r.list()?;
                let has_owner = r.flag()?;
                let owner = (r.u32()?, r.u32()?);
                let empty_first = r.flag()?;
                r.end()?;
                Ok(Self::Run(Box::new(RunCommand {
                    argv,
                    env,
                    cwd,
                    user,
                    stdin: has_stdin.then_some(stdin),
                    timeout_ms,
                    work_dirs,
                    give_back: has_owner.then_some(owner),
                    empty_first,
                })))
            }
            _ => Err(BadFrame("unknown request")),
        }
    }
}

impl<'a> InitReply<'a> {
    /// Appends the encoded reply to `out`.
    pub fn encode(&self, out: &mut Vec<u8>) {
        match self {
            Self::Hello { version } => frame(out, HELLO, &version.to_le_bytes()),
            Self::Stdout(bytes) => frame(out, STDOUT, bytes),
            Self::Stderr(bytes) => frame(out, STDERR, bytes),
            Self::Exit(exit) => {
                let (kind, value, text) = match exit {
                    CommandEnd::Code(code) => (0_u8, *code, ""),
                    CommandEnd::Signal(signal) => (1, *signal, ""),
                    CommandEnd::TimedOut => (2, 0, ""),
                    CommandEnd::Killed => (3, 0, ""),
                    CommandEnd::NotStarted(text) => (4, 0, text.as_str()),
                    CommandEnd::NotEmptied(text) => (5, 0, text.as_str()),
                };
                let mut body = vec![kind];
                body.extend_from_slice(&value.to_le_bytes());
                body.extend_from_slice(text.as_bytes());
                frame(out, EXIT, &body);
            }
        }
    }

    /// Decodes a reply from a frame.
    pub fn decode(frame: Frame<'a>) -> Result<Self, BadFrame> {
        let mut r = PayloadReader(frame.payload);
        match frame.kind {
            STDOUT => Ok(Self::Stdout(frame.payload)),
            STDERR => Ok(Self::Stderr(frame.payload)),
            HELLO => {
                let version = r.u32()?;
                r.end()?;
                Ok(Self::Hello { version })
            }
            EXIT => {
                let [kind] = r.array()?;
                let value = i32::from_le_bytes(r.array()?);
                Ok(Self::Exit(match kind {
                    0 => CommandEnd::Code(value),
                    1 => CommandEnd::Signal(value),
                    2 => CommandEnd::TimedOut,
                    3 => CommandEnd::Killed,
                    4 => CommandEnd::NotStarted(String::from_utf8_lossy(r.0).into_owned()),
                    5 => CommandEnd::NotEmptied(String::from_utf8_lossy(r.0).into_owned()),
                    _ => return Err(BadFrame("unknown kind of exit")),
                }))
            }
            _ => Err(BadFrame("unknown reply")),
        }
    }
}

fn put_len(out: &mut Vec<u8>, len: usize) -> Result<(), BadFrame> {
    let len = u32::try_from(len).map_err(|_| BadFrame("too long"))?;
    out.extend_from_slice(&len.to_le_bytes());
    Ok(())
}

fn put_bytes(out: &mut Vec<u8>, bytes: &[u8]) -> Result<(), BadFrame> {
    put_len(out, bytes.len())?;
    out.extend_from_slice(bytes);
    Ok(())
}

fn put_list(out: &mut Vec<u8>, items: &[String]) -> Result<(), BadFrame> {
    put_len(out, items.len())?;
    items.iter().try_for_each(|item| put_bytes(out, item.as_bytes()))
}

/// Decodes values one after the other from a payload; the field is the rest.
struct PayloadReader<'a>(&'a [u8]);

impl<'a> PayloadReader<'a> {
    fn take(&mut self, len: usize) -> Result<&'a [u8], BadFrame> {
        let (head, tail) = self.0.split_at_checked(len).ok_or(BadFrame("too short"))?;
        self.0 = tail;
        Ok(head)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], BadFrame> {
        let (head, tail) = self.0.split_first_chunk().ok_or(BadFrame("too short"))?;
        self.0 = tail;
        Ok(*head)
    }

    fn u32(&mut self) -> Result<u32, BadFrame> {
        Ok(u32::from_le_bytes(self.array()?))
    }

    fn u64(&mut self) -> Result<u64, BadFrame> {
        Ok(u64::from_le_bytes(self.array()?))
    }

    fn flag(&mut self) -> Result<bool, BadFrame> {
        match self.array()? {
            [0] => Ok(false),
            [1] => Ok(true),
            _ => Err(BadFrame("not a flag")),
        }
    }

    fn bytes(&mut self) -> Result<&'a [u8], BadFrame> {
        let len = self.u32()? as usize;
        self.take(len)
    }

    fn string(&mut self) -> Result<String, BadFrame> {
        let bytes = self.bytes()?.to_vec();
        String::from_utf8(bytes).map_err(|_| BadFrame("text is not UTF-8"))
    }

    fn list(&mut self) -> Result<Vec<String>, BadFrame> {
        let count = self.u32()?;
        (0..count).map(|_| self.string()).collect()
    }

    fn end(&self) -> Result<(), BadFrame> {
        if self.0.is_empty() {
            Ok(())
        } else {
            Err(BadFrame("bytes left over"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn full_run() -> RunCommand {
        RunCommand {
            argv: vec!["/train".into(), String::new(), "ünï".into()],
            env: vec![("A".into(), "1".into()), ("B".into(), "line\nbreak=".into())],
            cwd: "/pfs".into(),
            user: "nobody:nogroup".into(),
            stdin: Some(vec![0, 255, 10]),
            timeout_ms: 1 << 40,
            work_dirs: vec!["/pfs".into()],
            give_back: Some((1000, 100)),
            empty_first: true,
        }
    }

    fn through(request: &InitRequest) -> InitRequest {
        let mut bytes = Vec::new();
        request.encode(&mut bytes).unwrap();
        let mut inbox = FrameBuffer::default();
        // One byte at a time: the frame is complete with its last byte and not before.
        for (i, byte) in bytes.iter().enumerate() {
            inbox.push(&[*byte]);
            if i + 1 < bytes.len() {
                assert!(inbox.next_frame().unwrap().is_none());
            }
        }
        let got = InitRequest::decode(inbox.next_frame().unwrap().unwrap()).unwrap();
        assert!(inbox.next_frame().unwrap().is_none());
        got
    }

    #[test]
    fn requests_are_decoded_as_encoded() {
        let empty_stdin = RunCommand {
            stdin: Some(Vec::new()),
            ..RunCommand::default()
        };
        for request in [
            InitRequest::Run(Box::new(full_run())),
            InitRequest::Run(Box::default()),
            InitRequest::Run(Box::new(empty_stdin)),
            InitRequest::Kill,
            InitRequest::Shutdown,
        ] {
            assert_eq!(through(&request), request);
        }
    }

    #[test]
    fn consecutive_replies_are_decoded_as_encoded() {
        let replies = [
            InitReply::Hello { version: VERSION },
            InitReply::Stdout(b"out"),
            InitReply::Stderr(&[0, 1, 2]),
            InitReply::Exit(CommandEnd::Code(-1)),
            InitReply::Exit(CommandEnd::Signal(9)),
            InitReply::Exit(CommandEnd::TimedOut),
            InitReply::Exit(CommandEnd::Killed),
            InitReply::Exit(CommandEnd::NotStarted("/x: not found in the image".into())),
        ];
        let mut bytes = Vec::new();
        replies.iter().for_each(|reply| reply.encode(&mut bytes));
        let mut inbox = FrameBuffer::default();
        inbox.push(&bytes);
        for reply in &replies {
            let frame = inbox.next_frame().unwrap().unwrap();
            assert_eq!(&InitReply::decode(frame).unwrap(), reply);
        }
        assert!(inbox.next_frame().unwrap().is_none());
    }

    #[test]
    fn a_truncated_or_padded_run_is_refused() {
        let mut bytes = Vec::new();
        InitRequest::Run(Box::new(full_run())).encode(&mut bytes).unwrap();
        let payload = &bytes[HEADER..];
        for cut in 0..payload.len() {
            let frame = Frame {
                kind: RUN,
                payload: &payload[..cut],
            };
            assert!(InitRequest::decode(frame).is_err(), "cut at {cut}");
        }
        let mut padded = payload.to_vec();
        padded.push(0);
        let frame = Frame {
            kind: RUN,
            payload: &padded,
        };
        assert!(InitRequest::decode(frame).is_err());
    }

    #[test]
    fn corrupt_lengths_are_refused_before_memory_is_allocated() {
        let mut inbox = FrameBuffer::default();
        inbox.push(&[RUN, 255, 255, 255, 255]);
        assert!(inbox.next_frame().is_err());
        // A list that claims four billion entries in a short payload.
        let frame = Frame {
            kind: RUN,
            payload: &[255, 255, 255, 255],
        };
        assert!(InitRequest::decode(frame).is_err());
    }

    #[test]
    fn a_frame_without_payload_is_not_written() {
        let mut out = vec![7];
        append_filled::<()>(&mut out, STDOUT, |_| Ok(())).unwrap();
        assert_eq!(out, [7]);
        append_filled::<()>(&mut out, STDOUT, |o| {
            o.extend_from_slice(b"xy");
            Ok(())
        })
        .unwrap();
        assert_eq!(out, [7, STDOUT, 2, 0, 0, 0, b'x', b'y']);
    }
}
