//! Kubernetes quantities (`100Mi`, `1500m`, `1e9`), exactly.
//!
//! Source: `k8s.io/apimachinery/pkg/api/resource`, the grammar in `Quantity`'s doc comment.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

/// An amount in billionths, the finest that Kubernetes keeps (finer amounts are rounded up).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Quantity {
    nano: i128,
}

const NANO: i128 = 1_000_000_000;

impl Quantity {
    pub fn from_bytes(bytes: u64) -> Self {
        Self { nano: i128::from(bytes) * NANO }
    }

    /// Kubernetes' `Sign() == 1`.
    pub fn is_positive(self) -> bool {
        self.nano > 0
    }

    /// Kubernetes' `Value()`: whole units, rounded away from zero, clamped to an `i64`.
    pub fn value(self) -> i64 {
        let whole = self.nano / NANO + (self.nano % NANO).signum();
        i64::try_from(whole).unwrap_or(if whole < 0 { i64::MIN } else { i64::MAX })
    }
}

impl std::ops::Add for Quantity {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self { nano: self.nano.saturating_add(other.nano) }
    }
}

/// Not in the grammar of Kubernetes' quantities.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a quantity (examples: 512Mi, 1.5Gi, 250m, 1e9)")]
pub struct NotAQuantity(pub String);

impl FromStr for Quantity {
    type Err = NotAQuantity;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        parse(text).map(|nano| Self { nano }).ok_or_else(|| NotAQuantity(text.to_owned()))
    }
}

fn parse(text: &str) -> Option<i128> {
    let (negative, unsigned) = match text.as_bytes().first()? {
        b'-' => (true, &text[1..]),
        b'+' => (false, &text[1..]),
        _ => (false, text),
    };
    let digits_end =
        unsigned.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(unsigned.len());
    let (number, suffix) = unsigned.split_at(digits_end);
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if fraction.contains('.') || whole.len() + fraction.len() == 0 {
        return None;
    }
    let (multiplier, exponent) = scale(suffix)?;
    // mantissa × multiplier × 10^(exponent − digits after the point), in nanos
    let mut mantissa: i128 = 0;
    for digit in whole.bytes().chain(fraction.bytes()) {
        mantissa = mantissa.checked_mul(10)?.checked_add(i128::from(digit - b'0'))?;
    }
    let power = exponent.checked_add(9)?.checked_sub(i32::try_from(fraction.len()).ok()?)?;
    let scaled = mantissa.checked_mul(multiplier)?;
    let nano = if power >= 0 {
        scaled.checked_mul(10_i128.checked_pow(power.unsigned_abs())?)?
    } else {
        match 10_i128.checked_pow(power.unsigned_abs()) {
            Some(divisor) => scaled / divisor + i128::from(scaled % divisor != 0),
            None => i128::from(scaled != 0),
        }
    };
    Some(if negative { -nano } else { nano })
}

/// A suffix as (binary multiplier, decimal exponent).
fn scale(suffix: &str) -> Option<(i128, i32)> {
    Some(match suffix {
        "" => (1, 0),
        "n" => (1, -9),
        "u" => (1, -6),
        "m" => (1, -3),
        "k" => (1, 3),
        "M" => (1, 6),
        "G" => (1, 9),
        "T" => (1, 12),
        "P" => (1, 15),
        "E" => (1, 18),
        "Ki" => (1 << 10, 0),
        "Mi" => (1 << 20, 0),
        "Gi" => (1 << 30, 0),
        "Ti" => (1 << 40, 0),
        "Pi" => (1 << 50, 0),
        "Ei" => (1 << 60, 0),
        _ => (1, suffix.strip_prefix(['e', 'E'])?.parse().ok()?),
    })
}

impl fmt::Display for Quantity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (value, suffix) =
            [(60, "Ei"), (50, "Pi"), (40, "Ti"), (30, "Gi"), (20, "Mi"), (10, "Ki")]
                .into_iter()
                .map(|(shift, suffix)| (NANO << shift, suffix))
                .find(|(unit, _)| self.nano != 0 && self.nano % unit == 0)
                .map_or((self.nano / NANO, ""), |(unit, suffix)| (self.nano / unit, suffix));
        match self.nano % NANO {
            0 => write!(f, "{value}{suffix}"),
            _ if self.nano % 1_000_000 == 0 => write!(f, "{}m", self.nano / 1_000_000),
            _ => write!(f, "{}n", self.nano),
        }
    }
}

impl Serialize for Quantity {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Quantity {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        /// The API server sends strings; its schema also allows a bare number.
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Wire {
            Text(String),
            Integer(i64),
        }
        match Wire::deserialize(deserializer)? {
            Wire::Text(text) => text.parse().map_err(serde::de::Error::custom),
            Wire::Integer(number) => Ok(Self { nano: i128::from(number) * NANO }),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn values_are_those_of_kubernetes() {
        for (text, value) in [
            ("0", 0),
            ("100Mi", 104_857_600),
            ("1.5Gi", 1_610_612_736),
            ("128974848", 128_974_848),
            ("129e6", 129_000_000),
            ("129M", 129_000_000),
            ("1E3", 1000),
            ("1E", 1_000_000_000_000_000_000),
            ("128974848000m", 128_974_848),
            ("100m", 1),
            ("1n", 1),
            ("0.1n", 1),
            (".5Gi", 536_870_912),
            ("5.", 5),
            ("+3Ki", 3072),
            ("-1500m", -2),
            ("0.1Ki", 103),
            ("9Ei", i64::MAX),
        ] {
            assert_eq!(text.parse::<Quantity>().map(Quantity::value), Ok(value), "{text}");
        }
    }

    #[test]
    fn what_is_no_quantity_is_refused() {
        for text in
            ["", ".", "-", "Mi", "1 Mi", "1mi", "1KiB", "1..2", "1e", "1e1.5", "0x10", "ten"]
        {
            assert_eq!(text.parse::<Quantity>(), Err(NotAQuantity(text.to_owned())), "{text:?}");
        }
        let huge = format!("1e{}", i32::MAX);
        assert!(huge.parse::<Quantity>().is_err());
    }

    proptest! {
        #[test]
        fn shown_and_read_back_is_the_same(nano in -1_000_000_000_000_000_000_000i128..1_000_000_000_000_000_000_000) {
            let quantity = Quantity { nano };
            prop_assert_eq!(quantity.to_string().parse::<Quantity>(), Ok(quantity));
        }

        #[test]
        fn never_panics(text in ".{0,40}") {
            let _ = text.parse::<Quantity>();
        }
    }
}
