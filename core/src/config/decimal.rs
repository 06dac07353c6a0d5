//! Exact decimal numbers, without floats: a float parser's tables would be larger than the rest of this folder.
//!
//! Upstream converts a number with a point or an exponent to a 64-bit float and back. The two agree on every number that is a whole number of at most
//! ten digits, or clearly is not. MUST DIFFER: where upstream's float rounds a fraction to a whole number (`1.00000000000000000001`) or a tiny number
//! to zero (`1e-400`), this is [`Decimal::Other`], which the only numeric field refuses. Between the largest float, 1.8 × 10³⁰⁸, and 10³⁰⁹ this is a
//! number, and for upstream a string.

/// The class of a decimal number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Decimal {
    /// A whole number with at most 10 digits.
    Whole(i64),
    /// A fraction, or a whole number with more digits.
    Other,
    /// At least 10³⁰⁹, which no 64-bit float can represent.
    Infinite,
}

/// Parses `[-+]?([0-9]+(\.[0-9]*)?|\.[0-9]+)([eE][-+]?[0-9]+)?`. Returns `None` for any other text.
pub(super) fn parse(text: &str) -> Option<Decimal> {
    let magnitude = text.strip_prefix(['-', '+']).unwrap_or(text);
    let (number, exponent) = match magnitude.split_once(['e', 'E']) {
        Some((number, exponent)) => (number, power(exponent)?),
        None => (magnitude, 0),
    };
    let (before, after) = number.split_once('.').unwrap_or((number, ""));
    let all = || before.bytes().chain(after.bytes());
    if all().next().is_none() || !all().all(|c| c.is_ascii_digit()) {
        return None;
    }
    // The number is 0.ddd × 10^point. The first of its digits is not zero, and neither is the last.
    let Some(first) = all().position(|c| c != b'0') else {
        return Some(Decimal::Whole(0));
    };
    let last = all().enumerate().filter(|(_, c)| *c != b'0').last().map_or(first, |(at, _)| at);
    let point = exponent.saturating_add(signed(before.len())).saturating_sub(signed(first));
    Some(match point {
        310.. => Decimal::Infinite,
        1..=10 if signed(last - first) < point => {
            let digits = all().skip(first).chain(core::iter::repeat(b'0'));
            let n = digits.take(point as usize).fold(0, |n, c| n * 10 + i64::from(c - b'0'));
            Decimal::Whole(if text.starts_with('-') { -n } else { n })
        }
        _ => Decimal::Other,
    })
}

/// Parses an exponent. An exponent that does not fit is clamped; it is so large that its exact value does not matter.
fn power(text: &str) -> Option<i64> {
    let digits = text.strip_prefix(['-', '+']).unwrap_or(text);
    if digits.is_empty() || !digits.bytes().all(|c| c.is_ascii_digit()) {
        return None;
    }
    let magnitude = digits.parse().unwrap_or(i64::MAX);
    Some(if text.starts_with('-') { -magnitude } else { magnitude })
}

fn signed(n: usize) -> i64 {
    i64::try_from(n).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn whole_numbers_are_exact_and_others_are_not_rounded() {
        use Decimal::{Infinite, Other, Whole};
        for malformed in ["", ".", "e1", ".e1", "1e", "1e+", "+", "+-1", "1.2.3", "1e1e1", "1e1.0"]
        {
            assert_eq!(parse(malformed), None, "{malformed}");
        }
        for (text, expected) in [
            ("0", Whole(0)),
            ("-0.0", Whole(0)),
            ("0e999999999999999999999", Whole(0)),
            ("1.", Whole(1)),
            ("1.0", Whole(1)),
            ("+1e2", Whole(100)),
            ("12e-1", Other),
            ("120e-1", Whole(12)),
            ("0.00012e5", Whole(12)),
            ("-0.00012e4", Other),
            ("9999999999", Whole(9_999_999_999)),
            ("-9999999999.000", Whole(-9_999_999_999)),
            ("10000000000", Other),
            (".5", Other),
            ("0000000000000000000001.5", Other),
            ("1e308", Other),
            ("-1e309", Infinite),
            ("1e99999999999999999999", Infinite),
            // Upstream's floats make 1, 0 and infinity of these.
            ("1.00000000000000000001", Other),
            ("1e-99999999999999999999", Other),
            ("1.9e308", Other),
        ] {
            assert_eq!(parse(text), Some(expected), "{text}");
        }
    }

    proptest! {
        #[test]
        fn numbers_that_a_float_holds_exactly_agree_with_it(n in -5_000_000_000i64..5_000_000_000, quarters in 0i64..4, zeros in 0usize..4) {
            let value = n as f64 + quarters as f64 / 4.0;
            let text = alloc::format!("{value:.2}{}", "0".repeat(zeros));
            let expected = if value.fract() == 0.0 { Decimal::Whole(value as i64) } else { Decimal::Other };
            prop_assert_eq!(parse(&text), Some(expected));
            // Moves the point by an exponent.
            let digits: alloc::string::String = text.chars().filter(|c| *c != '.').collect();
            prop_assert_eq!(parse(&alloc::format!("{digits}e-{}", 2 + zeros)), Some(expected));
        }

        #[test]
        fn any_text_is_a_number_if_it_is_one_for_the_standard_library(text in "[-+]?[0-9]{0,12}\\.?[0-9]{0,25}([eE][-+]?[0-9]{0,3})?") {
            prop_assert_eq!(parse(&text).is_some(), text.parse::<f64>().is_ok());
        }
    }
}
