//! Kubernetes quantities (`100Mi`, `1500m`, `1e9`), parsed and computed as in Go.
//!
//! Source: `k8s.io/apimachinery/pkg/api/resource`. Its code accepts more than the grammar in its
//! doc comment (`Mi` is 0, and so is `-`), and `Value()` overflows in two ways. This module
//! reproduces both, because the scheduler and the kubelet use the same numbers: `1e42` is a valid
//! limit and has the value 0.

#![expect(
    clippy::cast_possible_truncation,
    reason = "Go keeps the lowest bits of what overflows; what else is cut here fits"
)]

use std::{
    cmp::Ordering,
    fmt,
    hash::{Hash, Hasher},
    str::FromStr,
};

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

/// An amount to the billionth, the finest that Kubernetes keeps (it rounds finer amounts up).
#[derive(Clone, Copy, Debug)]
pub struct Quantity(Amount);

/// Go has the first two forms, and selects one by the length of the text. They overflow
/// differently.
#[derive(Clone, Copy, Debug)]
enum Amount {
    /// `int64Amount`: `amount` × 10^`scale`.
    Scaled { amount: i64, scale: i32 },
    /// `inf.Dec`, in billionths: the halves of an `i128`, which alone would need more room.
    Nano { high: i64, low: u64 },
    /// `inf.Dec`, beyond an `i128` of billionths. Only its `Value()` is known.
    Huge { negative: bool, value: i64 },
}

const NANO: i128 = 1_000_000_000;
/// A number of digits that always fits an `i64`: Go's `maxInt64Factors`.
const SHORT: usize = 18;

impl Default for Quantity {
    fn default() -> Self {
        Self(Amount::Scaled { amount: 0, scale: 0 })
    }
}

impl Quantity {
    pub fn from_bytes(bytes: u64) -> Self {
        match i64::try_from(bytes) {
            Ok(amount) => Self(Amount::Scaled { amount, scale: 0 }),
            Err(_) => Self::from_nano(i128::from(bytes) * NANO),
        }
    }

    /// Kubernetes' `Sign() == 1`.
    pub fn is_positive(self) -> bool {
        self.nano() > 0
    }

    /// Kubernetes' `Value()`: whole units, rounded up; on overflow the same result as Go's.
    pub fn value(self) -> i64 {
        match self.0 {
            Amount::Scaled { amount, scale } if scale < 0 => rounded_up(amount, scale),
            Amount::Scaled { amount, scale } => multiplied(amount, scale),
            Amount::Nano { high, low } => nano_value(joined(high, low)),
            Amount::Huge { value, .. } => value,
        }
    }

    /// Returns true if [`Self::value`] is the amount rounded up, not the result of an overflow.
    pub fn fits(self) -> bool {
        let nano = self.nano();
        i128::from(self.value()) == nano / NANO + (nano % NANO).signum()
    }

    fn from_nano(nano: i128) -> Self {
        let [high, low] = [(nano >> 64) as i64, nano as i64];
        Self(Amount::Nano { high, low: low.cast_unsigned() })
    }

    /// Returns the amount in billionths, capped to an `i128`. Quantities are ordered by it.
    fn nano(self) -> i128 {
        match self.0 {
            Amount::Scaled { amount, scale } => scaled_nano(amount, scale),
            Amount::Nano { high, low } => joined(high, low),
            Amount::Huge { negative: true, .. } => i128::MIN,
            Amount::Huge { negative: false, .. } => i128::MAX,
        }
    }
}

fn joined(high: i64, low: u64) -> i128 {
    i128::from(high) << 64 | i128::from(low)
}

/// Returns `amount` × 10^`scale`; `scale` must be at least −9.
fn scaled_nano(amount: i64, scale: i32) -> i128 {
    let power = scale.saturating_add(9).max(0).unsigned_abs();
    let nano = 10_i128.checked_pow(power).and_then(|power| power.checked_mul(amount.into()));
    nano.unwrap_or(match amount.signum() {
        0 => 0,
        1 => i128::MAX,
        _ => i128::MIN,
    })
}

/// Go's `negativeScaleInt64`: rounds away from zero.
fn rounded_up(amount: i64, scale: i32) -> i64 {
    let divisor = 10_i128.checked_pow(scale.unsigned_abs()).unwrap_or(i128::MAX);
    let amount = i128::from(amount);
    let whole = amount / divisor + (amount % divisor).signum();
    i64::try_from(whole).unwrap_or(i64::MAX)
}

/// Go's `positiveScaleInt64`: 0 on overflow, except that its precomputed scales wrap around.
fn multiplied(amount: i64, scale: i32) -> i64 {
    let scale = scale.unsigned_abs();
    match (scale, 10_i64.checked_pow(scale)) {
        (0..=3 | 6 | 9, Some(power)) => amount.wrapping_mul(power),
        (_, Some(power)) => amount.checked_mul(power).unwrap_or(0),
        (_, None) => 0,
    }
}

/// Go's `scaledValue`: rounds towards +∞, and keeps the lowest 64 bits.
fn nano_value(nano: i128) -> i64 {
    if nano < 0 {
        return negative_value(nano as i64);
    }
    (nano / NANO + i128::from(nano % NANO != 0)) as i64
}

/// Go takes the lowest 64 bits of a negative amount before it divides them.
fn negative_value(lowest_bits: i64) -> i64 {
    let nano = NANO as i64;
    lowest_bits / nano + i64::from(lowest_bits % nano != 0)
}

impl PartialEq for Quantity {
    fn eq(&self, other: &Self) -> bool {
        self.nano() == other.nano()
    }
}

impl Eq for Quantity {}

impl Ord for Quantity {
    fn cmp(&self, other: &Self) -> Ordering {
        self.nano().cmp(&other.nano())
    }
}

impl PartialOrd for Quantity {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Hash for Quantity {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.nano().hash(state);
    }
}

impl std::ops::Add for Quantity {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        if let (
            Amount::Scaled { amount, scale },
            Amount::Scaled { amount: more, scale: other_scale },
        ) = (self.0, other.0)
            && scale == other_scale
            && let Some(amount) = amount.checked_add(more)
        {
            return Self(Amount::Scaled { amount, scale });
        }
        Self::from_nano(self.nano().saturating_add(other.nano()))
    }
}

/// The error for a text that Kubernetes does not accept as a quantity.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a quantity (examples: 512Mi, 1.5Gi, 250m, 1e9)")]
pub struct NotAQuantity(pub String);

impl FromStr for Quantity {
    type Err = NotAQuantity;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        parse(text).map(Self).ok_or_else(|| NotAQuantity(text.to_owned()))
    }
}

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
fn parse(text: &str) -> Option<Amount> {
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
            // The number of digits that fit beside the power, as Go estimates it.
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

impl fmt::Display for Quantity {
    /// Formats a text that parses to the same value.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let nano = self.nano();
        match self.0 {
            Amount::Scaled { amount, scale } if scale > 0 && nano / NANO != self.value().into() => {
                return write!(f, "{amount}e{scale}");
            }
            // 32 digits, which make Go keep the lowest 64 bits.
            Amount::Huge { negative, value } => {
                let sign = if negative { "-" } else { "" };
                let value = u128::from(value.cast_unsigned());
                return write!(f, "{sign}{}", (1_000_000_000_000 << 64) + value);
            }
            Amount::Nano { .. } if nano < 0 => return write!(f, "{nano}.0000000000n"),
            Amount::Scaled { .. } | Amount::Nano { .. } => {}
        }
        let (value, suffix) =
            [(60, "Ei"), (50, "Pi"), (40, "Ti"), (30, "Gi"), (20, "Mi"), (10, "Ki")]
                .into_iter()
                .map(|(shift, suffix)| (NANO << shift, suffix))
                .find(|(unit, _)| nano != 0 && nano % unit == 0 && self.fits())
                .map_or((nano / NANO, ""), |(unit, suffix)| (nano / unit, suffix));
        match nano % NANO {
            0 => write!(f, "{value}{suffix}"),
            _ if nano % 1_000_000 == 0 => write!(f, "{}m", nano / 1_000_000),
            _ => write!(f, "{nano}n"),
        }
    }
}

impl Serialize for Quantity {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Quantity {
    /// Go's `UnmarshalJSON`: takes the text of a string or a number, without resolving escapes.
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let raw = Box::<RawValue>::deserialize(deserializer)?;
        let text = raw.get();
        if text == "null" {
            return Ok(Self::default());
        }
        let text = text.strip_prefix('"').and_then(|text| text.strip_suffix('"')).unwrap_or(text);
        text.trim().parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Recorded from Go's own package: see the README beside the file.
    const RECORDED: &str = include_str!("../../../../tests/fixtures/quantities/quantities.tsv");

    fn read(json: &str) -> Option<(i64, i32)> {
        let quantity: Quantity = serde_json::from_str(json).ok()?;
        let sign = i32::from(quantity.is_positive()) - i32::from(quantity < Quantity::default());
        Some((quantity.value(), sign))
    }

    #[test]
    fn accepts_and_means_what_go_does() {
        let mut rows = 0;
        let mut wrong = Vec::new();
        for line in RECORDED.lines() {
            let mut columns = line.split('\t');
            let json = columns.next().unwrap();
            let expected = match columns.next().unwrap() {
                "-" => None,
                value => Some((value.parse().unwrap(), columns.next().unwrap().parse().unwrap())),
            };
            rows += 1;
            let found = read(json);
            if found != expected {
                wrong.push(format!("{json}: {found:?}, Go: {expected:?}"));
            }
        }
        assert_eq!(rows, 10_000);
        assert!(
            wrong.is_empty(),
            "{} differ:\n{}",
            wrong.len(),
            wrong[..wrong.len().min(30)].join("\n")
        );
    }

    #[test]
    fn what_is_remembered_has_the_same_value() {
        for line in RECORDED.lines() {
            let Ok(quantity) = serde_json::from_str::<Quantity>(line.split('\t').next().unwrap())
            else {
                continue;
            };
            let text = quantity.to_string();
            let again: Quantity = text.parse().unwrap();
            assert_eq!(again, quantity, "{line}: {text}");
            // Only the sign of a negative amount matters.
            if quantity >= Quantity::default() {
                assert_eq!(again.value(), quantity.value(), "{line}: {text}");
            }
        }
    }

    /// Go would compute a power of ten with two billion digits.
    #[test]
    fn no_text_takes_long_or_much_memory() {
        let long = "9".repeat(1_000_000);
        for text in [
            "1e-2147483648",
            "123456789012345678901e2147483647",
            "123456789012345678901e-2147483647",
            &format!("{long}e9"),
            &format!("0.{long}Ei"),
            &format!("0.{long}e-9"),
        ] {
            assert!(text.parse::<Quantity>().unwrap().is_positive(), "{text:.30}");
        }
    }

    #[test]
    fn an_overflow_is_known() {
        for (text, fits) in [
            ("0", true),
            ("-2.5", true),
            ("9Ei", true),
            ("9223372036854775807", true),
            ("9223372036854775808", false),
            ("1e42", false),
            ("18446744074G", false),
        ] {
            assert_eq!(text.parse::<Quantity>().unwrap().fits(), fits, "{text}");
        }
    }

    #[test]
    fn sums_and_comparisons_are_of_amounts() {
        let of = |text: &str| text.parse::<Quantity>().unwrap();
        assert_eq!(of("1000m"), of("1"));
        assert_eq!(of("1e20"), of("100000000000000000000"));
        assert_eq!(of("1Gi") + of("1Gi"), of("2Gi"));
        assert_eq!((of("1500m") + of("1")).value(), 3);
        assert!(of("1e42") + of("1e42") > of("1Ei"));
        assert_eq!(std::mem::size_of::<Option<Quantity>>(), 24);
    }

    proptest! {
        #[test]
        fn shown_and_read_back_is_the_same(nano in -1_000_000_000_000_000_000_000i128..1_000_000_000_000_000_000_000) {
            let quantity = Quantity::from_nano(nano);
            let again: Quantity = quantity.to_string().parse().unwrap();
            prop_assert_eq!(again, quantity);
            prop_assert_eq!(again.value(), quantity.value());
        }

        #[test]
        fn never_panics(text in ".{0,40}") {
            let _ = text.parse::<Quantity>();
        }
    }
}
