//! Commands on the defaults of pipeline specs, of the cluster or of a project.

use howdah_api::{convert, pps_v2};
use serde_json::Value;

use crate::args::pipelines::{DeleteDefaults, ReadDefaults, WriteDefaults};
use crate::context::Ctx;
use crate::error::{CliError, CliResult};
use crate::source;
use crate::wire;

/// The owner of the defaults.
enum DefaultsScope {
    Cluster,
    Project(String),
}

fn scope(cluster: bool, project: Option<&String>) -> Result<DefaultsScope, CliError> {
    match (cluster, project) {
        (true, None) => Ok(DefaultsScope::Cluster),
        (false, Some(project)) => Ok(DefaultsScope::Project(project.clone())),
        (true, Some(_)) => Err(CliError::refused("only one of --cluster and --project can be given")),
        (false, None) => Err(CliError::refused("either --cluster or --project is needed")),
    }
}

/// New defaults, and what is done with existing pipelines.
struct DefaultsChange {
    json: String,
    regenerate: bool,
    reprocess: bool,
    dry_run: bool,
}

/// `create defaults`, `update defaults`.
pub(super) async fn write(ctx: &Ctx, arguments: &WriteDefaults) -> CliResult {
    let scope = scope(arguments.cluster, arguments.project.as_ref())?;
    let source = source::read(arguments.file.as_deref().unwrap_or("-")).await?;
    let document = howdah_spec::parse_defaults(&source.name, &source.text)
        .map_err(|error| CliError::refused(error.to_string()))?;
    let change = DefaultsChange {
        json: document.to_string(),
        regenerate: arguments.regenerate,
        reprocess: arguments.reprocess,
        dry_run: arguments.dry_run,
    };
    set(ctx, scope, change).await
}

/// `delete defaults`.
pub(super) async fn delete(ctx: &Ctx, arguments: &DeleteDefaults) -> CliResult {
    let scope = scope(arguments.cluster, arguments.project.as_ref())?;
    let change = DefaultsChange {
        json: "{}".to_owned(),
        regenerate: arguments.regenerate,
        reprocess: arguments.reprocess,
        dry_run: arguments.dry_run,
    };
    set(ctx, scope, change).await
}

async fn set(ctx: &Ctx, scope: DefaultsScope, change: DefaultsChange) -> CliResult {
    if change.reprocess && !change.regenerate {
        return Err(CliError::refused("--reprocess needs --regenerate"));
    }
    let mut pps = ctx.client().await?.pps();
    let affected = match scope {
        DefaultsScope::Cluster => {
            let request = pps_v2::SetClusterDefaultsRequest {
                regenerate: change.regenerate,
                reprocess: change.reprocess,
                dry_run: change.dry_run,
                cluster_defaults_json: change.json,
            };
            pps.set_cluster_defaults(request).await?.into_inner().affected_pipelines
        }
        DefaultsScope::Project(project) => {
            let request = pps_v2::SetProjectDefaultsRequest {
                project: Some(convert::project(project)),
                regenerate: change.regenerate,
                reprocess: change.reprocess,
                dry_run: change.dry_run,
                project_defaults_json: change.json,
            };
            pps.set_project_defaults(request).await?.into_inner().affected_pipelines
        }
    };
    for pipeline in &affected {
        ctx.printer
            .line(format!("{}/{}", wire::pipeline_project(Some(pipeline)), pipeline.name))?;
    }
    Ok(())
}

/// `inspect defaults`.
pub(super) async fn inspect(ctx: &Ctx, arguments: &ReadDefaults) -> CliResult {
    let scope = scope(arguments.cluster, arguments.project.as_ref())?;
    let mut pps = ctx.client().await?.pps();
    let text = match scope {
        DefaultsScope::Cluster => {
            pps.get_cluster_defaults(pps_v2::GetClusterDefaultsRequest {})
                .await?
                .into_inner()
                .cluster_defaults_json
        }
        DefaultsScope::Project(project) => {
            let request = pps_v2::GetProjectDefaultsRequest {
                project: Some(convert::project(project)),
            };
            pps.get_project_defaults(request)
                .await?
                .into_inner()
                .project_defaults_json
        }
    };
    let pretty = serde_json::from_str::<Value>(&text).map_or(text, |value| format!("{value:#}"));
    Ok(ctx.printer.line(pretty)?)
}
