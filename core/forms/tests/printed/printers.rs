//! What etcdctl 3.4 to 3.7, etcd's gateway, jq, dumps and databases print of pairs. Written after etcdctl's printer_simple.go, printer_json.go,
//! printer_fields.go, printer_protobuf.go and watch_command.go.

// The fuzz target `forms` includes this file by its path, so the paths below are written out.
#[path = "printers/ambiguous.rs"]
pub(crate) mod ambiguous;
#[path = "printers/digits.rs"]
pub(crate) mod digits;
#[path = "printers/dumps.rs"]
pub(crate) mod dumps;
#[path = "printers/fields.rs"]
pub(crate) mod fields;
#[path = "printers/json.rs"]
pub(crate) mod json;
#[path = "printers/protobuf.rs"]
pub(crate) mod protobuf;
#[path = "printers/wrappings.rs"]
pub(crate) mod wrappings;

use digits::{base64, escaped, hex, spaced, wrapped};
use dumps::{hexdump, hexdump_c, xxd};
use fields::{fields, watch_fields};
use json::{gateway_json, kv_json, pretty, range_json, sorted_json, watch_json};
use protobuf::{range_protobuf, txn_protobuf, watch_protobuf};

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
