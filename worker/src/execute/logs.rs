//! Log lines of one datum set: cut into lines, sent to followers in batches, kept for the store.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use howdah_model::ids::DatumId;
use howdah_protocol::messages::{LogBatch, SetMessage};
use howdah_protocol::objects::LogLine;
use howdah_queue::Queue;
use jiff::Timestamp;
use tokio::sync::Notify;

use crate::runtime::Stream;

/// How long lines are gathered before they are sent.
const BATCH_DELAY: Duration = Duration::from_millis(100);
/// Bytes of lines in one message; well below NATS's limit of 1 MiB.
const BATCH_BYTES: usize = 256 * 1024;
/// What a line takes beside its text, in memory and in a message: a program that prints nothing but
/// newlines must not escape the limits.
const LINE_OVERHEAD: usize = 128;
/// Bytes of lines kept per set; what comes after is counted and dropped.
const KEEP_BYTES: usize = 32 << 20;
/// Longest line; longer ones are cut into several.
const LINE_BYTES: usize = 32 * 1024;
/// End of standard error that is kept for the reason of a failure.
const TAIL_BYTES: usize = 4 * 1024;

/// The lines of one set. Filled by its slot, emptied by [`SetLog::send_batches`].
pub struct SetLog {
    state: Mutex<State>,
    /// Rung when there is something to send.
    bell: Notify,
}

#[derive(Default)]
struct State {
    lines: Vec<LogLine>,
    kept_bytes: usize,
    dropped: u64,
    /// Lines that followers have.
    sent: usize,
}

impl SetLog {
    /// Begins a log.
    pub fn new() -> Arc<Self> {
        Arc::new(Self {
            state: Mutex::new(State::default()),
            bell: Notify::new(),
        })
    }

    /// Adds a line.
    pub fn add(&self, datum: Option<DatumId>, user: bool, message: String) {
        let mut state = self.lock();
        let cost = message.len() + LINE_OVERHEAD;
        if state.kept_bytes + cost > KEEP_BYTES {
            state.dropped += 1;
            return;
        }
        state.kept_bytes += cost;
        state.lines.push(LogLine {
            ts: Timestamp::now(),
            datum,
            user,
            message,
        });
        drop(state);
        self.bell.notify_one();
    }

    /// Takes all lines out, and the number of dropped ones. What has not been sent by then is not
    /// sent any more: the log may be big, and a second copy of it would double what it takes.
    pub fn take(&self) -> (Vec<LogLine>, u64) {
        let State { lines, dropped, .. } = std::mem::take(&mut *self.lock());
        (lines, dropped)
    }

    /// Sends lines to followers until cancelled by being dropped.
    pub async fn send_batches(&self, queue: &Queue, set: &SetMessage, worker: &str) {
        loop {
            self.bell.notified().await;
            tokio::time::sleep(BATCH_DELAY).await;
            self.send_rest(queue, set, worker).await;
        }
    }

    /// Sends what has not been sent yet.
    pub async fn send_rest(&self, queue: &Queue, set: &SetMessage, worker: &str) {
        while let Some(lines) = self.next_batch() {
            let batch = LogBatch {
                pipeline: set.pipeline.clone(),
                job: set.job,
                set: set.set,
                worker: worker.to_owned(),
                lines,
            };
            // Followers see less; the lasting copy is complete.
            if let Err(error) = queue.publish_logs(&batch).await {
                tracing::debug!(%error, "log lines not sent");
                return;
            }
        }
    }

    fn next_batch(&self) -> Option<Vec<LogLine>> {
        let mut state = self.lock();
        let mut bytes = 0;
        let batch: Vec<LogLine> = state.lines[state.sent..]
            .iter()
            .take_while(|line| {
                bytes += line.message.len() + LINE_OVERHEAD;
                bytes <= BATCH_BYTES
            })
            .cloned()
            .collect();
        state.sent += batch.len();
        (!batch.is_empty()).then_some(batch)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Cuts the output of one command into lines.
pub struct Splitter<'a> {
    log: &'a SetLog,
    datum: DatumId,
    begun: [Vec<u8>; 2],
    lines: u64,
    tail: Vec<u8>,
}

impl<'a> Splitter<'a> {
    /// Begins with nothing.
    pub fn new(log: &'a SetLog, datum: DatumId) -> Self {
        Self {
            log,
            datum,
            begun: [Vec::new(), Vec::new()],
            lines: 0,
            tail: Vec::new(),
        }
    }

    /// Takes a piece of output.
    pub fn push(&mut self, stream: Stream, mut bytes: &[u8]) {
        let index = match stream {
            Stream::Stdout => 0,
            Stream::Stderr => {
                self.remember(bytes);
                1
            }
        };
        while let Some(end) = bytes.iter().position(|byte| *byte == b'\n') {
            self.begun[index].extend_from_slice(&bytes[..end]);
            bytes = &bytes[end + 1..];
            self.line(index);
        }
        self.begun[index].extend_from_slice(bytes);
        if self.begun[index].len() > LINE_BYTES {
            self.line(index);
        }
    }

    /// Ends lines that have no end; returns their number in all and the end of standard error.
    pub fn finish(mut self) -> (u64, String) {
        for index in 0..2 {
            if !self.begun[index].is_empty() {
                self.line(index);
            }
        }
        (self.lines, String::from_utf8_lossy(&self.tail).into_owned())
    }

    fn line(&mut self, index: usize) {
        let mut bytes = std::mem::take(&mut self.begun[index]);
        if bytes.last() == Some(&b'\r') {
            bytes.pop();
        }
        let pieces = bytes.chunks(LINE_BYTES).map(String::from_utf8_lossy);
        let mut any = false;
        for piece in pieces {
            any = true;
            self.lines += 1;
            self.log.add(Some(self.datum), true, piece.into_owned());
        }
        if !any {
            self.lines += 1;
            self.log.add(Some(self.datum), true, String::new());
        }
    }

    fn remember(&mut self, bytes: &[u8]) {
        self.tail.extend_from_slice(bytes);
        if self.tail.len() > TAIL_BYTES {
            self.tail.drain(..self.tail.len() - TAIL_BYTES);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(log: &SetLog) -> Vec<String> {
        log.take().0.into_iter().map(|line| line.message).collect()
    }

    #[test]
    fn output_is_cut_into_lines_however_it_arrives() {
        let log = SetLog::new();
        let mut splitter = Splitter::new(&log, DatumId::new([1; 32]));
        splitter.push(Stream::Stdout, b"one\ntw");
        splitter.push(Stream::Stderr, b"oh\r\n\nno");
        splitter.push(Stream::Stdout, b"o\n");
        let (count, tail) = splitter.finish();
        assert_eq!(lines(&log), ["one", "oh", "", "two", "no"]);
        assert_eq!((count, tail.as_str()), (5, "oh\r\n\nno"));
    }

    #[test]
    fn endless_lines_and_endless_logs_are_bounded() {
        let log = SetLog::new();
        let mut splitter = Splitter::new(&log, DatumId::new([1; 32]));
        for _ in 0..40 {
            splitter.push(Stream::Stdout, &[b'x'; 1 << 20]);
        }
        splitter.finish();
        let (lines, dropped) = log.take();
        assert!(lines.iter().all(|line| line.message.len() <= LINE_BYTES));
        assert!(lines.iter().map(|line| line.message.len()).sum::<usize>() <= KEEP_BYTES);
        assert!(dropped > 0);
    }

    #[test]
    fn empty_lines_count_too() {
        let log = SetLog::new();
        let mut splitter = Splitter::new(&log, DatumId::new([1; 32]));
        splitter.push(Stream::Stdout, &vec![b'\n'; 400_000]);
        splitter.finish();
        assert!(log.next_batch().unwrap().len() <= BATCH_BYTES / LINE_OVERHEAD);
        let (lines, dropped) = log.take();
        assert!(lines.len() * size_of::<LogLine>() <= KEEP_BYTES);
        assert_eq!(lines.len() as u64 + dropped, 400_000);
        assert!(log.next_batch().is_none(), "nothing is left to send");
    }
}
