//! What keeps a waiting command waiting: a pipeline that cannot run says why.

use std::time::Duration;

use howdah_api::{pfs_v2, pps_v2};

use crate::context::Ctx;
use crate::error::CliError;

/// How long a wait may last before the pipeline is asked, and how often it is asked again.
const ASK_EVERY: Duration = Duration::from_secs(2);

/// Waits for `answer`; tells once, on standard error, when the pipeline it depends on cannot run.
pub async fn wait_for<T>(
    ctx: &Ctx,
    pipeline: Option<pps_v2::Pipeline>,
    answer: impl Future<Output = Result<T, CliError>>,
) -> Result<T, CliError> {
    let Some(pipeline) = pipeline else {
        return answer.await;
    };
    tokio::select! {
        answer = answer => answer,
        never = tell_trouble(ctx, pipeline) => match never {},
    }
}

/// Returns the pipeline that a commit would be the output of, going by its name.
pub fn pipeline_of(commit: &pfs_v2::Commit) -> Option<pps_v2::Pipeline> {
    let repo = crate::wire::commit_repo(commit)?;
    Some(pps_v2::Pipeline {
        name: repo.name.clone(),
        project: repo.project.clone(),
    })
}

/// Says on standard error that a commit is finished but did not succeed.
pub fn tell_commit_error(ctx: &Ctx, info: &pfs_v2::CommitInfo) {
    if !info.error.is_empty() {
        let name = info.commit.as_ref().map_or(String::new(), crate::wire::commit_name);
        ctx.printer.note(format!("commit {name} failed: {}", info.error));
    }
}

async fn tell_trouble(ctx: &Ctx, pipeline: pps_v2::Pipeline) -> std::convert::Infallible {
    let mut told = String::new();
    loop {
        tokio::time::sleep(ASK_EVERY).await;
        let request = pps_v2::InspectPipelineRequest {
            pipeline: Some(pipeline.clone()),
            details: false,
        };
        let Ok(client) = ctx.client().await else { continue };
        // A repository that is no pipeline's has nothing to tell.
        let Ok(answer) = client.pps().inspect_pipeline(request).await else {
            continue;
        };
        let info = answer.into_inner();
        if !info.reason.is_empty() && info.reason != told {
            ctx.printer.note(format!(
                "still waiting: pipeline {} is {}: {}",
                pipeline.name,
                state(info.state),
                info.reason
            ));
            told = info.reason;
        }
    }
}

fn state(number: i32) -> String {
    let name = pps_v2::PipelineState::try_from(number)
        .unwrap_or_default()
        .as_str_name();
    name.trim_start_matches("PIPELINE_").to_lowercase()
}
