//! `up`: the whole system in one process group.

use crate::args::admin::UpArgs;
use crate::error::CliError;
use crate::output::printer::Printer;

/// Runs coordinator, worker and message queue until interrupted.
///
/// Ctrl-C is not handled by the caller, so that this can stop in order.
pub async fn run(arguments: UpArgs, printer: Printer) -> Result<(), CliError> {
    let _ = (arguments, printer);
    Err(CliError::refused("`up` is not part of this build"))
}
