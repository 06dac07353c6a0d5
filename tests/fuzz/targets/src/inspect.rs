//! Descriptions of stored values: parts without gaps, valid JSON, no unencrypted key ID, the same value in every form, and never plaintext for an
//! encrypted value, however it is written and wherever it is cut off.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use dekker_core::inspect::{Inspection, KeyName, Origin, inspect, inspect_json, inspect_with};
use dekker_core::provider::kms::v2::envelope::EncryptedObject;
use dekker_forms::{Content, Form, Limits, Provider, read_all};
use serde_json::Value;

/// Treats any bytes as a stored value, and as an input that contains stored values.
///
/// # Panics
/// Panics if a promise is broken.
pub fn run(input: &[u8]) {
    one(input);
    heads(input);
    let items = read_all(input, Limits::default());
    assert!(!items.is_empty(), "neither a value nor a fault");
    let entries: Vec<_> = items.iter().flatten().collect();
    let held: usize = entries.iter().map(|entry| entry.bytes.len()).sum();
    // In a dump, `*` stands for any number of lines.
    let is_longer = held > input.len() && !input.contains(&b'*');
    assert!(!is_longer, "the values are longer than the input");
    for entry in &entries {
        one(&entry.bytes);
        for reading in entry.readings() {
            if let Ok(seen) = inspect(reading) {
                let is_plaintext = entry.content != Content::Encrypted;
                assert_eq!(seen.origin.provider == "identity", is_plaintext, "two verdicts");
            }
        }
    }
    if let [Ok(entry)] = items.as_slice()
        && (entry.form, entry.content) == (Form::Raw, Content::Encrypted)
        && entry.bytes == input
    {
        in_every_form(input);
    }
}

/// Inspects one raw value.
fn one(stored: &[u8]) {
    let (seen, json) = match (inspect(stored), inspect_json(stored)) {
        (Ok(seen), Ok(json)) => (seen, json),
        (Err(error), Err(json)) => {
            let shown: Value = serde_json::from_str(&json).expect("JSON");
            assert_eq!(shown["error"], error.to_string(), "the errors differ");
            assert!(!error.to_string().is_empty(), "an error has a message");
            assert_eq!(shown["size"], stored.len() as u64);
            let origin = error.known.origin.as_ref();
            let key_name = origin.and_then(|origin| origin.key_name.as_deref());
            assert_eq!(shown["provider"].as_str(), origin.map(|origin| origin.provider));
            assert_eq!(shown["keyName"].as_str(), key_name);
            return;
        }
        _ => panic!("only one of inspect and inspect_json failed"),
    };
    let mut end = 0;
    for part in &seen.layout {
        assert_eq!(part.offset, end, "a gap or an overlap");
        assert!(part.length > 0, "an empty part");
        end += part.length;
    }
    assert_eq!((end, seen.size), (stored.len(), stored.len()), "the parts do not cover the value");
    assert!(seen.plaintext_size <= stored.len(), "longer than the value");
    let shown: Value = serde_json::from_str(&json).expect("JSON");
    assert_eq!(shown["size"], seen.size as u64);
    with_its_name(stored, &seen);
    if (seen.origin.provider, seen.origin.api_version) == ("kms", Some("v2")) {
        let name = seen.origin.provider_name.as_deref().expect("a name");
        let start = "k8s:enc:kms:v2:".len() + name.len() + 1;
        let object = EncryptedObject::decode(&stored[start..]).expect("it was decoded");
        let value = |name: &str| seen.layout.iter().find(|part| part.name == name);
        if let Some(part) = value("keyID") {
            let at = part.offset..part.offset + part.length;
            assert_eq!(&stored[at], object.key_id.as_bytes(), "another key ID");
        }
        // A short key ID may occur anywhere by chance.
        let hidden = object.key_id.len() < 16 || name.contains(object.key_id);
        let annotated = object.annotations.iter();
        let hidden = hidden || { annotated }.any(|(name, _)| name.contains(object.key_id));
        assert!(hidden || !json.contains(object.key_id), "a key ID");
    }
}

fn in_every_form(stored: &[u8]) {
    let hex: String = stored.iter().map(|byte| format!("{byte:02x}")).collect();
    let base64 = STANDARD.encode(stored);
    let etcdctl = format!(r#"{{"header":{{}},"kvs":[{{"key":"L2E=","value":"{base64}"}}]}}"#);
    for (text, form) in [(hex, Form::Hex), (base64, Form::Base64), (etcdctl, Form::EtcdctlJson)] {
        let items = read_all(text.as_bytes(), Limits::default());
        let [Ok(entry)] = items.as_slice() else { panic!("{}: {items:?}", form.name()) };
        assert_eq!(entry.seen(), form);
        assert_eq!(entry.bytes, stored, "another value");
    }
}

/// Every head of an encrypted value is of its provider, or an error.
fn heads(stored: &[u8]) {
    let provider = |stored: &[u8]| {
        let origin = match inspect(stored) {
            Ok(seen) => Some(seen.origin),
            Err(error) => error.known.origin,
        };
        origin.map(|origin| (origin.provider, origin.api_version))
    };
    if !stored.starts_with(b"k8s:enc:") {
        return;
    }
    let whole = provider(stored);
    assert_ne!(whole, Some(("identity", None)), "an encrypted value as plaintext");
    if whole.is_none() {
        return;
    }
    for len in (4..stored.len()).take(256) {
        let head = provider(&stored[..len]);
        assert!(head.is_none() || head == whole, "another provider at {len}");
    }
}

/// With its name in a configuration, a value has the same description, and the name is certain.
fn with_its_name(stored: &[u8], seen: &Inspection) {
    let (provider, name) = match (seen.origin.provider, &seen.origin.key_name) {
        ("aesgcm", Some(name)) => (Provider::AesGcm, name),
        ("aescbc", Some(name)) => (Provider::AesCbc, name),
        ("secretbox", Some(name)) => (Provider::Secretbox, name),
        _ => return,
    };
    let known = inspect_with(stored, &[KeyName { provider, name }]);
    let origin = Origin { key_name_is_guessed: false, ..seen.origin.clone() };
    let certain = Inspection { origin, ..seen.clone() };
    assert_eq!(known, Ok(certain), "its own name changes the description");
}

/// Returns a value of each provider, values that are cut short, and inputs that contain values.
pub fn seeds() -> Vec<Vec<u8>> {
    let value = |prefix: &str, rest: &[u8]| [prefix.as_bytes(), rest].concat();
    let mut seeds: Vec<Vec<u8>> =
        crate::envelope::seeds().iter().map(|object| value("k8s:enc:kms:v2:a:", object)).collect();
    seeds.extend([
        value("k8s:enc:aesgcm:v1:key1:", &[5; 40]),
        value("k8s:enc:aescbc:v1:key1:", &[5; 48]),
        value("k8s:enc:secretbox:v1:key1:", &[5; 50]),
        value("k8s:enc:kms:v1:old:", &[&[0, 4][..], &[5; 40]].concat()),
        value("k8s:enc:aescbc:v1:aescbckey-2026-03-09T09:46:54+01:00:", &[5; 48]),
        value("k8s:enc:aesgcm:v1:aesgcmkey-2026-03-09T09:46:54+01:00:", &[5; 40]),
        value("k8s:enc:aescbc:v1:key1:", &[5; 47]),
        value("k8s:enc:aescbc:v1:key1:", &[&[5; 48][..], b"\n"].concat()),
        b"k8s:enc:kms:v2:1_sec".to_vec(),
        b"k8s:enc:aes-gcm:v1:key1:".to_vec(),
        b"k8s:enc:other:".to_vec(),
        b"k8s\0\x0a\x02v1".to_vec(),
        b"{\"kind\":\"Secret\"}".to_vec(),
        br#"{"header":{"revision":7},"kvs":[{"key":"L2E=","value":"azhzOmVuYzphZXNnY206djE6azo="},{"key":"L2I="}],"count":2}"#.to_vec(),
        b"0x6b38733a656e633a".to_vec(),
        b"azhzOmVuYzphZXNnY206djE6\nazo=".to_vec(),
    ]);
    seeds
}
