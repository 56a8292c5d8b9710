//! Commands that exist elsewhere but not here, each with a sentence that says why.

use super::Done;
use crate::context::Ctx;
use crate::error::CliError;

/// A command that a later version will have.
pub fn not_yet(command: &str) -> Done {
    Err(CliError::refused(format!(
        "`{command}` is not provided by this version"
    )))
}

/// A command that only makes sense on Kubernetes.
pub fn kubernetes(command: &str) -> Done {
    Err(CliError::refused(format!(
        "`{command}` is not applicable here: the server does not run on Kubernetes"
    )))
}

/// A command of access control.
pub fn access_control(command: &str) -> Done {
    Err(CliError::refused(format!(
        "`{command}` is not applicable here: access control is not activated, everybody who reaches the server may use it"
    )))
}

/// A command about licences.
pub fn enterprise(command: &str) -> Done {
    Err(CliError::refused(format!(
        "`{command}` is not applicable here: there is no enterprise edition, and no licence is needed"
    )))
}

/// A command that installed the server.
pub fn installation(command: &str) -> Done {
    Err(CliError::hinted(
        format!("`{command}` is not provided: installation is separate from this program"),
        "`up` runs everything on this machine",
    ))
}

/// Objects and tags of 1.x.
pub fn objects() -> Done {
    Err(CliError::refused(
        "objects and tags of 1.x have no names here; read files with `get file REPO@COMMIT:PATH`",
    ))
}

/// Dumps of 1.x.
pub fn restore() -> Done {
    Err(CliError::refused(
        "`restore` is not provided: dumps of 1.x cannot be read",
    ))
}

/// Jobs without a pipeline.
pub fn create_job(ctx: &Ctx) -> Done {
    Err(CliError::hinted(
        "jobs of their own are not supported: a job belongs to a pipeline",
        format!(
            "make a pipeline with `{} create pipeline -f SPEC`; it gets a job at once",
            ctx.program
        ),
    ))
}

/// Ad-hoc jobs on chosen commits.
pub fn run_pipeline(ctx: &Ctx) -> Done {
    Err(CliError::hinted(
        "`run pipeline` is not supported",
        format!("`{} rerun pipeline NAME` runs a pipeline again", ctx.program),
    ))
}

/// Forwarding of ports, which nothing here needs.
pub fn port_forward(ctx: &Ctx) -> Done {
    Ok(ctx
        .printer
        .line("No port forwarding is needed: the server listens on its own address.")?)
}
