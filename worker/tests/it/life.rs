//! Losing workers, servers and jobs in the middle.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use howdah_protocol::messages::{ResolveImage, ResolvedImage};
use howdah_protocol::objects::{self, DatumOutcome};
use howdah_protocol::wire;
use howdah_queue::ACK_WAIT;
use howdah_worker::runtime::scripted::Answer;
use tokio::sync::Notify;

use crate::fixture::{World, datum, plan, within};

/// Defines a command that rings and does not end, the first `endless` times.
fn define_slow(world: &World, endless: usize) -> (Arc<Notify>, Arc<AtomicUsize>) {
    let (begun, runs) = (Arc::new(Notify::new()), Arc::new(AtomicUsize::new(0)));
    let (bell, count) = (Arc::clone(&begun), Arc::clone(&runs));
    world.runtime.define("slow", move |_| {
        let run = count.fetch_add(1, Ordering::SeqCst);
        bell.notify_one();
        if run < endless { Answer::endless() } else { Answer::ok() }
    });
    (begun, runs)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_set_whose_result_is_there_is_not_run_again() {
    let mut world = World::new().await;
    let worker = world.worker("w", 1).await;
    let (_, runs) = define_slow(&world, 0);
    let plan = plan("edges", 1, &["slow"]);
    let mut messages = world.start(&plan, vec![vec![datum(1, vec![])]]).await;
    let first = world.result(&plan, 0).await;
    world.idle(&plan.pipeline).await;
    messages[0].attempt = 1;
    world.queue.publish_sets(&messages).await.unwrap();
    within(world.notices.next()).await.unwrap();
    world.idle(&plan.pipeline).await;
    assert_eq!(runs.load(Ordering::SeqCst), 1);
    assert_eq!(world.result(&plan, 0).await, first);
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_first_result_stands() {
    let mut world = World::new().await;
    let worker = world.worker("w", 1).await;
    let plan = plan("edges", 1, &["overtaken"]);
    let key = objects::result_key(&plan.pipeline, &plan.job, 0);
    let (store, there) = (world.store.clone(), key.clone());
    // Somebody else finishes the set while we are on it.
    world.runtime.define_async("overtaken", move |_| {
        let (store, key) = (store.clone(), there.clone());
        Box::pin(async move {
            store.put_if_absent(&key, "theirs".into()).await.unwrap();
            Answer::ok()
        })
    });
    world.start(&plan, vec![vec![datum(1, vec![])]]).await;
    within(world.notices.next()).await.unwrap();
    world.idle(&plan.pipeline).await;
    assert_eq!(world.store.get(&key).await.unwrap(), "theirs");
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cancelled_job_is_dropped() {
    let world = World::new().await;
    let worker = world.worker("w", 1).await;
    let (begun, runs) = define_slow(&world, usize::MAX);
    let plan = plan("edges", 1, &["slow"]);
    world
        .start(&plan, vec![vec![datum(1, vec![])], vec![datum(2, vec![])]])
        .await;
    within(begun.notified()).await;
    world.queue.purge_job(&plan.pipeline, &plan.job).await.unwrap();
    world.cancel(&plan).await;
    world.idle(&plan.pipeline).await;
    assert_eq!(world.results(&plan).await, 0);
    assert_eq!(runs.load(Ordering::SeqCst), 1);
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stage_that_nobody_waits_for_any_more_is_stopped() {
    for cancelled in [true, false] {
        let world = World::new().await;
        let worker = world.worker("w", 1).await;
        let (begun, go_on) = world.runtime.hold_starts();
        let plan = plan("edges", 1, &["ok"]);
        world.start(&plan, vec![vec![datum(1, vec![])]]).await;
        within(begun.notified()).await;
        if cancelled {
            world.cancel(&plan).await;
            world.idle(&plan.pipeline).await;
            assert_eq!(world.runtime.started(), 0, "the set did not wait for it");
            go_on.notify_one();
            worker.stop().await;
        } else {
            let late = async {
                tokio::time::sleep(Duration::from_millis(100)).await;
                go_on.notify_one();
            };
            tokio::join!(worker.stop(), late);
        }
        assert_eq!((world.runtime.started(), world.runtime.alive()), (1, 0));
        let slots = std::fs::read_dir(world.folder.path().join("w/slots")).unwrap();
        assert_eq!(slots.count(), 0, "its folders are gone too");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_that_stops_hands_its_work_back() {
    let mut world = World::new().await;
    let mut presence = world.queue.presence().await.unwrap();
    let worker = world.worker("first", 1).await;
    let (begun, _) = define_slow(&world, 1);
    let plan = plan("edges", 1, &["slow"]);
    world.start(&plan, vec![vec![datum(1, vec![])]]).await;
    within(begun.notified()).await;
    within(async { while presence.next().await.unwrap().busy.is_empty() {} }).await;
    worker.stop().await;
    assert_eq!(world.runtime.alive(), 0, "its stages are gone");
    within(async { while !presence.next().await.unwrap().leaving {} }).await;
    let second = world.worker("second", 1).await;
    let result = world.result(&plan, 0).await;
    assert_eq!((result.worker.as_str(), result.datums[0].tries), ("second", 1));
    second.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_that_is_killed_loses_nothing() {
    let mut world = World::new().await;
    let worker = world.worker("w", 1).await;
    let (begun, _) = define_slow(&world, 1);
    let plan = plan("edges", 1, &["slow"]);
    let mut messages = world.start(&plan, vec![vec![datum(1, vec![])]]).await;
    within(begun.notified()).await;
    worker.kill();
    // The server would give the set out again after its time; a coordinator that misses the
    // worker's presence publishes it again at once.
    messages[0].attempt = 1;
    world.queue.publish_sets(&messages).await.unwrap();
    let second = world.worker("other", 1).await;
    assert_eq!(world.result(&plan, 0).await.datums[0].state, DatumOutcome::Success);
    second.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_worker_that_starts_again_hands_back_what_it_had() {
    let mut world = World::new().await;
    let plan = plan("edges", 1, &["ok"]);
    world.start(&plan, vec![vec![datum(1, vec![])]]).await;
    // An earlier worker took the set, left its receipt and was killed.
    let mut puller = world.queue.datums(&plan.pipeline).await.unwrap();
    let delivery = within(puller.next()).await.unwrap();
    let receipts = world.folder.path().join("w/receipts");
    std::fs::create_dir_all(&receipts).unwrap();
    std::fs::write(receipts.join("0"), delivery.receipt()).unwrap();
    std::fs::write(receipts.join("1"), "rubbish").unwrap();

    let begun = Instant::now();
    let worker = world.worker("w", 1).await;
    let result = world.result(&plan, 0).await;
    assert_eq!(result.datums[0].state, DatumOutcome::Success);
    assert!(begun.elapsed() < ACK_WAIT / 2, "took {:?}", begun.elapsed());
    world.idle(&plan.pipeline).await;
    worker.stop().await;
    for receipt in std::fs::read_dir(&receipts).unwrap() {
        assert_eq!(std::fs::read_to_string(receipt.unwrap().path()).unwrap(), "");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_queue_that_loses_everything_is_served_again() {
    let mut world = World::new().await;
    let worker = world.worker("w", 1).await;
    let plan = plan("edges", 1, &["ok"]);
    world.start(&plan, vec![vec![datum(1, vec![])]]).await;
    world.result(&plan, 0).await;
    let mut stream_epoch = world.queue.stream_epoch();
    stream_epoch.mark_unchanged();
    world.server.kill();
    world.server.wipe();
    world.server.restart();
    within(stream_epoch.changed()).await.unwrap();
    let mut again = plan.clone();
    again.job = howdah_model::ids::GlobalId::from_number(2);
    world.start(&again, vec![vec![datum(1, vec![])]]).await;
    world.result(&again, 0).await;
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn trouble_is_told_and_passes() {
    let mut world = World::new().await;
    world.runtime.refuse(Some("no such image in the registry"));
    let worker = world.worker("w", 1).await;
    let plan = plan("edges", 1, &["ok"]);
    world.start(&plan, vec![vec![datum(1, vec![])]]).await;
    let trouble = world.trouble().await;
    assert_eq!((trouble.job, trouble.set, trouble.needs_attention), (plan.job, 0, true));
    assert!(trouble.message.contains("no such image in the registry"), "{trouble:?}");
    world.runtime.refuse(None);
    assert_eq!(world.result(&plan, 0).await.datums[0].state, DatumOutcome::Success);
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_set_of_a_deleted_job_is_dropped() {
    let world = World::new().await;
    let plan = plan("edges", 1, &["ok"]);
    world.start(&plan, vec![vec![datum(1, vec![])]]).await;
    let key = objects::plan_key(&plan.pipeline, &plan.job);
    world.store.delete(&key).await.unwrap();
    let worker = world.worker("w", 1).await;
    world.idle(&plan.pipeline).await;
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slot_keeps_its_stage_until_another_pipeline_needs_it() {
    let mut world = World::new().await;
    let worker = world.worker("w", 1).await;
    for (job, pipeline, started) in [(1, "a", 1), (2, "a", 1), (3, "b", 2), (4, "b", 2)] {
        let plan = plan(pipeline, job, &["ok"]);
        world.run_one(&plan, vec![]).await;
        world.idle(&plan.pipeline).await;
        assert_eq!(world.runtime.started(), started, "{pipeline}");
        assert_eq!(world.runtime.alive(), 1);
    }
    worker.stop().await;
    assert_eq!(world.runtime.alive(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn slots_work_side_by_side() {
    let mut world = World::new().await;
    let worker = world.worker("w", 3).await;
    let meeting = Arc::new(tokio::sync::Barrier::new(3));
    world.runtime.define_async("meet", move |_| {
        let meeting = Arc::clone(&meeting);
        Box::pin(async move {
            meeting.wait().await;
            Answer::ok()
        })
    });
    let plan = plan("edges", 1, &["meet"]);
    world
        .start(&plan, (0..3).map(|n| vec![datum(n, vec![])]).collect())
        .await;
    for set in 0..3 {
        world.result(&plan, set).await;
    }
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn images_are_resolved_on_request() {
    let world = World::new().await;
    let worker = world.worker("w", 1).await;
    let asked = ResolveImage {
        image: "alpine".into(),
        auth: None,
    };
    let answer = || async {
        within(async {
            loop {
                // The worker may not listen yet.
                match world.queue.resolve_image(&asked, Duration::from_secs(30)).await {
                    Ok(answer) => return answer,
                    Err(howdah_queue::QueueError::NoWorkers) => {}
                    Err(error) => panic!("{error}"),
                }
            }
        })
        .await
    };
    assert!(matches!(answer().await, ResolvedImage::Pinned(pin) if pin.digest == "sha256:alpine"));
    world.runtime.refuse(Some("not there"));
    let refused = answer().await;
    assert!(
        matches!(&refused, ResolvedImage::Refused { message, needs_attention: true }
            if message.contains("not there")),
        "{refused:?}"
    );
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plan_of_another_release_is_trouble_and_named() {
    let mut world = World::new().await;
    let plan = plan("edges", 1, &["ok"]);
    world.start(&plan, vec![vec![datum(1, vec![])]]).await;
    let key = objects::plan_key(&plan.pipeline, &plan.job);
    let newer = String::from_utf8(wire::encode(&plan))
        .unwrap()
        .replace("\"v\":1", "\"v\":2");
    world.store.put(&key, newer.into()).await.unwrap();
    let worker = world.worker("w", 1).await;
    let trouble = world.trouble().await;
    assert!(
        trouble.message.contains("job_plan message has version 2"),
        "{trouble:?}"
    );
    worker.stop().await;
}
