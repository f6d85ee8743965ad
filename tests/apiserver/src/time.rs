//! Parses times as Go does, with the layouts of `metav1.Time` and `metav1.MicroTime`.

/// Digits and signs of the layout up to the seconds.
const LAYOUT: [(&str, usize); 11] = [
    ("2006", 4),
    ("-", 0),
    ("01", 2),
    ("-", 0),
    ("02", 2),
    ("T", 0),
    ("15", 2),
    (":", 0),
    ("04", 2),
    (":", 0),
    ("05", 2),
];

/// Returns the error of Go's `time.Parse` for the text, if there is one.
pub(crate) fn problem(text: &str, micro: bool) -> Option<String> {
    let fraction = if micro { ".000000" } else { "" };
    let layout = format!("2006-01-02T15:04:05{fraction}Z07:00");
    let failed = |rest: &str, wanted: &str| {
        Some(format!("parsing time {text:?} as {layout:?}: cannot parse {rest:?} as {wanted:?}"))
    };
    let mut rest = text;
    for (part, digits) in LAYOUT {
        let next = if digits == 0 {
            rest.strip_prefix(part)
        } else {
            let (head, tail) = rest.split_at_checked(digits).unwrap_or(("", rest));
            (!head.is_empty() && head.bytes().all(|b| b.is_ascii_digit())).then_some(tail)
        };
        match next {
            Some(next) => rest = next,
            None => return failed(rest, part),
        }
    }
    let digits =
        rest.strip_prefix('.').map_or(0, |r| r.bytes().take_while(u8::is_ascii_digit).count());
    if micro && digits < 6 {
        return failed(rest, fraction);
    }
    let zone = if micro {
        &rest[7..]
    } else if digits > 0 {
        &rest[1 + digits..]
    } else {
        rest
    };
    if zone == "Z" || is_offset(zone) {
        return text
            .parse::<jiff::Timestamp>()
            .err()
            .map(|_| format!("parsing time {text:?}: day out of range"));
    }
    failed(zone, "Z07:00")
}

fn is_offset(zone: &str) -> bool {
    let bytes = zone.as_bytes();
    bytes.len() == 6
        && matches!(bytes[0], b'+' | b'-')
        && bytes[3] == b':'
        && [1, 2, 4, 5].iter().all(|at| bytes[*at].is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::problem;

    #[test]
    fn micro_times_have_six_digits_after_the_point() {
        for (text, ok) in [
            ("2026-01-01T00:00:00.000000Z", true),
            ("2026-01-01T00:00:00.123456+01:00", true),
            ("2026-01-01T00:00:00Z", false),
            ("2026-01-01T00:00:00.123Z", false),
            ("2026-01-01T00:00:00.123456789Z", false),
            ("today", false),
        ] {
            assert_eq!(problem(text, true).is_none(), ok, "{text}");
        }
    }
}
