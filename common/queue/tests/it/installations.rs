//! Several installations on one server, earlier leaders, forged messages, and an operator's settings.

use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use crate::common::{Stranger, job, message, nothing_comes, on_every_server, pipeline, sealed, take};
use howdah_protocol::installation::{Installation, QUEUE_KEY_BYTES};
use howdah_protocol::messages::{CancelJob, Control, SetEvent, SetOutdated};
use howdah_protocol::wire;
use howdah_queue::testing::{NatsServer, executables, installation};
use howdah_queue::{NatsAccess, Queue, QueueOptions, Refusal};
use serde_json::{Value, json};

/// Connects a worker that keeps what it refuses.
async fn observed_worker(server: &Mutex<NatsServer>) -> (Queue, Arc<Mutex<Vec<Refusal>>>) {
    let url = server.lock().unwrap().url();
    let refused = Arc::new(Mutex::new(Vec::new()));
    let log = Arc::clone(&refused);
    let options = QueueOptions {
        on_refusal: Arc::new(move |refusal| log.lock().unwrap().push(refusal)),
        ..QueueOptions::worker(&url, "w", installation())
    };
    (Queue::connect(&options).await.unwrap(), refused)
}

/// Waits until the server has handled what this connection sent before, such as subscriptions: a flush only sends it.
async fn handled(queue: &Queue) {
    queue.served_pipelines().await.unwrap();
}

fn cancel(number: u64) -> CancelJob {
    CancelJob {
        pipeline: pipeline("edges"),
        job: job(number),
        plan: None,
    }
}

#[tokio::test]
async fn two_installations_on_one_server_do_not_see_each_other() {
    on_every_server(|server, queue| async move {
        let url = server.lock().unwrap().url();
        let other = Installation::new("other", [7; QUEUE_KEY_BYTES]).unwrap();
        let other = Queue::connect(&QueueOptions::coordinator(&url, other)).await.unwrap();
        let other = other.lead(9, None);
        other.ensure_streams().await.unwrap();
        let edges = pipeline("edges");
        queue.ensure_consumer(&edges, 4).await.unwrap();
        assert_eq!(other.served_pipelines().await.unwrap(), []);
        let mut controls = queue.controls().await.unwrap();

        // The other one has a pipeline of the same name and a job of the same id.
        other.ensure_consumer(&edges, 4).await.unwrap();
        other.publish_set(&message(&edges, job(1), 0)).await.unwrap();
        queue.publish_set(&message(&edges, job(1), 1)).await.unwrap();
        other.cancel_job(&cancel(1)).await.unwrap();
        other.purge_job(&edges, &job(1)).await.unwrap();
        other.delete_consumer(&edges).await.unwrap();
        other.rebuild_streams().await.unwrap();

        let mut puller = queue.datums(&edges).await.unwrap();
        assert_eq!(take(&mut puller).await.set.set, 1);
        queue.cancel_job(&cancel(2)).await.unwrap();
        assert_eq!(controls.next().await, Some(Control::Cancel(cancel(2))));
    })
    .await;
}

#[tokio::test]
async fn forged_and_foreign_messages_are_counted_and_ignored() {
    on_every_server(|server, queue| async move {
        let edges = pipeline("edges");
        queue.ensure_consumer(&edges, 4).await.unwrap();
        let (worker, refused) = observed_worker(&server).await;
        let mut controls = worker.controls().await.unwrap();
        handled(&worker).await;
        let url = server.lock().unwrap().url();
        let stranger = Stranger::connect(&url).await;
        let order = String::from_utf8(wire::encode(&cancel(1))).unwrap();
        let subject = queue.names().cancel();
        let other_key = Installation::new("test", [8; QUEUE_KEY_BYTES]).unwrap();
        let foreign = Installation::new("foreign", [7; QUEUE_KEY_BYTES]).unwrap();
        let moved = queue.names().restart();
        for headers in [
            async_nats::HeaderMap::new(),
            sealed(&other_key, &subject, Some(99), &order),
            sealed(&foreign, &subject, Some(99), &order),
            sealed(&installation(), &moved, Some(99), &order),
            sealed(&installation(), &subject, None, &order),
        ] {
            stranger.publish(&subject, headers, &order).await;
        }
        let mut puller = worker.datums(&edges).await.unwrap();
        let datums = queue.names().datums(&edges, &job(1));
        stranger.store(&datums, async_nats::HeaderMap::new(), "forged").await;
        assert!(nothing_comes(&worker, &mut puller).await);

        // What comes after them is received, and none of them has set an epoch.
        queue.publish_set(&message(&edges, job(2), 0)).await.unwrap();
        assert_eq!(take(&mut puller).await.set.job, job(2));
        queue.cancel_job(&cancel(2)).await.unwrap();
        assert_eq!(controls.next().await, Some(Control::Cancel(cancel(2))));
        let mut expected = vec![Refusal::Forged; 5];
        expected.push(Refusal::Foreign);
        let mut seen = refused.lock().unwrap().clone();
        seen.sort_by_key(|refusal| *refusal == Refusal::Foreign);
        assert_eq!(seen, expected);
        // The forged set is gone from the stream.
        let status = queue.consumer_info(&edges).await.unwrap().unwrap();
        assert_eq!(status.pending, 0);
    })
    .await;
}

#[tokio::test]
async fn orders_and_sets_of_an_earlier_leader_are_ignored_and_the_new_leader_is_told() {
    on_every_server(|server, queue| async move {
        let edges = pipeline("edges");
        queue.ensure_consumer(&edges, 4).await.unwrap();
        queue.publish_set(&message(&edges, job(1), 3)).await.unwrap();
        let (worker, refused) = observed_worker(&server).await;
        let mut controls = worker.controls().await.unwrap();
        handled(&worker).await;
        let successor = queue.lead(2, None);
        let mut events = successor.set_events().await.unwrap();
        handled(&successor).await;
        successor.cancel_job(&cancel(7)).await.unwrap();
        assert_eq!(controls.next().await, Some(Control::Cancel(cancel(7))));

        // The deposed leader does not know yet that it has a successor.
        queue.cancel_job(&cancel(1)).await.unwrap();
        let mut puller = worker.datums(&edges).await.unwrap();
        let mut pull = Box::pin(puller.next());
        let outdated = SetOutdated {
            pipeline: edges.clone(),
            job: job(1),
            plan: message(&edges, job(1), 3).plan,
            set: 3,
        };
        tokio::select! {
            event = events.next() => assert_eq!(event, Some(SetEvent::Outdated(outdated))),
            _ = &mut pull => panic!("the set of the earlier leader was delivered"),
        }
        let again = howdah_protocol::messages::SetMessage {
            attempt: 1,
            ..message(&edges, job(1), 3)
        };
        successor.publish_set(&again).await.unwrap();
        assert_eq!(pull.await.unwrap().set, again);
        successor.cancel_job(&cancel(8)).await.unwrap();
        assert_eq!(controls.next().await, Some(Control::Cancel(cancel(8))));
        assert_eq!(*refused.lock().unwrap(), [Refusal::OldEpoch; 2]);
    })
    .await;
}

#[tokio::test]
async fn limits_that_an_operator_has_set_stay() {
    on_every_server(|server, queue| async move {
        let url = server.lock().unwrap().url();
        let operator = async_nats::jetstream::new(async_nats::connect(url).await.unwrap());
        let stream = queue.names().stream();
        let config = || async {
            let info: Value = operator
                .request(format!("STREAM.INFO.{stream}"), &json!({}))
                .await
                .unwrap();
            info["config"].clone()
        };
        let mut changed = config().await;
        changed["max_bytes"] = json!(1 << 30);
        changed["max_msg_size"] = json!(1 << 20);
        changed["description"] = json!("ours");
        let answer: Value = operator
            .request(format!("STREAM.UPDATE.{stream}"), &changed)
            .await
            .unwrap();
        assert_eq!(answer["error"], Value::Null);
        let changed = config().await;
        queue.ensure_streams().await.unwrap();
        assert_eq!(config().await, changed);

        let edges = pipeline("edges");
        queue.ensure_consumer(&edges, 4).await.unwrap();
        let name = queue.names().consumer(&edges);
        let mut consumer: Value = operator
            .request(format!("CONSUMER.INFO.{stream}.{name}"), &json!({}))
            .await
            .unwrap();
        consumer["config"]["max_waiting"] = json!(2048);
        consumer["config"]["description"] = json!("theirs");
        let body = json!({ "stream_name": stream, "config": consumer["config"] });
        let made: Value = operator
            .request(format!("CONSUMER.DURABLE.CREATE.{stream}.{name}"), &body)
            .await
            .unwrap();
        assert_eq!(made["error"], Value::Null);
        queue.ensure_consumer(&edges, 7).await.unwrap();
        let after: Value = operator
            .request(format!("CONSUMER.INFO.{stream}.{name}"), &json!({}))
            .await
            .unwrap();
        assert_eq!(after["config"]["description"], json!("theirs"));
        assert_eq!(after["config"]["max_ack_pending"], json!(7));
    })
    .await;
}

/// Returns options whose credentials are in a new file.
fn with_password(folder: &Path, options: QueueOptions, credentials: &str) -> QueueOptions {
    let file = folder.join(credentials.replace(':', "-"));
    std::fs::write(&file, credentials).unwrap();
    QueueOptions {
        access: NatsAccess::with_credentials(file),
        ..options
    }
}

#[tokio::test]
async fn a_worker_with_its_own_user_works_and_can_do_nothing_else() {
    let folder = tempfile::tempdir().unwrap();
    for executable in executables() {
        let users = howdah_queue::server_config::authorization("c0c0", "w0w0");
        let server = NatsServer::start_with(&executable, &[&users]);
        let as_coordinator = QueueOptions::coordinator(&server.url(), installation());
        let as_worker = QueueOptions::worker(&server.url(), "w", installation());
        let queue = Queue::connect(&with_password(folder.path(), as_coordinator, "coordinator:c0c0"))
            .await
            .unwrap()
            .lead(1, None);
        queue.ensure_streams().await.unwrap();
        let edges = pipeline("edges");
        queue.ensure_consumer(&edges, 4).await.unwrap();
        queue.publish_set(&message(&edges, job(1), 0)).await.unwrap();
        let worker = Queue::connect(&with_password(folder.path(), as_worker.clone(), "worker:w0w0"))
            .await
            .unwrap();
        assert_eq!(worker.served_pipelines().await.unwrap(), std::slice::from_ref(&edges));
        let mut puller = worker.datums(&edges).await.unwrap();
        let delivery = take(&mut puller).await;
        delivery.in_progress().await.unwrap();
        let mut events = queue.set_events().await.unwrap();
        handled(&queue).await;
        let done = SetEvent::Outdated(SetOutdated {
            pipeline: edges.clone(),
            job: job(1),
            plan: message(&edges, job(1), 0).plan,
            set: 0,
        });
        worker.publish_set_event(&done).await.unwrap();
        assert_eq!(events.next().await, Some(done));
        delivery.ack().await.unwrap();
        one_image_is_resolved(&queue, &worker).await;

        // The same connection with the rights of a leader in this program: the server refuses.
        let usurper = worker.lead(99, None);
        let mut controls = queue.controls().await.unwrap();
        handled(&queue).await;
        usurper.cancel_job(&cancel(1)).await.unwrap();
        handled(&usurper).await;
        queue.cancel_job(&cancel(2)).await.unwrap();
        assert_eq!(controls.next().await, Some(Control::Cancel(cancel(2))));
        assert!(Queue::connect(&as_worker).await.is_err(), "without credentials");
        let wrong = with_password(folder.path(), as_worker, "worker:c0c0");
        assert!(Queue::connect(&wrong).await.is_err(), "with a wrong password");
        let deleted = tokio::time::timeout(std::time::Duration::from_millis(500), usurper.delete_consumer(&edges));
        assert!(!matches!(deleted.await, Ok(Ok(()))));
        assert!(queue.consumer_info(&edges).await.unwrap().is_some());
    }
}

async fn one_image_is_resolved(queue: &howdah_queue::CoordinatorQueue, worker: &Queue) {
    use howdah_protocol::messages::{ResolveImage, ResolvedImage};
    let mut requests = worker.resolve_requests().await.unwrap();
    handled(worker).await;
    let answered = AtomicUsize::new(0);
    let request = ResolveImage {
        image: "alpine".into(),
        auth: None,
    };
    let refused = ResolvedImage::Refused {
        message: "none".into(),
        needs_attention: true,
    };
    let answering = async {
        let request = requests.next().await.unwrap();
        answered.fetch_add(1, Ordering::SeqCst);
        request.answer(&refused).await.unwrap();
    };
    let patience = std::time::Duration::from_secs(30);
    let (answer, ()) = tokio::join!(queue.resolve_image(&request, patience), answering);
    assert_eq!((answer.unwrap(), answered.load(Ordering::SeqCst)), (refused, 1));
}
