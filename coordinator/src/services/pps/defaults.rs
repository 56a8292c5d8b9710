//! Defaults that specifications are merged over, for the whole system and for a project.

use std::sync::Arc;

use howdah_api::pps_v2 as pps;
use howdah_model::limits::MAX_SPEC_BYTES;
use howdah_model::{Command, Pipeline, ProjectName, State, query};
use serde_json::Value;
use tonic::{Response, Status};

use super::checked_spec::{CheckedSpec, CreateFlags};
use crate::metadata::Core;
use crate::services::change::apply;
use crate::services::reply::UnaryReply;
use crate::services::status::IntoStatus;
use crate::services::{find, wire};

pub(super) fn get_cluster_defaults(core: &Core) -> Response<pps::GetClusterDefaultsResponse> {
    Response::new(pps::GetClusterDefaultsResponse {
        cluster_defaults_json: core.state().cluster_defaults().to_owned(),
    })
}

pub(super) fn get_project_defaults(
    core: &Core,
    request: &pps::GetProjectDefaultsRequest,
) -> UnaryReply<pps::GetProjectDefaultsResponse> {
    let name = wire::project_name(request.project.as_ref())?;
    let state = core.state();
    let project = find::project(&state, &name)?;
    Ok(Response::new(pps::GetProjectDefaultsResponse {
        project_defaults_json: project.defaults.to_string(),
        ..Default::default()
    }))
}

/// What to do with the pipelines whose effective specification new defaults change.
#[derive(Clone, Copy)]
struct RegenerateOptions {
    /// Update them.
    now: bool,
    /// Process all their datums again.
    reprocess: bool,
    /// Change nothing, only list them.
    dry_run: bool,
}

pub(super) async fn set_cluster_defaults(
    core: &Core,
    request: pps::SetClusterDefaultsRequest,
) -> UnaryReply<pps::SetClusterDefaultsResponse> {
    let how = RegenerateOptions {
        now: request.regenerate || request.reprocess,
        reprocess: request.reprocess,
        dry_run: request.dry_run,
    };
    let affected_pipelines = set(core, None, &request.cluster_defaults_json, how).await?;
    Ok(Response::new(pps::SetClusterDefaultsResponse { affected_pipelines }))
}

pub(super) async fn set_project_defaults(
    core: &Core,
    request: pps::SetProjectDefaultsRequest,
) -> UnaryReply<pps::SetProjectDefaultsResponse> {
    let how = RegenerateOptions {
        now: request.regenerate || request.reprocess,
        reprocess: request.reprocess,
        dry_run: request.dry_run,
    };
    let project = wire::project_name(request.project.as_ref())?;
    find::project(&core.state(), &project)?;
    let affected_pipelines = set(core, Some(project), &request.project_defaults_json, how).await?;
    Ok(Response::new(pps::SetProjectDefaultsResponse { affected_pipelines }))
}

async fn set(
    core: &Core,
    project: Option<ProjectName>,
    text: &str,
    how: RegenerateOptions,
) -> Result<Vec<pps::Pipeline>, Status> {
    let text = wire::bounded("the defaults", text, MAX_SPEC_BYTES)?;
    let text = if text.trim().is_empty() { "{}" } else { text };
    let defaults = howdah_spec::parse_defaults("", text.as_bytes()).map_err(IntoStatus::into_status)?;
    let state = core.state();
    let affected = if how.now {
        affected(&state, project.as_ref(), &defaults)?
    } else {
        Vec::new()
    };
    if !how.dry_run {
        let json = defaults.to_string();
        apply(core, Command::SetDefaults { project, json }).await?;
        for pipeline in &affected {
            regenerate(core, pipeline, how.reprocess).await?;
        }
    }
    Ok(affected.iter().map(|pipeline| wire::pipeline(&pipeline.key)).collect())
}

/// Returns the pipelines whose effective specification changes with new defaults.
fn affected(state: &State, project: Option<&ProjectName>, defaults: &Value) -> Result<Vec<Arc<Pipeline>>, Status> {
    let projects: Vec<ProjectName> = project.cloned().into_iter().collect();
    let mut affected = Vec::new();
    for pipeline in query::list_pipelines(state, &projects) {
        let read = |text: &str| -> Result<Value, Status> {
            serde_json::from_str(text)
                .map_err(|error| Status::data_loss(format!("a stored specification is not JSON: {error}")))
        };
        let of_project = find::project(state, &pipeline.key.project)?;
        let old_cluster = read(state.cluster_defaults())?;
        let old_project = read(&of_project.defaults)?;
        let (cluster, of_project) = match project {
            None => (defaults, &old_project),
            Some(_) => (&old_cluster, defaults),
        };
        let user = read(&pipeline.current().user_json)?;
        let merge = |cluster, project| howdah_spec::effective(cluster, project, &user).map_err(IntoStatus::into_status);
        if merge(cluster, of_project)? != merge(&old_cluster, &old_project)? {
            affected.push(pipeline);
        }
    }
    Ok(affected)
}

async fn regenerate(core: &Core, pipeline: &Pipeline, reprocess: bool) -> Result<(), Status> {
    let flags = CreateFlags {
        update: true,
        reprocess,
        dry_run: false,
    };
    let checked = CheckedSpec::new(&core.state(), &pipeline.current().user_json, flags)?;
    apply(core, checked.command(core).await?).await?;
    Ok(())
}
