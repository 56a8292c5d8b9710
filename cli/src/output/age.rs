//! Times and durations in words: `2 hours ago`, `About a minute`.
//!
//! The steps and the words are those that users of 2.x see. jiff prints `2h ago`, so the conversion is made here.

use jiff::{SignedDuration, Timestamp};

/// Printed in place of an unknown time or duration.
pub(crate) const UNKNOWN: &str = "-";

/// How times are printed: as an age seen from `now`, or in full.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Clock {
    /// The moment that ages are counted from.
    pub now: Timestamp,
    /// Prints RFC 3339 in UTC instead of an age.
    pub full: bool,
}

impl Clock {
    /// Returns a clock at the present moment.
    pub(crate) fn now(full: bool) -> Clock {
        Clock {
            now: Timestamp::now(),
            full,
        }
    }

    /// Formats a moment: `2 hours ago`, or RFC 3339, or `-`.
    pub(crate) fn moment(&self, time: Option<Timestamp>) -> String {
        match time {
            None => UNKNOWN.to_owned(),
            Some(time) if self.full => time.to_string(),
            Some(time) => format!("{} ago", words(self.now.duration_since(time))),
        }
    }

    /// Formats the time from `start` to `end`; without an end, to now.
    pub(crate) fn span(&self, start: Option<Timestamp>, end: Option<Timestamp>) -> String {
        match start {
            None => UNKNOWN.to_owned(),
            Some(start) => words(end.unwrap_or(self.now).duration_since(start)),
        }
    }
}

/// Formats a duration in words: `About a minute`, `3 hours`.
///
/// A negative duration, which clocks of two machines may produce, counts as zero.
pub(crate) fn words(duration: SignedDuration) -> String {
    let seconds = duration.as_secs().max(0);
    let minutes = seconds / 60;
    // Hours are rounded: 89 minutes are an hour, 90 minutes are two.
    let hours = (seconds + 1800) / 3600;
    match seconds {
        0 => "Less than a second".to_owned(),
        1 => "1 second".to_owned(),
        2..60 => format!("{seconds} seconds"),
        _ if minutes == 1 => "About a minute".to_owned(),
        _ if minutes < 60 => format!("{minutes} minutes"),
        _ if hours == 1 => "About an hour".to_owned(),
        _ if hours < 48 => format!("{hours} hours"),
        _ if hours < 24 * 7 * 2 => format!("{} days", hours / 24),
        _ if hours < 24 * 30 * 2 => format!("{} weeks", hours / 24 / 7),
        _ if hours < 24 * 365 * 2 => format!("{} months", hours / 24 / 30),
        _ => format!("{} years", hours / 24 / 365),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_follow_the_steps() {
        const MINUTE: i64 = 60;
        const HOUR: i64 = 60 * MINUTE;
        const DAY: i64 = 24 * HOUR;
        let cases = [
            (-5, "Less than a second"),
            (0, "Less than a second"),
            (1, "1 second"),
            (59, "59 seconds"),
            (MINUTE, "About a minute"),
            (2 * MINUTE - 1, "About a minute"),
            (2 * MINUTE, "2 minutes"),
            (59 * MINUTE, "59 minutes"),
            (HOUR, "About an hour"),
            (89 * MINUTE, "About an hour"),
            (2 * HOUR, "2 hours"),
            (47 * HOUR, "47 hours"),
            (2 * DAY, "2 days"),
            (13 * DAY, "13 days"),
            (14 * DAY, "2 weeks"),
            (59 * DAY, "8 weeks"),
            (61 * DAY, "2 months"),
            (729 * DAY, "24 months"),
            (730 * DAY, "2 years"),
        ];
        for (seconds, text) in cases {
            assert_eq!(words(SignedDuration::from_secs(seconds)), text, "{seconds} s");
        }
    }

    #[test]
    fn a_clock_prints_ages_full_times_and_dashes() {
        let now: Timestamp = "2026-11-24T06:00:00Z".parse().expect("a time");
        let then: Timestamp = "2026-11-24T04:00:00Z".parse().expect("a time");
        let mut clock = Clock { now, full: false };
        assert_eq!(clock.moment(Some(then)), "2 hours ago");
        assert_eq!(clock.moment(None), "-");
        assert_eq!(clock.span(Some(then), None), "2 hours");
        assert_eq!(clock.span(None, None), "-");
        clock.full = true;
        assert_eq!(clock.moment(Some(then)), "2026-11-24T04:00:00Z");
    }
}
