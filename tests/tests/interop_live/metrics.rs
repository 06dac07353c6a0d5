//! The same operations on both sides, and a comparison of the metrics of both.
//!
//! Compared are the names, labels and values of all metrics of upstream's transformers; for histograms, the number of observations. Values that
//! depend on timing need only exist on both sides: time stamps, Status calls, and answers of a plugin whose key ID is invalid.

use std::collections::{BTreeMap, BTreeSet};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use dekker_tests::interop::Comparison;
use hyper::Method;

use crate::http::{Connection, target};
use crate::kms_v1::{Mood, PluginV1};
use crate::peer::{Peer, play};
use crate::scripted::Scripted;
use crate::server::Server;
use crate::stage::Stage;

const ID: &str = "interop";
const KEY: &[u8] = b"/registry/x";

/// Returns a configuration with every kind of provider, with `bad`, whose plugin has no key ID, and with resources that no rule covers.
fn config(stage: &Stage, keys: &[(&str, u8)], two: &str) -> String {
    let keys: Vec<_> = keys
        .iter()
        .map(|(name, byte)| format!("{{name: {name}, secret: {}}}", STANDARD.encode([*byte; 32])))
        .collect();
    let keys = format!("{{keys: [{}]}}", keys.join(", "));
    let kms = |version: &str, name: &str, socket: &str, more: &str| {
        let socket = stage.path(socket);
        format!(
            "kms: {{apiVersion: {version}, name: {name}, endpoint: \"unix://{}\"{more}}}",
            socket.display()
        )
    };
    let (two, bad) = (kms("v2", "two", two, ""), kms("v2", "bad", "bad.sock", ""));
    let (one, uncached) = (
        kms("v1", "one", "one.sock", ", cachesize: 8"),
        kms("v1", "uncached", "one.sock", ", cachesize: -1"),
    );
    let mut text =
        "apiVersion: apiserver.config.k8s.io/v1\nkind: EncryptionConfiguration\nresources:\n"
            .to_owned();
    for (resource, providers) in [
        ("secrets", vec![two, "identity: {}".to_owned()]),
        ("services", vec![bad]),
        ("widgets.example.com", vec![one]),
        ("gadgets.example.com", vec![uncached]),
        ("configmaps", vec![format!("aesgcm: {keys}")]),
        ("leases.coordination.k8s.io", vec![format!("aescbc: {keys}")]),
        ("'*.batch'", vec![format!("secretbox: {keys}")]),
        ("pods", vec!["identity: {}".to_owned(), format!("aesgcm: {keys}")]),
    ] {
        text += &format!("- resources: [{resource}]\n  providers:\n");
        for provider in providers {
            text += &format!("  - {provider}\n");
        }
    }
    text
}

const RESOURCES: [&str; 8] = [
    "secrets",
    "widgets.example.com",
    "gadgets.example.com",
    "configmaps",
    "leases.coordination.k8s.io",
    "jobs.batch",
    "pods",
    "events",
];

/// Upstream and Dekker. Every request to one is also made to the other.
struct Pair {
    go: Peer,
    connection: Connection,
    comparison: Comparison,
}

impl Pair {
    /// Writes on both sides, which may both fail, and returns what each stored.
    async fn write(&mut self, resource: &str) -> Option<(Vec<u8>, Vec<u8>)> {
        let target = target("to-storage", resource, KEY);
        let ours = self.connection.send(Method::POST, &target, b"x").await;
        let ours = ours.expect("an answer");
        let upstream = self.go.try_write("metrics", resource, KEY, b"x");
        let what = format!("{resource} is written");
        self.comparison.equal(&what, &(ours.status == 200), &upstream.is_ok());
        (ours.status == 200).then(|| (ours.body, upstream.unwrap_or_default()))
    }

    async fn read(&mut self, resource: &str, key: &[u8], stored: (&[u8], &[u8])) {
        let target = target("from-storage", resource, key);
        let ours = self.connection.send(Method::POST, &target, stored.0).await;
        let ours = ours.expect("an answer");
        let ours = (ours.status == 200).then_some(ours.body);
        let upstream = self.go.read("metrics", resource, key, stored.1);
        let upstream = upstream.ok().map(|(plaintext, _)| plaintext);
        let what = format!("{resource} is read");
        self.comparison.equal(&what, &ours, &upstream);
    }

    async fn read_same(&mut self, resource: &str, key: &[u8], stored: &[u8]) {
        self.read(resource, key, (stored, stored)).await;
    }
}

type Samples = BTreeMap<String, f64>;

/// Returns `name{label="value",…}` with the labels sorted.
fn series(name: &str, labels: &BTreeMap<String, String>) -> String {
    let labels: Vec<_> =
        labels.iter().map(|(label, value)| format!("{label}=\"{value}\"")).collect();
    format!("{name}{{{}}}", labels.join(","))
}

/// Returns those samples in Dekker's `/metrics` that upstream's side shows too. In this test no label value contains a `"` or a `,`.
fn ours(text: &str) -> Samples {
    let mut samples = Samples::new();
    for line in text.lines() {
        let is_upstreams = line.starts_with("apiserver_storage_")
            || line.starts_with("apiserver_envelope_encryption_");
        let (shown, value) = line.rsplit_once(' ').expect("a value");
        let (name, labels) = shown.split_once('{').unwrap_or((shown, ""));
        let of_a_histogram = name.ends_with("_seconds_bucket") || name.ends_with("_seconds_sum");
        if !is_upstreams || of_a_histogram {
            continue;
        }
        let labels = labels.trim_end_matches('}').split(',');
        let labels = labels.filter_map(|label| {
            let (name, value) = label.split_once('=')?;
            Some((name.to_owned(), value.trim_matches('"').to_owned()))
        });
        let series = series(name, &labels.collect());
        samples.insert(series, value.parse().expect("a number"));
    }
    samples
}

/// Returns whether the value of the series depends on timing.
fn is_timed(series: &str) -> bool {
    series.contains("_timestamp_seconds{")
        || series.contains("method_name=\"/v2.KeyManagementService/Status\"")
        || series.contains("_invalid_key_id_from_status_total{")
}

#[test]
fn metrics_match_upstream() {
    play("live metrics", async |stage| {
        let _two = Scripted::serve(&stage.path("two.sock"), "key-1");
        let _bad = Scripted::serve(&stage.path("bad.sock"), "");
        let _elsewhere = Scripted::serve(&stage.path("elsewhere.sock"), "key-0");
        let mut one = PluginV1::serve(&stage.path("one.sock"));

        // Values that neither side wrote: with the same plugins and an old key, and with a plugin that neither side knows.
        let mut third = Peer::start();
        let mut write = |name: &str, config: &str, resource: &str| {
            let file = stage.file(&format!("{name}.yaml"), config);
            third.load(name, &file, false, &[]);
            let stored = third.write(name, resource, KEY, b"x");
            third.close(name);
            stored
        };
        let old = config(&stage, &[("key1", 1)], "two.sock");
        let foreign = RESOURCES.map(|resource| (resource, write("old", &old, resource)));
        let elsewhere = config(&stage, &[("gone", 9)], "elsewhere.sock");
        let unknown =
            RESOURCES.map(|resource| (resource, write("elsewhere", &elsewhere, resource)));
        let refused = write("old", &old, "widgets.example.com");

        let text = config(&stage, &[("key2", 2), ("key1", 7), ("key1", 1)], "two.sock");
        let file = stage.file("config.yaml", &text);
        let mut command = stage.serve_command(&["--dek-source", "hkdf-seed", "--apiserver-id", ID]);
        command.arg("--encryption-provider-config").arg(&file);
        let server = Server::start(command).await;
        let mut go = Peer::start();
        go.load_as("metrics", &file, ID);
        let mut pair =
            Pair { go, connection: server.connect().await, comparison: Comparison::default() };
        for resource in RESOURCES {
            for _ in 0..2 {
                let stored = pair.write(resource).await.expect("it is written");
                let stored = (&*stored.0, &*stored.1);
                pair.read(resource, KEY, stored).await;
                pair.read(resource, b"/registry/elsewhere", stored).await;
            }
        }
        for (resource, stored) in foreign.iter().chain(&unknown) {
            for _ in 0..2 {
                pair.read_same(resource, KEY, stored).await;
            }
        }
        for resource in RESOURCES {
            for stored in [&b"plain"[..], b"k8s:enc:nobody:v1:x", b"k8s:enc:kms:v1:one:\x00"] {
                pair.read_same(resource, KEY, stored).await;
            }
        }
        assert!(pair.write("services").await.is_none(), "it has no DEK");
        one.set(Mood {
            encrypt_fails: "7 not today",
            decrypt_fails: "16 who are you",
            ..Mood::default()
        });
        pair.read_same("widgets.example.com", KEY, &refused).await;
        assert!(pair.write("widgets.example.com").await.is_none());

        let mut ours = ours(&server.metrics().await);
        let mut upstream = Samples::new();
        for sample in pair.go.metrics() {
            upstream.insert(series(&sample.name, &sample.labels), sample.value);
        }
        // Dekker decrypts each new DEK before it is used.
        let calls = |samples: &Samples, method: &str| {
            let method = format!("/v2.KeyManagementService/{method}");
            let name = "apiserver_envelope_encryption_kms_operations_latency_seconds_count";
            let labels =
                [("grpc_status_code", "OK"), ("method_name", &*method), ("provider_name", "two")];
            let labels = labels.map(|(label, value)| (label.to_owned(), value.to_owned()));
            let series = series(name, &labels.into());
            let value = samples.get(&series).copied().unwrap_or_default();
            (series, value)
        };
        let (decrypts, _) = calls(&ours, "Decrypt");
        let (_, encrypts) = calls(&ours, "Encrypt");
        if let Some(count) = ours.get_mut(&decrypts) {
            *count -= encrypts;
        }
        let all: BTreeSet<_> = ours.keys().chain(upstream.keys()).cloned().collect();
        let shown = |samples: &Samples, series: &str| {
            let value = samples.get(series)?;
            Some(if is_timed(series) { f64::from(*value > 0.0) } else { *value })
        };
        for series in all {
            let (ours, upstream) = (shown(&ours, &series), shown(&upstream, &series));
            pair.comparison.equal(&series, &ours, &upstream);
        }
        let faults = pair.comparison.report("metrics");
        assert!(faults.is_empty(), "{} mismatches", faults.len());
        server.stop().await;
    });
}
