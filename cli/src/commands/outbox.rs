//! Between the thread that reads what is put and the connection that sends it.
//!
//! Handing over one small message costs more than making it, so they are handed over many at a time. What waits is
//! bounded: [`QUEUE`] batches of [`BATCH_BYTES`] each, and a buffer of [`CHUNK`] bytes more for each of their messages.

use std::io::{self, Read};
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use howdah_api::pfs_v2::add_file::{Source, UrlSource};
use howdah_api::pfs_v2::modify_file_request::Body;
use howdah_api::pfs_v2::{AddFile, ModifyFileRequest};
use tokio::sync::mpsc;

use super::files::delete_path;
use crate::error::CliError;

/// The most bytes in one message: few enough to stay in the processor's cache on the way to the socket.
pub const CHUNK: usize = 128 << 10;
/// A batch is handed over when its messages have so many bytes,
const BATCH_BYTES: usize = 512 << 10;
/// or when there are so many.
const BATCH_MESSAGES: usize = 512;
/// Batches that wait for the connection.
pub const QUEUE: usize = 8;

/// What the reading thread hands over.
#[derive(Debug)]
pub enum Step {
    /// Messages to send.
    Messages(Vec<ModifyFileRequest>),
    /// Everything has been read.
    End,
}

/// Where steps go; an error means that nobody wants them any more.
pub type Sender = mpsc::Sender<Step>;

/// Gathers messages.
#[derive(Debug)]
pub struct Outbox {
    sender: Sender,
    batch: Vec<ModifyFileRequest>,
    bytes: usize,
}

impl Outbox {
    /// Begins with nothing gathered.
    pub fn new(sender: Sender) -> Outbox {
        Outbox {
            sender,
            batch: Vec::new(),
            bytes: 0,
        }
    }

    /// Lets a path be deleted.
    pub fn delete(&mut self, path: &str) -> Result<(), CliError> {
        self.message(delete_path(path), 0)
    }

    /// Lets bytes be added to a path; no source makes an empty file.
    pub fn add(&mut self, path: &str, source: Option<Source>) -> Result<(), CliError> {
        let bytes = match &source {
            Some(Source::Raw(bytes)) => bytes.len(),
            _ => 0,
        };
        let add = AddFile {
            path: path.to_owned(),
            datum: String::new(),
            source,
        };
        let message = ModifyFileRequest {
            body: Some(Body::AddFile(add)),
        };
        self.message(message, bytes)
    }

    /// Lets the bytes of a file on loan be added to a path, and hands everything over: the server is to take the file.
    pub fn add_lent(&mut self, path: &str, url: String) -> Result<(), CliError> {
        let source = UrlSource {
            url,
            ..UrlSource::default()
        };
        self.add(path, Some(Source::Url(source)))?;
        self.hand_over()
    }

    fn message(&mut self, message: ModifyFileRequest, bytes: usize) -> Result<(), CliError> {
        self.batch.push(message);
        self.bytes += bytes;
        if self.bytes >= BATCH_BYTES || self.batch.len() >= BATCH_MESSAGES {
            return self.hand_over();
        }
        Ok(())
    }

    fn hand_over(&mut self) -> Result<(), CliError> {
        self.bytes = 0;
        let batch = std::mem::take(&mut self.batch);
        if batch.is_empty() {
            return Ok(());
        }
        give(&self.sender, Step::Messages(batch))
    }

    /// Hands over what is left and says that this is all.
    pub fn end(mut self) -> Result<(), CliError> {
        self.hand_over()?;
        give(&self.sender, Step::End)
    }
}

/// Hands a step over; the connection's end reports its own error, so ours is never seen.
fn give(sender: &Sender, step: Step) -> Result<(), CliError> {
    sender.blocking_send(step).map_err(|_| CliError::Interrupted)
}

/// Buffers of [`CHUNK`] bytes that come back when what was read into them has been sent: asking the system for fresh
/// memory again and again would cost as much as copying the data.
#[derive(Debug, Default)]
pub struct Buffers {
    idle: Arc<Mutex<Vec<Box<[u8]>>>>,
}

/// A buffer on its way; goes back when dropped.
struct Lent {
    buffer: Box<[u8]>,
    length: usize,
    home: Arc<Mutex<Vec<Box<[u8]>>>>,
}

impl Buffers {
    /// Reads until a buffer is full or the end is reached; tells which.
    pub fn read(&mut self, reader: &mut impl Read) -> io::Result<(Bytes, bool)> {
        let idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let mut lent = Lent {
            buffer: idle.unwrap_or_else(|| vec![0; CHUNK].into()),
            length: 0,
            home: Arc::clone(&self.idle),
        };
        while lent.length < lent.buffer.len() {
            match reader.read(&mut lent.buffer[lent.length..]) {
                Ok(0) => return Ok((Bytes::from_owner(lent), true)),
                Ok(more) => lent.length += more,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok((Bytes::from_owner(lent), false))
    }
}

impl AsRef<[u8]> for Lent {
    fn as_ref(&self) -> &[u8] {
        &self.buffer[..self.length]
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        let buffer = std::mem::take(&mut self.buffer);
        self.home.lock().unwrap_or_else(PoisonError::into_inner).push(buffer);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buffers_are_used_again_once_they_are_free() {
        let mut buffers = Buffers::default();
        let content = vec![5; CHUNK + 3];
        let mut reader = &content[..];
        let (first, last) = buffers.read(&mut reader).expect("read");
        assert_eq!((first.len(), last), (CHUNK, false));
        let (second, last) = buffers.read(&mut reader).expect("read");
        assert_eq!((&second[..], last), (&[5, 5, 5][..], true));
        let place = first.as_ptr();
        drop(first);
        let (third, _) = buffers.read(&mut &content[..]).expect("read");
        assert_eq!(third.as_ptr(), place);
    }
}
