//! Commands on transactions: changes that are applied all together or not at all.

use howdah_api::client::Client;
use howdah_api::transaction_v2::{
    DeleteTransactionRequest, FinishTransactionRequest, InspectTransactionRequest, ListTransactionRequest,
    StartTransactionRequest, Transaction, TransactionInfo, TransactionRequest,
};

use crate::args::admin::{InspectTransaction, ListTransaction, MaybeTransaction, TransactionId};
use crate::context::{Ctx, connect_error};
use crate::error::{CliError, CliResult};
use crate::output::age::Clock;
use crate::output::fields::Fields;
use crate::output::list::MessageList;
use crate::output::raw::Raw;
use crate::wire;

const HEADER: &[&str] = &["TRANSACTION", "STARTED", "OPS"];

/// Stores the active transaction in the context; none clears it.
fn store(ctx: &Ctx, id: Option<&str>) -> CliResult {
    let refused = |error: howdah_api::config::ConfigError| CliError::refused(error.to_string());
    let mut file = ctx.config()?;
    let context = file.context_mut(&ctx.env).map_err(refused)?;
    context.active_transaction = id.unwrap_or_default().to_owned();
    file.save().map_err(refused)
}

/// Returns the given id, else that of the active transaction.
fn chosen(ctx: &Ctx, id: Option<&String>) -> Result<String, CliError> {
    match id {
        Some(id) => Ok(id.clone()),
        None => ctx
            .transaction()?
            .ok_or_else(|| CliError::refused("no active transaction")),
    }
}

/// Returns a client outside of the active transaction, for calls about transactions themselves.
async fn outside(ctx: &Ctx) -> Result<Client, CliError> {
    ctx.client().await?.with_transaction(None).map_err(connect_error)
}

/// `start transaction`.
pub(super) async fn start(ctx: &Ctx) -> CliResult {
    if let Some(id) = ctx.transaction()? {
        return Err(CliError::hinted(
            format!("cannot start a new transaction: {id} is active"),
            format!(
                "`{0} finish transaction` completes it, `{0} stop transaction` keeps it on the server for later",
                ctx.program
            ),
        ));
    }
    let transaction = outside(ctx)
        .await?
        .transactions()
        .start_transaction(StartTransactionRequest {})
        .await?;
    let id = transaction.into_inner().id;
    store(ctx, Some(&id))?;
    Ok(ctx.printer.line(format!("started new transaction: {id:?}"))?)
}

/// `stop transaction`: it stays on the server.
pub(super) fn stop(ctx: &Ctx) -> CliResult {
    let id = chosen(ctx, None)?;
    store(ctx, None)?;
    Ok(ctx.printer.line(format!("Cleared active transaction: {id}"))?)
}

async fn fetch(ctx: &Ctx, id: &str) -> Result<TransactionInfo, CliError> {
    let request = InspectTransactionRequest {
        transaction: Some(Transaction { id: id.to_owned() }),
    };
    Ok(outside(ctx)
        .await?
        .transactions()
        .inspect_transaction(request)
        .await?
        .into_inner())
}

/// `resume transaction`.
pub(super) async fn resume(ctx: &Ctx, arguments: &TransactionId) -> CliResult {
    if let Some(id) = ctx.transaction()?.filter(|id| *id != arguments.id) {
        return Err(CliError::refused(format!(
            "cannot resume {}: transaction {id} is active",
            arguments.id
        )));
    }
    let info = fetch(ctx, &arguments.id).await?;
    store(ctx, Some(&arguments.id))?;
    let count = info.requests.len();
    Ok(ctx.printer.line(format!(
        "Resuming existing transaction with {count} requests: {}",
        arguments.id
    ))?)
}

/// `finish transaction`.
pub(super) async fn finish(ctx: &Ctx, arguments: &MaybeTransaction) -> CliResult {
    let id = chosen(ctx, arguments.id.as_ref())?;
    let request = FinishTransactionRequest {
        transaction: Some(Transaction { id: id.clone() }),
    };
    let response = outside(ctx).await?.transactions().finish_transaction(request).await?;
    ctx.warn(&response);
    clear_if_active(ctx, &id)?;
    let count = response.into_inner().requests.len();
    Ok(ctx
        .printer
        .line(format!("Completed transaction with {count} requests: {id}"))?)
}

fn clear_if_active(ctx: &Ctx, id: &str) -> CliResult {
    if ctx.transaction()?.as_deref() == Some(id) {
        store(ctx, None)
    } else {
        Ok(())
    }
}

/// `delete transaction`.
pub(super) async fn delete(ctx: &Ctx, arguments: &MaybeTransaction) -> CliResult {
    let id = chosen(ctx, arguments.id.as_ref())?;
    let request = DeleteTransactionRequest {
        transaction: Some(Transaction { id: id.clone() }),
    };
    outside(ctx).await?.transactions().delete_transaction(request).await?;
    clear_if_active(ctx, &id)
}

/// `inspect transaction`.
pub(super) async fn inspect(ctx: &Ctx, arguments: &InspectTransaction) -> CliResult {
    let encoding = arguments.raw.encoding()?;
    let info = fetch(ctx, &chosen(ctx, arguments.id.as_ref())?).await?;
    if let Some(encoding) = encoding {
        let mut out = ctx.printer.list(false);
        Raw::new(encoding).message(&mut out, &info)?;
        return Ok(out.close()?);
    }
    let mut fields = Fields::new();
    fields
        .line(
            "ID",
            info.transaction.as_ref().map_or("", |transaction| &transaction.id),
        )
        .line("Started", Clock::now(false).moment(wire::moment(info.started.as_ref())));
    let requests: String = info
        .requests
        .iter()
        .map(|request| format!("  {}\n", command_of(request)))
        .collect();
    fields.block("Requests", requests);
    Ok(ctx.printer.text(fields.text())?)
}

/// Returns a request of a transaction as the command that makes it.
fn command_of(request: &TransactionRequest) -> String {
    let branch = |branch: Option<&howdah_api::pfs_v2::Branch>| branch.map_or(String::new(), wire::branch_name);
    let commit = |commit: Option<&howdah_api::pfs_v2::Commit>| commit.map_or(String::new(), wire::commit_name);
    if let Some(request) = &request.create_repo {
        let verb = if request.update { "update" } else { "create" };
        format!("{verb} repo {}", wire::repo_name(request.repo.as_ref()))
    } else if let Some(request) = &request.delete_repo {
        format!("delete repo {}", wire::repo_name(request.repo.as_ref()))
    } else if let Some(request) = &request.start_commit {
        format!("start commit {}", branch(request.branch.as_ref()))
    } else if let Some(request) = &request.finish_commit {
        format!("finish commit {}", commit(request.commit.as_ref()))
    } else if let Some(request) = &request.squash_commit_set {
        format!(
            "squash commit {}",
            request.commit_set.as_ref().map_or("", |set| &set.id)
        )
    } else if let Some(request) = &request.create_branch {
        format!("create branch {}", branch(request.branch.as_ref()))
    } else if let Some(request) = &request.delete_branch {
        format!("delete branch {}", branch(request.branch.as_ref()))
    } else if let Some(request) = &request.update_job_state {
        format!("update state of job {}", wire::job_name(request.job.as_ref()))
    } else if let Some(request) = &request.stop_job {
        format!("stop job {}", wire::job_name(request.job.as_ref()))
    } else if let Some(request) = &request.create_pipeline_v2 {
        let inner = request.create_pipeline_request.as_ref();
        let verb = if inner.is_some_and(|inner| inner.update) {
            "update"
        } else {
            "create"
        };
        let name = inner
            .and_then(|inner| inner.pipeline.as_ref())
            .map_or("", |pipeline| &pipeline.name);
        format!("{verb} pipeline {name}")
    } else {
        "a request this program does not know".to_owned()
    }
}

/// `list transaction`.
pub(super) async fn list(ctx: &Ctx, arguments: &ListTransaction) -> CliResult {
    let encoding = arguments.raw.encoding()?;
    let infos = outside(ctx)
        .await?
        .transactions()
        .list_transaction(ListTransactionRequest {})
        .await?
        .into_inner();
    let clock = Clock::now(arguments.full_timestamps);
    let mut list = MessageList::begin(&ctx.printer, encoding, HEADER, false);
    for info in &infos.transaction_info {
        list.push(info, |info| {
            vec![
                info.transaction
                    .as_ref()
                    .map_or(String::new(), |transaction| transaction.id.clone()),
                clock.moment(wire::moment(info.started.as_ref())),
                info.requests.len().to_string(),
            ]
        })?;
    }
    list.finish()
}

#[cfg(test)]
mod tests {
    use super::*;
    use howdah_api::{convert, pfs_v2};

    #[test]
    fn requests_read_as_commands() {
        let request = TransactionRequest {
            start_commit: Some(pfs_v2::StartCommitRequest {
                branch: Some(convert::branch("default", "images", "master")),
                ..Default::default()
            }),
            ..Default::default()
        };
        assert_eq!(command_of(&request), "start commit images@master");
    }
}
