//! Rounds decimal numbers as a 64-bit float would, without using floats: the tables of a float parser are larger than this file.

use alloc::vec::Vec;

/// The class of the 64-bit float that is nearest to a decimal number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Rounded {
    /// A whole number with at most 10 digits.
    Whole(i64),
    /// A fraction, or a whole number with more digits.
    Other,
    /// Beyond the largest float.
    Infinite,
}

/// 2¹⁰²⁴ − 2⁹⁷⁰, halfway between the largest float and the next power of two. A number that is not below it rounds to infinity.
const INFINITE: &[u8; 309] = b"179769313486231580793728971405303415079934132710037826936173778980444968292764750946649017977587207096330286416692887910946555547851940402630657488671505820681908902000708383676273854845817711531764475730270069855571366959622842914819860834936475292719074168444365510704342711559699508093042880177904174497792";
/// The first digits of 2⁻¹⁰⁷⁵ after 323 zeros. This is half of the smallest float; a number that is not above it rounds to zero.
const ZERO: &[u8; 17] = b"24703282292062327";

/// Parses `[-+]?([0-9]+(\.[0-9]*)?|\.[0-9]+)([eE][-+]?[0-9]+)?` and rounds it. Returns `None` for any other text.
pub(super) fn round(text: &str) -> Option<Rounded> {
    let (negative, rest) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    let (number, exponent) = match rest.split_once(['e', 'E']) {
        Some((number, exponent)) => (number, power(exponent)?),
        None => (rest, 0),
    };
    let (before, after) = number.split_once('.').unwrap_or((number, ""));
    let all = || before.bytes().chain(after.bytes());
    if all().next().is_none() || !all().all(|c| c.is_ascii_digit()) {
        return None;
    }
    // The number is 0.ddd × 10^point, where the first digit is not zero.
    let zeros = all().take_while(|c| *c == b'0').count();
    let digits: Vec<u8> = all().skip(zeros).map(|c| c - b'0').collect();
    let point = exponent.saturating_add(signed(before.len())).saturating_sub(signed(zeros));
    Some(match magnitude(&digits, point) {
        Rounded::Whole(n) if negative => Rounded::Whole(-n),
        rounded => rounded,
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

fn magnitude(digits: &[u8], point: i64) -> Rounded {
    match point {
        _ if digits.is_empty() => Rounded::Whole(0),
        310.. => Rounded::Infinite,
        309 if !is_below(digits, INFINITE) => Rounded::Infinite,
        11.. => Rounded::Other,
        // There are zeros after the decimal point: the number is below 0.1, so zero is the only whole number it can round to.
        -323 if is_zero(digits) => Rounded::Whole(0),
        -323..0 => Rounded::Other,
        0..=10 => whole(digits, point as usize),
        _ => Rounded::Whole(0),
    }
}

/// Returns whether 0.digits is less than 0.limit.
fn is_below(digits: &[u8], limit: &[u8]) -> bool {
    let limit = limit.iter().map(|c| c - b'0');
    digits.iter().copied().lt(limit)
}

/// Returns whether 0.digits × 10⁻³²³ is at most 2⁻¹⁰⁷⁵.
fn is_zero(digits: &[u8]) -> bool {
    if digits.get(..ZERO.len()).is_none_or(|head| !is_same(head)) {
        return is_below(digits, ZERO);
    }
    let mut fraction = [&[0; 323], digits].concat();
    // 1075 = 25 × 43.
    for step in 1..=25 {
        let (whole, is_exact) = shift(&mut fraction, 43);
        if whole > 0 {
            return step == 25 && whole == 1 && is_exact;
        }
    }
    true
}

fn is_same(head: &[u8]) -> bool {
    head.iter().map(|digit| digit + b'0').eq(*ZERO)
}

/// Rounds 0.digits × 10^point, where `point` is at most 10.
fn whole(digits: &[u8], point: usize) -> Rounded {
    let (before, after) = digits.split_at_checked(point).unwrap_or((digits, &[]));
    let mut n = 0;
    for at in 0..point {
        n = n * 10 + i64::from(before.get(at).copied().unwrap_or(0));
    }
    let mut fraction = after.to_vec();
    // The distance between neighbouring floats is 2⁻⁵² of the leading bit. A number within half of that distance rounds to the whole number, also if
    // it is equally near to two floats: the last bits of the whole number are zeros.
    let leading = n.checked_ilog2().map_or(-1, i64::from);
    let bits = (53 - leading) as u32;
    match shift(&mut fraction, bits) {
        (0, _) | (1, true) if n > 0 => Rounded::Whole(n),
        (high, _) if high == (1 << bits) - 1 => Rounded::Whole(n + 1),
        _ => Rounded::Other,
    }
}

/// Multiplies 0.digits by 2^bits, where the factor is at most 2⁵⁹. Returns the whole part, and whether the remaining fraction is zero.
fn shift(digits: &mut [u8], bits: u32) -> (u64, bool) {
    let mut carry = 0;
    let mut is_exact = true;
    for digit in digits.iter_mut().rev() {
        carry += u64::from(*digit) << bits;
        *digit = (carry % 10) as u8;
        is_exact &= *digit == 0;
        carry /= 10;
    }
    (carry, is_exact)
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::format;
    use alloc::string::{String, ToString};
    use proptest::prelude::*;

    /// Returns the result of the standard library's float parser.
    fn expected(text: &str) -> Option<Rounded> {
        let value = text.parse::<f64>().ok()?;
        Some(if value.is_infinite() {
            Rounded::Infinite
        } else if value.fract() == 0.0 && value.abs() < 1e10 {
            Rounded::Whole(value as i64)
        } else {
            Rounded::Other
        })
    }

    /// Returns whether `round` agrees with the standard library. From 10¹⁰ on, every number is `Other`; one that rounds to 10¹⁰ may be either.
    fn agrees(text: &str) -> bool {
        let ours = round(text);
        ours == expected(text)
            || matches!(ours, Some(Rounded::Whole(10_000_000_000 | -10_000_000_000)))
    }

    #[test]
    fn numbers_near_a_tie_round_as_floats_do() {
        let half = "5".to_string() + &"0".repeat(400);
        let mut table: Vec<String> = [
            "",
            ".",
            "e1",
            ".e1",
            "1e",
            "1e+",
            "+",
            "-",
            "+-1",
            "1.2.3",
            "1e1e1",
            "1e1.0",
            "0",
            "-0.0",
            "00",
            "0e999999999999999999999",
            "1.",
            ".5",
            "5e-1",
            "1e99999999999999999999",
            "1e-99999999999999999999",
            "-1e309",
            "1e308",
            "1.7976931348623157e308",
            "1.7976931348623159e308",
            "1.7976931348623158e308",
            "4.9e-324",
            "2.4703282292062327e-324",
            "2.4703282292062328e-324",
            "2.5e-324",
            "1e-323",
            "2e-324",
            "1e-324",
            "1e-325",
            "0.99999999999999994448",
            "0.99999999999999994449",
            "0.9999999999999999",
            "1.00000000000000011102230246251565404",
            "1.00000000000000011102230246251565405",
            "1.000000000000000111022302462515654042363166809082031250000",
            "1.00000000000000011102230246251565404236316680908203125000001",
            "2147483646.9999997",
            "2147483646.9999999",
            "2147483647.0000002384185791015625",
            "2147483647.00000023841857910156251",
            "9999999999.9999999",
            "9999999999",
            "10000000000",
            "0000000000000000000001.5",
            "12e-1",
            "0.00012e4",
        ]
        .map(ToString::to_string)
        .into();
        // The two limits, exactly and with further digits.
        let infinite = core::str::from_utf8(INFINITE).unwrap();
        table.push(format!("{infinite}.0"));
        table.push(format!("{}79.9", &infinite[..307]));
        let mut zero = Vec::from([0; 1075]);
        zero[1074] = 1;
        // 2⁻¹⁰⁷⁵ is 5¹⁰⁷⁵ with 1075 decimal places.
        for _ in 0..1075 {
            let mut carry = 0;
            for digit in zero.iter_mut().rev() {
                carry += 5 * *digit;
                *digit = carry % 10;
                carry /= 10;
            }
        }
        let zero: String = zero.iter().map(|digit| char::from(b'0' + digit)).collect();
        table.push(format!("0.{zero}"));
        table.push(format!("0.{zero}0000"));
        table.push(format!("0.{zero}00001"));
        table.push(format!("0.{}4", &zero[..1074]));
        table.push(format!("1.{half}"));
        for text in table {
            assert!(agrees(&text), "{text}: {:?}, {:?}", round(&text), expected(&text));
        }
    }

    proptest! {
        #[test]
        fn any_text_rounds_as_a_float_does(text in "[-+]?[0-9]{0,12}\\.?[0-9]{0,25}([eE][-+]?[0-9]{0,3})?") {
            prop_assert!(agrees(&text), "{text}: {:?}, {:?}", round(&text), expected(&text));
        }

        #[test]
        fn numbers_next_to_whole_ones_round_as_floats_do(n in 0i64..5_000_000_000, scale in 0u32..32, ulps in 0u32..4, eighths in 0u32..8) {
            // A point near a float, a few eighths of the way to the next one.
            let near = f64::from_bits(((n >> scale) as f64).to_bits().wrapping_add(u64::from(ulps)).wrapping_sub(2));
            prop_assume!(near.is_finite() && near > 0.0);
            let next = f64::from_bits(near.to_bits() + 1);
            let exact = format!("{near:.80}");
            prop_assert!(agrees(&exact));
            // The midpoint is exact with one bit more than a float has, so it is computed with decimals.
            let middle = middle(&exact, &format!("{next:.80}"), eighths);
            prop_assert!(agrees(&middle), "{middle}: {:?}, {:?}", round(&middle), expected(&middle));
        }
    }

    /// Returns `low` plus some eighths of the distance to `high`, exactly. Both have 80 decimal places.
    fn middle(low: &str, high: &str, eighths: u32) -> String {
        let width = low.len().max(high.len());
        let digits = |text: &str| -> Vec<u32> {
            format!("{text:0>width$}000")
                .bytes()
                .filter(|c| *c != b'.')
                .map(|c| u32::from(c - b'0'))
                .collect()
        };
        let (low, high) = (digits(low), digits(high));
        let mut carry = 0;
        let mut sums = Vec::new();
        // (8 − n) × low + n × high, divided by eight below.
        for (low, high) in low.iter().zip(&high).rev() {
            carry += (8 - eighths) * low + eighths * high;
            sums.push(carry % 10);
            carry /= 10;
        }
        sums.push(carry);
        let mut rest = 0;
        let mut out = String::new();
        for (at, digit) in sums.iter().rev().enumerate() {
            if at + 83 == sums.len() {
                out.push('.');
            }
            rest = rest * 10 + digit;
            out.push(char::from(b'0' + (rest / 8) as u8));
            rest %= 8;
        }
        assert_eq!(rest, 0);
        out
    }
}
