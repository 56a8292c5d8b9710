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
use howdah_protocol::messages::SetMessage;
use howdah_protocol::objects::PlanId;
use howdah_queue::testing::{NatsServer, executables};
use howdah_queue::{DatumPuller, Delivery, Queue};

/// Time limit of every wait in a test.
pub const PATIENCE: Duration = Duration::from_secs(40);

/// Runs a test once for each nats-server.
pub async fn on_every_server<F, Fut>(test: F)
where
    F: Fn(Arc<Mutex<NatsServer>>, Queue) -> Fut,
    Fut: Future<Output = ()>,
{
    for executable in executables() {
        let executable: PathBuf = executable;
        println!("with {}", executable.display());
        let server = NatsServer::start_with(&executable, &[]);
        let queue = Queue::connect(&server.url(), "test").await.unwrap();
        queue.ensure_streams().await.unwrap();
        let server = Arc::new(Mutex::new(server));
        test(Arc::clone(&server), queue).await;
    }
}

pub fn pipeline(name: &str) -> PipelineKey {
    format!("default/{name}").parse().unwrap()
}

pub fn job(number: u64) -> GlobalId {
    GlobalId::from_number(number)
}

pub fn message(pipeline: &PipelineKey, job: GlobalId, set: u32) -> SetMessage {
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
pub async fn take(puller: &mut DatumPuller) -> Delivery {
    tokio::time::timeout(PATIENCE, puller.next())
        .await
        .expect("no datum set was delivered")
        .expect("the pull failed")
}

/// Returns whether the server delivers no set now: pulls, and gives the server three round trips to answer.
pub async fn nothing_comes(queue: &Queue, puller: &mut DatumPuller) -> bool {
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
