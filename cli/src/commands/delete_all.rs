//! Deleting everything.

use howdah_api::transaction_v2;

use super::{Done, projects};
use crate::args::pipelines::DeleteAll;
use crate::context::{Ctx, connect_error};
use crate::error::CliError;

/// `delete all`: shows what will go, and asks.
pub async fn run(ctx: &Ctx, arguments: &DeleteAll) -> Done {
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
    // An active transaction must not catch any of this.
    let client = ctx.client().await?.with_transaction(None).map_err(connect_error)?;
    client.pps().delete_all(()).await?;
    client.pfs().delete_all(()).await?;
    client
        .transactions()
        .delete_all(transaction_v2::DeleteAllRequest {})
        .await?;
    Ok(())
}
