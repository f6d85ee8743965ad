//! Kubernetes quantities ("128Mi", "250m"), exact in thousandths.

/// The value in thousandths; `None` if it is not a quantity.
pub fn milli(text: &str) -> Option<i128> {
    let digits = text.trim_start_matches(['+', '-']);
    let end = digits.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(digits.len());
    let (number, suffix) = digits.split_at(end);
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if whole.is_empty() && fraction.is_empty() {
        return None;
    }
    let scale = i128::from(10i64.checked_pow(u32::try_from(fraction.len()).ok()?)?);
    let value: i128 = format!("{whole}{fraction}").parse().ok()?;
    // Thousandths of the unit; nano and micro round up to one.
    let (times, by): (i128, i128) = match suffix {
        "" => (1000, 1),
        "n" => (1, 1_000_000),
        "u" => (1, 1000),
        "m" => (1, 1),
        "k" => (1_000_000, 1),
        "M" => (1_000_000_000, 1),
        "G" => (1_000_000_000_000, 1),
        "T" => (1_000_000_000_000_000, 1),
        "P" => (1_000_000_000_000_000_000, 1),
        "Ki" => (1000 << 10, 1),
        "Mi" => (1000 << 20, 1),
        "Gi" => (1000 << 30, 1),
        "Ti" => (1000 << 40, 1),
        "Pi" => (1000 << 50, 1),
        exponent => {
            let power: i32 = exponent.strip_prefix(['e', 'E'])?.parse().ok()?;
            match u32::try_from(power) {
                Ok(p) => (1000 * 10i128.checked_pow(p)?, 1),
                Err(_) => (1000, 10i128.checked_pow(power.unsigned_abs())?),
            }
        }
    };
    let (value, divisor) = (value.checked_mul(times)?, scale.checked_mul(by)?);
    let magnitude = (value + divisor - 1) / divisor;
    Some(if text.starts_with('-') { -magnitude } else { magnitude })
}

#[cfg(test)]
mod tests {
    use super::milli;

    #[test]
    fn reads_quantities() {
        for (text, want) in [
            ("1", Some(1000)),
            ("1000m", Some(1000)),
            ("0.5", Some(500)),
            ("128Mi", Some((128i128 << 20) * 1000)),
            ("131072Ki", Some((128i128 << 20) * 1000)),
            ("1e3", Some(1_000_000)),
            ("1.5Gi", Some((3i128 << 29) * 1000)),
            ("100n", Some(1)),
            ("0", Some(0)),
            ("Mi", None),
            ("1Qi", None),
            ("", None),
        ] {
            assert_eq!(milli(text), want, "{text}");
        }
    }
}
