//! Durations as users write them: `90s`, `1h30m`, `24h`, `7d`, `1.5s`.
//!
//! The syntax is that of pipeline specs and of Go, which users of 2.x know, plus days. It is not jiff's friendly format,
//! which refuses `1.5h30m` and accepts signs and spaces.

use std::time::Duration;

/// Reads a duration made of numbers with units (`d h m s ms us ns`), days first; a bare `0` is allowed.
pub(crate) fn parse(text: &str) -> Result<Duration, String> {
    let wrong = |_| format!("invalid duration {text:?}: write it like 90s, 15m or 1h30m");
    let read = |part: &str| howdah_spec::duration::parse(part).map_err(wrong);
    let is_number = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
    match text.split_once('d') {
        Some((days, rest)) if is_number(days) => {
            let days = read(&format!("{days}h"))? * 24;
            Ok(if rest.is_empty() { days } else { days + read(rest)? })
        }
        _ => read(text),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_people_write() {
        assert_eq!(parse("90s"), Ok(Duration::from_secs(90)));
        assert_eq!(parse("1h30m"), Ok(Duration::from_secs(5400)));
        assert_eq!(parse("1.5s"), Ok(Duration::from_millis(1500)));
        assert_eq!(parse("250ms"), Ok(Duration::from_millis(250)));
        assert_eq!(parse("2d"), Ok(Duration::from_secs(48 * 3600)));
        assert_eq!(parse("1.5d12h"), Ok(Duration::from_secs(48 * 3600)));
        assert_eq!(parse("0"), Ok(Duration::ZERO));
        for wrong in ["", "5", "s", "1x", "1h 30m", "-5s", "1..5s", "d", "1d2", "1h2d"] {
            assert!(parse(wrong).is_err(), "{wrong:?} was accepted");
        }
    }
}
