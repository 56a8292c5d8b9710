//! Repairs of what a deep check has found.
//!
//! 1. Damaged chunks and nodes are taken away; their bytes stay below `damaged/`. A writer of the same content would
//!    otherwise find that they exist, and leave them as they are.
//! 2. A pipeline whose newest output needs one of them runs again, and takes over nothing from earlier jobs. If its
//!    output is the same as before, older commits with the same files are whole again, too.
//!
//! What users have put cannot be derived again: it is reported, and put again by its users or restored from a backup.
//!
//! Only a leader whose lease is valid takes an object away, and only after it has found it to be damaged once more. So a
//! commit that is being written loses nothing that it could have read.

use std::collections::BTreeSet;
use std::time::Duration;

use howdah_model::{Command, Commit, CommitKey, Pipeline, PipelineKey, State};
use howdah_store::{ObjectRepair, keys};
use howdah_telemetry::error_chain;
use tonic::Status;

use super::damage::Damage;
use super::report::Report;
use crate::fresh_id::fresh_id;
use crate::leadership::lease::Lease;
use crate::metadata::Core;
use crate::services::reply::StreamError;
use crate::services::status::IntoStatus;

/// Longest wait for the lease.
const LEASE_LIMIT: Duration = Duration::from_secs(10);

/// Repairs what can be repaired, and reports it.
///
/// # Errors
/// When the store fails, or the client has disconnected.
pub(super) async fn repair(
    core: &Core,
    lease: Option<Lease>,
    damage: &Damage,
    report: &Report,
) -> Result<(), StreamError> {
    let mut hurt = BTreeSet::new();
    for (key, object) in damage.objects() {
        hold(lease.as_ref()).await?;
        let is_whole = repair_object(core, key, report).await?;
        if !is_whole {
            hurt.extend(object.commits().cloned());
        }
    }
    hold(lease.as_ref()).await?;
    for node in damage.nodes() {
        core.store().replace_node_when_written(*node);
    }
    let plan = plan_repairs(&core.state(), &hurt);
    for pipeline in plan.again {
        let command = Command::RerunPipeline {
            pipeline: pipeline.clone(),
            reprocess: true,
            salt: fresh_id().to_string(),
        };
        match core.submit(command).await {
            Ok(_) => {
                let text =
                    format!("pipeline {pipeline} processes all its datums again, because its newest output is damaged");
                report.fixed(text).await?;
            }
            Err(error) => {
                let text = format!("pipeline {pipeline} cannot run again: {}", error_chain(&error));
                report.error(text).await?;
            }
        }
    }
    for text in plan.refused {
        report.error(text).await?;
    }
    Ok(())
}

/// Waits until this coordinator is known to lead.
async fn hold(lease: Option<&Lease>) -> Result<(), StreamError> {
    let Some(lease) = lease else { return Ok(()) };
    let held = tokio::time::timeout(LEASE_LIMIT, lease.hold()).await;
    // A coordinator that was deposed never gets its lease back.
    held.map_err(|_| Status::unavailable("this coordinator does not lead any more: repeat the repair").into())
}

/// Repairs one object. Returns whether it is whole now, so that nothing has to be derived again.
async fn repair_object(core: &Core, key: &str, report: &Report) -> Result<bool, StreamError> {
    let store = core.store();
    if key.starts_with(keys::CHUNKS) || key.starts_with(keys::NODES) {
        let repair = store.repair_object(key).await.map_err(IntoStatus::into_status)?;
        match repair {
            ObjectRepair::Whole => {}
            ObjectRepair::Restored => {
                report
                    .fixed(format!("object {key} is written again from memory"))
                    .await?
            }
            ObjectRepair::Removed => {
                let text = format!(
                    "object {key} is moved to {}; a write of the same content stores it again",
                    keys::damaged(key)
                );
                report.fixed(text).await?;
            }
            ObjectRepair::Missing => {}
        }
        return Ok(matches!(repair, ObjectRepair::Whole | ObjectRepair::Restored));
    }
    // Without the record of its predecessor, a job compares its datums one by one.
    if key.starts_with("provenance/") && store.move_to_damaged(key).await.map_err(IntoStatus::into_status)? {
        let text = format!(
            "object {key} is moved to {}; later jobs do without it",
            keys::damaged(key)
        );
        report.fixed(text).await?;
    }
    Ok(false)
}

/// What is done about damaged commits.
#[derive(Debug, Default, PartialEq, Eq)]
struct RepairPlan {
    /// Pipelines that process all their datums again, each after those that it reads.
    again: Vec<PipelineKey>,
    /// Sentences about what cannot be repaired.
    refused: Vec<String>,
}

/// Finds the pipelines that must run again, from the commits that need damaged objects.
fn plan_repairs(state: &State, hurt: &BTreeSet<CommitKey>) -> RepairPlan {
    let mut plan = RepairPlan::default();
    let mut candidates: Vec<_> = state
        .pipelines()
        .filter(|pipeline| is_hurt(state, pipeline, hurt))
        .collect();
    // The branches that one depends on are fewer than those of every pipeline that reads it.
    let depth = |pipeline: &Pipeline| {
        state
            .branch(&pipeline.output_branch())
            .map_or(0, |branch| branch.provenance.len())
    };
    candidates.sort_by_key(|pipeline| depth(pipeline));
    for pipeline in candidates {
        match obstacle(state, pipeline, hurt, &plan.again) {
            None => plan.again.push(pipeline.key.clone()),
            Some(reason) => plan.refused.push(format!(
                "the newest output of pipeline {} is damaged, and it cannot run again: {reason}",
                pipeline.key
            )),
        }
    }
    for commit in hurt.iter().filter(|commit| is_put_by_users(state, commit)) {
        plan.refused.push(format!(
            "commit {commit} cannot be derived again: restore its objects from a backup, or delete its damaged files and \
             put them again"
        ));
    }
    plan
}

fn is_put_by_users(state: &State, commit: &CommitKey) -> bool {
    let pipeline = commit.repo.pipeline().and_then(|pipeline| state.pipeline(&pipeline));
    pipeline.is_none() && state.commit(commit).is_some()
}

/// Tells whether a job of this pipeline would take over damaged output: whether the newest good commit is damaged.
fn is_hurt(state: &State, pipeline: &Pipeline, hurt: &BTreeSet<CommitKey>) -> bool {
    newest_good(state, pipeline).is_some_and(|commit| {
        let meta = pipeline.key.meta_repo().commit(commit.key.id);
        hurt.contains(&commit.key) || hurt.contains(&meta)
    })
}

fn newest_good<'a>(state: &'a State, pipeline: &Pipeline) -> Option<&'a Commit> {
    let repo = pipeline.key.output_repo();
    let mut id = state.branch(&pipeline.output_branch())?.head;
    loop {
        let commit = state.commit(&repo.commit(id?))?;
        if commit.is_good() {
            return Some(commit);
        }
        id = commit.parent;
    }
}

/// Returns why a pipeline cannot run again: it is stopped, or what it reads is damaged and is not derived again before.
fn obstacle(state: &State, pipeline: &Pipeline, hurt: &BTreeSet<CommitKey>, again: &[PipelineKey]) -> Option<String> {
    if pipeline.stopped {
        return Some("it is stopped; start it and repeat the check".to_owned());
    }
    let branch = state.branch(&pipeline.output_branch())?;
    for upstream in &branch.provenance {
        let input = state
            .branch(upstream)
            .and_then(|branch| Some(upstream.repo.commit(branch.head?)));
        let Some(input) = input.filter(|input| hurt.contains(input)) else {
            continue;
        };
        let is_derived = upstream
            .repo
            .pipeline()
            .is_some_and(|pipeline| again.contains(&pipeline));
        if !is_derived {
            return Some(format!("its input commit {input} is damaged"));
        }
    }
    None
}
