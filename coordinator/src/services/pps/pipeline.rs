//! Calls that inspect, list, delete, start and stop pipelines.

use std::sync::Arc;

use howdah_api::pps_v2 as pps;
use howdah_model::{
    Command, DeletionScope, GlobalId, Pipeline, PipelineState, PipelineVersion, ProjectName, Rejection, Reply,
    RepoType, State, query,
};
use tonic::{Response, Status};

use super::convert::pipeline_info;
use super::jq::JqFilter;
use crate::fresh_id::fresh_id;
use crate::metadata::Core;
use crate::services::change::apply;
use crate::services::list_options::{ProjectSelection, one_page};
use crate::services::reply::{self, StreamReply, UnaryReply};
use crate::services::status::IntoStatus;
use crate::services::{find, wire};

pub(super) fn inspect_pipeline(core: &Core, request: &pps::InspectPipelineRequest) -> UnaryReply<pps::PipelineInfo> {
    let message = request.pipeline.as_ref().ok_or_else(|| wire::missing("pipeline"))?;
    let (name, back) = split_ancestry(&message.name)?;
    let key = wire::pipeline_key(Some(&pps::Pipeline {
        name: name.to_owned(),
        project: message.project.clone(),
    }))?;
    let state = core.state();
    let pipeline = find::pipeline(&state, &key)?;
    let number = pipeline.version().saturating_sub(back);
    let version = pipeline
        .at_version(number)
        .ok_or_else(|| Rejection::NoPipelineVersion(key, number).into_status())?;
    let info = pipeline_info(&state, core.live(), pipeline, version, request.details)?;
    Ok(Response::new(info))
}

/// Splits the ancestry from a pipeline's name: `edges^1` is the version before the present one.
fn split_ancestry(name: &str) -> Result<(&str, u64), Status> {
    let end = name.find(['^', '~']).unwrap_or(name.len());
    let (name, marks) = name.split_at(end);
    if marks.is_empty() {
        return Ok((name, 0));
    }
    let digits = marks.trim_start_matches(['^', '~']);
    let run = (marks.len() - digits.len()) as u64;
    let back = match (run, digits) {
        (run, "") => Some(run),
        (1, digits) => digits.parse().ok(),
        _ => None,
    };
    back.map(|back| (name, back)).ok_or_else(|| {
        Status::invalid_argument(format!(
            "invalid ancestry {marks:?} of pipeline {name:?}: write ^, ^^ or ^2"
        ))
    })
}

pub(super) fn list_pipeline(core: &Core, request: &pps::ListPipelineRequest) -> StreamReply<pps::PipelineInfo> {
    let state = core.state();
    let projects = wire::project_names(&request.projects)?;
    let mut pipelines = query::list_pipelines(&state, &projects);
    if let Some(message) = request.pipeline.as_ref().filter(|one| !one.name.is_empty()) {
        let key = wire::pipeline_key(Some(message))?;
        find::pipeline(&state, &key)?;
        pipelines.retain(|pipeline| pipeline.key == key);
    }
    if let Some(page) = &request.page {
        pipelines = one_page(pipelines, page.page_size, page.page_index)?;
    }
    let versions = match request.commit_set.as_ref().filter(|set| !set.id.is_empty()) {
        Some(set) => versions_of_set(&state, &pipelines, &set.id)?,
        None => pipelines
            .iter()
            .flat_map(|pipeline| with_history(pipeline, request.history))
            .collect(),
    };
    let jq = JqFilter::new(&request.jq_filter)?;
    let core = core.clone();
    reply::from_task(move |sender| async move {
        for (pipeline, version) in versions {
            sender.pause().await?;
            let info = pipeline_info(&state, core.live(), &pipeline, &version, true)?;
            if jq.passes(&info)? {
                sender.send(info).await?;
            }
        }
        Ok(())
    })
}

type PipelineAtVersion = (Arc<Pipeline>, Arc<PipelineVersion>);

/// Returns the present version and `history` older ones, newest first; all of them if `history` is negative.
fn with_history(pipeline: &Arc<Pipeline>, history: i64) -> Vec<PipelineAtVersion> {
    let wanted = match usize::try_from(history) {
        Ok(older) => older.saturating_add(1),
        Err(_) => usize::MAX,
    };
    pipeline
        .versions
        .iter()
        .rev()
        .take(wanted)
        .map(|version| (pipeline.clone(), version.clone()))
        .collect()
}

/// Returns the versions of pipelines whose spec commits belong to a commit set.
fn versions_of_set(state: &State, pipelines: &[Arc<Pipeline>], id: &str) -> Result<Vec<PipelineAtVersion>, Status> {
    let unknown = || Status::not_found(format!("no commits found for commitset {id}"));
    let set: GlobalId = id.parse().map_err(|_| unknown())?;
    let commits = find::commit_set(state, set)?;
    let mut versions = Vec::new();
    for pipeline in pipelines {
        let spec_repo = pipeline.key.spec_repo();
        let commit = commits
            .iter()
            .find(|commit| commit.repo.kind == RepoType::Spec && commit.repo == spec_repo);
        let version = commit.and_then(|commit| {
            pipeline
                .versions
                .iter()
                .find(|version| version.spec_commit == commit.id)
        });
        versions.extend(version.map(|version| (pipeline.clone(), version.clone())));
    }
    Ok(versions)
}

pub(super) async fn delete_pipeline(core: &Core, request: pps::DeletePipelineRequest) -> UnaryReply<()> {
    #[expect(deprecated, reason = "older clients still send it")]
    let all = request.all;
    let command = if all {
        Command::DeletePipelines {
            projects: None,
            force: request.force,
            keep_repo: request.keep_repo,
        }
    } else {
        Command::DeletePipeline {
            pipeline: wire::pipeline_key(request.pipeline.as_ref())?,
            force: request.force,
            keep_repo: request.keep_repo,
            must_exist: request.must_exist,
        }
    };
    apply(core, command).await?;
    Ok(Response::new(()))
}

pub(super) async fn delete_pipelines(
    core: &Core,
    request: pps::DeletePipelinesRequest,
) -> UnaryReply<pps::DeletePipelinesResponse> {
    let Some(projects) = ProjectSelection::new(request.all, &request.projects)?.for_command() else {
        return Ok(Response::new(Default::default()));
    };
    let command = Command::DeletePipelines {
        projects,
        force: request.force,
        keep_repo: request.keep_repo,
    };
    let pipelines = match apply(core, command).await? {
        Reply::DeletedPipelines(keys) => keys.iter().map(wire::pipeline).collect(),
        _ => Vec::new(),
    };
    Ok(Response::new(pps::DeletePipelinesResponse { pipelines }))
}

pub(super) async fn start_pipeline(core: &Core, request: pps::StartPipelineRequest) -> UnaryReply<()> {
    let pipeline = wire::pipeline_key(request.pipeline.as_ref())?;
    apply(core, Command::StartPipeline { pipeline }).await?;
    Ok(Response::new(()))
}

pub(super) async fn stop_pipeline(core: &Core, request: pps::StopPipelineRequest) -> UnaryReply<()> {
    let command = Command::StopPipeline {
        pipeline: wire::pipeline_key(request.pipeline.as_ref())?,
        must_exist: request.must_exist,
    };
    apply(core, command).await?;
    Ok(Response::new(()))
}

pub(super) async fn rerun_pipeline(core: &Core, request: pps::RerunPipelineRequest) -> UnaryReply<()> {
    let command = Command::RerunPipeline {
        pipeline: wire::pipeline_key(request.pipeline.as_ref())?,
        reprocess: request.reprocess,
        salt: fresh_id().to_string(),
    };
    apply(core, command).await?;
    Ok(Response::new(()))
}

pub(super) fn run_cron(core: &Core, request: &pps::RunCronRequest) -> UnaryReply<()> {
    let key = wire::pipeline_key(request.pipeline.as_ref())?;
    let state = core.state();
    let pipeline = find::pipeline(&state, &key)?;
    let leaves = pipeline.spec().input.as_ref().map(|input| input.leaves());
    let has_cron = leaves
        .unwrap_or_default()
        .iter()
        .any(|leaf| matches!(leaf, howdah_spec::Input::Cron(_)));
    if has_cron {
        return Err(Status::unimplemented("not supported yet: input.cron"));
    }
    Err(Status::unknown(format!("pipeline {key} does not have a cron input")))
}

pub(super) async fn delete_all(core: &Core) -> UnaryReply<()> {
    apply(
        core,
        Command::DeleteAll {
            scope: DeletionScope::Pps,
        },
    )
    .await?;
    Ok(Response::new(()))
}

pub(super) fn pipelines_summary(
    core: &Core,
    request: &pps::PipelinesSummaryRequest,
) -> UnaryReply<pps::PipelinesSummaryResponse> {
    use howdah_api::pfs_v2::project_picker::Picker;
    let state = core.state();
    let mut summaries = Vec::new();
    for picker in &request.projects {
        let Some(Picker::Name(name)) = &picker.picker else {
            return Err(wire::missing("project picker"));
        };
        let name = ProjectName::new(name).map_err(wire::bad_name)?;
        summaries.push(summary(&state, name));
    }
    Ok(Response::new(pps::PipelinesSummaryResponse { summaries }))
}

fn summary(state: &State, project: ProjectName) -> pps::PipelinesSummary {
    let mut summary = pps::PipelinesSummary {
        project: Some(wire::project(&project)),
        ..Default::default()
    };
    for pipeline in query::list_pipelines(state, &[project]) {
        let failed_last = matches!(
            pipeline.last_job_state,
            Some(howdah_model::JobState::Failure | howdah_model::JobState::Unrunnable)
        );
        match pipeline.state {
            PipelineState::Failure | PipelineState::Crashing => summary.failed_pipelines += 1,
            PipelineState::Paused => summary.paused_pipelines += 1,
            _ => summary.active_pipelines += 1,
        }
        if failed_last || pipeline.state == PipelineState::Crashing {
            summary.unhealthy_pipelines += 1;
        }
    }
    summary
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_may_carry_ancestry() {
        assert_eq!(split_ancestry("edges").unwrap(), ("edges", 0));
        assert_eq!(split_ancestry("edges^").unwrap(), ("edges", 1));
        assert_eq!(split_ancestry("edges^^").unwrap(), ("edges", 2));
        assert_eq!(split_ancestry("edges~3").unwrap(), ("edges", 3));
        assert!(split_ancestry("edges^x").is_err());
    }
}
