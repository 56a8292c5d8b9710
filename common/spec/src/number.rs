//! Numbers as text: JSON's grammar, and the exact value of a text.

/// Tells whether a text is a number by JSON's grammar.
pub(crate) fn is_number(text: &str) -> bool {
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    let unsigned = text.strip_prefix('-').unwrap_or(text);
    let (mantissa, exponent) = match unsigned.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, Some(exponent.strip_prefix(['+', '-']).unwrap_or(exponent))),
        None => (unsigned, None),
    };
    let (whole, fraction) = match mantissa.split_once('.') {
        Some((whole, fraction)) => (whole, Some(fraction)),
        None => (mantissa, None),
    };
    digits(whole)
        && (whole == "0" || !whole.starts_with('0'))
        && fraction.is_none_or(digits)
        && exponent.is_none_or(digits)
}

/// Reads a whole number, also when written as `1.0` or `1e1`; none if it is none or out of all reach.
pub(crate) fn whole(text: &str) -> Option<i128> {
    if !is_number(text) {
        return None;
    }
    let (sign, unsigned) = match text.strip_prefix('-') {
        Some(unsigned) => (-1, unsigned),
        None => (1, text),
    };
    let (mantissa, exponent) = unsigned.split_once(['e', 'E']).unwrap_or((unsigned, "0"));
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let fraction = fraction.trim_end_matches('0');
    let digits = format!("{whole}{fraction}");
    let digits = digits.trim_start_matches('0');
    if digits.is_empty() {
        return Some(0);
    }
    let fraction_length = i64::try_from(fraction.len()).ok()?;
    let mut shift = exponent.parse::<i64>().ok()?.checked_sub(fraction_length)?;
    let mut digits = digits.to_owned();
    while shift < 0 && digits.ends_with('0') {
        digits.pop();
        shift += 1;
    }
    // 10^30 is beyond every integer type of a spec, and still far inside 128 bits.
    let shift = u32::try_from(shift).ok().filter(|shift| *shift <= 30)?;
    if digits.len() > 30 {
        return None;
    }
    let magnitude: i128 = digits.parse().ok()?;
    magnitude.checked_mul(10_i128.checked_pow(shift)?)?.checked_mul(sign)
}

/// Reads a finite number.
pub(crate) fn float(text: &str) -> Option<f64> {
    let number: f64 = is_number(text).then(|| text.parse().ok())??;
    number.is_finite().then_some(number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_follow_the_grammar() {
        for text in ["0", "-0", "10", "1.5", "1e1", "1E-2", "-1.0e+3"] {
            assert!(is_number(text), "{text}");
        }
        for text in ["", "-", "01", ".5", "5.", "1e", "+1", "0x1", "1_0", "1.e1", "--1"] {
            assert!(!is_number(text), "{text}");
        }
    }

    #[test]
    fn whole_numbers_in_every_dress() {
        for (text, number) in [
            ("1", 1),
            ("1.0", 1),
            ("1e1", 10),
            ("1.5e1", 15),
            ("100e-2", 1),
            ("-0", 0),
            ("-12.00", -12),
            ("0e99999999999", 0),
            ("18446744073709551615", 18_446_744_073_709_551_615),
        ] {
            assert_eq!(whole(text), Some(number), "{text}");
        }
        for text in ["1.5", "", "x", "1e-1", "1e999999999999999999999", " 1", "1e31", "0x1"] {
            assert_eq!(whole(text), None, "{text}");
        }
    }

    #[test]
    fn floats_are_finite() {
        assert_eq!(float("0.5"), Some(0.5));
        assert_eq!(float("1e999"), None);
        assert_eq!(float("NaN"), None);
    }
}
