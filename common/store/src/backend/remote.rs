//! Objects on an S3-compatible server, by way of OpenDAL.
//!
//! Servers differ in what they do with a conditional write: some honour it, some refuse it, some
//! ignore it and overwrite. So [`RemoteBackend::supports_put_if_absent`] asks the server itself.
//! Temporary failures are retried here; a conditional write that was retried may therefore answer
//! [`PutOutcome::Exists`] because of its own first attempt, which callers that care must tell apart
//! by reading the object back.

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
use crate::objects::config::S3Config;

/// No single request may hang longer: a lost connection must show as a failure.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(60);
const RETRIES: usize = 4;

/// Keeps objects wherever an OpenDAL operator puts them.
#[derive(Debug, Clone)]
pub struct RemoteBackend {
    operator: Operator,
    place: String,
}

impl RemoteBackend {
    /// Prepares access to a bucket; nothing is sent yet.
    pub fn s3(bucket: &str, prefix: &str, config: &S3Config) -> Result<Self, BackendError> {
        // The HTTP client comes without a provider of cryptography; an error means there is one already.
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
        if config.virtual_host_style {
            builder = builder.enable_virtual_host_style();
        }
        // A client of its own: one shared by the process would tie its connections to whichever
        // runtime used it first.
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

/// A key under which only this module ever writes, and only to learn what a conditional write does.
const PROBE: &str = "meta/probe";

#[async_trait]
impl Backend for RemoteBackend {
    fn describe(&self) -> String {
        self.place.clone()
    }

    async fn supports_put_if_absent(&self) -> Result<bool, BackendError> {
        // The first write makes sure that the object exists, whatever it answers; so the second is
        // honoured only if it finds it.
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
        // Servers refuse ranges that begin beyond the end; the promise here is to cut them off.
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
                // Another write to the key was under way, which may have failed since.
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
            // Not every server honours the start of a listing.
            if listed && after.is_none_or(|after| entry.path() > after) {
                found.push(meta(entry.path(), entry.metadata()));
            }
        }
        found.sort_unstable_by(|a, b| a.key.cmp(&b.key));
        Ok(found)
    }
}
