//! `Fsck`: checks the metadata; a deep check reads everything that is stored; a fix repairs what can be repaired.
//!
//! ```text
//!  contradictions of the metadata
//!  deep:  log -> trees of all commits, newest first, with the bytes of their files -> objects of ended jobs
//!             -> chunks and nodes that no commit needs                                     => Damage
//!  fix:   damaged objects are taken away -> pipelines whose newest output needs them run again
//! ```
//!
//! A file imports only files below it in this list:
//!
//! - [`repair`]: the fix.
//! - [`deep`]: the walk over all trees. [`job_objects`]: plans, sets, results, logs. [`objects`]: what no commit needs.
//! - [`damage`]: what was found, by object. [`seen`]: what was checked already. [`report`]: messages to the client.
//! - [`metadata`]: the rules of the metadata.
//!
//! Memory is bounded whatever the number of files: hashes of what was checked are kept as long as they have room, and what
//! is not known is read again. The check ends when the client disconnects.

mod damage;
mod deep;
mod job_objects;
mod metadata;
mod objects;
mod repair;
mod report;
mod seen;

use futures::FutureExt;
use howdah_api::pfs_v2 as pfs;
use tonic::Status;

use self::deep::DeepCheck;
use self::report::Report;
use crate::leadership::lease::Lease;
use crate::metadata::Core;
use crate::services::reply::{self, ReplySender, StreamError, StreamReply};

/// Answers `Fsck`. `lease` is that of the leader; without it, this coordinator is the only one.
pub(super) fn fsck(core: &Core, lease: Option<Lease>, request: &pfs::FsckRequest) -> StreamReply<pfs::FsckResponse> {
    if request.zombie_check.is_some() {
        return Err(Status::unimplemented("not supported yet: the check for zombie files"));
    }
    if !request.deep && !request.fix {
        let findings = metadata::contradictions(&core.state());
        return reply::from_items(findings.into_iter().map(|error| Ok(report::error(error))));
    }
    let (core, fix) = (core.clone(), request.fix);
    reply::from_task(move |sender| check_everything(core, lease, fix, sender).boxed())
}

async fn check_everything(
    core: Core,
    lease: Option<Lease>,
    fix: bool,
    sender: ReplySender<pfs::FsckResponse>,
) -> Result<(), StreamError> {
    let report = Report::new(sender);
    tokio::select! {
        ended = run(&core, lease, fix, &report) => ended,
        ended = report.tell_progress() => ended,
        () = report.client_gone() => Err(StreamError::ClientGone),
    }
}

async fn run(core: &Core, lease: Option<Lease>, fix: bool, report: &Report) -> Result<(), StreamError> {
    for finding in metadata::contradictions(&core.state()) {
        report.error(finding).await?;
    }
    let mut check = DeepCheck::new(core, report);
    check.log().await?;
    check.commits().await?;
    check.jobs().await?;
    check.rest().await?;
    let damage = check.into_damage();
    for line in damage.lines(&core.state()) {
        report.error(line).await?;
    }
    if fix {
        repair::repair(core, lease, &damage, report).await?;
    }
    report.progress().await
}
