//! Repeats calls that met no leading coordinator.
//!
//! A coordinator that cannot answer a call, because none leads at the moment, says with [`RETRY_HEADER`] whether the call
//! may be repeated: `always` means that nothing was done, `if-read` that the call may have been carried out. A connection
//! that breaks says nothing, which counts as `if-read`. A call that sends a stream is never repeated: its messages are gone.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use http_body_util::{BodyExt, Full};
use tokio::time::Instant;
use tonic::Status;
use tonic::body::Body;
use tonic::codegen::Service;
use tonic::codegen::http::{self, HeaderValue, request::Parts};
use tonic::transport::{Channel, Error};

/// Response header: whether a call that failed with `UNAVAILABLE` may be repeated.
pub const RETRY_HEADER: &str = "howdah-retry";

/// Longest time for which a call is repeated. A takeover takes less.
const PATIENCE: Duration = Duration::from_secs(15);
/// First pause between two attempts; doubles up to [`MAX_PAUSE`].
const FIRST_PAUSE: Duration = Duration::from_millis(200);
/// Longest pause between two attempts.
const MAX_PAUSE: Duration = Duration::from_secs(2);

/// Calls whose request is a stream.
const STREAMED: [&str; 4] = ["ModifyFile", "CreateFileSet", "CreateFileset", "CreateDatum"];
/// How the names of calls begin that change nothing.
const READING: [&str; 7] = ["Inspect", "List", "Get", "Glob", "Diff", "Walk", "Find"];

/// When a failed call may be repeated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RetryHint {
    /// Nothing was done.
    Always,
    /// It may have been carried out.
    IfRead,
}

impl RetryHint {
    /// Adds the hint to an error.
    #[must_use]
    pub fn mark(self, mut status: Status) -> Status {
        let value = match self {
            Self::Always => "always",
            Self::IfRead => "if-read",
        };
        status
            .metadata_mut()
            .insert(RETRY_HEADER, tonic::metadata::MetadataValue::from_static(value));
        status
    }

    fn of(value: &HeaderValue) -> Option<Self> {
        match value.as_bytes() {
            b"always" => Some(Self::Always),
            b"if-read" => Some(Self::IfRead),
            _ => None,
        }
    }
}

/// A connection that repeats calls. Cloning is cheap and shares the connection.
#[derive(Debug, Clone)]
pub struct RetryChannel {
    channel: Channel,
    /// Whether the server has answered any call. Until then, a broken connection means a wrong address.
    answered: Arc<AtomicBool>,
    /// Longest time of a call with all its attempts.
    patience: Duration,
}

impl RetryChannel {
    /// Wraps a connection whose calls have a time limit, or none.
    pub(crate) fn new(channel: Channel, call_limit: Option<Duration>) -> Self {
        Self {
            channel,
            answered: Arc::default(),
            patience: call_limit.map_or(PATIENCE, |limit| limit.min(PATIENCE)),
        }
    }
}

type Answer = Result<http::Response<Body>, Error>;

impl Service<http::Request<Body>> for RetryChannel {
    type Response = http::Response<Body>;
    type Error = Error;
    type Future = Pin<Box<dyn Future<Output = Answer> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Error>> {
        self.channel.poll_ready(context)
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let name = request.uri().path().rsplit('/').next().unwrap_or_default();
        let answered = Arc::clone(&self.answered);
        if STREAMED.contains(&name) {
            return Box::pin(self.channel.call(request));
        }
        let reads = READING.iter().any(|start| name.starts_with(start));
        // The clone has asked for no place in the channel's queue; this one has.
        let unready = self.channel.clone();
        let channel = std::mem::replace(&mut self.channel, unready);
        Box::pin(repeat(channel, request, reads, answered, self.patience))
    }
}

/// Sends a call until it is answered, may not be repeated, or the time is over.
async fn repeat(
    mut channel: Channel,
    request: http::Request<Body>,
    reads: bool,
    answered: Arc<AtomicBool>,
    patience: Duration,
) -> Answer {
    let (parts, body) = request.into_parts();
    // The one message of a call that is not a stream; it is in memory already.
    let Ok(body) = body.collect().await else {
        return Ok(Status::internal("the request cannot be sent").into_http());
    };
    let body = body.to_bytes();
    let end = Instant::now() + patience;
    let mut pause = FIRST_PAUSE;
    loop {
        let answer = channel.call(copy(&parts, Body::new(Full::new(body.clone())))).await;
        if answer.is_ok() {
            answered.store(true, Ordering::Relaxed);
        }
        let wake = Instant::now() + pause;
        if wake > end || !may_repeat(&answer, reads && answered.load(Ordering::Relaxed)) {
            return answer;
        }
        tokio::time::sleep_until(wake).await;
        pause = (pause * 2).min(MAX_PAUSE);
        std::future::poll_fn(|context| channel.poll_ready(context)).await?;
    }
}

fn copy(parts: &Parts, body: Body) -> http::Request<Body> {
    let mut request = http::Request::new(body);
    *request.method_mut() = parts.method.clone();
    *request.uri_mut() = parts.uri.clone();
    *request.version_mut() = parts.version;
    *request.headers_mut() = parts.headers.clone();
    *request.extensions_mut() = parts.extensions.clone();
    request
}

fn may_repeat(answer: &Answer, reads: bool) -> bool {
    let hint = match answer {
        Ok(answer) => answer.headers().get(RETRY_HEADER).and_then(RetryHint::of),
        Err(_) => Some(RetryHint::IfRead),
    };
    match hint {
        Some(RetryHint::Always) => true,
        Some(RetryHint::IfRead) => reads,
        None => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_reads_are_repeated_when_it_is_not_known_whether_they_were_carried_out() {
        let answer = |hint: RetryHint| Ok(hint.mark(Status::unavailable("none leads")).into_http());
        assert!(may_repeat(&answer(RetryHint::Always), false));
        assert!(may_repeat(&answer(RetryHint::IfRead), true));
        assert!(!may_repeat(&answer(RetryHint::IfRead), false));
        let other = Ok(Status::unavailable("overloaded").into_http());
        assert!(!may_repeat(&other, true));
    }

    #[test]
    fn every_call_that_sends_a_stream_is_known() {
        let streamed: Vec<String> = crate::json::DESCRIPTORS
            .services()
            .flat_map(|service| service.methods().collect::<Vec<_>>())
            .filter(prost_reflect::MethodDescriptor::is_client_streaming)
            .map(|method| method.name().to_owned())
            .collect();
        assert!(!streamed.is_empty());
        for name in streamed {
            assert!(STREAMED.contains(&&*name), "{name}");
        }
    }
}
