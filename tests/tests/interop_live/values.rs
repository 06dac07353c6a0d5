//! Each side reads the values of the other.

use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use dekker_tests::interop::Comparison;
use hyper::Method;

use crate::http::{Connection, target};
use crate::kms_v1::PluginV1;
use crate::peer::{Peer, Read, play};
use crate::process::Process;
use crate::server::Server;
use crate::stage::Stage;

/// The resources, each with the provider that writes it. They cover one rule for each provider, and each way to find a rule.
const RESOURCES: [(&str, &str); 7] = [
    ("secrets", "KMS v2"),
    ("endpoints", "KMS v1"),
    ("configmaps", "aesgcm"),
    ("leases.coordination.k8s.io", "aescbc"),
    ("jobs.batch", "secretbox, by *.batch"),
    ("pods", "identity, by *."),
    ("widgets.example.com", "aesgcm, by *.*"),
];

const SIZES: [usize; 8] = [0, 1, 15, 16, 17, 100, 4096, 1 << 20];

const KEYS: [&[u8]; 3] = [b"/registry/secrets/default/token", b"/registry/\xff\xfe/%2F/\xc3", b"/"];

/// Returns a provider with local keys. Each key is a name and the byte that its 32 bytes repeat.
fn local(kind: &str, keys: &[(&str, u8)]) -> String {
    let keys: Vec<_> = keys
        .iter()
        .map(|(name, byte)| format!("{{name: {name}, secret: {}}}", STANDARD.encode([*byte; 32])))
        .collect();
    format!("{kind}: {{keys: [{}]}}", keys.join(", "))
}

/// Returns a file with one rule for each of [`RESOURCES`]. After a rotation new keys come first, and the KMS v2 plugin has rotated its own key. KMS
/// v1 has no rotation: there a provider without a cache comes first instead.
fn config(socket: &Path, v1: &Path, rotated: bool) -> String {
    let keys = |kind| match rotated {
        false => local(kind, &[("key1", 1)]),
        true => local(kind, &[("key2", 2), ("key1", 1)]),
    };
    let kms =
        format!("kms: {{apiVersion: v2, name: live, endpoint: \"unix://{}\"}}", socket.display());
    let v1 = |name: &str, more: &str| {
        format!("kms: {{name: {name}, endpoint: \"unix://{}\"{more}}}", v1.display())
    };
    let mut v1_providers = vec![v1("v1", "")];
    if rotated {
        v1_providers.insert(0, v1("v1-uncached", ", cachesize: -1"));
    }
    let rules = [
        ("secrets", vec![kms, "identity: {}".into()]),
        ("endpoints", v1_providers),
        ("configmaps", vec![keys("aesgcm"), "identity: {}".into()]),
        ("leases.coordination.k8s.io", vec![keys("aescbc")]),
        ("'*.batch'", vec![keys("secretbox")]),
        (
            "'*.'",
            match rotated {
                false => vec!["identity: {}".into()],
                true => vec![keys("secretbox"), "identity: {}".into()],
            },
        ),
        ("'*.*'", vec![keys("aesgcm")]),
    ];
    let mut text =
        "apiVersion: apiserver.config.k8s.io/v1\nkind: EncryptionConfiguration\nresources:\n"
            .to_string();
    for (resources, providers) in rules {
        text += &format!("- resources: [{resources}]\n  providers:\n");
        for provider in providers {
            text += &format!("  - {provider}\n");
        }
    }
    text
}

/// Upstream and Dekker with one configuration and one kind of DEK source.
struct Pair {
    source: &'static str,
    go: Peer,
    dekker: Server,
    connection: Connection,
}

impl Pair {
    async fn start(stage: &Stage, config: &Path, source: &'static str) -> Self {
        let mut go = Peer::start();
        let keys: &[&str] = if source == "counter" { &["live"] } else { &[] };
        go.load("live", config, false, keys);
        let mut command = stage.command([
            "serve",
            "--health-listen",
            "127.0.0.1:0",
            "--dek-source",
            source,
            "--state-dir",
        ]);
        command.arg(stage.path(source)).arg("--encryption-provider-config").arg(config);
        let dekker = Server::start(command).await;
        let connection = dekker.connect().await;
        Self { source, go, dekker, connection }
    }

    async fn write(&mut self, resource: &str, key: &[u8], plaintext: &[u8]) -> Vec<u8> {
        let target = target("to-storage", resource, key);
        let answer = self.connection.send(Method::POST, &target, plaintext).await;
        answer.expect("an answer").ok()
    }

    async fn read(&mut self, resource: &str, key: &[u8], stored: &[u8]) -> Read {
        let target = target("from-storage", resource, key);
        let answer = self.connection.send(Method::POST, &target, stored).await.expect("an answer");
        if answer.status != 200 {
            return Err(answer.text());
        }
        let stale = answer.header("dekker-stale") == Some("true");
        Ok((answer.body, stale))
    }

    async fn stop(self) {
        drop(self.connection);
        self.dekker.stop().await;
    }
}

struct Value {
    desc: String,
    resource: &'static str,
    key: &'static [u8],
    plaintext: Vec<u8>,
    stored: Vec<u8>,
    by_go: bool,
}

/// The comparisons: Dekker's reads of Go's values, and Go's reads of Dekker's.
#[derive(Default)]
struct Compared {
    go_to_dekker: Comparison,
    dekker_to_go: Comparison,
    /// How many values upstream read as fresh, and how many as stale.
    fresh_and_stale: [usize; 2],
}

impl Compared {
    /// Reads a value on both sides of a pair. Both must return the same plaintext and the same staleness.
    async fn read(&mut self, pair: &mut Pair, value: &Value, phase: &str) {
        let go = pair.go.read("live", value.resource, value.key, &value.stored);
        let ours = pair.read(value.resource, value.key, &value.stored).await;
        // Not the plaintexts themselves: a megabyte in a message is of no use.
        let short = |read: &Read| match read {
            Ok((plaintext, stale)) => format!(
                "{}, stale: {stale}",
                if *plaintext == value.plaintext { "the plaintext" } else { "SOMETHING ELSE" }
            ),
            Err(error) => error.clone(),
        };
        let (go, ours) = (short(&go), short(&ours));
        let reads = go.starts_with("the plaintext");
        self.fresh_and_stale[usize::from(go.ends_with("stale: true"))] += 1;
        let to = if value.by_go { &mut self.go_to_dekker } else { &mut self.dekker_to_go };
        let what = format!("{phase}, {} read with --dek-source {}", value.desc, pair.source);
        to.add(
            (!reads || go != ours).then(|| format!("{what}:\n      ours {ours}\n  upstream {go}")),
        );
    }
}

async fn write_all(pairs: &mut [Pair]) -> Vec<Value> {
    let mut values = Vec::new();
    for pair in pairs {
        for (resource, provider) in RESOURCES {
            for (key, len) in KEYS.into_iter().flat_map(|key| SIZES.map(|len| (key, len))) {
                // One value of a megabyte for each provider is enough.
                if len == 1 << 20 && key != KEYS[0] {
                    continue;
                }
                let plaintext: Vec<u8> = (0..len).map(|i| (i % 251).to_le_bytes()[0]).collect();
                for by_go in [true, false] {
                    let stored = match by_go {
                        true => pair.go.write("live", resource, key, &plaintext),
                        false => pair.write(resource, key, &plaintext).await,
                    };
                    let writer = if by_go { "Go's" } else { "Dekker's" };
                    values.push(Value {
                        desc: format!(
                            "{writer} {len} bytes of {resource} ({provider}, {})",
                            pair.source
                        ),
                        resource,
                        key,
                        plaintext: plaintext.clone(),
                        stored,
                        by_go,
                    });
                }
            }
        }
    }
    values
}

async fn pairs(stage: &Stage, config: &Path) -> Vec<Pair> {
    let mut pairs = Vec::new();
    for source in ["counter", "hkdf-seed"] {
        pairs.push(Pair::start(stage, config, source).await);
    }
    pairs
}

#[test]
fn both_read_each_others_values_and_agree_on_staleness() {
    play("live values", async |stage| {
        let mut command = stage.command(["kms", "serve", "--state-dir"]);
        command.arg(stage.path("kms"));
        let mut plugin = Process::start(command, b"");
        plugin.says("KMS v2 plugin at unix://").await;
        let socket = stage.path("kms/kms.sock");
        let v1 = stage.path("v1.sock");
        let _v1_plugin = PluginV1::serve(&v1);
        let mut compared = Compared::default();

        let before = stage.file("before.yaml", config(&socket, &v1, false));
        let mut now = pairs(&stage, &before).await;
        let mut values = write_all(&mut now).await;
        for pair in &mut now {
            for value in &values {
                compared.read(pair, value, "with the keys that wrote").await;
            }
        }
        for pair in now {
            pair.stop().await;
        }

        let state = stage.path("kms").display().to_string();
        stage.run(&["kms", "rotate", "--state-dir", &state], b"").await.done();
        let after = stage.file("after.yaml", config(&socket, &v1, true));
        let mut now = pairs(&stage, &after).await;
        for pair in &mut now {
            for value in &values {
                compared.read(pair, value, "after every key was rotated").await;
            }
        }
        values = write_all(&mut now).await;
        for pair in &mut now {
            for value in &values {
                compared.read(pair, value, "written after every key was rotated").await;
            }
        }
        for pair in now {
            pair.stop().await;
        }
        let [fresh, stale] = compared.fresh_and_stale;
        assert!(fresh > 100 && stale > 100, "{fresh} fresh, {stale} stale: nothing was shown");
        let mut faults = compared.go_to_dekker.report("live: Go writes, Dekker reads");
        faults.extend(compared.dekker_to_go.report("live: Dekker writes, Go reads"));
        assert!(faults.is_empty(), "{} mismatches", faults.len());
    });
}
