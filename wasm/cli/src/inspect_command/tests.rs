use std::io::Cursor;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use super::*;
use crate::core_engine::{Core, case, case_path};
use crate::slow_pipe::{self, Arrived};

const TOKEN: &str = "/registry/secrets/default/token";
const K3S: &str = "-2026-03-09T09:46:54+01:00";

/// Inspects an input. Returns what is printed, and whether there was a fault.
fn printed(input: &[u8], output: Output) -> (String, bool) {
    printed_by(&without_names(), input, output)
}

fn without_names() -> Describe<'static> {
    Describe::new(&Core, None).unwrap()
}

fn printed_by(describe: &Describe<'_>, input: &[u8], output: Output) -> (String, bool) {
    let input = Input::new(Box::new(Cursor::new(input.to_vec())), "the test".to_owned());
    let mut out = Vec::new();
    let failed = inspect(describe, input, output, &mut out).unwrap();
    (String::from_utf8(out).unwrap(), failed)
}

fn values(input: &[u8]) -> (Vec<Value>, bool) {
    let (text, failed) = printed(input, Output::Json);
    (serde_json::from_str(&text).unwrap(), failed)
}

/// What the description of a value must contain.
struct Expected {
    key: Option<&'static str>,
    provider: &'static str,
    name: Option<String>,
    size: usize,
}

fn expected(
    key: Option<&'static str>,
    provider: &'static str,
    name: &str,
    size: usize,
) -> Expected {
    Expected { key, provider, name: Some(name.to_owned()), size }
}

#[test]
fn every_case_is_described() {
    let gcm = |key| expected(key, "aesgcm", "key1", 121);
    let cbc = |key| expected(key, "aescbc", "key1", 119);
    let token = Some(TOKEN);
    let table = [
        ("gcm.bin", vec![gcm(None)]),
        ("cbc.bin", vec![cbc(None)]),
        ("k3s-colon.bin", vec![expected(None, "aescbc", &format!("aescbckey{K3S}"), 150)]),
        ("k3s-colon-gcm.bin", vec![expected(None, "aesgcm", &format!("aesgcmkey{K3S}"), 152)]),
        ("value-only.txt", vec![gcm(None)]),
        ("value-only-cbc.txt", vec![cbc(None)]),
        ("plain-simple.txt", vec![gcm(token)]),
        ("plain-simple-cbc.txt", vec![cbc(token)]),
        ("w-json.txt", vec![gcm(token)]),
        ("w-json-two.txt", vec![gcm(token), gcm(token)]),
        ("w-json-bom.txt", vec![gcm(token)]),
        ("w-fields.txt", vec![gcm(token)]),
        ("jq-values.txt", vec![gcm(None), cbc(None)]),
        ("jq-value-quoted.txt", vec![gcm(None)]),
        ("b64-nopad.txt", vec![expected(None, "aesgcm", "key1", 122)]),
        ("b64url.txt", vec![gcm(None)]),
        ("xxd-p.txt", vec![gcm(None)]),
        ("xxd.txt", vec![gcm(token)]),
        ("hexdump-C.txt", vec![gcm(token)]),
        ("hexdump-C-indent.txt", vec![gcm(token)]),
        ("hexdump-C-valueonly.txt", vec![gcm(None)]),
        ("pg-bytea.txt", vec![gcm(None)]),
    ];
    for (name, values) in table {
        let (found, failed) = self::values(&case(name));
        assert!(!failed, "{name}: {found:?}");
        assert_eq!(found.len(), values.len(), "{name}: {found:?}");
        for (found, Expected { key, provider, name: key_name, size }) in found.iter().zip(values) {
            assert_eq!(found.get("key").and_then(Value::as_str), key, "{name}");
            assert_eq!(found["provider"], provider, "{name}: {found}");
            assert_eq!(found["keyName"], json!(key_name), "{name}");
            assert_eq!(found["size"], size, "{name}");
        }
        for output in [Output::Text, Output::Jsonl, Output::Summary] {
            let (text, failed) = printed(&case(name), output);
            assert!(!failed && text.contains("aes"), "{name}: {text}");
        }
    }
}

#[test]
fn a_removed_line_end_is_a_note() {
    for (name, notes) in [
        ("gcm.bin", 0),
        ("plain-simple.txt", 0),
        ("value-only.txt", 1),
        ("value-only-cbc.txt", 1),
        ("hexdump-C-valueonly.txt", 1),
    ] {
        let (values, _) = values(&case(name));
        let found = values[0]["notes"].as_array().map_or(0, Vec::len);
        assert_eq!(found, notes, "{name}: {values:?}");
        let (text, _) = printed(&case(name), Output::Text);
        assert_eq!(text.contains("the line end after the value (\\n) was removed"), notes == 1);
    }
}

#[test]
fn one_input_may_contain_encrypted_and_plaintext_values() {
    let (values, failed) = values(&case("dump-many.txt"));
    let seen: Vec<_> = values
        .iter()
        .map(|value| (value["key"].as_str(), value["provider"].as_str(), value["keyName"].as_str()))
        .collect();
    assert_eq!(
        seen,
        [
            (Some("/registry/secrets/a/1"), Some("aescbc"), Some("key1")),
            (Some("/registry/secrets/a/2"), Some("aescbc"), Some("key2")),
            (Some("/registry/secrets/a/3"), Some("identity"), None),
        ]
    );
    assert_eq!(values[2]["content"], "kubernetes protobuf");
    assert!(!failed);
    let (text, _) = printed(&case("dump-many.txt"), Output::Summary);
    let expected = "values       3\nplaintext    1\nfaults       0\n\n    count  form\n        3  etcdctl\n\n    count  provider and key\n        1  aescbc, key name \"key1\"\n        1  aescbc, key name \"key2\"\n        1  identity, kubernetes protobuf\n";
    assert_eq!(text, expected);
}

#[test]
fn a_plaintext_object_is_identity() {
    let (values, failed) = values(&case("json-obj.bin"));
    assert_eq!(
        (&values[0]["provider"], &values[0]["content"]),
        (&json!("identity"), &json!("json"))
    );
    assert!(!failed);
}

/// Neither a value that is damaged nor an input that is not a value is ever described as plaintext.
#[test]
fn damaged_values_and_faults_are_errors() {
    for (name, key, parts) in [
        ("hexdump-C-head.txt", Some(TOKEN), &["cut short", "aesgcm", "key1"][..]),
        ("cbc-trunc.bin", None, &["aescbc", "key1"]),
        ("trunc20.bin", None, &["kms"]),
        ("trunc40.bin", None, &["aescbc", "key1"]),
        ("typo-prefix.bin", None, &["did you mean aesgcm"]),
        ("utf8-mangled.bin", None, &["Latin-1", "etcdctl get <key> -w json"]),
        ("replacement.bin", None, &["lost", "etcdctl get <key> -w json"]),
        ("gz.bin", None, &["gzip"]),
        ("snapshot-like.db", None, &["etcd database", "etcdutl snapshot restore"]),
    ] {
        let (values, failed) = values(&case(name));
        let [value] = values.as_slice() else { panic!("{name}: {values:?}") };
        assert!(failed, "{name}: {value}");
        assert_eq!(value["key"].as_str(), key, "{name}");
        let text = value.to_string();
        assert!(parts.iter().all(|part| text.contains(part)), "{name}: {text}");
        assert!(value["error"].is_string() || name == "hexdump-C-head.txt", "{name}: {text}");
        assert_ne!(value["provider"], "identity", "{name}: {text}");
        let (text, failed) = printed(&case(name), Output::Summary);
        assert!(failed && text.contains("faults       1\n"), "{name}: {text}");
        assert!(!text.contains("identity"), "{name}: {text}");
    }
    for input in [&b""[..], b" \n", b"hello", b"k8s:enc:", b"{}", b"zz", b"eyJ", b"[1]"] {
        for output in [Output::Text, Output::Json, Output::Jsonl, Output::Summary] {
            let (text, failed) = printed(input, output);
            assert!(failed && !text.contains("identity"), "{input:?}: {text}");
        }
    }
}

/// A configuration with two keys of aesgcm.
fn two_keys(names: [&str; 2]) -> tempfile::NamedTempFile {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    let keys = names
        .map(|name| format!("{{name: '{name}', secret: MDEyMzQ1Njc4OWFiY2RlZg==}}"))
        .join(", ");
    let config = format!(
        "apiVersion: apiserver.config.k8s.io/v1\nkind: EncryptionConfiguration\nresources:\n- resources: [secrets]\n  \
         providers:\n  - aesgcm: {{keys: [{keys}]}}\n"
    );
    file.write_all(config.as_bytes()).unwrap();
    file
}

#[test]
fn the_names_of_a_configuration_decide_where_a_name_ends() {
    let whole = format!("aesgcmkey{K3S}");
    let value = case("k3s-colon-gcm.bin");
    for (desc, names, name, is_guessed) in [
        ("the whole name", ["key1", &whole], &whole[..], false),
        (
            "the name up to a colon",
            ["key1", "aesgcmkey-2026-03-09T09"],
            "aesgcmkey-2026-03-09T09",
            false,
        ),
        ("other names", ["key1", "key2"], &whole, true),
    ] {
        let file = two_keys(names);
        let describe = Describe::new(&Core, Some(file.path())).unwrap();
        let (json, failed) = printed_by(&describe, &value, Output::Jsonl);
        let found: Value = serde_json::from_str(&json).unwrap();
        assert_eq!((&found["keyName"], failed), (&json!(name), false), "{desc}: {found}");
        assert_eq!(found.get("keyNameGuessed").is_some(), is_guessed, "{desc}: {found}");
        let (text, _) = printed_by(&describe, &value, Output::Text);
        assert!(text.contains(&format!("key name     \"{name}\"\n")), "{desc}: {text}");
        let (text, _) = printed_by(&describe, &value, Output::Summary);
        assert!(text.contains(&format!("aesgcm, key name \"{name}\"\n")), "{desc}: {text}");
    }
}

#[test]
fn a_configuration_that_is_not_valid_is_an_error_with_its_place() {
    let file = two_keys(["key1", ""]);
    let Err(error) = Describe::new(&Core, Some(file.path())) else { panic!("a valid file") };
    let (error, path) = (format!("{error:#}"), file.path().display());
    let begin = format!("{path}: the file is not a valid encryption configuration: 6:");
    assert!(error.starts_with(&begin) && error.contains("keys[1].name"), "{error}");
    assert!(!error.contains("MDEy"), "a secret: {error}");
    let missing = Describe::new(&Core, Some(Path::new("/nowhere/c.yaml"))).err();
    let missing = format!("{:#}", missing.unwrap());
    assert!(
        missing.contains("cannot read the encryption configuration /nowhere/c.yaml"),
        "{missing}"
    );
}

#[test]
fn a_value_that_is_encrypted_twice_is_described_as_its_outer_one() {
    let (values, failed) = values(&case("double.bin"));
    assert_eq!((&values[0]["provider"], &values[0]["keyName"]), (&json!("aesgcm"), &json!("key1")));
    assert!(!failed);
}

#[test]
fn every_row_has_a_test() {
    let tests = [include_str!("tests.rs"), include_str!("../decrypt_command/tests.rs")].concat();
    let cases = case_path("../cases.tsv");
    for line in std::fs::read_to_string(cases).unwrap().lines().skip(1) {
        let file = line.split('\t').next().unwrap();
        let Some(name) = file.strip_prefix("values/") else { continue };
        assert!(tests.contains(&format!("\"{name}\"")), "{name}");
    }
}

#[test]
fn the_members_of_a_value_have_their_order() {
    let (text, _) = printed(&case("w-json.txt"), Output::Jsonl);
    let head =
        format!(r#"{{"key":"{TOKEN}","revision":1,"form":"etcdctl -w json","line":1,"offset":"#);
    assert!(text.starts_with(&head), "{text}");
    let (text, _) = printed(&case("hexdump-C-valueonly.txt"), Output::Jsonl);
    let head = r#"{"form":"raw","within":["hexdump -C"],"line":1,"offset":0,"notes":["#;
    assert!(text.starts_with(head), "{text}");
    let (text, _) = printed(&case("gz.bin"), Output::Jsonl);
    let expected = r#"{"line":1,"offset":0,"error":"this is gzip, not a stored value of Kubernetes; use gzip -dc <file>","command":"gzip -dc <file>"}"#;
    assert_eq!(text, format!("{expected}\n"));
}

#[test]
fn text_shows_place_key_and_revision() {
    let (text, _) = printed(&case("w-json-two.txt"), Output::Text);
    let second = text.split("\n\n").nth(1).unwrap();
    let start =
        format!("key          {TOKEN}\nrevision     1\ninput        etcdctl -w json, line ");
    assert!(second.starts_with(&start), "{text}");
    assert!(second.contains("\nprovider     aesgcm\nkey name     \"key1\"\n"), "{text}");
    let (text, _) = printed(&case("hexdump-C.txt"), Output::Text);
    assert!(text.contains("input        etcdctl in hexdump -C, line 1, byte 0\n"), "{text}");
    let (text, _) = printed(&case("gcm.bin"), Output::Text);
    assert!(text.starts_with("provider     aesgcm\n"), "{text}");
}

/// An input without an end: only one value is in memory.
#[test]
fn values_are_shown_as_they_come() {
    struct Endless {
        row: Vec<u8>,
        at: usize,
        rows: usize,
    }
    impl io::Read for Endless {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            if self.at == self.row.len() {
                self.at = 0;
                self.rows += 1;
                if self.rows == 100 {
                    return Err(io::Error::other("enough"));
                }
            }
            let rest = &self.row[self.at..];
            let len = rest.len().min(buffer.len());
            buffer[..len].copy_from_slice(&rest[..len]);
            self.at += len;
            Ok(len)
        }
    }
    let row = case("w-json.txt");
    let input = Input::new(Box::new(Endless { row, at: 0, rows: 0 }), "the test".to_owned());
    let mut out = Vec::new();
    let error = inspect(&without_names(), input, Output::Jsonl, &mut out).unwrap_err();
    assert_eq!(format!("{error:#}"), "cannot read the test: enough");
    let lines = out.iter().filter(|byte| **byte == b'\n').count();
    assert!(lines > 90, "{lines}");
}

/// As from `etcdctl watch`.
#[test]
fn values_are_written_before_more_input_is_awaited() {
    for output in [Output::Text, Output::Json, Output::Jsonl] {
        let arrived = Arrived::default();
        let mut out = BufWriter::new(arrived.clone());
        let failed = inspect(&Core, slow_pipe::open(&arrived), output, &mut out).unwrap();
        assert!(!failed);
        assert_eq!(arrived.values(), slow_pipe::VALUES);
    }
}

/// A file of many values stays fast.
#[test]
fn values_of_one_read_are_written_together() {
    struct Writes(usize);
    impl Write for Writes {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0 += 1;
            Ok(bytes.len())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let input = case("w-json.txt").repeat(1000);
    let reads = input.len().div_ceil(64 * 1024);
    let input = Input::new(Box::new(Cursor::new(input)), "the test".to_owned());
    let mut out = BufWriter::with_capacity(1024 * 1024, Writes(0));
    inspect(&Core, input, Output::Jsonl, &mut out).unwrap();
    let writes = out.get_ref().0;
    assert!((2..=reads + 1).contains(&writes), "{writes} writes, {reads} reads");
}

#[test]
fn control_characters_never_reach_the_terminal() {
    let key = STANDARD.encode("/registry/secrets/a/\u{9b}2J\u{1b}[2J");
    let value = STANDARD.encode(case("gcm.bin"));
    let input = format!(r#"{{"header":{{}},"kvs":[{{"key":"{key}","value":"{value}"}}]}}"#);
    for output in [Output::Text, Output::Summary] {
        let (text, failed) = printed(input.as_bytes(), output);
        assert!(!failed && text.contains("key1"), "{text:?}");
        assert!(!text.chars().any(|c| c.is_control() && c != '\n'), "{text:?}");
    }
}
