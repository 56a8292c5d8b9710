//! The bodies of a call: that of the request may not be silent for ever, that of the answer notes the end of the call.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::{Body, Bytes, HttpBody};
use tokio::time::{Instant, Sleep};
use tonic::Status;

use crate::connections::registry::RunningCall;

/// The body of a request. It fails when the client sends nothing for a time while the server waits for it.
pub struct BoundedBody {
    inner: Body,
    limit: Duration,
    /// Runs while the server waits.
    silence: Option<Pin<Box<Sleep>>>,
}

impl BoundedBody {
    /// Bounds the silence of a body.
    pub fn new(inner: Body, limit: Duration) -> Self {
        Self {
            inner,
            limit,
            silence: None,
        }
    }
}

impl HttpBody for BoundedBody {
    type Data = Bytes;
    type Error = axum::BoxError;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<http_body::Frame<Bytes>, axum::BoxError>>> {
        let this = self.get_mut();
        if let Poll::Ready(frame) = Pin::new(&mut this.inner).poll_frame(context) {
            this.silence = None;
            return Poll::Ready(frame.map(|frame| frame.map_err(Into::into)));
        }
        let limit = this.limit;
        let silence = this
            .silence
            .get_or_insert_with(|| Box::pin(tokio::time::sleep_until(Instant::now() + limit)));
        if silence.as_mut().poll(context).is_pending() {
            return Poll::Pending;
        }
        let text = format!(
            "the client has sent nothing for {} seconds in the middle of a call (--client-silence-seconds)",
            limit.as_secs()
        );
        Poll::Ready(Some(Err(Status::deadline_exceeded(text).into())))
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> http_body::SizeHint {
        self.inner.size_hint()
    }
}

/// The body of an answer. The call runs until it is dropped.
pub struct CallBody {
    inner: Body,
    _call: RunningCall,
}

impl CallBody {
    /// Makes the body of the answer to a running call.
    pub fn new(inner: Body, call: RunningCall) -> Self {
        Self { inner, _call: call }
    }
}

impl HttpBody for CallBody {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<http_body::Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.get_mut().inner).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> http_body::SizeHint {
        self.inner.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_silent_client_ends_its_call_with_a_status() {
        let (sender, chunks) = tokio::sync::mpsc::channel::<Result<Bytes, std::io::Error>>(1);
        let body = Body::from_stream(tokio_stream::wrappers::ReceiverStream::new(chunks));
        let limit = Duration::from_secs(60);
        let mut body = Body::new(BoundedBody::new(body, limit));
        let mut next = async || std::future::poll_fn(|context| Pin::new(&mut body).poll_frame(context)).await;
        tokio::spawn(async move {
            for _ in 0..2 {
                tokio::time::sleep(Duration::from_secs(50)).await;
                sender.send(Ok(Bytes::from_static(b"x"))).await.unwrap();
            }
            std::future::pending::<()>().await;
        });
        assert!(next().await.unwrap().is_ok());
        assert!(next().await.unwrap().is_ok());
        let before = Instant::now();
        let error = next().await.unwrap().unwrap_err();
        assert_eq!(before.elapsed(), limit);
        let status = Status::from_error(error.into());
        assert_eq!(status.code(), tonic::Code::DeadlineExceeded);
        assert!(status.message().contains("for 60 seconds"), "{status}");
    }
}
