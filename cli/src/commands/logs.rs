//! `logs`: lines of user code, workers and the coordinator.

use std::collections::BTreeMap;
use std::time::Duration;

use futures::stream::{SelectAll, StreamExt};
use howdah_api::{convert, json, pps_v2};
use jiff::Timestamp;

use super::jobs::{self, NamedJobs};
use crate::args::jobs::Logs;
use crate::context::Ctx;
use crate::error::{CliError, CliResult};
use crate::wire;

/// How far back logs go by default.
const SINCE: Duration = Duration::from_secs(24 * 3600);

/// Logs of a job begin this long before it was created.
const BEFORE_JOB: Duration = Duration::from_secs(3600);

/// `logs`.
pub(super) async fn run(ctx: &Ctx, mut arguments: Logs) -> CliResult {
    if let Some(id) = arguments.id.take() {
        if arguments.job.is_some() {
            return Err(CliError::refused("cannot name a job twice"));
        }
        arguments.job = Some(id);
    }
    if arguments.pipeline.is_some() && arguments.job.is_some() {
        return Err(CliError::refused(
            "only one of --pipeline (-p) and --job (-j) can be given",
        ));
    }
    if arguments.master && arguments.worker {
        return Err(CliError::refused("only one of --master and --worker can be given"));
    }
    let requests = requests(ctx, &arguments).await?;
    let whole_system = arguments.pipeline.is_none() && arguments.job.is_none();
    let mut lines = Lines::new(ctx, &arguments, whole_system);
    let mut followed = SelectAll::new();
    for request in requests {
        let mut stream = ctx.client().await?.pps().get_logs(request).await?.into_inner();
        if arguments.follow {
            followed.push(stream);
            continue;
        }
        // One job after the other, so that the lines of each job stay in order.
        while let Some(message) = stream.message().await? {
            lines.take(message)?;
        }
    }
    while let Some(message) = followed.next().await {
        lines.take(message?)?;
    }
    let silent = !lines.any;
    lines.finish()?;
    if silent && !arguments.master {
        note_master(ctx, &arguments).await?;
    }
    Ok(())
}

/// Points to the coordinator's log of a pipeline that has no lines of its own: it may not have run at all.
async fn note_master(ctx: &Ctx, arguments: &Logs) -> CliResult {
    let Some(name) = &arguments.pipeline else { return Ok(()) };
    let request = pps_v2::GetLogsRequest {
        pipeline: Some(convert::pipeline(ctx.project(&arguments.project)?, name)),
        master: true,
        tail: 1,
        since: Some(convert::to_duration(arguments.since.unwrap_or(SINCE))),
        ..Default::default()
    };
    let mut stream = ctx.client().await?.pps().get_logs(request).await?.into_inner();
    if let Some(last) = stream.message().await? {
        ctx.printer.note(format!(
            "no lines; `{} logs -p {name} --master` shows what happened to the pipeline, last: {}",
            ctx.program, last.message
        ));
    }
    Ok(())
}

/// Makes one request for each job that the arguments name.
async fn requests(ctx: &Ctx, arguments: &Logs) -> Result<Vec<pps_v2::GetLogsRequest>, CliError> {
    let base = pps_v2::GetLogsRequest {
        data_filters: arguments.inputs.clone(),
        master: arguments.master,
        follow: arguments.follow,
        // The server counts lines that are filtered out here. A stream without end cannot be counted here, so only
        // then the server applies the limit.
        tail: if arguments.follow { tail(arguments) } else { 0 },
        since: Some(convert::to_duration(arguments.since.unwrap_or(SINCE))),
        ..Default::default()
    };
    let Some(text) = &arguments.job else {
        let pipeline = match &arguments.pipeline {
            Some(name) => Some(convert::pipeline(ctx.project(&arguments.project)?, name)),
            None => None,
        };
        if pipeline.is_none() && (arguments.datum.is_some() || !arguments.inputs.is_empty()) {
            return Err(CliError::refused(
                "--datum and --inputs need --pipeline (-p) or --job (-j)",
            ));
        }
        let datum = arguments.datum.clone().map(|id| pps_v2::Datum { job: None, id });
        return Ok(vec![pps_v2::GetLogsRequest {
            pipeline,
            datum,
            ..base
        }]);
    };
    let infos = match jobs::find(ctx, text, &arguments.project).await? {
        NamedJobs::One(job) => {
            let request = pps_v2::InspectJobRequest {
                job: Some(job),
                ..Default::default()
            };
            let found = ctx.client().await?.pps().inspect_job(request.clone()).await;
            match found {
                Ok(info) => vec![info.into_inner()],
                // The lines of a job that is deleted stay.
                Err(status) if status.code() == tonic::Code::NotFound => vec![pps_v2::JobInfo {
                    job: request.job,
                    ..Default::default()
                }],
                Err(status) => return Err(status.into()),
            }
        }
        NamedJobs::Set(infos) => infos,
    };
    let request = |info: &pps_v2::JobInfo| pps_v2::GetLogsRequest {
        pipeline: info.job.as_ref().and_then(|job| job.pipeline.clone()),
        job: info.job.clone(),
        datum: arguments.datum.clone().map(|id| pps_v2::Datum {
            job: info.job.clone(),
            id,
        }),
        since: Some(convert::to_duration(
            arguments.since.unwrap_or_else(|| since_job(info, Timestamp::now())),
        )),
        ..base.clone()
    };
    Ok(infos.iter().map(request).collect())
}

fn tail(arguments: &Logs) -> i64 {
    arguments
        .tail
        .map_or(0, |count| i64::try_from(count).unwrap_or(i64::MAX))
}

/// Returns how far back to read the logs of a job: from [`BEFORE_JOB`] before its creation. Zero, which means without a
/// limit, if its creation is not known.
fn since_job(info: &pps_v2::JobInfo, now: Timestamp) -> Duration {
    let Some(created) = wire::moment(info.created.as_ref()) else {
        return Duration::ZERO;
    };
    let age = Duration::try_from(now.duration_since(created)).unwrap_or_default();
    age + BEFORE_JOB
}

/// Filters and prints lines.
struct Lines<'a> {
    ctx: &'a Ctx,
    master: bool,
    worker: bool,
    raw: bool,
    everything: bool,
    tail: Option<usize>,
    /// The newest lines, by time and then by the order in which they came.
    last: BTreeMap<(i64, i32, u64), pps_v2::LogMessage>,
    /// Number of lines so far.
    count: u64,
    /// Whether any line passed the filter.
    any: bool,
}

impl<'a> Lines<'a> {
    fn new(ctx: &'a Ctx, arguments: &Logs, everything: bool) -> Lines<'a> {
        let tail = arguments.tail.filter(|_| !arguments.follow);
        Lines {
            ctx,
            master: arguments.master,
            worker: arguments.worker,
            raw: arguments.raw,
            everything,
            tail: tail.map(|count| usize::try_from(count).unwrap_or(usize::MAX)),
            last: BTreeMap::new(),
            count: 0,
            any: false,
        }
    }

    fn take(&mut self, message: pps_v2::LogMessage) -> CliResult {
        if !wanted(&message, self.master, self.worker, self.everything) {
            return Ok(());
        }
        self.any = true;
        let Some(tail) = self.tail else {
            return self.print(&message);
        };
        // By time: the lines of several jobs, or of datum sets that ran at the same time, do not come in its order.
        let ts = message.ts.unwrap_or_default();
        self.count += 1;
        self.last.insert((ts.seconds, ts.nanos, self.count), message);
        if self.last.len() > tail {
            self.last.pop_first();
        }
        Ok(())
    }

    fn finish(mut self) -> CliResult {
        for message in std::mem::take(&mut self.last).into_values() {
            self.print(&message)?;
        }
        Ok(())
    }

    fn print(&self, message: &pps_v2::LogMessage) -> CliResult {
        if self.raw {
            let value = json::to_json(message).map_err(|error| CliError::refused(error.to_string()))?;
            Ok(self.ctx.printer.line(value.to_string())?)
        } else {
            Ok(self.ctx.printer.line(message.message.trim_end_matches('\n'))?)
        }
    }
}

/// Returns whether a line is shown: by default only lines of user code.
fn wanted(message: &pps_v2::LogMessage, master: bool, worker: bool, everything: bool) -> bool {
    if master {
        message.master
    } else if worker {
        !message.master && !message.user
    } else {
        everything || message.user
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_choose_the_origin_of_lines() {
        let user = pps_v2::LogMessage {
            user: true,
            ..Default::default()
        };
        let master = pps_v2::LogMessage {
            master: true,
            ..Default::default()
        };
        let worker = pps_v2::LogMessage::default();
        let shown = |master_flag, worker_flag, everything| {
            [&user, &master, &worker].map(|message| wanted(message, master_flag, worker_flag, everything))
        };
        assert_eq!(shown(false, false, false), [true, false, false]);
        assert_eq!(shown(true, false, false), [false, true, false]);
        assert_eq!(shown(false, true, false), [false, false, true]);
        assert_eq!(shown(false, false, true), [true, true, true]);
    }

    #[test]
    fn logs_of_a_job_begin_an_hour_before_it() {
        let now: Timestamp = "2026-11-24T06:00:00Z".parse().expect("a time");
        let created = "2026-11-20T06:00:00Z".parse().expect("a time");
        let info = pps_v2::JobInfo {
            created: Some(convert::to_timestamp(created)),
            ..Default::default()
        };
        assert_eq!(since_job(&info, now), Duration::from_secs(4 * 24 * 3600 + 3600));
        assert_eq!(since_job(&pps_v2::JobInfo::default(), now), Duration::ZERO);
    }
}
