//! Planning one job: what it reads, what it builds on, and the sets that come of it.

use std::sync::Arc;
use std::time::Instant;

use futures::stream::FuturesOrdered;
use futures::{FutureExt, StreamExt};
use howdah_model::query::{self, JobBase, JobInput};
use howdah_model::{BranchName, ImagePin, PipelineVersion, RepoKey, State};
use howdah_protocol::messages::SetMessage;
use howdah_protocol::objects::{DatumSet, JobPlan, SetConcurrency, StageSpec, plan_key};
use howdah_protocol::wire;
use howdah_spec::ReprocessSpec;

use super::drive::{self, DriveError, View};
use super::publish::Publisher;
use super::set_maker::SetMaker;
use crate::job::plan::{self, Base, InputCommit, MergePlan, PlanError, Reuse};
use crate::job::provenance::{self, ProvenanceInput, ProvenanceRecord};
use crate::metrics;
use crate::scheduler::Context;

/// How many set objects are written at once.
const WRITES_AT_ONCE: usize = 16;

/// Looks a commit of an earlier job up in its record. One repository has one branch in a graph.
fn old_commit(inputs: &[ProvenanceInput], repo: &RepoKey) -> Option<InputCommit> {
    let input = inputs.iter().find(|input| input.commit.repo == *repo)?;
    Some(InputCommit {
        id: input.commit.id,
        content: input.content,
    })
}

/// How a plan relates to the base: kept with the plan, as [`Reuse`] only borrows.
enum Relation {
    Nothing,
    /// The record of the base, which tells the commits that it was made from.
    Unchanged(Arc<ProvenanceRecord>),
    Equal,
}

/// Finds out what of the base can be taken over, and how that is to be found.
async fn relate(context: &Context, view: &View, base: Option<&Base>, salt: &str) -> Result<Relation, DriveError> {
    let store = context.core.store();
    let spec = &view.version.spec;
    let Some(base) = base.filter(|_| spec.reprocess_spec != ReprocessSpec::EveryJob) else {
        return Ok(Relation::Nothing);
    };
    let commit = view.job.pipeline.output_repo().commit(base.job);
    let record = match context.records.read(&commit).await {
        Ok(Some(record)) => record,
        Ok(None) => return Ok(Relation::Equal),
        Err(provenance::ReadError::Store(error)) => return Err(error.into()),
        Err(error @ provenance::ReadError::Wire(_)) => {
            // Comparing all datums needs no record.
            tracing::warn!(%commit, error = howdah_telemetry::error_chain(&error), "what a commit was made from cannot be understood");
            return Ok(Relation::Equal);
        }
    };
    if record.salt != salt {
        // The salt is in every hash: none can be equal.
        return Ok(Relation::Nothing);
    }
    let same = same_input(&record, &view.version) && !plan::has_unfinished(store, &base.datums).await?;
    Ok(if same {
        Relation::Unchanged(record)
    } else {
        Relation::Equal
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

/// A plan that has begun: everything is known but its datums.
pub struct Begun {
    /// What workers need to know.
    pub plan: Arc<JobPlan>,
    base: Option<Base>,
    sets: SetMaker,
    started: Instant,
}

/// Finds out what the job has to do. `None` when the job ended while it waited for the image.
pub async fn begin(context: &Context, view: &View) -> Result<Option<Begun>, DriveError> {
    let started = Instant::now();
    let store = context.core.store();
    let state = context.core.state();
    let spec = &view.version.spec;
    let salt = if spec.reprocess_spec == ReprocessSpec::OnCodeChange {
        let Some(pin) = wait_for_image(context, view, true).await else {
            return Ok(None);
        };
        plan::salt_with_code(&view.version.salt, &stage(&view.version, pin))
    } else {
        view.version.salt.to_string()
    };
    let mut base = find_base(&state, view)?;
    let relation = relate(context, view, base.as_ref(), &salt).await?;
    if matches!(relation, Relation::Nothing) {
        base = None;
    }
    let inputs = query::job_inputs(&state, &view.job);
    let steps = match &spec.input {
        None => futures::stream::empty().boxed(),
        Some(input) => {
            let new = |repo: &RepoKey, branch: &BranchName| new_commit(&inputs, repo, branch);
            let old_inputs = match &relation {
                Relation::Unchanged(record) => record.inputs.as_slice(),
                Relation::Nothing | Relation::Equal => &[],
            };
            let old = |repo: &RepoKey, _: &BranchName| old_commit(old_inputs, repo);
            let reuse = match (&relation, &base) {
                (Relation::Unchanged(_), Some(base)) => Reuse::Unchanged(base, &old),
                (Relation::Equal, Some(base)) => Reuse::Equal(base),
                (_, None) | (Relation::Nothing, _) => Reuse::Nothing,
            };
            plan::steps(store, input, &new, salt.as_str().into(), reuse).await?
        }
    };
    let concurrency = concurrency(context, view).await?;
    let sets = SetMaker::look_ahead(steps, &view.version, concurrency).await?;
    let Some(pin) = wait_for_image(context, view, sets.has_work()).await else {
        return Ok(None);
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
        concurrency,
        single_object: None,
    };
    Ok(Some(Begun {
        plan: Arc::new(plan),
        base,
        sets,
        started,
    }))
}

/// Decides how sets lie over the slots there are, or as an earlier driver has decided.
async fn concurrency(context: &Context, view: &View) -> Result<SetConcurrency, DriveError> {
    let pipeline = &view.job.pipeline;
    if view.begun_before {
        let stored = context.core.store().get_opt(&plan_key(pipeline, &view.job.id)).await?;
        if let Some(plan) = stored {
            return Ok(wire::decode::<JobPlan>(&plan)?.concurrency);
        }
    }
    let workers = &context.core.live().workers;
    if !workers.is_complete() {
        return Ok(SetConcurrency::Sequential);
    }
    Ok(SetConcurrency::over(
        view.version.spec.parallelism,
        &workers.slots_for(pipeline),
    ))
}

fn find_base(state: &State, view: &View) -> Result<Option<Base>, DriveError> {
    match query::job_base(state, &view.job) {
        JobBase::Nothing => Ok(None),
        JobBase::Job { job, datums, output } => Ok(Some(Base {
            job: job.id,
            datums,
            output,
        })),
        JobBase::Unfinished(earlier) => Err(DriveError::Interrupted(format!(
            "job {earlier}, which this one builds on, has not ended"
        ))),
    }
}

fn new_commit(inputs: &[JobInput], repo: &RepoKey, branch: &BranchName) -> Option<InputCommit> {
    let mut inputs = inputs.iter();
    let input = inputs.find(|input| input.branch.repo == *repo && input.branch.name == *branch)?;
    Some(InputCommit {
        id: input.commit.id,
        content: input.content,
    })
}

impl Begun {
    /// Writes and publishes the sets, then makes the plan final, or the other way round if the plan is small. The
    /// start of the job is logged on the way, unless it has been. Publishing is given up, not planning, when the
    /// queue cannot be reached: [`Published::lost`] tells.
    pub async fn publish(
        mut self,
        context: &Context,
        view: &View,
        publisher: &Publisher<'_>,
    ) -> Result<Published, DriveError> {
        let (started, job) = (self.started, &view.job);
        let first = self.sets.next().await?;
        let is_only = self.sets.is_over();
        let bytes = is_only.then(|| first.as_ref().map_or(0, |set| wire::encode(set).len()));
        let published = match bytes.filter(|bytes| plan::fits_one_object(*bytes, self.sets.most_dropped())) {
            Some(bytes) => {
                let only = first.map(|set| (set, bytes));
                self.publish_whole(context, view, publisher, only).await
            }
            None => self.publish_by_and_by(context, view, publisher, first).await,
        }?;
        let Published { merge, lost } = &published;
        if *lost {
            tracing::debug!(%job, "the queue could not be reached while planning");
        }
        metrics::PLAN_SECONDS.observe(started.elapsed().as_secs_f64());
        tracing::info!(%job, to_do = merge.to_do, skipped = merge.skipped, sets = merge.sets, elapsed_ms = started.elapsed().as_millis() as u64, "job planned");
        Ok(published)
    }

    /// Writes the plan as one object while the job's start and plan are logged together, then publishes the only set,
    /// which comes with its size in bytes.
    async fn publish_whole(
        self,
        context: &Context,
        view: &View,
        publisher: &Publisher<'_>,
        only: Option<(DatumSet, usize)>,
    ) -> Result<Published, DriveError> {
        let store = context.core.store();
        let merge = self.sets.into_merge_plan(store, self.base).await?;
        let prepare = async {
            match only {
                Some(_) => publisher.prepare().await,
                None => Ok(()),
            }
        };
        let (written, noted, queue) = tokio::join!(
            plan::write_whole(store, &self.plan, only.as_ref().map(|(set, _)| set.clone()), &merge),
            drive::note_plan(context, view, &merge),
            prepare,
        );
        written?;
        noted?;
        let mut lost = queue.is_err();
        if let Some((set, bytes)) = only {
            publisher.keep(set.clone());
            lost = publisher.publish(&[publisher.message(set, bytes)]).await.is_err() || lost;
        }
        Ok(Published { merge, lost })
    }

    /// Writes and publishes sets while further ones are found.
    async fn publish_by_and_by(
        self,
        context: &Context,
        view: &View,
        publisher: &Publisher<'_>,
        first: Option<DatumSet>,
    ) -> Result<Published, DriveError> {
        let Begun {
            plan, base, mut sets, ..
        } = self;
        let store = context.core.store();
        let mut lost = false;
        let write = |set: DatumSet| {
            let plan = plan.clone();
            async move {
                let bytes = plan::write_set(store, &plan, &set).await?;
                Ok::<SetMessage, PlanError>(publisher.message(set, bytes))
            }
        };
        let found = |set: &DatumSet| {
            let datums = set.datums.len() as u64;
            let progress = &context.core.live().progress;
            progress.update(&view.job, |progress| progress.counts.total += datums);
        };
        let start = drive::start(context, view);
        match first {
            None => {
                let (job, started) = tokio::join!(plan::write_job(store, &plan), start);
                job?;
                started?;
            }
            Some(first) => {
                found(&first);
                // Nothing waits for anything here but the message, so that work starts at once.
                let (job, message, started, queue) =
                    tokio::join!(plan::write_job(store, &plan), write(first), start, publisher.prepare());
                job?;
                let message = message?;
                started?;
                lost = queue.is_err() || publisher.publish(&[message]).await.is_err();
            }
        }
        let mut writes = FuturesOrdered::new();
        let mut more = true;
        while more || !writes.is_empty() {
            let mut written = Vec::new();
            match if more { sets.next().await? } else { None } {
                Some(set) => {
                    found(&set);
                    writes.push_back(write(set));
                }
                None => more = false,
            }
            if (!more || writes.len() >= WRITES_AT_ONCE)
                && let Some(message) = writes.next().await
            {
                written.push(message?);
            }
            // Whatever else is written by now goes along.
            while let Some(Some(message)) = writes.next().now_or_never() {
                written.push(message?);
            }
            if !written.is_empty() {
                lost = lost || publisher.publish(&written).await.is_err();
            }
        }
        let merge = sets.into_merge_plan(store, base).await?;
        plan::write_merge(store, &plan, &merge).await?;
        drive::note_plan(context, view, &merge).await?;
        Ok(Published { merge, lost })
    }
}

/// A plan that is final.
pub struct Published {
    /// What has to be known for merging.
    pub merge: MergePlan,
    /// Whether some sets may not have reached the queue.
    pub lost: bool,
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
pub(crate) fn stage(version: &PipelineVersion, image: ImagePin) -> StageSpec {
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
