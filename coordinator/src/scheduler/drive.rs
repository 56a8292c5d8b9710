//! Drives one job from its plan to its end.
//!
//! ```text
//!  plan (or read the plan back) -> publish sets -> collect results -> merge -> record provenance -> finish
//! ```
//!
//! Every step looks at the store first, so a driver that starts over continues where the last one ended:
//! the plan is written before sets are published, results are objects that nobody overwrites, and the job
//! is finished by one event list.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use howdah_model::query::{self, JobBase};
use howdah_model::{Command, DatumCounts, ImagePin, JobKey, JobOutcome, JobStats, PipelineVersion};
use howdah_queue::QueueError;
use howdah_queue::job::{DatumSet, JobPlan, SetResult, StageSpec, plan_key, results_prefix, set_key};
use howdah_queue::messages::Notice;
use howdah_queue::wire::{self, WireError};
use howdah_spec::ReprocessSpec;
use howdah_store::{Store, StoreError};
use jiff::Timestamp;
use tokio::sync::mpsc;

use super::Context;
use super::collect::Collector;
use crate::core::SubmitError;
use crate::merge::{self, MergeError, Merged};
use crate::plan::{self, Base, InputCommit, MergePlan, PlanError};
use crate::provenance::{self, ProvenanceInput, ProvenanceRecord};
use crate::{board, metrics};

/// Trouble with infrastructure: the job is begun again from what is stored.
#[derive(Debug, thiserror::Error)]
pub enum DriveError {
    /// The plan could not be made, written or read.
    #[error("planning failed")]
    Plan(#[from] PlanError),
    /// Outputs could not be merged.
    #[error("merging the output failed")]
    Merge(#[from] MergeError),
    /// The store failed.
    #[error("the store failed")]
    Store(#[from] StoreError),
    /// The queue failed.
    #[error("the queue failed")]
    Queue(#[from] QueueError),
    /// Something a worker wrote cannot be understood.
    #[error("a result could not be understood")]
    Wire(#[from] WireError),
    /// A command was refused or could not be written.
    #[error("{0}")]
    Submit(#[from] SubmitError),
    /// A result does not belong to the plan.
    #[error("{0}")]
    Mismatch(String),
    /// The driver cannot go on, for a reason that lies outside the job.
    #[error("{0}")]
    Interrupted(String),
}

impl DriveError {
    /// Tells whether what is stored of plan and results is at fault, so that repeating from it cannot help.
    pub fn spoils_plan(&self) -> bool {
        matches!(self, Self::Mismatch(_) | Self::Wire(_) | Self::Plan(PlanError::Wire(_)))
    }
}

/// What the driver knows of its job from the state.
pub(super) struct View {
    pub(super) job: JobKey,
    pub(super) version: Arc<PipelineVersion>,
    planned: Option<Arc<str>>,
    started: Option<Timestamp>,
}

/// Drives a job whose inputs are finished. Returns when it is over, or with the trouble that stopped it.
pub async fn drive(
    context: &Context,
    job: &JobKey,
    notices: mpsc::UnboundedReceiver<Notice>,
) -> Result<(), DriveError> {
    let Some(mut view) = view(context, job) else {
        return Ok(());
    };
    if view.started.is_none() {
        context.core.submit(Command::StartJob { job: job.clone() }).await?;
        view.started = context.core.state().job(job).and_then(|job| job.started);
    }
    let Some((plan, merge_plan)) = find_or_make_plan(context, &view).await? else {
        return Ok(());
    };
    let progress = board::Progress {
        counts: merge_plan.counts(),
        ..board::Progress::default()
    };
    context.core.jobs().update_progress(job, |entry| *entry = progress);
    let results = if plan.sets == 0 {
        BTreeMap::new()
    } else {
        Collector::new(context, &view, &plan, notices).collect().await?
    };
    finish(context, &view, &plan, &merge_plan, results.into_values().collect()).await
}

fn view(context: &Context, job: &JobKey) -> Option<View> {
    let state = context.core.state();
    let entry = state.job(job)?;
    let version = query::job_version(&state, job)?.clone();
    Some(View {
        job: job.clone(),
        version,
        planned: entry.plan.clone(),
        started: entry.started,
    })
}

/// Reads the plan back if there is one, also one that a restart of the job made the state forget: results that
/// are stored belong to it. `None` when the job is over.
async fn find_or_make_plan(context: &Context, view: &View) -> Result<Option<(JobPlan, MergePlan)>, DriveError> {
    let store = context.core.store();
    if let Some(key) = &view.planned {
        return Ok(Some(plan::read(store, key).await?));
    }
    let key = plan_key(&view.job.pipeline, &view.job.id);
    if store.get_opt(&key).await?.is_some() {
        let (plan, merge) = plan::read(store, &key).await?;
        note_plan(context, view, key, &merge).await?;
        return Ok(Some((plan, merge)));
    }
    match make_plan(context, view).await {
        Err(DriveError::Plan(
            error @ (PlanError::Input { .. } | PlanError::Unsupported(_) | PlanError::TooMany { .. }),
        )) => {
            // The spec is at fault: trying again would give the same.
            let outcome = JobOutcome::Failure(error.to_string());
            context
                .core
                .submit(finish_without_output(view.job.clone(), outcome))
                .await?;
            Ok(None)
        }
        planned => planned,
    }
}

async fn note_plan(context: &Context, view: &View, key: String, merge: &MergePlan) -> Result<(), DriveError> {
    let counts = merge.counts();
    context
        .core
        .submit(Command::PlanJob {
            job: view.job.clone(),
            plan: key,
            counts,
        })
        .await?;
    Ok(())
}

/// Removes a plan and the results that do not fit it, so that the job is planned afresh.
pub async fn discard_plan(context: &Context, job: &JobKey) {
    let store = context.core.store();
    let removed = async {
        store.delete(&plan_key(&job.pipeline, &job.id)).await?;
        for object in store.list(&results_prefix(&job.pipeline, &job.id)).await? {
            store.delete(&object.key).await?;
        }
        Ok::<(), StoreError>(())
    };
    if let Err(error) = removed.await {
        tracing::warn!(%job, error = crate::chain(&error), "a plan that does not fit could not be removed");
    }
}

/// Computes and stores the plan. `None` when the job ended while it waited for the image.
async fn make_plan(context: &Context, view: &View) -> Result<Option<(JobPlan, MergePlan)>, DriveError> {
    let started = Instant::now();
    let core = &context.core;
    let state = core.state();
    let spec = &view.version.spec;
    let inputs = query::job_inputs(&state, &view.job);
    let lookup = |repo: &howdah_model::RepoKey, branch: &howdah_model::BranchName| {
        let input = inputs
            .iter()
            .find(|input| input.branch.repo == *repo && input.branch.name == *branch)?;
        Some(InputCommit {
            id: input.commit.id,
            content: input.content,
        })
    };
    let by_code = spec.reprocess_spec == ReprocessSpec::OnCodeChange;
    let salt = if by_code {
        let Some(pin) = wait_for_image(context, view, true).await else {
            return Ok(None);
        };
        plan::salt_with_code(&view.version.salt, &stage(&view.version, pin))
    } else {
        view.version.salt.to_string()
    };
    let datums = match &spec.input {
        Some(input) => plan::enumerate(core.store(), input, &lookup, &salt).await?,
        None => Vec::new(),
    };
    let base = match query::job_base(&state, &view.job) {
        JobBase::Nothing => None,
        JobBase::Job { job, datums, output } => Some(Base {
            job: job.id,
            datums,
            output,
        }),
        JobBase::Unfinished(earlier) => {
            return Err(DriveError::Interrupted(format!(
                "job {earlier}, which this one builds on, has not ended"
            )));
        }
    };
    let before = match &base {
        Some(base) => plan::base_datums(core.store(), &base.datums).await?,
        None => Default::default(),
    };
    let never_skip = spec.reprocess_spec == ReprocessSpec::EveryJob;
    let comparison = plan::compare(datums, before, never_skip);
    let (to_do, skipped) = (comparison.to_do.len() as u64, comparison.skipped);
    let sets = plan::into_sets(comparison.to_do, spec.datum_set_spec.as_ref(), spec.parallelism);
    let count = u32::try_from(sets.len())
        .map_err(|_| DriveError::Mismatch(format!("{} datum sets are too many for one job", sets.len())))?;
    let pin = match wait_for_image(context, view, count > 0).await {
        Some(pin) => pin,
        None => return Ok(None),
    };
    let plan = JobPlan {
        pipeline: view.job.pipeline.clone(),
        version: view.version.version,
        job: view.job.id,
        output_commit: view.job.id,
        spec_commit: Some(view.version.spec_commit),
        file_set: None,
        salt,
        stage: stage(&view.version, pin),
        sets: count,
    };
    let merge = MergePlan {
        base,
        dropped: comparison.dropped,
        skipped,
        to_do,
        sets: count,
    };
    let key = plan::write(core.store(), &plan, &merge, sets).await?;
    note_plan(context, view, key, &merge).await?;
    metrics::PLAN_SECONDS.observe(started.elapsed().as_secs_f64());
    tracing::info!(job = %view.job, to_do, skipped, sets = count, elapsed_ms = started.elapsed().as_millis() as u64, "job planned");
    Ok(Some((plan, merge)))
}

/// Waits for the version's image to be pinned. A job without datums needs none and gets a pin without digest.
async fn wait_for_image(context: &Context, view: &View, needed: bool) -> Option<ImagePin> {
    let unpinned = ImagePin {
        reference: view.version.spec.transform.image.clone(),
        digest: String::new(),
    };
    context
        .core
        .wait_for(|state| {
            let Some(version) = state
                .pipeline(&view.job.pipeline)
                .and_then(|p| p.at_version(view.version.version))
            else {
                return Some(None);
            };
            match &version.image {
                Some(pin) => Some(Some(pin.clone())),
                None if !needed => Some(Some(unpinned.clone())),
                None => None,
            }
        })
        .await
        .flatten()
}

/// Translates a spec into what a worker needs to run it.
fn stage(version: &PipelineVersion, image: ImagePin) -> StageSpec {
    let spec = &version.spec;
    let transform = &spec.transform;
    let text = |text: &String| (!text.is_empty()).then(|| text.clone());
    let lines = |lines: &Vec<String>| (!lines.is_empty()).then(|| lines.clone());
    let limits = spec.resource_limits.as_ref();
    StageSpec {
        image,
        cmd: transform.cmd.clone(),
        stdin: lines(&transform.stdin),
        err_cmd: lines(&transform.err_cmd),
        err_stdin: lines(&transform.err_stdin),
        env: transform.env.clone(),
        accept_return_code: transform.accept_return_code.clone(),
        user: text(&transform.user),
        working_dir: text(&transform.working_dir),
        datum_tries: spec.datum_tries.max(1),
        datum_timeout_ms: spec
            .datum_timeout
            .map(|limit| u64::try_from(limit.as_millis()).unwrap_or(u64::MAX)),
        writable_inputs: transform.writable_inputs,
        memory_bytes: limits.and_then(|limits| howdah_spec::quantity::bytes(&limits.memory).ok()),
        cpus: limits.map(|limits| limits.cpu).filter(|cpus| *cpus > 0.0),
        labels: spec
            .metadata
            .as_ref()
            .map(|metadata| metadata.labels.clone())
            .unwrap_or_default(),
    }
}

/// Merges, records what made the commit, and ends the job.
async fn finish(
    context: &Context,
    view: &View,
    plan: &JobPlan,
    merge_plan: &MergePlan,
    results: Vec<SetResult>,
) -> Result<(), DriveError> {
    let started = Instant::now();
    let store = context.core.store();
    let sets = read_sets(store, plan, &results).await?;
    let merged = merge::merge(store, plan, merge_plan, &sets, &results).await?;
    metrics::MERGE_SECONDS.observe(started.elapsed().as_secs_f64());
    let record = provenance_record(context, view, plan, &merged, &results);
    provenance::write(store, &record).await?;
    metrics::DATUMS
        .with_label_values(&[plan.pipeline.to_string().as_str(), "skipped"])
        .inc_by(merge_plan.skipped);
    let outcome = match merged.failure {
        None => JobOutcome::Success,
        Some(reason) => JobOutcome::Failure(reason),
    };
    tracing::info!(job = %view.job, outcome = ?outcome, processed = merged.counts.processed, skipped = merged.counts.skipped, "job finished");
    let command = Command::FinishJob {
        job: view.job.clone(),
        outcome,
        counts: merged.counts,
        stats: merged.stats,
        output: Some(merged.output),
        datums: Some(merged.datums),
    };
    context.core.submit(command).await?;
    Ok(())
}

async fn read_sets(store: &Store, plan: &JobPlan, results: &[SetResult]) -> Result<Vec<DatumSet>, DriveError> {
    let mut sets = Vec::with_capacity(results.len());
    for result in results {
        let key = set_key(&plan.pipeline, &plan.job, result.set);
        let set: DatumSet = wire::decode(&store.get(&key).await?)?;
        let same = set.datums.len() == result.datums.len()
            && set
                .datums
                .iter()
                .zip(&result.datums)
                .all(|(a, b)| a.id == b.id && a.hash == b.hash);
        if !same {
            return Err(DriveError::Mismatch(format!(
                "the result of set {} is not about the datums of object {key}",
                result.set
            )));
        }
        sets.push(set);
    }
    Ok(sets)
}

fn provenance_record(
    context: &Context,
    view: &View,
    plan: &JobPlan,
    merged: &Merged,
    results: &[SetResult],
) -> ProvenanceRecord {
    let state = context.core.state();
    let inputs = query::job_inputs(&state, &view.job)
        .into_iter()
        .map(|input| ProvenanceInput {
            commit: input.commit,
            content: input.content,
        })
        .collect();
    ProvenanceRecord {
        commit: view.job.output_commit(),
        pipeline_version: plan.version,
        spec: view.version.effective_json.to_string(),
        stage: plan.stage.clone(),
        salt: plan.salt.clone(),
        inputs,
        output: merged.output,
        datums: merged.counts,
        worker_versions: results.iter().map(|result| result.worker_version.clone()).collect(),
        started: view.started,
        finished: Timestamp::now(),
    }
}

/// The command that ends a job which never ran.
pub fn finish_without_output(job: JobKey, outcome: JobOutcome) -> Command {
    Command::FinishJob {
        job,
        outcome,
        counts: DatumCounts::default(),
        stats: JobStats::default(),
        output: None,
        datums: None,
    }
}
