//! Sets whose datums several slots do at once.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use howdah_protocol::objects::{DatumOutcome, JobPlan, SetConcurrency};
use howdah_store::Store;
use howdah_worker::runtime::scripted::Answer;
use tokio::sync::{Barrier, Notify};

use crate::fixture::{World, commit_into, datum, input_from, plan, within};

fn at_once(pipeline: &str, cmd: &[&str]) -> JobPlan {
    JobPlan {
        concurrency: SetConcurrency::Concurrent { workers: 1, slots: 2 },
        ..plan(pipeline, 1, cmd)
    }
}

/// Defines a command that ends when so many are running.
fn define_meeting(world: &World, size: usize) {
    let meeting = Arc::new(Barrier::new(size));
    world.runtime.define_async("meet", move |call| {
        let meeting = Arc::clone(&meeting);
        Box::pin(async move {
            meeting.wait().await;
            let from = call.var("in").unwrap().to_owned();
            let name = from.rsplit('/').next().unwrap();
            std::fs::copy(call.path(&from), call.path("/pfs/out").join(name)).unwrap();
            Answer::ok()
        })
    });
}

#[tokio::test(flavor = "multi_thread")]
async fn free_slots_help_and_every_datum_gets_its_own_output() {
    let mut world = World::new().await;
    let worker = world.worker("w", 3).await;
    define_meeting(&world, 3);
    let names = ["/a", "/b", "/c", "/d", "/e", "/f"];
    let files: Vec<(&str, Vec<u8>)> = names.iter().map(|name| (*name, name.as_bytes().to_vec())).collect();
    let root = world.commit(&files).await;
    let mut datums = Vec::new();
    for (number, name) in (1..).zip(names) {
        datums.push(datum(number, vec![world.input("in", root, name).await]));
    }
    let ids: Vec<_> = datums.iter().map(|datum| datum.id).collect();
    let plan = at_once("edges", &["meet"]);
    world.start(&plan, vec![datums]).await;
    let result = world.result(&plan, 0).await;
    let found: Vec<_> = result.datums.iter().map(|datum| datum.id).collect();
    assert_eq!(found, ids);
    for (place, name) in names.into_iter().enumerate() {
        let expected = vec![(name.to_owned(), name.as_bytes().to_vec())];
        assert_eq!(world.output(&result, place).await, expected);
    }
    world.idle(&plan.pipeline).await;
    assert_eq!(world.runtime.started(), 3);
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_leave_datums_of_a_set_come_one_after_the_other() {
    let mut world = World::new().await;
    let worker = world.worker("w", 3).await;
    let (running, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let seen = Arc::clone(&most);
    world.runtime.define_async("alone", move |_| {
        let (running, most) = (Arc::clone(&running), Arc::clone(&seen));
        Box::pin(async move {
            most.fetch_max(running.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
            for _ in 0..1000 {
                tokio::task::yield_now().await;
            }
            running.fetch_sub(1, Ordering::SeqCst);
            Answer::ok()
        })
    });
    let plan = plan("edges", 1, &["alone"]);
    world
        .start(&plan, vec![(1..20).map(|number| datum(number, vec![])).collect()])
        .await;
    world.result(&plan, 0).await;
    assert_eq!((most.load(Ordering::SeqCst), world.runtime.started()), (1, 1));
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn trouble_with_one_datum_stops_the_others_and_hands_the_set_back() {
    let mut world = World::new().await;
    let worker = world.worker("w", 2).await;
    let (begun, runs) = (Arc::new(Notify::new()), Arc::new(AtomicUsize::new(0)));
    let count = Arc::clone(&runs);
    let bell = Arc::clone(&begun);
    world.runtime.define("slow", move |_| {
        bell.notify_one();
        if count.fetch_add(1, Ordering::SeqCst) == 0 {
            Answer::endless()
        } else {
            Answer::ok()
        }
    });
    // The second datum's input is not in the store yet.
    let elsewhere = Store::in_memory().await;
    let files = [("/late", b"bytes".to_vec())];
    let root = commit_into(&elsewhere, &files).await;
    let late = input_from(&elsewhere, "in", root, "/late").await;
    let plan = at_once("edges", &["slow"]);
    world
        .start(&plan, vec![vec![datum(1, vec![]), datum(2, vec![late])]])
        .await;
    within(begun.notified()).await;
    let trouble = world.trouble().await;
    assert_eq!((trouble.job, trouble.set), (plan.job, 0));
    commit_into(&world.store, &files).await;
    let result = world.result(&plan, 0).await;
    let states: Vec<_> = result.datums.iter().map(|datum| (datum.state, datum.tries)).collect();
    assert_eq!(states, [(DatumOutcome::Success, 1); 2]);
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cancelled_job_is_dropped_in_all_slots() {
    let world = World::new().await;
    let worker = world.worker("w", 2).await;
    let begun = Arc::new(Barrier::new(3));
    let all = Arc::clone(&begun);
    world.runtime.define_async("endless", move |_| {
        let all = Arc::clone(&all);
        Box::pin(async move {
            all.wait().await;
            Answer::endless()
        })
    });
    let plan = at_once("edges", &["endless"]);
    world
        .start(&plan, vec![(1..5).map(|number| datum(number, vec![])).collect()])
        .await;
    within(begun.wait()).await;
    world.cancel(&plan).await;
    world.idle(&plan.pipeline).await;
    assert_eq!(world.results(&plan).await, 0);
    worker.stop().await;
}
