//! Formats values in messages as Go's `%q` and `encoding/json` do.

use crate::json::push_text;
use alloc::string::String;
use core::fmt::Write as _;

/// Quotes `s` as `strconv.Quote` does.
pub(crate) fn quoted(s: &str) -> String {
    let mut out = String::with_capacity(s.len() + 2);
    out.push('"');
    for c in s.chars() {
        push_quoted(&mut out, c);
    }
    out.push('"');
    out
}

/// Formats `items` as the JSON array that upstream's field errors print for a list of strings.
pub(super) fn json_list<'a>(items: impl IntoIterator<Item = &'a str>) -> String {
    let mut out = String::from("[");
    for (i, item) in items.into_iter().enumerate() {
        if i > 0 {
            out.push(',');
        }
        out.push_str(&json(item));
    }
    out.push(']');
    out
}

/// Formats `s` as a JSON string. Escapes `<`, `>`, `&` and the two Unicode line separators, as Go does.
pub(super) fn json(s: &str) -> String {
    let mut out = String::with_capacity(s.len() + 2);
    push_text(&mut out, s, "<>&\u{2028}\u{2029}");
    out
}

fn push_quoted(out: &mut String, c: char) {
    match c {
        '"' => out.push_str("\\\""),
        '\\' => out.push_str("\\\\"),
        '\u{7}' => out.push_str("\\a"),
        '\u{8}' => out.push_str("\\b"),
        '\u{c}' => out.push_str("\\f"),
        '\n' => out.push_str("\\n"),
        '\r' => out.push_str("\\r"),
        '\t' => out.push_str("\\t"),
        '\u{b}' => out.push_str("\\v"),
        ' '..='~' => out.push(c),
        '\0'..='\u{7f}' => hex(out, 'x', 2, c),
        c if printable(c) => out.push(c),
        '\u{80}'..='\u{ffff}' => hex(out, 'u', 4, c),
        c => hex(out, 'U', 8, c),
    }
}

fn hex(out: &mut String, kind: char, width: usize, c: char) {
    // Writing to a String cannot fail.
    let _ = write!(out, "\\{kind}{:0width$x}", u32::from(c));
}

/// Rust's tables for debug output agree with Go's `IsPrint`, except that `escape_debug` escapes a combining
/// mark at the start of a string. The letter in front prevents this.
fn printable(c: char) -> bool {
    let mut pair = String::from("a");
    pair.push(c);
    pair.escape_debug().eq(pair.chars())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strings_are_quoted_as_go_quotes_them() {
        let table = [
            ("plain", "abc", "\"abc\""),
            ("quotes and backslash", "a\"b\\c", r#""a\"b\\c""#),
            ("single quote stays", "a'b", "\"a'b\""),
            ("controls", "\u{7}\u{8}\t\n\u{b}\u{c}\r\0\u{7f}", r#""\a\b\t\n\v\f\r\x00\x7f""#),
            ("printable", "é世e\u{301}", "\"é世e\u{301}\""),
            ("not printable", "\u{a0}\u{200c}\u{e0001}", r#""\u00a0\u200c\U000e0001""#),
        ];
        for (desc, given, want) in table {
            assert_eq!(quoted(given), want, "{desc}");
        }
    }

    #[test]
    fn lists_are_json() {
        assert_eq!(
            json_list(["a", "b<&>", "\u{1}\""]),
            r#"["a","b\u003c\u0026\u003e","\u0001\""]"#
        );
    }
}
