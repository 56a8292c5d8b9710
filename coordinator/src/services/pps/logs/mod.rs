//! `GetLogs`: lines of a job or a pipeline, those that exist and those to come.
//!
//! ```text
//!  runs that have ended  log objects in the store  --+
//!  runs of datum sets    pending lines in memory   --+--> LineMerge --> LogOutput (with `tail`: the newest) --> client
//!  from now on           live lines                ----------------------------------------> client (with `follow`)
//! ```
//!
//! A line moves from pending to stored while a request is served. The sources are opened in the direction of this move:
//! live, then pending, then stored. So a line that moves meanwhile is read once or twice. Pending and stored lines of
//! one run are recognised by the key of its log object. The lines of a run have times of their own and come in their
//! order: a live line that is not newer than the last one that was read of its run is a second copy and is not sent.
//!
//! A slow follower loses the oldest live lines and gets a line that says so.
//!
//! Memory is bounded, whatever the number and the length of the lines: each part says how.
//!
//! - [`filter`]: the request. [`datum_filter`]: its filters of input files. [`inputs`]: input files of a datum. [`stored`]: log objects. [`merge`]: lines of many runs
//!   by time. [`output`]: messages.
//! - [`master`]: lines that the coordinator has written about a pipeline.

mod datum_filter;
mod filter;
mod inputs;
mod master;
mod merge;
mod output;
mod stored;

use std::collections::HashMap;
use std::sync::Arc;

use howdah_api::pps_v2 as pps;
use howdah_model::{Job, JobKey, query};
use jiff::{SignedDuration, Timestamp};
use tonic::Status;

use self::datum_filter::DatumFilter;
use self::filter::LogFilter;
use self::inputs::LogInputs;
use self::master::send_master_lines;
use self::merge::LineMerge;
use self::output::{LogOutput, job_message, missed_message};
use self::stored::log_objects;
use crate::live::{FollowedLogs, LogFollower};
use crate::metadata::Core;
use crate::services::find;
use crate::services::reply::{self, ReplySender, StreamError, StreamReply};

/// How much older than its arrival the time of a live line may be: lines are collected before they are sent, and the clock
/// of a worker may be late.
const LIVE_DELAY: SignedDuration = SignedDuration::from_secs(60);

pub(super) async fn get_logs(core: &Core, request: pps::GetLogsRequest) -> StreamReply<pps::LogMessage> {
    let filter = LogFilter::new(core, request)?;
    if let Some(job) = &filter.job {
        check_job(core, job).await?;
    }
    if filter.master {
        let live = filter.follow.then(|| core.live().logs.follow_master_lines());
        let core = core.clone();
        return reply::from_task(move |sender| send_master_lines(core, filter, live, sender));
    }
    // Before anything is read, or a line that is written while older ones are sent would never be seen.
    let live = filter.follow.then(|| core.live().logs.follow());
    let core = core.clone();
    reply::from_task(move |sender| send_lines(core, filter, live, sender))
}

/// Refuses a job that does not exist. The lines of a job that is deleted, perhaps with its pipeline, stay.
async fn check_job(core: &Core, job: &JobKey) -> Result<(), Status> {
    let state = core.state();
    let found = find::job(&state, job).map(drop);
    if found.is_err() && !core.live().logs.has_pending(job) && log_objects(core.store(), job).await?.is_empty() {
        return found;
    }
    Ok(())
}

/// Sends the lines that exist; then, with `live`, those that are written from now on.
async fn send_lines(
    core: Core,
    filter: LogFilter,
    live: Option<LogFollower>,
    sender: ReplySender<pps::LogMessage>,
) -> Result<(), StreamError> {
    let state = core.state();
    let jobs: Vec<Arc<Job>> = query::jobs_of_pipeline(&state, &filter.pipeline)
        .filter(|job| filter.passes_job(&job.key))
        .filter(|job| match (filter.since, job.finished) {
            (Some(since), Some(finished)) => finished >= since,
            _ => true,
        })
        .cloned()
        .collect();
    let mut output = LogOutput::new(sender, filter.tail, &core.live().reply_memory);
    let mut read = ReadRuns {
        since: live.as_ref().map(|_| Timestamp::now() - LIVE_DELAY),
        last: HashMap::new(),
    };
    let mut inputs = LogInputs::new(core.store());
    for job in &jobs {
        send_lines_of_job(&core, &filter, &job.key, &mut inputs, &mut read, &mut output).await?;
    }
    if let Some(key) = filter.job.as_ref().filter(|key| state.job(key).is_none()) {
        // A deleted one.
        send_lines_of_job(&core, &filter, key, &mut inputs, &mut read, &mut output).await?;
    }
    let sender = output.release().await?;
    match live {
        Some(live) => follow(core, filter, live, read, inputs, sender).await,
        None => Ok(()),
    }
}

/// Sends the stored and the pending lines of a job, and notes in `read` which lines may come again.
async fn send_lines_of_job(
    core: &Core,
    filter: &LogFilter,
    job: &JobKey,
    inputs: &mut LogInputs,
    read: &mut ReadRuns,
    output: &mut LogOutput,
) -> Result<(), StreamError> {
    let mut datums = DatumFilter::of_job(core.store(), &core.state(), job, &filter.data_filters);
    let mut lines = LineMerge::of_job(core, job).await?;
    while let Some(merged) = lines.next().await? {
        read.note(&merged.key, merged.line.ts);
        if !filter.passes(&merged.line) || !datums.may_pass(&merged.line) {
            continue;
        }
        let data = inputs.of(job, merged.set, merged.line.datum).await?;
        if datums.passes(&merged.line, &data).await? {
            output.add(job_message(job, &merged.worker, merged.line, data)).await?;
        }
    }
    Ok(())
}

/// Sends lines as they are written, until the client disconnects.
async fn follow(
    core: Core,
    filter: LogFilter,
    mut live: LogFollower,
    read: ReadRuns,
    mut inputs: LogInputs,
    sender: ReplySender<pps::LogMessage>,
) -> Result<(), StreamError> {
    loop {
        let followed = tokio::select! {
            followed = live.next() => followed,
            // A pipeline may be silent for days: without this the task would wait for a line as long.
            () = sender.client_gone() => return Err(StreamError::ClientGone),
        };
        let batch = match followed {
            FollowedLogs::Batch(batch) => batch,
            // The client is slower than the workers. Waiting for it would delay every other reader, so it misses lines.
            // They are stored, and a new call returns them.
            FollowedLogs::Missed(batches) => {
                sender.send(missed_message(&filter.pipeline, batches)).await?;
                continue;
            }
        };
        let key = batch.pipeline.job(batch.job);
        if !filter.passes_job(&key) || batch.lines.is_empty() {
            continue;
        }
        let mut datums = DatumFilter::of_job(core.store(), &core.state(), &key, &filter.data_filters);
        let last = read.last.get(batch.log_key().as_str());
        for line in &batch.lines {
            let is_new = last.is_none_or(|last| line.ts > *last);
            if !is_new || !filter.passes(line) || !datums.may_pass(line) {
                continue;
            }
            let data = inputs.of(&key, batch.set, line.datum).await?;
            if datums.passes(line, &data).await? {
                sender
                    .send(job_message(&key, &batch.worker, line.clone(), data))
                    .await?;
            }
        }
    }
}

/// How far runs have been read whose lines may come again as live ones.
struct ReadRuns {
    /// Stored lines that are not older may also come live; without it, none does.
    since: Option<Timestamp>,
    /// Time of the last line, by key of the run's log object.
    last: HashMap<Arc<str>, Timestamp>,
}

impl ReadRuns {
    fn note(&mut self, key: &Arc<str>, ts: Timestamp) {
        if self.since.is_some_and(|since| ts >= since) {
            self.last.insert(Arc::clone(key), ts);
        }
    }
}
