//! Folds, alone and beside readers, writers and other folds.

#![expect(clippy::large_futures, reason = "tests are not hot")]

use std::collections::BTreeSet;
use std::pin::pin;

use howdah_model::{Command, Content, Reply};

use super::support::{Files, ScriptedLoop, World, append, files_of, orphans_in, put, read_files, soon};
use crate::fresh_id::fresh_id;
use crate::metadata::{StagingError, SubmitError};

/// Folds what is staged while all commands are answered, and returns the files of the content.
async fn fold(world: &World, commands: &mut ScriptedLoop) -> Files {
    let content = commands.serve(world.staging.fold(&world.key)).await.unwrap();
    read_files(&world.store, &content.unwrap()).await
}

#[tokio::test]
async fn objects_are_removed_after_the_answer_and_not_before() {
    let (world, mut commands) = World::new().await;
    world.write(&mut commands, &[put("/a", "one")]).await;
    world.write(&mut commands, &[append("/a", " two")]).await;
    let objects = world.objects().await;
    assert_eq!(objects.len(), 2);
    let script = async {
        let queued = commands.next_command().await;
        assert!(matches!(queued.envelope.command, Command::SettleEdits { .. }));
        commands.decide(&queued.envelope).await.unwrap();
        world.removals_done().await;
        assert_eq!(world.objects().await, objects);
        queued.answer.send(Ok(Reply::Done)).unwrap();
    };
    let (content, ()) = tokio::join!(world.staging.fold(&world.key), script);
    assert_eq!(content.unwrap(), Some(world.commit().content));
    assert_eq!(world.read().await, files_of(&[("/a", "one two")]));
    world.removals_done().await;
    assert_eq!(world.objects().await, BTreeSet::new());
}

#[tokio::test]
async fn a_commit_without_staged_edits_is_not_folded() {
    let (world, commands) = World::new().await;
    let content = soon(world.staging.fold(&world.key)).await.unwrap();
    assert_eq!(content, Some(Content::EMPTY));
    let missing = world.key.repo.commit(fresh_id());
    assert_eq!(soon(world.staging.fold(&missing)).await.unwrap(), None);
    assert!(commands.is_idle());
}

#[tokio::test]
async fn concurrent_readers_share_one_fold() {
    let (world, mut commands) = World::new().await;
    world.write(&mut commands, &[put("/a", "one")]).await;
    let readers = async {
        tokio::join!(
            world.staging.fold(&world.key),
            world.staging.fold(&world.key),
            commands.answer_next()
        )
    };
    let (first, second, ()) = soon(readers).await;
    assert_eq!(first.unwrap(), second.unwrap());
    assert_eq!(world.read().await, files_of(&[("/a", "one")]));
    assert!(commands.is_idle());
}

#[tokio::test]
async fn edits_that_are_staged_during_a_fold_stay_staged() {
    let (world, mut commands) = World::new().await;
    world.write(&mut commands, &[put("/a", "one")]).await;
    let script = async {
        let queued = commands.next_command().await;
        world
            .write(&mut commands, &[append("/a", " two"), put("/b", "x")])
            .await;
        commands.answer(queued).await;
    };
    let (content, ()) = tokio::join!(world.staging.fold(&world.key), script);
    let files = read_files(&world.store, &content.unwrap().unwrap()).await;
    assert_eq!(files, files_of(&[("/a", "one")]));
    world.removals_done().await;
    let staged: BTreeSet<_> = world.commit().staged.iter().map(|staged| staged.id).collect();
    assert_eq!((staged.len(), world.objects().await), (1, staged.clone()));
    assert_eq!(
        fold(&world, &mut commands).await,
        files_of(&[("/a", "one two"), ("/b", "x")])
    );
}

#[tokio::test]
async fn a_fold_that_is_refused_because_the_content_moved_is_repeated() {
    let (world, mut commands) = World::new().await;
    let other = world.second_staging();
    world.write(&mut commands, &[put("/a", "one")]).await;
    let script = async {
        let faster = commands.next_command().await;
        world.write(&mut commands, &[append("/a", " two")]).await;
        let answers = async {
            let refused = commands.next_command().await;
            commands.answer(faster).await;
            commands.answer(refused).await;
            // Without a second command, this hangs.
            commands.answer_next().await;
        };
        tokio::join!(world.staging.fold(&world.key), answers).0
    };
    let (first, second) = tokio::join!(other.fold(&world.key), script);
    let first = read_files(&world.store, &first.unwrap().unwrap()).await;
    let second = read_files(&world.store, &second.unwrap().unwrap()).await;
    assert_eq!(first, files_of(&[("/a", "one")]));
    assert_eq!(second, files_of(&[("/a", "one two")]));
    world.removals_done().await;
    assert_eq!(world.objects().await, BTreeSet::new());
}

#[tokio::test]
async fn a_fold_ends_when_another_fold_has_removed_the_objects() {
    let (world, mut commands) = World::with_pauses(vec![1]).await;
    world.write(&mut commands, &[put("/a", "one")]).await;
    let other = world.second_staging();
    let mut slow = Box::pin(world.staging.fold(&world.key));
    assert!(futures::poll!(&mut slow).is_pending(), "its read has not acted");
    commands.serve(other.fold(&world.key)).await.unwrap();
    world.removals_done().await;
    assert_eq!(world.objects().await, BTreeSet::new());
    let content = soon(slow).await.unwrap();
    assert_eq!(content, Some(world.commit().content));
    assert_eq!(world.read().await, files_of(&[("/a", "one")]));
    assert!(commands.is_idle());
}

#[tokio::test]
async fn a_fold_in_doubt_keeps_the_objects_until_they_are_known_to_be_orphaned() {
    for written in [true, false] {
        let (world, mut commands) = World::new().await;
        world.write(&mut commands, &[put("/a", "one")]).await;
        let objects = world.objects().await;
        let script = async {
            let queued = commands.next_command().await;
            if written {
                commands.decide(&queued.envelope).await.unwrap();
            }
            let error = SubmitError::Unavailable("the store does not answer".to_owned());
            queued.answer.send(Err(error)).unwrap();
        };
        let (outcome, ()) = tokio::join!(world.staging.fold(&world.key), script);
        let error = outcome.unwrap_err();
        assert!(
            matches!(error, StagingError::Submit(SubmitError::Unavailable(_))),
            "{error:?}"
        );
        world.removals_done().await;
        assert_eq!(world.objects().await, objects, "written: {written}");
        assert_eq!(
            fold(&world, &mut commands).await,
            files_of(&[("/a", "one")]),
            "written: {written}"
        );
        world.removals_done().await;
        let core = world.later_start().await;
        let orphans = orphans_in(&core, 25).await;
        let left = if written { objects } else { BTreeSet::new() };
        assert_eq!((&orphans, &world.objects().await), (&left, &left), "written: {written}");
    }
}

#[tokio::test]
async fn a_fold_of_a_commit_that_is_cleared_or_deleted_meanwhile_ends() {
    for clear in [true, false] {
        let (world, mut commands) = World::new().await;
        world.write(&mut commands, &[put("/a", "one")]).await;
        let (change, expected) = if clear {
            let commit = world.key.clone();
            (Command::ClearCommit { commit }, Some(Content::EMPTY))
        } else {
            let repo = world.key.repo.clone();
            (Command::DeleteRepo { repo, force: true }, None)
        };
        let script = async {
            let queued = commands.next_command().await;
            commands.run(change).await;
            commands.answer(queued).await;
        };
        let (content, ()) = soon(async { tokio::join!(world.staging.fold(&world.key), script) }).await;
        assert_eq!(content.unwrap(), expected);
        assert!(commands.is_idle());
    }
}

#[tokio::test]
async fn a_finish_folds_first_and_keeps_writers_out_until_it_is_decided() {
    let (world, mut commands) = World::new().await;
    world.write(&mut commands, &[put("/a", "one")]).await;
    let script = async {
        let mut permit = pin!(world.staging.write_permit(&world.key, false));
        commands.answer_next().await;
        for expected in ["settle edits", "finish commit"] {
            let queued = commands.next_command().await;
            assert_eq!(queued.envelope.command.name(), expected);
            assert!(futures::poll!(permit.as_mut()).is_pending());
            commands.answer(queued).await;
        }
        soon(permit).await
    };
    let finish = world.staging.submit_folding_first(fresh_id(), world.finish());
    let (reply, _permit) = tokio::join!(finish, script);
    assert_eq!(reply.unwrap(), Reply::Done);
    assert!(!world.commit().is_open());
    assert_eq!(world.read().await, files_of(&[("/a", "one")]));
}

/// Drops a fold after so many polls. What the loop has been asked by then is answered before the fold is dropped, or
/// after that. Returns whether the fold had ended.
async fn drop_fold_after(polls: usize, answered_before: bool) -> bool {
    let (world, mut commands) = World::with_pauses(vec![1]).await;
    world.write(&mut commands, &[put("/a", "one")]).await;
    world
        .write(&mut commands, &[append("/a", " two"), put("/b", "x")])
        .await;
    let mut dropped = Box::pin(world.staging.fold(&world.key));
    let mut has_ended = false;
    for _ in 0..polls {
        for queued in commands.waiting_commands() {
            commands.answer(queued).await;
        }
        if futures::poll!(&mut dropped).is_ready() {
            has_ended = true;
            break;
        }
        // The nodes of the tree are stored by other tasks.
        tokio::task::yield_now().await;
    }
    if answered_before {
        for queued in commands.waiting_commands() {
            commands.answer(queued).await;
        }
    }
    drop(dropped);
    assert_eq!(
        fold(&world, &mut commands).await,
        files_of(&[("/a", "one two"), ("/b", "x")]),
        "dropped after {polls} polls"
    );
    assert!(world.commit().staged.is_empty());
    has_ended
}

#[tokio::test]
async fn a_fold_may_be_dropped_anywhere() {
    for answered_before in [true, false] {
        let mut polls = 0;
        while !drop_fold_after(polls, answered_before).await {
            polls += 1;
        }
        // Each of its requests to the store pauses.
        assert!(polls > 4, "it ended after {polls} polls");
    }
}
