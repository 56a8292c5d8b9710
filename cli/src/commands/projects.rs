//! Commands on projects.

use howdah_api::{convert, pfs_v2, pps_v2};

use crate::args::repos::{DeleteProject, InspectProject, ListProject, WriteProject};
use crate::context::Ctx;
use crate::error::{CliError, CliResult};
use crate::output::age::Clock;
use crate::output::fields::Fields;
use crate::output::list::MessageList;
use crate::output::raw::Raw;
use crate::wire;

const HEADER: &[&str] = &["ACTIVE", "PROJECT", "CREATED", "DESCRIPTION"];

/// `create project`, `update project`.
pub(super) async fn write(ctx: &Ctx, arguments: &WriteProject, update: bool) -> CliResult {
    let request = pfs_v2::CreateProjectRequest {
        project: Some(convert::project(&arguments.project)),
        description: arguments.description.clone().unwrap_or_default(),
        update,
    };
    ctx.client().await?.pfs().create_project(request).await?;
    Ok(())
}

/// `inspect project`.
pub(super) async fn inspect(ctx: &Ctx, arguments: &InspectProject) -> CliResult {
    let encoding = arguments.raw.encoding()?;
    let request = pfs_v2::InspectProjectV2Request {
        project: Some(convert::project(&arguments.project)),
    };
    let response = ctx
        .client()
        .await?
        .pfs()
        .inspect_project_v2(request)
        .await?
        .into_inner();
    let Some(info) = response.info else {
        return Err(CliError::refused(format!(
            "the server returned nothing about project {:?}",
            arguments.project
        )));
    };
    if let Some(encoding) = encoding {
        let mut out = ctx.printer.list(false);
        Raw::new(encoding).message(&mut out, &info)?;
        return Ok(out.close()?);
    }
    let mut fields = Fields::new();
    fields
        .line("Name", convert::project_name(info.project.as_ref()))
        .maybe("Description", &info.description)
        .line(
            "Created at",
            Clock::now(false).moment(wire::moment(info.created_at.as_ref())),
        );
    if let Some(auth) = &info.auth_info {
        fields.line("Roles", auth.roles.join(", "));
    }
    if !response.defaults_json.is_empty() {
        fields.line("Defaults", &response.defaults_json);
    }
    Ok(ctx.printer.text(fields.text())?)
}

/// `list project`.
pub(super) async fn list(ctx: &Ctx, arguments: &ListProject) -> CliResult {
    let encoding = arguments.raw.encoding()?;
    let active = ctx.target()?.project;
    let clock = Clock::now(false);
    let mut stream = ctx
        .client()
        .await?
        .pfs()
        .list_project(pfs_v2::ListProjectRequest {})
        .await?
        .into_inner();
    let mut list = MessageList::begin(&ctx.printer, encoding, HEADER, false);
    while let Some(info) = stream.message().await? {
        list.push(&info, |info| row(info, &active, &clock))?;
    }
    list.finish()
}

fn row(info: &pfs_v2::ProjectInfo, active: &str, clock: &Clock) -> Vec<String> {
    let name = convert::project_name(info.project.as_ref());
    vec![
        if name == active { "*" } else { "" }.to_owned(),
        name.to_owned(),
        clock.moment(wire::moment(info.created_at.as_ref())),
        info.description.clone(),
    ]
}

/// `delete project`: prints its pipelines and repos and asks before each kind is deleted.
pub(super) async fn delete(ctx: &Ctx, arguments: &DeleteProject) -> CliResult {
    let client = ctx.client().await?;
    let project = convert::project(&arguments.project);
    let pipelines = pipelines_of(ctx, vec![project.clone()]).await?;
    if !pipelines.is_empty() {
        ask(ctx, arguments, "pipelines", &pipelines)?;
        let request = pps_v2::DeletePipelinesRequest {
            projects: vec![project.clone()],
            force: arguments.force,
            ..Default::default()
        };
        client.pps().delete_pipelines(request).await?;
    }
    let repos = repos_of(ctx, vec![project.clone()]).await?;
    if !repos.is_empty() {
        ask(ctx, arguments, "repos", &repos)?;
        let request = pfs_v2::DeleteReposRequest {
            projects: vec![project.clone()],
            force: arguments.force,
            ..Default::default()
        };
        client.pfs().delete_repos(request).await?;
    }
    let request = pfs_v2::DeleteProjectRequest {
        project: Some(project),
        force: arguments.force,
    };
    client.pfs().delete_project(request).await?;
    Ok(())
}

fn ask(ctx: &Ctx, arguments: &DeleteProject, kind: &str, names: &[String]) -> CliResult {
    ctx.printer.note(format!(
        "These {kind} of project {} will be deleted: {}",
        arguments.project,
        names.join(", ")
    ));
    if ctx.confirm(arguments.yes.yes)? {
        Ok(())
    } else {
        Err(CliError::refused(format!(
            "project {} was not deleted: it still has {kind}",
            arguments.project
        )))
    }
}

/// Returns the names of pipelines; no projects means all.
pub(super) async fn pipelines_of(ctx: &Ctx, projects: Vec<pfs_v2::Project>) -> Result<Vec<String>, CliError> {
    let everywhere = projects.is_empty();
    let request = pps_v2::ListPipelineRequest {
        projects,
        ..Default::default()
    };
    let mut stream = ctx.client().await?.pps().list_pipeline(request).await?.into_inner();
    let mut names = Vec::new();
    while let Some(info) = stream.message().await? {
        let pipeline = info.pipeline.as_ref();
        names.push(full_name(
            everywhere,
            wire::pipeline_project(pipeline),
            wire::pipeline_name(pipeline),
        ));
    }
    Ok(names)
}

/// Returns the names of user repos; no projects means all.
pub(super) async fn repos_of(ctx: &Ctx, projects: Vec<pfs_v2::Project>) -> Result<Vec<String>, CliError> {
    let everywhere = projects.is_empty();
    let kind = crate::refs::USER_TYPE.to_owned();
    let request = pfs_v2::ListRepoRequest {
        r#type: kind,
        projects,
        ..Default::default()
    };
    let mut stream = ctx.client().await?.pfs().list_repo(request).await?.into_inner();
    let mut names = Vec::new();
    while let Some(info) = stream.message().await? {
        let repo = info.repo.as_ref();
        names.push(full_name(everywhere, &wire::repo_project(repo), &wire::repo_name(repo)));
    }
    Ok(names)
}

fn full_name(everywhere: bool, project: &str, name: &str) -> String {
    if everywhere {
        format!("{project}/{name}")
    } else {
        name.to_owned()
    }
}
