//! `/metrics` after typical operations: it must have exactly upstream's series, with the same names, labels and counts.

use std::fs;
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use dekker_tests::object::sha256_text;
use hyper::Method;
use tonic::Code;

use crate::http::target;
use crate::mirror::Mirror;
use crate::scripted::{Counts, Scripted};
use crate::server::{Server, metric};
use crate::stage::{Stage, play};
use crate::wait::until;

const ARGS: [&str; 7] = [
    "--encryption-provider-config-automatic-reload",
    "--config-poll-interval",
    "200ms",
    "--config-hold",
    "100ms",
    "--apiserver-id",
    "me",
];
const KEY: &[u8] = b"/registry/x";

/// Returns a configuration with a separate provider for each resource. `bad` is never healthy.
fn config(stage: &Stage, gcm_keys: &[(&str, u8)], more: &str) -> String {
    let keys = |keys: &[(&str, u8)]| {
        let keys: Vec<_> = keys
            .iter()
            .map(|(name, byte)| {
                format!("{{name: {name}, secret: {}}}", STANDARD.encode([*byte; 32]))
            })
            .collect();
        format!("{{keys: [{}]}}", keys.join(", "))
    };
    let kms = |version: &str, name: &str, more: &str| {
        let socket = stage.path(&format!("{name}.sock"));
        format!(
            "{{kms: {{apiVersion: {version}, name: {name}, endpoint: \"unix://{}\"{more}}}}}",
            socket.display()
        )
    };
    let bad = if more.is_empty() { String::new() } else { format!(", {}", kms("v2", more, "")) };
    format!(
        "apiVersion: apiserver.config.k8s.io/v1
kind: EncryptionConfiguration
resources:
- {{resources: [secrets], providers: [{two}{bad}]}}
- {{resources: [widgets.example.com], providers: [{one}]}}
- {{resources: [configmaps], providers: [aesgcm: {gcm}]}}
- {{resources: [leases.coordination.k8s.io], providers: [aescbc: {key1}]}}
- {{resources: [jobs.batch], providers: [secretbox: {key1}]}}
- {{resources: [pods], providers: [identity: {{}}, aescbc: {key1}]}}
",
        two = kms("v2", "two", ""),
        one = kms("v1", "one", ", cachesize: 4"),
        gcm = keys(gcm_keys),
        key1 = keys(&[("key1", 1)]),
    )
}

async fn send(
    server: &Server,
    direction: &str,
    resource: &str,
    key: &[u8],
    body: &[u8],
) -> Vec<u8> {
    let answer =
        server.connect().await.send(Method::POST, &target(direction, resource, key), body).await;
    answer.expect("an answer").ok()
}

async fn write(server: &Server, resource: &str) -> Vec<u8> {
    send(server, "to-storage", resource, KEY, b"x").await
}

async fn read(server: &Server, resource: &str, stored: &[u8]) {
    let plaintext = send(server, "from-storage", resource, KEY, stored).await;
    assert_eq!(plaintext, b"x", "{resource}");
}

async fn fail(server: &Server, direction: &str, resource: &str, key: &[u8], body: &[u8]) {
    let answer =
        server.connect().await.send(Method::POST, &target(direction, resource, key), body).await;
    let answer = answer.expect("an answer");
    assert!(answer.status >= 400, "{direction} {resource}: {}", answer.text());
}

/// Returns the value with an encrypted DEK that no plugin recognizes.
fn with_unknown_dek(stored: &[u8]) -> Vec<u8> {
    let (from, to) = (b"sealed DEK ", b"SEALED dek ");
    let at = stored.windows(from.len()).position(|it| it == from);
    let at = at.expect("a DEK of the scripted plugin");
    [&stored[..at], to, &stored[at + from.len()..]].concat()
}

/// Returns the samples of upstream's metrics, sorted. A histogram is reduced to its count, and values that depend on timing to `T`.
fn table(text: &str) -> Vec<String> {
    let lines = text.lines().filter(|line| line.starts_with("apiserver_"));
    let mut rows: Vec<_> = lines
        .filter_map(|line| {
            let (series, value) = line.rsplit_once(' ').expect("a value");
            let name = series.split('{').next().expect("a name");
            let of_a_histogram =
                name.ends_with("_seconds_bucket") || name.ends_with("_seconds_sum");
            let timed = name.ends_with("_timestamp_seconds") || series.contains("\"failure\"");
            if timed {
                assert!(value.parse::<f64>().is_ok_and(|value| value > 0.0), "{line}");
            }
            let short = series.strip_prefix("apiserver_").expect("seen above");
            let value = if timed { "T" } else { value };
            (!of_a_histogram).then(|| format!("{short} {value}"))
        })
        .collect();
    rows.sort();
    rows
}

fn hash_of(path: &Path) -> String {
    sha256_text(fs::read(path).expect("our own file"))
}

#[test]
fn every_metric_has_upstreams_names_labels_and_counts() {
    play(async |stage| {
        let two = Scripted::serve(&stage.path("two.sock"), "key-1");
        let bad = Scripted::serve(&stage.path("bad.sock"), "");
        let one = Mirror::serve(&stage.path("one.sock"));
        let first = [("key2", 2), ("key1", 1)];
        let path = stage.file("c.yaml", config(&stage, &first, ""));
        let serve = async || {
            let mut command = stage.serve_command(&ARGS);
            command.arg("--encryption-provider-config").arg(&path);
            Server::start(command).await
        };
        // Values of a process that has ended: their DEKs are in no cache.
        let earlier = serve().await;
        let foreign_two = write(&earlier, "secrets").await;
        let foreign_one = write(&earlier, "widgets.example.com").await;
        let refused_one = write(&earlier, "widgets.example.com").await;
        earlier.stop().await;
        let old_keys = config(&stage, &[("key1", 1), ("gone", 9)], "");
        fs::write(&path, &old_keys).expect("our own file");
        let earlier = serve().await;
        let foreign_gcm = write(&earlier, "configmaps").await;
        earlier.stop().await;
        two.script().calls = Counts::default();

        fs::write(&path, config(&stage, &first, "bad")).expect("our own file");
        let server = serve().await;
        // Writes and reads with every provider.
        for resource in [
            "secrets",
            "widgets.example.com",
            "configmaps",
            "leases.coordination.k8s.io",
            "jobs.batch",
            "pods",
            "events.no-rule",
        ] {
            let stored = write(&server, resource).await;
            read(&server, resource, &stored).await;
        }
        // Cache misses, and then hits.
        for _ in 0..2 {
            read(&server, "secrets", &foreign_two).await;
            read(&server, "widgets.example.com", &foreign_one).await;
        }
        // Failures: another storage key, a DEK that the plugin does not know, a plugin that returns an error, a named key that is missing or wrong,
        // no prefix.
        fail(&server, "from-storage", "secrets", b"/other", &foreign_two).await;
        let unknown = with_unknown_dek(&foreign_two);
        fail(&server, "from-storage", "secrets", KEY, &unknown).await;
        one.refuse(Some(Code::PermissionDenied));
        let widgets = "widgets.example.com";
        fail(&server, "from-storage", widgets, KEY, &refused_one).await;
        fail(&server, "to-storage", widgets, KEY, b"x").await;
        one.refuse(None);
        read(&server, "configmaps", &foreign_gcm).await;
        fail(&server, "from-storage", "configmaps", b"/other", &foreign_gcm).await;
        let nameless = b"k8s:enc:aesgcm:v1:gone:x";
        fail(&server, "from-storage", "configmaps", KEY, nameless).await;
        fail(&server, "from-storage", "configmaps", KEY, b"plain").await;
        fail(&server, "from-storage", "events.no-rule", KEY, nameless).await;

        // The series of `bad` exist until the file changes.
        let before = server.metrics().await;
        let calls = "apiserver_envelope_encryption_kms_operations_latency_seconds_count";
        let info = "apiserver_encryption_config_controller_last_config_info";
        let invalid = "apiserver_envelope_encryption_invalid_key_id_from_status_total";
        assert!(metric(&before, calls, &[("provider_name", "bad")]) >= 1.0);
        assert_eq!(metric(&before, info, &[("hash", &hash_of(&path))]), 1.0);
        let reloads = "apiserver_encryption_config_controller_automatic_reloads_total";
        fs::write(&path, "not a configuration").expect("our own file");
        let waiting = async |status: &'static str| {
            until(status, async || {
                let metrics = server.metrics().await;
                (metric(&metrics, reloads, &[("status", status)]) > 0.0).then_some(())
            })
            .await;
        };
        waiting("failure").await;
        let third = [("key3", 3), ("key2", 2), ("key1", 1)];
        fs::write(&path, config(&stage, &third, "")).expect("our own file");
        waiting("success").await;
        write(&server, "configmaps").await;

        // A poll may be under way.
        let (metrics, statuses) = until("nothing is under way", async || {
            let asked = two.calls().status;
            let metrics = server.metrics().await;
            let method = "/v2.KeyManagementService/Status";
            let labels = [("provider_name", "two"), ("method_name", method)];
            let answered = metric(&metrics, calls, &labels);
            let quiet = two.calls().status == asked && answered == asked as f64;
            quiet.then_some((metrics, asked))
        })
        .await;
        let (key, me) = (sha256_text("key-1"), sha256_text("me"));
        let expected = EXPECTED
            .replace("HASH-OF-KEY-1", &key)
            .replace("HASH-OF-ME", &me)
            .replace("HASH-OF-FILE", &hash_of(&path))
            .replace("STATUS-OF-TWO", &statuses.to_string())
            .replace("STATUS-OF-BAD", &metric(&metrics, invalid, &[]).to_string());
        let expected: Vec<_> = expected.lines().map(str::to_owned).collect();
        let found = table(&metrics);
        for row in &found {
            assert!(expected.contains(row), "not expected: {row}");
        }
        for row in &expected {
            assert!(found.contains(row), "missing: {row}\nin {found:#?}");
        }
        let invalid = metric(&metrics, invalid, &[]);
        assert!((1.0..=bad.calls().status as f64).contains(&invalid));
        let v1 = "dekker_kms_v1_operations_latency_seconds_count";
        for (method, code) in [
            ("Encrypt", "OK"),
            ("Encrypt", "PermissionDenied"),
            ("Decrypt", "OK"),
            ("Decrypt", "PermissionDenied"),
        ] {
            let method = format!("/v1beta1.KeyManagementService/{method}");
            let labels =
                [("provider_name", "one"), ("method_name", &*method), ("grpc_status_code", code)];
            assert!(metric(&metrics, v1, &labels) >= 1.0, "{labels:?}");
        }
        server.stop().await;
    });
}

const EXPECTED: &str = include_str!("metrics.txt");
