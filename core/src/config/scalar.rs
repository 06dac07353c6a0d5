//! The types of scalars: YAML 1.1's types as go-yaml v2 resolves them, or JSON's.

use super::decimal::{self, Decimal};
use alloc::string::String;

/// The type of a scalar. `Number` is the integer that Kubernetes' JSON decoding reads after sigs.k8s.io/yaml has rewritten the number. `None` means
/// that it is a fraction or does not fit 64 bits (10 digits, if it has a point or an exponent).
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Kind {
    Null,
    Bool(bool),
    Number(Option<i64>),
    String,
    /// An infinity or not-a-number, which JSON cannot represent.
    NotFinite,
}

/// Resolves a plain scalar without a tag.
pub(super) fn resolve(text: &str) -> Kind {
    match text {
        "y" | "Y" | "yes" | "Yes" | "YES" | "true" | "True" | "TRUE" | "on" | "On" | "ON" => {
            Kind::Bool(true)
        }
        "n" | "N" | "no" | "No" | "NO" | "false" | "False" | "FALSE" | "off" | "Off" | "OFF" => {
            Kind::Bool(false)
        }
        "" | "~" | "null" | "Null" | "NULL" => Kind::Null,
        ".nan" | ".NaN" | ".NAN" | ".inf" | ".Inf" | ".INF" | "+.inf" | "+.Inf" | "+.INF"
        | "-.inf" | "-.Inf" | "-.INF" => Kind::NotFinite,
        _ => number(text),
    }
}

/// Resolves a scalar, quoted or not, that has one of YAML's own tags. Returns `None` if the value does not match the tag.
pub(super) fn resolve_tagged(tag: &str, text: &str) -> Option<Kind> {
    let kind = resolve(text);
    let fits = match kind {
        Kind::Null => tag == "null",
        Kind::Bool(_) => tag == "bool",
        Kind::Number(_) => tag == "int" || tag == "float",
        Kind::NotFinite => tag == "float",
        Kind::String => false,
    };
    fits.then_some(kind)
}

/// Resolves an unquoted JSON scalar. `text` must be valid JSON.
pub(super) fn resolve_json(text: &str) -> Kind {
    match text {
        "null" => Kind::Null,
        "true" => Kind::Bool(true),
        "false" => Kind::Bool(false),
        number => Kind::Number(number.parse().ok()),
    }
}

fn number(text: &str) -> Kind {
    let first = text.bytes().next();
    if first == Some(b'.') {
        return float(text);
    }
    if !first.is_some_and(|c| c.is_ascii_digit() || c == b'+' || c == b'-') {
        return Kind::String;
    }
    let plain: String = text.chars().filter(|c| *c != '_').collect();
    if let Some(value) = integer(&plain) {
        return Kind::Number(value);
    }
    float(&plain)
}

/// Go's `strconv.ParseInt(_, 0, 64)`, then `ParseUint`. Returns `Some(None)` for a number that only the second accepts.
fn integer(text: &str) -> Option<Option<i64>> {
    let (negative, signed, digits) = match text.as_bytes().first() {
        Some(b'-') => (true, true, &text[1..]),
        Some(b'+') => (false, true, &text[1..]),
        _ => (false, false, text),
    };
    let lower = digits.to_ascii_lowercase();
    let (radix, digits) = if let Some(rest) = lower.strip_prefix("0x") {
        (16, rest)
    } else if let Some(rest) = lower.strip_prefix("0b") {
        (2, rest)
    } else if let Some(rest) = lower.strip_prefix("0o") {
        (8, rest)
    } else if lower.len() > 1 && lower.starts_with('0') {
        (8, &lower[1..])
    } else {
        (10, lower.as_str())
    };
    // Rust's parsers would accept a second sign.
    if !digits.bytes().all(|c| c.is_ascii_alphanumeric()) {
        return None;
    }
    let magnitude = u64::from_str_radix(digits, radix).ok()?;
    let value =
        if negative { 0i64.checked_sub_unsigned(magnitude) } else { i64::try_from(magnitude).ok() };
    match value {
        Some(value) => Some(Some(value)),
        None if signed => None,
        None => Some(None),
    }
}

/// Resolves a number with a point or an exponent. Go prints a whole float below 1e21 without a point and then reads it as an integer. Here this applies
/// only to numbers of up to ten digits: no field of the format can hold more.
fn float(text: &str) -> Kind {
    match decimal::parse(text) {
        Some(Decimal::Whole(n)) => Kind::Number(Some(n)),
        Some(Decimal::Other) => Kind::Number(None),
        Some(Decimal::Infinite) | None => Kind::String,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_scalars_resolve_as_go_yaml_resolves_them() {
        let n = |value| Kind::Number(Some(value));
        let table = [
            ("yes", Kind::Bool(true)),
            ("y", Kind::Bool(true)),
            ("N", Kind::Bool(false)),
            ("off", Kind::Bool(false)),
            ("yEs", Kind::String),
            ("~", Kind::Null),
            ("", Kind::Null),
            ("Null", Kind::Null),
            ("nULL", Kind::String),
            ("-.inf", Kind::NotFinite),
            ("3", n(3)),
            ("-3", n(-3)),
            ("+3", n(3)),
            ("--3", Kind::String),
            ("1_000", n(1000)),
            ("0x1F", n(31)),
            ("010", n(8)),
            ("08", n(8)),
            ("0o17", n(15)),
            ("0b101", n(5)),
            ("-0b101", n(-5)),
            ("1.0", n(1)),
            ("1e3", n(1000)),
            ("1.5", Kind::Number(None)),
            (".5", Kind::Number(None)),
            (".", Kind::String),
            ("1e999", Kind::String),
            ("18446744073709551615", Kind::Number(None)),
            ("2001-01-01", Kind::String),
            ("3s", Kind::String),
            ("-", Kind::String),
            ("secrets", Kind::String),
            ("1:30", Kind::String),
            ("0x", Kind::String),
        ];
        for (text, want) in table {
            assert_eq!(resolve(text), want, "{text}");
        }
    }

    #[test]
    fn json_numbers_with_a_fraction_or_exponent_are_not_integers() {
        assert_eq!(resolve_json("1.0"), Kind::Number(None));
        assert_eq!(resolve_json("1e3"), Kind::Number(None));
        assert_eq!(resolve_json("-7"), Kind::Number(Some(-7)));
        assert_eq!(resolve_json("null"), Kind::Null);
    }
}
