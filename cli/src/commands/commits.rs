//! Commands on single commits and lists of commits.

use std::time::Duration;

use howdah_api::{convert, pfs_v2};

use super::commit_lookup::{CommitList, commit_set, inspect_one};
use super::{sets, views};
use crate::args::history::{
    FindCommit, FinishCommit, InspectCommit, ListCommit, OriginFilter, StartCommit, SubscribeCommit,
};
use crate::args::shared::Encoding;
use crate::context::Ctx;
use crate::error::{CliError, CliResult};
use crate::output::age::Clock;
use crate::output::fields::Fields;
use crate::output::raw::Raw;
use crate::{refs, wire};

/// `start commit`: prints the id.
pub(super) async fn start(ctx: &Ctx, arguments: &StartCommit) -> CliResult {
    let project = ctx.project(&arguments.project)?;
    let (repo, name) = match arguments.branch.split_once('@') {
        Some(_) => {
            let branch = refs::branch(&arguments.branch)?;
            (branch.repo, branch.name)
        }
        None => (refs::repo(&arguments.branch)?, String::new()),
    };
    let parent = match &arguments.parent {
        Some(parent) => Some(wire::commit_in(&project, &repo, parent)?),
        None => None,
    };
    let request = pfs_v2::StartCommitRequest {
        parent,
        description: arguments.message.clone().unwrap_or_default(),
        branch: Some(convert::branch_of(wire::repo(&project, &repo), name)),
    };
    let commit = ctx.client().await?.pfs().start_commit(request).await?.into_inner();
    ctx.printer.line(&commit.id)?;
    ctx.note_added()
}

/// `finish commit`.
pub(super) async fn finish(ctx: &Ctx, arguments: &FinishCommit) -> CliResult {
    let project = ctx.project(&arguments.project)?;
    let request = pfs_v2::FinishCommitRequest {
        commit: Some(wire::commit(&project, &refs::commit(&arguments.commit)?)),
        description: arguments.message.clone().unwrap_or_default(),
        error: String::new(),
        force: arguments.force,
    };
    ctx.client().await?.pfs().finish_commit(request).await?;
    ctx.note_added()
}

/// `inspect commit`.
pub(super) async fn inspect(ctx: &Ctx, arguments: &InspectCommit) -> CliResult {
    let encoding = arguments.view.raw.encoding()?;
    if refs::is_id(&arguments.commit) {
        return Err(CliError::hinted(
            format!("{} is the id of a set of commits, not of one commit", arguments.commit),
            format!(
                "`{} list commit {}` lists the commits of the set",
                ctx.program, arguments.commit
            ),
        ));
    }
    let project = ctx.project(&arguments.project)?;
    let info = inspect_one(ctx, wire::commit(&project, &refs::commit(&arguments.commit)?), 0).await?;
    if let Some(encoding) = encoding {
        let mut out = ctx.printer.list(false);
        Raw::new(encoding).message(&mut out, &info)?;
        return Ok(out.close()?);
    }
    Ok(ctx
        .printer
        .text(describe(&info, &Clock::now(arguments.view.full_timestamps)))?)
}

fn describe(info: &pfs_v2::CommitInfo, clock: &Clock) -> String {
    let mut fields = Fields::new();
    fields
        .line("Commit", info.commit.as_ref().map_or(String::new(), wire::commit_name))
        .maybe("Description", &info.description)
        .maybe(
            "Parent",
            info.parent_commit
                .as_ref()
                .map_or(String::new(), |parent| parent.id.clone()),
        )
        .line("Started", clock.moment(wire::moment(info.started.as_ref())));
    if info.finished.is_some() {
        fields.line("Finished", clock.moment(wire::moment(info.finished.as_ref())));
    }
    fields
        .line("Size", views::commit_size(info))
        .maybe("Error", &info.error);
    fields.text().to_owned()
}

/// `list commit`: of everything, of a set, of a repo or of a branch.
pub(super) async fn list(ctx: &Ctx, arguments: &ListCommit) -> CliResult {
    if arguments.all && arguments.origin.is_some() {
        return Err(CliError::refused("cannot use --all and --origin together"));
    }
    match &arguments.target {
        Some(id) if refs::is_id(id) => {
            only_with_repo(arguments)?;
            list_set(ctx, arguments, id).await
        }
        Some(target) => list_repo(ctx, arguments, target).await,
        None => {
            only_with_repo(arguments)?;
            sets::list(ctx, arguments).await
        }
    }
}

fn only_with_repo(arguments: &ListCommit) -> CliResult {
    if arguments.from.is_some() || arguments.origin.is_some() {
        return Err(CliError::refused("--from and --origin need a repo (list commit REPO)"));
    }
    Ok(())
}

async fn list_set(ctx: &Ctx, arguments: &ListCommit, id: &str) -> CliResult {
    let mut list = CommitList::begin(ctx, &arguments.view, !arguments.pager.no_pager, arguments.number)?;
    let mut stream = commit_set(ctx, id, false).await?;
    while let Some(info) = stream.message().await? {
        if !list.push(&info)? {
            break;
        }
    }
    list.finish()
}

async fn list_repo(ctx: &Ctx, arguments: &ListCommit, target: &str) -> CliResult {
    let project = ctx.project(&arguments.project)?;
    let (repo, to) = refs::repo_or_commit(target)?;
    let from = match &arguments.from {
        Some(from) => Some(wire::commit_in(&project, &repo, from)?),
        None => None,
    };
    // The server lists back from `to`, so `from` alone needs an end: the head of master.
    let to = match (to, &from) {
        (Some(to), _) => Some(wire::commit(&project, &to)),
        (None, Some(_)) => Some(convert::head(wire::repo(&project, &repo), "master")),
        (None, None) => None,
    };
    let request = pfs_v2::ListCommitRequest {
        repo: Some(wire::repo(&project, &repo)),
        from,
        to,
        number: i64::try_from(arguments.number).unwrap_or(i64::MAX),
        all: arguments.all,
        origin_kind: origin_kind(arguments.origin),
        ..Default::default()
    };
    let mut list = CommitList::begin(ctx, &arguments.view, !arguments.pager.no_pager, arguments.number)?;
    let mut stream = ctx.client().await?.pfs().list_commit(request).await?.into_inner();
    while let Some(info) = stream.message().await? {
        if !list.push(&info)? {
            break;
        }
    }
    list.finish()
}

fn origin_kind(origin: Option<OriginFilter>) -> i32 {
    match origin {
        None => pfs_v2::OriginKind::Unknown as i32,
        Some(OriginFilter::User) => pfs_v2::OriginKind::User as i32,
        Some(OriginFilter::Auto) => pfs_v2::OriginKind::Auto as i32,
        Some(OriginFilter::Fsck) => pfs_v2::OriginKind::Fsck as i32,
    }
}

/// `subscribe commit`: prints commits as they finish, until interrupted.
pub(super) async fn subscribe(ctx: &Ctx, arguments: &SubscribeCommit) -> CliResult {
    if arguments.new && arguments.from.is_some() {
        return Err(CliError::refused("cannot use --new and --from together"));
    }
    if arguments.all && arguments.origin.is_some() {
        return Err(CliError::refused("cannot use --all and --origin together"));
    }
    let project = ctx.project(&arguments.project)?;
    let (repo, commit) = refs::repo_or_commit(&arguments.branch)?;
    let branch = commit.and_then(|commit| commit.branch).unwrap_or_default();
    let from = match (&arguments.from, arguments.new) {
        (Some(from), _) => Some(wire::commit_in(&project, &repo, from)?),
        (None, true) => {
            let head = if branch.is_empty() { "master" } else { &branch };
            Some(convert::head(wire::repo(&project, &repo), head))
        }
        (None, false) => None,
    };
    let request = pfs_v2::SubscribeCommitRequest {
        repo: Some(wire::repo(&project, &repo)),
        branch,
        from,
        state: pfs_v2::CommitState::Finished as i32,
        all: arguments.all,
        origin_kind: origin_kind(arguments.origin),
    };
    let mut list = CommitList::begin(ctx, &arguments.view, false, 0)?;
    let mut stream = ctx.client().await?.pfs().subscribe_commit(request).await?.into_inner();
    while let Some(info) = stream.message().await? {
        list.push(&info)?;
        list.flush()?;
    }
    list.finish()
}

/// `find commit`.
pub(super) async fn find(ctx: &Ctx, arguments: &FindCommit) -> CliResult {
    let project = ctx.project(&arguments.project)?;
    let file = refs::file(&arguments.file)?;
    let path = file.path.clone().filter(|path| !path.is_empty()).ok_or_else(|| {
        CliError::refused(format!(
            "invalid file {:?}: expected the form repo@branch:path",
            arguments.file
        ))
    })?;
    let request = pfs_v2::FindCommitsRequest {
        start: Some(wire::commit(&project, &file.commit)),
        file_path: path,
        limit: arguments.limit,
    };
    let search = find_all(ctx, request, arguments.json);
    match arguments.timeout {
        None => search.await,
        Some(limit) => match tokio::time::timeout(limit, search).await {
            Ok(result) => result,
            Err(_) => Err(CliError::refused(format!(
                "the search took longer than {}",
                plain(limit)
            ))),
        },
    }
}

fn plain(duration: Duration) -> String {
    format!("{} s", duration.as_secs_f64())
}

async fn find_all(ctx: &Ctx, request: pfs_v2::FindCommitsRequest, json: bool) -> CliResult {
    use pfs_v2::find_commits_response::Result as Found;
    let mut stream = ctx.client().await?.pfs().find_commits(request).await?.into_inner();
    let mut raw = Raw::new(Encoding::Json);
    if !json {
        ctx.printer.line("FOUND IN COMMITS")?;
    }
    while let Some(response) = stream.message().await? {
        if json {
            let mut out = ctx.printer.list(false);
            raw.message(&mut out, &response)?;
            out.close()?;
            continue;
        }
        match response.result {
            Some(Found::FoundCommit(commit)) => ctx.printer.line(&commit.id)?,
            Some(Found::LastSearchedCommit(commit)) => {
                ctx.printer.line("")?;
                ctx.printer.line("LAST SEARCHED COMMIT")?;
                ctx.printer.line(&commit.id)?;
            }
            None => {}
        }
    }
    Ok(())
}
