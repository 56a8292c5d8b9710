//! Commands on the datums of jobs.

use howdah_api::pachyderm::worker;
use howdah_api::{pfs_v2, pps_v2};

use super::{jobs, specs, states};
use crate::args::jobs::{InspectDatum, ListDatum, NextDatum, RestartDatumArgs};
use crate::context::Ctx;
use crate::error::{CliError, CliResult};
use crate::output::fields::Fields;
use crate::output::list::MessageList;
use crate::output::printer::Printer;
use crate::output::raw::Raw;
use crate::output::{age, size, table};
use crate::wire;

const HEADER: &[&str] = &["ID", "FILES", "STATUS", "TIME"];

/// The columns of the tables of files in `inspect datum`.
const FILES: &[&str] = &["REPO", "COMMIT", "PATH"];

/// `list datum`: the datums of a job, or those that a spec would have.
pub(super) async fn list(ctx: &Ctx, arguments: &ListDatum) -> CliResult {
    let encoding = arguments.raw.encoding()?;
    let request = match (&arguments.job, &arguments.file) {
        (Some(job), None) => pps_v2::ListDatumRequest {
            job: Some(jobs::find_one(ctx, job, &arguments.project).await?),
            ..Default::default()
        },
        (None, Some(file)) => {
            let project = ctx.project(&arguments.project)?;
            let parsed = specs::read_one(ctx, file, &project).await?;
            let input = howdah_api::pipeline::input_of_spec(&parsed.spec)
                .map_err(|error| CliError::refused(format!("{file}: {error}")))?;
            if input.is_none() {
                return Err(CliError::refused(format!("the spec in {file} has no input")));
            }
            pps_v2::ListDatumRequest {
                input,
                ..Default::default()
            }
        }
        _ => return Err(CliError::refused("must specify either a job or a pipeline spec")),
    };
    let mut stream = ctx.client().await?.pps().list_datum(request).await?.into_inner();
    let mut list = MessageList::begin(&ctx.printer, encoding, HEADER, false);
    while let Some(info) = stream.message().await? {
        list.push(&info, |info| row(info, &ctx.printer))?;
    }
    list.finish()
}

fn row(info: &pps_v2::DatumInfo, printer: &Printer) -> Vec<String> {
    let files: Vec<_> = info
        .data
        .iter()
        .filter_map(|info| info.file.as_ref())
        .map(wire::file_name)
        .collect();
    vec![
        info.datum.as_ref().map_or(String::new(), |datum| datum.id.clone()),
        files.join(", "),
        printer.paint(states::datum_state(info.state()), states::datum_tone(info.state())),
        match info.state() {
            pps_v2::DatumState::Starting => age::UNKNOWN.to_owned(),
            _ => total_time(info.stats.as_ref()),
        },
    ]
}

/// Returns the time of a datum: download, processing and upload together.
fn total_time(stats: Option<&pps_v2::ProcessStats>) -> String {
    let Some(stats) = stats else {
        return age::UNKNOWN.to_owned();
    };
    let parts = [&stats.download_time, &stats.process_time, &stats.upload_time];
    if parts.iter().all(|part| part.is_none()) {
        return age::UNKNOWN.to_owned();
    }
    let total = parts
        .into_iter()
        .flatten()
        .map(|part| jiff::SignedDuration::new(part.seconds, part.nanos))
        .fold(jiff::SignedDuration::ZERO, jiff::SignedDuration::saturating_add);
    age::words(total)
}

/// `inspect datum`.
pub(super) async fn inspect(ctx: &Ctx, arguments: &InspectDatum) -> CliResult {
    let encoding = arguments.raw.encoding()?;
    let job = jobs::find_one(ctx, &arguments.job, &arguments.project).await?;
    let datum = pps_v2::Datum {
        job: Some(job),
        id: arguments.datum.clone(),
    };
    let request = pps_v2::InspectDatumRequest { datum: Some(datum) };
    let info = ctx.client().await?.pps().inspect_datum(request).await?.into_inner();
    if let Some(encoding) = encoding {
        let mut out = ctx.printer.list(false);
        Raw::new(encoding).message(&mut out, &info)?;
        return Ok(out.close()?);
    }
    Ok(ctx.printer.text(describe(&info, &ctx.printer))?)
}

fn describe(info: &pps_v2::DatumInfo, printer: &Printer) -> String {
    let datum = info.datum.clone().unwrap_or_default();
    let stats = info.stats.unwrap_or_default();
    let job = datum.job.unwrap_or_default();
    let tabbed = |text: &str| format!("\t{text}");
    let mut fields = Fields::new();
    fields.line("ID", tabbed(&datum.id)).line("Job ID", tabbed(&job.id));
    if !info.image_id.is_empty() {
        fields.line("Image ID", tabbed(&info.image_id));
    }
    let state = printer.paint(states::datum_state(info.state()), states::datum_tone(info.state()));
    fields.line("State", tabbed(&state));
    if !info.reason.is_empty() {
        fields.line("Reason", tabbed(&info.reason));
    }
    fields
        .line("Data Downloaded", tabbed(&size::wire_size(stats.download_bytes)))
        .line("Data Uploaded", tabbed(&size::wire_size(stats.upload_bytes)))
        .line("Total Time", tabbed(&total_time(info.stats.as_ref())))
        .line("Download Time", tabbed(&wire::duration(stats.download_time.as_ref())))
        .line("Process Time", tabbed(&wire::duration(stats.process_time.as_ref())))
        .line("Upload Time", tabbed(&wire::duration(stats.upload_time.as_ref())));
    fields.block(
        "PFS State",
        table::render(FILES, info.pfs_state.iter().map(file_row).collect()),
    );
    let inputs = info
        .data
        .iter()
        .filter_map(|info| info.file.as_ref())
        .map(file_row)
        .collect();
    fields.block("Inputs", table::render(FILES, inputs));
    // These lines are `Name<tab>value`, without the colon and the blank of other descriptions.
    fields.text().replace(": \t", "\t")
}

fn file_row(file: &pfs_v2::File) -> Vec<String> {
    let commit = file.commit.clone().unwrap_or_default();
    vec![
        wire::repo_name(wire::commit_repo(&commit)),
        commit.id,
        file.path.clone(),
    ]
}

/// `restart datum`.
pub(super) async fn restart(ctx: &Ctx, arguments: &RestartDatumArgs) -> CliResult {
    let job = jobs::find_one(ctx, &arguments.job, &arguments.project).await?;
    let data_filters = arguments
        .paths
        .split(',')
        .filter(|path| !path.is_empty())
        .map(str::to_owned)
        .collect();
    let request = pps_v2::RestartDatumRequest {
        job: Some(job),
        data_filters,
    };
    ctx.client().await?.pps().restart_datum(request).await?;
    Ok(())
}

/// `next datum`: asks the worker that runs this container.
pub(super) async fn next(ctx: &Ctx, arguments: &NextDatum) -> CliResult {
    let Some(port) = std::env::var("PPS_WORKER_GRPC_PORT")
        .ok()
        .filter(|port| !port.is_empty())
    else {
        return Err(CliError::refused(
            "`next datum` works only inside the container of a pipeline with datum_batching (PPS_WORKER_GRPC_PORT is not set)",
        ));
    };
    let address = format!("http://localhost:{port}");
    let mut client = worker::worker_client::WorkerClient::connect(address)
        .await
        .map_err(|_| CliError::refused(format!("the worker does not answer at localhost:{port}")))?;
    let request = worker::NextDatumRequest {
        error: arguments.error.clone().unwrap_or_default(),
    };
    let response = client.next_datum(request).await?.into_inner();
    for variable in response.env {
        ctx.printer.line(variable)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use howdah_api::convert;
    use std::time::Duration;

    const PLAIN: Printer = Printer {
        colored: false,
        stdout_terminal: false,
        stderr_terminal: false,
    };

    fn datum() -> pps_v2::DatumInfo {
        let file = |repo: &str, path: &str| pfs_v2::FileInfo {
            file: Some(convert::file(
                convert::commit(convert::repo("default", repo), "c1"),
                path,
            )),
            ..Default::default()
        };
        pps_v2::DatumInfo {
            datum: Some(pps_v2::Datum {
                job: Some(convert::job(convert::pipeline("default", "prediction"), "j1")),
                id: "d1".to_owned(),
            }),
            state: pps_v2::DatumState::Success as i32,
            stats: Some(pps_v2::ProcessStats {
                download_time: Some(convert::to_duration(Duration::from_millis(600))),
                process_time: Some(convert::to_duration(Duration::from_millis(1600))),
                download_bytes: 2048,
                ..Default::default()
            }),
            data: vec![file("attributes", "/a.csv"), file("model", "/model.json")],
            ..Default::default()
        }
    }

    #[test]
    fn a_datum_is_listed() {
        insta::assert_snapshot!(table::render(HEADER, vec![row(&datum(), &PLAIN)]), @r"
        ID FILES                                      STATUS  TIME
        d1 attributes@c1:/a.csv, model@c1:/model.json success 2 seconds
        ");
        let starting = pps_v2::DatumInfo {
            state: pps_v2::DatumState::Starting as i32,
            ..datum()
        };
        assert_eq!(row(&starting, &PLAIN)[2..], ["starting", "-"]);
    }

    #[test]
    fn a_failed_datum_shows_its_reason() {
        let info = pps_v2::DatumInfo {
            state: pps_v2::DatumState::Failed as i32,
            reason: "command exited with code 3: boom".to_owned(),
            ..datum()
        };
        let text = describe(&info, &PLAIN);
        assert!(
            text.contains("State\tfailed\nReason\tcommand exited with code 3: boom\n"),
            "{text}"
        );
    }

    #[test]
    fn a_datum_is_described() {
        insta::assert_snapshot!(describe(&datum(), &PLAIN));
    }
}
