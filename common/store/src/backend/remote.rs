//! Objects on an S3-compatible server, through OpenDAL.
//!
//! Servers differ in how they treat a conditional write: some honour it, some refuse it, some ignore the condition and
//! overwrite. So [`RemoteBackend::supports_put_if_absent`] tries it on the server itself.
//!
//! Temporary failures are retried here. A conditional write that was retried may therefore return
//! [`PutOutcome::Exists`] because of its own first attempt; a caller for which that matters must read the object back
//! and compare.

use std::fmt;
use std::ops::Range;
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use bytes::Bytes;
use futures::TryStreamExt;
use opendal::layers::{RetryLayer, TimeoutLayer};
use opendal::{ErrorKind, HttpTransporter, Metadata, OperationContext, Operator, services};
use opendal_http_transport_reqwest::ReqwestTransport;

use super::{Backend, ObjectMeta, PutOutcome};
use crate::error::BackendError;

/// How to reach an S3-compatible server. A field that is `None` is taken from the usual `AWS_*` variables, profile
/// files and instance metadata.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct S3Config {
    /// Address of the server, such as `http://127.0.0.1:9000`; `None` = Amazon's.
    pub endpoint: Option<String>,
    /// Region; `us-east-1` if nothing names another.
    pub region: Option<String>,
    /// Public half of the credentials.
    pub access_key: Option<String>,
    /// Secret half of the credentials.
    pub secret_key: Option<String>,
    /// Token of temporary credentials.
    pub session_token: Option<String>,
    /// The bucket is part of the host name instead of the path.
    pub virtual_host_style: bool,
}

impl fmt::Debug for S3Config {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The secret must never reach a log.
        f.debug_struct("S3Config")
            .field("endpoint", &self.endpoint)
            .field("region", &self.region)
            .field("access_key", &self.access_key)
            .field("secret_key", &self.secret_key.as_ref().map(|_| "***"))
            .field("session_token", &self.session_token.as_ref().map(|_| "***"))
            .field("virtual_host_style", &self.virtual_host_style)
            .finish()
    }
}

/// Timeout of one request: a lost connection must become an error.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(60);
const RETRIES: usize = 4;

/// A bucket, or a prefix in one.
#[derive(Debug, Clone)]
pub struct RemoteBackend {
    operator: Operator,
    place: String,
}

impl RemoteBackend {
    /// Prepares access to a bucket; nothing is sent yet.
    pub fn s3(bucket: &str, prefix: &str, config: &S3Config) -> Result<Self, BackendError> {
        // The HTTP client is compiled without a provider of cryptography. An error means that one is installed already.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let mut builder = services::S3::default()
            .bucket(bucket)
            .root(&format!("/{prefix}"))
            .region(config.region.as_deref().unwrap_or("us-east-1"));
        if let Some(endpoint) = &config.endpoint {
            builder = builder.endpoint(endpoint);
        }
        if let Some(key) = &config.access_key {
            builder = builder.access_key_id(key);
        }
        if let Some(key) = &config.secret_key {
            builder = builder.secret_access_key(key);
        }
        if let Some(token) = &config.session_token {
            builder = builder.session_token(token);
        }
        if config.virtual_host_style {
            builder = builder.enable_virtual_host_style();
        }
        // A client for each store: the tasks of a client's connections belong to the runtime that first used it, and a
        // client shared by the process would fail once that runtime has ended (as those of tests do).
        let transport = HttpTransporter::new(ReqwestTransport::new(reqwest::Client::new()));
        let context = OperationContext::new().with_http_transport(transport);
        let operator = Operator::new(builder)?
            .with_context(context)
            .layer(
                TimeoutLayer::new()
                    .with_timeout(REQUEST_TIMEOUT)
                    .with_io_timeout(REQUEST_TIMEOUT),
            )
            .layer(RetryLayer::new().with_max_times(RETRIES).with_jitter());
        let place = format!("s3://{bucket}/{prefix}");
        Ok(RemoteBackend { operator, place })
    }
}

fn absent_as_none<T>(result: Result<T, opendal::Error>) -> Result<Option<T>, BackendError> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error.into()),
    }
}

fn meta(key: &str, metadata: &Metadata) -> ObjectMeta {
    ObjectMeta {
        key: key.to_owned(),
        size: metadata.content_length(),
        modified: metadata.last_modified().map(SystemTime::from),
    }
}

/// A key under which only this module ever writes, and only to learn what a conditional write does. Listed in
/// `objects/keys.rs`.
const PROBE: &str = "meta/probe";

#[async_trait]
impl Backend for RemoteBackend {
    fn describe(&self) -> String {
        self.place.clone()
    }

    async fn supports_put_if_absent(&self) -> Result<bool, BackendError> {
        // After the first write the object exists, whatever the answer was. A server that honours the condition must
        // then refuse the second write; one that answers "created" again has overwritten.
        for attempt in 0..2 {
            match self.put_if_absent(PROBE, Bytes::from_static(b"put-if-absent\n")).await {
                Ok(PutOutcome::Exists) => return Ok(true),
                Ok(PutOutcome::Created) if attempt == 0 => {}
                Ok(PutOutcome::Created) | Err(BackendError::Unsupported(_)) => return Ok(false),
                Err(error) => return Err(error),
            }
        }
        Ok(false)
    }

    async fn get(&self, key: &str) -> Result<Option<Bytes>, BackendError> {
        Ok(absent_as_none(self.operator.read(key).await)?.map(|buffer| buffer.to_bytes()))
    }

    async fn get_range(&self, key: &str, range: Range<u64>) -> Result<Option<Bytes>, BackendError> {
        // Servers refuse ranges that begin beyond the end of the object, but the contract of a backend is to cut them
        // off.
        let Some(found) = self.stat(key).await? else {
            return Ok(None);
        };
        let range = range.start.min(found.size)..range.end.min(found.size);
        if range.is_empty() {
            return Ok(Some(Bytes::new()));
        }
        let read = self.operator.read_with(key).range(range).await;
        Ok(absent_as_none(read)?.map(|buffer| buffer.to_bytes()))
    }

    async fn stat(&self, key: &str) -> Result<Option<ObjectMeta>, BackendError> {
        let found = absent_as_none(self.operator.stat(key).await)?;
        Ok(found.filter(Metadata::is_file).map(|metadata| meta(key, &metadata)))
    }

    async fn put(&self, key: &str, bytes: Bytes) -> Result<(), BackendError> {
        self.operator.write(key, bytes).await?;
        Ok(())
    }

    async fn put_if_absent(&self, key: &str, bytes: Bytes) -> Result<PutOutcome, BackendError> {
        match self.operator.write_with(key, bytes).if_not_exists(true).await {
            Ok(_) => Ok(PutOutcome::Created),
            Err(error) => match error.kind() {
                ErrorKind::ConditionNotMatch | ErrorKind::AlreadyExists => Ok(PutOutcome::Exists),
                // Another write to the key was under way. It may have failed since, so the answer alone does not prove
                // that the object exists.
                ErrorKind::Conflict if self.stat(key).await?.is_some() => Ok(PutOutcome::Exists),
                ErrorKind::Unsupported => Err(BackendError::Unsupported("conditional writes")),
                _ => Err(error.into()),
            },
        }
    }

    fn is_near(&self) -> bool {
        false
    }

    fn looks_before_writing(&self) -> bool {
        false
    }

    async fn delete(&self, key: &str) -> Result<(), BackendError> {
        Ok(self.operator.delete(key).await?)
    }

    async fn list(&self, prefix: &str, after: Option<&str>) -> Result<Vec<ObjectMeta>, BackendError> {
        let mut lister = self.operator.lister_with(prefix).recursive(true);
        if let Some(after) = after {
            lister = lister.start_after(after);
        }
        let mut lister = lister.await?;
        let mut found = Vec::new();
        while let Some(entry) = lister.try_next().await? {
            let listed = entry.metadata().is_file() && entry.path().starts_with(prefix);
            // Some servers ignore where a listing shall start.
            if listed && after.is_none_or(|after| entry.path() > after) {
                found.push(meta(entry.path(), entry.metadata()));
            }
        }
        found.sort_unstable_by(|a, b| a.key.cmp(&b.key));
        Ok(found)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_not_shown() {
        let s3 = S3Config {
            secret_key: Some("hunter2".into()),
            ..S3Config::default()
        };
        assert!(!format!("{s3:?}").contains("hunter2"));
    }
}
