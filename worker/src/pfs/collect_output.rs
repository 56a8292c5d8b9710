//! Gathering the output of a try, with the container's help where links lead out of `/pfs`.

use std::sync::{Arc, Mutex};

use howdah_protocol::objects::StageSpec;
use howdah_stage_init::COPY_LINKS;
use tokio_util::sync::CancellationToken;

use crate::error::Trouble;
use crate::execute::slot_thread::short;
use crate::pfs::links::View;
use crate::pfs::output::{self, Found, OutputError};
use crate::pfs::workspace::Workspace;
use crate::runtime::{RunOutcome, RunRequest, RuntimeError, Stream};
use crate::slots::{Warm, lock};

/// Most bytes kept of what the copying of links complains about.
const COMPLAINT_BYTES: usize = 4096;

/// Why there is no output.
pub(crate) enum GatherError {
    /// The output is at fault.
    Fault(String),
    /// This machine is.
    Trouble(Trouble),
    /// The stage was lost on the way.
    Lost(RuntimeError),
    /// It was told to stop.
    Cancelled,
}

impl From<Trouble> for GatherError {
    fn from(trouble: Trouble) -> Self {
        Self::Trouble(trouble)
    }
}

/// Collects what a command left in `/pfs/out`, sorted by path.
pub(crate) async fn gather(
    warm: &mut Warm,
    stage: &StageSpec,
    cancel: &CancellationToken,
) -> Result<Vec<Found>, GatherError> {
    let outside = match collect(&warm.space).await? {
        Ok(found) => return Ok(found),
        Err(links) => links,
    };
    copy_links(warm, stage, &outside, cancel).await?;
    // With the links gone nothing can lead outside, unless somebody else still writes there.
    collect(&warm.space).await?.map_err(|links| {
        let link = links.first().map_or("/pfs/out", String::as_str);
        GatherError::Fault(format!(
            "link at {link}: its target is outside of /pfs and changed meanwhile"
        ))
    })
}

/// Collects as the worker sees it; gives the links that it cannot follow, if there are any.
async fn collect(space: &Arc<Mutex<Workspace>>) -> Result<Result<Vec<Found>, Vec<String>>, GatherError> {
    let space = Arc::clone(space);
    match short(move || output::collect(&View::of(&lock(&space)))).await? {
        Ok(found) => Ok(Ok(found)),
        Err(OutputError::Outside(links)) => Ok(Err(links)),
        Err(OutputError::Fault(reason)) => Err(GatherError::Fault(reason)),
        Err(OutputError::Trouble(trouble)) => Err(trouble.into()),
    }
}

/// Has links replaced by copies of their targets, by `stage-init` as the user of the datum.
async fn copy_links(
    warm: &mut Warm,
    stage: &StageSpec,
    links: &[String],
    cancel: &CancellationToken,
) -> Result<(), GatherError> {
    let request = RunRequest {
        argv: vec![warm.stage.init().to_owned(), COPY_LINKS.to_owned()],
        cwd: Some("/".to_owned()),
        user: stage.user.clone(),
        stdin: Some(links.join("\0").into_bytes()),
        timeout: stage.datum_timeout_ms.map(std::time::Duration::from_millis),
        ..RunRequest::default()
    };
    let mut complaint = Vec::new();
    let mut listen = |stream, bytes: &[u8]| {
        if stream == Stream::Stderr {
            let room = COMPLAINT_BYTES.saturating_sub(complaint.len());
            complaint.extend_from_slice(&bytes[..bytes.len().min(room)]);
        }
    };
    let outcome = warm
        .stage
        .run(request, &mut listen, cancel)
        .await
        .map_err(GatherError::Lost)?;
    let many = links.len();
    let first = links.first().map_or("", String::as_str);
    Err(GatherError::Fault(match outcome {
        RunOutcome::Exited(0) => return Ok(()),
        RunOutcome::Cancelled => return Err(GatherError::Cancelled),
        RunOutcome::TimedOut => {
            format!("copying the targets of {many} links outside of /pfs ({first}) exceeded the datum's time limit")
        }
        RunOutcome::Exited(_) if !complaint.is_empty() => String::from_utf8_lossy(&complaint).into_owned(),
        RunOutcome::Exited(code) => format!("link at {first}: its target could not be copied (exit code {code})"),
        RunOutcome::Signaled(signal) => format!("link at {first}: its target could not be copied (signal {signal})"),
        RunOutcome::SpawnFailed(text) => format!("link at {first}: its target could not be copied ({text})"),
    }))
}
