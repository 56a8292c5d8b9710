//! What the queue's tests share.

use std::future::Future;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use howdah_model::ids::GlobalId;
use howdah_model::names::PipelineKey;
use howdah_protocol::messages::SetMessage;
use howdah_queue::testing::{NatsServer, executables};
use howdah_queue::{DatumPuller, Delivery, Queue};

/// Longest time that anything may take before a test gives up.
pub const PATIENCE: Duration = Duration::from_secs(40);

/// Runs a test once per nats-server.
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
        set,
        attempt: 0,
        plan_key: "jobs/plan".into(),
        set_key: format!("jobs/sets/{set}"),
        inline: None,
    }
}

/// Waits for the next set, failing the test after a long while.
pub async fn take(puller: &mut DatumPuller) -> Delivery {
    tokio::time::timeout(PATIENCE, puller.next())
        .await
        .expect("no datum set came")
        .expect("the pull failed")
}

/// Says whether the server would hand out a set now: asks, and gives the server one round trip on
/// the same connection to answer first.
pub async fn nothing_comes(queue: &Queue, puller: &mut DatumPuller) -> bool {
    let pull = puller.next();
    tokio::pin!(pull);
    // The first poll sends the request; three more round trips give the answer every chance.
    for _ in 0..3 {
        tokio::select! {
            biased;
            _ = &mut pull => return false,
            flushed = queue.flush() => flushed.unwrap(),
        }
    }
    true
}
