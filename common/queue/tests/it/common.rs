//! Helpers of the queue's tests.

#![expect(
    clippy::print_stdout,
    reason = "helpers of tests fail by panicking, print what helps, and are not hot"
)]

use std::future::Future;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use howdah_model::ids::GlobalId;
use howdah_model::names::PipelineKey;
use howdah_protocol::installation::Installation;
use howdah_protocol::messages::SetMessage;
use howdah_protocol::objects::PlanId;
use howdah_queue::testing::{NatsServer, coordinator, executables, installation};
use howdah_queue::{CoordinatorQueue, DatumPuller, Delivery, Queue};

/// Time limit of every wait in a test.
pub(crate) const PATIENCE: Duration = Duration::from_secs(40);

/// Runs a test once for each nats-server.
pub(crate) async fn on_every_server<F, Fut>(test: F)
where
    F: Fn(Arc<Mutex<NatsServer>>, CoordinatorQueue) -> Fut,
    Fut: Future<Output = ()>,
{
    for executable in executables() {
        let executable: PathBuf = executable;
        println!("with {}", executable.display());
        let server = NatsServer::start_with(&executable, &[]);
        let queue = coordinator(&server.url()).await;
        queue.ensure_streams().await.unwrap();
        let server = Arc::new(Mutex::new(server));
        test(Arc::clone(&server), queue).await;
    }
}

pub(crate) fn pipeline(name: &str) -> PipelineKey {
    format!("default/{name}").parse().unwrap()
}

pub(crate) fn job(number: u64) -> GlobalId {
    GlobalId::from_number(number)
}

pub(crate) fn message(pipeline: &PipelineKey, job: GlobalId, set: u32) -> SetMessage {
    SetMessage {
        pipeline: pipeline.clone(),
        version: 1,
        job,
        plan: PlanId::from_random(5),
        set,
        attempt: 0,
        inline: None,
    }
}

/// Returns the next set; panics after [`PATIENCE`].
pub(crate) async fn take(puller: &mut DatumPuller) -> Delivery {
    tokio::time::timeout(PATIENCE, puller.next())
        .await
        .expect("no datum set was delivered")
        .expect("the pull failed")
}

/// Returns whether the server delivers no set now: pulls, and gives the server three round trips to answer.
pub(crate) async fn nothing_comes(queue: &Queue, puller: &mut DatumPuller) -> bool {
    let pull = puller.next();
    tokio::pin!(pull);
    // The first poll sends the request; the answer precedes that of a later flush on the same connection.
    for _ in 0..3 {
        tokio::select! {
            biased;
            _ = &mut pull => return false,
            flushed = queue.flush() => flushed.unwrap(),
        }
    }
    true
}

/// Another program on the server, which may know the key of the installation.
pub(crate) struct Stranger {
    client: async_nats::Client,
}

impl Stranger {
    pub(crate) async fn connect(url: &str) -> Self {
        let client = async_nats::connect(url).await.unwrap();
        Self { client }
    }

    /// Publishes a message with given headers; returns once the server has answered something that was sent after it.
    pub(crate) async fn publish(&self, subject: &str, headers: async_nats::HeaderMap, payload: &str) {
        let sent = self
            .client
            .publish_with_headers(subject.to_owned(), headers, payload.to_owned().into());
        sent.await.unwrap();
        self.client.request("$JS.API.INFO", "".into()).await.unwrap();
    }

    /// Publishes a message to a stream; returns once the stream has it.
    pub(crate) async fn store(&self, subject: &str, headers: async_nats::HeaderMap, payload: &str) {
        let js = async_nats::jetstream::new(self.client.clone());
        let sent = js.publish_with_headers(subject.to_owned(), headers, payload.to_owned().into());
        sent.await.unwrap().await.unwrap();
    }

    /// Publishes a message as another release would, with the valid MAC of a coordinator (with an epoch) or a worker.
    pub(crate) async fn publish_sealed(&self, subject: &str, epoch: Option<u64>, payload: &str) {
        let headers = sealed(&installation(), subject, epoch, payload);
        self.publish(subject, headers, payload).await;
    }
}

/// Returns the headers of a message; the format is part of the protocol between releases.
pub(crate) fn sealed(
    installation: &Installation,
    subject: &str,
    epoch: Option<u64>,
    payload: &str,
) -> async_nats::HeaderMap {
    let mut mac = blake3::Hasher::new_keyed(installation.key());
    for part in [installation.cluster(), subject] {
        mac.update(&(part.len() as u64).to_le_bytes());
        mac.update(part.as_bytes());
    }
    mac.update(&[u8::from(epoch.is_some())]);
    mac.update(&epoch.unwrap_or(0).to_le_bytes());
    mac.update(payload.as_bytes());
    let mut headers = async_nats::HeaderMap::new();
    headers.insert("Howdah-Cluster", installation.cluster());
    if let Some(epoch) = epoch {
        headers.insert("Howdah-Epoch", epoch.to_string());
    }
    headers.insert("Howdah-Mac", mac.finalize().to_hex().as_str());
    headers
}
