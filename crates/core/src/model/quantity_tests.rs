use proptest::prelude::*;

use super::*;

/// Recorded from Go's own package: see the README next to the file.
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
