//! Prepares the plan of a job: decides how the results of the base job are reused, and makes the stream of the datums
//! that the job must process.
//!
//! The base is the last successful job of the pipeline before this one. What it has done is reused in one of three ways
//! ([`Reuse`]). The plan depends on nothing but the input trees, the base, the spec and the concurrency of sets, which
//! is kept in the stored plan with its identity; so a driver that plans a job again comes to the same sets.
//!
//! Writing and publishing what is prepared here is done by [`super::plan_publisher`].

use std::sync::Arc;
use std::time::Instant;

use futures::StreamExt;
use howdah_model::query::{self, JobBase, JobInput};
use howdah_model::{BranchName, ImagePin, PipelineVersion, RepoKey, State};
use howdah_protocol::objects::{JobPlan, PlanId, SetConcurrency, plan_key};
use howdah_protocol::wire;
use howdah_spec::ReprocessSpec;

use super::context::JobContext;
use super::error::DriveError;
use super::plan::{self, BaseJob, InputCommit, Reuse};
use super::provenance::{ProvenanceInput, ProvenanceReadError, ProvenanceRecord};
use super::set_maker::SetMaker;
use super::stage_spec::stage_spec;
use super::view::JobView;

/// A plan of which everything is known but its datums, which are still a stream.
pub struct PreparedPlan {
    /// What workers need to know.
    pub plan: Arc<JobPlan>,
    pub(super) base: Option<BaseJob>,
    pub(super) sets: SetMaker,
    /// When planning began.
    pub(super) started: Instant,
}

/// Finds out what the job has to do. `None` when the job ended while it waited for the image.
pub async fn prepare(context: &JobContext, view: &JobView) -> Result<Option<PreparedPlan>, DriveError> {
    let started = Instant::now();
    let store = context.core.store();
    let state = context.core.state();
    let spec = &view.version.spec;
    let salt = if spec.reprocess_spec == ReprocessSpec::OnCodeChange {
        // The image is a part of the code, so the hashes of the datums need it.
        let Some(pin) = wait_for_image(context, view, true).await else {
            return Ok(None);
        };
        plan::salt_with_code(&view.version.salt, &stage_spec(&view.version, pin))
    } else {
        view.version.salt.to_string()
    };
    let mut base = find_base(&state, view)?;
    let decision = decide_reuse(context, view, base.as_ref(), &salt).await?;
    if matches!(decision, ReuseDecision::Nothing) {
        base = None;
    }
    let inputs = query::job_inputs(&state, &view.job);
    let steps = match &spec.input {
        None => futures::stream::empty().boxed(),
        Some(input) => {
            let new = |repo: &RepoKey, branch: &BranchName| new_commit(&inputs, repo, branch);
            let old_inputs = match &decision {
                ReuseDecision::ByTreeDiff(record) => record.inputs.as_slice(),
                ReuseDecision::Nothing | ReuseDecision::ByDatum => &[],
            };
            let old = |repo: &RepoKey, _: &BranchName| old_commit(old_inputs, repo);
            let reuse = match (&decision, &base) {
                (ReuseDecision::ByTreeDiff(_), Some(base)) => Reuse::ByTreeDiff(base, &old),
                (ReuseDecision::ByDatum, Some(base)) => Reuse::ByDatum(base),
                (_, None) | (ReuseDecision::Nothing, _) => Reuse::Nothing,
            };
            plan::steps(store, input, &new, salt.as_str().into(), reuse).await?
        }
    };
    let (id, concurrency) = identity(context, view).await?;
    let sets = SetMaker::look_ahead(steps, &view.version, concurrency).await?;
    // Asked again when the salt needed it already: an answer is at once, and the pin of a version never changes.
    let Some(pin) = wait_for_image(context, view, sets.has_work()).await else {
        return Ok(None);
    };
    let plan = JobPlan {
        pipeline: view.job.pipeline.clone(),
        version: view.version.version,
        job: view.job.id,
        id,
        output_commit: view.job.id,
        spec_commit: Some(view.version.spec_commit),
        file_set: None,
        salt,
        stage: stage_spec(&view.version, pin),
        concurrency,
        single_object: None,
    };
    Ok(Some(PreparedPlan {
        plan: Arc::new(plan),
        base,
        sets,
        started,
    }))
}

/// What is reused of the base and how that is found. It owns what [`Reuse`] borrows.
enum ReuseDecision {
    Nothing,
    /// The record of the base has the commits that the base was made from.
    ByTreeDiff(Arc<ProvenanceRecord>),
    ByDatum,
}

/// Decides what can be reused of the base and how that is found.
async fn decide_reuse(
    context: &JobContext,
    view: &JobView,
    base: Option<&BaseJob>,
    salt: &str,
) -> Result<ReuseDecision, DriveError> {
    let store = context.core.store();
    let spec = &view.version.spec;
    let Some(base) = base.filter(|_| spec.reprocess_spec != ReprocessSpec::EveryJob) else {
        return Ok(ReuseDecision::Nothing);
    };
    let commit = view.job.pipeline.output_repo().commit(base.job);
    let record = match context.provenance.read(&commit).await {
        Ok(Some(record)) => record,
        Ok(None) => return Ok(ReuseDecision::ByDatum),
        Err(ProvenanceReadError::Store(error)) => return Err(error.into()),
        Err(error @ ProvenanceReadError::Wire(_)) => {
            // A damaged record must not stop the pipeline: comparing all datums is slower and needs no record.
            tracing::warn!(%commit, error = howdah_telemetry::error_chain(&error), "provenance record cannot be decoded, comparing all datums");
            return Ok(ReuseDecision::ByDatum);
        }
    };
    if record.salt != salt {
        // The salt is in the hash of every datum: none can be equal.
        return Ok(ReuseDecision::Nothing);
    }
    // The difference of trees does not show the recovered datums of the base, nor datums of an input that the base did
    // not have: both would be missing from the output without an error. (A base has no failed datums.)
    let by_tree_diff =
        same_input(&record, &view.version) && !plan::has_unsuccessful_datums(store, &base.datums).await?;
    Ok(if by_tree_diff {
        ReuseDecision::ByTreeDiff(record)
    } else {
        ReuseDecision::ByDatum
    })
}

/// Tells whether a record's job and a version of the pipeline have the same `input` in their specs.
fn same_input(record: &ProvenanceRecord, version: &PipelineVersion) -> bool {
    let input = |spec: &str| -> Option<serde_json::Value> {
        let mut spec: serde_json::Value = serde_json::from_str(spec).ok()?;
        Some(spec.get_mut("input")?.take())
    };
    record.spec == *version.effective_json
        || input(&record.spec).is_some_and(|old| input(&version.effective_json).is_some_and(|new| old == new))
}

fn find_base(state: &State, view: &JobView) -> Result<Option<BaseJob>, DriveError> {
    match query::job_base(state, &view.job) {
        JobBase::Nothing => Ok(None),
        JobBase::Job { job, datums, output } => Ok(Some(BaseJob {
            job: job.id,
            datums,
            output,
        })),
        JobBase::Unfinished(earlier) => Err(DriveError::Interrupted(format!(
            "job {earlier}, which this one builds on, has not ended"
        ))),
    }
}

/// Looks up a commit of an earlier job in its record. One repository has one branch in a graph.
fn old_commit(inputs: &[ProvenanceInput], repo: &RepoKey) -> Option<InputCommit> {
    let input = inputs.iter().find(|input| input.commit.repo == *repo)?;
    Some(InputCommit {
        id: input.commit.id,
        content: input.content,
    })
}

fn new_commit(inputs: &[JobInput], repo: &RepoKey, branch: &BranchName) -> Option<InputCommit> {
    let mut inputs = inputs.iter();
    let input = inputs.find(|input| input.branch.repo == *repo && input.branch.name == *branch)?;
    Some(InputCommit {
        id: input.commit.id,
        content: input.content,
    })
}

/// Returns the identity of the plan, and whether a worker runs the datums of a set one after the other or concurrently.
async fn identity(context: &JobContext, view: &JobView) -> Result<(PlanId, SetConcurrency), DriveError> {
    let pipeline = &view.job.pipeline;
    if view.begun_before {
        // As an earlier driver decided: results that it got belong to sets that were cut by its decision, and the
        // workers that are connected now may be others.
        let stored = context.core.store().get_opt(&plan_key(pipeline, &view.job.id)).await?;
        if let Some(plan) = stored {
            let plan = wire::decode::<JobPlan>(&plan)?;
            return Ok((plan.id, plan.concurrency));
        }
    }
    Ok((PlanId::from_random(rand::random()), set_concurrency(context, view)))
}

fn set_concurrency(context: &JobContext, view: &JobView) -> SetConcurrency {
    let pipeline = &view.job.pipeline;
    let workers = &context.core.live().workers;
    if !workers.is_complete() {
        // Right after a start few workers are known. A decision on a part of them would make sets too large.
        return SetConcurrency::Sequential;
    }
    SetConcurrency::over(view.version.spec.parallelism, &workers.slots_for(pipeline))
}

/// Waits until the version's image is pinned. A job without datums needs none and gets a pin without digest.
async fn wait_for_image(context: &JobContext, view: &JobView, needed: bool) -> Option<ImagePin> {
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
