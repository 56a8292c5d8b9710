//! Byte counts in powers of 1024 with four significant digits: `57.27KiB`.
//!
//! bytesize counts digits behind the point instead and puts a space before the unit, so the conversion is made here.

const UNITS: [&str; 7] = ["B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];

/// Formats a byte count, for instance `57.27KiB`.
pub(crate) fn size(bytes: u64) -> String {
    let mut value = bytes as f64;
    let mut unit = 0;
    while value >= 1024.0 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    format!("{}{}", significant(value), UNITS[unit])
}

/// Formats a byte count of the API, which is signed; a negative count is printed as zero.
pub(crate) fn wire_size(bytes: i64) -> String {
    size(u64::try_from(bytes).unwrap_or(0))
}

/// Formats an upper bound: `≤ 57.27KiB`.
pub(crate) fn upper_bound(bytes: i64) -> String {
    format!("≤ {}", wire_size(bytes))
}

/// Prints with four significant digits and without trailing zeros.
fn significant(value: f64) -> String {
    let before_point = if value >= 1000.0 {
        4
    } else if value >= 100.0 {
        3
    } else if value >= 10.0 {
        2
    } else {
        1
    };
    let text = format!("{value:.*}", 4 - before_point);
    if text.contains('.') {
        text.trim_end_matches('0').trim_end_matches('.').to_owned()
    } else {
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn has_four_significant_digits() {
        let cases = [
            (0, "0B"),
            (1, "1B"),
            (1023, "1023B"),
            (1024, "1KiB"),
            (1536, "1.5KiB"),
            (58_644, "57.27KiB"),
            (1_572_864, "1.5MiB"),
            (123_456_789, "117.7MiB"),
            (1 << 30, "1GiB"),
            (1_048_575, "1024KiB"),
            (u64::MAX, "16EiB"),
        ];
        for (bytes, text) in cases {
            assert_eq!(size(bytes), text, "{bytes} bytes");
        }
        assert_eq!(upper_bound(1024), "≤ 1KiB");
    }
}
