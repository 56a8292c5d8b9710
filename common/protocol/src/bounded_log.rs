//! Log lines within limits: of each datum the first and the last ones are kept.
//!
//! ```text
//! lines of a datum   1 2 3 4 5 6 7 8 9 ...          100
//! kept               1 2 3 (94 lines left out) 98 99 100
//!                    head                      tail
//! ```
//!
//! A datum that writes much loses lines of its middle; the lines of other datums stay. If all datums together exceed
//! the limit of the whole log, those with the most bytes lose further lines until each of them has as many as the
//! others. Lines of user code and lines of the worker are counted apart, so that user code cannot displace what the
//! worker says about it.
//!
//! Pure: no I/O and no clock.

use std::collections::{BTreeMap, HashMap, VecDeque};

use howdah_model::ids::DatumId;
use jiff::{SignedDuration, Timestamp};

use crate::objects::LogLine;

/// Bytes that a line takes in memory and in a message besides its text. Without it, a program that prints only newlines
/// would escape the limits.
pub const LINE_OVERHEAD: usize = 128;

/// Limits of a [`BoundedLog`], in bytes of lines with [`LINE_OVERHEAD`] for each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LogLimits {
    /// First lines of a datum.
    pub head: usize,
    /// Last lines of a datum.
    pub tail: usize,
    /// All lines of user code, and as many again of the worker.
    pub total: usize,
}

/// Lines of a datum set, in the order in which they were added.
#[derive(Clone, Debug)]
pub struct BoundedLog {
    limits: LogLimits,
    lines: BTreeMap<u64, LogLine>,
    /// Number of the next line.
    next: u64,
    /// What is kept of each datum, by origin: lines of the worker, lines of user code.
    origins: [Origin; 2],
}

/// Lines of one origin.
#[derive(Clone, Debug, Default)]
struct Origin {
    datums: HashMap<Option<DatumId>, DatumLines>,
    bytes: usize,
    /// Bytes above which datums are shrunk.
    shrink_above: usize,
}

/// What is kept of a datum's lines of one origin: their numbers and sizes.
#[derive(Clone, Debug, Default)]
struct DatumLines {
    head: Vec<(u64, usize)>,
    tail: VecDeque<(u64, usize)>,
    head_bytes: usize,
    tail_bytes: usize,
    /// Whether a line has been added to the tail: later ones go there, too.
    head_is_full: bool,
    left_out: u64,
    /// Number and time of the first line that is left out.
    gap: Option<(u64, Timestamp)>,
}

impl DatumLines {
    fn bytes(&self) -> usize {
        self.head_bytes + self.tail_bytes
    }

    /// Takes out a line in the middle, unless only `least` lines are left.
    fn pop_middle(&mut self, least: usize) -> Option<(u64, usize)> {
        if self.head.len() + self.tail.len() <= least {
            return None;
        }
        if self.tail.is_empty()
            && self.head.len() > 1
            && let Some((number, size)) = self.head.pop()
        {
            // What is added later comes after the gap.
            self.head_is_full = true;
            self.head_bytes -= size;
            self.tail.push_back((number, size));
            self.tail_bytes += size;
        }
        // Of two lines, one is of the beginning and one of the end.
        let ends = self.head.len() <= 1 || (self.tail.len() > 1 && self.tail_bytes >= self.head_bytes);
        if ends && let Some((number, size)) = self.tail.pop_front() {
            self.tail_bytes -= size;
            return Some((number, size));
        }
        let (number, size) = self.head.pop()?;
        self.head_is_full = true;
        self.head_bytes -= size;
        Some((number, size))
    }
}

impl BoundedLog {
    /// Makes an empty log.
    pub fn new(limits: LogLimits) -> Self {
        Self {
            limits,
            lines: BTreeMap::new(),
            next: 0,
            origins: Default::default(),
        }
    }

    /// Adds a line, and leaves out others where a limit is exceeded.
    pub fn add(&mut self, line: LogLine) {
        let size = line.message.len() + LINE_OVERHEAD;
        let (number, origin, datum) = (self.next, usize::from(line.user), line.datum);
        self.next += 1;
        self.lines.insert(number, line);
        let limits = self.limits;
        let kept = &mut self.origins[origin];
        kept.bytes += size;
        let lines = kept.datums.entry(datum).or_default();
        if !lines.head_is_full && lines.head_bytes + size <= limits.head {
            lines.head.push((number, size));
            lines.head_bytes += size;
        } else {
            lines.head_is_full = true;
            lines.tail.push_back((number, size));
            lines.tail_bytes += size;
            while lines.tail_bytes > limits.tail && lines.tail.len() > 1 {
                let Some((number, size)) = lines.tail.pop_front() else {
                    break;
                };
                lines.tail_bytes -= size;
                kept.bytes -= size;
                leave_out(&mut self.lines, lines, number);
            }
        }
        if self.origins[origin].bytes > self.origins[origin].shrink_above.max(limits.total) {
            // By more than necessary, and not again for a while: finding the datums to shrink costs as much as there
            // are datums.
            self.shrink_origin(origin, limits.total / 8 * 7);
            let kept = &mut self.origins[origin];
            kept.shrink_above = kept.bytes + limits.total / 8;
        }
    }

    /// Returns the bytes of all kept lines.
    pub fn bytes(&self) -> usize {
        self.origins.iter().map(|origin| origin.bytes).sum()
    }

    /// Returns the number of kept lines.
    pub fn kept(&self) -> usize {
        self.lines.len()
    }

    /// Returns the time of the first kept line; `None` without lines.
    pub fn first_time(&self) -> Option<Timestamp> {
        self.lines.values().next().map(|line| line.ts)
    }

    /// Returns whether no line was ever added.
    pub fn is_empty(&self) -> bool {
        self.next == 0
    }

    /// Returns the number of lines that are left out.
    pub fn left_out(&self) -> u64 {
        let datums = self.origins.iter().flat_map(|origin| origin.datums.values());
        datums.map(|lines| lines.left_out).sum()
    }

    /// Returns the time of the last line; `None` without lines.
    pub fn last_time(&self) -> Option<Timestamp> {
        self.lines.values().next_back().map(|line| line.ts)
    }

    /// Leaves out lines of the datums with the most bytes until at most so many are kept, half of them of the worker.
    /// As long as at most twice as many are kept, the first and the last line of each datum stay.
    pub fn shrink(&mut self, bytes: usize) {
        for origin in 0..self.origins.len() {
            self.shrink_origin(origin, bytes / 2);
        }
    }

    fn shrink_origin(&mut self, origin: usize, bytes: usize) {
        let kept = &mut self.origins[origin];
        if kept.bytes <= bytes {
            return;
        }
        let share = fair_share(kept.datums.values().map(DatumLines::bytes), bytes);
        for least in [2, 1, 0] {
            for lines in kept.datums.values_mut() {
                while lines.bytes() > share {
                    let Some((number, size)) = lines.pop_middle(least) else {
                        break;
                    };
                    kept.bytes -= size;
                    leave_out(&mut self.lines, lines, number);
                }
            }
            if kept.bytes <= bytes.saturating_mul(2) {
                return;
            }
        }
    }

    /// Returns the lines from a number on, each with its number.
    pub fn lines_from(&self, number: u64) -> impl Iterator<Item = (u64, &LogLine)> {
        self.lines.range(number..).map(|(number, line)| (*number, line))
    }

    /// Returns all lines, with a line for each place where some are left out.
    pub fn lines(&self) -> Vec<LogLine> {
        self.clone().into_lines()
    }

    /// Returns all lines, with a line for each place where some are left out.
    pub fn into_lines(mut self) -> Vec<LogLine> {
        for (origin, kept) in self.origins.iter().enumerate() {
            for (datum, lines) in &kept.datums {
                let Some((number, ts)) = lines.gap else { continue };
                // The number is free: it is that of a line that is left out.
                self.lines.insert(
                    number,
                    LogLine {
                        ts,
                        datum: *datum,
                        // So that it is shown where the lines around it are.
                        user: origin == 1,
                        message: left_out_message(lines.left_out),
                    },
                );
            }
        }
        self.lines.into_values().collect()
    }
}

/// Returns the text between the first and the last lines of a datum.
fn left_out_message(count: u64) -> String {
    let lines = if count == 1 { "line is" } else { "lines are" };
    format!("[howdah: {count} {lines} left out here; of a long log the first and the last lines are kept]")
}

fn leave_out(all: &mut BTreeMap<u64, LogLine>, lines: &mut DatumLines, number: u64) {
    lines.left_out += 1;
    let Some(line) = all.remove(&number) else { return };
    if lines.gap.is_none_or(|(first, _)| number < first) {
        lines.gap = Some((number, line.ts));
    }
}

/// Returns how many bytes each may keep, so that all of them together keep at most `bytes`.
fn fair_share(sizes: impl Iterator<Item = usize>, bytes: usize) -> usize {
    let mut sizes: Vec<usize> = sizes.collect();
    sizes.sort_unstable();
    let (mut left, mut count) = (bytes, sizes.len());
    for size in sizes {
        let share = left / count.max(1);
        if size > share {
            return share;
        }
        left -= size;
        count -= 1;
    }
    usize::MAX
}

/// Gives each line of a source a time of its own, so that the time also tells their order.
#[derive(Clone, Copy, Debug, Default)]
pub struct LineClock {
    last: Option<Timestamp>,
}

impl LineClock {
    /// Returns the time of the next line: now, or the next moment after the line before.
    pub fn tick(&mut self, now: Timestamp) -> Timestamp {
        let after = |last: Timestamp| last.saturating_add(SignedDuration::from_nanos(1)).unwrap_or(last);
        let time = self.last.map_or(now, |last| now.max(after(last)));
        self.last = Some(time);
        time
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: LogLimits = LogLimits {
        head: 10 * (LINE_OVERHEAD + 8),
        tail: 5 * (LINE_OVERHEAD + 8),
        total: 100 * (LINE_OVERHEAD + 8),
    };

    fn line(datum: u8, user: bool, number: usize) -> LogLine {
        LogLine {
            ts: Timestamp::UNIX_EPOCH + SignedDuration::from_secs(number as i64),
            datum: Some(DatumId::new([datum; 32])),
            user,
            message: format!("{number:08}"),
        }
    }

    fn numbers(lines: &[LogLine], datum: u8, user: bool) -> Vec<String> {
        let is_of = |line: &&LogLine| line.datum == Some(DatumId::new([datum; 32])) && line.user == user;
        lines.iter().filter(is_of).map(|line| line.message.clone()).collect()
    }

    fn range(range: std::ops::Range<usize>) -> Vec<String> {
        range.map(|number| format!("{number:08}")).collect()
    }

    #[test]
    fn of_a_long_log_head_and_tail_are_kept_and_the_gap_is_told() {
        let mut log = BoundedLog::new(LIMITS);
        for number in 0..1_000 {
            log.add(line(1, true, number));
        }
        assert_eq!(log.left_out(), 985);
        let lines = log.into_lines();
        let times: Vec<_> = lines.iter().map(|line| line.ts).collect();
        assert!(times.is_sorted_by(|a, b| a < b), "{times:?}");
        let lines = numbers(&lines, 1, true);
        assert_eq!(lines[..10], range(0..10));
        assert!(lines[10].contains("985 lines are left out here"), "{}", lines[10]);
        assert_eq!(lines[11..], range(995..1_000));
    }

    #[test]
    fn a_log_within_its_limits_is_complete() {
        let mut log = BoundedLog::new(LIMITS);
        for number in 0..15 {
            log.add(line(1, true, number));
        }
        assert_eq!((log.left_out(), numbers(&log.into_lines(), 1, true)), (0, range(0..15)));
    }

    #[test]
    fn a_noisy_datum_does_not_displace_others_or_the_worker() {
        let mut log = BoundedLog::new(LIMITS);
        log.add(line(1, true, 0));
        log.add(line(1, false, 1));
        for number in 2..5_000 {
            log.add(line(2, true, number));
        }
        log.add(line(1, true, 5_000));
        let lines = log.into_lines();
        assert_eq!(numbers(&lines, 1, true), ["00000000", "00005000"]);
        assert_eq!(numbers(&lines, 1, false), ["00000001"]);
        assert_eq!(numbers(&lines, 2, true).len(), 16);
    }

    #[test]
    fn many_datums_share_the_limit_of_the_whole_log() {
        let mut log = BoundedLog::new(LIMITS);
        for number in 0..20 {
            for datum in 0..50 {
                log.add(line(datum, true, number));
            }
            log.add(line(99, false, number));
        }
        log.add(line(60, true, 20));
        assert!(log.bytes() <= 2 * LIMITS.total, "{} bytes", log.bytes());
        let lines = log.into_lines();
        for datum in 0..50 {
            let lines = numbers(&lines, datum, true);
            assert_eq!(
                lines.first().map(String::as_str),
                Some("00000000"),
                "datum {datum}: {lines:?}"
            );
            assert_eq!(
                lines.last().map(String::as_str),
                Some("00000019"),
                "datum {datum}: {lines:?}"
            );
            assert_eq!(lines.iter().filter(|line| line.contains("left out")).count(), 1);
        }
        assert_eq!(numbers(&lines, 60, true), ["00000020"]);
        assert_eq!(
            numbers(&lines, 99, false).len(),
            16,
            "the worker's lines have limits of their own"
        );
    }

    #[test]
    fn lines_can_be_read_on_from_a_number() {
        let mut log = BoundedLog::new(LIMITS);
        for number in 0..20 {
            log.add(line(1, true, number));
        }
        let read: Vec<u64> = log.lines_from(8).map(|(number, _)| number).collect();
        assert_eq!(read, [8, 9, 15, 16, 17, 18, 19]);
        log.shrink(8 * (LINE_OVERHEAD + 8));
        let lines = log.lines();
        assert!(lines[2].message.contains("16 lines are left out"), "{lines:?}");
        log.shrink(0);
        assert_eq!(log.lines().len(), 1, "the one that tells of all others");
    }

    #[test]
    fn each_line_has_a_time_of_its_own() {
        let mut clock = LineClock::default();
        let now = Timestamp::UNIX_EPOCH + SignedDuration::from_secs(5);
        let times = [now, now, Timestamp::UNIX_EPOCH, now].map(|now| clock.tick(now));
        assert!(times.is_sorted_by(|a, b| a < b), "{times:?}");
        assert_eq!(times[0], now);
    }
}
