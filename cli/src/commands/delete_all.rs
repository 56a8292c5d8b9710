//! `delete all`.

use howdah_api::transaction_v2;

use super::projects;
use crate::args::pipelines::DeleteAll;
use crate::context::{Ctx, connect_error};
use crate::error::{CliError, CliResult};

/// `delete all`: prints what will be deleted, and asks.
pub(super) async fn run(ctx: &Ctx, arguments: &DeleteAll) -> CliResult {
    let pipelines = projects::pipelines_of(ctx, Vec::new()).await?;
    let repos = projects::repos_of(ctx, Vec::new()).await?;
    let listed = |names: &[String]| {
        if names.is_empty() {
            "none".to_owned()
        } else {
            names.join(", ")
        }
    };
    ctx.printer.note(format!("Repos to be deleted: {}", listed(&repos)));
    ctx.printer
        .note(format!("Pipelines to be deleted: {}", listed(&pipelines)));
    if !ctx.confirm(arguments.yes.yes)? {
        return Err(CliError::refused("nothing was deleted"));
    }
    // Outside of the active transaction: otherwise the deletion would only be added to it.
    let client = ctx.client().await?.with_transaction(None).map_err(connect_error)?;
    client.pps().delete_all(()).await?;
    client.pfs().delete_all(()).await?;
    client
        .transactions()
        .delete_all(transaction_v2::DeleteAllRequest {})
        .await?;
    Ok(())
}
