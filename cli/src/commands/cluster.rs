//! Commands on the server as a whole: versions, identity, consistency.

use howdah_api::{API_VERSION, HOWDAH_VERSION_HEADER, admin_v2, convert, pfs_v2, versionpb_v2};

use crate::args::admin::{Fsck, VersionArgs};
use crate::args::shared::Encoding;
use crate::context::Ctx;
use crate::error::{CliError, CliResult};
use crate::output::fields::Fields;
use crate::output::raw::Raw;
use crate::output::table;
use crate::{refs, wire};

/// Returns the version of the API that this program speaks.
fn own_version() -> versionpb_v2::Version {
    let (major, minor, micro) = API_VERSION;
    versionpb_v2::Version {
        major,
        minor,
        micro,
        platform: format!("{}/{}", std::env::consts::OS, std::env::consts::ARCH),
        ..Default::default()
    }
}

fn number(version: &versionpb_v2::Version) -> String {
    format!(
        "{}.{}.{}{}",
        version.major, version.minor, version.micro, version.additional
    )
}

/// `version`.
pub(super) async fn version(ctx: &Ctx, arguments: &VersionArgs) -> CliResult {
    let encoding = arguments.raw.encoding()?;
    let own = own_version();
    if arguments.client_only {
        return match encoding {
            Some(encoding) => print_raw(ctx, encoding, &[own]),
            None => Ok(ctx.printer.line(number(&own))?),
        };
    }
    let asked = tokio::time::timeout(arguments.timeout, ask(ctx))
        .await
        .unwrap_or_else(|_| {
            Err(CliError::refused(format!(
                "the server did not answer within {} s",
                arguments.timeout.as_secs_f64()
            )))
        });
    let row = |name: &str, version: &versionpb_v2::Version, howdah: &str| {
        let howdah = match howdah {
            "" => String::new(),
            howdah => format!(" (Howdah {howdah})"),
        };
        vec![name.to_owned(), format!("{}{howdah}", number(version))]
    };
    let own_row = row("pachctl", &own, env!("CARGO_PKG_VERSION"));
    const HEADER: &[&str] = &["COMPONENT", "VERSION"];
    match asked {
        Ok((server, howdah)) => {
            match encoding {
                Some(encoding) => print_raw(ctx, encoding, &[own.clone(), server.clone()])?,
                None => {
                    ctx.printer
                        .text(table::render(HEADER, vec![own_row, row("pachd", &server, &howdah)]))?;
                }
            }
            if arguments.compare && number(&own) != number(&server) {
                return Err(CliError::refused(format!(
                    "the versions differ: this program speaks {}, the server {}",
                    number(&own),
                    number(&server)
                )));
            }
            Ok(())
        }
        Err(error) => {
            match encoding {
                Some(encoding) => print_raw(ctx, encoding, &[own])?,
                None => ctx.printer.text(table::render(HEADER, vec![own_row]))?,
            }
            Err(error)
        }
    }
}

/// Returns the server's versions: of its API, and of Howdah, which is empty for other servers.
async fn ask(ctx: &Ctx) -> Result<(versionpb_v2::Version, String), CliError> {
    let client = ctx.open(&ctx.target()?).await?;
    let answer = client.version().get_version(()).await?;
    let howdah = answer.metadata().get(HOWDAH_VERSION_HEADER);
    let howdah = howdah
        .and_then(|text| text.to_str().ok())
        .unwrap_or_default()
        .to_owned();
    Ok((answer.into_inner(), howdah))
}

fn print_raw(ctx: &Ctx, encoding: Encoding, versions: &[versionpb_v2::Version]) -> CliResult {
    let mut out = ctx.printer.list(false);
    let mut raw = Raw::new(encoding);
    for version in versions {
        raw.message(&mut out, version)?;
    }
    Ok(out.close()?)
}

/// `inspect cluster`.
pub(super) async fn inspect(ctx: &Ctx) -> CliResult {
    let client = ctx.client().await?;
    let request = admin_v2::InspectClusterRequest {
        client_version: Some(own_version()),
        current_project: Some(convert::project(ctx.target()?.project)),
    };
    let cluster = client.admin().inspect_cluster(request).await?.into_inner();
    let server = client.version().get_version(()).await?.into_inner();
    let mut fields = Fields::new();
    fields
        .line("Address", client.address().to_string())
        .line("Cluster ID", &cluster.id)
        .line("Deployment ID", &cluster.deployment_id)
        .line("Version", number(&server));
    for warning in &cluster.warnings {
        fields.line("Warning", warning);
    }
    Ok(ctx.printer.text(fields.text())?)
}

/// `fsck`.
pub(super) async fn fsck(ctx: &Ctx, arguments: &Fsck) -> CliResult {
    use pfs_v2::fsck_request::ZombieCheck;
    let zombie_check = match (&arguments.zombie, arguments.zombie_all) {
        (Some(_), true) => return Err(CliError::refused("only one of --zombie and --zombie-all can be given")),
        (Some(commit), false) => {
            let project = ctx.project(&arguments.project)?;
            Some(ZombieCheck::ZombieTarget(wire::commit(
                &project,
                &refs::commit(commit)?,
            )))
        }
        (None, true) => Some(ZombieCheck::ZombieAll(true)),
        (None, false) => None,
    };
    let request = pfs_v2::FsckRequest {
        fix: arguments.fix,
        zombie_check,
        deep: arguments.deep,
    };
    let mut is_deep = false;
    let mut stream = ctx.client().await?.pfs().fsck(request).await?.into_inner();
    let mut errors = 0;
    while let Some(found) = stream.message().await? {
        if !found.error.is_empty() {
            errors += 1;
            ctx.printer.line(format!("Error: {}", found.error))?;
        }
        if !found.fix.is_empty() {
            ctx.printer.line(format!("Fix applied: {}", found.fix))?;
        }
        if !found.progress.is_empty() {
            is_deep = true;
            ctx.printer.note(found.progress);
        }
    }
    if arguments.deep && !is_deep {
        return Err(CliError::refused(
            "this server cannot check what is stored: only the metadata was checked",
        ));
    }
    if errors == 0 {
        ctx.printer.line("No errors found.")?;
    }
    Ok(())
}

/// `buildinfo`.
pub(super) fn build_info(ctx: &Ctx) -> CliResult {
    let mut fields = Fields::new();
    fields
        .line("Name", env!("CARGO_PKG_NAME"))
        .line("Version", env!("CARGO_PKG_VERSION"))
        .line("API Version", number(&own_version()))
        .line(
            "Platform",
            format!("{}/{}", std::env::consts::OS, std::env::consts::ARCH),
        )
        .line("Profile", if cfg!(debug_assertions) { "dev" } else { "release" });
    Ok(ctx.printer.text(fields.text())?)
}
