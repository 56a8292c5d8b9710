//! Consumers: one for each pipeline, with the number of sets that may be delivered at a time.
//!
//! A pipeline with a consumer is served by workers: they read the list of consumers to know what to pull.

use std::time::Duration;

use async_nats::jetstream::consumer::{AckPolicy, Info as ConsumerInfo, pull};
use async_nats::jetstream::response::Response;
use async_nats::jetstream::stream::DeleteStatus;
use howdah_model::ids::GlobalId;
use howdah_model::names::PipelineKey;
use serde_json::json;

use crate::client::Queue;
use crate::error::{NatsCause, QueueError, gone, is_missing, says_store_is_broken};
use crate::subjects;

/// Time after which the server delivers an unacknowledged set again.
pub const ACK_WAIT: Duration = Duration::from_secs(12);

/// How much work a pipeline has in the queue.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ConsumerStatus {
    /// Sets that wait in the stream.
    pub pending: u64,
    /// Sets that are delivered and not acknowledged.
    pub ack_pending: u64,
    /// Pull requests that wait for a set.
    pub waiting: u64,
    /// Most sets that may be delivered and not acknowledged at a time.
    pub max_ack_pending: u64,
    /// Number of deliveries so far, redeliveries included.
    pub delivered: u64,
}

impl ConsumerStatus {
    /// Returns whether the server may deliver another set now.
    pub fn has_room(&self) -> bool {
        self.ack_pending < self.max_ack_pending
    }
}

impl Queue {
    /// Creates or changes the consumer of a pipeline; `parallelism` sets may be delivered at a time.
    ///
    /// A creation wakes the workers ([`Queue::wake_workers`]).
    pub async fn ensure_consumer(&self, pipeline: &PipelineKey, parallelism: u64) -> Result<(), QueueError> {
        let name = subjects::consumer(pipeline);
        let max_ack_pending = i64::try_from(parallelism.max(1)).unwrap_or(i64::MAX);
        let before = self.raw_consumer_info(&name).await?;
        if before
            .as_ref()
            .is_some_and(|info| info.config.max_ack_pending == max_ack_pending)
        {
            return Ok(());
        }
        let config = pull::Config {
            durable_name: Some(name.clone()),
            description: Some(pipeline.to_string()),
            ack_policy: AckPolicy::Explicit,
            ack_wait: ACK_WAIT,
            max_deliver: -1,
            max_ack_pending,
            max_waiting: 2048,
            filter_subject: subjects::datum_filter(pipeline),
            ..pull::Config::default()
        };
        // The stream may vanish between any two requests. One repair and one more attempt; a second failure is an
        // error, because the server then breaks faster than it can be repaired.
        for attempt in 0.. {
            let made = self
                .js
                .create_consumer_on_stream(config.clone(), subjects::DATUM_STREAM)
                .await;
            match made {
                Ok(_) => break,
                Err(error) if attempt == 0 && is_missing(&error.to_string()) => {
                    self.ensure_streams().await?;
                }
                Err(error) if attempt == 0 && says_store_is_broken(&error.to_string()) => {
                    self.rebuild_streams().await?;
                }
                Err(error) => return Err(consumer_error("make", &name, error)),
            }
        }
        if before.is_none() {
            self.wake_workers().await?;
        }
        Ok(())
    }

    /// Removes the consumer of a pipeline and its waiting sets. Succeeds if there are none.
    pub async fn delete_consumer(&self, pipeline: &PipelineKey) -> Result<(), QueueError> {
        let name = subjects::consumer(pipeline);
        let subject = format!("CONSUMER.DELETE.{}.{name}", subjects::DATUM_STREAM);
        let answer: Response<DeleteStatus> = self
            .js
            .request(subject, &json!({}))
            .await
            .map_err(|error| consumer_error("delete", &name, error))?;
        if let Response::Err { error } = answer
            && !gone(error.error_code())
        {
            return Err(consumer_error("delete", &name, error));
        }
        // A work queue keeps messages without a consumer. They would be delivered to a later pipeline of the same name.
        self.purge(&subjects::datum_filter(pipeline)).await?;
        self.wake_workers().await
    }

    /// Removes all waiting sets of a job. It does not affect delivered ones: see [`Queue::cancel_job`].
    pub async fn purge_job(&self, pipeline: &PipelineKey, job: &GlobalId) -> Result<(), QueueError> {
        self.purge(&subjects::datums(pipeline, job)).await
    }

    /// Returns how much work a pipeline has in the queue; `None` if it has no consumer.
    pub async fn consumer_info(&self, pipeline: &PipelineKey) -> Result<Option<ConsumerStatus>, QueueError> {
        let info = self.raw_consumer_info(&subjects::consumer(pipeline)).await?;
        Ok(info.map(|info| ConsumerStatus {
            pending: info.num_pending,
            ack_pending: info.num_ack_pending as u64,
            waiting: info.num_waiting as u64,
            max_ack_pending: u64::try_from(info.config.max_ack_pending).unwrap_or(u64::MAX),
            delivered: info.delivered.consumer_sequence,
        }))
    }

    async fn raw_consumer_info(&self, name: &str) -> Result<Option<ConsumerInfo>, QueueError> {
        let subject = format!("CONSUMER.INFO.{}.{name}", subjects::DATUM_STREAM);
        let answer: Response<ConsumerInfo> = self
            .js
            .request(subject, &json!({}))
            .await
            .map_err(|error| consumer_error("look at", name, error))?;
        match answer {
            Response::Ok(info) => Ok(Some(info)),
            Response::Err { error } if gone(error.error_code()) => Ok(None),
            Response::Err { error } => Err(consumer_error("look at", name, error)),
        }
    }

    /// Returns all pipelines with a consumer, sorted; empty while the stream is missing.
    pub async fn served_pipelines(&self) -> Result<Vec<PipelineKey>, QueueError> {
        let failed = |cause| QueueError::ListConsumers {
            stream: subjects::DATUM_STREAM.to_owned(),
            source: cause,
        };
        let subject = format!("CONSUMER.NAMES.{}", subjects::DATUM_STREAM);
        let (mut found, mut offset) = (Vec::new(), 0);
        loop {
            let answer: Response<ConsumerNames> = self
                .js
                .request(subject.clone(), &json!({ "offset": offset }))
                .await
                .map_err(|error| failed(NatsCause::of(error)))?;
            let page = match answer {
                Response::Ok(page) => page,
                Response::Err { error } if gone(error.error_code()) => return Ok(Vec::new()),
                Response::Err { error } => return Err(failed(NatsCause::of(error))),
            };
            let names = page.consumers.unwrap_or_default();
            offset += names.len();
            found.extend(names.iter().filter_map(|name| subjects::pipeline_of(name)));
            if names.is_empty() || offset >= page.total {
                found.sort();
                return Ok(found);
            }
        }
    }
}

/// One page of the answer to a request for the names of consumers.
#[derive(serde::Deserialize)]
struct ConsumerNames {
    total: usize,
    consumers: Option<Vec<String>>,
}

fn consumer_error(operation: &'static str, name: &str, error: impl std::fmt::Display) -> QueueError {
    QueueError::Consumer {
        operation,
        consumer: name.to_owned(),
        source: NatsCause::of(error),
    }
}
