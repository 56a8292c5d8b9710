//! Schedules: five cron fields, the `@` forms (`@daily`, `@every 1h`, `@never` ...) and a time zone in front.
//!
//! [`Schedule::parse`] reads an expression, [`Schedule::next_after`] returns the next time. The rule for days is that
//! of cron: if both day of month and day of week are restricted, a day that fits one of them is enough.
//!
//! When the clock of a zone moves forward, the skipped local times have no tick: `30 2 * * *` does not run on that
//! day. When the clock moves back, a repeated local time has one tick, at its first occurrence.
//!
//! The crate `croner` does not replace this module: its errors name neither the field nor the value, it accepts
//! `1,` and Quartz forms (`L`, `15W`, `1#2`) that are refused here, it moves a skipped time to the end of the gap and
//! runs twice in a repeated hour, and it has no support for the version of `jiff` in this workspace.

use std::time::Duration;

use jiff::civil::{Date, Time};
use jiff::tz::{AmbiguousOffset, TimeZone};
use jiff::{SignedDuration, Timestamp};

use crate::duration;

/// A mistake in a schedule.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CronError {
    /// The expression does not have five fields.
    #[error("a schedule has five fields (minute, hour, day of month, month, day of week), this has {0}")]
    FieldCount(usize),
    /// A value, range, list or step does not fit its field.
    #[error("{value:?} is no {field}: {reason}")]
    Field {
        /// The name of the field.
        field: &'static str,
        /// The part that is wrong.
        value: String,
        /// The reason.
        reason: String,
    },
    /// The `@` form does not exist.
    #[error(
        "unknown form {0:?}: there are @yearly, @annually, @monthly, @weekly, @daily, @midnight, @hourly, @every and @never"
    )]
    Form(String),
    /// `@reboot` has no meaning for a pipeline.
    #[error("@reboot has no meaning here")]
    Reboot,
    /// `@every` has no duration, or one below a second.
    #[error("@every needs a duration of at least a second, such as @every 1h30m, not {0:?}")]
    Every(String),
    /// The time zone is not in the time zone database.
    #[error("unknown time zone {0:?}")]
    Zone(String),
}

/// A parsed schedule.
#[derive(Debug, Clone, PartialEq)]
pub struct Schedule {
    zone: TimeZone,
    rule: Rule,
}

/// When a schedule has ticks.
#[derive(Debug, Clone, PartialEq)]
enum Rule {
    Never,
    Every(Duration),
    Calendar(Calendar),
}

/// The allowed values of each field, one bit for each value.
#[derive(Debug, Clone, PartialEq)]
struct Calendar {
    minutes: u64,
    hours: u64,
    days: u64,
    months: u64,
    weekdays: u64,
    /// Both day of month and day of week are restricted, so one of them is enough.
    either_day: bool,
}

impl Schedule {
    /// Parses an expression.
    pub fn parse(expression: &str) -> Result<Schedule, CronError> {
        let mut text = expression.trim();
        let mut zone = TimeZone::UTC;
        if let Some(rest) = text.strip_prefix("CRON_TZ=").or_else(|| text.strip_prefix("TZ=")) {
            let (name, rest) = rest.split_once(char::is_whitespace).unwrap_or((rest, ""));
            zone = zone_of(name)?;
            text = rest.trim_start();
        }
        let rule = match text.strip_prefix('@') {
            Some(form) => at_form(form)?,
            None => Rule::Calendar(calendar(text)?),
        };
        Ok(Schedule { zone, rule })
    }

    /// Tells whether this is `@never`.
    pub fn is_never(&self) -> bool {
        self.rule == Rule::Never
    }

    /// Returns the first tick after `time`; `None` if there is none within five years.
    pub fn next_after(&self, time: Timestamp) -> Option<Timestamp> {
        match &self.rule {
            Rule::Never => None,
            Rule::Every(period) => {
                // Whole seconds, so that repeated steps do not carry the fraction of the first time along.
                let second = Timestamp::from_second(time.as_second()).ok()?;
                second.checked_add(SignedDuration::try_from(*period).ok()?).ok()
            }
            Rule::Calendar(calendar) => {
                // The bound ends the search for a date that does not exist, such as 30 February. It also misses 29
                // February around a century without a leap day, where leap days are eight years apart.
                let mut date = time.to_zoned_datetime(self.zone.clone()).date();
                for _ in 0..5 * 366 {
                    if calendar.has_day(date)
                        && let Some(found) = calendar.first_of(date, &self.zone, time)
                    {
                        return Some(found);
                    }
                    date = date.tomorrow().ok()?;
                }
                None
            }
        }
    }
}

impl Calendar {
    /// Tells whether a date has ticks.
    fn has_day(&self, date: Date) -> bool {
        let has = |bits: u64, value: i8| bits >> value & 1 == 1;
        let day = has(self.days, date.day());
        let weekday = has(self.weekdays, date.weekday().to_sunday_zero_offset());
        let fits = if self.either_day {
            day || weekday
        } else {
            day && weekday
        };
        fits && has(self.months, date.month())
    }

    /// Returns the first tick of a day after `after`.
    fn first_of(&self, date: Date, zone: &TimeZone, after: Timestamp) -> Option<Timestamp> {
        let hours = (0..24_i8).filter(|hour| self.hours >> hour & 1 == 1);
        let times = hours.flat_map(|hour| {
            let minutes = (0..60_i8).filter(|minute| self.minutes >> minute & 1 == 1);
            minutes.map(move |minute| (hour, minute))
        });
        times
            .filter_map(|(hour, minute)| Time::new(hour, minute, 0, 0).ok())
            .map(|time| zone.to_ambiguous_timestamp(date.to_datetime(time)))
            // A local time that the clock skips. `compatible` would move it behind the gap, where it could be the tick
            // of another local time too.
            .filter(|local| !matches!(local.offset(), AmbiguousOffset::Gap { .. }))
            // The first occurrence of a repeated local time.
            .filter_map(|local| local.compatible().ok())
            .find(|found| *found > after)
    }
}

/// Finds a time zone by its name in the time zone database.
fn zone_of(name: &str) -> Result<TimeZone, CronError> {
    if name.eq_ignore_ascii_case("UTC") {
        return Ok(TimeZone::UTC);
    }
    TimeZone::get(name).map_err(|_| CronError::Zone(name.to_owned()))
}

/// Parses an expression after its `@`.
fn at_form(form: &str) -> Result<Rule, CronError> {
    let (name, argument) = form.split_once(char::is_whitespace).unwrap_or((form, ""));
    let argument = argument.trim();
    if name == "every" {
        let every = || CronError::Every(argument.to_owned());
        let period = duration::parse(argument).map_err(|_| every())?;
        return match period.as_secs() {
            0 => Err(every()),
            seconds => Ok(Rule::Every(Duration::from_secs(seconds))),
        };
    }
    let expression = match name {
        _ if !argument.is_empty() => return Err(CronError::Form(format!("@{form}"))),
        "yearly" | "annually" => "0 0 1 1 *",
        "monthly" => "0 0 1 * *",
        "weekly" => "0 0 * * 0",
        "daily" | "midnight" => "0 0 * * *",
        "hourly" => "0 * * * *",
        "never" => return Ok(Rule::Never),
        "reboot" => return Err(CronError::Reboot),
        _ => return Err(CronError::Form(format!("@{form}"))),
    };
    calendar(expression).map(Rule::Calendar)
}

/// A field of an expression: its name and its values.
struct FieldRange {
    field: &'static str,
    low: u8,
    high: u8,
    /// The names of the values, the first one for `low`.
    names: &'static [&'static str],
}

const MINUTE: FieldRange = range("minute", 0, 59, &[]);
const HOUR: FieldRange = range("hour", 0, 23, &[]);
const DAY: FieldRange = range("day of month", 1, 31, &[]);
const MONTH: FieldRange = range(
    "month",
    1,
    12,
    &[
        "jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec",
    ],
);
/// Sunday is 0 and 7.
const WEEKDAY: FieldRange = range("day of week", 0, 7, &["sun", "mon", "tue", "wed", "thu", "fri", "sat"]);

const fn range(field: &'static str, low: u8, high: u8, names: &'static [&'static str]) -> FieldRange {
    FieldRange {
        field,
        low,
        high,
        names,
    }
}

/// Parses five fields.
fn calendar(expression: &str) -> Result<Calendar, CronError> {
    let fields: Vec<&str> = expression.split_whitespace().collect();
    let [minute, hour, day, month, weekday] = fields.as_slice() else {
        return Err(CronError::FieldCount(fields.len()));
    };
    // By the first character, like cron: `*/2` restricts the days but counts as a star for the rule of days.
    let starred = |field: &str| field.starts_with(['*', '?']);
    let mut weekdays = WEEKDAY.bits(weekday)?;
    // A Sunday given as 7 becomes 0, the only form that the search looks up.
    weekdays |= weekdays >> 7 & 1;
    Ok(Calendar {
        minutes: MINUTE.bits(minute)?,
        hours: HOUR.bits(hour)?,
        days: DAY.bits(day)?,
        months: MONTH.bits(month)?,
        weekdays,
        either_day: !starred(day) && !starred(weekday),
    })
}

impl FieldRange {
    fn fail<T>(&self, value: &str, reason: impl Into<String>) -> Result<T, CronError> {
        Err(CronError::Field {
            field: self.field,
            value: value.to_owned(),
            reason: reason.into(),
        })
    }

    /// Parses a list of values, ranges and steps.
    fn bits(&self, list: &str) -> Result<u64, CronError> {
        list.split(',').try_fold(0, |bits, part| Ok(bits | self.part(part)?))
    }

    /// Parses one element of a list.
    fn part(&self, part: &str) -> Result<u64, CronError> {
        let (span, step) = match part.split_once('/') {
            Some((span, step)) => (span, Some(step)),
            None => (part, None),
        };
        let (low, high) = match span.split_once('-') {
            _ if matches!(span, "*" | "?") => (self.low, self.high),
            Some((low, high)) => (self.value(low, part)?, self.value(high, part)?),
            None => {
                let value = self.value(span, part)?;
                // `5/10` is the range from 5 to the highest value in steps of 10.
                (value, if step.is_some() { self.high } else { value })
            }
        };
        if low > high {
            return self.fail(part, "the range goes backwards");
        }
        let step = match step.map(str::parse::<u8>) {
            None => 1,
            Some(Ok(step)) if step > 0 => step,
            Some(_) => return self.fail(part, "the step after '/' must be a whole number above 0"),
        };
        Ok((low..=high)
            .step_by(usize::from(step))
            .fold(0, |bits, value| bits | 1 << value))
    }

    /// Parses a number or a name; `part` is the element for the message.
    fn value(&self, text: &str, part: &str) -> Result<u8, CronError> {
        let lowered = text.to_ascii_lowercase();
        if let Some(index) = (self.low..).zip(self.names).find(|(_, name)| **name == lowered) {
            return Ok(index.0);
        }
        // `parse` accepts a plus sign.
        let is_number = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
        match text.parse::<u8>() {
            Ok(value) if is_number && (self.low..=self.high).contains(&value) => Ok(value),
            _ => self.fail(part, format!("values go from {} to {}", self.low, self.high)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn next(expression: &str, after: &str) -> String {
        let after = after.parse().unwrap();
        let next = Schedule::parse(expression).unwrap().next_after(after);
        next.map_or("never".to_owned(), |time| time.to_string())
    }

    #[test]
    fn schedules_have_next_times() {
        let start = "2024-05-01T10:17:30Z"; // a Wednesday
        for (expression, expected) in [
            ("* * * * *", "2024-05-01T10:18:00Z"),
            ("*/15 * * * *", "2024-05-01T10:30:00Z"),
            ("5/20 * * * *", "2024-05-01T10:25:00Z"),
            ("0 9-17/4 * * *", "2024-05-01T13:00:00Z"),
            ("30 6 * * mon", "2024-05-06T06:30:00Z"),
            ("30 6 * * 7", "2024-05-05T06:30:00Z"),
            ("0 0 1 JAN *", "2025-01-01T00:00:00Z"),
            ("0 0 29 2 *", "2028-02-29T00:00:00Z"),
            ("0 0 30 2 *", "never"),
            ("0 0 13 * fri", "2024-05-03T00:00:00Z"),
            ("0 0 ? * 1,2", "2024-05-06T00:00:00Z"),
            ("@hourly", "2024-05-01T11:00:00Z"),
            ("@daily", "2024-05-02T00:00:00Z"),
            ("@midnight", "2024-05-02T00:00:00Z"),
            ("@weekly", "2024-05-05T00:00:00Z"),
            ("@monthly", "2024-06-01T00:00:00Z"),
            ("@yearly", "2025-01-01T00:00:00Z"),
            ("@annually", "2025-01-01T00:00:00Z"),
            ("@every 90s", "2024-05-01T10:19:00Z"),
            ("@every 1h30m", "2024-05-01T11:47:30Z"),
            ("@never", "never"),
            ("TZ=UTC 0 12 * * *", "2024-05-01T12:00:00Z"),
        ] {
            assert_eq!(next(expression, start), expected, "{expression}");
        }
    }

    #[test]
    fn changes_of_the_clock_skip_and_repeat_local_times() {
        for (expression, after, expected) in [
            // On 2024-03-31 the clock of Berlin moves from 02:00 (+01) to 03:00 (+02).
            ("30 2 * * *", "2024-03-31T00:00:00Z", "2024-04-01T00:30:00Z"),
            ("*/15 * * * *", "2024-03-31T00:50:00Z", "2024-03-31T01:00:00Z"),
            ("0 3 * * *", "2024-03-31T00:00:00Z", "2024-03-31T01:00:00Z"),
            // On 2024-10-27 it moves from 03:00 (+02) back to 02:00 (+01).
            ("30 2 * * *", "2024-10-27T00:00:00Z", "2024-10-27T00:30:00Z"),
            ("30 2 * * *", "2024-10-27T00:45:00Z", "2024-10-28T01:30:00Z"),
            ("*/15 * * * *", "2024-10-27T00:30:00Z", "2024-10-27T00:45:00Z"),
            ("*/15 * * * *", "2024-10-27T01:05:00Z", "2024-10-27T02:00:00Z"),
            ("@every 30m", "2024-10-27T00:45:00Z", "2024-10-27T01:15:00Z"),
        ] {
            let expression = format!("CRON_TZ=Europe/Berlin {expression}");
            assert_eq!(next(&expression, after), expected, "{expression} after {after}");
        }
    }

    #[test]
    fn a_star_with_a_step_counts_as_a_star() {
        // A Monday on an odd day, not any Monday: the days are not alternatives.
        assert_eq!(next("0 0 */2 * 1", "2024-05-01T10:17:30Z"), "2024-05-13T00:00:00Z");
        // Quartz forms and empty elements are refused.
        for expression in [
            "0 0 L * *",
            "0 0 15W * *",
            "0 0 * * 1#2",
            "0 0 * * sat-sun",
            "/10 * * * *",
        ] {
            assert!(Schedule::parse(expression).is_err(), "{expression}");
        }
    }

    #[test]
    fn mistakes_have_a_reason() {
        for (expression, expected) in [
            ("", "this has 0"),
            ("* * * *", "this has 4"),
            ("0 * * * * *", "this has 6"),
            ("60 * * * *", "\"60\" is no minute: values go from 0 to 59"),
            ("* 24 * * *", "is no hour"),
            ("* * 0 * *", "is no day of month"),
            ("* * * foo *", "is no month"),
            ("* * * * 8", "is no day of week"),
            ("30-10 * * * *", "goes backwards"),
            ("*/0 * * * *", "the step"),
            ("1, * * * *", "\"\" is no minute"),
            ("+1 * * * *", "is no minute"),
            ("@reboot", "@reboot has no meaning here"),
            ("@sometimes", "unknown form \"@sometimes\""),
            ("@daily 5", "unknown form"),
            ("@every", "@every needs a duration"),
            ("@every 1d", "@every needs a duration"),
            ("@every 0s", "@every needs a duration"),
            ("CRON_TZ=Nowhere/Land * * * * *", "unknown time zone \"Nowhere/Land\""),
        ] {
            let error = Schedule::parse(expression).unwrap_err().to_string();
            assert!(error.contains(expected), "{expression}: {error}");
        }
    }
}
