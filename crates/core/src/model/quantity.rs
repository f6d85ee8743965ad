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

mod parse;

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

    /// Kubernetes' `Sign() == -1`.
    pub fn is_negative(self) -> bool {
        self.nano() < 0
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

    /// Returns true for an amount without a fraction.
    pub fn is_whole(self) -> bool {
        self.nano() % NANO == 0
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
        parse::parse(text).map(Self).ok_or_else(|| NotAQuantity(text.to_owned()))
    }
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
#[path = "quantity_tests.rs"]
mod tests;
