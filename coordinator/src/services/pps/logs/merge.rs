//! The lines of a job in the order of their times, from the logs of many runs of datum sets.
//!
//! ```text
//!  run 1  ------
//!  run 2     ---------           begins before run 1 ends: both are in memory, and their lines alternate
//!  run 3                 -----   not read before run 2 has ended
//! ```
//!
//! The beginning of a run is in the key of its log, so that a log is read only when its lines are due. Logs whose runs
//! overlap are in memory together, up to [`WINDOW_BYTES`]. If they are larger, or other calls use the memory for
//! replies, those that began later are read late, and their lines come late: memory is bounded, and the order is not
//! exact then. Logs of earlier releases do not tell when they begin and come in the order of their sets.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};
use std::iter::Peekable;
use std::sync::Arc;

use howdah_model::JobKey;
use howdah_protocol::bounded_log::LINE_OVERHEAD;
use howdah_protocol::objects::{LogLine, LogObject, run_of_log_key};
use jiff::Timestamp;
use tonic::Status;

use super::stored::{log_objects, read_log, set_of_key};
use crate::live::PendingRunInfo;
use crate::memory_budget::Reservation;
use crate::metadata::Core;
use crate::services::status::IntoStatus;

/// Bytes of lines in memory above which no further log is read before another one has ended.
const WINDOW_BYTES: usize = 16 << 20;
/// Size of a log for which no memory is reserved.
const FREE_BYTES: usize = 256 << 10;

/// A line with the run that it is of.
pub(super) struct MergedLine {
    /// Key of the run's log object.
    pub key: Arc<str>,
    /// The set.
    pub set: u32,
    /// The worker.
    pub worker: Arc<str>,
    /// The line.
    pub line: LogLine,
}

/// The log of a run that has not been read.
struct Source {
    /// Beginning of the run; the earliest time if it is not known.
    begin: Timestamp,
    set: u32,
    key: String,
    /// Bytes of its object or of its lines.
    bytes: usize,
    is_stored: bool,
    /// Whether the coordinator kept lines of it. They may be stored, too.
    is_pending: bool,
}

/// The log of a run that is being read.
struct OpenLog {
    key: Arc<str>,
    set: u32,
    worker: Arc<str>,
    lines: std::vec::IntoIter<LogLine>,
    memory: Option<Reservation>,
}

/// Lines in the order of their times.
pub(super) struct LineMerge<'a> {
    core: &'a Core,
    job: JobKey,
    /// In the order of their beginnings.
    sources: Peekable<std::vec::IntoIter<Source>>,
    open: Vec<OpenLog>,
    /// Places in `open` whose logs have ended.
    free: Vec<usize>,
    /// The next line of each open log, by time.
    next: BinaryHeap<Reverse<NextLine>>,
    /// Bytes of the lines of all open logs.
    bytes: usize,
}

/// The next line of an open log. Ordered by time, then by log.
struct NextLine {
    ts: Timestamp,
    log: usize,
    line: LogLine,
}

impl PartialEq for NextLine {
    fn eq(&self, other: &Self) -> bool {
        (self.ts, self.log) == (other.ts, other.log)
    }
}

impl Eq for NextLine {}

impl PartialOrd for NextLine {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for NextLine {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.ts, self.log).cmp(&(other.ts, other.log))
    }
}

fn cost(line: &LogLine) -> usize {
    line.message.len() + LINE_OVERHEAD
}

impl<'a> LineMerge<'a> {
    /// Begins with the logs of a job: those in the store, and what the coordinator keeps.
    pub(super) async fn of_job(core: &'a Core, job: &JobKey) -> Result<Self, Status> {
        // First what is pending: a log that is stored in between is then in both places, and not in neither.
        let runs = core.live().logs.pending_runs(job).into_iter();
        let mut pending: HashMap<String, PendingRunInfo> = runs.map(|run| (run.key.clone(), run)).collect();
        let mut sources = Vec::new();
        for log in log_objects(core.store(), job).await? {
            let run = pending.remove(&log.key);
            sources.push(Source {
                begin: run_of_log_key(&log.key).unwrap_or(Timestamp::MIN),
                set: set_of_key(&log.key).unwrap_or(u32::MAX),
                // Its bytes, and its lines, which are decoded from them.
                bytes: usize::try_from(log.size).unwrap_or(usize::MAX).saturating_mul(2)
                    + run.as_ref().map_or(0, |run| run.bytes),
                is_stored: true,
                is_pending: run.is_some(),
                key: log.key,
            });
        }
        for (key, run) in pending {
            sources.push(Source {
                begin: run.begin.unwrap_or(Timestamp::MIN),
                set: run.set,
                key,
                bytes: run.bytes,
                is_stored: false,
                is_pending: true,
            });
        }
        sources.sort_by(|a, b| (a.begin, a.set, &a.key).cmp(&(b.begin, b.set, &b.key)));
        Ok(Self {
            core,
            job: job.clone(),
            sources: sources.into_iter().peekable(),
            open: Vec::new(),
            free: Vec::new(),
            next: BinaryHeap::new(),
            bytes: 0,
        })
    }

    /// Returns the next line.
    pub(super) async fn next(&mut self) -> Result<Option<MergedLine>, Status> {
        self.open_due().await?;
        let Some(Reverse(NextLine { log, line, .. })) = self.next.pop() else {
            return Ok(None);
        };
        self.bytes = self.bytes.saturating_sub(cost(&line));
        let OpenLog { key, set, worker, .. } = &self.open[log];
        let merged = MergedLine {
            key: key.clone(),
            set: *set,
            worker: worker.clone(),
            line,
        };
        self.push_next(log);
        Ok(Some(merged))
    }

    /// Opens the logs that may have the next line.
    async fn open_due(&mut self) -> Result<(), Status> {
        while let Some(source) = self.sources.peek() {
            let first = self.next.peek().map(|Reverse(first)| first.ts);
            let is_due = first.is_none_or(|first| source.begin <= first && self.bytes < WINDOW_BYTES);
            if !is_due {
                return Ok(());
            }
            let budget = &self.core.live().reply_memory;
            let memory = match (source.bytes > FREE_BYTES, first) {
                (false, _) => None,
                // A call that waits must not hold memory itself. With other logs open, this one comes late instead.
                (true, Some(_)) => match budget.try_reserve(source.bytes) {
                    Some(memory) => Some(memory),
                    None => return Ok(()),
                },
                (true, None) => Some(budget.reserve(source.bytes).await.map_err(IntoStatus::into_status)?),
            };
            if let Some(source) = self.sources.next() {
                self.open(source, memory).await?;
            }
        }
        Ok(())
    }

    async fn open(&mut self, source: Source, mut memory: Option<Reservation>) -> Result<(), Status> {
        let Some(mut log) = self.read(&source).await? else {
            return Ok(());
        };
        // The log of an earlier release may have lines of equal time, in any order of two slots.
        if !log.lines.is_sorted_by_key(|line| line.ts) {
            log.lines.sort_by_key(|line| line.ts);
        }
        let bytes = log.lines.iter().map(cost).sum::<usize>();
        self.bytes += bytes;
        if let Some(memory) = &mut memory {
            memory.shrink(bytes);
        }
        let opened = OpenLog {
            key: source.key.into(),
            set: log.set,
            worker: log.worker.into(),
            lines: log.lines.into_iter(),
            memory,
        };
        let place = match self.free.pop() {
            Some(place) => {
                self.open[place] = opened;
                place
            }
            None => {
                self.open.push(opened);
                self.open.len() - 1
            }
        };
        self.push_next(place);
        Ok(())
    }

    /// Reads a log; `None` if its lines were dropped meanwhile.
    async fn read(&self, source: &Source) -> Result<Option<LogObject>, Status> {
        let pending = source
            .is_pending
            .then(|| self.core.live().logs.pending_run(&self.job, &source.key));
        let pending = pending.flatten();
        if !source.is_stored && pending.is_some() {
            return Ok(pending);
        }
        let Some(mut log) = read_log(self.core.store(), &source.key).await? else {
            return Ok(pending);
        };
        // The coordinator may have stored the lines of a worker that came back: what came since is only here.
        let last = log.lines.last().map(|line| line.ts);
        let newer = pending.into_iter().flat_map(|pending| pending.lines);
        log.lines
            .extend(newer.filter(|line| last.is_none_or(|last| line.ts > last)));
        Ok(Some(log))
    }

    fn push_next(&mut self, log: usize) {
        match self.open[log].lines.next() {
            Some(line) => {
                let ts = line.ts;
                self.next.push(Reverse(NextLine { ts, log, line }));
            }
            None => {
                // Its memory, too: that of its lines is freed only with all of them.
                self.open[log].lines = Vec::new().into_iter();
                self.open[log].memory = None;
                self.free.push(log);
            }
        }
    }
}
