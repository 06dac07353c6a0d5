//! Which provider reads a value, and when a value is stale.

use dekker_core::engine::Options;
use dekker_core::{ErrorKind, ValueState};

use super::local::provider;
use super::writing::seeds;
use crate::face::Maker;
use crate::object::{EncryptedObject, Stored};
use crate::plugin::Plugin;
use crate::sim::{Harness, Read, file};

/// Returns a value that is either fresh or stale.
fn read(plaintext: &[u8], stale: bool, prefix: &str) -> Read {
    let state = Some(if stale { ValueState::Stale } else { ValueState::Fresh });
    Read { plaintext: plaintext.to_vec(), stale, state, prefix: prefix.to_string() }
}

const A: &str = "k8s:enc:kms:v2:a:";
const B: &str = "k8s:enc:kms:v2:b:";

pub(super) fn both_source_types_are_readable(maker: &dyn Maker) {
    for (writes, reads) in [(Options::default(), seeds()), (seeds(), Options::default())] {
        let plugin = || [("a", Plugin::new("key-1"))];
        let mut writer = Harness::new(maker, &file::secrets(), &writes, plugin());
        let stored = writer.write("/k", b"plaintext");
        let mut reader = Harness::seeded(maker, &file::secrets(), &reads, plugin(), 2);
        let other_source =
            Read { state: Some(ValueState::OtherSource), ..read(b"plaintext", true, A) };
        assert_eq!(reader.read("/k", &stored), other_source, "another type is stale");
        let again = reader.write("/k", b"plaintext");
        assert_eq!(reader.read("/k", &again), read(b"plaintext", false, A));
    }
}

pub(super) fn value_of_another_process_is_fresh_while_the_key_id_is_the_same(maker: &dyn Maker) {
    let plugin = || [("a", Plugin::new("key-1"))];
    let stored = Harness::primed(maker).write("/k", b"plaintext");
    let mut other = Harness::seeded(maker, &file::secrets(), &Options::default(), plugin(), 2);
    assert_eq!(other.read("/k", &stored), read(b"plaintext", false, A));
}

pub(super) fn read_is_stale_after_key_id_change(maker: &dyn Maker) {
    let mut h = Harness::primed(maker);
    let old = h.write("/k", b"plaintext");
    assert_eq!(h.read("/k", &old), read(b"plaintext", false, A));
    h.plugin("a").key_id = "key-2".into();
    assert!(!h.read("/k", &old).stale, "the engine has not noticed yet");
    h.advance_secs(60);
    assert_eq!(h.read("/k", &old), read(b"plaintext", true, A));
    let new = h.write("/k", b"plaintext");
    assert_eq!(h.read("/k", &new), read(b"plaintext", false, A));
    h.plugin("a").key_id = "key-1".into();
    h.advance_secs(60);
    assert!(!h.read("/k", &old).stale, "the key ID is what counts, not the DEK");
    assert!(h.read("/k", &new).stale);
}

pub(super) fn value_of_a_later_provider_is_stale(maker: &dyn Maker) {
    let plugins = || [("a", Plugin::new("key-1")), ("b", Plugin::new("key-1"))];
    let options = Options::default();
    let ab = file::secrets_with(&[file::kms("a"), file::kms("b"), file::identity()]);
    let ba = file::secrets_with(&[file::kms("b"), file::kms("a")]);
    let mut h = Harness::new(maker, &ba, &options, plugins());
    let by_b = h.write("/k", b"plaintext");
    let mut h = Harness::seeded(maker, &ab, &options, plugins(), 2);
    let by_a = h.write("/k", b"plaintext");
    assert_eq!(h.read("/k", &by_a), read(b"plaintext", false, A));
    assert_eq!(h.read("/k", &by_b), read(b"plaintext", true, B));
    assert_eq!(h.read("/k", b"plaintext"), read(b"plaintext", true, ""));
}

pub(super) fn state_of_a_value_says_how_a_write_would_differ(maker: &dyn Maker) {
    use ValueState::{Fresh, OtherSource, Stale};
    let keys = |keys: &[(&str, u8)]| file::secrets_with(&[provider("aesgcm", keys)]);
    let kms = file::secrets();
    let both = file::secrets_with(&[file::kms("b"), file::kms("a")]);
    let (old, two) = (keys(&[("old", 1)]), keys(&[("new", 2), ("old", 1)]));
    let counter = Options::default;
    let table = [
        ("the same", (&*kms, counter(), "key-1"), (&*kms, counter(), "key-1"), Fresh),
        ("a seed", (&*kms, seeds(), "key-1"), (&*kms, counter(), "key-1"), OtherSource),
        ("no seed", (&*kms, counter(), "key-1"), (&*kms, seeds(), "key-1"), OtherSource),
        ("another key ID", (&*kms, counter(), "key-1"), (&*kms, counter(), "key-2"), Stale),
        ("a seed of another key ID", (&*kms, seeds(), "key-1"), (&*kms, counter(), "key-2"), Stale),
        ("a later provider", (&*kms, counter(), "key-1"), (&*both, counter(), "key-1"), Stale),
        ("its seed", (&*kms, seeds(), "key-1"), (&*both, counter(), "key-1"), Stale),
        ("the only key", (&*two, counter(), "key-1"), (&*two, counter(), "key-1"), Fresh),
        ("the second key", (&*old, counter(), "key-1"), (&*two, counter(), "key-1"), Stale),
    ];
    for (desc, writes, reads, expected) in table {
        let harness = |(file, options, key_id): (&str, Options, &str), seed| {
            let plugins = [("a", Plugin::new(key_id)), ("b", Plugin::new(key_id))];
            Harness::seeded(maker, file, &options, plugins, seed)
        };
        let stored = harness(writes, 1).write("/k", b"plaintext");
        let read = harness(reads, 2).read("/k", &stored);
        assert_eq!(read.state, Some(expected), "{desc}");
        assert_eq!(read.stale, expected != Fresh, "{desc}: as upstream means it");
    }
}

pub(super) fn identity_first_writes_plaintext_and_reads_encrypted_values(maker: &dyn Maker) {
    let plugins = [("a", Plugin::new("key-1"))];
    let encrypted = Harness::primed(maker).write("/k", b"plaintext");
    let file = file::secrets_with(&[file::identity(), file::kms("a")]);
    let mut h = Harness::new(maker, &file, &Options::default(), plugins);
    assert_eq!(h.write("/k", b"plaintext"), b"plaintext");
    assert_eq!(h.read("/k", b"plaintext"), read(b"plaintext", false, ""));
    assert_eq!(
        h.read("/k", &encrypted),
        read(b"plaintext", true, A),
        "identity's refusal does not stop the search"
    );
}

pub(super) fn identity_drops_its_error_in_a_list(maker: &dyn Maker) {
    let lists = [
        ("last", vec![file::kms("a"), file::identity()]),
        ("first", vec![file::identity(), file::kms("a")]),
        ("alone in a rule", vec![file::identity()]),
    ];
    for (desc, list) in lists {
        let file = file::secrets_with(&list);
        let mut h = Harness::new(maker, &file, &Options::default(), [("a", Plugin::new("key-1"))]);
        let error = h.try_read("secrets", "/k", b"k8s:enc:kms:v2:other:x").unwrap_err();
        assert_eq!(error.kind, ErrorKind::NoMatchingPrefix, "{desc}");
        assert_eq!(error.message, "no matching prefix found", "{desc}");
        let error = h.try_read("secrets", "/k", b"k8s:enc:kms:v2:a:\x0f").unwrap_err();
        let is_of_kms = error.kind == ErrorKind::Malformed && !error.message.contains("identity");
        assert_eq!(is_of_kms, list.len() > 1, "{desc}: {error}");
    }
}

pub(super) fn plaintext_without_identity_has_no_matching_prefix(maker: &dyn Maker) {
    let mut h = Harness::primed(maker);
    for stored in
        [&b"plaintext"[..], b"", b"k8s:enc:kms:v2:a", b"k8s:enc:kms:v2:ab:", b"K8S:enc:kms:v2:a:"]
    {
        let error = h.try_read("secrets", "/k", stored).unwrap_err();
        assert_eq!(error.message, "no matching prefix found");
        assert_eq!(error.kind, ErrorKind::NoMatchingPrefix);
        assert_eq!(error.grpc_code, None);
    }
}

pub(super) fn resource_without_a_rule_is_plaintext(maker: &dyn Maker) {
    let mut h = Harness::primed(maker);
    assert_eq!(h.try_write("pods", "/k", b"plaintext").unwrap(), b"plaintext");
    let got = h.try_read("pods", "/k", b"plaintext").unwrap();
    assert_eq!(got, read(b"plaintext", false, ""));
    let encrypted = h.write("/k", b"plaintext");
    let error = h.try_read("pods", "/k", &encrypted).unwrap_err();
    assert_eq!(error.kind, ErrorKind::EncryptedData);
    assert!(
        error.message.starts_with("identity transformer tried to read encrypted data"),
        "{error}"
    );
}

pub(super) fn most_exact_rule_serves_a_resource(maker: &dyn Maker) {
    let names = ["a", "b", "c", "d", "e"];
    let resources = ["secrets", "deployments.apps", "*.apps", "*.", "*.*"];
    let rules: Vec<_> = names
        .iter()
        .zip(resources)
        .map(|(name, resource)| file::rule(&[resource], &[file::kms(name)]))
        .collect();
    let plugins = names.map(|name| (name, Plugin::new(name)));
    let mut h = Harness::new(maker, &file::config(&rules), &Options::default(), plugins);
    let table = [
        ("exact, core group", "secrets", "a"),
        ("exact, other group", "deployments.apps", "b"),
        ("any of the group", "replicasets.apps", "c"),
        ("any of the core group", "configmaps", "d"),
        ("the same name in another group", "secrets.example.com", "e"),
        ("anything", "events.events.k8s.io", "e"),
    ];
    for (desc, resource, provider) in table {
        let op = h.begin_write(resource, "/k", b"plaintext");
        let encrypted = h.written(op).expect("at once").expect(desc);
        assert_eq!(*encrypted.transformer_prefix, format!("k8s:enc:kms:v2:{provider}:"), "{desc}");
        assert!(!h.try_read(resource, "/k", &encrypted.stored).expect(desc).stale, "{desc}");
    }
}

pub(super) fn same_resource_in_two_rules_appends_providers(maker: &dyn Maker) {
    let rules = [
        file::rule(&["secrets"], &[file::kms("a")]),
        file::rule(&["secrets"], &[file::kms("b"), file::identity()]),
    ];
    let plugins = || [("a", Plugin::new("key-a")), ("b", Plugin::new("key-b"))];
    let mut h = Harness::new(maker, &file::config(&rules), &Options::default(), plugins());
    let by_a = h.write("/k", b"plaintext");
    assert_eq!(h.read("/k", &by_a), read(b"plaintext", false, A));
    let only_b = file::secrets_with(&[file::kms("b")]);
    let by_b = Harness::seeded(maker, &only_b, &Options::default(), plugins(), 2).write("/k", b"x");
    assert_eq!(h.read("/k", &by_b), read(b"x", true, B));
    assert_eq!(h.read("/k", b"x"), read(b"x", true, ""));
}

pub(super) fn failing_provider_does_not_stop_the_search(maker: &dyn Maker) {
    let encrypted = Harness::primed(maker).write("/k", b"plaintext");
    let file = file::secrets_with(&[file::kms("a"), file::identity()]);
    let mut h =
        Harness::seeded(maker, &file, &Options::default(), [("a", Plugin::new("key-1"))], 2);
    h.plugin("a").down();
    let error = h.try_read("secrets", "/k", &encrypted).unwrap_err();
    assert_eq!(error.kind, ErrorKind::Kms);
    assert_eq!(error.grpc_code, Some(14));
    assert_eq!(
        error.message,
        "failed to decrypt DEK, error: rpc error: code = Unavailable desc = connection refused",
        "identity was tried too, and its error dropped"
    );
}

pub(super) fn recorded_ciphertexts_are_readable(maker: &dyn Maker) {
    for vector in crate::recorded::all() {
        let mut plugin = Plugin::new("key-1");
        plugin.foreign.insert(b"wrapped".to_vec(), vector.source.clone());
        let mut h = Harness::new(maker, &file::secrets(), &Options::default(), [("a", plugin)]);
        let object = EncryptedObject {
            encrypted_data: vector.stored.clone(),
            key_id: "key-1".into(),
            encrypted_dek_source: b"wrapped".to_vec(),
            annotations: [].into(),
            encrypted_dek_source_type: vector.source_type.number() as i32,
        };
        let key = String::from_utf8(vector.aad.clone()).expect("text");
        let got = h.read(&key, &object.stored("a"));
        assert_eq!(got.plaintext, vector.plaintext, "{}", vector.name);
        let mut altered = object;
        altered.encrypted_data[50 % vector.stored.len()] ^= 0x10;
        let error = h.try_read("secrets", &key, &altered.stored("a")).unwrap_err();
        assert_eq!(error.kind, ErrorKind::DecryptFailed, "{}", vector.name);
    }
}
