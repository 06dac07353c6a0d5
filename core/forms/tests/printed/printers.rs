//! What etcdctl 3.4 to 3.7, etcd's gateway, jq, dumps and databases print of pairs. Written after etcdctl's printer_simple.go, printer_json.go,
//! printer_fields.go, printer_protobuf.go and watch_command.go.

use std::fmt::Write as _;

/// A pair of key and value in etcd.
#[derive(Clone, Debug)]
pub(crate) struct Pair {
    pub key: String,
    pub value: Vec<u8>,
    pub revision: u64,
}

/// What a form keeps of a pair.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Keeps {
    pub key: bool,
    pub revision: bool,
}

const ALL: Keeps = Keeps { key: true, revision: true };
const KEY: Keeps = Keeps { key: true, revision: false };
const VALUE: Keeps = Keeps { key: false, revision: false };

/// A form: its name, what it keeps, whether it holds several pairs, whether it is text, and its printer.
pub(crate) struct Printer {
    pub name: &'static str,
    pub keeps: Keeps,
    pub many: bool,
    pub text: bool,
    pub print: fn(&[Pair]) -> Vec<u8>,
}

impl std::fmt::Debug for Printer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name)
    }
}

pub(crate) const PRINTERS: &[Printer] = &[
    Printer {
        name: "raw",
        keeps: VALUE,
        many: false,
        text: false,
        print: |pairs| pairs[0].value.clone(),
    },
    Printer {
        name: "get",
        keeps: KEY,
        many: true,
        text: false,
        print: |pairs| pairs.iter().flat_map(plain).collect(),
    },
    Printer {
        name: "get --print-value-only",
        keeps: VALUE,
        many: true,
        text: false,
        print: value_only,
    },
    Printer {
        name: "get --hex",
        keeps: KEY,
        many: true,
        text: true,
        print: |pairs| {
            lines(pairs, |pair| {
                format!("{}\n{}", escaped(pair.key.as_bytes()), escaped(&pair.value))
            })
        },
    },
    Printer {
        name: "get --hex --print-value-only",
        keeps: VALUE,
        many: true,
        text: true,
        print: |pairs| lines(pairs, |pair| escaped(&pair.value)),
    },
    Printer {
        name: "get -w json",
        keeps: ALL,
        many: true,
        text: true,
        print: |pairs| format!("{}\n", range_json(pairs)).into(),
    },
    Printer {
        name: "get -w json, one by one",
        keeps: ALL,
        many: true,
        text: true,
        print: |pairs| lines(pairs, |pair| range_json(std::slice::from_ref(pair))),
    },
    Printer {
        name: "get -w json | jq .",
        keeps: ALL,
        many: true,
        text: true,
        print: |pairs| pretty(&range_json(pairs)),
    },
    Printer {
        name: "jq -S",
        keeps: ALL,
        many: true,
        text: true,
        print: |pairs| {
            format!(
                "{{\"count\":{},\"header\":{{\"revision\":9}},\"kvs\":[{}]}}",
                pairs.len(),
                joined(pairs, ",", sorted_json)
            )
            .into()
        },
    },
    Printer {
        name: "jq .kvs",
        keeps: ALL,
        many: true,
        text: true,
        print: |pairs| pretty(&format!("[{}]", joined(pairs, ",", kv_json))),
    },
    Printer {
        name: "jq .kvs[]",
        keeps: ALL,
        many: true,
        text: true,
        print: |pairs| pairs.iter().flat_map(|pair| pretty(&kv_json(pair))).collect(),
    },
    Printer {
        name: "jq -c .kvs[]",
        keeps: ALL,
        many: true,
        text: true,
        print: |pairs| lines(pairs, kv_json),
    },
    Printer {
        name: "jq .kvs[0].value",
        keeps: VALUE,
        many: true,
        text: true,
        print: |pairs| lines(pairs, |pair| format!("\"{}\"", base64(&pair.value))),
    },
    Printer {
        name: "jq -r .kvs[].value",
        keeps: VALUE,
        many: true,
        text: true,
        print: |pairs| lines(pairs, |pair| base64(&pair.value)),
    },
    Printer {
        name: "jq [.kvs[].value]",
        keeps: VALUE,
        many: true,
        text: true,
        print: |pairs| {
            pretty(&format!(
                "[{}]",
                joined(pairs, ",", |pair| format!("\"{}\"", base64(&pair.value)))
            ))
        },
    },
    Printer {
        name: "jq '.kvs[] | .key, .value'",
        keeps: KEY,
        many: true,
        text: true,
        print: |pairs| {
            lines(pairs, |pair| {
                format!("\"{}\"\n\"{}\"", base64(pair.key.as_bytes()), base64(&pair.value))
            })
        },
    },
    Printer {
        name: "jq -r '.kvs[] | .key, .value'",
        keeps: KEY,
        many: true,
        text: true,
        print: |pairs| {
            lines(pairs, |pair| format!("{}\n{}", base64(pair.key.as_bytes()), base64(&pair.value)))
        },
    },
    Printer {
        name: "jq -r '.kvs[] | [.key, .value] | @tsv'",
        keeps: KEY,
        many: true,
        text: true,
        print: |pairs| {
            lines(pairs, |pair| format!("{}\t{}", base64(pair.key.as_bytes()), base64(&pair.value)))
        },
    },
    Printer {
        name: "jq -r '.kvs[] | (.key | @base64d), .value'",
        keeps: KEY,
        many: true,
        text: true,
        print: |pairs| lines(pairs, |pair| format!("{}\n{}", pair.key, base64(&pair.value))),
    },
    Printer {
        name: "jq -r '.kvs[] | (.key | @base64d) + \" \" + .value'",
        keeps: KEY,
        many: true,
        text: true,
        print: |pairs| lines(pairs, |pair| format!("{} {}", pair.key, base64(&pair.value))),
    },
    Printer {
        name: "jq '.kvs[] | .key |= @base64d'",
        keeps: ALL,
        many: true,
        text: true,
        print: |pairs| {
            lines(pairs, |pair| kv_json(pair).replace(&base64(pair.key.as_bytes()), &pair.key))
        },
    },
    Printer {
        name: "get -w fields",
        keeps: ALL,
        many: true,
        text: true,
        print: |pairs| fields(pairs).into(),
    },
    Printer { name: "get -w protobuf", keeps: ALL, many: true, text: false, print: range_protobuf },
    Printer {
        name: "get -w protobuf, one by one",
        keeps: ALL,
        many: true,
        text: false,
        print: |pairs| {
            pairs.iter().flat_map(|pair| range_protobuf(std::slice::from_ref(pair))).collect()
        },
    },
    Printer { name: "watch", keeps: KEY, many: true, text: false, print: watch },
    Printer { name: "watch --prev-kv", keeps: KEY, many: true, text: false, print: watch_prev },
    Printer {
        name: "watch --hex",
        keeps: KEY,
        many: true,
        text: true,
        print: |pairs| {
            lines(pairs, |pair| {
                format!("PUT\n{}\n{}", escaped(pair.key.as_bytes()), escaped(&pair.value))
            })
        },
    },
    Printer {
        name: "watch -w json",
        keeps: ALL,
        many: true,
        text: true,
        print: |pairs| lines(pairs, watch_json),
    },
    Printer {
        name: "watch -w fields",
        keeps: ALL,
        many: true,
        text: true,
        print: |pairs| watch_fields(pairs).into(),
    },
    Printer {
        name: "watch -w protobuf",
        keeps: ALL,
        many: true,
        text: false,
        print: watch_protobuf,
    },
    Printer {
        name: "txn",
        keeps: KEY,
        many: true,
        text: false,
        print: |pairs| [b"SUCCESS\n\n".to_vec(), pairs.iter().flat_map(plain).collect()].concat(),
    },
    Printer {
        name: "txn -w json",
        keeps: ALL,
        many: true,
        text: true,
        print: |pairs| {
            format!("{{\"header\":{{\"revision\":1}},\"succeeded\":true,\"responses\":[{{\"Response\":{{\"response_range\":{}}}}}]}}\n", range_json(pairs)).into()
        },
    },
    Printer { name: "txn -w protobuf", keeps: ALL, many: true, text: false, print: txn_protobuf },
    Printer {
        name: "gateway /v3/kv/range",
        keeps: ALL,
        many: true,
        text: true,
        print: |pairs| {
            format!("{{\"header\":{{\"cluster_id\":\"1\",\"revision\":\"9\"}},\"kvs\":[{}],\"count\":\"{}\"}}", joined(pairs, ",", gateway_json), pairs.len()).into()
        },
    },
    Printer {
        name: "gateway /v3/watch",
        keeps: ALL,
        many: true,
        text: true,
        print: |pairs| {
            lines(pairs, |pair| {
                format!(
                    "{{\"result\":{{\"header\":{{\"revision\":\"3\"}},\"events\":[{{\"kv\":{}}}]}}}}",
                    gateway_json(pair)
                )
            })
        },
    },
    Printer {
        name: "hex",
        keeps: VALUE,
        many: true,
        text: true,
        print: |pairs| lines(pairs, |pair| hex(&pair.value)),
    },
    Printer {
        name: "HEX",
        keeps: VALUE,
        many: true,
        text: true,
        print: |pairs| lines(pairs, |pair| hex(&pair.value).to_uppercase()),
    },
    Printer {
        name: "0x",
        keeps: VALUE,
        many: true,
        text: true,
        print: |pairs| lines(pairs, |pair| format!("0x{}", hex(&pair.value))),
    },
    Printer {
        name: "hex with spaces",
        keeps: VALUE,
        many: false,
        text: true,
        print: |pairs| wrapped(&spaced(&pairs[0].value), 48),
    },
    Printer {
        name: "Postgres bytea",
        keeps: VALUE,
        many: true,
        text: true,
        print: |pairs| lines(pairs, |pair| format!("\\x{}", hex(&pair.value))),
    },
    Printer {
        name: "SQLite blob",
        keeps: VALUE,
        many: true,
        text: true,
        print: |pairs| lines(pairs, |pair| format!("X'{}'", hex(&pair.value))),
    },
    Printer {
        name: "xxd -p",
        keeps: VALUE,
        many: false,
        text: true,
        print: |pairs| wrapped(&hex(&pairs[0].value), 60),
    },
    Printer {
        name: "base64",
        keeps: VALUE,
        many: false,
        text: true,
        print: |pairs| wrapped(&base64(&pairs[0].value), 76),
    },
    Printer {
        name: "base64 -w 77",
        keeps: VALUE,
        many: false,
        text: true,
        print: |pairs| wrapped(&base64(&pairs[0].value), 77),
    },
    Printer {
        name: "base64 without padding",
        keeps: VALUE,
        many: true,
        text: true,
        print: |pairs| lines(pairs, |pair| base64(&pair.value).trim_end_matches('=').to_owned()),
    },
    Printer {
        name: "base64url",
        keeps: VALUE,
        many: true,
        text: true,
        print: |pairs| lines(pairs, |pair| base64(&pair.value).replace('+', "-").replace('/', "_")),
    },
    Printer {
        name: "base64 in quotes with commas",
        keeps: VALUE,
        many: true,
        text: true,
        print: |pairs| lines(pairs, |pair| format!("'{}',", base64(&pair.value))),
    },
    Printer {
        name: "get | base64",
        keeps: KEY,
        many: true,
        text: true,
        print: |pairs| wrapped(&base64(&pairs.iter().flat_map(plain).collect::<Vec<u8>>()), 76),
    },
    Printer {
        name: "get -w protobuf | base64",
        keeps: ALL,
        many: true,
        text: true,
        print: |pairs| wrapped(&base64(&range_protobuf(pairs)), 76),
    },
    Printer {
        name: "get -w json | base64",
        keeps: ALL,
        many: true,
        text: true,
        print: |pairs| wrapped(&base64(range_json(pairs).as_bytes()), 76),
    },
    Printer {
        name: "get | hexdump -C",
        keeps: KEY,
        many: true,
        text: true,
        print: |pairs| hexdump_c(&pairs.iter().flat_map(plain).collect::<Vec<u8>>()).into(),
    },
    Printer {
        name: "get -w json | hexdump -C",
        keeps: ALL,
        many: true,
        text: true,
        print: |pairs| hexdump_c(range_json(pairs).as_bytes()).into(),
    },
    Printer {
        name: "get | hexdump",
        keeps: KEY,
        many: true,
        text: true,
        print: |pairs| hexdump(&pairs.iter().flat_map(plain).collect::<Vec<u8>>()).into(),
    },
    Printer {
        name: "get --print-value-only | xxd",
        keeps: VALUE,
        many: true,
        text: true,
        print: |pairs| xxd(&value_only(pairs)).into(),
    },
    Printer {
        name: "psql -A -t",
        keeps: ALL,
        many: true,
        text: true,
        print: |pairs| {
            lines(pairs, |pair| format!("{}|{}|\\x{}", pair.revision, pair.key, hex(&pair.value)))
        },
    },
    Printer {
        name: "sqlite3 .mode quote",
        keeps: ALL,
        many: true,
        text: true,
        print: |pairs| {
            lines(pairs, |pair| format!("{},'{}',X'{}'", pair.revision, pair.key, hex(&pair.value)))
        },
    },
    Printer {
        name: "CSV",
        keeps: ALL,
        many: true,
        text: true,
        print: |pairs| {
            [
                b"id,name,value\n".to_vec(),
                lines(pairs, |pair| {
                    format!("\"{}\",\"{}\",\"{}\"", pair.revision, pair.key, hex(&pair.value))
                }),
            ]
            .concat()
        },
    },
    Printer {
        name: "json_agg",
        keeps: ALL,
        many: true,
        text: true,
        print: |pairs| {
            format!(
                "[{}]",
                joined(pairs, ",\n", |pair| format!(
                    "{{\"id\":{},\"name\":\"{}\",\"lease\":0,\"value\":\"\\\\x{}\"}}",
                    pair.revision,
                    pair.key,
                    hex(&pair.value)
                ))
            )
            .into()
        },
    },
];

fn lines(pairs: &[Pair], line: fn(&Pair) -> String) -> Vec<u8> {
    pairs.iter().flat_map(|pair| format!("{}\n", line(pair)).into_bytes()).collect()
}

fn joined(pairs: &[Pair], between: &str, text: fn(&Pair) -> String) -> String {
    pairs.iter().map(text).collect::<Vec<_>>().join(between)
}

fn plain(pair: &Pair) -> Vec<u8> {
    [pair.key.as_bytes(), b"\n", &pair.value, b"\n"].concat()
}

fn value_only(pairs: &[Pair]) -> Vec<u8> {
    pairs.iter().flat_map(|pair| [&pair.value[..], b"\n"].concat()).collect()
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

fn spaced(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x} ");
        text
    })
}

/// `etcdctl --hex`.
fn escaped(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "\\x{byte:02x}");
        text
    })
}

pub(crate) fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for group in bytes.chunks(3) {
        let mut three = [0; 3];
        three[..group.len()].copy_from_slice(group);
        let bits = u32::from_be_bytes([0, three[0], three[1], three[2]]);
        for digit in 0..4 {
            if digit <= group.len() {
                text.push(char::from(DIGITS[(bits >> (18 - 6 * digit)) as usize & 63]));
            } else {
                text.push('=');
            }
        }
    }
    text
}

pub(crate) fn wrapped(text: &str, width: usize) -> Vec<u8> {
    text.as_bytes().chunks(width).flat_map(|line| [line, b"\n"].concat()).collect()
}

fn kv_json(pair: &Pair) -> String {
    format!(
        r#"{{"key":"{}","create_revision":1,"mod_revision":{},"version":1,"value":"{}"}}"#,
        base64(pair.key.as_bytes()),
        pair.revision,
        base64(&pair.value)
    )
}

fn sorted_json(pair: &Pair) -> String {
    format!(
        r#"{{"create_revision":1,"key":"{}","mod_revision":{},"value":"{}","version":1}}"#,
        base64(pair.key.as_bytes()),
        pair.revision,
        base64(&pair.value)
    )
}

fn gateway_json(pair: &Pair) -> String {
    format!(
        r#"{{"key":"{}","create_revision":"1","mod_revision":"{}","version":"1","value":"{}"}}"#,
        base64(pair.key.as_bytes()),
        pair.revision,
        base64(&pair.value)
    )
}

fn range_json(pairs: &[Pair]) -> String {
    format!(
        r#"{{"header":{{"cluster_id":14841639068965178418,"member_id":10276657743932975437,"revision":1234,"raft_term":2}},"kvs":[{}],"count":{}}}"#,
        joined(pairs, ",", kv_json),
        pairs.len()
    )
}

fn watch_json(pair: &Pair) -> String {
    format!(
        r#"{{"Header":{{"cluster_id":1,"revision":9}},"Events":[{{"kv":{}}},{{"type":1,"kv":{{"key":"{}","mod_revision":10}}}}],"CompactRevision":0,"Canceled":false,"Created":false}}"#,
        kv_json(pair),
        base64(pair.key.as_bytes())
    )
}

/// Indents JSON as jq does. The strings contain neither brackets nor quotes.
fn pretty(json: &str) -> Vec<u8> {
    let mut text = String::new();
    let mut depth = 0;
    let mut in_string = false;
    let line = |text: &mut String, depth: usize| {
        text.push('\n');
        text.push_str(&"  ".repeat(depth));
    };
    for char in json.chars() {
        match char {
            '"' => in_string = !in_string,
            '{' | '[' if !in_string => {
                depth += 1;
                text.push(char);
                line(&mut text, depth);
                continue;
            }
            '}' | ']' if !in_string => {
                depth -= 1;
                line(&mut text, depth);
            }
            ',' if !in_string => {
                text.push(char);
                line(&mut text, depth);
                continue;
            }
            ':' if !in_string => {
                text.push_str(": ");
                continue;
            }
            _ => {}
        }
        text.push(char);
    }
    text.push('\n');
    text.into_bytes()
}

/// Go's `%q` of a string: valid UTF-8 stays, except control characters.
fn go_quoted(bytes: &[u8]) -> String {
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

fn kv_fields(prefix: &str, pair: &Pair) -> String {
    format!(
        "\"{prefix}Key\" : {}\n\"{prefix}CreateRevision\" : 1\n\"{prefix}ModRevision\" : {}\n\"{prefix}Version\" : 1\n\"{prefix}Value\" : {}\n\"{prefix}Lease\" : 0\n",
        go_quoted(pair.key.as_bytes()),
        pair.revision,
        go_quoted(&pair.value)
    )
}

const HEADER_FIELDS: &str = "\"ClusterID\" : 14841639068965178418\n\"MemberID\" : 10276657743932975437\n\"Revision\" : 1234\n\"RaftTerm\" : 2\n";

fn fields(pairs: &[Pair]) -> String {
    let pairs_text: String = pairs.iter().map(|pair| kv_fields("", pair)).collect();
    format!("{HEADER_FIELDS}{pairs_text}\"More\" : false\n\"Count\" : {}\n", pairs.len())
}

fn watch_fields(pairs: &[Pair]) -> String {
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

fn watch(pairs: &[Pair]) -> Vec<u8> {
    let one = |pair: &Pair| {
        [b"PUT\n".to_vec(), plain(pair), b"DELETE\n/registry/secrets/a/gone\n\n".to_vec()].concat()
    };
    pairs.iter().flat_map(one).collect()
}

/// Each pair is the previous value of a deletion.
fn watch_prev(pairs: &[Pair]) -> Vec<u8> {
    let one = |pair: &Pair| {
        [b"DELETE\n".to_vec(), plain(pair), pair.key.as_bytes().to_vec(), b"\n\n".to_vec()].concat()
    };
    pairs.iter().flat_map(one).collect()
}

fn varint(mut value: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    while value >= 0x80 {
        bytes.push(value as u8 | 0x80);
        value >>= 7;
    }
    bytes.push(value as u8);
    bytes
}

pub(crate) fn field(number: u64, bytes: &[u8]) -> Vec<u8> {
    [varint(number << 3 | 2), varint(bytes.len() as u64), bytes.to_vec()].concat()
}

fn number(field: u64, value: u64) -> Vec<u8> {
    [varint(field << 3), varint(value)].concat()
}

fn kv_protobuf(pair: &Pair) -> Vec<u8> {
    [
        field(1, pair.key.as_bytes()),
        number(2, 1),
        number(3, pair.revision),
        number(4, 1),
        field(5, &pair.value),
    ]
    .concat()
}

fn header_protobuf() -> Vec<u8> {
    let header = [
        number(1, 14841639068965178418),
        number(2, 10276657743932975437),
        number(3, 1234),
        number(4, 2),
    ];
    field(1, &header.concat())
}

fn range_protobuf(pairs: &[Pair]) -> Vec<u8> {
    let kvs: Vec<u8> = pairs.iter().flat_map(|pair| field(2, &kv_protobuf(pair))).collect();
    [header_protobuf(), kvs, number(4, pairs.len() as u64)].concat()
}

fn watch_protobuf(pairs: &[Pair]) -> Vec<u8> {
    let deleted =
        [number(1, 1), field(2, &[field(1, b"/registry/secrets/a/gone"), number(3, 7)].concat())]
            .concat();
    let one = |pair: &Pair| {
        let event = field(2, &kv_protobuf(pair));
        [header_protobuf(), field(11, &event), field(11, &deleted)].concat()
    };
    pairs.iter().flat_map(one).collect()
}

fn txn_protobuf(pairs: &[Pair]) -> Vec<u8> {
    [header_protobuf(), number(2, 1), field(3, &field(1, &range_protobuf(pairs)))].concat()
}

fn text_column(bytes: &[u8]) -> String {
    let char = |byte: &u8| if (b' '..0x7f).contains(byte) { char::from(*byte) } else { '.' };
    bytes.iter().map(char).collect()
}

/// Without `*`, as `hexdump -v`.
pub(crate) fn hexdump_c(bytes: &[u8]) -> String {
    let mut text = String::new();
    for (line, chunk) in bytes.chunks(16).enumerate() {
        let half =
            |from: usize| spaced(chunk.get(from..chunk.len().min(from + 8)).unwrap_or_default());
        let _ = writeln!(
            text,
            "{:08x}  {:<24} {:<24} |{}|",
            line * 16,
            half(0),
            half(8),
            text_column(chunk)
        );
    }
    let _ = writeln!(text, "{:08x}", bytes.len());
    text
}

pub(crate) fn hexdump(bytes: &[u8]) -> String {
    let mut text = String::new();
    for (line, chunk) in bytes.chunks(16).enumerate() {
        let _ = write!(text, "{:07x}", line * 16);
        for word in chunk.chunks(2) {
            let _ = write!(text, " {:02x}{:02x}", word.get(1).unwrap_or(&0), word[0]);
        }
        text.push('\n');
    }
    let _ = writeln!(text, "{:07x}", bytes.len());
    text
}

pub(crate) fn xxd(bytes: &[u8]) -> String {
    let mut text = String::new();
    for (line, chunk) in bytes.chunks(16).enumerate() {
        let words: String = chunk.chunks(2).map(|word| format!("{} ", hex(word))).collect();
        let _ = writeln!(text, "{:08x}: {:<40} {}", line * 16, words, text_column(chunk));
    }
    text
}
