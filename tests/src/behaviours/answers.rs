//! Which plugin answers are accepted and which are rejected.

use dekker_core::ErrorKind;
use dekker_core::engine::Options;
use dekker_core::engine::event::{EncryptResponse, StatusResponse};
use dekker_core::provider::kms::v2::key_state::Coast;

use crate::face::Maker;
use crate::object::{EncryptedObject, Stored, sha256_text};
use crate::plugin::{Plugin, Reply};
use crate::sim::{Harness, file};

fn with(plugin: Plugin, maker: &dyn Maker) -> Harness {
    Harness::new(maker, &file::secrets(), &Options::default(), [("a", plugin)])
}

pub(super) fn invalid_status_has_upstreams_error_text(maker: &dyn Maker) {
    let long = "k".repeat(1025);
    let long_fault = format!(
        "got invalid KMSv2 KeyID hash \"{}\": keyID is 1025 bytes, which exceeds the max size of 1024",
        sha256_text(&long)
    );
    let table = [
        ("healthz", ("v2", "tired", "key-1"), "got unexpected healthz status: tired"),
        ("healthz, empty", ("v2", "", "key-1"), "got unexpected healthz status: "),
        ("healthz, almost", ("v2", "OK", "key-1"), "got unexpected healthz status: OK"),
        ("version", ("v3", "ok", "key-1"), "expected KMSv2 API version v2, got v3"),
        ("version, empty", ("", "ok", "key-1"), "expected KMSv2 API version v2, got "),
        ("key ID, empty", ("v2", "ok", ""), "got invalid KMSv2 KeyID hash \"\": keyID is empty"),
        ("key ID, too long", ("v2", "ok", &long), &long_fault),
        (
            "all three",
            ("v1", "bad", ""),
            "[got unexpected healthz status: bad, expected KMSv2 API version v2, got v1, got invalid KMSv2 KeyID hash \"\": keyID is empty]",
        ),
    ];
    for (desc, (version, healthz, key_id), fault) in table {
        let mut plugin = Plugin::new(key_id);
        plugin.version = version.into();
        plugin.healthz = healthz.into();
        let mut h = with(plugin, maker);
        let expected = format!("kmsv2 Provider a is not healthy, error: {fault}");
        assert_eq!(h.fault(), Some(format!("kms-provider-0: {expected}")), "{desc}");
        let error = h.try_write("secrets", "/k", b"x").unwrap_err();
        assert_eq!(error.kind, ErrorKind::NotReady, "{desc}");
        assert_eq!(h.plugin("a").calls.encrypt, 0, "{desc}: no DEK is made");
    }
}

pub(super) fn longest_key_id_is_accepted(maker: &dyn Maker) {
    let mut h = with(Plugin::new(&"k".repeat(1024)), maker);
    let value = h.write("/k", b"x");
    assert!(!h.read("/k", &value).stale);
}

/// Upstream's error for a version that differs from the first one.
fn changed(from: &str, to: &str) -> String {
    format!(
        "KMSv2 API version should not change after the initial status response version {from}, got {to}"
    )
}

pub(super) fn upgraded_plugin_is_accepted_with_a_new_dek(maker: &dyn Maker) {
    let mut plugin = Plugin::new("key-1");
    plugin.version = "v2beta1".into();
    let mut h = with(plugin, maker);
    assert_eq!(h.fault(), None, "v2beta1 is fine");
    let old = h.write("/k", b"x");
    h.plugin("a").version = "v2".into();
    h.advance_secs(60);
    assert_eq!(h.fault(), None);
    let new = h.write("/k", b"x");
    let dek = |value: &[u8]| EncryptedObject::of("a", value).encrypted_dek_source;
    assert_ne!(dek(&new), dek(&old), "the current plugin encrypted the DEK");
    assert_eq!(h.plugin("a").calls.encrypt, 2);
    assert!(!h.read("/k", &old).stale, "the key ID is the same");
    h.advance_secs(600);
    assert_eq!(h.plugin("a").calls.encrypt, 2, "once");
    h.write("/k", b"x");
    // The new DEK must still be proved: if the upgraded plugin cannot make one, the old DEK stays in use until it expires.
    let mut plugin = Plugin::new("key-1");
    plugin.version = "v2beta1".into();
    let mut h = with(plugin, maker);
    let old = h.write("/k", b"x");
    h.plugin("a").version = "v2".into();
    h.plugin("a").on_encrypt(|_| Reply::Fail(13, "no"));
    h.advance_secs(180);
    assert_eq!(dek(&h.write("/k", b"x")), dek(&old));
    assert!(h.fault().is_some());
    h.plugin("a").up();
    h.advance_secs(10);
    assert_ne!(dek(&h.write("/k", b"x")), dek(&old));
}

pub(super) fn downgraded_plugin_is_an_error_once(maker: &dyn Maker) {
    let mut h = with(Plugin::new("key-1"), maker);
    h.plugin("a").version = "v2beta1".into();
    h.advance_secs(60);
    let fault = h.fault().expect("unhealthy");
    assert!(fault.ends_with(&changed("v2", "v2beta1")), "{fault}");
    assert_eq!(h.plugin("a").calls.encrypt, 1);
    h.write("/k", b"x");
    h.advance_secs(10);
    assert_eq!(h.fault(), None);
    assert_eq!(h.plugin("a").calls.encrypt, 2, "a new DEK");
    // If two plugins behind one socket answer in turn, writes continue.
    for _ in 0..20 {
        for version in ["v2", "v2beta1"] {
            h.plugin("a").version = version.into();
            h.advance_secs(60);
            h.write("/k", b"x");
        }
    }
}

pub(super) fn version_change_is_an_error_if_coasting_as_upstream(maker: &dyn Maker) {
    let mut plugin = Plugin::new("key-1");
    plugin.version = "v2beta1".into();
    let options = Options { coast: Coast::Upstream, ..Options::default() };
    let mut h = Harness::new(maker, &file::secrets(), &options, [("a", plugin)]);
    h.plugin("a").version = "v2".into();
    h.advance_secs(60);
    let fault = h.fault().expect("unhealthy");
    assert!(fault.ends_with(&changed("v2beta1", "v2")), "{fault}");
    h.advance_secs(600);
    assert!(h.fault().is_some(), "for as long as the process lives");
    h.plugin("a").version = "v2beta1".into();
    h.advance_secs(10);
    assert_eq!(h.fault(), None);
}

pub(super) fn invalid_encrypt_answer_is_never_used(maker: &dyn Maker) {
    type Change = fn(&mut EncryptResponse);
    let table: [(&str, Change, &str); 8] = [
        ("no key ID", |a| a.key_id.clear(), "failed to validate key id: keyID is empty"),
        (
            "a key ID too long",
            |a| a.key_id = "k".repeat(1025),
            "failed to validate key id: keyID is 1025 bytes, which exceeds the max size of 1024",
        ),
        (
            "no ciphertext",
            |a| a.ciphertext.clear(),
            "failed to validate encrypted DEK source: encrypted DEK source is empty",
        ),
        (
            "a ciphertext too long",
            |a| a.ciphertext = vec![1; 1025],
            "failed to validate encrypted DEK source: encrypted DEK source is 1025 bytes, which exceeds the max size of 1024",
        ),
        (
            "annotations too long",
            |a| drop(a.annotations.insert("a.b".into(), vec![1; 32_766])),
            "failed to validate annotations: total size of annotations is 32769, which exceeds the max size of 32768",
        ),
        (
            "an annotation key without a dot",
            |a| drop(a.annotations.insert("plain".into(), vec![])),
            "failed to validate annotations: annotations: Invalid value: \"plain\"",
        ),
        (
            "an annotation key in capitals",
            |a| drop(a.annotations.insert("A.b".into(), vec![])),
            "failed to validate annotations: annotations: Invalid value: \"A.b\"",
        ),
        ("another key ID", |a| a.key_id = "key-9".into(), "<nil>"),
    ];
    for (desc, change, fault) in table {
        let mut plugin = Plugin::new("key-1");
        plugin.on_encrypt(move |mut answer| {
            change(&mut answer);
            Reply::Answer(answer)
        });
        let mut h = with(plugin, maker);
        let shown = h.fault().expect("unhealthy");
        assert!(
            shown.contains(&format!("errState=got unexpected nil transformer, errGen={fault}")),
            "{desc}: {shown}"
        );
        assert!(shown.ends_with("expirationTimestamp=0001-01-01T00:00:00Z"), "{desc}: {shown}");
        assert!(h.try_write("secrets", "/k", b"x").is_err(), "{desc}");
        assert_eq!(h.plugin("a").calls.decrypt, 0, "{desc}: no Decrypt call is made");
        h.plugin("a").up();
        h.advance_secs(10);
        h.write("/k", b"x");
    }
}

pub(super) fn garbage_ciphertext_is_never_used(maker: &dyn Maker) {
    let mut plugin = Plugin::new("key-1");
    plugin.on_encrypt(|mut answer| {
        answer.ciphertext = b"garbage".to_vec();
        Reply::Answer(answer)
    });
    let mut h = with(plugin, maker);
    assert!(h.fault().expect("unhealthy").contains("the plugin could not decrypt the new DEK"));
    assert_eq!(h.try_write("secrets", "/k", b"x").unwrap_err().kind, ErrorKind::NotReady);
}

pub(super) fn texts_of_the_plugin_are_truncated_and_sanitized(maker: &dyn Maker) {
    let mut plugin = Plugin::new("key-1");
    plugin.on_status(|answer: StatusResponse| {
        Reply::Answer(StatusResponse {
            healthz: format!("\u{1b}[31m\n{}", "x".repeat(100_000)),
            ..answer
        })
    });
    let mut h = with(plugin, maker);
    let fault = h.fault().expect("unhealthy");
    assert!(fault.len() < 1300 && !fault.contains(char::is_control), "{} bytes", fault.len());
}

pub(super) fn invalid_key_ids_are_counted(maker: &dyn Maker) {
    let mut h = with(Plugin::new(""), maker);
    h.advance_secs(10);
    h.plugin("a").key_id = "k".repeat(2000);
    h.advance_secs(10);
    let name = "apiserver_envelope_encryption_invalid_key_id_from_status_total";
    assert_eq!(h.metric(name, &[("provider_name", "a"), ("error", "empty")]), 2.0);
    assert_eq!(h.metric(name, &[("provider_name", "a"), ("error", "too_long")]), 1.0);
}
