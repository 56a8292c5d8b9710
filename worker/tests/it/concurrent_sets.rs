//! Tests of datum sets whose datums several slots process concurrently.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use howdah_protocol::objects::{DatumOutcome, JobPlan, SetConcurrency};
use howdah_protocol::testing::{datum, plan};
use howdah_store::Store;
use howdah_worker::runtime::scripted::ScriptedEnd;
use tokio::sync::{Barrier, Notify};

use crate::fixture::{WorkerFixture, commit_into, input_from, within};

pub(crate) fn concurrent_plan(pipeline: &str, cmd: &[&str]) -> JobPlan {
    JobPlan {
        concurrency: SetConcurrency::Concurrent { workers: 1, slots: 2 },
        ..plan(pipeline, 1, cmd)
    }
}

/// Defines the command `meet`, which ends when `size` runs of it are in progress.
fn define_meeting(fixture: &WorkerFixture, size: usize) {
    let meeting = Arc::new(Barrier::new(size));
    fixture.runtime.define_async("meet", move |call| {
        let meeting = Arc::clone(&meeting);
        Box::pin(async move {
            meeting.wait().await;
            let from = call.var("in").unwrap().to_owned();
            let name = from.rsplit('/').next().unwrap();
            std::fs::copy(call.path(&from), call.path("/pfs/out").join(name)).unwrap();
            ScriptedEnd::ok()
        })
    });
}

#[tokio::test(flavor = "multi_thread")]
async fn free_slots_take_part_and_every_datum_gets_its_own_output() {
    let mut fixture = WorkerFixture::new().await;
    let worker = fixture.worker("w", 3).await;
    define_meeting(&fixture, 3);
    let names = ["/a", "/b", "/c", "/d", "/e", "/f"];
    let files: Vec<(&str, Vec<u8>)> = names.iter().map(|name| (*name, name.as_bytes().to_vec())).collect();
    let root = fixture.commit(&files).await;
    let mut datums = Vec::new();
    for (number, name) in (1..).zip(names) {
        datums.push(datum(number, vec![fixture.input("in", root, name).await]));
    }
    let ids: Vec<_> = datums.iter().map(|datum| datum.id).collect();
    let plan = concurrent_plan("edges", &["meet"]);
    fixture.start(&plan, vec![datums]).await;
    let result = fixture.result(&plan, 0).await;
    let found: Vec<_> = result.datums.iter().map(|datum| datum.id).collect();
    assert_eq!(found, ids);
    for (place, name) in names.into_iter().enumerate() {
        let expected = vec![(name.to_owned(), name.as_bytes().to_vec())];
        assert_eq!(fixture.output(&result, place).await, expected);
    }
    fixture.idle(&plan.pipeline).await;
    assert_eq!(fixture.runtime.started(), 3);
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn datums_of_a_sequential_set_run_one_after_the_other() {
    let mut fixture = WorkerFixture::new().await;
    let worker = fixture.worker("w", 3).await;
    let (running, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let seen = Arc::clone(&most);
    fixture.runtime.define_async("alone", move |_| {
        let (running, most) = (Arc::clone(&running), Arc::clone(&seen));
        Box::pin(async move {
            most.fetch_max(running.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
            for _ in 0..1000 {
                tokio::task::yield_now().await;
            }
            running.fetch_sub(1, Ordering::SeqCst);
            ScriptedEnd::ok()
        })
    });
    let plan = plan("edges", 1, &["alone"]);
    fixture
        .start(&plan, vec![(1..20).map(|number| datum(number, vec![])).collect()])
        .await;
    fixture.result(&plan, 0).await;
    assert_eq!((most.load(Ordering::SeqCst), fixture.runtime.started()), (1, 1));
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failure_of_the_infrastructure_stops_all_datums_and_hands_the_set_back() {
    let mut fixture = WorkerFixture::new().await;
    let worker = fixture.worker("w", 2).await;
    let (begun, runs) = (Arc::new(Notify::new()), Arc::new(AtomicUsize::new(0)));
    let count = Arc::clone(&runs);
    let signal = Arc::clone(&begun);
    fixture.runtime.define("slow", move |_| {
        signal.notify_one();
        if count.fetch_add(1, Ordering::SeqCst) == 0 {
            ScriptedEnd::endless()
        } else {
            ScriptedEnd::ok()
        }
    });
    // The second datum's input is not in the store yet.
    let elsewhere = Store::in_memory().await;
    let files = [("/late", b"bytes".to_vec())];
    let root = commit_into(&elsewhere, &files).await;
    let late = input_from(&elsewhere, "in", root, "/late").await;
    let plan = concurrent_plan("edges", &["slow"]);
    fixture
        .start(&plan, vec![vec![datum(1, vec![]), datum(2, vec![late])]])
        .await;
    within(begun.notified()).await;
    let failed = fixture.set_failed().await;
    assert_eq!((failed.job, failed.set), (plan.job, 0));
    commit_into(&fixture.store, &files).await;
    let result = fixture.result(&plan, 0).await;
    let states: Vec<_> = result.datums.iter().map(|datum| (datum.state, datum.tries)).collect();
    assert_eq!(states, [(DatumOutcome::Success, 1); 2]);
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cancelled_job_stops_running_in_all_slots() {
    let fixture = WorkerFixture::new().await;
    let worker = fixture.worker("w", 2).await;
    let begun = Arc::new(Barrier::new(3));
    let all = Arc::clone(&begun);
    fixture.runtime.define_async("endless", move |_| {
        let all = Arc::clone(&all);
        Box::pin(async move {
            all.wait().await;
            ScriptedEnd::endless()
        })
    });
    let plan = concurrent_plan("edges", &["endless"]);
    fixture
        .start(&plan, vec![(1..5).map(|number| datum(number, vec![])).collect()])
        .await;
    within(begun.wait()).await;
    fixture.cancel(&plan).await;
    fixture.idle(&plan.pipeline).await;
    assert_eq!(fixture.results(&plan).await, 0);
    worker.stop().await;
}
