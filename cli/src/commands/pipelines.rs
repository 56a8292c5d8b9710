//! Commands on pipelines, except those that read specs.

use howdah_api::{convert, pfs_v2, pps_v2};
use serde_json::Value;

use super::pipeline_view::{self, HEADER, describe, row};
use super::states;
use crate::args::pipelines::{
    CheckStatus, DeletePipeline, ExtractPipeline, InspectPipeline, ListPipeline, OnePipeline, RerunPipeline,
};
use crate::args::shared::{Encoding, ProjectArg};
use crate::context::Ctx;
use crate::error::{CliError, CliResult};
use crate::output::age::Clock;
use crate::output::list::MessageList;
use crate::output::raw::Raw;
use crate::wire;

/// `inspect pipeline`.
pub(super) async fn inspect(ctx: &Ctx, arguments: &InspectPipeline) -> CliResult {
    let encoding = arguments.view.raw.encoding()?;
    let project = ctx.project(&arguments.project)?;
    let request = pps_v2::InspectPipelineRequest {
        pipeline: Some(convert::pipeline(project, &arguments.pipeline)),
        details: true,
    };
    let info = ctx.client().await?.pps().inspect_pipeline(request).await?.into_inner();
    if let Some(encoding) = encoding {
        let mut out = ctx.printer.list(false);
        Raw::new(encoding).message(&mut out, &info)?;
        return Ok(out.close()?);
    }
    let clock = Clock::now(arguments.view.full_timestamps);
    Ok(ctx.printer.text(describe(&info, &clock, &ctx.printer))?)
}

/// `list pipeline`.
pub(super) async fn list(ctx: &Ctx, arguments: &ListPipeline) -> CliResult {
    if arguments.spec && arguments.view.raw.raw {
        return Err(CliError::refused("cannot use --raw and --spec together"));
    }
    let encoding = match (arguments.spec, arguments.view.raw.output) {
        (true, output) => Some(output.unwrap_or(Encoding::Json)),
        (false, Some(_)) if !arguments.view.raw.raw => {
            return Err(CliError::refused("cannot set --output (-o) without --raw or --spec"));
        }
        _ => arguments.view.raw.encoding()?,
    };
    let project = ctx.project(&arguments.project)?;
    let everywhere = arguments.all_projects && arguments.pipeline.is_none();
    let request = pps_v2::ListPipelineRequest {
        pipeline: arguments
            .pipeline
            .as_ref()
            .map(|name| convert::pipeline(&project, name)),
        history: history(&arguments.history)?,
        jq_filter: states::pipeline_filter(&arguments.state)?,
        commit_set: arguments.commit.as_ref().map(|id| pfs_v2::CommitSet { id: id.clone() }),
        projects: if everywhere {
            Vec::new()
        } else {
            vec![convert::project(&project)]
        },
        ..Default::default()
    };
    let mut stream = ctx.client().await?.pps().list_pipeline(request).await?.into_inner();
    let clock = Clock::now(arguments.view.full_timestamps);
    let mut list = MessageList::begin(&ctx.printer, encoding, HEADER, false);
    let mut broken = false;
    let mut failed = Vec::new();
    while let Some(info) = stream.message().await? {
        if pipeline_view::last_job_failed(&info) {
            failed.push(wire::pipeline_name(info.pipeline.as_ref()).to_owned());
        }
        broken |= matches!(
            info.state(),
            pps_v2::PipelineState::PipelineFailure | pps_v2::PipelineState::PipelineCrashing
        );
        match &mut list {
            MessageList::Raw(raw, out) if arguments.spec => raw.value(out, &spec_of(&info)?)?,
            list => list.push(&info, |info| row(info, &clock, &ctx.printer))?,
        }
    }
    list.finish()?;
    if broken && encoding.is_none() {
        ctx.printer.note(format!(
            "One or more pipelines have failed or are crashing; `{} inspect pipeline NAME` shows why.",
            ctx.program
        ));
    }
    if let Some(name) = failed.first().filter(|_| encoding.is_none()) {
        ctx.printer.note(format!(
            "The last job of {} has failed; `{1} inspect pipeline {name}` shows why under \"Recent Error\", \
             `{1} list job -p {name}` lists its jobs, `{1} logs -p {name}` shows what the code printed.",
            failed.join(", "),
            ctx.program
        ));
    }
    Ok(())
}

/// Returns what `create pipeline` accepts for a pipeline.
fn spec_of(info: &pps_v2::PipelineInfo) -> Result<Value, CliError> {
    let text = if info.user_spec_json.is_empty() {
        &info.effective_spec_json
    } else {
        &info.user_spec_json
    };
    serde_json::from_str(text).map_err(|error| {
        CliError::refused(format!(
            "the server's spec of {} is not valid JSON: {error}",
            wire::pipeline_name(info.pipeline.as_ref())
        ))
    })
}

/// Reads `none`, `all` or a number of older versions.
pub(super) fn history(text: &str) -> Result<i64, CliError> {
    match text {
        "none" | "" => Ok(0),
        "all" => Ok(-1),
        number => number
            .parse()
            .map_err(|_| CliError::refused(format!("invalid --history {text:?}: expected none, all or a number"))),
    }
}

/// `extract pipeline`.
pub(super) async fn extract(ctx: &Ctx, arguments: &ExtractPipeline) -> CliResult {
    let project = ctx.project(&arguments.project)?;
    let request = pps_v2::InspectPipelineRequest {
        pipeline: Some(convert::pipeline(project, &arguments.pipeline)),
        details: true,
    };
    let info = ctx.client().await?.pps().inspect_pipeline(request).await?.into_inner();
    let mut out = ctx.printer.list(false);
    Raw::new(arguments.output.unwrap_or(Encoding::Json)).value(&mut out, &spec_of(&info)?)?;
    Ok(out.close()?)
}

/// `delete pipeline`.
pub(super) async fn delete(ctx: &Ctx, arguments: &DeletePipeline) -> CliResult {
    let project = ctx.project(&arguments.project)?;
    let mut pps = ctx.client().await?.pps();
    match (&arguments.pipeline, arguments.all || arguments.all_projects) {
        (Some(_), true) => Err(CliError::refused("cannot use a pipeline's name together with --all")),
        (None, false) => Err(CliError::refused("either a pipeline's name or --all is needed")),
        (Some(name), false) => {
            let request = pps_v2::DeletePipelineRequest {
                pipeline: Some(convert::pipeline(project, name)),
                force: arguments.force,
                keep_repo: arguments.keep_repo,
                must_exist: true,
                ..Default::default()
            };
            pps.delete_pipeline(request).await?;
            Ok(())
        }
        (None, true) => {
            let projects = if arguments.all_projects {
                Vec::new()
            } else {
                vec![convert::project(project)]
            };
            let request = pps_v2::DeletePipelinesRequest {
                projects,
                force: arguments.force,
                keep_repo: arguments.keep_repo,
                all: arguments.all_projects,
            };
            pps.delete_pipelines(request).await?;
            Ok(())
        }
    }
}

fn named(ctx: &Ctx, name: &str, project: &ProjectArg) -> Result<Option<pps_v2::Pipeline>, CliError> {
    Ok(Some(convert::pipeline(ctx.project(project)?, name)))
}

/// `start pipeline`.
pub(super) async fn start(ctx: &Ctx, arguments: &OnePipeline) -> CliResult {
    let pipeline = named(ctx, &arguments.pipeline, &arguments.project)?;
    ctx.client()
        .await?
        .pps()
        .start_pipeline(pps_v2::StartPipelineRequest { pipeline })
        .await?;
    Ok(())
}

/// `stop pipeline`.
pub(super) async fn stop(ctx: &Ctx, arguments: &OnePipeline) -> CliResult {
    let pipeline = named(ctx, &arguments.pipeline, &arguments.project)?;
    ctx.client()
        .await?
        .pps()
        .stop_pipeline(pps_v2::StopPipelineRequest {
            pipeline,
            must_exist: true,
        })
        .await?;
    Ok(())
}

/// `rerun pipeline`.
pub(super) async fn rerun(ctx: &Ctx, arguments: &RerunPipeline) -> CliResult {
    let pipeline = named(ctx, &arguments.pipeline, &arguments.project)?;
    let request = pps_v2::RerunPipelineRequest {
        pipeline,
        reprocess: arguments.reprocess,
    };
    let response = ctx.client().await?.pps().rerun_pipeline(request).await?;
    ctx.warn(&response);
    Ok(())
}

/// `run cron`.
pub(super) async fn run_cron(ctx: &Ctx, arguments: &OnePipeline) -> CliResult {
    let pipeline = named(ctx, &arguments.pipeline, &arguments.project)?;
    ctx.client()
        .await?
        .pps()
        .run_cron(pps_v2::RunCronRequest { pipeline })
        .await?;
    Ok(())
}

/// `check status`.
pub(super) async fn check_status(ctx: &Ctx, arguments: &CheckStatus) -> CliResult {
    use pps_v2::check_status_request::Context;
    let context = if arguments.all_projects {
        Context::All(true)
    } else {
        Context::Project(convert::project(ctx.project(&arguments.project)?))
    };
    let request = pps_v2::CheckStatusRequest { context: Some(context) };
    let encoding = arguments.raw.then_some(Encoding::Json);
    let mut stream = ctx.client().await?.pps().check_status(request).await?.into_inner();
    let mut list = MessageList::begin(&ctx.printer, encoding, &["PROJECT", "PIPELINE", "ALERT"], false);
    while let Some(status) = stream.message().await? {
        list.push(&status, |status| {
            vec![
                convert::project_name(status.project.as_ref()).to_owned(),
                wire::pipeline_name(status.pipeline.as_ref()).to_owned(),
                status.alerts.join("; "),
            ]
        })?;
    }
    list.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn history_is_none_all_or_a_number() {
        assert_eq!(history("none").expect("read"), 0);
        assert_eq!(history("all").expect("read"), -1);
        assert_eq!(history("3").expect("read"), 3);
        assert!(history("some").is_err());
    }
}
