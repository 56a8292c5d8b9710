//! Jobs as table rows and as descriptions.

use howdah_api::pps_v2;

use super::pipeline_view::{block, limit, pretty, resources};
use super::{states, views};
use crate::output::age::Clock;
use crate::output::color::Tone;
use crate::output::fields::Fields;
use crate::output::printer::Printer;
use crate::output::{size, table};
use crate::wire;

/// The columns of a table of jobs.
pub(super) const JOBS: &[&str] = &[
    "PROJECT", "PIPELINE", "ID", "STARTED", "DURATION", "RESTART", "PROGRESS", "DL", "UL", "STATE",
];

/// The columns of a table of sets of jobs.
pub(super) const JOB_SETS: &[&str] = &["ID", "SUBJOBS", "PROGRESS", "CREATED", "MODIFIED"];

/// Returns the row of a job.
pub(super) fn job_row(info: &pps_v2::JobInfo, clock: &Clock, printer: &Printer) -> Vec<String> {
    let job = info.job.clone().unwrap_or_default();
    let stats = info.stats.unwrap_or_default();
    vec![
        wire::pipeline_project(job.pipeline.as_ref()).to_owned(),
        wire::pipeline_name(job.pipeline.as_ref()).to_owned(),
        job.id.clone(),
        clock.moment(started(info)),
        clock.span(started(info), wire::moment(info.finished.as_ref())),
        info.restart.to_string(),
        progress(info),
        size::wire_size(stats.download_bytes),
        size::wire_size(stats.upload_bytes),
        states::job_state_and_reason(info, printer),
    ]
}

fn started(info: &pps_v2::JobInfo) -> Option<jiff::Timestamp> {
    wire::moment(info.started.as_ref())
}

/// Returns `processed + skipped / total`; with recovered datums `processed + skipped + recovered / total`.
fn progress(info: &pps_v2::JobInfo) -> String {
    let recovered = match info.data_recovered {
        0 => String::new(),
        count => format!(" + {count}"),
    };
    format!(
        "{} + {}{recovered} / {}",
        info.data_processed, info.data_skipped, info.data_total
    )
}

/// Returns the row of a set of jobs.
pub(super) fn job_set_row(set: &pps_v2::JobSetInfo, clock: &Clock, printer: &Printer) -> Vec<String> {
    let tone_count = |tone: Tone| {
        set.jobs
            .iter()
            .filter(|info| states::job_tone(info.state()) == tone)
            .count()
    };
    let created = set
        .jobs
        .iter()
        .filter_map(|info| wire::moment(info.created.as_ref()))
        .min();
    let modified = set
        .jobs
        .iter()
        .filter_map(|info| {
            wire::moment(
                info.finished
                    .as_ref()
                    .or(info.started.as_ref())
                    .or(info.created.as_ref()),
            )
        })
        .max();
    vec![
        set.job_set.as_ref().map_or(String::new(), |set| set.id.clone()),
        set.jobs.len().to_string(),
        views::progress(tone_count(Tone::Good), tone_count(Tone::Bad), set.jobs.len(), printer),
        clock.moment(created),
        clock.moment(modified),
    ]
}

/// Returns the description of a job, a line or a block for each property.
pub(super) fn describe(info: &pps_v2::JobInfo, clock: &Clock, printer: &Printer) -> String {
    let job = info.job.clone().unwrap_or_default();
    let stats = info.stats.unwrap_or_default();
    let details = info.details.clone().unwrap_or_default();
    let state = info.state();
    let mut fields = Fields::new();
    fields
        .line("ID", &job.id)
        .line("Pipeline", wire::pipeline_name(job.pipeline.as_ref()))
        .line("Project", wire::pipeline_project(job.pipeline.as_ref()))
        .line("Started", clock.moment(started(info)))
        .line(
            "Duration",
            clock.span(started(info), wire::moment(info.finished.as_ref())),
        )
        .line(
            "State",
            printer.paint(states::job_state(state), states::job_tone(state)),
        )
        .maybe("Reason", &info.reason)
        .line("Processed", info.data_processed.to_string())
        .line("Failed", info.data_failed.to_string())
        .line("Skipped", info.data_skipped.to_string())
        .line("Recovered", info.data_recovered.to_string())
        .line("Total", info.data_total.to_string())
        .line("Data Downloaded", size::wire_size(stats.download_bytes))
        .line("Data Uploaded", size::wire_size(stats.upload_bytes))
        .line("Download Time", wire::duration(stats.download_time.as_ref()))
        .line("Process Time", wire::duration(stats.process_time.as_ref()))
        .line("Upload Time", wire::duration(stats.upload_time.as_ref()))
        .line("Datum Timeout", limit(details.datum_timeout.as_ref()))
        .line("Job Timeout", limit(details.job_timeout.as_ref()));
    fields.block("Worker Status", workers(&details.worker_status, clock));
    fields.line("Restarts", info.restart.to_string());
    if let Some(parallelism) = &details.parallelism_spec {
        fields.line("ParallelismSpec", format!("constant: {}", parallelism.constant.max(1)));
    }
    fields
        .maybe("Resource Requests", resources(details.resource_requests.as_ref()))
        .maybe("Resource Limits", resources(details.resource_limits.as_ref()));
    block(&mut fields, "Service", pretty(details.service.as_ref()));
    block(&mut fields, "Input", pretty(details.input.as_ref()));
    block(&mut fields, "Transform", pretty(details.transform.as_ref()));
    fields.line(
        "Output Commit",
        info.output_commit
            .as_ref()
            .map_or(String::new(), |commit| commit.id.clone()),
    );
    block(&mut fields, "Egress", pretty(details.egress.as_ref()));
    fields.text().to_owned()
}

fn workers(workers: &[pps_v2::WorkerStatus], clock: &Clock) -> String {
    let rows = workers
        .iter()
        .map(|worker| {
            let datum = worker.datum_status.clone().unwrap_or_default();
            let paths: Vec<_> = datum.data.iter().map(|file| file.path.as_str()).collect();
            vec![
                worker.worker_id.clone(),
                worker.job_id.clone(),
                paths.join(", "),
                clock.moment(wire::moment(datum.started.as_ref())),
            ]
        })
        .collect();
    table::render(&["WORKER", "JOB", "DATUM", "STARTED"], rows)
}

#[cfg(test)]
mod tests {
    use super::*;
    use howdah_api::convert;

    const PLAIN: Printer = Printer {
        colored: false,
        stdout_terminal: false,
        stderr_terminal: false,
    };

    fn job() -> (pps_v2::JobInfo, Clock) {
        let now: jiff::Timestamp = "2026-11-24T06:00:00Z".parse().expect("a time");
        let earlier = "2026-11-24T05:00:00Z".parse().expect("a time");
        let finished = "2026-11-24T05:00:03Z".parse().expect("a time");
        let info = pps_v2::JobInfo {
            job: Some(convert::job(
                convert::pipeline("default", "edges"),
                "0123456789ab4def0123456789abcdef",
            )),
            data_processed: 1,
            data_skipped: 3,
            data_total: 4,
            state: pps_v2::JobState::JobSuccess as i32,
            created: Some(convert::to_timestamp(earlier)),
            started: Some(convert::to_timestamp(earlier)),
            finished: Some(convert::to_timestamp(finished)),
            stats: Some(pps_v2::ProcessStats {
                download_bytes: 58_644,
                upload_bytes: 100,
                process_time: Some(convert::to_duration(std::time::Duration::from_secs(2))),
                ..Default::default()
            }),
            ..Default::default()
        };
        (info, Clock { now, full: false })
    }

    #[test]
    fn a_job_is_listed() {
        let (mut info, clock) = job();
        let first = job_row(&info, &clock, &PLAIN);
        info.data_recovered = 2;
        info.state = pps_v2::JobState::JobFailure as i32;
        info.reason = "datum 1f3c failed".to_owned();
        let second = job_row(&info, &clock, &PLAIN);
        insta::assert_snapshot!(table::render(JOBS, vec![first, second]), @r"
        PROJECT PIPELINE ID                               STARTED           DURATION  RESTART PROGRESS      DL       UL   STATE
        default edges    0123456789ab4def0123456789abcdef About an hour ago 3 seconds 0       1 + 3 / 4     57.27KiB 100B success
        default edges    0123456789ab4def0123456789abcdef About an hour ago 3 seconds 0       1 + 3 + 2 / 4 57.27KiB 100B failure: datum 1f3c failed
        ");
    }

    #[test]
    fn a_job_is_described() {
        let (info, clock) = job();
        insta::assert_snapshot!(describe(&info, &clock, &PLAIN));
    }
}
