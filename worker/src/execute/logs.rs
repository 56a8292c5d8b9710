//! Log lines of one run of a datum set.
//!
//! [`SetLog`] keeps the lines for the store and sends them to followers in batches. However the run ends, its lines are
//! stored ([`SetLog::store`]), under a key of this run. Memory is bounded: of each datum the first and the last lines
//! are kept ([`BoundedLog`]), and a line in between tells how many are left out.
//!
//! A line is sent only after it is on this machine's disk or in the store, so that a line that was shown is not lost
//! with the process. Followers miss lines when sending fails, or when a datum writes faster than they are sent.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use howdah_model::ids::DatumId;
use howdah_protocol::bounded_log::{BoundedLog, LINE_OVERHEAD, LineClock, LogLimits};
use howdah_protocol::messages::{LogBatch, SetMessage};
use howdah_protocol::objects::{LogLine, LogObject};
use howdah_protocol::wire;
use howdah_queue::Queue;
use howdah_store::{Store, StoreError};
use jiff::Timestamp;
use tokio::sync::Notify;

use crate::cache::log_spool::SpoolFile;

/// How long lines are collected before a batch is sent.
const BATCH_DELAY: Duration = Duration::from_millis(100);
/// Bytes of lines in one message. Control characters take six times their size in its JSON, and NATS refuses a message of
/// more than 1 MiB.
const BATCH_BYTES: usize = 128 * 1024;
/// Longest line; a longer one is cut into several.
pub(super) const LINE_BYTES: usize = 32 * 1024;
// A line that does not fit into a batch would never be sent, nor the lines after it. Each byte that is no text becomes
// three.
const _: () = assert!(3 * LINE_BYTES + LINE_OVERHEAD <= BATCH_BYTES);
/// What is kept of a set's lines.
pub(crate) const LOG_LIMITS: LogLimits = LogLimits {
    head: 8 << 20,
    tail: 8 << 20,
    total: 32 << 20,
};

/// The lines of one run of a set. Written by its slots, sent by [`SetLog::send_batches`], stored when the run has
/// ended.
pub(crate) struct SetLog {
    /// Which run this is, without lines.
    run: LogObject,
    buffer: Mutex<LogBuffer>,
    /// Locked after `buffer`, if both are.
    spool: Mutex<SpoolFile>,
    /// Notified when there is a line to send.
    line_added: Notify,
}

struct LogBuffer {
    log: BoundedLog,
    clock: LineClock,
    /// Number of the first line that has not been sent.
    unsent: u64,
}

impl Default for LogBuffer {
    fn default() -> Self {
        Self {
            log: BoundedLog::new(LOG_LIMITS),
            clock: LineClock::default(),
            unsent: 0,
        }
    }
}

impl SetLog {
    /// Begins the log of a run.
    pub(crate) fn new(set: &SetMessage, worker: &str, spool: SpoolFile) -> Arc<Self> {
        // To the microsecond, as keys have it.
        let now = Timestamp::from_microsecond(Timestamp::now().as_microsecond());
        Arc::new(Self {
            run: LogObject {
                pipeline: set.pipeline.clone(),
                job: set.job,
                set: set.set,
                worker: worker.to_owned(),
                run: Some(now.unwrap_or(Timestamp::UNIX_EPOCH)),
                lines: Vec::new(),
                dropped: 0,
            },
            buffer: Mutex::default(),
            spool: Mutex::new(spool),
            line_added: Notify::new(),
        })
    }

    /// Adds a line: of user code, or of the worker if not `user`.
    pub(crate) fn add(&self, datum: Option<DatumId>, user: bool, mut message: String) {
        if message.len() > 3 * LINE_BYTES {
            message.truncate(message.floor_char_boundary(3 * LINE_BYTES));
        }
        let mut buffer = self.lock();
        let ts = buffer.clock.tick(Timestamp::now());
        buffer.log.add(LogLine {
            ts,
            datum,
            user,
            message,
        });
        drop(buffer);
        self.line_added.notify_one();
    }

    /// Returns whether there is a line.
    pub(crate) fn has_lines(&self) -> bool {
        !self.lock().log.is_empty()
    }

    /// Sends lines to followers until the future is dropped.
    pub(crate) async fn send_batches(&self, queue: &Queue) {
        loop {
            self.line_added.notified().await;
            tokio::time::sleep(BATCH_DELAY).await;
            self.send_rest(queue).await;
        }
    }

    /// Sends the lines that have not been sent yet.
    async fn send_rest(&self, queue: &Queue) {
        while let Some(lines) = self.next_batch() {
            self.spool(&lines);
            if !self.send(queue, lines, false).await {
                return;
            }
        }
    }

    async fn send(&self, queue: &Queue, lines: Vec<LogLine>, stored: bool) -> bool {
        let batch = LogBatch {
            pipeline: self.run.pipeline.clone(),
            job: self.run.job,
            set: self.run.set,
            worker: self.run.worker.clone(),
            run: self.run.run,
            stored,
            lines,
        };
        // Not retried: followers miss these lines, the stored log has them.
        let sent = queue.publish_logs(&batch).await;
        if let Err(error) = &sent {
            tracing::debug!(%error, "log lines not sent");
        }
        sent.is_ok()
    }

    /// Writes lines to this machine's disk.
    fn spool(&self, lines: &[LogLine]) {
        let too_large = self.lock_spool().append(&self.run, lines);
        if too_large {
            // Only what is still kept. This happens once in so many bytes that the copy does not matter.
            let kept = self.lock().log.lines();
            self.lock_spool().rewrite(&self.run, &kept);
        }
    }

    /// Writes the lines that have not been sent to this machine's disk.
    pub(crate) fn spool_rest(&self) {
        let rest: Vec<LogLine> = {
            let buffer = self.lock();
            let rest = buffer.log.lines_from(buffer.unsent);
            rest.map(|(_, line)| line.clone()).collect()
        };
        self.spool(&rest);
    }

    /// Stores all lines, if there are any, and returns the key of the object. The log is empty then.
    ///
    /// # Errors
    /// If the store fails. What was sent is on the disk then, and is stored later.
    pub(crate) async fn store(&self, store: &Store, queue: &Queue) -> Result<Option<String>, StoreError> {
        if self.unsent_bytes() > BATCH_BYTES {
            // A second copy of a large log would double its memory.
            self.send_rest(queue).await;
        }
        let (log, rest) = {
            let mut buffer = self.lock();
            let rest = buffer.log.lines_from(buffer.unsent);
            let rest: Vec<LogLine> = rest.map(|(_, line)| line.clone()).collect();
            (std::mem::take(&mut *buffer).log, rest)
        };
        if log.is_empty() {
            return Ok(None);
        }
        let mut object = self.run.clone();
        object.dropped = log.left_out();
        object.lines = log.into_lines();
        let key = object.key();
        let bytes = wire::encode(&object);
        // Lines and encoded bytes together may take twice the log limit.
        drop(object);
        if let Err(error) = store.put(&key, bytes.into()).await {
            self.spool(&rest);
            return Err(error);
        }
        self.lock_spool().remove();
        self.send(queue, rest, true).await;
        Ok(Some(key))
    }

    fn unsent_bytes(&self) -> usize {
        let buffer = self.lock();
        let unsent = buffer.log.lines_from(buffer.unsent);
        unsent.map(|(_, line)| line.message.len() + LINE_OVERHEAD).sum()
    }

    fn next_batch(&self) -> Option<Vec<LogLine>> {
        let mut buffer = self.lock();
        let mut bytes = 0;
        let mut next = buffer.unsent;
        let mut batch = Vec::new();
        for (number, line) in buffer.log.lines_from(buffer.unsent) {
            bytes += line.message.len() + LINE_OVERHEAD;
            if bytes > BATCH_BYTES {
                break;
            }
            next = number + 1;
            batch.push(line.clone());
        }
        buffer.unsent = next;
        (!batch.is_empty()).then_some(batch)
    }

    fn lock(&self) -> MutexGuard<'_, LogBuffer> {
        self.buffer.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn lock_spool(&self) -> MutexGuard<'_, SpoolFile> {
        self.spool.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes a log for tests, whose files are in a folder of their own.
    #[cfg(test)]
    pub(super) fn of_test() -> (Arc<Self>, tempfile::TempDir) {
        let folder = tempfile::tempdir().unwrap();
        let spool = crate::cache::log_spool::LogSpool::open(folder.path()).unwrap();
        let set = SetMessage {
            pipeline: "default/edges".parse().unwrap(),
            version: 1,
            job: howdah_model::ids::GlobalId::from_number(1),
            plan: howdah_protocol::objects::PlanId::EARLIER,
            set: 0,
            attempt: 0,
            inline: None,
        };
        (Self::new(&set, "w", spool.file()), folder)
    }

    /// Takes out all lines.
    #[cfg(test)]
    pub(super) fn take(&self) -> Vec<LogLine> {
        std::mem::take(&mut *self.lock()).log.into_lines()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cache::log_spool::{LogSpool, read_left};
    use crate::execute::lines::LineSplitter;
    use crate::runtime::Stream;

    fn messages(lines: Vec<LogLine>) -> Vec<String> {
        lines.into_iter().map(|line| line.message).collect()
    }

    #[test]
    fn followers_get_every_line_in_order() {
        let (log, _folder) = SetLog::of_test();
        let (mut expected, mut sent) = (Vec::new(), Vec::new());
        // Lines come while others are sent.
        for number in 0..2_000 {
            let message = format!("line {number} {}", "x".repeat(number % 3_000));
            expected.push(message.clone());
            log.add(None, true, message);
            if number % 500 == 0 {
                sent.extend(log.next_batch().unwrap());
            }
        }
        while let Some(batch) = log.next_batch() {
            sent.extend(batch);
        }
        assert!(sent.is_sorted_by(|a, b| a.ts < b.ts), "each line has a time of its own");
        assert!(messages(sent) == expected);
        assert!(messages(log.take()) == expected);
    }

    #[test]
    fn every_batch_fits_into_a_message_whatever_the_lines_hold() {
        // The limit of a NATS server by default.
        const MESSAGE_BYTES: usize = 1 << 20;
        for byte in [0, b'"', b'x', 0x80] {
            let (log, _folder) = SetLog::of_test();
            let mut splitter = LineSplitter::new(&log, DatumId::new([1; 32]));
            splitter.push(Stream::Stdout, &vec![byte; 20 * LINE_BYTES]);
            splitter.push(Stream::Stdout, &[byte, b'\n'].repeat(20_000));
            let (count, _) = splitter.finish();
            log.add(None, false, "\u{1}".repeat(1 << 20));
            let mut sent = 0;
            while let Some(lines) = log.next_batch() {
                sent += lines.len() as u64;
                let batch = LogBatch {
                    pipeline: log.run.pipeline.clone(),
                    job: log.run.job,
                    set: 0,
                    worker: "w".to_owned(),
                    run: log.run.run,
                    stored: false,
                    lines,
                };
                assert!(wire::encode(&batch).len() < MESSAGE_BYTES, "lines of {byte:?}");
            }
            assert_eq!(sent, count + 1);
        }
    }

    #[test]
    fn the_memory_of_a_log_is_bounded() {
        let (log, _folder) = SetLog::of_test();
        let mut splitter = LineSplitter::new(&log, DatumId::new([1; 32]));
        splitter.push(Stream::Stdout, &vec![b'\n'; 400_000]);
        for _ in 0..40 {
            splitter.push(Stream::Stdout, &[b'x'; 1 << 20]);
        }
        splitter.finish();
        let lines = log.take();
        assert!(lines.iter().all(|line| line.message.len() <= LINE_BYTES));
        let bytes: usize = lines.iter().map(|line| line.message.len() + size_of::<LogLine>()).sum();
        assert!(bytes <= LOG_LIMITS.head + LOG_LIMITS.tail + LINE_BYTES, "{bytes} bytes");
        let gaps = lines.iter().filter(|line| line.message.contains("left out here"));
        assert_eq!(gaps.count(), 1);
        assert!(log.next_batch().is_none(), "nothing is left to send");
    }

    #[tokio::test]
    async fn lines_that_were_sent_survive_the_process_and_those_that_are_stored_leave_nothing() {
        let server = howdah_queue::testing::NatsServer::start();
        let queue = howdah_queue::testing::worker(&server.url(), "w").await;
        let store = Store::in_memory().await;
        let (log, folder) = SetLog::of_test();
        log.add(None, true, "one".to_owned());
        log.send_rest(&queue).await;
        log.add(None, true, "two".to_owned());
        let files = || LogSpool::open(folder.path()).unwrap().take_left();
        let left = read_left(&files()[0], LOG_LIMITS).unwrap().unwrap();
        assert_eq!(
            (left.key(), messages(left.lines)),
            (log.run.key(), vec!["one".to_owned()])
        );
        log.spool_rest();
        let left = read_left(&files()[0], LOG_LIMITS).unwrap().unwrap();
        assert_eq!(messages(left.lines), ["one", "two"]);
        let key = log.store(&store, &queue).await.unwrap().unwrap();
        let stored: LogObject = wire::decode(&store.get(&key).await.unwrap()).unwrap();
        assert_eq!(
            (stored.key(), messages(stored.lines)),
            (key, vec!["one".to_owned(), "two".to_owned()])
        );
        assert!(files().is_empty());
        assert_eq!(log.store(&store, &queue).await.unwrap(), None, "no line is left");
    }
}
