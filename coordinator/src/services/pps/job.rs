//! Calls about jobs and job sets.

use std::sync::Arc;

use howdah_api::convert::from_timestamp;
use howdah_api::pps_v2 as pps;
use howdah_model::{Command, CommitKey, GlobalId, Job, JobKey, PipelineKey, ProjectName, Rejection, State, query};
use tonic::metadata::MetadataMap;
use tonic::{Response, Status};

use super::convert::job_info;
use super::jq::JqFilter;
use super::requests::stop_job_command;
use crate::metadata::Core;
use crate::services::change::{apply, apply_or_append};
use crate::services::list_options::limit;
use crate::services::reply::{self, ReplySender, StreamError, StreamReply, UnaryReply};
use crate::services::status::{IntoStatus, shutting_down};
use crate::services::{find, wire};

pub(super) async fn inspect_job(core: &Core, request: pps::InspectJobRequest) -> UnaryReply<pps::JobInfo> {
    let key = wire::job_key(request.job.as_ref())?;
    let job = if request.wait {
        wait_for_end(core, &key).await?
    } else {
        find::job(&core.state(), &key)?.clone()
    };
    let info = job_info(&core.state(), core.live(), &job, request.details)?;
    Ok(Response::new(info))
}

/// Waits until a job has ended, and returns it.
async fn wait_for_end(core: &Core, key: &JobKey) -> Result<Arc<Job>, Status> {
    let ended = core.wait_for(|state| match state.job(key) {
        None => Some(Err(Rejection::NoJob(key.clone()).into_status())),
        Some(job) => job.state.is_final().then(|| Ok(job.clone())),
    });
    ended.await.unwrap_or_else(|| Err(shutting_down()))
}

pub(super) fn inspect_job_set(core: &Core, request: &pps::InspectJobSetRequest) -> StreamReply<pps::JobInfo> {
    let set = request.job_set.as_ref().ok_or_else(|| wire::missing("job_set"))?;
    // No job has such an id, so it names a set without jobs; clients expect no error.
    let Ok(id) = set.id.parse::<GlobalId>() else {
        return reply::from_items(Vec::new());
    };
    let jobs = query::jobs_of_set(&core.state(), id);
    let keys: Vec<JobKey> = jobs.iter().map(|job| job.key.clone()).collect();
    let (core, wait, details) = (core.clone(), request.wait, request.details);
    reply::from_task(move |sender| send_set(core, keys, wait, details, sender))
}

/// Sends the jobs of a set; with `wait`, each when it has ended.
async fn send_set(
    core: Core,
    mut pending: Vec<JobKey>,
    wait: bool,
    details: bool,
    sender: ReplySender<pps::JobInfo>,
) -> Result<(), StreamError> {
    let mut watch = core.watch();
    loop {
        // Marks the state as seen before it is looked at: a change that comes while jobs are sent wakes `changed`.
        let state = watch.borrow_and_update().clone();
        let mut still_pending = Vec::new();
        for key in pending {
            match state.job(&key) {
                // Deleted meanwhile. It would never end, and it is no reason to fail for the other jobs.
                None => {}
                Some(job) if wait && !job.state.is_final() => still_pending.push(key),
                Some(job) => sender.send(job_info(&state, core.live(), job, details)?).await?,
            }
        }
        pending = still_pending;
        if pending.is_empty() {
            return Ok(());
        }
        tokio::select! {
            changed = watch.changed() => changed.map_err(|_| shutting_down())?,
            () = sender.client_gone() => return Err(StreamError::ClientGone),
        }
    }
}

/// Limits of a list of jobs.
struct JobFilter {
    projects: Vec<ProjectName>,
    inputs: Vec<CommitKey>,
    history: i64,
    marker: Option<jiff::Timestamp>,
    reverse: bool,
}

impl JobFilter {
    fn passes(&self, state: &State, job: &Job) -> bool {
        let project = &job.key.pipeline.project;
        (self.projects.is_empty() || self.projects.contains(project))
            && self.in_time(job)
            && self.in_history(state, job)
            && self.has_inputs(state, job)
    }

    fn in_time(&self, job: &Job) -> bool {
        match self.marker {
            None => true,
            Some(marker) if self.reverse => job.created > marker,
            Some(marker) => job.created < marker,
        }
    }

    /// Returns whether the version of a job's pipeline is wanted: history 0 is the present version, n adds n older
    /// ones, a negative number adds all.
    fn in_history(&self, state: &State, job: &Job) -> bool {
        let Ok(history) = u64::try_from(self.history) else {
            return true;
        };
        let newest = state
            .pipeline(&job.key.pipeline)
            .map_or(job.pipeline_version, |pipeline| pipeline.version());
        job.pipeline_version.saturating_add(history) >= newest
    }

    fn has_inputs(&self, state: &State, job: &Job) -> bool {
        if self.inputs.is_empty() {
            return true;
        }
        state
            .commit(&job.output_commit)
            .is_some_and(|output| self.inputs.iter().all(|input| output.provenance.contains(input)))
    }
}

/// Returns jobs newest first; with `reverse`, oldest first.
fn ordered<'a>(jobs: impl DoubleEndedIterator<Item = &'a Arc<Job>>, reverse: bool) -> Vec<Arc<Job>> {
    if reverse {
        jobs.cloned().collect()
    } else {
        jobs.rev().cloned().collect()
    }
}

pub(super) fn list_job(core: &Core, request: &pps::ListJobRequest) -> StreamReply<pps::JobInfo> {
    let state = core.state();
    let inputs = request
        .input_commit
        .iter()
        .map(|commit| find::commit_key(&state, &wire::commit_ref(Some(commit))?))
        .collect::<Result<_, _>>()?;
    let filter = JobFilter {
        projects: wire::project_names(&request.projects)?,
        inputs,
        history: request.history,
        marker: request.pagination_marker.as_ref().and_then(from_timestamp),
        reverse: request.reverse,
    };
    let jobs = match named_pipeline(request.pipeline.as_ref())? {
        None => ordered(state.jobs(), request.reverse),
        Some(key) => {
            find::pipeline(&state, &key)?;
            ordered(query::jobs_of_pipeline(&state, &key), request.reverse)
        }
    };
    let jq = JqFilter::new(&request.jq_filter)?;
    let (core, details, limit) = (core.clone(), request.details, limit(request.number)?);
    reply::from_task(move |sender| async move {
        let mut sent = 0;
        for job in jobs {
            if sent == limit {
                break;
            }
            if !filter.passes(&state, &job) {
                continue;
            }
            sender.pause().await?;
            let info = job_info(&state, core.live(), &job, details)?;
            if jq.passes(&info)? {
                sender.send(info).await?;
                sent += 1;
            }
        }
        Ok(())
    })
}

/// Reads the pipeline to which a list is limited. Without a name there is no limit.
fn named_pipeline(pipeline: Option<&pps::Pipeline>) -> Result<Option<PipelineKey>, Status> {
    match pipeline {
        Some(pipeline) if !pipeline.name.is_empty() => wire::pipeline_key(Some(pipeline)).map(Some),
        _ => Ok(None),
    }
}

pub(super) fn list_job_set(core: &Core, request: &pps::ListJobSetRequest) -> StreamReply<pps::JobSetInfo> {
    let state = core.state();
    let projects = wire::project_names(&request.projects)?;
    let marker = request.pagination_marker.as_ref().and_then(from_timestamp);
    let jq = JqFilter::new(&request.jq_filter)?;
    let (limit, reverse, details) = (limit(request.number)?, request.reverse, request.details);
    let ids: Vec<GlobalId> = if reverse {
        state.set_ids().collect()
    } else {
        state.set_ids().rev().collect()
    };
    let core = core.clone();
    reply::from_task(move |sender| async move {
        let mut sent = 0;
        for id in ids {
            if sent == limit {
                break;
            }
            let in_time = |job: &Arc<Job>| match marker {
                None => true,
                Some(marker) if reverse => job.created > marker,
                Some(marker) => job.created < marker,
            };
            let mut jobs = Vec::new();
            for job in query::jobs_of_set(&state, id) {
                let project = &job.key.pipeline.project;
                if in_time(&job) && (projects.is_empty() || projects.contains(project)) {
                    sender.pause().await?;
                    let info = job_info(&state, core.live(), &job, details)?;
                    if jq.passes(&info)? {
                        jobs.push(info);
                    }
                }
            }
            if !jobs.is_empty() {
                let job_set = Some(pps::JobSet { id: id.to_string() });
                sender.send(pps::JobSetInfo { job_set, jobs }).await?;
                sent += 1;
            }
        }
        Ok(())
    })
}

pub(super) fn subscribe_job(core: &Core, request: &pps::SubscribeJobRequest) -> StreamReply<pps::JobInfo> {
    let pipeline = wire::pipeline_key(request.pipeline.as_ref())?;
    find::pipeline(&core.state(), &pipeline)?;
    let (core, details) = (core.clone(), request.details);
    reply::from_task(move |sender| async move {
        let mut watch = core.watch();
        let mut after = None;
        loop {
            let state = watch.borrow_and_update().clone();
            let newer: Vec<Arc<Job>> = match after {
                // The first round sends the jobs that run. Those that ended before the call are not sent.
                None => query::open_jobs_of(&state, &pipeline).cloned().collect(),
                Some(seq) => {
                    let jobs = query::jobs_of_pipeline(&state, &pipeline).rev();
                    let mut jobs: Vec<_> = jobs.take_while(|job| job.seq > seq).cloned().collect();
                    jobs.reverse();
                    jobs
                }
            };
            let newest = query::jobs_of_pipeline(&state, &pipeline).next_back();
            // It never becomes smaller: when the newest job is deleted, older jobs would otherwise be sent again.
            after = Some(newest.map_or(0, |job| job.seq).max(after.unwrap_or(0)));
            for job in newer {
                sender.send(job_info(&state, core.live(), &job, details)?).await?;
            }
            tokio::select! {
                changed = watch.changed() => changed.map_err(|_| shutting_down())?,
                () = sender.client_gone() => return Err(StreamError::ClientGone),
            }
        }
    })
}

pub(super) async fn stop_job(core: &Core, metadata: &MetadataMap, request: pps::StopJobRequest) -> UnaryReply<()> {
    apply_or_append(core, metadata, stop_job_command(&request)?).await?;
    Ok(Response::new(()))
}

pub(super) async fn delete_job(core: &Core, request: pps::DeleteJobRequest) -> UnaryReply<()> {
    let job = wire::job_key(request.job.as_ref())?;
    apply(core, Command::DeleteJob { job }).await?;
    Ok(Response::new(()))
}
