//! The lines of a job in the order of their times, from the logs of many runs of datum sets.
//!
//! ```text
//!  run 1  ------
//!  run 2     ---------           begins before run 1 ends: both are in memory, and their lines alternate
//!  run 3                 -----   not read before run 2 has ended
//! ```
//!
//! The beginning of a run is in the key of its log, so that a log is read only when its lines are due. Logs whose runs
//! overlap are in memory together, up to [`WINDOW_BYTES`]. If they are larger, those that began later are read late,
//! and their lines come late: memory is bounded, and the order is not exact then. Logs of earlier releases do not tell
//! when they begin and come in the order of their sets.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};
use std::iter::Peekable;
use std::sync::Arc;

use howdah_model::JobKey;
use howdah_protocol::bounded_log::LINE_OVERHEAD;
use howdah_protocol::objects::{LogLine, LogObject, run_of_log_key};
use howdah_store::Store;
use jiff::Timestamp;
use tonic::Status;

use super::stored::{log_keys, read_log, set_of_key};

/// Bytes of lines in memory above which no further log is read before another one has ended.
const WINDOW_BYTES: usize = 16 << 20;

/// A line with the run that it is of.
pub struct MergedLine {
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
    is_stored: bool,
    /// Lines that the coordinator keeps. They may be stored, too.
    pending: Option<LogObject>,
}

/// The log of a run that is being read.
struct OpenLog {
    key: Arc<str>,
    set: u32,
    worker: Arc<str>,
    lines: std::vec::IntoIter<LogLine>,
}

/// Lines in the order of their times.
pub struct LineMerge<'a> {
    store: &'a Store,
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
    ///
    /// `pending` must have been taken before: a log that is stored in between is then in both places, and not in
    /// neither.
    pub async fn of_job(store: &'a Store, job: &JobKey, pending: Vec<LogObject>) -> Result<Self, Status> {
        let mut pending: HashMap<String, LogObject> = pending.into_iter().map(|log| (log.key(), log)).collect();
        let mut sources = Vec::new();
        for key in log_keys(store, job).await? {
            sources.push(Source {
                begin: run_of_log_key(&key).unwrap_or(Timestamp::MIN),
                set: set_of_key(&key).unwrap_or(u32::MAX),
                is_stored: true,
                pending: pending.remove(&key),
                key,
            });
        }
        for (key, log) in pending {
            sources.push(Source {
                // Without a beginning, it is that of its first line.
                begin: log
                    .run
                    .or(log.lines.first().map(|line| line.ts))
                    .unwrap_or(Timestamp::MIN),
                set: log.set,
                key,
                is_stored: false,
                pending: Some(log),
            });
        }
        sources.sort_by(|a, b| (a.begin, a.set, &a.key).cmp(&(b.begin, b.set, &b.key)));
        Ok(Self {
            store,
            sources: sources.into_iter().peekable(),
            open: Vec::new(),
            free: Vec::new(),
            next: BinaryHeap::new(),
            bytes: 0,
        })
    }

    /// Returns the next line.
    pub async fn next(&mut self) -> Result<Option<MergedLine>, Status> {
        while let Some(source) = self.sources.next_if(|source| {
            let Some(Reverse(first)) = self.next.peek() else {
                return true;
            };
            source.begin <= first.ts && self.bytes < WINDOW_BYTES
        }) {
            self.open(source).await?;
        }
        let Some(Reverse(NextLine { log, line, .. })) = self.next.pop() else {
            return Ok(None);
        };
        self.bytes = self.bytes.saturating_sub(cost(&line));
        self.push_next(log);
        let OpenLog { key, set, worker, .. } = &self.open[log];
        Ok(Some(MergedLine {
            key: key.clone(),
            set: *set,
            worker: worker.clone(),
            line,
        }))
    }

    async fn open(&mut self, source: Source) -> Result<(), Status> {
        let Source {
            key,
            is_stored,
            pending,
            ..
        } = source;
        let mut log = match (is_stored, pending) {
            (false, Some(pending)) => pending,
            (_, pending) => {
                let mut log = read_log(self.store, &key).await?;
                // The coordinator may have stored the lines of a worker that came back: what came since is only here.
                let last = log.lines.last().map(|line| line.ts);
                let newer = pending.into_iter().flat_map(|pending| pending.lines);
                log.lines
                    .extend(newer.filter(|line| last.is_none_or(|last| line.ts > last)));
                log
            }
        };
        // The log of an earlier release may have lines of equal time, in any order of two slots.
        if !log.lines.is_sorted_by_key(|line| line.ts) {
            log.lines.sort_by_key(|line| line.ts);
        }
        self.bytes += log.lines.iter().map(cost).sum::<usize>();
        let opened = OpenLog {
            key: key.into(),
            set: log.set,
            worker: log.worker.into(),
            lines: log.lines.into_iter(),
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

    fn push_next(&mut self, log: usize) {
        match self.open[log].lines.next() {
            Some(line) => {
                let ts = line.ts;
                self.next.push(Reverse(NextLine { ts, log, line }));
            }
            None => {
                // Its memory, too: that of its lines is freed only with all of them.
                self.open[log].lines = Vec::new().into_iter();
                self.free.push(log);
            }
        }
    }
}
