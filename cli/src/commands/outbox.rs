//! The channel between the thread that reads the sources of a put and the connection that sends them.
//!
//! Passing one small message through a channel costs more than making it, so messages pass in batches. Memory is
//! bounded by the channel: [`QUEUE`] batches of about [`BATCH_BYTES`], plus one batch on each side; a message with few
//! bytes may still hold a buffer of [`CHUNK`] bytes. Messages keep their order. An error of the channel means that the
//! request has ended; the request reports its own error.

use std::io::{self, Read};
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use howdah_api::pfs_v2::add_file::{Source, UrlSource};
use howdah_api::pfs_v2::modify_file_request::Body;
use howdah_api::pfs_v2::{AddFile, ModifyFileRequest};
use tokio::sync::mpsc;

use super::files::delete_path;
use crate::error::CliError;

/// Most bytes in one message: small enough to stay in the processor's cache until they are sent.
pub(super) const CHUNK: usize = 128 << 10;
/// Bytes of contents from which a batch is sent.
const BATCH_BYTES: usize = 512 << 10;
/// Messages from which a batch is sent.
const BATCH_MESSAGES: usize = 512;
/// Most batches in the channel.
pub(super) const QUEUE: usize = 8;

/// What the reading thread sends through the channel.
#[derive(Debug)]
pub(super) enum PutEvent {
    /// Messages to send.
    Messages(Vec<ModifyFileRequest>),
    /// All sources have been read. Only this event ends the request, so that a partial put is never committed.
    End,
}

/// The sending side of the channel.
pub(super) type PutSender = mpsc::Sender<PutEvent>;

/// Collects messages into batches.
#[derive(Debug)]
pub(super) struct Outbox {
    sender: PutSender,
    batch: Vec<ModifyFileRequest>,
    bytes: usize,
}

impl Outbox {
    /// Makes an outbox without messages.
    pub(super) fn new(sender: PutSender) -> Outbox {
        Outbox {
            sender,
            batch: Vec::new(),
            bytes: 0,
        }
    }

    /// Adds a message that deletes a path.
    pub(super) fn delete(&mut self, path: &str) -> Result<(), CliError> {
        self.message(delete_path(path), 0)
    }

    /// Adds a message that appends bytes to a path; without a source it makes an empty file.
    pub(super) fn add(&mut self, path: &str, source: Option<Source>) -> Result<(), CliError> {
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

    /// Adds a message that appends an offered file to a path, and sends the batch.
    ///
    /// Sent at once because the caller then waits until the server has read the file.
    pub(super) fn add_offered(&mut self, path: &str, url: String) -> Result<(), CliError> {
        let source = UrlSource {
            url,
            ..UrlSource::default()
        };
        self.add(path, Some(Source::Url(source)))?;
        self.send_batch()
    }

    fn message(&mut self, message: ModifyFileRequest, bytes: usize) -> Result<(), CliError> {
        self.batch.push(message);
        self.bytes += bytes;
        if self.bytes >= BATCH_BYTES || self.batch.len() >= BATCH_MESSAGES {
            return self.send_batch();
        }
        Ok(())
    }

    fn send_batch(&mut self) -> Result<(), CliError> {
        self.bytes = 0;
        let batch = std::mem::take(&mut self.batch);
        if batch.is_empty() {
            return Ok(());
        }
        send(&self.sender, PutEvent::Messages(batch))
    }

    /// Sends the last batch and the end.
    pub(super) fn end(mut self) -> Result<(), CliError> {
        self.send_batch()?;
        send(&self.sender, PutEvent::End)
    }
}

/// Sends an event. The error is a placeholder: the request has ended and returns its own error instead.
fn send(sender: &PutSender, event: PutEvent) -> Result<(), CliError> {
    sender.blocking_send(event).map_err(|_| CliError::Interrupted)
}

/// A pool of buffers of [`CHUNK`] bytes. A buffer returns to the pool when its message has been sent.
///
/// Without the pool each message would need fresh pages from the system, which costs as much as copying the data.
#[derive(Debug, Default)]
pub(super) struct BufferPool {
    idle: Arc<Mutex<Vec<Box<[u8]>>>>,
}

/// A buffer in use. Dropping it returns it to the pool.
struct PooledChunk {
    buffer: Box<[u8]>,
    length: usize,
    pool: Arc<Mutex<Vec<Box<[u8]>>>>,
}

impl BufferPool {
    /// Reads until a buffer is full or the source ends; returns the bytes and whether the source has ended.
    pub(super) fn read(&mut self, reader: &mut impl Read) -> io::Result<(Bytes, bool)> {
        let idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let mut chunk = PooledChunk {
            buffer: idle.unwrap_or_else(|| vec![0; CHUNK].into()),
            length: 0,
            pool: Arc::clone(&self.idle),
        };
        while chunk.length < chunk.buffer.len() {
            match reader.read(&mut chunk.buffer[chunk.length..]) {
                Ok(0) => return Ok((Bytes::from_owner(chunk), true)),
                Ok(more) => chunk.length += more,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok((Bytes::from_owner(chunk), false))
    }
}

impl AsRef<[u8]> for PooledChunk {
    fn as_ref(&self) -> &[u8] {
        &self.buffer[..self.length]
    }
}

impl Drop for PooledChunk {
    fn drop(&mut self) {
        let buffer = std::mem::take(&mut self.buffer);
        self.pool.lock().unwrap_or_else(PoisonError::into_inner).push(buffer);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buffers_are_reused_once_they_are_free() {
        let mut buffers = BufferPool::default();
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
