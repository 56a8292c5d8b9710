//! Commands on sets of commits: listing, waiting, removing.

use std::collections::HashSet;

use howdah_api::{convert, pfs_v2};

use super::commit_lookup::{CommitList, commit_set, inspect_one, set_id};
use super::{trouble, views};
use crate::args::history::{CommitSetId, FlushCommit, ListCommit, OneCommit, WaitCommit};
use crate::args::shared::ProjectArg;
use crate::context::Ctx;
use crate::error::{CliError, CliResult};
use crate::output::age::Clock;
use crate::output::list::MessageList;
use crate::output::progress::ProgressDisplay;
use crate::{refs, wire};

/// `list commit` without a repo: the sets, or with `-x` their commits.
pub(super) async fn list(ctx: &Ctx, arguments: &ListCommit) -> CliResult {
    let project = ctx.project(&arguments.project)?;
    let request = pfs_v2::ListCommitSetRequest {
        project: Some(convert::project(project)),
    };
    let mut stream = ctx.client().await?.pfs().list_commit_set(request).await?.into_inner();
    let paged = !arguments.pager.no_pager;
    if arguments.expand {
        let mut list = CommitList::begin(ctx, &arguments.view, paged, arguments.number)?;
        'sets: while let Some(set) = stream.message().await? {
            for info in &set.commits {
                if !list.push(info)? {
                    break 'sets;
                }
            }
        }
        return list.finish();
    }
    let encoding = arguments.view.raw.encoding()?;
    let clock = Clock::now(arguments.view.full_timestamps);
    let mut list = MessageList::begin(&ctx.printer, encoding, views::COMMIT_SETS, paged);
    let mut count = 0;
    while let Some(set) = stream.message().await? {
        list.push(&set, |set| views::commit_set_row(set, &clock, &ctx.printer))?;
        count += 1;
        if arguments.number > 0 && count == arguments.number {
            break;
        }
    }
    list.finish()
}

/// `wait commit`: blocks until finished, then prints as a list.
pub(super) async fn wait_commit(ctx: &Ctx, arguments: &WaitCommit) -> CliResult {
    let mut list = CommitList::begin(ctx, &arguments.view, false, 0)?;
    if refs::is_id(&arguments.commit) {
        for info in wait_set(ctx, &arguments.commit).await? {
            list.push(&info)?;
            trouble::note_commit_error(ctx, &info);
        }
        return list.finish();
    }
    let project = ctx.project(&arguments.project)?;
    let commit = wire::commit(&project, &refs::commit(&arguments.commit)?);
    let pipeline = trouble::pipeline_of(&commit);
    let finished = inspect_one(ctx, commit, pfs_v2::CommitState::Finished as i32);
    let info = trouble::wait_for(ctx, pipeline, finished).await?;
    list.push(&info)?;
    trouble::note_commit_error(ctx, &info);
    list.finish()
}

/// Waits until every commit of a set is finished and shows how many are.
async fn wait_set(ctx: &Ctx, id: &str) -> Result<Vec<pfs_v2::CommitInfo>, CliError> {
    let mut total = 0;
    let mut stream = commit_set(ctx, id, false).await?;
    while stream.message().await?.is_some() {
        total += 1;
    }
    let mut progress = ProgressDisplay::steps(ctx.printer.stderr_terminal, total);
    progress.describe("waiting for commits");
    let mut infos = Vec::new();
    let mut stream = commit_set(ctx, id, true).await?;
    while let Some(info) = stream.message().await? {
        infos.push(info);
        progress.set(infos.len() as u64, total.max(infos.len() as u64));
    }
    progress.finish();
    Ok(infos)
}

/// `flush commit` of 1.x: waits for all commits downstream of the given ones and prints them.
pub(super) async fn flush_commit(ctx: &Ctx, arguments: &FlushCommit) -> CliResult {
    let mut list = CommitList::begin(ctx, &arguments.view, false, 0)?;
    let downstream = Downstream::of(ctx, &arguments.commits, &arguments.project).await?;
    // A set is returned with the commits of other sets that it depends on, so a commit may come several times.
    let mut listed = HashSet::new();
    for id in &downstream.ids {
        for info in wait_set(ctx, id).await? {
            let commit = info.commit.clone().unwrap_or_default();
            let Some(repo) = wire::commit_repo(&commit) else {
                continue;
            };
            let wanted = arguments.repos.is_empty() || arguments.repos.contains(&repo.name);
            let name = wire::commit_name(&commit);
            let project = wire::repo_project(Some(repo));
            if wanted && is_user(&commit) && downstream.holds(id, &name) && listed.insert((project, name)) {
                list.push(&info)?;
            }
        }
    }
    list.finish()
}

fn is_user(commit: &pfs_v2::Commit) -> bool {
    wire::commit_repo(commit).is_some_and(|repo| wire::repo_name(Some(repo)) == repo.name)
}

/// The commits downstream of given ones: all of their own sets, and in later sets those that were made from them.
///
/// Later sets occur when a pipeline is created after its input was put, as in old tutorials.
pub(super) struct Downstream {
    /// The ids of all sets, those of the given commits first.
    pub ids: Vec<String>,
    own: usize,
    names: HashSet<String>,
}

impl Downstream {
    /// Follows the given commits.
    pub(super) async fn of(ctx: &Ctx, texts: &[String], project: &ProjectArg) -> Result<Downstream, CliError> {
        let mut found = Downstream {
            ids: Vec::new(),
            own: 0,
            names: HashSet::new(),
        };
        let mut open = Vec::new();
        for text in texts {
            let id = set_id(ctx, text, project).await?;
            if !found.ids.contains(&id) {
                for info in members(ctx, &id).await? {
                    open.extend(info.direct_subvenance);
                }
                found.ids.push(id);
            }
        }
        found.own = found.ids.len();
        while let Some(commit) = open.pop() {
            if !is_user(&commit) || !found.names.insert(wire::commit_name(&commit)) {
                continue;
            }
            if !found.ids.contains(&commit.id) {
                found.ids.push(commit.id.clone());
            }
            open.extend(inspect_one(ctx, commit, 0).await?.direct_subvenance);
        }
        Ok(found)
    }

    /// Returns whether a commit, or the job that makes it, is downstream.
    pub(super) fn holds(&self, id: &str, name: &str) -> bool {
        self.ids[..self.own].iter().any(|own| own == id) || self.names.contains(name)
    }
}

/// Returns the commits of a set in user repos, without those of other sets that it depends on.
async fn members(ctx: &Ctx, id: &str) -> Result<Vec<pfs_v2::CommitInfo>, CliError> {
    let mut stream = commit_set(ctx, id, false).await?;
    let mut infos = Vec::new();
    while let Some(info) = stream.message().await? {
        if info
            .commit
            .as_ref()
            .is_some_and(|commit| commit.id == id && is_user(commit))
        {
            infos.push(info);
        }
    }
    Ok(infos)
}

/// `delete commit`: drops the set with this id or with this commit.
pub(super) async fn delete(ctx: &Ctx, arguments: &CommitSetId) -> CliResult {
    let id = set_id(ctx, &arguments.id, &ProjectArg::default()).await?;
    let request = pfs_v2::DropCommitSetRequest {
        commit_set: Some(pfs_v2::CommitSet { id }),
    };
    ctx.client().await?.pfs().drop_commit_set(request).await?;
    Ok(())
}

/// `squash commit`.
pub(super) async fn squash(ctx: &Ctx, arguments: &CommitSetId) -> CliResult {
    let id = set_id(ctx, &arguments.id, &ProjectArg::default()).await?;
    let request = pfs_v2::SquashCommitSetRequest {
        commit_set: Some(pfs_v2::CommitSet { id }),
    };
    ctx.client().await?.pfs().squash_commit_set(request).await?;
    ctx.note_added()
}

/// `delete commitV2`.
pub(super) async fn delete_one(ctx: &Ctx, arguments: &OneCommit) -> CliResult {
    let project = ctx.project(&arguments.project)?;
    let request = pfs_v2::DropCommitRequest {
        commit: Some(wire::commit(&project, &refs::commit(&arguments.commit)?)),
        recursive: arguments.recursive,
    };
    ctx.client().await?.pfs().drop_commit(request).await?;
    Ok(())
}

/// `squash commitV2`.
pub(super) async fn squash_one(ctx: &Ctx, arguments: &OneCommit) -> CliResult {
    let project = ctx.project(&arguments.project)?;
    let request = pfs_v2::SquashCommitRequest {
        commit: Some(wire::commit(&project, &refs::commit(&arguments.commit)?)),
        recursive: arguments.recursive,
    };
    ctx.client().await?.pfs().squash_commit(request).await?;
    Ok(())
}
