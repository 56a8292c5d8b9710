//! Tests of a worker whose stage containers vanish: killed from outside, or ended by what runs in them.

use std::os::unix::fs::symlink;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use howdah_model::ids::GlobalId;
use howdah_protocol::objects::DatumOutcome;
use howdah_protocol::testing::{datum, plan};
use howdah_worker::runtime::scripted::{INIT, ScriptedEnd};
use tokio::sync::Semaphore;

use crate::concurrent_sets::concurrent_plan;
use crate::fixture::{WorkerFixture, within};

/// Defines the command `slow`, whose first `endless` runs do not end. Returns a semaphore that gets a permit for each run,
/// and the number of runs.
fn define_slow(fixture: &WorkerFixture, endless: usize) -> (Arc<Semaphore>, Arc<AtomicUsize>) {
    let (begun, runs) = (Arc::new(Semaphore::new(0)), Arc::new(AtomicUsize::new(0)));
    let (signal, count) = (Arc::clone(&begun), Arc::clone(&runs));
    fixture.runtime.define("slow", move |_| {
        let run = count.fetch_add(1, Ordering::SeqCst);
        signal.add_permits(1);
        if run < endless {
            ScriptedEnd::endless()
        } else {
            ScriptedEnd::ok()
        }
    });
    (begun, runs)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_datum_whose_stage_is_killed_runs_again_in_a_new_one() {
    let mut fixture = WorkerFixture::new().await;
    let worker = fixture.worker("w", 1).await;
    let (begun, runs) = define_slow(&fixture, 1);
    let plan = plan("edges", 1, &["slow"]);
    fixture.start(&plan, vec![vec![datum(1, vec![])]]).await;
    within(begun.acquire()).await.unwrap().forget();
    fixture.runtime.kill_stages();
    let result = fixture.result(&plan, 0).await;
    assert_eq!(
        (result.datums[0].state, result.datums[0].tries),
        (DatumOutcome::Success, 1)
    );
    assert_eq!((runs.load(Ordering::SeqCst), fixture.runtime.started()), (2, 2));
    let lines = fixture.log_lines(&result).await;
    assert!(
        lines
            .iter()
            .any(|(user, text)| !user && text.starts_with("begun again: ") && text.contains("was killed")),
        "{lines:?}"
    );
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stage_that_ends_while_it_is_idle_is_replaced_before_the_next_datum() {
    let mut fixture = WorkerFixture::new().await;
    let worker = fixture.worker("w", 1).await;
    let mut plan = plan("edges", 1, &["ok"]);
    fixture.run_one(&plan, vec![]).await;
    fixture.idle(&plan.pipeline).await;
    fixture.runtime.kill_stages();
    plan.job = GlobalId::from_number(2);
    let result = fixture.run_one(&plan, vec![]).await;
    assert_eq!(result.datums[0].state, DatumOutcome::Success);
    assert!(fixture.log_lines(&result).await.is_empty(), "no command was lost");
    assert_eq!(fixture.runtime.started(), 2);
    worker.stop().await;
    assert_eq!(fixture.runtime.alive(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn each_try_has_a_stage_of_its_own_if_the_plan_asks_for_it() {
    let mut fixture = WorkerFixture::new().await;
    let worker = fixture.worker("w", 1).await;
    fixture.runtime.define("fails", |_| ScriptedEnd::exit(1));
    let mut plan = plan("edges", 1, &["fails"]);
    plan.stage.new_stage_for_each_try = true;
    plan.stage.err_cmd = Some(vec!["fails".to_owned()]);
    fixture
        .start(&plan, vec![vec![datum(1, vec![]), datum(2, vec![])]])
        .await;
    let result = fixture.result(&plan, 0).await;
    assert!(
        result
            .datums
            .iter()
            .all(|datum| datum.state == DatumOutcome::Failed && datum.tries == 3)
    );
    // The error handler runs in the stage of the try: it does not start another one.
    assert_eq!(fixture.runtime.started(), 6);
    worker.stop().await;
    assert_eq!(fixture.runtime.alive(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn all_slots_of_a_set_go_on_when_their_stages_are_killed() {
    let mut fixture = WorkerFixture::new().await;
    let worker = fixture.worker("w", 2).await;
    let (begun, runs) = define_slow(&fixture, 2);
    let plan = concurrent_plan("edges", &["slow"]);
    fixture
        .start(&plan, vec![(1..5).map(|number| datum(number, vec![])).collect()])
        .await;
    within(begun.acquire_many(2)).await.unwrap().forget();
    fixture.runtime.kill_stages();
    let result = fixture.result(&plan, 0).await;
    let states: Vec<_> = result.datums.iter().map(|datum| (datum.state, datum.tries)).collect();
    assert_eq!(states, [(DatumOutcome::Success, 1); 4]);
    assert_eq!((runs.load(Ordering::SeqCst), fixture.runtime.started()), (6, 4));
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stage_that_is_lost_while_links_are_copied_hands_the_set_back() {
    let mut fixture = WorkerFixture::new().await;
    let worker = fixture.worker("w", 1).await;
    fixture.runtime.define("link-out", |call| {
        symlink("/usr/share/words", call.path("/pfs/out").join("words")).unwrap();
        ScriptedEnd::ok()
    });
    let copies = AtomicUsize::new(0);
    fixture.runtime.define(INIT, move |call| {
        let link = call.path("/pfs/out").join("words");
        std::fs::remove_file(&link).unwrap();
        std::fs::write(&link, "aardvark").unwrap();
        ScriptedEnd {
            lost: copies.fetch_add(1, Ordering::SeqCst) == 0,
            ..ScriptedEnd::ok()
        }
    });
    let plan = plan("edges", 1, &["link-out"]);
    fixture.start(&plan, vec![vec![datum(1, vec![])]]).await;
    let failed = fixture.set_failed().await;
    assert_eq!((failed.job, failed.set, failed.needs_attention), (plan.job, 0, false));
    assert!(failed.message.contains("went away"), "{failed:?}");
    let result = fixture.result(&plan, 0).await;
    assert_eq!(
        (result.datums[0].state, result.datums[0].tries),
        (DatumOutcome::Success, 1)
    );
    let words = ("/words".to_owned(), b"aardvark".to_vec());
    assert_eq!(fixture.output(&result, 0).await, [words]);
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_error_handler_that_ends_its_stage_leaves_the_datum_failed_and_the_slot_usable() {
    let mut fixture = WorkerFixture::new().await;
    let worker = fixture.worker("w", 1).await;
    fixture.runtime.define("fail", |_| ScriptedEnd::exit(1));
    fixture.runtime.define("fatal", |_| ScriptedEnd {
        lost: true,
        ..ScriptedEnd::ok()
    });
    let mut plan = plan("edges", 1, &["fail"]);
    plan.stage.datum_tries = 1;
    plan.stage.err_cmd = Some(vec!["fatal".to_owned()]);
    let result = fixture.run_one(&plan, vec![]).await;
    assert_eq!(
        (result.datums[0].state, result.datums[0].tries),
        (DatumOutcome::Failed, 1)
    );
    let lines = fixture.log_lines(&result).await;
    assert!(
        lines.iter().any(|(_, text)| text.starts_with("error handler lost: ")),
        "{lines:?}"
    );
    plan.job = GlobalId::from_number(2);
    plan.stage.cmd = vec!["ok".to_owned()];
    let result = fixture.run_one(&plan, vec![]).await;
    assert_eq!(result.datums[0].state, DatumOutcome::Success);
    worker.stop().await;
}
