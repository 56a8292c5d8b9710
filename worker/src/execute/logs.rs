//! Log lines of one datum set.
//!
//! [`LineSplitter`] cuts the output of a command into lines; [`SetLog`] keeps them for the store and publishes them to
//! followers in batches. Memory is bounded: lines above [`KEEP_BYTES`] are counted and dropped, and a last line says so. A
//! set that ends without a result stores no lines. Followers also miss lines when publishing fails.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use howdah_model::ids::DatumId;
use howdah_protocol::messages::{LogBatch, SetMessage};
use howdah_protocol::objects::LogLine;
use howdah_queue::Queue;
use jiff::Timestamp;
use tokio::sync::Notify;

use crate::runtime::Stream;

/// How long lines are collected before a batch is sent.
const BATCH_DELAY: Duration = Duration::from_millis(100);
/// Bytes of lines in one message. Control characters take six times their size in its JSON, and NATS refuses a message of
/// more than 1 MiB.
const BATCH_BYTES: usize = 128 * 1024;
/// Bytes that a line takes in memory and in a message besides its text. Without it, a program that prints only newlines
/// would escape the limits.
const LINE_OVERHEAD: usize = 128;
/// Bytes of lines that are kept per set; further lines are counted and dropped.
const KEEP_BYTES: usize = 32 << 20;
/// Longest line; a longer one is cut into several.
const LINE_BYTES: usize = 32 * 1024;
// A line that does not fit into a batch would never be sent, nor the lines after it. Each byte that is no text becomes
// three.
const _: () = assert!(3 * LINE_BYTES + LINE_OVERHEAD <= BATCH_BYTES);
/// Bytes at the end of standard error that are kept for failure messages.
const TAIL_BYTES: usize = 4 * 1024;

/// The lines of one set. Written by its slots, sent by [`SetLog::send_batches`], taken once the set is done.
pub struct SetLog {
    buffer: Mutex<LogBuffer>,
    /// Notified when there is a line to send.
    line_added: Notify,
}

#[derive(Default)]
struct LogBuffer {
    lines: Vec<LogLine>,
    kept_bytes: usize,
    dropped: u64,
    /// Number of lines that have been sent to followers.
    sent: usize,
}

impl SetLog {
    /// Makes an empty log.
    pub fn new() -> Arc<Self> {
        Arc::new(Self {
            buffer: Mutex::new(LogBuffer::default()),
            line_added: Notify::new(),
        })
    }

    /// Adds a line: of user code, or of the worker if not `user`.
    pub fn add(&self, datum: Option<DatumId>, user: bool, message: String) {
        let mut buffer = self.lock();
        let cost = message.len() + LINE_OVERHEAD;
        if buffer.kept_bytes + cost > KEEP_BYTES {
            buffer.dropped += 1;
            return;
        }
        buffer.kept_bytes += cost;
        buffer.lines.push(LogLine {
            ts: Timestamp::now(),
            datum,
            user,
            message,
        });
        drop(buffer);
        self.line_added.notify_one();
    }

    /// Adds a line of the worker that says how many lines were dropped, if any. It has room beyond the limit.
    pub fn report_dropped(&self) {
        let mut buffer = self.lock();
        if buffer.dropped > 0 {
            let message = format!(
                "{} further lines were dropped: at most {} MiB of lines are kept for a datum set",
                buffer.dropped,
                KEEP_BYTES >> 20
            );
            buffer.lines.push(LogLine {
                ts: Timestamp::now(),
                datum: None,
                user: false,
                message,
            });
        }
    }

    /// Takes out all lines and the number of dropped ones. Lines that have not been sent by then are not sent: a second
    /// copy of a large log would double its memory.
    pub fn take(&self) -> (Vec<LogLine>, u64) {
        let LogBuffer { lines, dropped, .. } = std::mem::take(&mut *self.lock());
        (lines, dropped)
    }

    /// Sends lines to followers until the future is dropped.
    pub async fn send_batches(&self, queue: &Queue, set: &SetMessage, worker: &str) {
        loop {
            self.line_added.notified().await;
            tokio::time::sleep(BATCH_DELAY).await;
            self.send_rest(queue, set, worker).await;
        }
    }

    /// Sends the lines that have not been sent yet.
    pub async fn send_rest(&self, queue: &Queue, set: &SetMessage, worker: &str) {
        while let Some(lines) = self.next_batch() {
            let batch = LogBatch {
                pipeline: set.pipeline.clone(),
                job: set.job,
                set: set.set,
                worker: worker.to_owned(),
                lines,
            };
            // Not retried: followers miss these lines, the stored log has them.
            if let Err(error) = queue.publish_logs(&batch).await {
                tracing::debug!(%error, "log lines not sent");
                return;
            }
        }
    }

    fn next_batch(&self) -> Option<Vec<LogLine>> {
        let mut buffer = self.lock();
        let mut bytes = 0;
        let batch: Vec<LogLine> = buffer.lines[buffer.sent..]
            .iter()
            .take_while(|line| {
                bytes += line.message.len() + LINE_OVERHEAD;
                bytes <= BATCH_BYTES
            })
            .cloned()
            .collect();
        buffer.sent += batch.len();
        (!batch.is_empty()).then_some(batch)
    }

    fn lock(&self) -> MutexGuard<'_, LogBuffer> {
        self.buffer.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Cuts the output of one command into lines.
pub struct LineSplitter<'a> {
    log: &'a SetLog,
    datum: DatumId,
    /// Unfinished lines of standard output and standard error.
    unfinished: [Vec<u8>; 2],
    /// Number of lines so far.
    lines: u64,
    /// End of standard error.
    tail: Vec<u8>,
}

impl<'a> LineSplitter<'a> {
    /// Starts with no output.
    pub fn new(log: &'a SetLog, datum: DatumId) -> Self {
        Self {
            log,
            datum,
            unfinished: [Vec::new(), Vec::new()],
            lines: 0,
            tail: Vec::new(),
        }
    }

    /// Adds a piece of output.
    pub fn push(&mut self, stream: Stream, mut bytes: &[u8]) {
        let index = match stream {
            Stream::Stdout => 0,
            Stream::Stderr => {
                self.keep_tail(bytes);
                1
            }
        };
        while let Some(end) = bytes.iter().position(|byte| *byte == b'\n') {
            self.unfinished[index].extend_from_slice(&bytes[..end]);
            bytes = &bytes[end + 1..];
            self.end_line(index);
        }
        self.unfinished[index].extend_from_slice(bytes);
        self.cut_long_line(index);
    }

    /// Ends unfinished lines; returns the number of all lines and the end of standard error.
    pub fn finish(mut self) -> (u64, String) {
        for index in 0..2 {
            if !self.unfinished[index].is_empty() {
                self.end_line(index);
            }
        }
        (self.lines, String::from_utf8_lossy(&self.tail).into_owned())
    }

    fn end_line(&mut self, index: usize) {
        if self.unfinished[index].last() == Some(&b'\r') {
            self.unfinished[index].pop();
        }
        self.cut_long_line(index);
        let rest = std::mem::take(&mut self.unfinished[index]);
        self.add_line(&rest);
    }

    /// Ends a line for each [`LINE_BYTES`] of an unfinished line, so that at most as many remain.
    fn cut_long_line(&mut self, index: usize) {
        if self.unfinished[index].len() <= LINE_BYTES {
            return;
        }
        let mut bytes = std::mem::take(&mut self.unfinished[index]);
        let mut start = 0;
        while bytes.len() - start > LINE_BYTES {
            let end = start + piece_length(&bytes[start..]);
            self.add_line(&bytes[start..end]);
            start = end;
        }
        bytes.drain(..start);
        self.unfinished[index] = bytes;
    }

    fn add_line(&mut self, bytes: &[u8]) {
        self.lines += 1;
        let message = String::from_utf8_lossy(bytes).into_owned();
        self.log.add(Some(self.datum), true, message);
    }

    fn keep_tail(&mut self, bytes: &[u8]) {
        self.tail.extend_from_slice(bytes);
        if self.tail.len() > TAIL_BYTES {
            self.tail.drain(..self.tail.len() - TAIL_BYTES);
        }
    }
}

/// Returns the length of the first piece of a line that is longer than [`LINE_BYTES`]. No character is cut in two.
fn piece_length(line: &[u8]) -> usize {
    // At most three bytes of a character come after its first. They, and no others, begin with the bits 10.
    let is_inside = |at: usize| line.get(at).is_some_and(|byte| byte >> 6 == 0b10);
    let between = (LINE_BYTES - 3..=LINE_BYTES).rev().find(|at| !is_inside(*at));
    between.unwrap_or(LINE_BYTES)
}

#[cfg(test)]
mod tests {
    use howdah_model::ids::GlobalId;
    use howdah_protocol::wire;

    use super::*;

    fn lines(log: &SetLog) -> Vec<String> {
        log.take().0.into_iter().map(|line| line.message).collect()
    }

    #[test]
    fn output_is_cut_into_lines_at_any_boundary_of_pieces() {
        let log = SetLog::new();
        let mut splitter = LineSplitter::new(&log, DatumId::new([1; 32]));
        splitter.push(Stream::Stdout, b"one\ntw");
        splitter.push(Stream::Stderr, b"oh\r\n\nno");
        splitter.push(Stream::Stdout, b"o\n");
        let (count, tail) = splitter.finish();
        assert_eq!(lines(&log), ["one", "oh", "", "two", "no"]);
        assert_eq!((count, tail.as_str()), (5, "oh\r\n\nno"));
    }

    #[test]
    fn a_long_line_is_cut_between_characters() {
        let text = "aé€😀".repeat(20_000);
        for piece in [4_099, 65_536, text.len()] {
            let log = SetLog::new();
            let mut splitter = LineSplitter::new(&log, DatumId::new([1; 32]));
            for bytes in text.as_bytes().chunks(piece) {
                splitter.push(Stream::Stdout, bytes);
            }
            splitter.push(Stream::Stdout, b"\r\n");
            let (count, _) = splitter.finish();
            let lines = lines(&log);
            assert_eq!(count, lines.len() as u64);
            assert!(lines.concat() == text, "pieces of {piece} bytes");
            let (_, full) = lines.split_last().unwrap();
            assert!(
                full.iter()
                    .all(|line| (LINE_BYTES - 3..=LINE_BYTES).contains(&line.len()))
            );
        }
    }

    #[test]
    fn a_line_of_the_greatest_length_is_not_cut() {
        let log = SetLog::new();
        let mut splitter = LineSplitter::new(&log, DatumId::new([1; 32]));
        for length in [LINE_BYTES, LINE_BYTES + 1] {
            splitter.push(Stream::Stdout, &vec![b'x'; length]);
            splitter.push(Stream::Stdout, b"\n");
        }
        splitter.finish();
        let lengths: Vec<usize> = lines(&log).iter().map(String::len).collect();
        assert_eq!(lengths, [LINE_BYTES, LINE_BYTES, 1]);
    }

    #[test]
    fn endless_lines_and_endless_logs_are_bounded() {
        let log = SetLog::new();
        let mut splitter = LineSplitter::new(&log, DatumId::new([1; 32]));
        for _ in 0..40 {
            splitter.push(Stream::Stdout, &[b'x'; 1 << 20]);
        }
        splitter.finish();
        log.report_dropped();
        let (mut lines, dropped) = log.take();
        assert!(dropped > 0);
        let last = lines.pop().unwrap();
        assert!(!last.user && last.datum.is_none());
        let text = format!("{dropped} further lines were dropped: at most 32 MiB of lines are kept for a datum set");
        assert_eq!(last.message, text);
        assert!(lines.iter().all(|line| line.message.len() <= LINE_BYTES));
        assert!(lines.iter().map(|line| line.message.len()).sum::<usize>() <= KEEP_BYTES);
    }

    #[test]
    fn bytes_that_are_no_text_are_replaced_one_by_one() {
        let log = SetLog::new();
        let mut splitter = LineSplitter::new(&log, DatumId::new([1; 32]));
        splitter.push(Stream::Stdout, b"\0\xff\x80a\xc3\n\xa9");
        let (count, _) = splitter.finish();
        assert_eq!(lines(&log), ["\0\u{fffd}\u{fffd}a\u{fffd}", "\u{fffd}"]);
        assert_eq!(count, 2);
        // A whole piece without any text: each byte becomes three, and no line is lost.
        let mut splitter = LineSplitter::new(&log, DatumId::new([1; 32]));
        splitter.push(Stream::Stdout, &[0x80; 2 * LINE_BYTES + 10]);
        splitter.finish();
        let lines = lines(&log);
        assert!(lines.iter().all(|line| line.len() <= 3 * LINE_BYTES));
        assert_eq!(lines.concat().chars().count(), 2 * LINE_BYTES + 10);
    }

    #[test]
    fn the_limit_holds_for_all_datums_of_a_set_together() {
        let log = SetLog::new();
        let line = [b'x'; 10_000];
        let mut written = 0;
        for number in 0..8 {
            let mut splitter = LineSplitter::new(&log, DatumId::new([number; 32]));
            for _ in 0..500 {
                splitter.push(Stream::Stdout, &line);
                splitter.push(Stream::Stdout, b"\n");
            }
            written += splitter.finish().0;
        }
        // A short line that has no room either.
        log.add(None, false, "x".repeat(KEEP_BYTES % (line.len() + LINE_OVERHEAD)));
        let (lines, dropped) = log.take();
        assert_eq!(lines.len() as u64 + dropped, written + 1);
        assert_eq!(lines.len(), KEEP_BYTES / (line.len() + LINE_OVERHEAD));
        let datums: Vec<_> = lines.iter().filter_map(|line| line.datum).collect();
        assert!(datums.is_sorted(), "the first lines are kept, in their order");
    }

    #[test]
    fn followers_get_every_line_in_order_before_the_lines_are_taken() {
        let log = SetLog::new();
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
        let sent: Vec<String> = sent.into_iter().map(|line| line.message).collect();
        assert!(sent == expected);
        assert!(lines(&log) == expected);
    }

    #[test]
    fn every_batch_fits_into_a_message_whatever_the_lines_hold() {
        // The limit of a NATS server by default.
        const MESSAGE_BYTES: usize = 1 << 20;
        for byte in [0, b'"', b'x', 0x80] {
            let log = SetLog::new();
            let mut splitter = LineSplitter::new(&log, DatumId::new([1; 32]));
            splitter.push(Stream::Stdout, &vec![byte; 20 * LINE_BYTES]);
            splitter.push(Stream::Stdout, &[byte, b'\n'].repeat(20_000));
            let (count, _) = splitter.finish();
            let mut sent = 0;
            while let Some(lines) = log.next_batch() {
                sent += lines.len() as u64;
                let batch = LogBatch {
                    pipeline: "default/edges".parse().unwrap(),
                    job: GlobalId::from_number(1),
                    set: 0,
                    worker: "w".to_owned(),
                    lines,
                };
                assert!(wire::encode(&batch).len() < MESSAGE_BYTES, "lines of {byte:?}");
            }
            assert_eq!(sent, count);
        }
    }

    #[test]
    fn of_standard_error_the_end_is_kept_for_messages() {
        let log = SetLog::new();
        let mut splitter = LineSplitter::new(&log, DatumId::new([1; 32]));
        for number in 0..1_000 {
            splitter.push(Stream::Stderr, format!("line {number}\n").as_bytes());
            splitter.push(Stream::Stdout, b"not this\n");
        }
        let (count, tail) = splitter.finish();
        assert_eq!((count, tail.len()), (2_000, TAIL_BYTES));
        assert!(tail.ends_with("line 998\nline 999\n"));
        assert!(!tail.contains("not this"));
    }

    #[test]
    fn empty_lines_count_too() {
        let log = SetLog::new();
        let mut splitter = LineSplitter::new(&log, DatumId::new([1; 32]));
        splitter.push(Stream::Stdout, &vec![b'\n'; 400_000]);
        splitter.finish();
        assert!(log.next_batch().unwrap().len() <= BATCH_BYTES / LINE_OVERHEAD);
        let (lines, dropped) = log.take();
        assert!(lines.len() * size_of::<LogLine>() <= KEEP_BYTES);
        assert_eq!(lines.len() as u64 + dropped, 400_000);
        assert!(log.next_batch().is_none(), "nothing is left to send");
    }
}
