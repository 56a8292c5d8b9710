//! Consumers: one for each pipeline, with the number of sets that may be delivered at a time.
//!
//! A pipeline with a consumer is served by workers: they read the list of consumers to know what to pull.

use std::time::Duration;

use howdah_model::ids::GlobalId;
use howdah_model::names::PipelineKey;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::api::ApiFailure;
use crate::client::{CoordinatorQueue, Queue};
use crate::error::{NatsCause, QueueError};
use crate::streams::nanoseconds;

/// Time after which the server delivers an unacknowledged set again.
pub const ACK_WAIT: Duration = Duration::from_secs(12);

/// How much work a pipeline has in the queue.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
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
    /// When the consumer was made, as the server writes it.
    pub created: String,
}

impl ConsumerStatus {
    /// Returns whether the server may deliver another set now.
    pub fn has_room(&self) -> bool {
        self.ack_pending < self.max_ack_pending
    }
}

/// What the server tells about a consumer, as far as it is needed.
#[derive(Deserialize)]
struct ConsumerInfo {
    #[serde(default)]
    created: String,
    config: Value,
    delivered: Delivered,
    num_ack_pending: u64,
    num_waiting: u64,
    num_pending: u64,
}

#[derive(Deserialize)]
struct Delivered {
    consumer_seq: u64,
}

impl ConsumerInfo {
    fn max_ack_pending(&self) -> u64 {
        self.config["max_ack_pending"].as_u64().unwrap_or(u64::MAX)
    }
}

impl CoordinatorQueue {
    /// Creates or changes the consumer of a pipeline; `parallelism` sets may be delivered at a time. Of an existing
    /// consumer nothing else is changed.
    ///
    /// A creation wakes the workers ([`CoordinatorQueue::wake_workers`]).
    pub async fn ensure_consumer(&self, pipeline: &PipelineKey, parallelism: u64) -> Result<(), QueueError> {
        let name = self.names.consumer(pipeline);
        let max_ack_pending = parallelism.clamp(1, i64::MAX as u64);
        let before = self.raw_consumer_info(&name).await?;
        let config = match &before {
            Some(info) if info.max_ack_pending() == max_ack_pending => return Ok(()),
            Some(info) => {
                let mut config = info.config.clone();
                config["max_ack_pending"] = json!(max_ack_pending);
                config
            }
            None => self.consumer_config(pipeline, max_ack_pending),
        };
        // The stream may vanish between any two requests. One repair and one more attempt; a second failure is an
        // error, because the server then breaks faster than it can be repaired.
        match self.make_consumer(&name, &config).await {
            Ok(()) => {}
            Err(failure) if failure.is_missing() || failure.is_broken_store() => {
                if failure.is_missing() {
                    self.ensure_streams().await?;
                } else {
                    self.rebuild_streams().await?;
                }
                let config = self.consumer_config(pipeline, max_ack_pending);
                let made = self.make_consumer(&name, &config).await;
                made.map_err(|failure| consumer_error("make", &name, failure))?;
            }
            Err(failure) => return Err(consumer_error("make", &name, failure)),
        }
        if before.is_none() {
            self.wake_workers().await?;
        }
        Ok(())
    }

    fn consumer_config(&self, pipeline: &PipelineKey, max_ack_pending: u64) -> Value {
        json!({
            "durable_name": self.names.consumer(pipeline),
            "description": pipeline.to_string(),
            "deliver_policy": "all",
            "ack_policy": "explicit",
            "replay_policy": "instant",
            "ack_wait": nanoseconds(ACK_WAIT),
            "max_deliver": -1,
            "max_ack_pending": max_ack_pending,
            "max_waiting": 2048,
            "filter_subject": self.names.datum_filter(pipeline),
        })
    }

    async fn make_consumer(&self, name: &str, config: &Value) -> Result<(), ApiFailure> {
        let stream = self.names.stream();
        let body = json!({ "stream_name": stream, "config": config });
        let made = self.api::<Value>(format!("CONSUMER.DURABLE.CREATE.{stream}.{name}"), &body);
        made.await.map(drop)
    }

    /// Removes the consumer of a pipeline and its waiting sets. Succeeds if there are none.
    pub async fn delete_consumer(&self, pipeline: &PipelineKey) -> Result<(), QueueError> {
        let name = self.names.consumer(pipeline);
        let subject = format!("CONSUMER.DELETE.{}.{name}", self.names.stream());
        match self.api::<Value>(subject, &json!({})).await {
            Err(failure) if !failure.is_missing() => return Err(consumer_error("delete", &name, failure)),
            _ => {}
        }
        // A work queue keeps messages without a consumer. They would be delivered to a later pipeline of the same name.
        self.purge(&self.names.datum_filter(pipeline)).await?;
        self.wake_workers().await
    }

    /// Removes all waiting sets of a job. It does not affect delivered ones: see [`CoordinatorQueue::cancel_job`].
    pub async fn purge_job(&self, pipeline: &PipelineKey, job: &GlobalId) -> Result<(), QueueError> {
        self.purge(&self.names.datums(pipeline, job)).await
    }
}

impl Queue {
    /// Returns how much work a pipeline has in the queue; `None` if it has no consumer.
    pub async fn consumer_info(&self, pipeline: &PipelineKey) -> Result<Option<ConsumerStatus>, QueueError> {
        let info = self.raw_consumer_info(&self.names.consumer(pipeline)).await?;
        Ok(info.map(|info| ConsumerStatus {
            max_ack_pending: info.max_ack_pending(),
            pending: info.num_pending,
            ack_pending: info.num_ack_pending,
            waiting: info.num_waiting,
            delivered: info.delivered.consumer_seq,
            created: info.created,
        }))
    }

    async fn raw_consumer_info(&self, name: &str) -> Result<Option<ConsumerInfo>, QueueError> {
        let subject = format!("CONSUMER.INFO.{}.{name}", self.names.stream());
        match self.api(subject, &json!({})).await {
            Ok(info) => Ok(Some(info)),
            Err(failure) if failure.is_missing() => Ok(None),
            Err(failure) => Err(consumer_error("look at", name, failure)),
        }
    }

    /// Returns all pipelines with a consumer, sorted; empty while the stream is missing.
    pub async fn served_pipelines(&self) -> Result<Vec<PipelineKey>, QueueError> {
        let subject = format!("CONSUMER.NAMES.{}", self.names.stream());
        let (mut found, mut offset) = (Vec::new(), 0);
        loop {
            let page = self
                .api::<ConsumerNames>(subject.clone(), &json!({ "offset": offset }))
                .await;
            let page = match page {
                Ok(page) => page,
                Err(failure) if failure.is_missing() => return Ok(Vec::new()),
                Err(failure) => {
                    return Err(QueueError::ListConsumers {
                        stream: self.names.stream(),
                        source: failure.into_cause(),
                    });
                }
            };
            let names = page.consumers.unwrap_or_default();
            offset += names.len();
            found.extend(names.iter().filter_map(|name| self.names.pipeline_of(name)));
            if names.is_empty() || offset >= page.total {
                found.sort();
                return Ok(found);
            }
        }
    }
}

/// One page of the answer to a request for the names of consumers.
#[derive(Deserialize)]
struct ConsumerNames {
    total: usize,
    consumers: Option<Vec<String>>,
}

fn consumer_error(operation: &'static str, name: &str, failure: ApiFailure) -> QueueError {
    let source: NatsCause = failure.into_cause();
    QueueError::Consumer {
        operation,
        consumer: name.to_owned(),
        source,
    }
}
