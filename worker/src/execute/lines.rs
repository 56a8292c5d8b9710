//! Cutting the output of a command into lines.

use howdah_model::ids::DatumId;

use crate::execute::logs::{LINE_BYTES, SetLog};
use crate::runtime::Stream;

/// Bytes at the end of standard error that are kept for failure messages.
const TAIL_BYTES: usize = 4 * 1024;

/// Cuts the output of one command into lines.
pub(super) struct LineSplitter<'a> {
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
    pub(super) fn new(log: &'a SetLog, datum: DatumId) -> Self {
        Self {
            log,
            datum,
            unfinished: [Vec::new(), Vec::new()],
            lines: 0,
            tail: Vec::new(),
        }
    }

    /// Adds a piece of output.
    pub(super) fn push(&mut self, stream: Stream, mut bytes: &[u8]) {
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
    pub(super) fn finish(mut self) -> (u64, String) {
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
    use super::*;

    fn lines(log: &SetLog) -> Vec<String> {
        log.take().into_iter().map(|line| line.message).collect()
    }

    #[test]
    fn output_is_cut_into_lines_at_any_boundary_of_pieces() {
        let (log, _folder) = SetLog::of_test();
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
            let (log, _folder) = SetLog::of_test();
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
        let (log, _folder) = SetLog::of_test();
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
    fn bytes_that_are_no_text_are_replaced_one_by_one() {
        let (log, _folder) = SetLog::of_test();
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
    fn of_standard_error_the_end_is_kept_for_messages() {
        let (log, _folder) = SetLog::of_test();
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
}
