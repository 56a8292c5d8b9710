//! Looking commits up and printing lists of them, for the commands on commits, on sets of commits and on files.

use howdah_api::pfs_v2;

use super::views;
use crate::args::shared::{ProjectArg, ViewArgs};
use crate::context::Ctx;
use crate::error::{CliError, CliResult};
use crate::output::age::Clock;
use crate::output::list::MessageList;
use crate::{refs, wire};

/// Returns a commit once it has reached the state `wait`; 0 returns it at once.
pub(super) async fn inspect_one(ctx: &Ctx, commit: pfs_v2::Commit, wait: i32) -> Result<pfs_v2::CommitInfo, CliError> {
    let request = pfs_v2::InspectCommitRequest {
        commit: Some(commit),
        wait,
    };
    Ok(ctx.client().await?.pfs().inspect_commit(request).await?.into_inner())
}

/// Returns the id of the set that an argument names: by this id, or by one of the commits.
pub(super) async fn set_id(ctx: &Ctx, text: &str, project: &ProjectArg) -> Result<String, CliError> {
    if refs::is_id(text) {
        return Ok(text.to_owned());
    }
    let project = ctx.project(project)?;
    let info = inspect_one(ctx, wire::commit(&project, &refs::commit(text)?), 0).await?;
    Ok(info.commit.map(|commit| commit.id).unwrap_or_default())
}

/// Returns the commits of a set as a stream. With `wait` the stream yields each commit when it is finished.
pub(super) async fn commit_set(
    ctx: &Ctx,
    id: &str,
    wait: bool,
) -> Result<tonic::Streaming<pfs_v2::CommitInfo>, CliError> {
    let request = pfs_v2::InspectCommitSetRequest {
        commit_set: Some(pfs_v2::CommitSet { id: id.to_owned() }),
        wait,
    };
    Ok(ctx
        .client()
        .await?
        .pfs()
        .inspect_commit_set(request)
        .await?
        .into_inner())
}

/// A printed list of commits with a limit on their number.
pub(super) struct CommitList {
    list: MessageList,
    clock: Clock,
    /// Commits that may still be added; none means no limit.
    left: Option<u64>,
}

impl CommitList {
    /// Begins a list of at most `number` commits; 0 means no limit.
    pub(super) fn begin(ctx: &Ctx, view: &ViewArgs, paged: bool, number: u64) -> Result<CommitList, CliError> {
        Ok(CommitList {
            list: MessageList::begin(&ctx.printer, view.raw.encoding()?, views::COMMITS, paged),
            clock: Clock::now(view.full_timestamps),
            left: (number > 0).then_some(number),
        })
    }

    /// Adds a commit; returns whether there is room for more.
    pub(super) fn push(&mut self, info: &pfs_v2::CommitInfo) -> Result<bool, CliError> {
        if self.left == Some(0) {
            return Ok(false);
        }
        let clock = self.clock;
        self.list.push(info, |info| views::commit_row(info, &clock))?;
        if let Some(left) = &mut self.left {
            *left -= 1;
        }
        Ok(self.left != Some(0))
    }

    /// Shows what has been added so far.
    pub(super) fn flush(&mut self) -> CliResult {
        self.list.flush()
    }

    /// Ends the list.
    pub(super) fn finish(self) -> CliResult {
        self.list.finish()
    }
}
