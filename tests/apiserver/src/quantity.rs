//! Kubernetes quantities ("128Mi", "250m") by the rules of Go's `resource.Quantity`, with any
//! number of decimal digits: independent of the code and the arithmetic of the agent under test.

use std::cmp::Ordering;

use openssl::bn::BigNum;

/// The messages of `ParseQuantity`.
pub(crate) const FORMAT: &str = "quantities must match the regular expression \
                          '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'";
const SUFFIX: &str = "unable to parse quantity's suffix";
const NUMERIC: &str = "unable to parse numeric part of quantity";

/// Number of decimal digits that Go computes in 64 bits.
const FAST_DIGITS: i64 = 18;
const NANO: i64 = -9;
/// Largest power of ten: no cluster has such amounts, and Go itself would not finish.
const FAR: i64 = 100_000;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Format {
    DecimalSi,
    DecimalExponent,
    BinarySi,
}

/// `digits` times ten to the power `exponent`.
#[derive(Debug, Clone)]
pub(crate) struct Quantity {
    negative: bool,
    /// Without leading zeros; empty for zero.
    digits: String,
    exponent: i64,
    format: Format,
    /// A text that Go writes back unchanged.
    kept: Option<String>,
}

fn big(digits: &str) -> BigNum {
    BigNum::from_dec_str(if digits.is_empty() { "0" } else { digits })
        .unwrap_or_else(|_| unreachable!("decimal digits"))
}

fn text(number: &BigNum) -> String {
    let text = number.to_dec_str().map(|s| s.to_string()).unwrap_or_default();
    text.trim_start_matches('0').to_owned()
}

fn times(digits: &str, by: &str) -> String {
    let mut product = big("0");
    let context = openssl::bn::BigNumContext::new();
    let done = context.and_then(|mut c| product.checked_mul(&big(digits), &big(by), &mut c));
    if done.is_err() {
        unreachable!("out of memory");
    }
    text(&product)
}

fn divided(digits: &str, by: u32) -> Option<String> {
    let mut number = big(digits);
    (number.div_word(by).ok()? == 0).then(|| text(&number))
}

fn plus_one(digits: &str) -> String {
    let mut number = big(digits);
    if number.add_word(1).is_err() {
        unreachable!("out of memory");
    }
    text(&number)
}

fn power_of_two(exponent: u32) -> String {
    (1u128 << exponent).to_string()
}

/// Parses the suffix: base 2 or 10, the exponent, and its form.
fn suffix(text: &str) -> Result<(u32, i64, Format), &'static str> {
    let decimal = ["n", "u", "m", "", "k", "M", "G", "T", "P", "E"];
    let binary = ["Ki", "Mi", "Gi", "Ti", "Pi", "Ei"];
    let power = |at: usize, by: i64| i64::try_from(at).unwrap_or(0) * by;
    if let Some(at) = decimal.iter().position(|s| *s == text) {
        return Ok((10, power(at, 3) - 9, Format::DecimalSi));
    }
    if let Some(at) = binary.iter().position(|s| *s == text) {
        return Ok((2, power(at + 1, 10), Format::BinarySi));
    }
    let exponent = text.strip_prefix(['e', 'E']).and_then(|e| e.parse::<i64>().ok());
    // Go keeps the lower 32 bits.
    #[allow(clippy::cast_possible_truncation, reason = "as Go's int32(parsed)")]
    exponent.map(|e| (10, i64::from(e as i32), Format::DecimalExponent)).ok_or(SUFFIX)
}

/// Splits a quantity: sign, digits before and after the point, suffix.
fn parts(given: &str) -> Result<(bool, &str, &str, &str), &'static str> {
    let negative = given.starts_with('-');
    let rest = given.strip_prefix(['-', '+']).unwrap_or(given);
    let digits = |text: &str| text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let rest = rest.trim_start_matches('0');
    let (whole, rest) = rest.split_at(digits(rest));
    let (fraction, rest) = match rest.strip_prefix('.') {
        Some(rest) => rest.split_at(digits(rest)),
        None => ("", rest),
    };
    let letters = rest.find(|c: char| !"eEinumkKMGTP".contains(c)).unwrap_or(rest.len());
    let tail = &rest[letters..];
    let tail = tail.strip_prefix(['-', '+']).unwrap_or(tail);
    if !tail.bytes().all(|b| b.is_ascii_digit()) {
        return Err(FORMAT);
    }
    Ok((negative, whole, fraction, rest))
}

impl Quantity {
    pub(crate) fn parse(given: &str) -> Result<Self, &'static str> {
        if given.is_empty() {
            return Err(FORMAT);
        }
        let (negative, whole, fraction, tail) = parts(given)?;
        let (base, power, format) = suffix(tail)?;
        // An empty part counts as one digit, but only before the point, and means zero.
        let shifted = format!("{}{fraction}", if whole.is_empty() { "0" } else { whole });
        let had_digits = given.bytes().any(|b| b.is_ascii_digit());
        let length = |t: &str| i64::try_from(t.len()).unwrap_or(i64::MAX);
        let mut quantity = Self {
            negative,
            digits: shifted.trim_start_matches('0').to_owned(),
            exponent: 0,
            format,
            kept: (given == "0").then(|| given.to_owned()),
        };
        let room = FAST_DIGITS - length(&shifted);
        let (fast, scale) = match base {
            10 => (room >= 0, power - length(fraction)),
            _ => (fraction.is_empty() && 15 - length(&shifted) - power * 3 / 10 > 0, 0),
        };
        if fast && scale >= NANO {
            let whole: i64 = shifted.parse().map_err(|_| NUMERIC)?;
            let canonical = if base == 2 {
                whole & 7 != 0
            } else {
                scale % 3 == 0 && !shifted.ends_with("000") && !shifted.starts_with('0')
            };
            if base == 2 {
                quantity.digits =
                    times(&quantity.digits, &power_of_two(u32::try_from(power).unwrap_or(0)));
            }
            quantity.exponent = scale;
            quantity.kept = quantity.kept.or_else(|| canonical.then(|| given.to_owned()));
            return Ok(quantity);
        }
        if !had_digits {
            return Err(NUMERIC);
        }
        quantity.exponent = -length(fraction);
        if base == 2 {
            quantity.digits =
                times(&quantity.digits, &power_of_two(u32::try_from(power).unwrap_or(0)));
        } else {
            quantity.exponent += power;
        }
        quantity.round_up();
        if format == Format::BinarySi {
            quantity.cap();
        }
        Ok(quantity)
    }

    /// Rounds to nine places after the point, away from zero.
    fn round_up(&mut self) {
        let Ok(drop) = usize::try_from(NANO - self.exponent) else { return };
        if drop == 0 || self.digits.is_empty() {
            return;
        }
        let keep = self.digits.len().saturating_sub(drop);
        let (head, tail) = self.digits.split_at(keep);
        let more = tail.bytes().any(|b| b != b'0') || tail.len() < drop;
        self.digits = if more { plus_one(head) } else { head.to_owned() };
        self.exponent = NANO;
    }

    /// Caps binary amounts at the largest 64-bit number; below one they become decimals.
    fn cap(&mut self) {
        let max =
            Self { negative: false, digits: i64::MAX.to_string(), exponent: 0, ..self.clone() };
        if self.magnitude_cmp(&max) == Ordering::Greater {
            self.digits = max.digits.clone();
            self.exponent = 0;
        }
        let one = Self { digits: "1".to_owned(), ..max };
        if self.magnitude_cmp(&one) == Ordering::Less && !self.digits.is_empty() {
            self.format = Format::DecimalSi;
        }
    }

    fn magnitude_cmp(&self, other: &Self) -> Ordering {
        let top = |q: &Self| i64::try_from(q.digits.len()).unwrap_or(0) + q.exponent;
        match (self.digits.is_empty(), other.digits.is_empty()) {
            (true, true) => return Ordering::Equal,
            (true, false) => return Ordering::Less,
            (false, true) => return Ordering::Greater,
            (false, false) => {}
        }
        top(self).cmp(&top(other)).then_with(|| {
            let (a, b) = (self.digits.trim_end_matches('0'), other.digits.trim_end_matches('0'));
            a.cmp(b)
        })
    }

    pub(crate) fn sign(&self) -> i32 {
        match (self.digits.is_empty(), self.negative) {
            (true, _) => 0,
            (false, true) => -1,
            (false, false) => 1,
        }
    }

    /// Returns the integer with all digits; `None` if it is not one.
    fn integer(&self) -> Option<String> {
        let zeros = self.digits.bytes().rev().take_while(|b| *b == b'0').count();
        match usize::try_from(self.exponent) {
            Ok(more) if self.exponent < FAR => Some(format!("{}{}", self.digits, "0".repeat(more))),
            Ok(_) => None,
            Err(_) => {
                let drop = usize::try_from(-self.exponent).ok()?;
                (drop <= zeros).then(|| self.digits[..self.digits.len() - drop].to_owned())
            }
        }
    }

    /// Formats as Go does: canonical, unless Go keeps the given form.
    pub(crate) fn written(&self) -> String {
        if let Some(kept) = &self.kept {
            return kept.clone();
        }
        if self.digits.is_empty() {
            return "0".to_owned();
        }
        let sign = if self.negative { "-" } else { "" };
        if self.format == Format::BinarySi
            && let Some(mut number) =
                self.integer().filter(|n| n.len() > 4 || n.as_str() >= "1024" && n.len() == 4)
        {
            let mut at = 0;
            while let Some(less) = divided(&number, 1024).filter(|_| at < 6) {
                number = less;
                at += 1;
            }
            return format!("{sign}{number}{}", ["", "Ki", "Mi", "Gi", "Ti", "Pi", "Ei"][at]);
        }
        let trimmed = self.digits.trim_end_matches('0');
        let zeros = i64::try_from(self.digits.len() - trimmed.len()).unwrap_or(0);
        let exponent = self.exponent + zeros;
        let lower = exponent.rem_euclid(3);
        let number = format!("{trimmed}{}", "0".repeat(usize::try_from(lower).unwrap_or(0)));
        let exponent = exponent - lower;
        let tail = match self.format {
            Format::DecimalExponent if exponent == 0 => String::new(),
            Format::DecimalExponent => format!("e{exponent}"),
            // Beyond exa there is no suffix, and Go writes none.
            _ => usize::try_from(exponent / 3 + 3)
                .ok()
                .and_then(|at| ["n", "u", "m", "", "k", "M", "G", "T", "P", "E"].get(at).copied())
                .unwrap_or_default()
                .to_owned(),
        };
        format!("{sign}{number}{tail}")
    }
}

impl PartialEq for Quantity {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Quantity {}

impl PartialOrd for Quantity {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Quantity {
    fn cmp(&self, other: &Self) -> Ordering {
        self.sign().cmp(&other.sign()).then_with(|| {
            let order = self.magnitude_cmp(other);
            if self.negative { order.reverse() } else { order }
        })
    }
}

/// Reads the quantity in a JSON value.
pub(crate) fn of(value: &serde_json::Value) -> Option<Quantity> {
    match value {
        serde_json::Value::String(text) => Quantity::parse(text.trim()).ok(),
        serde_json::Value::Number(number) => Quantity::parse(&number.to_string()).ok(),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Rows that Kubernetes' own package computed.
    #[test]
    fn agrees_with_the_go_package() {
        let (mut rows, mut wrong) = (0, Vec::new());
        for line in include_str!("../data/quantities.tsv").lines().filter(|l| !l.starts_with('#')) {
            let fields: Vec<&str> = line.split('\t').collect();
            rows += 1;
            let mut expect = |said: String, want: String| {
                if said != want {
                    wrong.push(format!("{}: {said}, not {want}", fields[0]));
                }
            };
            match fields[..] {
                [text, "-"] => expect(format!("{}", Quantity::parse(text).is_err()), "true".into()),
                [text, written, sign] => match Quantity::parse(text) {
                    Ok(q) => {
                        expect(format!("{} {}", q.written(), q.sign()), format!("{written} {sign}"))
                    }
                    Err(e) => expect(e.to_owned(), written.to_owned()),
                },
                [a, "<=>", b, order] => {
                    let (a, b) = (Quantity::parse(a).unwrap(), Quantity::parse(b).unwrap());
                    expect(format!("{}", a.cmp(&b) as i8), order.to_owned());
                }
                _ => panic!("{line}"),
            }
        }
        assert!(rows > 3700, "{rows} rows");
        assert!(wrong.is_empty(), "{} of {rows}:\n{}", wrong.len(), wrong.join("\n"));
    }

    #[test]
    fn far_exponents_come_to_an_end() {
        for text in
            ["1e2147483647", "123456789012345678901e2147483648", "1.5e-2147483648", "1e99999999999"]
        {
            if let Ok(quantity) = Quantity::parse(text) {
                quantity.written();
                assert_eq!(quantity.sign(), 1, "{text}");
            }
        }
    }
}
