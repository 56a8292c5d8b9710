//! `GetLogs`: lines of a job or a pipeline, those that exist and those to come.
//!
//! ```text
//!  finished sets    log objects in the store  --+
//!  running sets     pending lines in memory   --+--> LogOutput (with `tail`: the newest) --> client
//!  from now on      live lines                ---------------------------------------------> client (with `follow`)
//! ```
//!
//! A line moves from pending to stored while a request is served. The sources are opened in the direction of this move:
//! live, then pending, then stored. So a line that moves meanwhile is read once or twice; a second copy is recognised
//! by the identity of the line and is not sent. A client can still miss lines: of a running set only the newest 10,000
//! are pending, a slow follower misses the oldest live ones, and the lines of a set without a result are not stored.
//!
//! - [`filter`]: the request. [`inputs`]: input files of a datum. [`stored`]: log objects. [`output`]: messages.
//! - [`master`]: lines that the coordinator has written about a pipeline.

mod filter;
mod inputs;
mod master;
mod output;
mod stored;

use std::collections::HashSet;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;

use howdah_api::pps_v2 as pps;
use howdah_model::{DatumId, GlobalId, Job, query};
use howdah_protocol::messages::LogBatch;
use howdah_protocol::objects::LogLine;
use jiff::{SignedDuration, Timestamp};
use tokio::sync::broadcast;
use tokio::sync::broadcast::error::RecvError;
use tonic::Status;

use self::filter::LogFilter;
use self::inputs::LogInputs;
use self::master::send_master_lines;
use self::output::{LogOutput, job_message};
use self::stored::{log_keys, read_log};
use super::known_datums;
use crate::metadata::Core;
use crate::services::reply::{self, ReplySender, StreamError, StreamReply};
use crate::services::status::shutting_down;

/// How much older than its arrival the time of a live line may be: lines are collected before they are sent, and the clock
/// of a worker may be late.
const LIVE_DELAY: SignedDuration = SignedDuration::from_secs(60);

pub(super) fn get_logs(core: &Core, request: pps::GetLogsRequest) -> StreamReply<pps::LogMessage> {
    let filter = LogFilter::new(core, request)?;
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

/// Sends the lines that exist; then, with `live`, those that are written from now on.
async fn send_lines(
    core: Core,
    filter: LogFilter,
    live: Option<broadcast::Receiver<Arc<LogBatch>>>,
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
    let mut output = LogOutput::new(sender, filter.tail);
    let mut seen = SeenLines {
        since: live.as_ref().map(|_| Timestamp::now() - LIVE_DELAY),
        lines: HashSet::new(),
    };
    let mut inputs = LogInputs::new(core.store());
    for job in &jobs {
        send_lines_of_job(&core, &filter, job, &mut inputs, &mut seen, &mut output).await?;
    }
    let sender = output.release().await?;
    match live {
        Some(live) => follow(core, filter, live, seen, inputs, sender).await,
        None => Ok(()),
    }
}

/// Sends the stored and the pending lines of a job, and adds those to `seen` that may come again.
async fn send_lines_of_job(
    core: &Core,
    filter: &LogFilter,
    job: &Job,
    inputs: &mut LogInputs,
    seen: &mut SeenLines,
    output: &mut LogOutput,
) -> Result<(), StreamError> {
    let matching = matching_datums(core, filter, job).await?;
    let passes = |line: &LogLine| filter.passes(line) && is_of_datum(line, matching.as_ref());
    // Pending lines before stored ones: a set that is stored in between is then in both, and the second copies of its
    // lines are recognised. In the other order it would be in neither.
    let pending = core.live().logs.pending(&job.key);
    for (_, line) in &pending {
        seen.lines.insert(identity(job.key.id, line));
    }
    let mut already_stored = HashSet::new();
    for key in log_keys(core.store(), &job.key).await? {
        // Read one by one: all logs of a job together may need more memory than there is.
        let object = read_log(core.store(), &key).await?;
        for line in object.lines.into_iter().filter(&passes) {
            let identity = identity(job.key.id, &line);
            if seen.lines.contains(&identity) {
                already_stored.insert(identity);
            } else if seen.since.is_some_and(|since| line.ts >= since) {
                // It may have come since this call began, and its set may have been stored before the pending lines
                // were looked at.
                seen.lines.insert(identity);
            }
            let data = inputs.of(&job.key, object.set, line.datum).await?;
            output.add(job_message(&job.key, &object.worker, line, data)).await?;
        }
    }
    for (set, line) in pending.into_iter().filter(|(_, line)| passes(line)) {
        if !already_stored.contains(&identity(job.key.id, &line)) {
            let data = inputs.of(&job.key, set, line.datum).await?;
            output.add(job_message(&job.key, "", line, data)).await?;
        }
    }
    Ok(())
}

/// Sends lines as they are written, until the client disconnects.
///
/// `seen` has the lines that may have been sent although they are also among the live ones.
async fn follow(
    core: Core,
    filter: LogFilter,
    mut live: broadcast::Receiver<Arc<LogBatch>>,
    mut seen: SeenLines,
    mut inputs: LogInputs,
    sender: ReplySender<pps::LogMessage>,
) -> Result<(), StreamError> {
    loop {
        let batch = tokio::select! {
            batch = live.recv() => batch,
            // A pipeline may be silent for days: without this the task would wait for a line as long.
            () = sender.client_gone() => return Err(StreamError::ClientGone),
        };
        let batch = match batch {
            Ok(batch) => batch,
            // The client is slower than the workers. Waiting for it would delay every other reader, so it misses lines.
            // They are stored, and a new call returns them.
            Err(RecvError::Lagged(_)) => continue,
            Err(RecvError::Closed) => return Err(shutting_down().into()),
        };
        let key = batch.pipeline.job(batch.job);
        if !filter.passes_job(&key) {
            continue;
        }
        let matching = match core.state().job(&key) {
            Some(job) => matching_datums(&core, &filter, job).await?,
            None => None,
        };
        for line in &batch.lines {
            let passes = filter.passes(line) && is_of_datum(line, matching.as_ref());
            // Removed, because a live line comes once: `seen` shrinks, and equal lines of later batches are sent.
            let is_new = !seen.lines.remove(&identity(key.id, line));
            if passes && is_new {
                let data = inputs.of(&key, batch.set, line.datum).await?;
                sender
                    .send(job_message(&key, &batch.worker, line.clone(), data))
                    .await?;
            }
        }
    }
}

/// Lines that are sent or filtered out, and may come again.
struct SeenLines {
    /// Stored lines that are not older may also come live; without it, none does.
    since: Option<Timestamp>,
    lines: HashSet<LineIdentity>,
}

/// What two lines have in common only if they are the same line: job, time, datum, and a hash of the text.
type LineIdentity = (GlobalId, Timestamp, Option<DatumId>, u64);

fn identity(job: GlobalId, line: &LogLine) -> LineIdentity {
    let mut hasher = DefaultHasher::new();
    line.message.hash(&mut hasher);
    (job, line.ts, line.datum, hasher.finish())
}

/// Returns the datums of a job that the data filters select; `None` = there are no such filters.
async fn matching_datums(core: &Core, filter: &LogFilter, job: &Job) -> Result<Option<HashSet<DatumId>>, Status> {
    if filter.data_filters.is_empty() {
        return Ok(None);
    }
    let known = known_datums::of_job(core.store(), &core.state(), job).await?;
    Ok(Some(
        known
            .iter()
            .filter(|(_, known)| known.matches(&filter.data_filters))
            .map(|(id, _)| *id)
            .collect(),
    ))
}

/// Returns whether a line is about one of the datums; `None` = about anything.
fn is_of_datum(line: &LogLine, datums: Option<&HashSet<DatumId>>) -> bool {
    datums.is_none_or(|ids| line.datum.is_some_and(|id| ids.contains(&id)))
}
