//! Tests of a worker that loses its process, its queue or its job while it works.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use howdah_protocol::messages::{ResolveImage, ResolvedImage, SetFailure};
use howdah_protocol::objects::{self, DatumOutcome, JobPlan, PlanId};
use howdah_protocol::testing::{datum, plan};
use howdah_protocol::wire;
use howdah_queue::ACK_WAIT;
use howdah_worker::runtime::scripted::ScriptedEnd;
use tokio::sync::Notify;

use crate::fixture::{WorkerFixture, within};

/// Defines the command `slow`, whose first `endless` runs do not end. Returns a signal that each run
/// gives at its start, and the number of runs.
fn define_slow(fixture: &WorkerFixture, endless: usize) -> (Arc<Notify>, Arc<AtomicUsize>) {
    let (begun, runs) = (Arc::new(Notify::new()), Arc::new(AtomicUsize::new(0)));
    let (signal, count) = (Arc::clone(&begun), Arc::clone(&runs));
    fixture.runtime.define("slow", move |_| {
        let run = count.fetch_add(1, Ordering::SeqCst);
        signal.notify_one();
        if run < endless {
            ScriptedEnd::endless()
        } else {
            ScriptedEnd::ok()
        }
    });
    (begun, runs)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_set_that_has_a_result_is_not_run_again() {
    let mut fixture = WorkerFixture::new().await;
    let worker = fixture.worker("w", 1).await;
    let (_, runs) = define_slow(&fixture, 0);
    let plan = plan("edges", 1, &["slow"]);
    let mut messages = fixture.start(&plan, vec![vec![datum(1, vec![])]]).await;
    let first = fixture.result(&plan, 0).await;
    fixture.idle(&plan.pipeline).await;
    messages[0].attempt = 1;
    fixture.queue.publish_sets(&messages).await.unwrap();
    within(fixture.events.next()).await.unwrap();
    fixture.idle(&plan.pipeline).await;
    assert_eq!(runs.load(Ordering::SeqCst), 1);
    assert_eq!(fixture.result(&plan, 0).await, first);
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_first_result_is_kept() {
    let mut fixture = WorkerFixture::new().await;
    let worker = fixture.worker("w", 1).await;
    let plan = plan("edges", 1, &["overtaken"]);
    let key = objects::result_key(&plan.pipeline, &plan.job, plan.id, 0);
    let (store, result_key) = (fixture.store.clone(), key.clone());
    // Another worker finishes the set while this one runs it.
    fixture.runtime.define_async("overtaken", move |_| {
        let (store, key) = (store.clone(), result_key.clone());
        Box::pin(async move {
            store.put_if_absent(&key, "theirs".into()).await.unwrap();
            ScriptedEnd::ok()
        })
    });
    fixture.start(&plan, vec![vec![datum(1, vec![])]]).await;
    within(fixture.events.next()).await.unwrap();
    fixture.idle(&plan.pipeline).await;
    assert_eq!(fixture.store.get(&key).await.unwrap(), "theirs");
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cancelled_job_stops_running() {
    let fixture = WorkerFixture::new().await;
    let worker = fixture.worker("w", 1).await;
    let (begun, runs) = define_slow(&fixture, usize::MAX);
    let plan = plan("edges", 1, &["slow"]);
    fixture
        .start(&plan, vec![vec![datum(1, vec![])], vec![datum(2, vec![])]])
        .await;
    within(begun.notified()).await;
    fixture.queue.purge_job(&plan.pipeline, &plan.job).await.unwrap();
    fixture.cancel(&plan).await;
    fixture.idle(&plan.pipeline).await;
    assert_eq!(fixture.results(&plan).await, 0);
    assert_eq!(runs.load(Ordering::SeqCst), 1);
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stage_that_is_not_needed_after_its_start_is_stopped() {
    for cancelled in [true, false] {
        let fixture = WorkerFixture::new().await;
        let worker = fixture.worker("w", 1).await;
        let (begun, go_on) = fixture.runtime.hold_starts();
        let plan = plan("edges", 1, &["ok"]);
        fixture.start(&plan, vec![vec![datum(1, vec![])]]).await;
        within(begun.notified()).await;
        if cancelled {
            fixture.cancel(&plan).await;
            fixture.idle(&plan.pipeline).await;
            assert_eq!(fixture.runtime.started(), 0, "the set did not wait for it");
            go_on.notify_one();
            worker.stop().await;
        } else {
            // The start continues only when the stopping worker has handed the set back: then
            // another puller receives the set.
            let mut puller = fixture.queue.datums(&plan.pipeline).await.unwrap();
            let start_after_hand_back = async {
                within(puller.next()).await.unwrap();
                assert_eq!(fixture.runtime.started(), 0, "the set did not wait for it");
                go_on.notify_one();
            };
            tokio::join!(worker.stop(), start_after_hand_back);
        }
        assert_eq!((fixture.runtime.started(), fixture.runtime.alive()), (1, 0));
        let slots = std::fs::read_dir(fixture.folder.path().join("w/slots")).unwrap();
        assert_eq!(slots.count(), 0, "its folders are removed, too");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_that_stops_hands_its_work_back() {
    let mut fixture = WorkerFixture::new().await;
    let mut presence = fixture.queue.presence().await.unwrap();
    let worker = fixture.worker("first", 1).await;
    let (begun, _) = define_slow(&fixture, 1);
    let plan = plan("edges", 1, &["slow"]);
    fixture.start(&plan, vec![vec![datum(1, vec![])]]).await;
    within(begun.notified()).await;
    within(async { while presence.next().await.unwrap().busy.is_empty() {} }).await;
    worker.stop().await;
    assert_eq!(fixture.runtime.alive(), 0, "its stages are stopped");
    within(async { while !presence.next().await.unwrap().leaving {} }).await;
    let second = fixture.worker("second", 1).await;
    let result = fixture.result(&plan, 0).await;
    assert_eq!((result.worker.as_str(), result.datums[0].tries), ("second", 1));
    second.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_that_is_killed_loses_nothing() {
    let mut fixture = WorkerFixture::new().await;
    let worker = fixture.worker("w", 1).await;
    let (begun, _) = define_slow(&fixture, 1);
    let plan = plan("edges", 1, &["slow"]);
    let mut messages = fixture.start(&plan, vec![vec![datum(1, vec![])]]).await;
    within(begun.notified()).await;
    worker.kill();
    // The server redelivers the set after its ack time-out. A coordinator that misses the worker's
    // presence publishes it again at once.
    messages[0].attempt = 1;
    fixture.queue.publish_sets(&messages).await.unwrap();
    let second = fixture.worker("other", 1).await;
    assert_eq!(fixture.result(&plan, 0).await.datums[0].state, DatumOutcome::Success);
    second.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_worker_that_starts_again_hands_its_sets_back() {
    let mut fixture = WorkerFixture::new().await;
    let plan = plan("edges", 1, &["ok"]);
    fixture.start(&plan, vec![vec![datum(1, vec![])]]).await;
    // An earlier worker took the set, wrote its receipt and was killed.
    let mut puller = fixture.queue.datums(&plan.pipeline).await.unwrap();
    let delivery = within(puller.next()).await.unwrap();
    let receipts = fixture.folder.path().join("w/receipts");
    std::fs::create_dir_all(&receipts).unwrap();
    std::fs::write(receipts.join("0"), delivery.receipt()).unwrap();
    std::fs::write(receipts.join("1"), "not a receipt").unwrap();

    let begun = Instant::now();
    let worker = fixture.worker("w", 1).await;
    let result = fixture.result(&plan, 0).await;
    assert_eq!(result.datums[0].state, DatumOutcome::Success);
    assert!(begun.elapsed() < ACK_WAIT / 2, "took {:?}", begun.elapsed());
    fixture.idle(&plan.pipeline).await;
    worker.stop().await;
    for receipt in std::fs::read_dir(&receipts).unwrap() {
        let receipt = receipt.unwrap();
        if receipt.file_name().to_str().unwrap().parse::<u64>().is_ok() {
            assert_eq!(std::fs::read_to_string(receipt.path()).unwrap(), "");
        }
    }
}

/// Leaves what a process leaves that ended by a fault while it ran set 0 of a plan.
fn leave_crash(fixture: &WorkerFixture, plan: &JobPlan) {
    let receipts = fixture.folder.path().join("w/receipts");
    std::fs::create_dir_all(&receipts).unwrap();
    let record = format!("no receipt\n{}/{}/0", plan.pipeline, plan.job);
    std::fs::write(receipts.join("5"), record).unwrap();
    std::fs::write(receipts.join("crashed"), 5_u64.to_le_bytes()).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_set_that_ended_the_process_twice_fails_and_is_not_tried_again() {
    let mut fixture = WorkerFixture::new().await;
    let (_, runs) = define_slow(&fixture, 0);
    let plan = plan("edges", 1, &["slow"]);
    for _ in 0..2 {
        leave_crash(&fixture, &plan);
        let worker = fixture.worker("w", 1).await;
        let failed = fixture.set_failed().await;
        assert_eq!((failed.job, failed.set), (plan.job, 0));
        assert!(failed.message.contains("ended"), "{failed:?}");
        worker.stop().await;
    }
    let worker = fixture.worker("w", 1).await;
    let sets = vec![vec![datum(1, vec![]), datum(2, vec![])], vec![datum(3, vec![])]];
    fixture.start(&plan, sets).await;
    let refused = fixture.result(&plan, 0).await;
    for datum in &refused.datums {
        assert_eq!((datum.state, datum.tries), (DatumOutcome::Failed, 0));
        assert!(
            datum.reason.as_ref().unwrap().contains("ended 2 times by a fault"),
            "{datum:?}"
        );
    }
    let lines = fixture.log_lines(&refused).await;
    assert!(lines[0].1.contains("not tried again"), "{lines:?}");
    assert_eq!(fixture.result(&plan, 1).await.datums[0].state, DatumOutcome::Success);
    assert_eq!(runs.load(Ordering::SeqCst), 1);
    worker.stop().await;
    // The result is stored: the set is not remembered.
    let ends = fixture.folder.path().join("w/receipts/ends");
    assert_eq!(std::fs::read_to_string(ends).unwrap(), "{}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_set_is_tried_again_after_one_end_of_the_process() {
    let mut fixture = WorkerFixture::new().await;
    let plan = plan("edges", 1, &["ok"]);
    leave_crash(&fixture, &plan);
    let worker = fixture.worker("w", 1).await;
    let result = fixture.run_one(&plan, vec![]).await;
    assert_eq!(result.datums[0].state, DatumOutcome::Success);
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_queue_that_loses_all_streams_is_served_again() {
    let mut fixture = WorkerFixture::new().await;
    let worker = fixture.worker("w", 1).await;
    let plan = plan("edges", 1, &["ok"]);
    fixture.start(&plan, vec![vec![datum(1, vec![])]]).await;
    fixture.result(&plan, 0).await;
    let mut stream_epoch = fixture.queue.stream_epoch();
    stream_epoch.mark_unchanged();
    fixture.server.kill();
    fixture.server.wipe();
    fixture.server.restart();
    within(stream_epoch.changed()).await.unwrap();
    let mut again = plan.clone();
    again.job = howdah_model::ids::GlobalId::from_number(2);
    fixture.start(&again, vec![vec![datum(1, vec![])]]).await;
    fixture.result(&again, 0).await;
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failure_of_the_infrastructure_is_reported_and_retried() {
    let mut fixture = WorkerFixture::new().await;
    fixture.runtime.refuse(Some("no such image in the registry"));
    let worker = fixture.worker("w", 1).await;
    let plan = plan("edges", 1, &["ok"]);
    fixture.start(&plan, vec![vec![datum(1, vec![])]]).await;
    let failed = fixture.set_failed().await;
    assert_eq!((failed.job, failed.set, failed.needs_attention), (plan.job, 0, true));
    assert!(failed.message.contains("no such image in the registry"), "{failed:?}");
    fixture.runtime.refuse(None);
    assert_eq!(fixture.result(&plan, 0).await.datums[0].state, DatumOutcome::Success);
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_set_of_a_deleted_job_is_acknowledged_and_not_run() {
    let fixture = WorkerFixture::new().await;
    let plan = plan("edges", 1, &["ok"]);
    fixture.start(&plan, vec![vec![datum(1, vec![])]]).await;
    let key = objects::plan_key(&plan.pipeline, &plan.job);
    fixture.store.delete(&key).await.unwrap();
    let worker = fixture.worker("w", 1).await;
    fixture.idle(&plan.pipeline).await;
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_set_of_a_discarded_plan_is_dropped_and_the_new_plan_runs() {
    let mut fixture = WorkerFixture::new().await;
    let discarded = JobPlan {
        id: PlanId::from_random(1),
        ..plan("edges", 1, &["ok"])
    };
    fixture
        .start(&discarded, vec![vec![datum(1, vec![])], vec![datum(2, vec![])]])
        .await;
    // The same job is planned anew before a worker comes: the sets of both plans are on the queue.
    let planned = JobPlan {
        id: PlanId::from_random(2),
        ..discarded.clone()
    };
    fixture.start(&planned, vec![vec![datum(3, vec![])]]).await;
    let worker = fixture.worker("w", 1).await;
    let result = fixture.result(&planned, 0).await;
    assert_eq!(result.datums[0].id, datum(3, vec![]).id);
    fixture.idle(&planned.pipeline).await;
    assert_eq!(fixture.results(&planned).await, 1, "of all plans of the job");
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_panic_during_a_set_is_reported_and_the_set_runs_again() {
    let mut fixture = WorkerFixture::new().await;
    let worker = fixture.worker("w", 1).await;
    let runs = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&runs);
    fixture.runtime.define("panics", move |_| {
        assert!(counted.fetch_add(1, Ordering::SeqCst) > 0, "the first run panics");
        ScriptedEnd::ok()
    });
    let plan = plan("edges", 1, &["panics"]);
    fixture.start(&plan, vec![vec![datum(1, vec![])]]).await;
    let failed = fixture.set_failed().await;
    assert!(failed.message.contains("the first run panics"), "{failed:?}");
    assert_eq!((failed.set, failed.failure), (0, SetFailure::Passing));
    let result = fixture.result(&plan, 0).await;
    assert_eq!(result.datums[0].state, DatumOutcome::Success);
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slot_keeps_its_stage_until_another_pipeline_needs_it() {
    let mut fixture = WorkerFixture::new().await;
    let worker = fixture.worker("w", 1).await;
    for (job, pipeline, started) in [(1, "a", 1), (2, "a", 1), (3, "b", 2), (4, "b", 2)] {
        let plan = plan(pipeline, job, &["ok"]);
        fixture.run_one(&plan, vec![]).await;
        fixture.idle(&plan.pipeline).await;
        assert_eq!(fixture.runtime.started(), started, "{pipeline}");
        assert_eq!(fixture.runtime.alive(), 1);
    }
    worker.stop().await;
    assert_eq!(fixture.runtime.alive(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn slots_work_concurrently() {
    let mut fixture = WorkerFixture::new().await;
    let worker = fixture.worker("w", 3).await;
    let meeting = Arc::new(tokio::sync::Barrier::new(3));
    fixture.runtime.define_async("meet", move |_| {
        let meeting = Arc::clone(&meeting);
        Box::pin(async move {
            meeting.wait().await;
            ScriptedEnd::ok()
        })
    });
    let plan = plan("edges", 1, &["meet"]);
    fixture
        .start(&plan, (0..3).map(|n| vec![datum(n, vec![])]).collect())
        .await;
    for set in 0..3 {
        fixture.result(&plan, set).await;
    }
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn images_are_resolved_on_request() {
    let fixture = WorkerFixture::new().await;
    let worker = fixture.worker("w", 1).await;
    let request = ResolveImage {
        image: "alpine".into(),
        auth: None,
    };
    let resolved = || async {
        within(async {
            loop {
                // The worker may not have subscribed yet.
                match fixture.queue.resolve_image(&request, Duration::from_secs(30)).await {
                    Ok(resolved) => return resolved,
                    Err(howdah_queue::QueueError::NoWorkers) => {}
                    Err(error) => panic!("{error}"),
                }
            }
        })
        .await
    };
    assert!(matches!(resolved().await, ResolvedImage::Pinned(pin) if pin.digest == "sha256:alpine"));
    fixture.runtime.refuse(Some("not there"));
    let refused = resolved().await;
    assert!(
        matches!(&refused, ResolvedImage::Refused { message, needs_attention: true }
            if message.contains("not there")),
        "{refused:?}"
    );
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plan_of_another_release_is_a_failure_that_names_the_version() {
    let mut fixture = WorkerFixture::new().await;
    let plan = plan("edges", 1, &["ok"]);
    fixture.start(&plan, vec![vec![datum(1, vec![])]]).await;
    let key = objects::plan_key(&plan.pipeline, &plan.job);
    let newer = String::from_utf8(wire::encode(&plan))
        .unwrap()
        .replace("\"v\":1", "\"v\":2");
    fixture.store.put(&key, newer.into()).await.unwrap();
    let worker = fixture.worker("w", 1).await;
    let failed = fixture.set_failed().await;
    assert!(failed.message.contains("job_plan message has version 2"), "{failed:?}");
    worker.stop().await;
}
