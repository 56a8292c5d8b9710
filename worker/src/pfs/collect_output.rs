//! Collecting the output of a try, with the container's help for links that lead out of `/pfs`.
//!
//! The worker does not see the container's own file system. Links that lead there are replaced by copies of their
//! targets, by `stage-init` inside the container and as the datum's user; then the output is listed again.

use std::sync::{Arc, Mutex};

use howdah_protocol::objects::StageSpec;
use howdah_stage_init::COPY_LINKS;
use howdah_stage_init::links::WithoutContent;
use howdah_telemetry::LeftOut;
use tokio_util::sync::CancellationToken;

use crate::blocking::short;
use crate::config::OutputLimits;
use crate::error::InfraError;
use crate::pfs::collected::{CollectedOutput, OutputError};
use crate::pfs::output;
use crate::pfs::output_time::OutputTime;
use crate::pfs::workspace::{Workspace, lock_workspace};
use crate::runtime::{RunOutcome, RunRequest, RuntimeError, Stage, Stream};

/// Bytes kept of the error output of the program that copies links.
const COPY_ERRORS_BYTES: usize = 4096;
/// Bytes kept of what this program says about links without content.
const COPY_REPORT_BYTES: usize = 64 << 10;

/// Why there is no output.
pub(crate) enum CollectError {
    /// The output is not acceptable; the text is for the user.
    Rejected(String),
    /// This machine failed.
    Infra(InfraError),
    /// The stage was lost while it copied links.
    StageLost(RuntimeError),
    /// The set was stopped.
    Cancelled,
}

impl From<InfraError> for CollectError {
    fn from(error: InfraError) -> Self {
        Self::Infra(error)
    }
}

/// Collects what a command left in `/pfs/out`.
pub(crate) async fn collect_output(
    stage: &mut dyn Stage,
    workspace: &Arc<Mutex<Workspace>>,
    spec: &StageSpec,
    limits: OutputLimits,
    time: &OutputTime,
    cancel: &CancellationToken,
) -> Result<CollectedOutput, CollectError> {
    let outside = match list(workspace, limits, time).await? {
        Ok(output) => return Ok(output),
        Err(links) => links,
    };
    let removed = copy_links(stage, spec, &outside, time, cancel).await?;
    // Once only: a process that outlives the command may make such links again and again, and a loop would not end.
    match list(workspace, limits, time).await? {
        Ok(mut output) => {
            output.left_out.merge(removed);
            Ok(output)
        }
        Err(links) => {
            let link = links.first().map_or("/pfs/out", String::as_str);
            Err(CollectError::Rejected(format!(
                "link at {link}: its target is outside of /pfs and changed meanwhile"
            )))
        }
    }
}

/// Lists the output as the worker sees it; the inner error is the links that only the container can follow.
async fn list(
    workspace: &Arc<Mutex<Workspace>>,
    limits: OutputLimits,
    time: &OutputTime,
) -> Result<Result<CollectedOutput, Vec<String>>, CollectError> {
    let (workspace, time) = (Arc::clone(workspace), time.clone());
    match short(move || output::collect(lock_workspace(&workspace).view(), limits, time)).await? {
        Ok(output) => Ok(Ok(output)),
        Err(OutputError::Outside(links)) => Ok(Err(links)),
        Err(OutputError::Rejected(reason)) => Err(CollectError::Rejected(reason)),
        Err(OutputError::Stopped) => Err(CollectError::Cancelled),
        Err(OutputError::Infra(error)) => Err(error.into()),
    }
}

/// Replaces links by copies of their targets, with `stage-init` as the user of the datum. Returns what has no content.
async fn copy_links(
    stage: &mut dyn Stage,
    spec: &StageSpec,
    links: &[String],
    time: &OutputTime,
    cancel: &CancellationToken,
) -> Result<LeftOut, CollectError> {
    let request = RunRequest {
        argv: vec![stage.init().to_owned(), COPY_LINKS.to_owned()],
        cwd: Some("/".to_owned()),
        user: spec.user.clone(),
        stdin: Some(links.join("\0").into_bytes()),
        // The target may be a file without end, also where the datum has no time limit.
        timeout: Some(time.left()),
        ..RunRequest::default()
    };
    let (mut errors, mut report) = (Vec::new(), Vec::new());
    let mut keep = |stream, bytes: &[u8]| {
        let (kept, most): (&mut Vec<u8>, usize) = match stream {
            Stream::Stdout => (&mut report, COPY_REPORT_BYTES),
            Stream::Stderr => (&mut errors, COPY_ERRORS_BYTES),
        };
        let room = most.saturating_sub(kept.len());
        kept.extend_from_slice(&bytes[..bytes.len().min(room)]);
    };
    let outcome = stage
        .run(request, &mut keep, cancel)
        .await
        .map_err(CollectError::StageLost)?;
    let many = links.len();
    let first = links.first().map_or("", String::as_str);
    Err(CollectError::Rejected(match outcome {
        RunOutcome::Exited(0) => return Ok(left_out(&report)),
        RunOutcome::Cancelled => return Err(CollectError::Cancelled),
        RunOutcome::TimedOut => {
            format!(
                "copying the targets of {many} links outside of /pfs ({first}) exceeded the time limit of the output"
            )
        }
        RunOutcome::Exited(_) if !errors.is_empty() => String::from_utf8_lossy(&errors).into_owned(),
        RunOutcome::Exited(code) => format!("link at {first}: its target could not be copied (exit code {code})"),
        RunOutcome::Signaled(signal) => format!("link at {first}: its target could not be copied (signal {signal})"),
        RunOutcome::SpawnFailed(text) | RunOutcome::NotEmptied(text) => {
            format!("link at {first}: its target could not be copied ({text})")
        }
    }))
}

/// Reads what `stage-init` says about links whose target has no content.
fn left_out(report: &[u8]) -> LeftOut {
    let WithoutContent { count, first } = WithoutContent::decode(report);
    let mut left_out = LeftOut::default();
    for path in first.iter().take(usize::try_from(count).unwrap_or(usize::MAX)) {
        left_out.add(path, "link to a pipe, a socket or a device");
    }
    left_out.add_unnamed(count - left_out.count());
    left_out
}
