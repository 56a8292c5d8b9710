//! Collecting the output of a try, with the container's help for links that lead out of `/pfs`.
//!
//! The worker does not see the container's own file system. Links that lead there are replaced by copies of their
//! targets, by `stage-init` inside the container and as the datum's user; then the output is listed again.

use std::sync::{Arc, Mutex};

use howdah_protocol::objects::StageSpec;
use howdah_stage_init::COPY_LINKS;
use tokio_util::sync::CancellationToken;

use crate::blocking::short;
use crate::error::InfraError;
use crate::pfs::output::{self, CollectedFile, OutputError};
use crate::pfs::workspace::{Workspace, lock_workspace};
use crate::runtime::{RunOutcome, RunRequest, RuntimeError, Stage, Stream};

/// Bytes kept of the error output of the program that copies links.
const COPY_ERRORS_BYTES: usize = 4096;

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

/// Collects what a command left in `/pfs/out`, sorted by path.
pub(crate) async fn collect_output(
    stage: &mut dyn Stage,
    workspace: &Arc<Mutex<Workspace>>,
    spec: &StageSpec,
    cancel: &CancellationToken,
) -> Result<Vec<CollectedFile>, CollectError> {
    let outside = match list(workspace).await? {
        Ok(files) => return Ok(files),
        Err(links) => links,
    };
    copy_links(stage, spec, &outside, cancel).await?;
    // Once only: a process that outlives the command may make such links again and again, and a loop would not end.
    list(workspace).await?.map_err(|links| {
        let link = links.first().map_or("/pfs/out", String::as_str);
        CollectError::Rejected(format!(
            "link at {link}: its target is outside of /pfs and changed meanwhile"
        ))
    })
}

/// Lists the output as the worker sees it; the inner error is the links that only the container can follow.
async fn list(workspace: &Arc<Mutex<Workspace>>) -> Result<Result<Vec<CollectedFile>, Vec<String>>, CollectError> {
    let workspace = Arc::clone(workspace);
    match short(move || output::collect(lock_workspace(&workspace).layout())).await? {
        Ok(files) => Ok(Ok(files)),
        Err(OutputError::Outside(links)) => Ok(Err(links)),
        Err(OutputError::Rejected(reason)) => Err(CollectError::Rejected(reason)),
        Err(OutputError::Infra(error)) => Err(error.into()),
    }
}

/// Replaces links by copies of their targets, with `stage-init` as the user of the datum.
async fn copy_links(
    stage: &mut dyn Stage,
    spec: &StageSpec,
    links: &[String],
    cancel: &CancellationToken,
) -> Result<(), CollectError> {
    let request = RunRequest {
        argv: vec![stage.init().to_owned(), COPY_LINKS.to_owned()],
        cwd: Some("/".to_owned()),
        user: spec.user.clone(),
        stdin: Some(links.join("\0").into_bytes()),
        timeout: spec.datum_timeout_ms.map(std::time::Duration::from_millis),
        ..RunRequest::default()
    };
    let mut errors = Vec::new();
    let mut keep_errors = |stream, bytes: &[u8]| {
        if stream == Stream::Stderr {
            let room = COPY_ERRORS_BYTES.saturating_sub(errors.len());
            errors.extend_from_slice(&bytes[..bytes.len().min(room)]);
        }
    };
    let outcome = stage
        .run(request, &mut keep_errors, cancel)
        .await
        .map_err(CollectError::StageLost)?;
    let many = links.len();
    let first = links.first().map_or("", String::as_str);
    Err(CollectError::Rejected(match outcome {
        RunOutcome::Exited(0) => return Ok(()),
        RunOutcome::Cancelled => return Err(CollectError::Cancelled),
        RunOutcome::TimedOut => {
            format!("copying the targets of {many} links outside of /pfs ({first}) exceeded the datum's time limit")
        }
        RunOutcome::Exited(_) if !errors.is_empty() => String::from_utf8_lossy(&errors).into_owned(),
        RunOutcome::Exited(code) => format!("link at {first}: its target could not be copied (exit code {code})"),
        RunOutcome::Signaled(signal) => format!("link at {first}: its target could not be copied (signal {signal})"),
        RunOutcome::SpawnFailed(text) => format!("link at {first}: its target could not be copied ({text})"),
    }))
}
