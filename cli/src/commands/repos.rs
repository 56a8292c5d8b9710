//! Commands on repos.

use howdah_api::{convert, pfs_v2};

use crate::args::repos::{DeleteRepo, InspectRepo, ListRepo, WriteRepo};
use crate::context::Ctx;
use crate::error::{CliError, CliResult};
use crate::output::age::Clock;
use crate::output::fields::Fields;
use crate::output::list::MessageList;
use crate::output::raw::Raw;
use crate::output::size;
use crate::{refs, wire};

const HEADER: &[&str] = &["PROJECT", "NAME", "CREATED", "SIZE (MASTER)", "DESCRIPTION"];
const HEADER_WITH_ACCESS: &[&str] = &[
    "PROJECT",
    "NAME",
    "CREATED",
    "SIZE (MASTER)",
    "ACCESS_LEVEL",
    "DESCRIPTION",
];

/// `create repo`, `update repo`.
pub(super) async fn write(ctx: &Ctx, arguments: &WriteRepo, update: bool) -> CliResult {
    let project = ctx.project(&arguments.project)?;
    let request = pfs_v2::CreateRepoRequest {
        repo: Some(wire::repo(&project, &refs::repo(&arguments.repo)?)),
        description: arguments.description.clone().unwrap_or_default(),
        update,
    };
    ctx.client().await?.pfs().create_repo(request).await?;
    ctx.note_added()
}

/// `inspect repo`.
pub(super) async fn inspect(ctx: &Ctx, arguments: &InspectRepo) -> CliResult {
    let encoding = arguments.view.raw.encoding()?;
    let project = ctx.project(&arguments.project)?;
    let request = pfs_v2::InspectRepoRequest {
        repo: Some(wire::repo(&project, &refs::repo(&arguments.repo)?)),
    };
    let info = ctx.client().await?.pfs().inspect_repo(request).await?.into_inner();
    if let Some(encoding) = encoding {
        let mut out = ctx.printer.list(false);
        Raw::new(encoding).message(&mut out, &info)?;
        return Ok(out.close()?);
    }
    Ok(ctx
        .printer
        .text(describe(&info, &Clock::now(arguments.view.full_timestamps)))?)
}

fn describe(info: &pfs_v2::RepoInfo, clock: &Clock) -> String {
    let mut fields = Fields::new();
    fields
        .line("Name", wire::repo_name(info.repo.as_ref()))
        .maybe("Description", &info.description)
        .line("Created", clock.moment(wire::moment(info.created.as_ref())));
    let bytes = info
        .details
        .as_ref()
        .map_or(info.size_bytes_upper_bound, |details| details.size_bytes);
    fields.line("Size of HEAD on master", size::wire_size(bytes));
    if let Some(auth) = &info.auth_info {
        fields.line("Access level", auth.roles.join(", "));
    }
    fields.text().to_owned()
}

/// `list repo`.
pub(super) async fn list(ctx: &Ctx, arguments: &ListRepo) -> CliResult {
    let encoding = arguments.view.raw.encoding()?;
    let project = ctx.project(&arguments.project)?;
    let projects = if arguments.all_projects {
        Vec::new()
    } else {
        vec![convert::project(&project)]
    };
    let kind = if arguments.all {
        String::new()
    } else {
        arguments.kind.clone()
    };
    let request = pfs_v2::ListRepoRequest {
        r#type: kind,
        projects,
        ..Default::default()
    };
    let client = ctx.client().await?;
    let mut stream = client.pfs().list_repo(request).await?.into_inner();
    let mut infos = Vec::new();
    while let Some(info) = stream.message().await? {
        if arguments.provenance.is_empty() || made_from(ctx, &info, &arguments.provenance).await? {
            infos.push(info);
        }
    }
    let access = infos.iter().any(|info| info.auth_info.is_some());
    let header = if access { HEADER_WITH_ACCESS } else { HEADER };
    let clock = Clock::now(arguments.view.full_timestamps);
    let mut list = MessageList::begin(&ctx.printer, encoding, header, false);
    for info in &infos {
        list.push(info, |info| row(info, access, &clock))?;
    }
    list.finish()
}

/// Returns whether all named repos are in the provenance of the repo's branches.
async fn made_from(ctx: &Ctx, info: &pfs_v2::RepoInfo, names: &[String]) -> Result<bool, CliError> {
    let client = ctx.client().await?;
    let mut sources = Vec::new();
    for branch in &info.branches {
        let request = pfs_v2::InspectBranchRequest {
            branch: Some(branch.clone()),
        };
        let branch = client.pfs().inspect_branch(request).await?.into_inner();
        sources.extend(
            branch
                .provenance
                .iter()
                .map(|source| wire::repo_name(source.repo.as_ref())),
        );
    }
    Ok(names.iter().all(|name| sources.contains(name)))
}

fn row(info: &pfs_v2::RepoInfo, access: bool, clock: &Clock) -> Vec<String> {
    let mut cells = vec![
        wire::repo_project(info.repo.as_ref()),
        wire::repo_name(info.repo.as_ref()),
        clock.moment(wire::moment(info.created.as_ref())),
        match &info.details {
            Some(details) => size::wire_size(details.size_bytes),
            None => size::upper_bound(info.size_bytes_upper_bound),
        },
    ];
    if access {
        cells.push(
            info.auth_info
                .as_ref()
                .map_or(String::new(), |auth| auth.roles.join(", ")),
        );
    }
    cells.push(info.description.clone());
    cells
}

/// `delete repo`.
pub(super) async fn delete(ctx: &Ctx, arguments: &DeleteRepo) -> CliResult {
    let project = ctx.project(&arguments.project)?;
    let client = ctx.client().await?;
    match (&arguments.repo, arguments.all) {
        (Some(_), true) => Err(CliError::refused("cannot use a repo's name together with --all")),
        (None, false) => Err(CliError::refused("either a repo's name or --all is needed")),
        (Some(name), false) => {
            let repo = wire::repo(&project, &refs::repo(name)?);
            let request = pfs_v2::DeleteRepoRequest {
                repo: Some(repo),
                force: arguments.force,
            };
            let response = client.pfs().delete_repo(request).await?.into_inner();
            if !response.deleted {
                return Err(CliError::refused(format!("repo {project}/{name} not found")));
            }
            if ctx.transaction()?.is_some() {
                return ctx.note_added();
            }
            ctx.printer.note("Repo deleted.");
            Ok(())
        }
        (None, true) => {
            let projects = if arguments.all_projects {
                Vec::new()
            } else {
                vec![convert::project(project)]
            };
            let request = pfs_v2::DeleteReposRequest {
                projects,
                force: arguments.force,
                all: arguments.all_projects,
            };
            let response = client.pfs().delete_repos(request).await?.into_inner();
            ctx.printer.note(match response.repos.len() {
                1 => "Repo deleted.".to_owned(),
                count => format!("{count} repos deleted."),
            });
            Ok(())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn info(name: &str, bytes: i64) -> pfs_v2::RepoInfo {
        pfs_v2::RepoInfo {
            repo: Some(convert::repo("default", name)),
            created: Some(convert::to_timestamp("2026-11-24T04:00:00Z".parse().expect("a time"))),
            size_bytes_upper_bound: bytes,
            description: "pictures".to_owned(),
            ..Default::default()
        }
    }

    #[test]
    fn repos_are_listed_and_described() {
        let clock = Clock {
            now: "2026-11-24T06:00:00Z".parse().expect("a time"),
            full: false,
        };
        let rows = vec![
            row(&info("images", 58_644), false, &clock),
            row(&info("x", 0), false, &clock),
        ];
        insta::assert_snapshot!(crate::output::table::render(HEADER, rows), @r"
        PROJECT NAME   CREATED     SIZE (MASTER) DESCRIPTION
        default images 2 hours ago ≤ 57.27KiB    pictures
        default x      2 hours ago ≤ 0B          pictures
        ");
        insta::assert_snapshot!(describe(&info("images", 58_644), &clock), @r"
        Name: images
        Description: pictures
        Created: 2 hours ago
        Size of HEAD on master: 57.27KiB
        ");
    }
}
