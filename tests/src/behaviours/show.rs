//! What people see: status, metrics, logs and errors. They never contain a secret, or a key ID in the clear.

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD, URL_SAFE};
use dekker_core::engine::Options;
use serde_json::{Value, json};

use super::writing::seeds;
use crate::face::Maker;
use crate::object::sha256_text;
use crate::plugin::{Plugin, Reply};
use crate::sim::{Harness, file};

pub(super) fn status_shows_each_provider(maker: &dyn Maker) {
    let options = Options { reload: true, ..Options::default() };
    let mut h = Harness::new(maker, &file::secrets(), &options, [("a", Plugin::new("key-1"))]);
    h.advance_secs(61);
    let status = h.status();
    let expected = json!({
        "time": "2026-01-02T03:05:06Z",
        "configHash": sha256_text(file::secrets()),
        "automaticReload": true,
        "candidateConfigHash": null,
        "lastReload": null,
        "parkedOperations": 0,
        "kmsCallsInFlight": 0,
        "kmsProviders": [{
            "name": "a",
            "apiVersion": "v2",
            "endpoint": "unix:///run/a.sock",
            "timeoutMilliseconds": 3000,
            "inUse": true,
            "healthy": true,
            "writeDek": {
                "keyIdHash": sha256_text("key-1"),
                "sourceType": "AES_GCM_KEY",
                "ageSeconds": 61,
                "expiry": "2026-01-02T03:08:05Z",
                "expired": false,
            },
            "lastStatus": {"time": "2026-01-02T03:05:05Z", "error": null},
            "nextStatus": "2026-01-02T03:06:05Z",
            "dekCacheSize": 0,
        }],
    });
    assert_eq!(status, expected);
    h.plugin("a").down();
    h.advance_secs(300);
    let provider = h.status()["kmsProviders"][0].take();
    assert_eq!(provider["healthy"], false);
    assert_eq!(provider["writeDek"]["expired"], true);
    assert_eq!(
        provider["lastStatus"]["error"],
        "rpc error: code = Unavailable desc = connection refused"
    );
}

pub(super) fn status_before_the_first_answer(maker: &dyn Maker) {
    let mut plugin = Plugin::new("key-1");
    plugin.hang();
    let mut h = Harness::new(maker, &file::secrets(), &Options::default(), [("a", plugin)]);
    let status = h.status();
    let provider = &status["kmsProviders"][0];
    assert_eq!(status["kmsCallsInFlight"], 1);
    for field in ["healthy", "writeDek", "lastStatus", "nextStatus"] {
        assert_eq!(provider[field], Value::Null, "{field}");
    }
}

pub(super) fn operations_are_counted_as_upstream_counts_them(maker: &dyn Maker) {
    let options = Options { apiserver_id: "me".into(), ..Options::default() };
    let file = file::config(&[file::rule(
        &["secrets", "deployments.apps"],
        &[file::kms("a"), file::identity()],
    )]);
    let mut h = Harness::new(maker, &file, &options, [("a", Plugin::new("key-1"))]);
    let value = h.write("/k", b"x");
    h.write("/k", b"x");
    h.read("/k", &value);
    h.read("/k", b"plain");
    h.try_write("deployments.apps", "/k", b"x").expect("a write");
    h.try_read("secrets", "/other", &value).expect_err("wrong key");
    h.try_read("secrets", "/k", b"k8s:enc:other").expect_err("no prefix");
    let operations = "apiserver_storage_transformation_operations_total";
    let table = [
        ("secrets", "to_storage", "k8s:enc:kms:v2:a:", "OK", 2.0),
        ("secrets", "from_storage", "k8s:enc:kms:v2:a:", "OK", 1.0),
        ("secrets", "from_storage", "identity", "OK", 1.0),
        ("deployments.apps", "to_storage", "k8s:enc:kms:v2:a:", "OK", 1.0),
        ("secrets", "from_storage", "k8s:enc:kms:v2:a:", "unknown-non-grpc", 1.0),
        ("secrets", "from_storage", "unknown", "unknown-non-grpc", 1.0),
    ];
    for (resource, kind, prefix, status, count) in table {
        let labels = [
            ("resource", resource),
            ("transformation_type", kind),
            ("transformer_prefix", prefix),
            ("status", status),
        ];
        assert_eq!(h.metric(operations, &labels), count, "{labels:?}");
    }
    let hash = sha256_text("key-1");
    let used =
        [("key_id_hash", &*hash), ("provider_name", "a"), ("transformation_type", "to_storage")];
    assert_eq!(h.metric("apiserver_envelope_encryption_key_id_hash_total", &used), 3.0);
    let me = [("apiserver_id_hash", &*sha256_text("me"))];
    let seconds = h.now.as_secs_f64();
    assert_eq!(
        h.metric("apiserver_envelope_encryption_key_id_hash_status_last_timestamp_seconds", &me),
        seconds
    );
    h.plugin("a").down();
    let foreign =
        Harness::seeded(maker, &file, &options, [("a", Plugin::new("key-1"))], 2).write("/k", b"x");
    h.try_read("secrets", "/k", &foreign).expect_err("down");
    assert_eq!(h.metric(operations, &[("status", "Unavailable")]), 1.0);
    assert_eq!(h.metric("apiserver_storage_data_key_generation_failures_total", &[]), 0.0);
}

pub(super) fn series_are_bounded(maker: &dyn Maker) {
    let file = file::config(&[
        file::rule(&["secrets"], &[file::kms("a")]),
        file::rule(&["*.*"], &[file::identity()]),
    ]);
    let plugin = Plugin::new("key-1");
    let mut h = Harness::new(maker, &file, &Options::default(), [("a", plugin)]);
    for n in 0..1100 {
        h.try_write(&format!("resource{n}"), "/k", b"x").expect("plaintext");
    }
    for n in 0..120 {
        h.plugin("a").key_id = format!("key-{n}");
        h.advance_secs(60);
        h.write("/k", b"x");
    }
    for (name, samples) in h.face.metrics() {
        assert!(samples.len() <= 1000, "{name}: {}", samples.len());
        if name.contains("key_id_hash") {
            assert_eq!(samples.len(), 100, "{name}");
        }
    }
    // The series of 900 resources have the resource's name.
    let operations = "apiserver_storage_transformation_operations_total";
    let all = h.metric(operations, &[("transformer_prefix", "")]);
    let other = h.metric(operations, &[("transformer_prefix", ""), ("resource", "other")]);
    assert_eq!((all, other), (1100.0, 200.0));
}

pub(super) fn no_text_holds_a_key_id_or_a_secret(maker: &dyn Maker) {
    let key_ids = ["needle-key-id-1", "needle-key-id-2", "needle-key-id-3"];
    let plaintext = b"a plaintext to be found nowhere";
    for options in [Options::default(), seeds()] {
        let options = Options { reload: true, ..options };
        let mut h =
            Harness::new(maker, &file::secrets(), &options, [("a", Plugin::new(key_ids[0]))]);
        let value = h.write("/k", plaintext);
        h.read("/k", &value);
        h.try_read("secrets", "/other", &value).unwrap_err();
        h.plugin("a").key_id = key_ids[1].into();
        h.advance_secs(60);
        h.plugin("a").key_id = key_ids[2].into();
        h.plugin("a").on_encrypt(move |mut answer| {
            answer.key_id = key_ids[1].into();
            Reply::Answer(answer)
        });
        h.advance_secs(60);
        h.health();
        h.plugin("a").up();
        h.plugin("a").on_decrypt(|mut dek| {
            dek[0] ^= 1;
            Reply::Answer(dek)
        });
        h.advance_secs(10);
        h.health();
        h.advance_secs(300);
        h.try_write("secrets", "/k", plaintext).unwrap_err();
        let mut long = Plugin::new(&key_ids[0].repeat(100));
        std::mem::swap(h.plugin("a"), &mut long);
        h.advance_secs(10);
        h.health();
        h.plugin("a").down();
        let foreign =
            Harness::seeded(maker, &file::secrets(), &options, [("a", Plugin::new(key_ids[0]))], 2);
        let foreign = { foreign }.write("/k", plaintext);
        h.try_read("secrets", "/k", &foreign).unwrap_err();
        h.reload("nonsense").unwrap_err();
        h.reload(&file::secrets_with(&[file::kms_at("a", "unix:///run/elsewhere.sock", "1s")]))
            .unwrap();
        h.advance_secs(30);
        h.status();
        h.metric("any", &[]);
        h.texts.push(maker.inspect(&value).expect("a KMS v2 value"));
        let texts = h.texts.join("\n");
        assert!(texts.contains(&sha256_text(key_ids[2])), "key IDs are shown as their hashes");
        for key_id in key_ids {
            assert!(!texts.contains(key_id), "{key_id}");
        }
        let deks: Vec<_> = h.plugins["a"].seen.iter().chain(&long.seen).cloned().collect();
        assert!(deks.len() > 2);
        for secret in deks.iter().map(Vec::as_slice).chain([&plaintext[..]]) {
            for form in forms(secret) {
                assert!(!texts.contains(&form), "{form}");
            }
        }
    }
}

pub(super) fn a_key_id_in_a_plugins_text_is_shown_as_its_hash(maker: &dyn Maker) {
    let options = Options { reload: true, ..Options::default() };
    let plugin = || Plugin::new("needle-key-id");
    let foreign =
        Harness::seeded(maker, &file::secrets(), &options, [("a", plugin())], 2).write("/k", b"x");
    let mut h = Harness::new(maker, &file::secrets(), &options, [("a", plugin())]);
    h.plugin("a").on_decrypt(|_| Reply::Fail(5, "no key needle-key-id here"));
    let error = h.try_read("secrets", "/k", &foreign).unwrap_err();
    assert!(error.message.contains(&sha256_text("needle-key-id")), "{error}");
    h.plugin("a").healthz = "needle-key-id is gone".into();
    h.advance_secs(60);
    h.plugin("a").on_status(|_| Reply::Fail(13, "needle-key-id is broken"));
    h.advance_secs(10);
    h.plugin("a").up();
    h.plugin("a").healthz = "ok".into();
    h.plugin("a").key_id = "needle-key-id-2".into();
    h.plugin("a").on_encrypt(|_| Reply::Fail(13, "needle-key-id-2 cannot encrypt"));
    h.advance_secs(10);
    h.plugin("a").up();
    h.plugin("a").on_decrypt(|_| Reply::Fail(13, "needle-key-id-2 cannot decrypt"));
    h.advance_secs(10);
    h.status();
    let texts = h.texts.join("\n");
    for said in ["is gone", "is broken", "cannot encrypt", "cannot decrypt"] {
        assert!(texts.contains(said), "{said}");
    }
    assert!(!texts.contains("needle-key-id"), "{texts}");
}

/// The forms in which a secret may appear: as text, in hex, in base64, or as Rust prints a list.
fn forms(secret: &[u8]) -> Vec<String> {
    let hex: String = secret.iter().map(|byte| format!("{byte:02x}")).collect();
    vec![
        String::from_utf8_lossy(secret).into_owned(),
        hex.to_uppercase(),
        hex,
        STANDARD.encode(secret),
        STANDARD_NO_PAD.encode(&secret[..secret.len() / 3 * 3]),
        URL_SAFE.encode(secret),
        format!("{secret:?}"),
    ]
}

pub(super) fn inspection_needs_no_key(maker: &dyn Maker) {
    let mut plugin = Plugin::new("key-1");
    plugin.annotations = [("a.example.com".into(), vec![1, 2, 3])].into();
    let mut h = Harness::new(maker, &file::secrets(), &seeds(), [("a", plugin)]);
    let value = h.write("/k", b"plaintext");
    let seen: Value =
        serde_json::from_str(&maker.inspect(&value).expect("a KMS v2 value")).expect("JSON");
    assert_eq!(seen["provider"], "kms");
    assert_eq!(seen["apiVersion"], "v2");
    assert_eq!(seen["providerName"], "a");
    assert_eq!(seen["keyIdHash"], json!(sha256_text("key-1")));
    assert_eq!(seen["encryptedDEKSourceType"], "HKDF_SHA256_XNONCE_AES_GCM_SEED");
    assert_eq!(seen["annotations"], json!([{"name": "a.example.com", "size": 3}]));
    assert_eq!((&seen["size"], &seen["plaintextSize"]), (&json!(value.len()), &json!(9)));
    let mut end = 0;
    for part in seen["layout"].as_array().expect("a list") {
        assert_eq!(part["offset"], end, "no gaps");
        end += part["length"].as_u64().expect("a number");
    }
    assert_eq!(end, value.len() as u64);
    assert!(maker.inspect(&value[..40]).is_err());
}

pub(super) fn inspection_of_a_damaged_value_reports_what_is_known(maker: &dyn Maker) {
    let head = |start: &str, len: usize| [start.as_bytes(), &vec![7_u8; len]].concat();
    let table = [
        ("nothing", vec![], "is empty", json!({"size": 0})),
        (
            "a prefix that is cut short",
            head("k8s:enc:secretb", 0),
            "within its prefix, after k8s:enc:secretb",
            json!({"provider": "secretbox", "size": 15, "missingAtLeast": 48}),
        ),
        (
            "a name that is cut short",
            head("k8s:enc:kms:v2:1_sec", 0),
            "only by \"1_sec\"",
            json!({"provider": "kms", "apiVersion": "v2", "size": 20, "missingAtLeast": 37}),
        ),
        (
            "a nonce that is cut short",
            head("k8s:enc:aesgcm:v1:key1:", 5),
            "5 bytes follow k8s:enc:aesgcm:v1:key1:, expected at least 28",
            json!({"provider": "aesgcm", "keyName": "key1", "size": 28, "missingAtLeast": 23}),
        ),
        (
            "no whole blocks",
            head("k8s:enc:aescbc:v1:key1:", 47),
            "the value is cut short or damaged: 31 bytes",
            json!({"provider": "aescbc", "keyName": "key1", "size": 70, "missingAtLeast": 1}),
        ),
        (
            "an envelope that is cut short",
            head("k8s:enc:kms:v2:a:\n\u{64}", 60),
            // The offset counts from the start of the value.
            "a field is cut short at byte 19",
            json!({"provider": "kms", "apiVersion": "v2", "providerName": "a", "size": 79, "missingAtLeast": 40}),
        ),
        (
            "a prefix with a typing error",
            head("k8s:enc:aes-gcm:v1:key1:", 40),
            "did you mean aesgcm?",
            json!({"size": 64}),
        ),
    ];
    for (desc, stored, text, known) in table {
        let error = maker.inspect(&stored).expect_err(desc);
        let mut error: Value = serde_json::from_str(&error).expect("JSON");
        let message = error["error"].take();
        assert!(message.as_str().is_some_and(|seen| seen.contains(text)), "{desc}: {message}");
        error.as_object_mut().expect("an object").remove("error");
        assert_eq!(error, known, "{desc}");
    }
    // The error of a read counts in the same way.
    let mut h =
        Harness::new(maker, &file::secrets(), &Options::default(), [("a", Plugin::new("key-1"))]);
    let cut = head("k8s:enc:kms:v2:a:\n\u{64}", 60);
    let error = h.try_read("secrets", "/k", &cut).unwrap_err();
    assert_eq!(error.message, "not an EncryptedObject: a field is cut short at byte 19");
}

pub(super) fn all_errors_of_a_file_are_reported_together(maker: &dyn Maker) {
    let file = file::secrets_with(&[file::kms("a:b"), file::kms_at("c", "http://x", "0s")]);
    let outcome = maker.create(file.as_bytes(), &Options::default(), 1, crate::sim::START);
    let faults = outcome.err().expect("faulty");
    assert_eq!(faults.len(), 3, "{faults:?}");
    assert!(faults.iter().all(|fault| fault.is_fault && fault.position.is_some()));
    let checked = maker.check_config(file.as_bytes(), false);
    let checked: Vec<_> = checked.into_iter().filter(|finding| finding.is_fault).collect();
    assert_eq!(checked, faults, "the tool reports the same");
}
