//! One file, followed by upstream's controller and by Dekker's: after each change, the configuration in use and the metrics are compared.

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use dekker_tests::interop::Comparison;

use crate::health::comparable;
use crate::http::{Connection, target};
use crate::kms_v1::PluginV1;
use crate::peer::{Peer, Reloads, play};
use crate::scripted::Scripted;
use crate::server::{Server, metric};
use crate::stage::Stage;
use crate::wait::until;

const ARGS: &[&str] = &[
    "--dek-source",
    "hkdf-seed",
    "--encryption-provider-config-automatic-reload",
    "--config-poll-interval",
    "200ms",
];

const KEY: &[u8] = b"/registry/secrets/default/token";

/// The state of a controller at the end of a step, and the behaviour of the configuration in use.
#[derive(Debug, PartialEq)]
struct Outcome {
    /// The prefix of a new value of each resource.
    writes: Vec<String>,
    /// For every value written so far by either side: whether it is stale; `None` if it cannot be read.
    reads: Vec<Option<bool>>,
    /// How many successful reloads this step added.
    successes: f64,
    /// Whether the last poll failed and the failure was counted.
    fails: bool,
    /// The hash in `last_config_info`.
    hash: String,
    health: Vec<(u16, String)>,
}

/// Returns the time of Dekker's last poll, and what Dekker reports about its reloads in the form of the peer's answer.
async fn ours(server: &Server) -> (f64, Reloads) {
    let status = server.status().await;
    let metrics = server.metrics().await;
    let count = |status| {
        let name = "apiserver_encryption_config_controller_automatic_reloads_total";
        metric(&metrics, name, &[("status", status)])
    };
    let info = "apiserver_encryption_config_controller_last_config_info{";
    let hash = metrics.lines().find(|line| line.starts_with(info));
    let hash = hash.and_then(|line| line.split_once("hash=\"sha256:"));
    let file = &status["configFile"];
    let reloads = Reloads {
        begun: 0,
        ended: 0,
        error: file["error"].as_str().unwrap_or_default().to_owned(),
        success: count("success"),
        failure: count("failure"),
        hash: hash.map_or_else(String::new, |(_, rest)| {
            format!("sha256:{}", rest.split('"').next().expect("a first part"))
        }),
    };
    let polled = file["lastPollUnixSeconds"].as_f64().unwrap_or_default();
    (polled, reloads)
}

struct Scene {
    path: PathBuf,
    go: Peer,
    dekker: Server,
    connection: Connection,
    /// Every value written so far, by either side.
    values: Vec<Vec<u8>>,
    comparison: Comparison,
}

impl Scene {
    async fn set(stage: &Stage, first: &str) -> Self {
        let path = stage.file("c.yaml", first);
        let mut go = Peer::start();
        go.watch("reload", &path);
        let mut command = stage.serve_command(ARGS);
        command.arg("--encryption-provider-config").arg(&path);
        let dekker = Server::start(command).await;
        let connection = dekker.connect().await;
        Self { path, go, dekker, connection, values: Vec::new(), comparison: Comparison::default() }
    }

    /// Makes a change, waits until each side has made a poll that began after it, and compares.
    async fn step(&mut self, desc: &str, expected: &str, change: impl AsyncFnOnce(&Path)) {
        let before = (self.go.reloads("reload"), ours(&self.dekker).await);
        change(&self.path).await;
        let go = &mut self.go;
        // A poll that has begun by now may have seen the old file.
        let begun = go.reloads("reload").begun;
        let gos = until("upstream polls", async || {
            let now = go.reloads("reload");
            (now.ended > begun).then_some(now)
        })
        .await;
        let dekker = &self.dekker;
        // Dekker does not report when a poll begins. The second poll that ends began after the change. One that reports something new has seen the
        // change too.
        let (mut last, mut ended) = (before.1.0, 0);
        let was = &before.1.1;
        let our = until("Dekker polls", async || {
            let (now, reloads) = ours(dekker).await;
            if now != last {
                (last, ended) = (now, ended + 1);
            }
            let failed = !reloads.error.is_empty() && reloads.error != was.error;
            let is_news = failed || reloads.success > was.success;
            (ended >= 2 || ended == 1 && is_news).then_some(reloads)
        })
        .await;
        let counted = |before: &Reloads, after: &Reloads| {
            assert!(
                after.error.is_empty() || after.failure > before.failure,
                "{desc}: an error that is not counted: {after:?}"
            );
            (after.success - before.success, !after.error.is_empty())
        };
        let counts = [counted(&before.1.1, &our), counted(&before.0, &gos)];
        // Dekker's API closes a connection that stays idle while an unhealthy candidate is tried.
        self.connection = self.dekker.connect().await;
        let writes = self.write().await;
        let reads = self.read().await;
        let health = self.health().await;
        let [ours, upstreams] = [
            (writes.0, reads.0, health.0, counts[0], our.hash),
            (writes.1, reads.1, health.1, counts[1], gos.hash),
        ]
        .map(|(writes, reads, health, (successes, fails), hash)| Outcome {
            writes,
            reads,
            successes,
            fails,
            hash,
            health,
        });
        // The step must also have the expected result: both sides could agree on a wrong one.
        let said = match (ours.successes, ours.fails) {
            (1.0, false) => "in use",
            (0.0, true) => "refused",
            (0.0, false) => "unchanged",
            _ => "inconsistent",
        };
        assert_eq!(said, expected, "{desc}: {ours:?}: {}", our.error);
        self.comparison.equal(desc, &ours, &upstreams);
    }

    /// Writes a value of each resource on each side, and returns the prefixes.
    async fn write(&mut self) -> (Vec<String>, Vec<String>) {
        let mut prefixes = (Vec::new(), Vec::new());
        for resource in ["secrets", "configmaps"] {
            let plaintext = resource.as_bytes();
            let target = target("to-storage", resource, KEY);
            let answer = self.connection.send(hyper::Method::POST, &target, plaintext).await;
            let ours = answer.expect("an answer").ok();
            let gos = self.go.write("reload", resource, KEY, plaintext);
            let prefix = |stored: &[u8]| {
                let text = String::from_utf8_lossy(stored).into_owned();
                text.split(':').take(5).collect::<Vec<_>>().join(":")
            };
            let identity = |stored: &[u8]| stored == plaintext;
            let shown = |stored: &[u8]| match identity(stored) {
                true => "plaintext".to_owned(),
                false => prefix(stored),
            };
            prefixes.0.push(shown(&ours));
            prefixes.1.push(shown(&gos));
            if resource == "secrets" {
                self.values.extend([ours, gos]);
            }
        }
        prefixes
    }

    async fn read(&mut self) -> (Vec<Option<bool>>, Vec<Option<bool>>) {
        let mut reads = (Vec::new(), Vec::new());
        for stored in &self.values {
            let answer = self.connection.read(KEY, stored).await.expect("an answer");
            let stale = answer.header("dekker-stale") == Some("true");
            reads.0.push((answer.body == b"secrets").then_some(stale));
            let read = self.go.read("reload", "secrets", KEY, stored);
            let read = read.ok().filter(|(plaintext, _)| plaintext == b"secrets");
            reads.1.push(read.map(|(_, stale)| stale));
        }
        reads
    }

    async fn health(&mut self) -> (Vec<(u16, String)>, Vec<(u16, String)>) {
        let mut bodies = (Vec::new(), Vec::new());
        for path in ["/healthz/kms-providers", "/readyz?verbose"] {
            let answer = self.dekker.get(path).await;
            bodies.0.push((answer.status, comparable(&answer.text())));
            let answer = self.go.health("reload", path);
            bodies.1.push((answer.status, comparable(&answer.body)));
        }
        bodies
    }
}

/// Writes over the file in place, with line ends after a shorter content. A poll sees the old or the new content: the file is never empty in between,
/// as it would be if it were truncated first.
fn overwrite(path: &Path, mut content: String) {
    let old = fs::metadata(path).expect("it is there").len();
    while (content.len() as u64) < old {
        content.push('\n');
    }
    let mut file = OpenOptions::new().write(true).open(path).expect("our own file");
    let written = file.write(content.as_bytes()).expect("our own file");
    assert_eq!(written, content.len(), "all of it in one call");
}

/// Replaces the file by renaming another one over it.
fn replace(path: &Path, content: &str) {
    let new = path.with_extension("new");
    fs::write(&new, content).expect("our own directory");
    fs::rename(&new, path).expect("our own directory");
}

/// Returns a file in which secrets have these providers, in this order, followed by `identity`, and configmaps have these.
fn config(secrets: &[&str], configmaps: &[&str]) -> String {
    let mut text =
        "apiVersion: apiserver.config.k8s.io/v1\nkind: EncryptionConfiguration\nresources:\n"
            .to_owned();
    for (resource, providers) in [("secrets", secrets), ("configmaps", configmaps)] {
        if providers.is_empty() {
            continue;
        }
        text += &format!("- resources: [{resource}]\n  providers:\n");
        for provider in providers {
            text += &format!("  - {provider}\n");
        }
        if !providers.contains(&IDENTITY) {
            text += &format!("  - {IDENTITY}\n");
        }
    }
    text
}

const IDENTITY: &str = "identity: {}";

fn kms(version: &str, name: &str, socket: &Path) -> String {
    format!(
        "kms: {{apiVersion: {version}, name: {name}, endpoint: \"unix://{}\", timeout: 1s}}",
        socket.display()
    )
}

#[test]
fn both_controllers_treat_every_file_alike() {
    play("live reloads", async |stage| {
        let socket = |name: &str| stage.path(&format!("{name}.sock"));
        let _plugin = Scripted::serve(&socket("k"), "key-1");
        let [a, b] = ["a", "b"].map(|name| kms("v2", name, &socket("k")));
        let [c, d] = ["c", "d"].map(|name| kms("v2", name, &socket(name)));
        let v1 = kms("v1", "old", &socket("v1"));
        let local =
            "aesgcm: {keys: [{name: key1, secret: AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE=}]}";
        let (a, b, c, d, v1) = (&*a, &*b, &*c, &*d, &*v1);

        let first = config(&[a], &[]);
        let mut scene = Scene::set(&stage, &first).await;
        let nothing = async |_: &Path| ();
        scene.step("as it was loaded", "unchanged", nothing).await;
        let write = |content: &str| {
            let content = content.to_owned();
            async move |path: &Path| overwrite(path, content)
        };
        let rename = |content: &str| {
            let content = content.to_owned();
            async move |path: &Path| replace(path, &content)
        };
        let it = "the same content again, in place";
        scene.step(it, "unchanged", write(&first)).await;
        let it = "the same content again, another file";
        scene.step(it, "unchanged", rename(&first)).await;
        let commented = format!("# A comment.\n{first}");
        scene.step("a comment", "in use", rename(&commented)).await;
        let two = config(&[b, a], &[]);
        scene.step("a new provider", "in use", write(&two)).await;
        let wrong = two.replace("[secrets]", "[Secrets]");
        scene.step("an invalid file", "refused", rename(&wrong)).await;
        scene.step("an empty file", "refused", rename("")).await;
        let remove = async |path: &Path| fs::remove_file(path).expect("it is there");
        scene.step("no file", "refused", remove).await;
        scene.step("the file is back", "unchanged", rename(&two)).await;
        scene.step("not YAML", "refused", rename("{")).await;
        let twice = config(&[b, a, b], &[]);
        let it = "a provider twice";
        scene.step(it, "refused", rename(&twice)).await;
        let three = config(&[local, b, a], &[local]);
        let it = "a local key first, and configmaps too";
        scene.step(it, "in use", rename(&three)).await;

        let slow = three.replacen("timeout: 1s", "timeout: 1500ms", 1);
        let it = "a provider with another timeout";
        scene.step(it, "in use", rename(&slow)).await;
        let rule = "- resources: ['*.']\n  providers:\n  - identity: {}\n";
        let all = format!("{three}{rule}");
        let it = "the rest of the core group, too, and the timeout as before";
        scene.step(it, "in use", rename(&all)).await;
        let masked = all.replacen("resources:\n", &format!("resources:\n{rule}"), 1);
        scene.step("rules that are masked", "refused", rename(&masked)).await;
        let unknown = all.replacen("timeout:", "timeOut:", 1);
        scene.step("an unknown field", "refused", rename(&unknown)).await;
        scene.step("only spaces", "refused", write("  \n")).await;
        let absent = config(&[c, local, b, a], &[local]);
        let it = "a new provider without its plugin";
        scene.step(it, "refused", rename(&absent)).await;
        let mut plugins = Vec::new();
        let it = "its plugin starts";
        let come = async |_: &Path| plugins.push(Scripted::serve(&socket("c"), "key-2"));
        scene.step(it, "in use", come).await;

        let fourth = Scripted::serve(&socket("d"), "key-3");
        fourth.script().healthz = "tired".into();
        let ill = config(&[d, c, local, b, a], &[local]);
        let it = "a new provider whose plugin is unhealthy";
        scene.step(it, "refused", rename(&ill)).await;
        let it = "it is withdrawn";
        scene.step(it, "unchanged", rename(&absent)).await;
        fourth.script().healthz = "ok".into();
        let it = "that provider again, healthy";
        scene.step(it, "in use", rename(&ill)).await;

        let _v1 = PluginV1::serve(&socket("v1"));
        let with_v1 = config(&[v1, d, c, local, b, a], &[local]);
        scene.step("KMS v1 first", "in use", rename(&with_v1)).await;
        let plain = config(&[IDENTITY, v1, d, c, local, b, a], &[local]);
        scene.step("identity first", "in use", rename(&plain)).await;
        let linked = stage.file("elsewhere.yaml", config(&[a, v1, d, c, local, b], &[local]));
        let link = async |path: &Path| {
            fs::remove_file(path).expect("it is there");
            symlink(&linked, path).expect("nothing is there");
        };
        let it = "a link to another file, which has another order";
        scene.step(it, "in use", link).await;

        let faults = scene.comparison.report("reload steps");
        assert!(faults.is_empty(), "{} mismatches", faults.len());
        drop(scene.connection);
        scene.dekker.stop().await;
    });
}
