//! The engine's metrics: exactly the series that upstream has after the same operations.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use dekker_core::engine::Options;

use crate::face::Maker;
use crate::object::sha256_text;
use crate::plugin::{Plugin, Reply};
use crate::sim::{Harness, START, file};

const OPERATIONS: &str = "apiserver_storage_transformation_operations_total";
const CACHE_SIZE: &str = "apiserver_envelope_encryption_dek_source_cache_size";
const FILL: &str = "apiserver_envelope_encryption_dek_cache_fill_percent";
const ARRIVALS: &str = "apiserver_envelope_encryption_dek_cache_inter_arrival_time_seconds";
const INVALID: &str = "apiserver_envelope_encryption_invalid_key_id_from_status_total";
const USES: &str = "apiserver_envelope_encryption_key_id_hash_total";
const USED_AT: &str = "apiserver_envelope_encryption_key_id_hash_last_timestamp_seconds";
const STATUS_AT: &str = "apiserver_envelope_encryption_key_id_hash_status_last_timestamp_seconds";

fn local(kind: &str, keys: &[(&str, u8)]) -> String {
    let keys: Vec<_> = keys
        .iter()
        .map(|(name, byte)| format!("{{name: {name}, secret: {}}}", STANDARD.encode([*byte; 32])))
        .collect();
    format!("{kind}: {{keys: [{}]}}", keys.join(", "))
}

/// Returns every sample of a metric: its label values, joined by spaces, and its value.
fn samples(h: &mut Harness, name: &str) -> BTreeMap<String, f64> {
    let metrics = h.face.metrics();
    let samples = metrics.get(name).into_iter().flatten();
    samples
        .map(|(labels, value)| {
            let values: Vec<_> = labels.iter().map(|(_, value)| value.as_str()).collect();
            (values.join(" "), *value)
        })
        .collect()
}

fn table(rows: &[(&str, f64)]) -> BTreeMap<String, f64> {
    rows.iter().map(|(labels, value)| ((*labels).to_owned(), *value)).collect()
}

/// Upstream nests transformers by prefix (storage/value/transformer.go), and each level counts.
pub(super) fn local_values_count_for_the_provider_and_for_each_key(maker: &dyn Maker) {
    for kind in ["aesgcm", "aescbc", "secretbox"] {
        let secrets = |keys: &[(&str, u8)]| {
            let file = file::secrets_with(&[local(kind, keys), file::identity()]);
            Harness::new(maker, &file, &Options::default(), [])
        };
        let mut h = secrets(&[("new", 2), ("same", 3), ("same", 1)]);
        let own = h.write("/k", b"x");
        h.read("/k", &own);
        let old = secrets(&[("same", 1)]).write("/k", b"x");
        assert!(h.read("/k", &old).stale, "{kind}");
        let foreign = secrets(&[("new", 9)]).write("/k", b"x");
        h.try_read("secrets", "/k", &foreign).unwrap_err();
        let unknown = secrets(&[("gone", 1)]).write("/k", b"x");
        h.try_read("secrets", "/k", &unknown).unwrap_err();
        h.read("/k", b"plain");
        h.try_read("secrets", "/k", b"k8s:enc:other:x").unwrap_err();
        let row = |rest: &str| rest.replace("PROVIDER", &format!("k8s:enc:{kind}:v1:"));
        let expected = [
            ("secrets to_storage PROVIDER OK", 1.0),
            ("secrets to_storage new: OK", 1.0),
            ("secrets from_storage PROVIDER OK", 2.0),
            ("secrets from_storage new: OK", 1.0),
            ("secrets from_storage same: OK", 1.0),
            // The first of the two keys with this name.
            ("secrets from_storage same: unknown-non-grpc", 1.0),
            ("secrets from_storage new: unknown-non-grpc", 1.0),
            ("secrets from_storage PROVIDER unknown-non-grpc", 2.0),
            ("secrets from_storage identity OK", 1.0),
            // One value matches no key, and one no provider.
            ("secrets from_storage unknown unknown-non-grpc", 2.0),
        ];
        let expected: BTreeMap<_, _> = expected.map(|(rest, n)| (row(rest), n)).into();
        assert_eq!(samples(&mut h, OPERATIONS), expected, "{kind}");
    }
}

/// Resources without a rule never pass upstream's prefix transformers. An `identity` provider in a rule does, and has an empty prefix label when it
/// writes.
pub(super) fn resources_without_a_rule_are_not_counted(maker: &dyn Maker) {
    let file = file::secrets_with(&[file::identity()]);
    let mut h = Harness::new(maker, &file, &Options::default(), []);
    for resource in ["secrets", "pods"] {
        h.try_write(resource, "/k", b"x").expect("plaintext");
        h.try_read(resource, "/k", b"x").expect("plaintext");
        h.try_read(resource, "/k", b"k8s:enc:x").unwrap_err();
    }
    let expected = table(&[
        ("secrets to_storage  OK", 1.0),
        ("secrets from_storage identity OK", 1.0),
        ("secrets from_storage unknown unknown-non-grpc", 1.0),
    ]);
    assert_eq!(samples(&mut h, OPERATIONS), expected);
}

/// Upstream: getErrorCode in storage/value/metrics.go.
pub(super) fn failed_calls_are_counted_by_their_code(maker: &dyn Maker) {
    let codes = [
        (1, "Canceled"),
        (2, "Unknown"),
        (3, "InvalidArgument"),
        (4, "DeadlineExceeded"),
        (5, "NotFound"),
        (7, "PermissionDenied"),
        (8, "ResourceExhausted"),
        (13, "Internal"),
        (14, "Unavailable"),
        (16, "Unauthenticated"),
        (99, "Unknown"),
    ];
    let v1 =
        "kms: {apiVersion: v1, name: old, endpoint: 'unix:///run/old.sock', timeout: 3s}".into();
    let file = file::config(&[
        file::rule(&["secrets"], &[file::kms("a")]),
        file::rule(&["configmaps"], &[v1]),
    ]);
    let plugins = || [("a", Plugin::new("key-1")), ("old", Plugin::new("kek"))];
    let mut other = Harness::seeded(maker, &file, &Options::default(), plugins(), 2);
    let v2_value = other.write("/k", b"x");
    let v1_value = {
        let op = other.begin_write("configmaps", "/k", b"x");
        other.settle();
        other.written(op).expect("an answer").expect("a write")
    };
    for (code, name) in codes {
        let mut h = Harness::new(maker, &file, &Options::default(), plugins());
        for plugin in h.plugins.values_mut() {
            plugin.on_encrypt(move |_| Reply::Fail(code, "no"));
            plugin.on_decrypt(move |_| Reply::Fail(code, "no"));
        }
        h.try_read("secrets", "/k", &v2_value).unwrap_err();
        h.try_read("configmaps", "/k", &v1_value.stored).unwrap_err();
        h.try_write("configmaps", "/k", b"x").unwrap_err();
        let mut expected = String::new();
        for (labels, prefix) in [
            ("configmaps from_storage", "k8s:enc:kms:v1:old:"),
            ("configmaps to_storage", "k8s:enc:kms:v1:old:"),
            ("secrets from_storage", "k8s:enc:kms:v2:a:"),
        ] {
            let _ = writeln!(expected, "{labels} {prefix} {name} 1");
        }
        let mut counted = String::new();
        for (labels, value) in samples(&mut h, OPERATIONS) {
            let _ = writeln!(counted, "{labels} {value}");
        }
        assert_eq!(counted, expected, "{code}");
    }
}

pub(super) fn abandoned_operation_counts_as_canceled(maker: &dyn Maker) {
    let mut plugin = Plugin::new("key-1");
    plugin.hang();
    let mut h = Harness::new(maker, &file::secrets(), &Options::default(), [("a", plugin)]);
    let write = h.begin_write("secrets", "/k", b"x");
    h.cancel(write);
    let expected = table(&[("secrets to_storage k8s:enc:kms:v2:a: Canceled", 1.0)]);
    assert_eq!(samples(&mut h, OPERATIONS), expected);
}

pub(super) fn operation_that_a_reload_ends_counts_as_failed(maker: &dyn Maker) {
    let options = Options { reload: true, ..Options::default() };
    // The first probe takes 14 s for Status, 14 s for Encrypt and never ends Decrypt: longer than the grace period, which is twice the timeout.
    let mut plugin = Plugin::new("key-1");
    plugin.delay = Duration::from_secs(14);
    plugin.on_decrypt(|_| Reply::Never);
    let slow = file::secrets_with(&[file::kms_at("a", "unix:///run/a.sock", "15s")]);
    let mut h = Harness::new(maker, &slow, &options, [("a", plugin)]);
    let write = h.begin_write("secrets", "/k", b"x");
    let read = h.begin_read("secrets", "/k", b"plain");
    assert!(h.was_read(read).is_some_and(|read| read.is_err()));
    h.reload(&file::secrets_with(&[file::identity()])).expect("valid");
    h.advance_secs(30);
    assert!(h.written(write).is_some_and(|written| written.is_err()));
    let expected = table(&[
        ("secrets from_storage unknown unknown-non-grpc", 1.0),
        ("secrets to_storage k8s:enc:kms:v2:a: unknown-non-grpc", 1.0),
    ]);
    assert_eq!(samples(&mut h, OPERATIONS), expected);
}

/// Upstream: RecordKeyID and RecordKeyIDFromStatus in encrypt/envelope/metrics/metrics.go.
pub(super) fn each_key_id_has_its_count_and_its_times(maker: &dyn Maker) {
    let options = Options { apiserver_id: "me".into(), ..Options::default() };
    let mut h = Harness::new(maker, &file::secrets(), &options, [("a", Plugin::new("key-1"))]);
    let at = |seconds: u64| (START + Duration::from_secs(seconds)).as_secs_f64();
    h.advance_secs(7);
    let first = h.write("/k", b"x");
    h.plugin("a").key_id = "key-2".into();
    h.advance_secs(53);
    h.advance_secs(10);
    h.write("/k", b"x");
    h.write("/k", b"x");
    h.advance_secs(10);
    h.read("/k", &first);
    // The DEK is cached, so the read counts even though decrypting the value fails.
    h.try_read("secrets", "/other", &first).unwrap_err();
    let (one, two, me) = (sha256_text("key-1"), sha256_text("key-2"), sha256_text("me"));
    let labels = |direction: &str, hash: &str| format!("{direction} a {hash} {me}");
    let rows = [
        (labels("to_storage", &one), 1.0, at(7)),
        (labels("to_storage", &two), 2.0, at(70)),
        (labels("from_storage", &one), 2.0, at(80)),
    ];
    let expected: BTreeMap<_, _> = rows.clone().map(|(labels, uses, _)| (labels, uses)).into();
    assert_eq!(samples(&mut h, USES), expected);
    let expected: BTreeMap<_, _> = rows.map(|(labels, _, at)| (labels, at)).into();
    assert_eq!(samples(&mut h, USED_AT), expected);
    let expected: BTreeMap<_, _> =
        [(format!("a {one} {me}"), at(0)), (format!("a {two} {me}"), at(60))].into();
    assert_eq!(samples(&mut h, STATUS_AT), expected);
}

/// Upstream's cache holds a DEK once it has encrypted a value, kmsv2/envelope.go.
pub(super) fn cache_size_has_each_dek_that_wrote_or_was_decrypted(maker: &dyn Maker) {
    let foreign = Harness::seeded(
        maker,
        &file::secrets(),
        &Options::default(),
        [("a", Plugin::new("key-1"))],
        2,
    )
    .write("/k", b"x");
    let mut h = Harness::primed(maker);
    assert_eq!(samples(&mut h, CACHE_SIZE), table(&[]));
    h.write("/k", b"x");
    h.write("/k", b"x");
    assert_eq!(samples(&mut h, CACHE_SIZE), table(&[("a", 1.0)]));
    h.read("/k", &foreign);
    assert_eq!(samples(&mut h, CACHE_SIZE), table(&[("a", 2.0)]));
    for key_id in ["key-2", "key-3"] {
        h.plugin("a").key_id = key_id.into();
        h.advance_secs(60);
    }
    assert_eq!(samples(&mut h, CACHE_SIZE), table(&[("a", 2.0)]), "neither new DEK has written");
    h.write("/k", b"x");
    assert_eq!(samples(&mut h, CACHE_SIZE), table(&[("a", 3.0)]));
}

pub(super) fn cache_sizes_of_providers_with_one_name_are_added(maker: &dyn Maker) {
    let foreign = |seed| {
        let plugin = [("a", Plugin::new("key-1"))];
        Harness::seeded(maker, &file::secrets(), &Options::default(), plugin, seed)
            .write("/k", b"x")
    };
    let options = Options { reload: true, ..Options::default() };
    let plugin = [("a", Plugin::new("key-1"))];
    let mut h = Harness::new(maker, &file::secrets(), &options, plugin);
    h.write("/k", b"x");
    h.read("/k", &foreign(2));
    assert_eq!(samples(&mut h, CACHE_SIZE), table(&[("a", 2.0)]));
    // A read that has no answer keeps the old provider, and its cache, until the grace period of the old configuration ends.
    let mut is_first = true;
    h.plugin("a").on_decrypt(move |dek| {
        if std::mem::take(&mut is_first) { Reply::Never } else { Reply::Answer(dek) }
    });
    let op = h.begin_read("secrets", "/k", &foreign(3));
    let elsewhere = file::kms_at("a", "unix:///run/elsewhere.sock", "3s");
    h.reload(&file::secrets_with(&[elsewhere])).expect("valid");
    assert_eq!(h.reloads, [Ok(())]);
    assert!(h.closed.is_empty(), "the old provider is still in use");
    h.write("/k", b"x");
    assert_eq!(samples(&mut h, CACHE_SIZE), table(&[("a", 3.0)]));
    h.advance_secs(30);
    assert!(h.was_read(op).expect("ended").is_err());
    assert_eq!(samples(&mut h, CACHE_SIZE), table(&[("a", 1.0)]), "only the new provider");
}

/// Upstream: RecordArrival and RecordDekCacheFillPercent, called in encrypt/envelope/envelope.go.
pub(super) fn kms_v1_counts_arrivals_and_the_fill_of_its_cache(maker: &dyn Maker) {
    let provider = |more: &str| {
        let kms =
            format!("kms: {{apiVersion: v1, name: old, endpoint: 'unix:///run/old.sock', {more}}}");
        let file = file::secrets_with(&[kms]);
        Harness::seeded(
            maker,
            &file,
            &Options::default(),
            [("old", Plugin::new("kek"))],
            more.len() as u64,
        )
    };
    let foreign = provider("cachesize: 100").write("/k", b"x");
    let mut h = provider("cachesize: 4");
    assert_eq!(samples(&mut h, FILL), table(&[("", 0.0)]));
    assert_eq!(samples(&mut h, ARRIVALS), table(&[]));
    let own = h.write("/k", b"x");
    assert_eq!(samples(&mut h, FILL), table(&[("", 0.25)]));
    h.advance(Duration::from_millis(60_000));
    h.write("/k", b"x");
    h.advance(Duration::from_millis(60_001));
    h.write("/k", b"x");
    h.advance_secs(100_000);
    h.plugin("old").down();
    h.try_write("secrets", "/k", b"x").unwrap_err();
    assert_eq!(samples(&mut h, FILL), table(&[("", 0.75)]));
    h.plugin("old").up();
    h.read("/k", &own);
    h.read("/k", &foreign);
    assert_eq!(samples(&mut h, FILL), table(&[("", 1.0)]));
    h.try_read("secrets", "/k", b"k8s:enc:kms:v1:old:").unwrap_err();
    let bounds = [
        ("60", 2.0),
        ("120", 3.0),
        ("240", 3.0),
        ("480", 3.0),
        ("960", 3.0),
        ("1920", 3.0),
        ("3840", 3.0),
        ("7680", 3.0),
        ("15360", 3.0),
        ("30720", 3.0),
        ("+Inf", 4.0),
    ];
    let mut expected = BTreeMap::new();
    for (bound, writes) in bounds {
        expected.insert(format!("to_storage {bound}"), writes);
        expected.insert(format!("from_storage {bound}"), 3.0);
    }
    expected.insert("to_storage".into(), 60.0 + 60.001 + 100_000.0);
    expected.insert("from_storage".into(), 0.0);
    assert_eq!(samples(&mut h, ARRIVALS), expected);
    let misses = "apiserver_storage_envelope_transformation_cache_misses_total";
    assert_eq!(h.metric(misses, &[]), 1.0);
    let mut uncached = provider("cachesize: -1");
    let value = uncached.write("/k", b"x");
    uncached.read("/k", &value);
    assert_eq!(
        (samples(&mut uncached, FILL), uncached.metric(misses, &[])),
        (table(&[("", 0.0)]), 0.0),
        "without a cache there are no misses"
    );
}

/// A process may reload an unlimited number of names.
pub(super) fn series_with_names_from_the_file_are_bounded(maker: &dyn Maker) {
    let options = Options { reload: true, ..Options::default() };
    let named = |n: usize| file::secrets_with(&[local("aesgcm", &[(&format!("key{n}"), 1)])]);
    let mut h = Harness::new(maker, &named(0), &options, []);
    for n in 0..1100 {
        h.reload(&named(n)).expect("a valid file");
        h.write("/k", b"x");
    }
    let counted = samples(&mut h, OPERATIONS);
    assert_eq!(counted.len(), 965, "one for the provider, one for `other`");
    assert_eq!(counted.values().sum::<f64>(), 2200.0, "each write twice");
    assert_eq!(counted["secrets to_storage key898: OK"], 1.0);
    assert_eq!(counted["other to_storage key899: OK"], 1.0);
    assert_eq!(counted["other to_storage other OK"], 137.0);
    let nameless = Harness::new(maker, &named(0), &options, [("bad", Plugin::new(""))]);
    let mut h = nameless;
    h.sockets.insert("unix:///run/bad.sock".into(), "bad".into());
    for n in 0..150 {
        let kms = file::kms_at(&format!("bad{n}"), "unix:///run/bad.sock", "3s");
        h.reload(&file::secrets_with(&[kms])).expect("a valid file");
    }
    let counted = samples(&mut h, INVALID);
    assert_eq!(counted.len(), 101);
    assert_eq!((counted["bad99 empty"], counted["other empty"]), (1.0, 50.0));
}
