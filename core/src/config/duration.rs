//! Go's duration syntax, as `time.ParseDuration` parses it and `Duration.String` prints it.

use super::render::quoted;
use alloc::format;
use alloc::string::{String, ToString};
use core::fmt::Write as _;

const MICROSECOND: u64 = 1_000;
const MILLISECOND: u64 = 1_000 * MICROSECOND;
const SECOND: u64 = 1_000 * MILLISECOND;
const MINUTE: u64 = 60 * SECOND;
const HOUR: u64 = 60 * MINUTE;

/// The largest positive duration plus one, in nanoseconds.
const TOP: u64 = 1 << 63;

/// Parses `[-+]?([0-9]*(\.[0-9]*)?[a-z]+)+`, or a lone `0` without a unit, and returns nanoseconds.
///
/// # Errors
/// Returns Go's own error text, such as `time: unknown unit "x" in duration "3x"`.
pub(super) fn parse(text: &str) -> Result<i64, String> {
    let invalid = || format!("time: invalid duration {}", go_quote(text));
    let (negative, mut rest) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    if rest == "0" {
        return Ok(0);
    }
    if rest.is_empty() {
        return Err(invalid());
    }
    let mut total: u64 = 0;
    while !rest.is_empty() {
        let (whole, after) = digits(rest);
        let (fraction, after_fraction) = match after.strip_prefix('.') {
            Some(after) => digits(after),
            None => ("", after),
        };
        if whole.is_empty() && fraction.is_empty() {
            return Err(invalid());
        }
        let end = after_fraction.find(|c: char| c == '.' || c.is_ascii_digit());
        let (unit, after_unit) = after_fraction.split_at(end.unwrap_or(after_fraction.len()));
        let whole = number(whole).ok_or_else(invalid)?;
        if unit.is_empty() {
            return Err(format!("time: missing unit in duration {}", go_quote(text)));
        }
        let nanoseconds = unit_of(unit).ok_or_else(|| {
            format!("time: unknown unit {} in duration {}", go_quote(unit), go_quote(text))
        })?;
        if whole > TOP / nanoseconds {
            return Err(invalid());
        }
        let part = whole
            .checked_mul(nanoseconds)
            .and_then(|n| n.checked_add(part_of(fraction, nanoseconds)))
            .filter(|n| *n <= TOP);
        total =
            part.and_then(|n| total.checked_add(n)).filter(|n| *n <= TOP).ok_or_else(invalid)?;
        rest = after_unit;
    }
    if negative { 0i64.checked_sub_unsigned(total) } else { i64::try_from(total).ok() }
        .ok_or_else(invalid)
}

/// Formats `nanoseconds` as Go does: `3s`, `1m30s`, `1.5ms`, `0s`.
pub(super) fn show(nanoseconds: i64) -> String {
    let all = nanoseconds.unsigned_abs();
    let mut out = String::new();
    if nanoseconds < 0 {
        out.push('-');
    }
    if all == 0 {
        return "0s".to_string();
    }
    if all < SECOND {
        let (unit, name) = match all {
            0..MICROSECOND => (1, "ns"),
            MICROSECOND..MILLISECOND => (MICROSECOND, "µs"),
            _ => (MILLISECOND, "ms"),
        };
        push_decimal(&mut out, all, unit);
        out.push_str(name);
        return out;
    }
    // Writing to a String cannot fail.
    if all >= HOUR {
        let _ = write!(out, "{}h", all / HOUR);
    }
    if all >= MINUTE {
        let _ = write!(out, "{}m", all % HOUR / MINUTE);
    }
    push_decimal(&mut out, all % MINUTE, SECOND);
    out.push('s');
    out
}

fn push_decimal(out: &mut String, value: u64, unit: u64) {
    let _ = write!(out, "{}", value / unit);
    let rest = value % unit;
    if rest > 0 {
        let width = unit.ilog10() as usize;
        let fraction = format!("{rest:0width$}");
        let _ = write!(out, ".{}", fraction.trim_end_matches('0'));
    }
}

fn unit_of(name: &str) -> Option<u64> {
    Some(match name {
        "ns" => 1,
        // Go accepts both U+00B5 (micro sign) and U+03BC (Greek letter mu).
        "us" | "\u{b5}s" | "\u{3bc}s" => MICROSECOND,
        "ms" => MILLISECOND,
        "s" => SECOND,
        "m" => MINUTE,
        "h" => HOUR,
        _ => return None,
    })
}

fn digits(text: &str) -> (&str, &str) {
    text.split_at(text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len()))
}

fn number(digits: &str) -> Option<u64> {
    if digits.is_empty() {
        return Some(0);
    }
    digits.parse().ok().filter(|n| *n <= TOP)
}

/// Returns the nanoseconds of a fraction, computed in floating point as Go does. Digits beyond 63 bits are dropped.
fn part_of(digits: &str, nanoseconds: u64) -> u64 {
    let (mut value, mut scale) = (0u64, 1f64);
    for digit in digits.bytes() {
        let next = value.checked_mul(10).and_then(|v| v.checked_add(u64::from(digit - b'0')));
        let Some(next) = next.filter(|v| *v <= TOP && value <= (TOP - 1) / 10) else {
            break;
        };
        value = next;
        scale *= 10.0;
    }
    if value == 0 {
        return 0;
    }
    (value as f64 * (nanoseconds as f64 / scale)) as u64
}

/// Quotes as Go's `time` does, which differs from `strconv.Quote`: control characters and bytes outside ASCII become `\x..`.
fn go_quote(text: &str) -> String {
    if text.chars().all(|c| (' '..='\u{7f}').contains(&c)) && !text.contains('\u{7f}') {
        return quoted(text);
    }
    let mut out = String::from("\"");
    for byte in text.bytes() {
        match byte {
            b'"' | b'\\' => {
                out.push('\\');
                out.push(char::from(byte));
            }
            b' '..=0x7f => out.push(char::from(byte)),
            byte => {
                let _ = write!(out, "\\x{byte:02x}");
            }
        }
    }
    out.push('"');
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn durations_read_as_go_reads_them() {
        let table: &[(&str, Result<i64, &str>)] = &[
            ("0", Ok(0)),
            ("-0", Ok(0)),
            ("+0", Ok(0)),
            ("3s", Ok(3_000_000_000)),
            ("1.5h", Ok(5_400_000_000_000)),
            ("100ms", Ok(100_000_000)),
            ("1us", Ok(1_000)),
            ("1\u{b5}s", Ok(1_000)),
            ("1\u{3bc}s", Ok(1_000)),
            ("1h2m3.5s", Ok(3_723_500_000_000)),
            (".5s", Ok(500_000_000)),
            ("5.s", Ok(5_000_000_000)),
            ("-3s", Ok(-3_000_000_000)),
            ("0.3333333333333333333h", Ok(1_200_000_000_000)),
            ("0.9223372036854775807h", Ok(3_320_413_933_267)),
            ("9223372036854775807ns", Ok(i64::MAX)),
            ("-9223372036854775808ns", Ok(i64::MIN)),
            ("", Err("time: invalid duration \"\"")),
            ("-", Err("time: invalid duration \"-\"")),
            (".s", Err("time: invalid duration \".s\"")),
            ("s", Err("time: invalid duration \"s\"")),
            ("3", Err("time: missing unit in duration \"3\"")),
            ("3x", Err("time: unknown unit \"x\" in duration \"3x\"")),
            ("3 s", Err("time: unknown unit \" s\" in duration \"3 s\"")),
            ("3\u{e9}", Err("time: unknown unit \"\\xc3\\xa9\" in duration \"3\\xc3\\xa9\"")),
            ("3S", Err("time: unknown unit \"S\" in duration \"3S\"")),
            ("9223372036854775808ns", Err("time: invalid duration \"9223372036854775808ns\"")),
            ("3000000h", Err("time: invalid duration \"3000000h\"")),
            ("99999999999999999999s", Err("time: invalid duration \"99999999999999999999s\"")),
        ];
        for (given, want) in table {
            assert_eq!(parse(given), want.map_err(ToString::to_string), "{given}");
        }
    }

    #[test]
    fn durations_print_as_go_prints_them() {
        let table = [
            (0, "0s"),
            (1, "1ns"),
            (1_100, "1.1µs"),
            (2_200_000, "2.2ms"),
            (3_000_000_000, "3s"),
            (90_000_000_000, "1m30s"),
            (3_600_000_000_000, "1h0m0s"),
            (-1_500_000_000, "-1.5s"),
        ];
        for (given, want) in table {
            assert_eq!(show(given), want);
        }
    }

    proptest! {
        #[test]
        fn printed_durations_parse_back(n in -(1i64 << 50)..(1i64 << 50)) {
            // Fractions of milliseconds and seconds are computed in floating point, which is exact for these sizes.
            prop_assert_eq!(parse(&show(n)), Ok(n));
        }

        #[test]
        fn any_text_is_read_without_panic(text in "[-+]?[0-9.]{0,30}[a-zµ]{0,3}[0-9.]{0,30}\\PC*") {
            let _ = parse(&text);
        }
    }
}
