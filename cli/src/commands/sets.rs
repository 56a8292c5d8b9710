//! Sets of commits: listing, waiting, removing.

use std::collections::HashSet;

use howdah_api::{convert, pfs_v2};

use super::commits::{self, CommitList};
use super::{Done, trouble, views};
use crate::args::history::{CommitSetId, FlushCommit, ListCommit, OneCommit, WaitCommit};
use crate::args::shared::ProjectArg;
use crate::context::Ctx;
use crate::error::CliError;
use crate::output::age::Clock;
use crate::output::list::List;
use crate::output::progress::Progress;
use crate::{refs, wire};

/// `list commit` without a repo: the sets, or with `-x` their commits.
pub async fn list(ctx: &Ctx, arguments: &ListCommit) -> Done {
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
    let mut list = List::begin(&ctx.printer, encoding, views::COMMIT_SETS, paged);
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
pub async fn wait_commit(ctx: &Ctx, arguments: &WaitCommit) -> Done {
    let mut list = CommitList::begin(ctx, &arguments.view, false, 0)?;
    if refs::is_id(&arguments.commit) {
        for info in wait_set(ctx, &arguments.commit).await? {
            list.push(&info)?;
            trouble::tell_commit_error(ctx, &info);
        }
        return list.finish();
    }
    let project = ctx.project(&arguments.project)?;
    let commit = wire::commit(&project, &refs::commit(&arguments.commit)?);
    let pipeline = trouble::pipeline_of(&commit);
    let finished = commits::inspect_one(ctx, commit, pfs_v2::CommitState::Finished as i32);
    let info = trouble::wait_for(ctx, pipeline, finished).await?;
    list.push(&info)?;
    trouble::tell_commit_error(ctx, &info);
    list.finish()
}

/// Asks for the commits of a set; with `wait` each comes when it is finished.
pub async fn commit_set(ctx: &Ctx, id: &str, wait: bool) -> Result<tonic::Streaming<pfs_v2::CommitInfo>, CliError> {
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

/// Waits until every commit of a set is finished, showing how far that is.
async fn wait_set(ctx: &Ctx, id: &str) -> Result<Vec<pfs_v2::CommitInfo>, CliError> {
    let mut total = 0;
    let mut stream = commit_set(ctx, id, false).await?;
    while stream.message().await?.is_some() {
        total += 1;
    }
    let mut progress = Progress::steps(ctx.printer.stderr_terminal, total);
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

/// `flush commit` of 1.x: waits for what follows from the commits and prints it.
pub async fn flush_commit(ctx: &Ctx, arguments: &FlushCommit) -> Done {
    let mut list = CommitList::begin(ctx, &arguments.view, false, 0)?;
    let downstream = Downstream::of(ctx, &arguments.commits, &arguments.project).await?;
    // A set is shown with the commits of other sets that it relies on, so one may come several times.
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

/// What follows from commits: all of their own sets, and in later sets what was made from them.
///
/// Later sets matter when a pipeline was made after its input was put, as old tutorials do it.
pub struct Downstream {
    /// The ids of all sets, those of the given commits first.
    pub ids: Vec<String>,
    own: usize,
    names: HashSet<String>,
}

impl Downstream {
    /// Follows the given commits.
    pub async fn of(ctx: &Ctx, texts: &[String], project: &ProjectArg) -> Result<Downstream, CliError> {
        let mut found = Downstream {
            ids: Vec::new(),
            own: 0,
            names: HashSet::new(),
        };
        let mut open = Vec::new();
        for text in texts {
            let id = commits::set_id(ctx, text, project).await?;
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
            open.extend(commits::inspect_one(ctx, commit, 0).await?.direct_subvenance);
        }
        Ok(found)
    }

    /// Returns whether a commit, or the job that makes it, belongs to what follows.
    pub fn holds(&self, id: &str, name: &str) -> bool {
        self.ids[..self.own].iter().any(|own| own == id) || self.names.contains(name)
    }
}

/// Returns the commits of a set in user repos, without those of other sets that it relies on.
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

/// `delete commit`: drops a set, named by its id or by one of its commits.
pub async fn delete(ctx: &Ctx, arguments: &CommitSetId) -> Done {
    let id = commits::set_id(ctx, &arguments.id, &ProjectArg::default()).await?;
    let request = pfs_v2::DropCommitSetRequest {
        commit_set: Some(pfs_v2::CommitSet { id }),
    };
    ctx.client().await?.pfs().drop_commit_set(request).await?;
    Ok(())
}

/// `squash commit`.
pub async fn squash(ctx: &Ctx, arguments: &CommitSetId) -> Done {
    let id = commits::set_id(ctx, &arguments.id, &ProjectArg::default()).await?;
    let request = pfs_v2::SquashCommitSetRequest {
        commit_set: Some(pfs_v2::CommitSet { id }),
    };
    ctx.client().await?.pfs().squash_commit_set(request).await?;
    ctx.say_added()
}

/// `delete commitV2`.
pub async fn delete_one(ctx: &Ctx, arguments: &OneCommit) -> Done {
    let project = ctx.project(&arguments.project)?;
    let request = pfs_v2::DropCommitRequest {
        commit: Some(wire::commit(&project, &refs::commit(&arguments.commit)?)),
        recursive: arguments.recursive,
    };
    ctx.client().await?.pfs().drop_commit(request).await?;
    Ok(())
}

/// `squash commitV2`.
pub async fn squash_one(ctx: &Ctx, arguments: &OneCommit) -> Done {
    let project = ctx.project(&arguments.project)?;
    let request = pfs_v2::SquashCommitRequest {
        commit: Some(wire::commit(&project, &refs::commit(&arguments.commit)?)),
        recursive: arguments.recursive,
    };
    ctx.client().await?.pfs().squash_commit(request).await?;
    Ok(())
}
