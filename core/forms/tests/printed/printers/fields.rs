//! `etcdctl -w fields`.

use std::fmt::Write as _;

use super::Pair;

/// Go's `%q` of a string: valid UTF-8 stays, except control characters.
pub(crate) fn go_quoted(bytes: &[u8]) -> String {
    let mut text = String::from("\"");
    for chunk in bytes.utf8_chunks() {
        for char in chunk.valid().chars() {
            match char {
                '"' => text.push_str("\\\""),
                '\\' => text.push_str("\\\\"),
                '\u{7}' => text.push_str("\\a"),
                '\u{8}' => text.push_str("\\b"),
                '\u{c}' => text.push_str("\\f"),
                '\n' => text.push_str("\\n"),
                '\r' => text.push_str("\\r"),
                '\t' => text.push_str("\\t"),
                '\u{b}' => text.push_str("\\v"),
                '\0'..' ' | '\u{7f}' => {
                    let _ = write!(text, "\\x{:02x}", u32::from(char));
                }
                // Go prints what its tables call printable. Letters of Latin-1 are; the rest is escaped here.
                ' '..'\u{7f}' | '\u{c0}'..='\u{ff}' => text.push(char),
                _ if u32::from(char) < 0x10000 => {
                    let _ = write!(text, "\\u{:04x}", u32::from(char));
                }
                _ => {
                    let _ = write!(text, "\\U{:08x}", u32::from(char));
                }
            }
        }
        for byte in chunk.invalid() {
            let _ = write!(text, "\\x{byte:02x}");
        }
    }
    text.push('"');
    text
}

pub(crate) fn kv_fields(prefix: &str, pair: &Pair) -> String {
    format!(
        "\"{prefix}Key\" : {}\n\"{prefix}CreateRevision\" : 1\n\"{prefix}ModRevision\" : {}\n\"{prefix}Version\" : 1\n\"{prefix}Value\" : {}\n\"{prefix}Lease\" : 0\n",
        go_quoted(pair.key.as_bytes()),
        pair.revision,
        go_quoted(&pair.value)
    )
}

const HEADER_FIELDS: &str = "\"ClusterID\" : 14841639068965178418\n\"MemberID\" : 10276657743932975437\n\"Revision\" : 1234\n\"RaftTerm\" : 2\n";

pub(crate) fn fields(pairs: &[Pair]) -> String {
    let pairs_text: String = pairs.iter().map(|pair| kv_fields("", pair)).collect();
    format!("{HEADER_FIELDS}{pairs_text}\"More\" : false\n\"Count\" : {}\n", pairs.len())
}

pub(crate) fn watch_fields(pairs: &[Pair]) -> String {
    let deleted = "\"Type\" : DELETE\n\"Key\" : \"/registry/secrets/a/gone\"\n\"CreateRevision\" : 0\n\"ModRevision\" : 7\n\"Version\" : 0\n\"Value\" : \"\"\n\"Lease\" : 0\n";
    pairs
        .iter()
        .map(|pair| {
            format!(
                "{HEADER_FIELDS}{deleted}{HEADER_FIELDS}\"Type\" : PUT\n{}",
                kv_fields("", pair)
            )
        })
        .collect()
}
