//! Amounts: Kubernetes quantities (`64Mi`, `1G`, `500m`) and sizes in common notation (`100M`, `100MiB`).
//!
//! The crate `bytesize` does not replace this module: it reads `64MB` and `1K`, which are no Kubernetes quantities,
//! has neither `m` nor exponents, and its error does not name the unknown unit.

/// A mistake in an amount.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum QuantityError {
    /// The amount is below zero.
    #[error("an amount may not be negative")]
    Negative,
    /// The amount is above 2^64 - 1.
    #[error("the amount is too large")]
    TooLarge,
    /// The unit does not exist.
    #[error("unknown unit {0:?}")]
    Unit(String),
    /// The text does not start with a number.
    #[error("no number")]
    NoNumber,
}

/// Parses a Kubernetes quantity as a number of bytes, rounded up.
///
/// Units are `Ki Mi Gi Ti Pi Ei` (powers of 1024), `k M G T P E` (powers of 1000), `m u n` (fractions), and
/// exponents such as `1e6`.
pub fn bytes(text: &str) -> Result<u64, QuantityError> {
    let (number, unit) = split(text)?;
    let factor: f64 = match unit {
        "" => 1.0,
        "n" => 1e-9,
        "u" => 1e-6,
        "m" => 1e-3,
        "k" => 1e3,
        "Ki" => 1024.0,
        _ => match large(unit) {
            Some(factor) => factor,
            None => exponent(unit).ok_or_else(|| QuantityError::Unit(unit.to_owned()))?,
        },
    };
    whole(number, factor)
}

/// Parses a size in bytes: `100M` and `100MB` are decimal, `100MiB` is binary; upper and lower case are equal.
pub fn size(text: &str) -> Result<u64, QuantityError> {
    let (number, unit) = split(text)?;
    let unit = unit.trim();
    let unknown = || QuantityError::Unit(unit.to_owned());
    let mut letters = unit.to_ascii_uppercase();
    if letters.ends_with('B') {
        letters.pop();
    }
    let factor = match letters.as_str() {
        "" => 1.0,
        "K" => 1e3,
        "KI" => 1024.0,
        other => {
            let mut chars = other.chars();
            let prefix: String = chars.next().into_iter().collect();
            let binary = match chars.as_str() {
                "" => "",
                "I" => "i",
                _ => return Err(unknown()),
            };
            large(&format!("{prefix}{binary}")).ok_or_else(unknown)?
        }
    };
    whole(number, factor)
}

fn large(unit: &str) -> Option<f64> {
    let (letter, base) = match unit.strip_suffix('i') {
        Some(letter) => (letter, 1024.0_f64),
        None => (unit, 1000.0),
    };
    let power = match letter {
        "M" => 2,
        "G" => 3,
        "T" => 4,
        "P" => 5,
        "E" => 6,
        _ => return None,
    };
    Some(base.powi(power))
}

fn exponent(unit: &str) -> Option<f64> {
    let power: i32 = unit.strip_prefix(['e', 'E'])?.parse().ok()?;
    (-30..=30).contains(&power).then(|| 10.0_f64.powi(power))
}

fn split(text: &str) -> Result<(f64, &str), QuantityError> {
    if text.starts_with('-') {
        return Err(QuantityError::Negative);
    }
    let text = text.strip_prefix('+').unwrap_or(text);
    let end = text
        .find(|c: char| !c.is_ascii_digit() && c != '.')
        .unwrap_or(text.len());
    let (number, unit) = text.split_at(end);
    let number = number.parse().map_err(|_| QuantityError::NoNumber)?;
    Ok((number, unit))
}

fn whole(number: f64, factor: f64) -> Result<u64, QuantityError> {
    let amount = (number * factor).ceil();
    // 2^64 as a float. Without the check, `as` would saturate and a huge amount would become 2^64 - 1.
    if amount >= 18_446_744_073_709_551_616.0 {
        return Err(QuantityError::TooLarge);
    }
    Ok(amount as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kubernetes_quantities() {
        for (text, amount) in [
            ("64Mi", 64 << 20),
            ("1Gi", 1 << 30),
            ("1G", 1_000_000_000),
            ("256M", 256_000_000),
            ("1.5k", 1500),
            ("128974848", 128_974_848),
            ("129e6", 129_000_000),
            ("1E", 1_000_000_000_000_000_000),
            ("128974848000m", 128_974_848),
            ("0", 0),
        ] {
            assert_eq!(bytes(text), Ok(amount), "{text}");
        }
        for text in ["", "Mi", "64MB", "64 Mi", "64mi", "1K", "-1", "1e", "lots", "99999E"] {
            assert!(bytes(text).is_err(), "{text}");
        }
    }

    #[test]
    fn sizes_in_common_notation() {
        for (text, amount) in [
            ("100M", 100_000_000),
            ("100MB", 100_000_000),
            ("100 mb", 100_000_000),
            ("100MiB", 100 << 20),
            ("1k", 1000),
            ("1KiB", 1024),
            ("12B", 12),
            ("7", 7),
        ] {
            assert_eq!(size(text), Ok(amount), "{text}");
        }
        for text in ["", "M", "1X", "1MMB", "-1M"] {
            assert!(size(text).is_err(), "{text}");
        }
    }
}
