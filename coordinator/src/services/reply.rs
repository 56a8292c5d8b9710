//! Types of replies, and the three ways to make a reply that is a stream.
//!
//! - [`from_items`]: the messages are known, each is converted when the client takes it.
//! - [`from_stream`]: a stream of messages exists already.
//! - [`from_task`]: a task finds the messages out, for example because it waits for changes of the state.
//!
//! A stream ends early in two ways, see [`StreamError`]: the client disconnects, or the call fails.

use std::future::Future;
use std::panic::AssertUnwindSafe;

use futures::{Stream, StreamExt, stream};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::codegen::BoxStream;
use tonic::{Response, Status};

use super::panicked::internal;
use crate::caller::Caller;
use crate::panics::{Panic, catch_task_panic};

/// Messages that a task makes ahead of a slow client. When this number is waiting, the task waits, too.
const BUFFERED_MESSAGES: usize = 16;

/// What a call with one reply message returns.
pub(super) type UnaryReply<T> = Result<Response<T>, Status>;

/// What a call with a stream of reply messages returns.
pub(super) type StreamReply<T> = Result<Response<BoxStream<T>>, Status>;

/// Answers with messages that are made one by one as the client takes them.
pub(super) fn from_items<T, I>(messages: I) -> StreamReply<T>
where
    I: IntoIterator<Item = Result<T, Status>>,
    I::IntoIter: Send + 'static,
    T: Send + 'static,
{
    from_stream(stream::iter(messages))
}

/// Answers with an existing stream.
pub(super) fn from_stream<T>(messages: impl Stream<Item = Result<T, Status>> + Send + 'static) -> StreamReply<T> {
    // A panic must not end the connection, which has other calls. After it the stream is not polled again.
    let guarded = AssertUnwindSafe(messages).catch_unwind().map(|message| match message {
        Ok(message) => message,
        Err(payload) => Err(internal(&Panic::caught("a streamed reply", &*payload))),
    });
    Ok(Response::new(guarded.boxed()))
}

/// The end of a streamed reply into which its task puts messages.
pub(super) struct ReplySender<T>(mpsc::Sender<Result<T, Status>>);

/// Why the task behind a streamed reply ends early.
#[derive(Debug)]
pub(super) enum StreamError {
    /// The client has disconnected. Nothing is sent any more.
    ClientGone,
    /// The call fails with this status.
    Failed(Status),
}

impl From<Status> for StreamError {
    fn from(status: Status) -> Self {
        Self::Failed(status)
    }
}

impl<T> ReplySender<T> {
    /// Sends one message; waits while the client is slow.
    ///
    /// # Errors
    /// [`StreamError::ClientGone`].
    pub(super) async fn send(&self, message: T) -> Result<(), StreamError> {
        self.0.send(Ok(message)).await.map_err(|_| StreamError::ClientGone)
    }

    /// Lets other tasks of the thread run. A task that looks at many things between two messages calls this for each:
    /// it would otherwise hold the thread, and go on after its client has disconnected.
    ///
    /// # Errors
    /// [`StreamError::ClientGone`].
    pub(super) async fn pause(&self) -> Result<(), StreamError> {
        tokio::task::yield_now().await;
        if self.0.is_closed() {
            return Err(StreamError::ClientGone);
        }
        Ok(())
    }

    /// Completes when the client has disconnected.
    ///
    /// A task that waits for anything but [`ReplySender::send`] must wait for this, too: it would otherwise outlive its
    /// call until the next message, which may never come.
    pub(super) async fn client_gone(&self) {
        self.0.closed().await;
    }
}

/// Answers with the messages that a task sends. If the task fails, its status ends the stream.
pub(super) fn from_task<T, F, Fut>(task: F) -> StreamReply<T>
where
    T: Send + 'static,
    F: FnOnce(ReplySender<T>) -> Fut,
    Fut: Future<Output = Result<(), StreamError>> + Send + 'static,
{
    let (sender, receiver) = mpsc::channel(BUFFERED_MESSAGES);
    let errors = sender.clone();
    let running = task(ReplySender(sender));
    // A task of its own works ahead of the client by the length of the channel. It is not aborted when the client
    // disconnects: the next `send` fails then, because the receiver is dropped with the call.
    let caller = Caller::current();
    tokio::spawn(caller.scope(async move {
        let ended = catch_task_panic("a streamed reply", running).await;
        let ended = ended.unwrap_or_else(|panic| Err(internal(&panic).into()));
        if let Err(StreamError::Failed(status)) = ended {
            // Fails only if the client has disconnected. Then nothing has to be reported.
            let _ = errors.send(Err(status)).await;
        }
    }));
    from_stream(ReceiverStream::new(receiver))
}

#[cfg(test)]
mod tests {
    use tonic::Code;

    use super::*;

    async fn codes(reply: StreamReply<u8>) -> Vec<Result<u8, Code>> {
        let messages = reply.unwrap().into_inner();
        let codes = messages.map(|message| message.map_err(|status| status.code()));
        codes.collect().await
    }

    #[tokio::test]
    async fn a_task_that_panics_ends_its_reply_with_an_error() {
        let reply = from_task(|sender| async move {
            sender.send(1).await?;
            panic!("in the middle")
        });
        assert_eq!(codes(reply).await, [Ok(1), Err(Code::Internal)]);
    }

    #[tokio::test]
    async fn a_stream_that_panics_ends_with_an_error() {
        let reply = from_items((1..3).map(|number| {
            assert!(number < 2, "in the middle");
            Ok(number)
        }));
        assert_eq!(codes(reply).await, [Ok(1), Err(Code::Internal)]);
    }
}
