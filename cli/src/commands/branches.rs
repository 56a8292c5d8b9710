//! Commands on branches.

use howdah_api::pfs_v2;

use crate::args::history::{CreateBranch, DeleteBranch, InspectBranch, ListBranch};
use crate::context::Ctx;
use crate::error::{CliError, CliResult};
use crate::output::age::{self, Clock};
use crate::output::fields::Fields;
use crate::output::list::MessageList;
use crate::output::raw::Raw;
use crate::{refs, wire};

const HEADER: &[&str] = &["BRANCH", "HEAD", "TRIGGER", "CREATOR", "CREATED"];

/// `create branch`.
pub(super) async fn create(ctx: &Ctx, arguments: &CreateBranch) -> CliResult {
    let project = ctx.project(&arguments.project)?;
    let branch = refs::branch(&arguments.branch)?;
    let trigger = trigger_of(arguments)?;
    if trigger.is_some() && !arguments.provenance.is_empty() {
        return Err(CliError::refused(
            "a branch cannot have both provenance (-p) and a trigger (-t)",
        ));
    }
    let head = match &arguments.head {
        Some(head) => Some(wire::commit_in(&project, &branch.repo, head)?),
        None => None,
    };
    let mut provenance = Vec::new();
    for source in &arguments.provenance {
        provenance.push(wire::branch(&project, &refs::branch(source)?));
    }
    let request = pfs_v2::CreateBranchRequest {
        head,
        branch: Some(wire::branch(&project, &branch)),
        provenance,
        trigger,
        ..Default::default()
    };
    ctx.client().await?.pfs().create_branch(request).await?;
    ctx.note_added()
}

fn trigger_of(arguments: &CreateBranch) -> Result<Option<pfs_v2::Trigger>, CliError> {
    let conditions = arguments.trigger_size.is_some()
        || arguments.trigger_commits.is_some()
        || arguments.trigger_cron.is_some()
        || arguments.trigger_all;
    match &arguments.trigger {
        None if conditions => Err(CliError::refused(
            "trigger conditions need --trigger (-t), the branch that triggers",
        )),
        None => Ok(None),
        Some(branch) => Ok(Some(pfs_v2::Trigger {
            branch: branch.clone(),
            all: arguments.trigger_all,
            size: arguments.trigger_size.clone().unwrap_or_default(),
            commits: arguments.trigger_commits.unwrap_or_default(),
            cron_spec: arguments.trigger_cron.clone().unwrap_or_default(),
            ..Default::default()
        })),
    }
}

/// `inspect branch`.
pub(super) async fn inspect(ctx: &Ctx, arguments: &InspectBranch) -> CliResult {
    let encoding = arguments.view.raw.encoding()?;
    let project = ctx.project(&arguments.project)?;
    let branch = wire::branch(&project, &refs::branch(&arguments.branch)?);
    let request = pfs_v2::InspectBranchRequest { branch: Some(branch) };
    let info = ctx.client().await?.pfs().inspect_branch(request).await?.into_inner();
    if let Some(encoding) = encoding {
        let mut out = ctx.printer.list(false);
        Raw::new(encoding).message(&mut out, &info)?;
        return Ok(out.close()?);
    }
    let clock = Clock::now(arguments.view.full_timestamps);
    let mut fields = Fields::new();
    fields.line("Name", info.branch.as_ref().map_or(String::new(), wire::branch_name));
    fields.maybe(
        "Head Commit",
        info.head.as_ref().map_or(String::new(), wire::commit_name),
    );
    let provenance: Vec<_> = info.provenance.iter().map(wire::branch_name).collect();
    fields.maybe("Provenance", provenance.join(", "));
    fields.maybe("Trigger", info.trigger.as_ref().map_or(String::new(), trigger_text));
    fields.maybe("Created By", &info.created_by);
    if info.created_at.is_some() {
        fields.line("Created At", clock.moment(wire::moment(info.created_at.as_ref())));
    }
    Ok(ctx.printer.text(fields.text())?)
}

/// `list branch`.
pub(super) async fn list(ctx: &Ctx, arguments: &ListBranch) -> CliResult {
    let encoding = arguments.raw.encoding()?;
    let project = ctx.project(&arguments.project)?;
    let repo = wire::repo(&project, &refs::repo(&arguments.repo)?);
    let request = pfs_v2::ListBranchRequest {
        repo: Some(repo),
        reverse: false,
    };
    let mut stream = ctx.client().await?.pfs().list_branch(request).await?.into_inner();
    let clock = Clock::now(arguments.full_timestamps);
    let mut list = MessageList::begin(&ctx.printer, encoding, HEADER, false);
    while let Some(info) = stream.message().await? {
        list.push(&info, |info| row(info, &clock))?;
    }
    list.finish()
}

fn row(info: &pfs_v2::BranchInfo, clock: &Clock) -> Vec<String> {
    let dash = |text: &str| {
        if text.is_empty() {
            age::UNKNOWN.to_owned()
        } else {
            text.to_owned()
        }
    };
    vec![
        info.branch.as_ref().map_or(String::new(), |branch| branch.name.clone()),
        dash(info.head.as_ref().map_or("", |head| &head.id)),
        dash(&info.trigger.as_ref().map_or(String::new(), trigger_text)),
        dash(&info.created_by),
        clock.moment(wire::moment(info.created_at.as_ref())),
    ]
}

/// Returns a trigger in words: `master on Size(100M) or Commits(10)`.
fn trigger_text(trigger: &pfs_v2::Trigger) -> String {
    let mut conditions = Vec::new();
    if !trigger.size.is_empty() {
        conditions.push(format!("Size({})", trigger.size));
    }
    if trigger.commits != 0 {
        conditions.push(format!("Commits({})", trigger.commits));
    }
    if !trigger.cron_spec.is_empty() {
        conditions.push(format!("Cron({})", trigger.cron_spec));
    }
    if !trigger.rate_limit_spec.is_empty() {
        conditions.push(format!("RateLimit({})", trigger.rate_limit_spec));
    }
    if conditions.is_empty() {
        return trigger.branch.clone();
    }
    format!(
        "{} on {}",
        trigger.branch,
        conditions.join(if trigger.all { " and " } else { " or " })
    )
}

/// `delete branch`.
pub(super) async fn delete(ctx: &Ctx, arguments: &DeleteBranch) -> CliResult {
    let project = ctx.project(&arguments.project)?;
    let branch = wire::branch(&project, &refs::branch(&arguments.branch)?);
    let request = pfs_v2::DeleteBranchRequest {
        branch: Some(branch),
        force: arguments.force,
    };
    ctx.client().await?.pfs().delete_branch(request).await?;
    ctx.note_added()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn triggers_read_as_sentences() {
        let mut trigger = pfs_v2::Trigger {
            branch: "master".to_owned(),
            size: "100M".to_owned(),
            commits: 10,
            ..Default::default()
        };
        assert_eq!(trigger_text(&trigger), "master on Size(100M) or Commits(10)");
        trigger.all = true;
        assert_eq!(trigger_text(&trigger), "master on Size(100M) and Commits(10)");
        let cron = pfs_v2::Trigger {
            branch: "master".to_owned(),
            cron_spec: "@daily".to_owned(),
            ..Default::default()
        };
        assert_eq!(trigger_text(&cron), "master on Cron(@daily)");
    }
}
