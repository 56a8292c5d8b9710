//! Bounds on the messages that clients send: their sizes by call, and the memory of all of them together.
//!
//! ```text
//!  bytes of a call --> message headers --size within the limit of the call?--> memory of the call reserved --> service
//! ```
//!
//! A message announces its size before its bytes. Small messages pass. Before the first larger one is read, its call
//! reserves memory: a put what a put needs, another call the size of the message. It keeps that until it ends, and
//! reserves nothing further, so calls that wait for each other cannot occur. Meanwhile nothing is read from the client,
//! which therefore sends nothing.
//!
//! A compressed message can become a thousand times larger: the largest size counts that it can have. The service
//! refuses those that become larger than the limit of the call, while it decompresses them.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::body::{Body, BodyDataStream};
use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::Response;
use bytes::Bytes;
use futures::{StreamExt, TryStreamExt, stream};
use howdah_api::MAX_MESSAGE_BYTES;
use tonic::Status;

use super::status::IntoStatus;
use crate::memory_budget::{MemoryBudget, Reservation};

/// Largest message of most calls. Their texts are at most 1 MiB together.
pub(super) const SMALL_MESSAGE_BYTES: usize = 2 << 20;
/// Largest message of calls with a spec, which has two forms in some of them.
pub(super) const SPEC_MESSAGE_BYTES: usize = 4 << 20;
/// Memory of a put: its message, data that is not cut into chunks yet, files that are not stored yet.
const PUT_BYTES: usize = 48 << 20;
/// Messages up to this size pass without a reservation. The number of calls of a connection bounds their memory.
const FREE_BYTES: usize = 64 << 10;
/// Bytes of small messages, or of a file that a client on this machine offers, for which a call reserves nothing. Above
/// them it does: its files are collected.
pub(super) const FREE_CALL_BYTES: usize = 1 << 20;
/// How many times larger than its compressed form a message can be at most (deflate: 258 bytes for 2 bits).
const LARGEST_RATIO: usize = 1032;
/// Silence of a client whose call has memory, after which it loses it if other calls wait for some.
const SILENCE: Duration = Duration::from_secs(10);

/// Calls with messages larger than [`SMALL_MESSAGE_BYTES`], with their limits.
pub(super) const LARGER_CALLS: [(&str, usize); 4] = [
    (MODIFY_FILE, MAX_MESSAGE_BYTES),
    ("/pps_v2.API/CreatePipeline", SPEC_MESSAGE_BYTES),
    ("/pps_v2.API/CreatePipelineV2", SPEC_MESSAGE_BYTES),
    ("/transaction_v2.API/BatchTransaction", SPEC_MESSAGE_BYTES),
];
const MODIFY_FILE: &str = "/pfs_v2.API/ModifyFile";
const HEALTH_CHECK: &str = "/grpc.health.v1.Health/Check";
/// Largest message of a health check. It has the name of a service.
const HEALTH_MESSAGE_BYTES: usize = 1 << 10;

/// Bounds the messages of one call.
pub(super) async fn bound_messages(State(budget): State<MemoryBudget>, mut request: Request, next: Next) -> Response {
    let path = request.uri().path().to_owned();
    let limit = limit_of(&path);
    let memory = CallMemory {
        budget,
        bytes: if path == MODIFY_FILE { PUT_BYTES } else { limit },
        reserved: Arc::default(),
    };
    request.extensions_mut().insert(memory.clone());
    let (parts, body) = request.into_parts();
    let call = BoundedCall {
        limit,
        path,
        body: body.into_data_stream(),
        scanner: MessageScanner::default(),
        unreserved: 0,
        memory: memory.clone(),
    };
    let bounded = Body::from_stream(stream::try_unfold(call, BoundedCall::next));
    let response = next.run(Request::from_parts(parts, bounded)).await;
    // Until here: the message of a call with one message is read before the call does its work.
    drop(memory);
    response
}

fn limit_of(path: &str) -> usize {
    // Callers without a name may make it. A larger message is refused before memory is reserved for it.
    if path == HEALTH_CHECK {
        return HEALTH_MESSAGE_BYTES;
    }
    let larger = LARGER_CALLS.iter().find(|(call, _)| *call == path);
    larger.map_or(SMALL_MESSAGE_BYTES, |(_, limit)| *limit)
}

/// The memory of one call, shared by the reader of its messages and its service, which finds it in the extensions of the
/// request.
#[derive(Clone, Debug)]
pub(super) struct CallMemory {
    budget: MemoryBudget,
    /// What the call reserves, once.
    bytes: usize,
    reserved: Arc<Mutex<Option<Reservation>>>,
}

impl CallMemory {
    /// Reserves memory, unless the call has done so.
    ///
    /// # Errors
    /// `RESOURCE_EXHAUSTED` when there is none for a while.
    pub(super) async fn reserve(&self) -> Result<(), Status> {
        if !self.is_reserved() {
            let reservation = self.budget.reserve(self.bytes).await.map_err(IntoStatus::into_status)?;
            *self.reserved.lock().unwrap_or_else(PoisonError::into_inner) = Some(reservation);
        }
        Ok(())
    }

    fn is_reserved(&self) -> bool {
        self.reserved.lock().unwrap_or_else(PoisonError::into_inner).is_some()
    }
}

/// The bytes of a call that have not been read.
struct BoundedCall {
    path: String,
    limit: usize,
    body: BodyDataStream,
    scanner: MessageScanner,
    /// Bytes that passed without a reservation.
    unreserved: usize,
    memory: CallMemory,
}

impl BoundedCall {
    /// Returns the next bytes, for [`stream::try_unfold`].
    async fn next(mut self) -> Result<Option<(Bytes, Self)>, axum::Error> {
        let Some(bytes) = self.read().await? else {
            return Ok(None);
        };
        let mut rest = &bytes[..];
        while let Some(header) = self.scanner.next_header(&mut rest) {
            self.admit(header).await.map_err(axum::Error::new)?;
        }
        Ok(Some((bytes, self)))
    }

    /// Reads from the client. A client that is silent must not keep the memory that others wait for.
    async fn read(&mut self) -> Result<Option<Bytes>, axum::Error> {
        if !self.memory.is_reserved() {
            return self.body.try_next().await;
        }
        loop {
            match tokio::time::timeout(SILENCE, self.body.next()).await {
                Ok(read) => return read.transpose(),
                Err(_) if self.memory.budget.is_contended() => {
                    return Err(axum::Error::new(Status::resource_exhausted(format!(
                        "{}: the client was silent for {} s while other calls waited for memory",
                        self.path,
                        SILENCE.as_secs()
                    ))));
                }
                Err(_) => {}
            }
        }
    }

    async fn admit(&mut self, header: MessageHeader) -> Result<(), Status> {
        if header.length > self.limit {
            return Err(Status::resource_exhausted(format!(
                "{}: a message of {} bytes is too large: the limit is {} bytes",
                self.path, header.length, self.limit
            )));
        }
        if self.memory.is_reserved() {
            return Ok(());
        }
        let size = header.largest_size().min(self.limit);
        self.unreserved += size;
        if size <= FREE_BYTES && self.unreserved <= FREE_CALL_BYTES {
            return Ok(());
        }
        self.memory.reserve().await
    }
}

/// What precedes a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct MessageHeader {
    is_compressed: bool,
    /// Bytes of the message as they are sent.
    length: usize,
}

impl MessageHeader {
    /// Returns the largest number of bytes that the message can have.
    fn largest_size(self) -> usize {
        if self.is_compressed {
            self.length.saturating_mul(LARGEST_RATIO)
        } else {
            self.length
        }
    }
}

/// Finds messages in the bytes of a call, which come in pieces of any size.
#[derive(Debug, Default)]
struct MessageScanner {
    header: [u8; 5],
    /// Bytes of `header` that are there.
    filled: usize,
    /// Bytes of the present message that have not come.
    left: usize,
}

impl MessageScanner {
    /// Returns the next header that ends within `bytes`, and removes what is before the message from them.
    fn next_header(&mut self, bytes: &mut &[u8]) -> Option<MessageHeader> {
        let skipped = self.left.min(bytes.len());
        *bytes = &bytes[skipped..];
        self.left -= skipped;
        let taken = bytes.len().min(self.header.len() - self.filled);
        self.header[self.filled..self.filled + taken].copy_from_slice(&bytes[..taken]);
        *bytes = &bytes[taken..];
        self.filled += taken;
        if self.filled < self.header.len() {
            return None;
        }
        self.filled = 0;
        let [flag, length @ ..] = self.header;
        self.left = u32::from_be_bytes(length) as usize;
        Some(MessageHeader {
            is_compressed: flag != 0,
            length: self.left,
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn messages_are_found_however_their_bytes_are_cut(
            messages in prop::collection::vec((any::<bool>(), 0usize..40), 0..12),
            piece in 1usize..60,
        ) {
            let mut bytes = Vec::new();
            for (is_compressed, length) in &messages {
                bytes.push(u8::from(*is_compressed));
                bytes.extend_from_slice(&u32::try_from(*length).unwrap().to_be_bytes());
                bytes.extend(std::iter::repeat_n(255, *length));
            }
            let mut scanner = MessageScanner::default();
            let mut found = Vec::new();
            for mut piece in bytes.chunks(piece) {
                while let Some(header) = scanner.next_header(&mut piece) {
                    found.push((header.is_compressed, header.length));
                }
            }
            prop_assert_eq!(found, messages);
        }
    }

    #[test]
    fn only_some_calls_have_large_messages() {
        assert_eq!(limit_of("/pfs_v2.API/CreateRepo"), SMALL_MESSAGE_BYTES);
        assert_eq!(limit_of("/pfs_v2.API/ModifyFile"), MAX_MESSAGE_BYTES);
    }
}
