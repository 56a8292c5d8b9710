//! What the loop answers to a write, and what is in the store afterwards.

use std::collections::BTreeSet;

use howdah_model::{GlobalId, Rejection, Reply};
use howdah_store::backend::fault::{Fault, Operation};
use howdah_store::{EditError, StoreError, keys};

use super::support::{World, append, files_of, orphans_in, put, read_files, soon};
use crate::metadata::{StagingError, StagingOutcome, SubmitError};

#[tokio::test]
async fn accepted_edits_have_an_object_and_are_in_the_commit() {
    let (world, mut commands) = World::new().await;
    let edits = world.edits(&[put("/a", "one")]).await;
    let mut stager = world.stager(&edits).await;
    assert_eq!(world.attempt(&mut commands, &mut stager).await, StagingOutcome::Staged);
    drop(stager);
    world.removals_done().await;
    let commit = world.commit();
    let staged: BTreeSet<GlobalId> = commit.staged.iter().map(|staged| staged.id).collect();
    assert_eq!((commit.staged.len(), commit.bytes_bound()), (1, 3));
    assert_eq!(world.objects().await, staged);
}

#[tokio::test]
async fn edits_without_effect_are_neither_stored_nor_submitted() {
    let (world, commands) = World::new().await;
    let edits = world.edits(&[]).await;
    let mut stager = world.stager(&edits).await;
    let commit = world.commit();
    let outcome = soon(stager.stage(&commit)).await.unwrap();
    assert_eq!(outcome, StagingOutcome::Staged);
    assert!(commands.is_idle());
    assert_eq!(world.objects().await, BTreeSet::new());
}

#[tokio::test]
async fn after_a_conflict_the_next_attempt_uses_the_same_object() {
    let (world, mut commands) = World::new().await;
    let puts = world.intercept(Operation::Put, Fault::None);
    let edits = world.edits(&[append("/a", " two")]).await;
    let mut stager = world.stager(&edits).await;
    let first = world.lose(&mut commands, &mut stager, &[put("/a", "one")]).await;
    assert_eq!(world.attempt(&mut commands, &mut stager).await, StagingOutcome::Staged);
    drop(stager);
    world.removals_done().await;
    let own = world.commit().last_staged().unwrap();
    assert_eq!(world.objects().await, BTreeSet::from([first, own]));
    assert_eq!(*puts.lock().unwrap(), [keys::staged(own)], "it is put once");
    commands.serve(world.staging.fold(&world.key)).await.unwrap();
    assert_eq!(world.read().await, files_of(&[("/a", "one two")]));
}

#[tokio::test]
async fn a_writer_that_gives_up_after_a_conflict_leaves_no_object() {
    let (world, mut commands) = World::new().await;
    let edits = world.edits(&[put("/a", "one")]).await;
    let mut stager = world.stager(&edits).await;
    let first = world.lose(&mut commands, &mut stager, &[put("/b", "two")]).await;
    assert_eq!(world.objects().await.len(), 2, "one waits for the next attempt");
    drop(stager);
    world.removals_done().await;
    assert_eq!(world.objects().await, BTreeSet::from([first]));
    assert_eq!(world.commit().staged.len(), 1);
}

#[tokio::test]
async fn after_another_rejection_the_object_is_removed_with_the_stager() {
    let (world, mut commands) = World::new().await;
    let edits = world.edits(&[put("/a", "one")]).await;
    let mut stager = world.stager(&edits).await;
    let commit = world.commit();
    let script = async {
        let queued = commands.next_command().await;
        commands.run(world.finish()).await;
        commands.answer(queued).await;
    };
    let (outcome, ()) = tokio::join!(stager.stage(&commit), script);
    let error = outcome.unwrap_err();
    assert!(
        matches!(
            error,
            StagingError::Submit(SubmitError::Rejected(Rejection::CommitFinished(_)))
        ),
        "{error:?}"
    );
    assert_eq!(world.objects().await.len(), 1);
    drop(stager);
    world.removals_done().await;
    assert_eq!(world.objects().await, BTreeSet::new());
}

/// Why a writer does not learn what became of its command.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Silence {
    /// The append is in doubt.
    InDoubt,
    /// The loop ends without an answer.
    LoopGone,
    /// The future that waits for the answer is dropped.
    WriterGone,
}

#[tokio::test]
async fn an_object_that_the_log_may_mention_stays_and_is_removed_later_if_it_does_not() {
    for silence in [Silence::InDoubt, Silence::LoopGone, Silence::WriterGone] {
        for written in [true, false] {
            object_after(silence, written).await;
        }
    }
}

async fn object_after(silence: Silence, written: bool) {
    let case = format!("{silence:?}, written: {written}");
    let (world, mut commands) = World::new().await;
    let edits = world.edits(&[put("/a", "one")]).await;
    let mut stager = world.stager(&edits).await;
    let commit = world.commit();
    if silence == Silence::WriterGone {
        let queued = tokio::select! {
            outcome = stager.stage(&commit) => panic!("{case}: it has returned {outcome:?}"),
            queued = commands.next_command() => queued,
        };
        if written {
            commands.decide(&queued.envelope).await.unwrap();
        }
    } else {
        let script = async {
            let queued = commands.next_command().await;
            if written {
                commands.decide(&queued.envelope).await.unwrap();
            }
            if silence == Silence::InDoubt {
                let error = SubmitError::Unavailable("the store does not answer".to_owned());
                queued.answer.send(Err(error)).unwrap();
            }
        };
        let (outcome, ()) = tokio::join!(stager.stage(&commit), script);
        let error = outcome.unwrap_err();
        assert!(matches!(error, StagingError::Submit(_)), "{case}: {error:?}");
    }
    drop(stager);
    world.removals_done().await;
    let objects = world.objects().await;
    assert_eq!(objects.len(), 1, "{case}");

    let core = world.later_start().await;
    assert_eq!(orphans_in(&core, 23).await, BTreeSet::new(), "{case}: too young");
    let orphans = orphans_in(&core, 25).await;
    let content = soon(core.staging().fold(&world.key)).await.unwrap().unwrap();
    let files = read_files(&world.store, &content).await;
    if written {
        assert_eq!(orphans, BTreeSet::new(), "{case}: the log mentions it");
        assert_eq!(files, files_of(&[("/a", "one")]), "{case}");
    } else {
        assert_eq!(orphans, objects, "{case}");
        assert_eq!(files, files_of(&[]), "{case}");
        core.staging().remove(orphans.into_iter().collect());
    }
    world.removals_done().await;
    assert_eq!(world.objects().await, BTreeSet::new(), "{case}");
}

#[tokio::test]
async fn edits_that_are_folded_before_their_answer_comes_are_not_lost() {
    let (world, mut commands) = World::new().await;
    let edits = world.edits(&[put("/a", "one")]).await;
    let mut stager = world.stager(&edits).await;
    let commit = world.commit();
    let script = async {
        let late = commands.next_command().await;
        commands.decide(&late.envelope).await.unwrap();
        commands.serve(world.staging.fold(&world.key)).await.unwrap();
        late.answer.send(Ok(Reply::Done)).unwrap();
    };
    let (outcome, ()) = tokio::join!(stager.stage(&commit), script);
    assert_eq!(outcome.unwrap(), StagingOutcome::Staged);
    drop(stager);
    world.removals_done().await;
    assert_eq!(world.read().await, files_of(&[("/a", "one")]));
    assert_eq!(world.objects().await, BTreeSet::new());
}

#[tokio::test]
async fn what_a_failed_put_leaves_is_removed_and_earlier_edits_stay() {
    for fault in [Fault::Before, Fault::After] {
        let (world, mut commands) = World::new().await;
        world.write(&mut commands, &[put("/a", "one")]).await;
        let kept = world.objects().await;
        let puts = world.intercept(Operation::Put, fault);
        let edits = world.edits(&[put("/b", "two")]).await;
        let mut stager = world.stager(&edits).await;
        let commit = world.commit();
        let error = soon(stager.stage(&commit)).await.unwrap_err();
        assert!(
            matches!(error, StagingError::Edit(EditError::Store(StoreError::Write { .. }))),
            "{fault:?}: {error:?}"
        );
        assert_eq!(puts.lock().unwrap().len(), 1, "{fault:?}");
        assert!(commands.is_idle(), "{fault:?}: edits without an object are not logged");
        let left = world.objects().await.len();
        assert_eq!(left, if fault == Fault::After { 2 } else { 1 }, "{fault:?}");
        drop(stager);
        world.removals_done().await;
        assert_eq!(world.objects().await, kept, "{fault:?}");
        commands.serve(world.staging.fold(&world.key)).await.unwrap();
        assert_eq!(world.read().await, files_of(&[("/a", "one")]), "{fault:?}");
    }
}

#[tokio::test]
async fn a_write_that_is_dropped_before_its_command_leaves_no_object() {
    let mut stored = 0;
    for polls in 1.. {
        let (world, commands) = World::with_pauses(vec![1]).await;
        let edits = world.edits(&[put("/a", "one")]).await;
        let mut stager = world.stager(&edits).await;
        let commit = world.commit();
        let mut staging = Box::pin(stager.stage(&commit));
        for _ in 0..polls {
            assert!(futures::poll!(&mut staging).is_pending());
            tokio::task::yield_now().await;
        }
        if !commands.is_idle() {
            break;
        }
        stored += world.objects().await.len();
        drop(staging);
        drop(stager);
        world.removals_done().await;
        assert_eq!(world.objects().await, BTreeSet::new(), "after {polls} polls");
    }
    assert!(stored > 0, "no write was dropped between its put and its command");
}

#[tokio::test]
async fn an_object_whose_removal_fails_is_found_by_a_later_start() {
    let (world, mut commands) = World::new().await;
    let edits = world.edits(&[put("/a", "one")]).await;
    let mut stager = world.stager(&edits).await;
    let first = world.lose(&mut commands, &mut stager, &[put("/b", "two")]).await;
    let objects = world.objects().await;
    let removals = world.intercept(Operation::Delete, Fault::Before);
    drop(stager);
    soon(async {
        while removals.lock().unwrap().is_empty() {
            tokio::task::yield_now().await;
        }
    })
    .await;
    assert_eq!(world.objects().await, objects);
    let core = world.later_start().await;
    let orphans = orphans_in(&core, 25).await;
    assert_eq!(orphans, &objects - &BTreeSet::from([first]));
}
