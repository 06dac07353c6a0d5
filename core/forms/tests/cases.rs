//! Every value of tests/vectors/cases/cases.tsv: an input as people hold it, and what is right.

use dekker_forms::{
    Content, Entry, Fault, FaultKind, FileKind, Form, Item, Limits, LineEnd, Provider, Stored,
    read_all, split,
};

const TOKEN: &[u8] = b"/registry/secrets/default/token";

fn case(name: &str) -> Vec<u8> {
    let path = format!("{}/../../tests/vectors/cases/values/{name}", env!("CARGO_MANIFEST_DIR"));
    std::fs::read(&path).unwrap_or_else(|error| panic!("{path}: {error}"))
}

fn read(name: &str) -> Vec<Item> {
    read_all(&case(name), Limits::default())
}

/// The only item, which must be an entry.
fn one(name: &str) -> Entry {
    let items = read(name);
    let [Ok(entry)] = items.as_slice() else { panic!("{name}: {items:?}") };
    entry.clone()
}

fn fault(name: &str) -> Fault {
    let items = read(name);
    let [Err(fault)] = items.as_slice() else { panic!("{name}: {items:?}") };
    fault.clone()
}

#[test]
fn every_form_of_a_value_decodes_to_its_bytes() {
    let gcm = case("gcm.bin");
    let cbc = case("cbc.bin");
    for (name, form, key, bytes) in [
        ("gcm.bin", Form::Raw, None, &gcm),
        ("cbc.bin", Form::Raw, None, &cbc),
        ("plain-simple.txt", Form::EtcdctlPlain, Some(TOKEN), &gcm),
        ("plain-simple-cbc.txt", Form::EtcdctlPlain, Some(TOKEN), &cbc),
        ("w-json.txt", Form::EtcdctlJson, Some(TOKEN), &gcm),
        ("w-json-bom.txt", Form::EtcdctlJson, Some(TOKEN), &gcm),
        ("w-fields.txt", Form::EtcdctlFields, Some(TOKEN), &gcm),
        ("jq-value-quoted.txt", Form::JsonStrings, None, &gcm),
        ("b64url.txt", Form::Base64Url, None, &gcm),
        ("xxd-p.txt", Form::Hex, None, &gcm),
        ("xxd.txt", Form::Xxd, Some(TOKEN), &gcm),
        ("hexdump-C.txt", Form::HexdumpC, Some(TOKEN), &gcm),
        ("hexdump-C-indent.txt", Form::HexdumpC, Some(TOKEN), &gcm),
        ("pg-bytea.txt", Form::PostgresHex, None, &gcm),
    ] {
        let entry = one(name);
        assert_eq!(entry.seen(), form, "{name}");
        assert_eq!(entry.key.as_deref(), key, "{name}");
        assert!(entry.bytes == *bytes, "{name}: {entry:?}");
        assert_eq!(entry.content, Content::Encrypted, "{name}");
        assert!(!entry.cut_short, "{name}");
    }
}

#[test]
fn a_line_end_that_was_added_is_named() {
    for (name, form, bytes) in [
        ("value-only.txt", Form::Raw, "gcm.bin"),
        ("value-only-cbc.txt", Form::Raw, "cbc.bin"),
        ("hexdump-C-valueonly.txt", Form::HexdumpC, "gcm.bin"),
    ] {
        let entry = one(name);
        assert_eq!(entry.seen(), form, "{name}");
        assert_eq!(entry.line_end, LineEnd::MaybeAdded { len: 1 }, "{name}");
        assert_eq!(entry.without_line_end(), Some(case(bytes).as_slice()), "{name}");
    }
    assert_eq!(one("plain-simple.txt").line_end, LineEnd::Removed);
    assert_eq!(one("gcm.bin").line_end, LineEnd::Absent);
}

#[test]
fn many_values_are_read_from_one_input() {
    let entries = |name| read(name).into_iter().collect::<Result<Vec<_>, _>>().unwrap();
    let many = entries("dump-many.txt");
    let summary: Vec<_> = many
        .iter()
        .map(|entry| {
            let name = match split(&entry.bytes, &[]) {
                Stored::Value { name, well_formed: true, .. } => name,
                _ => "",
            };
            (entry.key.as_deref().unwrap_or_default(), name, entry.content, entry.place.line)
        })
        .collect();
    assert_eq!(
        summary.iter().map(|(key, name, content, _)| (*key, *name, *content)).collect::<Vec<_>>(),
        [
            (&b"/registry/secrets/a/1"[..], "key1", Content::Encrypted),
            (b"/registry/secrets/a/2", "key2", Content::Encrypted),
            (b"/registry/secrets/a/3", "", Content::Protobuf),
        ]
    );
    let two = entries("w-json-two.txt");
    assert_eq!(two.len(), 2);
    assert!(two.iter().all(|entry| entry.revision == Some(1)));
    let values = entries("jq-values.txt");
    assert!(values.iter().map(|entry| &entry.bytes).eq([&case("gcm.bin"), &case("cbc.bin")]));
}

#[test]
fn base64_without_padding_may_have_one_byte_more() {
    let entry = one("b64-nopad.txt");
    assert_eq!((entry.seen(), entry.bytes.len()), (Form::Base64, 122));
    assert!(entry.bytes.starts_with(&case("gcm.bin")));
}

#[test]
fn names_with_colons_are_whole() {
    for (name, provider, key, payload) in [
        ("k3s-colon.bin", Provider::AesCbc, "aescbckey-2026-03-09T09:46:54+01:00", 96),
        ("k3s-colon-gcm.bin", Provider::AesGcm, "aesgcmkey-2026-03-09T09:46:54+01:00", 98),
    ] {
        let entry = one(name);
        let Stored::Value { provider: found, name: found_key, payload: rest, well_formed, .. } =
            split(&entry.bytes, &[])
        else {
            panic!("{name}");
        };
        assert_eq!((found, found_key, well_formed), (provider, key, true), "{name}");
        assert_eq!(rest.len(), payload, "{name}");
    }
}

#[test]
fn what_remains_of_a_value_is_named() {
    let entry = one("hexdump-C-head.txt");
    assert!(entry.cut_short);
    assert_eq!(entry.key.as_deref(), Some(TOKEN));
    assert!(case("gcm.bin").starts_with(&entry.bytes));
    let name = |file| {
        let entry = one(file);
        match split(&entry.bytes, &[]) {
            Stored::Value { provider, name, well_formed, .. } => {
                (Some(provider), name.to_owned(), well_formed)
            }
            Stored::NoName { provider, .. } => (Some(provider), String::new(), false),
            Stored::UnknownProvider { similar, .. } => (similar, "?".to_owned(), false),
            _ => panic!("{file}"),
        }
    };
    assert_eq!(name("cbc-trunc.bin"), (Some(Provider::AesCbc), "key1".into(), false));
    assert_eq!(name("trunc20.bin"), (Some(Provider::KmsV2), String::new(), false));
    assert_eq!(name("trunc40.bin"), (Some(Provider::AesCbc), "key1".into(), false));
    assert_eq!(name("typo-prefix.bin"), (Some(Provider::AesGcm), "?".into(), false));
    assert_eq!(name("double.bin"), (Some(Provider::AesGcm), "key1".into(), true));
}

#[test]
fn plaintext_json_is_plaintext() {
    let entry = one("json-obj.bin");
    assert_eq!((entry.content, entry.form), (Content::Json, Form::Raw));
    assert_eq!(entry.bytes, case("json-obj.bin"));
}

#[test]
fn other_inputs_are_faults_that_name_them() {
    for (name, kind) in [
        ("utf8-mangled.bin", FaultKind::Mangled),
        ("replacement.bin", FaultKind::Replaced),
        ("gz.bin", FaultKind::File(FileKind::Gzip)),
        ("snapshot-like.db", FaultKind::File(FileKind::EtcdDatabase)),
    ] {
        let fault = fault(name);
        assert_eq!(fault.kind, kind, "{name}: {fault}");
        assert!(fault.command().is_some(), "{name}");
    }
}

#[test]
fn every_case_has_a_test() {
    let source = include_str!("cases.rs");
    for line in include_str!("../../../tests/vectors/cases/cases.tsv").lines().skip(1) {
        let (file, rest) = line.split_once('\t').unwrap();
        let (form, _) = rest.split_once('\t').unwrap();
        let Some(name) = file.strip_prefix("values/").filter(|_| form != "configuration") else {
            continue;
        };
        assert!(source.contains(&format!("\"{name}\"")), "{name}");
    }
}
