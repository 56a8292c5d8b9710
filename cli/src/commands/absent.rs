//! Commands of other versions that are not provided here: each prints the reason.

use crate::context::Ctx;
use crate::error::{CliError, CliResult};

/// A command that a later version will have.
pub(super) fn not_yet(command: &str) -> CliResult {
    Err(CliError::refused(format!(
        "`{command}` is not provided by this version"
    )))
}

/// A command that is useful on Kubernetes only.
pub(super) fn kubernetes(command: &str) -> CliResult {
    Err(CliError::refused(format!(
        "`{command}` is not applicable here: the server does not run on Kubernetes"
    )))
}

/// A command of access control.
pub(super) fn access_control(command: &str) -> CliResult {
    Err(CliError::refused(format!(
        "`{command}` is not applicable here: access control is not activated, all clients of the server may use it"
    )))
}

/// A command about licences.
pub(super) fn enterprise(command: &str) -> CliResult {
    Err(CliError::refused(format!(
        "`{command}` is not applicable here: there is no enterprise edition, and no licence is needed"
    )))
}

/// A command that installs the server.
pub(super) fn installation(command: &str) -> CliResult {
    Err(CliError::hinted(
        format!("`{command}` is not provided: installation is separate from this program"),
        "`up` runs everything on this machine",
    ))
}

/// Objects and tags of 1.x.
pub(super) fn objects() -> CliResult {
    Err(CliError::refused(
        "objects and tags of 1.x have no names here; read files with `get file REPO@COMMIT:PATH`",
    ))
}

/// Dumps of 1.x.
pub(super) fn restore() -> CliResult {
    Err(CliError::refused(
        "`restore` is not provided: dumps of 1.x cannot be read",
    ))
}

/// Jobs without a pipeline.
pub(super) fn create_job(ctx: &Ctx) -> CliResult {
    Err(CliError::hinted(
        "jobs of their own are not supported: a job belongs to a pipeline",
        format!(
            "make a pipeline with `{} create pipeline -f SPEC`; it gets a job at once",
            ctx.program
        ),
    ))
}

/// Ad-hoc jobs on chosen commits.
pub(super) fn run_pipeline(ctx: &Ctx) -> CliResult {
    Err(CliError::hinted(
        "`run pipeline` is not supported",
        format!(
            "`{} rerun pipeline NAME` runs a pipeline again on its present input",
            ctx.program
        ),
    ))
}

/// Forwarding of ports, which is not needed here.
pub(super) fn port_forward(ctx: &Ctx) -> CliResult {
    Ok(ctx
        .printer
        .line("No port forwarding is needed: the server listens on its own address.")?)
}
