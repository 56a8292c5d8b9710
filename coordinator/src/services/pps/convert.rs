//! Pipelines and jobs of the state as messages.

use howdah_api::convert::{millis_to_duration, to_timestamp};
use howdah_api::{pipeline as spec_messages, pps_v2 as pps};
use howdah_model::{
    Job, JobKey, JobState, JobStats, Pipeline, PipelineKey, PipelineKind, PipelineVersion, State, query,
};
use howdah_protocol::messages::Presence;
use jiff::Timestamp;
use tonic::Status;

use crate::live::LiveStatus;
use crate::services::status::IntoStatus;
use crate::services::wire::{self, signed};

/// Writes a job; with `details`, also what the specification of its pipeline says.
pub(super) fn job_info(state: &State, live: &LiveStatus, job: &Job, details: bool) -> Result<pps::JobInfo, Status> {
    // While a job runs, its progress is in memory only; the state has it when the job ends.
    let progress = (!job.state.is_final()).then(|| live.progress.get(&job.key)).flatten();
    let counts = progress.as_ref().map_or(job.counts, |progress| progress.counts);
    let stats = progress.as_ref().map_or(job.stats, |progress| progress.stats);
    let retry = progress.and_then(|progress| progress.retry);
    let details = if details {
        Some(job_details(state, live, job)?)
    } else {
        None
    };
    Ok(pps::JobInfo {
        job: Some(wire::job(&job.key)),
        pipeline_version: job.pipeline_version,
        output_commit: Some(wire::commit(&job.output_commit)),
        restart: job.restart,
        data_processed: signed(counts.processed),
        data_skipped: signed(counts.skipped),
        data_total: signed(counts.total),
        data_failed: signed(counts.failed),
        data_recovered: signed(counts.recovered),
        stats: Some(job_stats(&stats)),
        state: job.state as i32,
        reason: retry.map_or_else(|| job.reason.to_string(), |retry| retry.text(Timestamp::now())),
        created: Some(to_timestamp(job.created)),
        started: job.started.map(to_timestamp),
        finished: job.finished.map(to_timestamp),
        details,
        auth_token: String::new(),
    })
}

fn job_stats(stats: &JobStats) -> pps::ProcessStats {
    pps::ProcessStats {
        download_time: Some(millis_to_duration(stats.download_ms)),
        process_time: Some(millis_to_duration(stats.process_ms)),
        upload_time: Some(millis_to_duration(stats.upload_ms)),
        download_bytes: signed(stats.download_bytes),
        upload_bytes: signed(stats.upload_bytes),
    }
}

fn job_details(state: &State, live: &LiveStatus, job: &Job) -> Result<pps::job_info::Details, Status> {
    let Some(version) = query::job_version(state, &job.key) else {
        return Ok(pps::job_info::Details::default());
    };
    let request = spec_messages::request_of_spec(&version.spec).map_err(IntoStatus::into_status)?;
    let mut details = spec_messages::job_details(request);
    details.salt = version.salt.to_string();
    if let Some(input) = &mut details.input {
        let commits = query::job_inputs(state, &job.key);
        set_commits(input, &|name| {
            let input = commits.iter().find(|input| input.name == name)?;
            Some(input.commit.id.to_string())
        });
    }
    details.worker_status = worker_status(&live.workers.list(), &job.key);
    Ok(details)
}

/// Writes into every leaf of an input the commit that the job reads there.
fn set_commits(input: &mut pps::Input, commit_of: &dyn Fn(&str) -> Option<String>) {
    if let Some(pfs) = &mut input.pfs
        && let Some(commit) = commit_of(&pfs.name)
    {
        pfs.commit = commit;
    }
    if let Some(cron) = &mut input.cron
        && let Some(commit) = commit_of(&cron.name)
    {
        cron.commit = commit;
    }
    let parts = [&mut input.join, &mut input.group, &mut input.cross, &mut input.union];
    for part in parts.into_iter().flatten() {
        set_commits(part, commit_of);
    }
}

/// Writes a status for every slot that works on a job.
fn worker_status(workers: &[Presence], job: &JobKey) -> Vec<pps::WorkerStatus> {
    let mut found = Vec::new();
    for worker in workers {
        for slot in &worker.busy {
            if slot.pipeline == job.pipeline && slot.job == job.id {
                found.push(pps::WorkerStatus {
                    worker_id: worker.worker.clone(),
                    job_id: job.id.to_string(),
                    datum_status: Some(pps::DatumStatus {
                        started: Some(to_timestamp(slot.started)),
                        data: Vec::new(),
                    }),
                });
            }
        }
    }
    found
}

/// Writes one version of a pipeline.
pub(super) fn pipeline_info(
    state: &State,
    live: &LiveStatus,
    pipeline: &Pipeline,
    version: &PipelineVersion,
    details: bool,
) -> Result<pps::PipelineInfo, Status> {
    let details = if details {
        Some(pipeline_details(state, live, pipeline, version)?)
    } else {
        None
    };
    let spec_commit = pipeline.key.spec_repo().commit(version.spec_commit);
    Ok(pps::PipelineInfo {
        pipeline: Some(wire::pipeline(&pipeline.key)),
        version: version.version,
        spec_commit: Some(wire::commit(&spec_commit)),
        stopped: pipeline.stopped,
        state: pipeline.state as i32,
        reason: pipeline.reason.to_string(),
        last_job_state: pipeline.last_job_state.unwrap_or_default() as i32,
        parallelism: version.spec.parallelism,
        r#type: pipeline_type(pipeline.kind) as i32,
        auth_token: String::new(),
        details,
        user_spec_json: version.user_json.to_string(),
        effective_spec_json: version.effective_json.to_string(),
        metadata: Default::default(),
    })
}

fn pipeline_type(kind: PipelineKind) -> pps::pipeline_info::PipelineType {
    use pps::pipeline_info::PipelineType;
    match kind {
        PipelineKind::Transform => PipelineType::Transform,
        PipelineKind::Spout => PipelineType::Spout,
        PipelineKind::Service => PipelineType::Service,
    }
}

/// Returns the error of the last job of a pipeline that has ended; empty if it succeeded.
fn recent_error(state: &State, pipeline: &PipelineKey) -> String {
    let last = query::jobs_of_pipeline(state, pipeline).rfind(|job| job.state.is_final());
    last.filter(|job| job.state != JobState::Success)
        .map_or(String::new(), |job| format!("job {}: {}", job.key.id, job.reason))
}

fn pipeline_details(
    state: &State,
    live: &LiveStatus,
    pipeline: &Pipeline,
    version: &PipelineVersion,
) -> Result<pps::pipeline_info::Details, Status> {
    let request = spec_messages::request_of_spec(&version.spec).map_err(IntoStatus::into_status)?;
    let wanted = signed(version.spec.parallelism);
    let available = live.workers.slots_for(&pipeline.key).iter().sum::<u64>();
    let available = i64::try_from(available).unwrap_or(i64::MAX);
    Ok(pps::pipeline_info::Details {
        created_at: Some(to_timestamp(pipeline.created)),
        updated_at: Some(to_timestamp(pipeline.updated)),
        reason: pipeline.reason.to_string(),
        recent_error: recent_error(state, &pipeline.key),
        salt: version.salt.to_string(),
        workers_requested: if pipeline.stopped { 0 } else { wanted },
        workers_available: if pipeline.stopped { 0 } else { available.min(wanted) },
        ..spec_messages::pipeline_details(request)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_leaf_of_an_input_gets_its_commit() {
        let leaf = |name: &str| pps::Input {
            pfs: Some(pps::PfsInput {
                name: name.into(),
                ..Default::default()
            }),
            ..Default::default()
        };
        let mut input = pps::Input {
            cross: vec![
                leaf("a"),
                pps::Input {
                    union: vec![leaf("b"), leaf("c")],
                    ..Default::default()
                },
            ],
            ..Default::default()
        };
        set_commits(&mut input, &|name| (name != "c").then(|| format!("at {name}")));
        let commit = |input: &pps::Input| input.pfs.clone().expect("a leaf").commit;
        assert_eq!(commit(&input.cross[0]), "at a");
        assert_eq!(commit(&input.cross[1].union[0]), "at b");
        assert_eq!(commit(&input.cross[1].union[1]), "");
    }
}
