//! What a write finds out before it is staged: limits, collisions, and what it need not read twice.

use std::sync::Arc;

use howdah_model::Command;
use howdah_store::backend::MemoryBackend;
use howdah_store::backend::fault::{Fault, Operation};
use howdah_store::{ClosedEdits, Limits, keys};

use super::support::{ScriptedLoop, World, put, soon};
use crate::metadata::{StagingError, StagingOutcome};

/// Checks that a write folds what is staged before it is staged itself.
async fn folds_first(world: &World, commands: &mut ScriptedLoop, edits: &ClosedEdits) {
    let files = world.commit().staged.len() as u64;
    let mut stager = world.stager(edits).await;
    let outcome = world.attempt(commands, &mut stager).await;
    assert_eq!(outcome, StagingOutcome::CommitChanged);
    let commit = world.commit();
    assert_eq!((commit.staged.len(), commit.content.files), (0, files));
    let outcome = world.attempt(commands, &mut stager).await;
    assert_eq!(outcome, StagingOutcome::Staged);
    assert_eq!(world.commit().staged.len(), 1);
}

/// Checks that a write is staged beside what is staged already.
async fn is_staged_at_once(world: &World, commands: &mut ScriptedLoop, edits: &ClosedEdits) {
    let before = world.commit().staged.len();
    let mut stager = world.stager(edits).await;
    let outcome = world.attempt(commands, &mut stager).await;
    assert_eq!(outcome, StagingOutcome::Staged);
    assert_eq!(world.commit().staged.len(), before + 1);
}

#[tokio::test]
async fn with_64_staged_edits_a_write_folds_first() {
    let (world, mut commands) = World::new().await;
    for number in 0..63 {
        world.write(&mut commands, &[put(format!("/{number}"), "x")]).await;
    }
    let edits = world.edits(&[put("/63", "x")]).await;
    is_staged_at_once(&world, &mut commands, &edits).await;
    let edits = world.edits(&[put("/64", "x")]).await;
    folds_first(&world, &mut commands, &edits).await;
}

#[tokio::test]
async fn a_write_beyond_32_mib_of_staged_edits_folds_first() {
    for beyond in [0, 1] {
        let (world, mut commands) = World::new().await;
        let edits = world.edits(&[put("/a", "x")]).await;
        let size = edits.stage().unwrap().unwrap().size();
        // The limit uses the size in the log, so a small object may claim a large size.
        let mut other = world.store_elsewhere(&[put("/b", "x")]).await;
        other.size = (32 << 20) - size + beyond;
        commands.stage(&world.key, other).await;
        match beyond {
            0 => is_staged_at_once(&world, &mut commands, &edits).await,
            _ => folds_first(&world, &mut commands, &edits).await,
        }
    }
}

#[tokio::test]
async fn a_write_beside_more_than_8_edits_with_unknown_paths_folds_first() {
    for unknown in [8, 9] {
        let (world, mut commands) = World::new().await;
        for number in 0..unknown {
            let step = put(format!("/{number}"), "x");
            world.write_elsewhere(&mut commands, &[step]).await;
        }
        let edits = world.edits(&[put("/a", "x")]).await;
        match unknown {
            8 => is_staged_at_once(&world, &mut commands, &edits).await,
            _ => folds_first(&world, &mut commands, &edits).await,
        }
    }
}

/// Where the files are that a write may collide with.
#[derive(Debug, Clone, Copy)]
enum Place {
    /// In staged edits whose paths are in the cache.
    Staged,
    /// In staged edits whose paths must be read.
    StagedElsewhere,
    /// In the tree.
    Tree,
}

const PLACES: [Place; 3] = [Place::Staged, Place::StagedElsewhere, Place::Tree];

async fn world_with(place: Place, path: &str) -> (World, ScriptedLoop) {
    let (world, mut commands) = World::new().await;
    let steps = [put(path, "x")];
    match place {
        Place::Staged => world.write(&mut commands, &steps).await,
        Place::StagedElsewhere => {
            world.write_elsewhere(&mut commands, &steps).await;
        }
        Place::Tree => {
            world.write(&mut commands, &steps).await;
            commands.serve(world.staging.fold(&world.key)).await.unwrap();
        }
    }
    world.removals_done().await;
    (world, commands)
}

#[tokio::test]
async fn edits_that_collide_with_the_commit_must_be_applied() {
    for (there, new) in [
        ("/a", "/a/b"),
        ("/a", "/a/b/c"),
        ("/a/b", "/a"),
        ("/a/b/c", "/a"),
        ("/a/b/c", "/a/b"),
    ] {
        for place in PLACES {
            let case = format!("{new} beside {there}: {place:?}");
            let (world, commands) = world_with(place, there).await;
            let objects = world.objects().await;
            // "/a-b" sorts between the file "/a" and the folder "/a/".
            let edits = world.edits(&[put("/a-b", "x"), put(new, "x")]).await;
            let mut stager = world.stager(&edits).await;
            let commit = world.commit();
            let outcome = soon(stager.stage(&commit)).await.unwrap();
            assert_eq!(outcome, StagingOutcome::MustApply, "{case}");
            assert!(commands.is_idle(), "{case}");
            assert_eq!(world.objects().await, objects, "{case}");
        }
    }
}

#[tokio::test]
async fn edits_that_collide_with_each_other_must_be_applied() {
    let (world, commands) = World::new().await;
    let edits = world.edits(&[put("/a/b", "x"), put("/a-b", "x"), put("/a", "x")]).await;
    let mut stager = world.stager(&edits).await;
    let commit = world.commit();
    let outcome = soon(stager.stage(&commit)).await.unwrap();
    assert_eq!(outcome, StagingOutcome::MustApply);
    assert!(commands.is_idle());
}

#[tokio::test]
async fn similar_and_equal_paths_do_not_collide() {
    for (there, new) in [("/a", "/a"), ("/a", "/ab/c"), ("/a/b", "/a/bc"), ("/a/b", "/a-b")] {
        for place in PLACES {
            let (world, mut commands) = world_with(place, there).await;
            let edits = world.edits(&[put(new, "y")]).await;
            is_staged_at_once(&world, &mut commands, &edits).await;
        }
    }
}

#[tokio::test]
async fn what_edits_are_known_to_fit_is_not_read_again() {
    let objects = Arc::new(MemoryBackend::default());
    let limits = Limits {
        node_cache_bytes: 0,
        ..Limits::default()
    };
    let (world, mut commands) = World::over(Arc::clone(&objects), objects, limits).await;
    world.write(&mut commands, &[put("/tree", "x")]).await;
    commands.serve(world.staging.fold(&world.key)).await.unwrap();
    for number in 0..3 {
        let step = put(format!("/{number}"), "x");
        world.write_elsewhere(&mut commands, &[step]).await;
    }
    let known = world.commit().staged.clone();
    let reads = world.intercept(Operation::Read, Fault::None);
    let edits = world.edits(&[put("/a", "x")]).await;
    let mut stager = world.stager(&edits).await;
    let late = world.lose(&mut commands, &mut stager, &[put("/late", "x")]).await;
    let first = std::mem::take(&mut *reads.lock().unwrap());
    let (staged, nodes): (Vec<String>, Vec<String>) = first.into_iter().partition(|key| key.starts_with(keys::STAGED));
    assert_eq!(
        staged,
        known.iter().map(|staged| keys::staged(staged.id)).collect::<Vec<_>>()
    );
    assert!(!nodes.is_empty(), "the tree was read");
    // The cache may lose paths at any time.
    for staged in &known {
        world.staging.paths().remove(&staged.id);
    }
    assert_eq!(world.attempt(&mut commands, &mut stager).await, StagingOutcome::Staged);
    assert_eq!(*reads.lock().unwrap(), [keys::staged(late)]);
}

#[tokio::test]
async fn a_write_beside_a_lost_object_names_it() {
    let (world, mut commands) = World::new().await;
    let lost = world.write_elsewhere(&mut commands, &[put("/a", "x")]).await;
    world.store.delete_staged(&lost).await.unwrap();
    let edits = world.edits(&[put("/b", "x")]).await;
    let mut stager = world.stager(&edits).await;
    let commit = world.commit();
    let error = soon(stager.stage(&commit)).await.unwrap_err();
    match error {
        StagingError::Lost(object, commit) => assert_eq!((object, commit), (keys::staged(lost), world.key.clone())),
        other => panic!("{other:?}"),
    }
    assert!(commands.is_idle());
}

#[tokio::test]
async fn an_object_that_a_fold_has_removed_is_a_change_of_the_commit() {
    let (world, mut commands) = World::new().await;
    world.write_elsewhere(&mut commands, &[put("/a", "x")]).await;
    let before_the_fold = world.commit();
    commands.serve(world.staging.fold(&world.key)).await.unwrap();
    world.removals_done().await;
    let edits = world.edits(&[put("/b", "x")]).await;
    let mut stager = world.stager(&edits).await;
    let outcome = soon(stager.stage(&before_the_fold)).await.unwrap();
    assert_eq!(outcome, StagingOutcome::CommitChanged);
    assert!(commands.is_idle());
    is_staged_at_once(&world, &mut commands, &edits).await;
}

#[tokio::test]
async fn edits_that_were_checked_against_an_old_commit_are_not_staged() {
    let (world, mut commands) = World::new().await;
    let edits = world.edits(&[put("/a/b", "x")]).await;
    let mut stager = world.stager(&edits).await;
    world.lose(&mut commands, &mut stager, &[put("/a", "x")]).await;
    let commit = world.commit();
    let outcome = soon(stager.stage(&commit)).await.unwrap();
    assert_eq!(
        outcome,
        StagingOutcome::MustApply,
        "the other's file is where this one needs a folder"
    );
    let clear = Command::ClearCommit {
        commit: world.key.clone(),
    };
    commands.run(clear).await;
    assert_eq!(world.attempt(&mut commands, &mut stager).await, StagingOutcome::Staged);
}
