//! Numbers as text: the grammar of JSON, and the exact value of a text.
//!
//! Decoding keeps the text of a number until here, so that 64-bit numbers do not pass through a float.

/// Tells whether a text is a number by the grammar of JSON.
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

/// Returns the value of a whole number, also of `1.0` and `1e1`; `None` for a fraction and far outside of 64 bits.
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
    // Without trailing zeros: `1.0` is a whole number.
    let fraction = fraction.trim_end_matches('0');
    let digits = format!("{whole}{fraction}");
    let digits = digits.trim_start_matches('0');
    // Before the exponent is read: `0e99999999999999999999` is zero although its exponent fits no integer.
    if digits.is_empty() {
        return Some(0);
    }
    let fraction_length = i64::try_from(fraction.len()).ok()?;
    let mut shift = exponent.parse::<i64>().ok()?.checked_sub(fraction_length)?;
    let mut digits = digits.to_owned();
    // `100e-2` is 1: zeros at the end cancel a negative exponent. What is left of it is a real fraction.
    while shift < 0 && digits.ends_with('0') {
        digits.pop();
        shift += 1;
    }
    // 10^30 is above every integer type of a spec. Two factors of that size may still exceed 128 bits, which
    // `checked_mul` catches; unchecked, the product would wrap to a small number.
    let shift = u32::try_from(shift).ok().filter(|shift| *shift <= 30)?;
    if digits.len() > 30 {
        return None;
    }
    let magnitude: i128 = digits.parse().ok()?;
    magnitude.checked_mul(10_i128.checked_pow(shift)?)?.checked_mul(sign)
}

/// Returns the value of a finite number.
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
    fn whole_numbers_have_many_forms() {
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
