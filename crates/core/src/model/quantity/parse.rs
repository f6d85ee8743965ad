//! Go's `ParseQuantity`: from the text to one of the two forms of an amount.

use super::{Amount, NANO, Quantity, negative_value};

/// A number of digits that always fits an `i64`: Go's `maxInt64Factors`.
const SHORT: usize = 18;

/// The parts of a quantity's text, as Go's `parseQuantityString` splits it.
struct Parts<'a> {
    negative: bool,
    /// Without leading zeros.
    whole: &'a str,
    fraction: &'a str,
    /// The text had a digit, even if only a leading zero.
    any_digit: bool,
    suffix: &'a str,
}

/// Go's `ParseQuantity`.
pub(super) fn parse(text: &str) -> Option<Amount> {
    if text.is_empty() {
        return None;
    }
    let parts = parts(text)?;
    let digits = parts.whole.len().max(1) + parts.fraction.len();
    let sign = if parts.negative { -1 } else { 1 };
    match scale(parts.suffix)? {
        Scale::Decimal(exponent) => {
            let scale = exponent.wrapping_sub(i32::try_from(parts.fraction.len()).ok()?);
            if digits <= SHORT && scale >= -9 {
                let amount: i64 = number(parts.whole, parts.fraction).try_into().ok()?;
                return Some(Amount::Scaled { amount: sign * amount, scale });
            }
            parts.any_digit.then(|| long_decimal(&parts, exponent))
        }
        Scale::Binary(exponent) => {
            // The number of digits that fit in addition to the power, as Go estimates it.
            let room = 14_usize.checked_sub(parts.whole.len().max(1));
            let short = room.is_some_and(|room| room >= (exponent * 3 / 10) as usize);
            if short && parts.fraction.is_empty() {
                let amount = number(parts.whole, "") << exponent;
                return Some(Amount::Scaled {
                    amount: sign * i64::try_from(amount).ok()?,
                    scale: 0,
                });
            }
            parts.any_digit.then(|| binary(&parts, exponent))
        }
    }
}

fn parts(text: &str) -> Option<Parts<'_>> {
    let (negative, unsigned) = match text.as_bytes().first()? {
        b'-' => (true, &text[1..]),
        b'+' => (false, &text[1..]),
        _ => (false, text),
    };
    let significant = unsigned.trim_start_matches('0');
    let (whole, rest) = digits_of(significant);
    let (fraction, suffix) = rest.strip_prefix('.').map_or(("", rest), digits_of);
    let exponent = suffix.trim_start_matches(|c| "eEinumkKMGTP".contains(c));
    let exponent = exponent.strip_prefix(['+', '-']).unwrap_or(exponent);
    let any_digit = significant.len() < unsigned.len() || whole.len() + fraction.len() > 0;
    digits_of(exponent).1.is_empty().then_some(Parts {
        negative,
        whole,
        fraction,
        any_digit,
        suffix,
    })
}

/// Returns the leading digits, and the rest.
fn digits_of(text: &str) -> (&str, &str) {
    text.split_at(text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len()))
}

enum Scale {
    /// A power of ten.
    Decimal(i32),
    /// A power of two.
    Binary(u32),
}

fn scale(suffix: &str) -> Option<Scale> {
    Some(match suffix {
        "n" => Scale::Decimal(-9),
        "u" => Scale::Decimal(-6),
        "m" => Scale::Decimal(-3),
        "" => Scale::Decimal(0),
        "k" => Scale::Decimal(3),
        "M" => Scale::Decimal(6),
        "G" => Scale::Decimal(9),
        "T" => Scale::Decimal(12),
        "P" => Scale::Decimal(15),
        "E" => Scale::Decimal(18),
        "Ki" => Scale::Binary(10),
        "Mi" => Scale::Binary(20),
        "Gi" => Scale::Binary(30),
        "Ti" => Scale::Binary(40),
        "Pi" => Scale::Binary(50),
        "Ei" => Scale::Binary(60),
        // Go cuts the exponent to its lowest 32 bits.
        _ => Scale::Decimal(suffix.strip_prefix(['e', 'E'])?.parse::<i64>().ok()? as i32),
    })
}

/// Returns the number that the digits form. Callers pass few enough digits, or use its lowest bits.
fn number(whole: &str, fraction: &str) -> u128 {
    let digits = whole.bytes().chain(fraction.bytes());
    digits.fold(0, |number: u128, digit| {
        number.wrapping_mul(10).wrapping_add(u128::from(digit - b'0'))
    })
}

/// Converts a decimal with too many digits for an `i64`, or too small for one, to whole billionths.
fn long_decimal(parts: &Parts<'_>, exponent: i32) -> Amount {
    let digits = [parts.whole, parts.fraction].concat();
    let digits = digits.trim_start_matches('0');
    let power = i64::from(exponent) + 9 - i64::try_from(parts.fraction.len()).unwrap_or(i64::MAX);
    let (kept, cut) = match usize::try_from(power) {
        Ok(_) => (digits, ""),
        Err(_) => {
            let fewer = usize::try_from(power.unsigned_abs()).unwrap_or(usize::MAX);
            digits.split_at(digits.len().saturating_sub(fewer))
        }
    };
    let up = u128::from(cut.bytes().any(|digit| digit != b'0'));
    // 10^128 is divisible by 2^128, so larger powers have no bit below the 128th either.
    let zeros = u32::try_from(power.clamp(0, 128)).unwrap_or(0);
    let fits = kept.is_empty() || kept.len() + zeros as usize <= 38;
    let lowest_bits = number(kept, "").wrapping_mul(10_u128.wrapping_pow(zeros)).wrapping_add(up);
    if let Some(nano) = i128::try_from(lowest_bits).ok().filter(|_| fits) {
        let Quantity(amount) = Quantity::from_nano(if parts.negative { -nano } else { nano });
        return amount;
    }
    let value = if parts.negative {
        negative_value((lowest_bits as i64).wrapping_neg())
    } else {
        // Whole units, before the rounding to billionths: the last nine digits decide if it rounds
        // up.
        let units = power - 9;
        let (kept, cut) = match usize::try_from(units) {
            Ok(_) => (digits, ""),
            Err(_) => {
                let fewer = usize::try_from(units.unsigned_abs()).unwrap_or(usize::MAX);
                digits.split_at(digits.len().saturating_sub(fewer))
            }
        };
        let zeros = u32::try_from(units.clamp(0, 128)).unwrap_or(0);
        let up = u128::from(cut.bytes().any(|digit| digit != b'0'));
        let whole = number(kept, "").wrapping_mul(10_u128.wrapping_pow(zeros));
        whole.wrapping_add(up) as i64
    };
    Amount::Huge { negative: parts.negative, value }
}

/// Multiplies digits by a power of two, capped to an `i64`.
fn binary(parts: &Parts<'_>, exponent: u32) -> Amount {
    let most =
        Amount::Scaled { amount: if parts.negative { -i64::MAX } else { i64::MAX }, scale: 0 };
    if parts.whole.len() > 19 {
        return most;
    }
    // The fraction of the product, digit by digit: it may be long.
    let mut fraction = vec![0; parts.fraction.len()];
    let mut carry: u128 = 0;
    for (digit, product) in parts.fraction.bytes().zip(&mut fraction).rev() {
        let sum = (u128::from(digit - b'0') << exponent) + carry;
        *product = (sum % 10) as u8;
        carry = sum / 10;
    }
    let whole = (number(parts.whole, "") << exponent) + carry;
    let (billionths, finer) = fraction.split_at(fraction.len().min(9));
    let mut nano = billionths.iter().fold(0, |nano, digit| nano * 10 + i128::from(*digit));
    nano *= 10_i128.pow(9 - billionths.len() as u32);
    nano += i128::from(finer.iter().any(|digit| *digit != 0));
    let limit = i128::from(i64::MAX) * NANO;
    let Some(nano) = i128::try_from(whole)
        .ok()
        .and_then(|whole| whole.checked_mul(NANO)?.checked_add(nano))
        .filter(|nano| *nano <= limit)
    else {
        return most;
    };
    let signed = if parts.negative { -nano } else { nano };
    if nano == limit { most } else { Quantity::from_nano(signed).0 }
}
