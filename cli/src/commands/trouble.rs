//! Notes for commands that wait: why the pipeline they wait for cannot run.
//!
//! While a command waits, the pipeline is inspected every [`ASK_EVERY`]. Each new reason is printed once, on standard
//! error. Errors of these extra requests are ignored: they must not end the wait.

use std::time::Duration;

use howdah_api::{pfs_v2, pps_v2};

use crate::context::Ctx;
use crate::error::CliError;

/// Time before the first inspection of the pipeline, and between two inspections.
const ASK_EVERY: Duration = Duration::from_secs(2);

/// Waits for `answer` and meanwhile prints why its pipeline cannot run, if it cannot.
pub(super) async fn wait_for<T>(
    ctx: &Ctx,
    pipeline: Option<pps_v2::Pipeline>,
    answer: impl Future<Output = Result<T, CliError>>,
) -> Result<T, CliError> {
    let Some(pipeline) = pipeline else {
        return answer.await;
    };
    tokio::select! {
        answer = answer => answer,
        never = note_trouble(ctx, pipeline) => match never {},
    }
}

/// Returns the pipeline with the name of a commit's repo, which makes the commit if it is an output.
pub(super) fn pipeline_of(commit: &pfs_v2::Commit) -> Option<pps_v2::Pipeline> {
    let repo = crate::wire::commit_repo(commit)?;
    Some(pps_v2::Pipeline {
        name: repo.name.clone(),
        project: repo.project.clone(),
    })
}

/// Prints the error of a finished commit, if it has one.
pub(super) fn note_commit_error(ctx: &Ctx, info: &pfs_v2::CommitInfo) {
    if !info.error.is_empty() {
        let name = info.commit.as_ref().map_or(String::new(), crate::wire::commit_name);
        ctx.printer.note(format!("commit {name} failed: {}", info.error));
    }
}

async fn note_trouble(ctx: &Ctx, pipeline: pps_v2::Pipeline) -> std::convert::Infallible {
    let mut printed = String::new();
    loop {
        tokio::time::sleep(ASK_EVERY).await;
        let request = pps_v2::InspectPipelineRequest {
            pipeline: Some(pipeline.clone()),
            details: false,
        };
        let Ok(client) = ctx.client().await else { continue };
        // "Not found": the repo is not the output of a pipeline.
        let Ok(answer) = client.pps().inspect_pipeline(request).await else {
            continue;
        };
        let info = answer.into_inner();
        if !info.reason.is_empty() && info.reason != printed {
            ctx.printer.note(format!(
                "still waiting: pipeline {} is {}: {}",
                pipeline.name,
                state(info.state),
                info.reason
            ));
            printed = info.reason;
        }
    }
}

fn state(number: i32) -> String {
    let name = pps_v2::PipelineState::try_from(number)
        .unwrap_or_default()
        .as_str_name();
    name.trim_start_matches("PIPELINE_").to_lowercase()
}
