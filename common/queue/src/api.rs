//! Requests to JetStream. The code of a failure says what kind of failure it is.

use async_nats::jetstream::ErrorCode;
use async_nats::jetstream::context::RequestErrorKind;
use async_nats::jetstream::response::Response;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::client::Queue;
use crate::error::NatsCause;

/// A failed request to JetStream.
#[derive(Debug)]
pub(crate) enum ApiFailure {
    /// The server, or the account on it, has JetStream switched off.
    Off,
    /// The server answered with an error.
    Refused { code: ErrorCode, text: String },
    /// No answer, or one that cannot be read.
    Unanswered(String),
}

impl ApiFailure {
    /// Returns whether the stream or the consumer does not exist.
    pub(crate) fn is_missing(&self) -> bool {
        matches!(self, Self::Refused { code, .. } if is_missing(*code))
    }

    /// Returns whether the server can no longer use the files of the stream, or may not be able to.
    pub(crate) fn is_broken_store(&self) -> bool {
        matches!(self, Self::Refused { code, .. } if is_broken_store(*code))
    }

    /// Returns whether nothing is there: no stream, no consumer, no message.
    pub(crate) fn is_empty(&self) -> bool {
        self.is_missing() || matches!(self, Self::Refused { code, .. } if *code == ErrorCode::NO_MESSAGE_FOUND)
    }

    /// Returns the failure as the cause of an error.
    pub(crate) fn into_cause(self) -> NatsCause {
        NatsCause::of(match self {
            Self::Off => "JetStream is switched off".to_owned(),
            Self::Refused { text, .. } | Self::Unanswered(text) => text,
        })
    }
}

pub(crate) fn is_missing(code: ErrorCode) -> bool {
    code == ErrorCode::STREAM_NOT_FOUND || code == ErrorCode::CONSUMER_NOT_FOUND
}

/// Returns whether a server gives this code when files of the stream are gone or damaged.
///
/// The codes are those of failures inside the server. Wrong requests have codes of their own. So this may also be a
/// failure of another kind; the stream holds nothing that cannot be published again.
pub(crate) fn is_broken_store(code: ErrorCode) -> bool {
    [
        ErrorCode::STREAM_STORE_FAILED,
        ErrorCode::STREAM_UPDATE,
        ErrorCode::STREAM_GENERALOR,
        ErrorCode::CONSUMER_STORE_FAILED,
        ErrorCode::CONSUMER_CREATE,
    ]
    .contains(&code)
}

impl Queue {
    /// Sends a request to JetStream; `subject` is without its prefix.
    pub(crate) async fn api<T: DeserializeOwned>(&self, subject: String, body: &Value) -> Result<T, ApiFailure> {
        let answer: Result<Response<T>, _> = self.js.request(subject, body).await;
        match answer {
            Ok(Response::Ok(answer)) => Ok(answer),
            Ok(Response::Err { error }) => Err(match error.error_code() {
                ErrorCode::JETSTREAM_NOT_ENABLED | ErrorCode::JETSTREAM_NOT_ENABLED_FOR_ACCOUNT => ApiFailure::Off,
                code => ApiFailure::Refused {
                    code,
                    text: error.to_string(),
                },
            }),
            Err(error) if error.kind() == RequestErrorKind::NoResponders => Err(ApiFailure::Off),
            Err(error) => Err(ApiFailure::Unanswered(error.to_string())),
        }
    }
}
