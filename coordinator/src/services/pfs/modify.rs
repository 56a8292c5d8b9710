//! `ModifyFile`: a stream of edits that take effect together, in an open commit or as a new commit.
//!
//! ```text
//!  1  read_header   the first message          -> WriteTarget  the commit or branch that the request names
//!  2  base          target and present state   -> WriteBase    only to fail early
//!  3  read_edits    all other messages         -> ClosedEdits  bytes are stored meanwhile
//!  4  write         repeats this:
//!       base        target and present state   -> WriteBase
//!         NewCommit:   make_commit                            -> Attempt
//!         OpenCommit:  choose_method (once), write_permit,
//!                      still_open, change_commit              -> Attempt
//!       Attempt:  Written: done.  Conflict: again.  MustApply: again, without staging.
//! ```
//!
//! Staging stores the edits as they are; a later reader or writer folds the staged edits of many calls into one tree.
//! It is cheap, but works only for few edits that certainly fit the commit, see [`staging`]. Other edits are applied:
//! this call makes the new tree, and makes it again after a conflict.
//!
//! Nothing is visible before the last phase. A client that disconnects cancels the call at any `await`; then the edits
//! have taken effect together or not at all, because one command of the log carries all of them.

use std::sync::Arc;

use futures::StreamExt;
use howdah_api::file_broker::FileBroker;
use howdah_api::pfs_v2 as pfs;
use howdah_api::pfs_v2::modify_file_request::Body;
use howdah_model::{Command, Commit, RejectionKind};
use howdah_store::ClosedEdits;
use tonic::{Request, Response, Status, Streaming};

use super::edit_reader::EditReader;
use super::write_base::{BranchBase, WriteBase, WriteTarget};
use crate::metadata::{Core, EditStager, StagingOutcome, SubmitError, WritePermit};
use crate::services::call_memory::CallMemory;
use crate::services::reply::UnaryReply;
use crate::services::status::IntoStatus;

/// After this number of conflicts a write takes the permit of an open commit exclusively. Other writers wait then, so
/// the next attempt has no conflict with them.
const SHARED_CONFLICTS: u32 = 2;

pub(super) async fn modify_file(
    core: &Core,
    file_broker: Option<&FileBroker>,
    request: Request<Streaming<pfs::ModifyFileRequest>>,
) -> UnaryReply<()> {
    let memory = request.extensions().get::<CallMemory>().cloned();
    let mut messages = request.into_inner();
    let target = read_header(core, &mut messages).await?;
    // A write that cannot succeed fails here, before the client has sent its bytes. No permit is taken yet: a slow
    // client would keep it from all others until its last byte.
    target.base(&core.state())?;
    let reader = EditReader::new(core, file_broker, memory);
    let edits = read_edits(reader, &mut messages).await?;
    write(core, &target, &edits).await?;
    Ok(Response::new(()))
}

/// Reads the first message, which names the target.
async fn read_header(core: &Core, messages: &mut Streaming<pfs::ModifyFileRequest>) -> Result<WriteTarget, Status> {
    let first = messages.next().await.transpose()?;
    match first.and_then(|message| message.body) {
        Some(Body::SetCommit(commit)) => WriteTarget::new(&core.state(), &commit),
        _ => Err(Status::invalid_argument(
            "validate recv: the first message must be a set_commit",
        )),
    }
}

/// Reads all other messages. Every byte is stored when it returns.
async fn read_edits(
    mut reader: EditReader<'_>,
    messages: &mut Streaming<pfs::ModifyFileRequest>,
) -> Result<ClosedEdits, Status> {
    while let Some(message) = messages.next().await {
        reader.read(message?).await?;
    }
    // A client that drops its call resets the stream, and tonic reports that as the end of the messages. The HTTP/2 server
    // looks for a reset when this future is pending, and drops it. Without this point, a put that needs no more requests
    // to the store would take effect as far as it was sent.
    tokio::task::yield_now().await;
    reader.finish().await
}

/// Result of one attempt to write.
enum Attempt {
    /// The edits are durable.
    Written,
    /// The base has changed: the next attempt begins with the new base.
    Conflict,
    /// It is not certain that the edits fit the commit: the next attempt applies them, which shows whether they do.
    MustApply,
}

/// How edits get into an open commit.
enum Method<'a> {
    /// They are staged.
    Stage(Box<EditStager<'a>>),
    /// They are applied, because they are too many to be staged, or do not certainly fit.
    Apply,
}

/// Writes edits to a target; repeats that as often as others change the base meanwhile.
async fn write(core: &Core, target: &WriteTarget, edits: &ClosedEdits) -> Result<(), Status> {
    // Chosen at the first attempt that needs it, and kept: it costs a pass over all edits, and a write that makes a new
    // commit does without.
    let mut method = None;
    let mut conflicts = 0;
    loop {
        let attempt = match target.base(&core.state())? {
            WriteBase::NewCommit(base) => make_commit(core, base, edits).await?,
            WriteBase::OpenCommit(commit) => {
                let method = match &mut method {
                    Some(method) => method,
                    None => method.insert(choose_method(core, edits).await?),
                };
                let _permit = write_permit(core, &commit, method, conflicts).await;
                // Others may have written, finished or deleted the commit while this call waited for the permit.
                match still_open(core, target, &commit)? {
                    Some(commit) => change_commit(core, &commit, method, edits).await?,
                    None => Attempt::Conflict,
                }
            }
        };
        match attempt {
            Attempt::Written => return Ok(()),
            Attempt::Conflict => conflicts += 1,
            Attempt::MustApply => method = Some(Method::Apply),
        }
    }
}

/// Makes a new, finished commit on a branch.
async fn make_commit(core: &Core, base: BranchBase, edits: &ClosedEdits) -> Result<Attempt, Status> {
    let content = edits.apply(core.store(), &base.content).await;
    let command = Command::WriteCommit {
        branch: base.branch,
        expected_head: base.head,
        content: content.map_err(IntoStatus::into_status)?,
        description: String::new(),
    };
    submit(core, command).await
}

/// Prepares edits for staging, if they are few enough.
async fn choose_method<'a>(core: &'a Core, edits: &ClosedEdits) -> Result<Method<'a>, Status> {
    let stager = EditStager::new(core.staging(), edits)
        .await
        .map_err(IntoStatus::into_status)?;
    Ok(stager.map_or(Method::Apply, |stager| Method::Stage(Box::new(stager))))
}

/// Waits for the permit to write to an open commit, after `conflicts` conflicts of this write.
async fn write_permit(core: &Core, commit: &Commit, method: &Method<'_>, conflicts: u32) -> WritePermit {
    // A write that applies edits never shares the permit: it takes so long that it would conflict with writes that
    // stage edits as long as there are any.
    let exclusive = conflicts >= SHARED_CONFLICTS || matches!(method, Method::Apply);
    core.staging().write_permit(&commit.key, exclusive).await
}

/// Returns an open commit as it is now; `None` if the target is something else by now.
///
/// # Errors
/// When nothing can be written to the target any more.
fn still_open(core: &Core, target: &WriteTarget, commit: &Commit) -> Result<Option<Arc<Commit>>, Status> {
    match target.base(&core.state())? {
        WriteBase::OpenCommit(now) if now.key == commit.key => Ok(Some(now)),
        WriteBase::OpenCommit(_) | WriteBase::NewCommit(_) => Ok(None),
    }
}

/// Changes an open commit. The caller has the write permit.
async fn change_commit(
    core: &Core,
    commit: &Commit,
    method: &mut Method<'_>,
    edits: &ClosedEdits,
) -> Result<Attempt, Status> {
    match method {
        Method::Stage(stager) => stage(stager, commit).await,
        Method::Apply => apply(core, commit, edits).await,
    }
}

async fn stage(stager: &mut EditStager<'_>, commit: &Commit) -> Result<Attempt, Status> {
    match stager.stage(commit).await.map_err(IntoStatus::into_status)? {
        StagingOutcome::Staged => Ok(Attempt::Written),
        StagingOutcome::CommitChanged => Ok(Attempt::Conflict),
        StagingOutcome::MustApply => Ok(Attempt::MustApply),
    }
}

async fn apply(core: &Core, commit: &Commit, edits: &ClosedEdits) -> Result<Attempt, Status> {
    // Staged edits come first, because they were written first. The command below is refused as long as there are any.
    let folded = core.staging().fold(&commit.key).await;
    let base = folded.map_err(IntoStatus::into_status)?.unwrap_or(commit.content);
    let content = edits.apply(core.store(), &base).await;
    let command = Command::SetContent {
        commit: commit.key.clone(),
        expected: base,
        content: content.map_err(IntoStatus::into_status)?,
    };
    submit(core, command).await
}

/// Submits a command that names what it was made from.
async fn submit(core: &Core, command: Command) -> Result<Attempt, Status> {
    match core.submit(command).await {
        Ok(_) => Ok(Attempt::Written),
        Err(SubmitError::Rejected(rejection)) if rejection.kind() == RejectionKind::Conflict => Ok(Attempt::Conflict),
        Err(error) => Err(error.into_status()),
    }
}
