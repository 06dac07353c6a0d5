//! The text that a health endpoint returns. Upstream: `handleRootHealth` in pkg/server/healthz/healthz.go.

use std::collections::BTreeSet;
use std::fmt::Write;

/// The outcome of a check.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum Outcome {
    /// The request excluded it.
    Excluded,
    /// It passed.
    Passed,
    /// It failed, for this reason.
    Failed(String),
}

/// The lines of one answer.
pub(super) struct Report {
    endpoint: &'static str,
    lines: String,
    failed: Vec<String>,
}

impl Report {
    pub(super) fn new(endpoint: &'static str) -> Self {
        Self { endpoint, lines: String::new(), failed: Vec::new() }
    }

    /// Adds a check's line. The line does not contain the reason for a failure.
    pub(super) fn push(&mut self, name: &str, outcome: &Outcome) {
        let _ = match outcome {
            Outcome::Excluded => writeln!(self.lines, "[+]{name} excluded: ok"),
            Outcome::Passed => writeln!(self.lines, "[+]{name} ok"),
            Outcome::Failed(_) => {
                self.failed.push(name.to_owned());
                writeln!(self.lines, "[-]{name} failed: reason withheld")
            }
        };
    }

    /// Adds the warning for excluded names that match no check.
    pub(super) fn cannot_exclude(&mut self, names: &BTreeSet<Vec<u8>>) {
        if names.is_empty() {
            return;
        }
        let quoted: Vec<String> = names.iter().map(|name| go_quoted(name)).collect();
        let _ = writeln!(
            self.lines,
            "warn: some health checks cannot be excluded: no matches for {}",
            quoted.join(",")
        );
    }

    /// Returns the body: `Ok` with the body of a 200 answer, or `Err` with the argument of Go's `http.Error`, which adds a newline.
    pub(super) fn finish(self, verbose: bool) -> Result<String, String> {
        let Self { endpoint, lines, failed } = self;
        if !failed.is_empty() {
            return Err(format!("{lines}{endpoint} check failed"));
        }
        if !verbose {
            return Ok("ok".to_owned());
        }
        Ok(format!("{lines}{endpoint} check passed\n"))
    }
}

/// Quotes a string like Go's `%q` (strconv.Quote), with the Unicode tables of the Rust compiler in use.
fn go_quoted(bytes: &[u8]) -> String {
    let mut out = String::from('"');
    for chunk in bytes.utf8_chunks() {
        for c in chunk.valid().chars() {
            push_quoted(&mut out, c);
        }
        for byte in chunk.invalid() {
            let _ = write!(out, "\\x{byte:02x}");
        }
    }
    out.push('"');
    out
}

fn push_quoted(out: &mut String, c: char) {
    let escape = match c {
        '"' => "\\\"",
        '\\' => "\\\\",
        '\u{7}' => "\\a",
        '\u{8}' => "\\b",
        '\u{c}' => "\\f",
        '\n' => "\\n",
        '\r' => "\\r",
        '\t' => "\\t",
        '\u{b}' => "\\v",
        c if is_printable(c) => return out.push(c),
        c => {
            let code = u32::from(c);
            let _ = match code {
                0..0x20 | 0x7f => write!(out, "\\x{code:02x}"),
                0x20..0x1_0000 => write!(out, "\\u{code:04x}"),
                0x1_0000.. => write!(out, "\\U{code:08x}"),
            };
            return;
        }
    };
    out.push_str(escape);
}

/// Like Go's `strconv.IsPrint`. Rust's debug format uses the same rule, except for quotes and leading combining marks.
fn is_printable(c: char) -> bool {
    let marked: String = ['a', c].into_iter().collect();
    c == '\'' || marked.escape_debug().eq(marked.chars())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The expected values are from Go 1.26, `fmt.Printf("%q")`.
    #[test]
    fn quotes_as_go_does() {
        let table: [(&str, &[u8], &str); 12] = [
            ("plain", b"kms-provider-1", r#""kms-provider-1""#),
            ("empty", b"", r#""""#),
            ("quotes and backslash", br#"a"b'c\"#, r#""a\"b'c\\""#),
            ("named controls", b"\x07\x08\x0c\n\r\t\x0b", r#""\a\b\f\n\r\t\v""#),
            ("other controls", b"\0\x1b\x7f", r#""\x00\x1b\x7f""#),
            ("letters of all sorts", "aé漢😀".as_bytes(), "\"aé漢😀\""),
            ("combining mark", "e\u{301}\u{301}".as_bytes(), "\"e\u{301}\u{301}\""),
            ("leading combining mark", "\u{301}".as_bytes(), "\"\u{301}\""),
            ("no-break space", "\u{a0}".as_bytes(), r#""\u00a0""#),
            ("format characters", "\u{200b}\u{feff}".as_bytes(), r#""\u200b\ufeff""#),
            ("beyond 16 bits", "\u{e0001}".as_bytes(), r#""\U000e0001""#),
            ("not UTF-8", b"a\xff\xe2\x82z", r#""a\xff\xe2\x82z""#),
        ];
        for (desc, bytes, expected) in table {
            assert_eq!(go_quoted(bytes), expected, "{desc}");
        }
    }
}
