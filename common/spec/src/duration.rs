//! Durations: reads seconds (`600s`, `1.5s`) and Go style (`1h30m`), prints seconds.
//!
//! The friendly durations of `jiff` do not replace this module: they accept `5 m` and `1 hour`, refuse `.5s` and
//! `1.5h30m`, and do not tell a missing unit from other mistakes, which the advice of the error needs.

use std::time::Duration;

/// A mistake in a duration.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DurationError {
    /// The duration is below zero.
    #[error("a duration may not be negative")]
    Negative,
    /// A number has no unit.
    #[error("a number without a unit")]
    NoUnit,
    /// The duration is longer than 10,000 years.
    #[error("a duration of more than 10,000 years")]
    TooLong,
    /// The text has another form.
    #[error("not a duration")]
    Malformed,
}

/// The longest duration, 10,000 years, in seconds: the limit of protobuf.
const MAX_SECONDS: u128 = 315_576_000_000;
const NANOS: u128 = 1_000_000_000;

/// Parses a duration such as `600s`, `1.5s`, `5m`, `1h30m`, `300ms` or `0`.
pub fn parse(text: &str) -> Result<Duration, DurationError> {
    let (negative, magnitude) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    let nanos = if magnitude == "0" { 0 } else { sum(magnitude)? };
    if negative && nanos > 0 {
        return Err(DurationError::Negative);
    }
    if nanos > MAX_SECONDS * NANOS {
        return Err(DurationError::TooLong);
    }
    let seconds = u64::try_from(nanos / NANOS).map_err(|_| DurationError::TooLong)?;
    let rest = u32::try_from(nanos % NANOS).map_err(|_| DurationError::TooLong)?;
    Ok(Duration::new(seconds, rest))
}

/// Adds up the parts of a duration, each a decimal number with a unit; the result is in nanoseconds.
fn sum(mut text: &str) -> Result<u128, DurationError> {
    if text.is_empty() {
        return Err(DurationError::Malformed);
    }
    let mut total: u128 = 0;
    while !text.is_empty() {
        let number_end = text
            .find(|c: char| !c.is_ascii_digit() && c != '.')
            .unwrap_or(text.len());
        let (number, rest) = text.split_at(number_end);
        let unit_end = rest
            .find(|c: char| c.is_ascii_digit() || c == '.')
            .unwrap_or(rest.len());
        let (unit, rest) = rest.split_at(unit_end);
        let part = scaled(number, unit_nanos(unit, number)?)?;
        total = total.checked_add(part).ok_or(DurationError::TooLong)?;
        text = rest;
    }
    Ok(total)
}

fn unit_nanos(unit: &str, number: &str) -> Result<u128, DurationError> {
    Ok(match unit {
        "ns" => 1,
        "us" | "µs" | "μs" => 1_000,
        "ms" => 1_000_000,
        "s" => NANOS,
        "m" => 60 * NANOS,
        "h" => 3_600 * NANOS,
        "" if number.bytes().any(|b| b.is_ascii_digit()) => return Err(DurationError::NoUnit),
        _ => return Err(DurationError::Malformed),
    })
}

/// Multiplies a decimal number by a unit, cut off to whole nanoseconds.
fn scaled(number: &str, unit: u128) -> Result<u128, DurationError> {
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if whole.is_empty() && fraction.is_empty() || fraction.contains('.') {
        return Err(DurationError::Malformed);
    }
    let mut nanos: u128 = 0;
    for digit in whole.bytes() {
        nanos = nanos * 10 + u128::from(digit - b'0');
        // Checked for each digit: a long row of digits would overflow before a check at the end.
        if nanos > MAX_SECONDS * NANOS {
            return Err(DurationError::TooLong);
        }
    }
    nanos = nanos.checked_mul(unit).ok_or(DurationError::TooLong)?;
    let mut place = unit;
    for digit in fraction.bytes() {
        place /= 10;
        nanos += u128::from(digit - b'0') * place;
    }
    Ok(nanos)
}

/// Prints a duration in seconds, without trailing zeros: `90s`, `1.5s`.
pub fn print(duration: Duration) -> String {
    let (seconds, nanos) = (duration.as_secs(), duration.subsec_nanos());
    if nanos == 0 {
        return format!("{seconds}s");
    }
    let fraction = format!("{nanos:09}");
    format!("{seconds}.{}s", fraction.trim_end_matches('0'))
}

/// Serde form of an optional duration: a text in seconds.
pub(crate) mod seconds {
    use std::time::Duration;

    use serde::de::{Deserialize, Deserializer, Error};
    use serde::ser::Serializer;

    pub(crate) fn serialize<S: Serializer>(value: &Option<Duration>, serializer: S) -> Result<S::Ok, S::Error> {
        match value {
            Some(duration) => serializer.serialize_str(&super::print(*duration)),
            None => serializer.serialize_none(),
        }
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Duration>, D::Error> {
        let text = Option::<String>::deserialize(deserializer)?;
        text.map(|text| super::parse(&text).map_err(D::Error::custom))
            .transpose()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_styles_are_read_and_seconds_are_printed() {
        for (text, seconds) in [
            ("600s", "600s"),
            ("1.5s", "1.5s"),
            ("5m", "300s"),
            ("1h30m", "5400s"),
            ("15h", "54000s"),
            ("1h0.5m", "3630s"),
            ("300ms", "0.3s"),
            ("7us", "0.000007s"),
            ("7µs", "0.000007s"),
            (".5s", "0.5s"),
            ("0", "0s"),
            ("-0s", "0s"),
            ("315576000000s", "315576000000s"),
        ] {
            assert_eq!(parse(text).map(print), Ok(seconds.to_owned()), "{text}");
        }
    }

    #[test]
    fn mistakes_have_a_reason() {
        for (text, error) in [
            ("", DurationError::Malformed),
            ("-", DurationError::Malformed),
            ("soon", DurationError::Malformed),
            ("5 m", DurationError::Malformed),
            ("1d", DurationError::Malformed),
            (".s", DurationError::Malformed),
            ("1.2.3s", DurationError::Malformed),
            ("60", DurationError::NoUnit),
            ("-5m", DurationError::Negative),
            ("315576000001s", DurationError::TooLong),
            ("99999999999999999999999999999999999999999999h", DurationError::TooLong),
        ] {
            assert_eq!(parse(text), Err(error), "{text}");
        }
    }
}
