//! Replies that are streams: of what is known already, or of what a task finds out.

use std::future::Future;

use futures::{Stream, StreamExt, stream};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::codegen::BoxStream;
use tonic::{Response, Status};

/// Messages that wait for a slow client before the task that makes them is held back.
const WAITING_MESSAGES: usize = 16;

/// What a streaming call answers.
pub type StreamReply<T> = Result<Response<BoxStream<T>>, Status>;

/// Answers with messages that are made one by one as the client takes them.
pub fn lazily<T, I>(messages: I) -> StreamReply<T>
where
    I: IntoIterator<Item = Result<T, Status>>,
    I::IntoIter: Send + 'static,
    T: Send + 'static,
{
    from_stream(stream::iter(messages))
}

/// Answers with an existing stream.
pub fn from_stream<T>(messages: impl Stream<Item = Result<T, Status>> + Send + 'static) -> StreamReply<T> {
    Ok(Response::new(messages.boxed()))
}

/// Where a task puts the messages of its reply.
pub struct Sender<T>(mpsc::Sender<Result<T, Status>>);

/// The client has gone away: there is nobody to work for any more.
#[derive(Debug)]
pub struct Gone;

/// How the task behind a reply ends early.
#[derive(Debug)]
pub enum Ended {
    /// The client has gone away.
    Gone,
    /// The call fails.
    Failed(Status),
}

impl From<Gone> for Ended {
    fn from(_: Gone) -> Self {
        Self::Gone
    }
}

impl From<Status> for Ended {
    fn from(status: Status) -> Self {
        Self::Failed(status)
    }
}

impl<T> Sender<T> {
    /// Sends one message; waits while the client is slow.
    pub async fn send(&self, message: T) -> Result<(), Gone> {
        self.0.send(Ok(message)).await.map_err(|_| Gone)
    }

    /// Completes when the client has gone away.
    pub async fn gone(&self) {
        self.0.closed().await;
    }
}

/// Answers with what a task sends; its error, if it ends with one, is the call's.
pub fn from_task<T, F, Fut>(task: F) -> StreamReply<T>
where
    T: Send + 'static,
    F: FnOnce(Sender<T>) -> Fut,
    Fut: Future<Output = Result<(), Ended>> + Send + 'static,
{
    let (sender, receiver) = mpsc::channel(WAITING_MESSAGES);
    let errors = sender.clone();
    let running = task(Sender(sender));
    tokio::spawn(async move {
        if let Err(Ended::Failed(status)) = running.await {
            // A client that has gone away does not want to know.
            let _ = errors.send(Err(status)).await;
        }
    });
    from_stream(ReceiverStream::new(receiver))
}
