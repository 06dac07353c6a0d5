//! A running server whose new configuration file is incomplete, or names a plugin that does not exist.

use std::fs;
use std::path::PathBuf;

use rustix::process::Signal;

use dekker_tests::interop;
use dekker_tests::object::sha256_text;

use crate::load::Load;
use crate::scripted::Scripted;
use crate::server::Server;
use crate::stage::{Stage, kms_config, play};
use crate::wait::{breathe, until};

const KEY: &str = "/registry/secrets/default/token";
const NEW: &str = "      - name: new\n        secret: MDEyMzQ1Njc4OWFiY2RlZg==\n";
const OLD: &str = "      - name: old\n        secret: MDEyMzQ1Njc4OWFiY2RlZw==\n";
const IDENTITY: &str = "  - identity: {}\n";

/// Returns a file for secrets with these providers, each in the file's own syntax.
fn file(providers: &[&str]) -> String {
    let mut file = String::from(
        "apiVersion: apiserver.config.k8s.io/v1\nkind: EncryptionConfiguration\nresources:\n- resources: [secrets]\n  providers:\n",
    );
    file.extend(providers.iter().copied());
    file
}

fn aescbc(keys: &[&str]) -> String {
    format!("  - aescbc:\n      keys:\n{}", keys.concat())
}

/// Why a file is not in use.
struct Seen {
    refused: Option<String>,
    held: Option<String>,
}

struct Scene {
    server: Server,
    path: PathBuf,
    _plugin: Scripted,
}

impl Scene {
    /// Starts a server with this file, and a plugin at `kms.sock`.
    async fn set(stage: &Stage, file: &str, args: &[&str]) -> Self {
        let socket = stage.path("kms.sock");
        let plugin = Scripted::serve(&socket, "key-1");
        let path = stage.file("c.yaml", file);
        let mut command = stage.serve_command(&["--encryption-provider-config-automatic-reload"]);
        command.args(args).arg("--encryption-provider-config").arg(&path);
        Self { server: Server::start(command).await, path, _plugin: plugin }
    }

    fn write(&self, content: &str) {
        fs::write(&self.path, content).expect("our own directory");
    }

    async fn file_status(&self) -> serde_json::Value {
        self.server.status().await["configFile"].take()
    }

    async fn until_loaded(&self, content: &str) {
        until("the file is in use", async || {
            (self.file_status().await["loadedHash"] == *sha256_text(content)).then_some(())
        })
        .await;
    }

    async fn until_candidate(&self, content: &str) {
        until("it is a candidate", async || {
            let status = self.server.status().await;
            (status["candidateConfigHash"] == *sha256_text(content)).then_some(())
        })
        .await;
    }

    /// Waits until a file has been checked, and returns what is reported about it.
    async fn until_seen(&self, content: &str) -> Seen {
        let hash = match content {
            // The server does not read an empty file any further.
            "" => serde_json::Value::Null,
            content => sha256_text(content).into(),
        };
        until("the file is looked at", async || {
            let status = self.file_status().await;
            let text = |member: &str| status[member].as_str().map(str::to_owned);
            (status["seenHash"] == hash)
                .then(|| Seen { refused: text("error"), held: text("held") })
        })
        .await
    }
}

/// Returns the values that each of these providers writes alone.
async fn stored(stage: &Stage, providers: &[&str]) -> Vec<Vec<u8>> {
    let mut values = Vec::new();
    for provider in providers {
        let path = stage.file("one.yaml", file(&[provider]));
        let config = path.to_str().expect("a path of ours");
        let args = [
            "encrypt",
            "--resource",
            "secrets",
            "--key",
            KEY,
            "--encryption-provider-config",
            config,
        ];
        let finished = stage.run(&args, b"hello").await;
        assert_eq!(finished.code, Some(0), "{}", finished.stderr);
        values.push(finished.stdout);
    }
    values
}

#[test]
fn a_file_cut_at_every_byte_costs_no_read() {
    play(async |stage| {
        let kms = format!(
            "  - kms: {{apiVersion: v2, name: a, endpoint: \"unix://{}\"}}\n",
            stage.path("kms.sock").display()
        );
        let whole = file(&[&kms, &aescbc(&[NEW, OLD]), IDENTITY]);
        // The watch reports changes, not the poll, and a file that loses a read is held until the test has ended.
        let args = ["--config-poll-interval", "1h", "--config-hold", "24h"];
        let scene = Scene::set(&stage, &whole, &args).await;
        let mut values = stored(&stage, &[&kms, &aescbc(&[NEW]), &aescbc(&[OLD]), IDENTITY]).await;
        values.push(scene.server.write(KEY, b"hello").await);
        let [mut refused, mut held] = [0_u64; 2];
        for end in 0..whole.len() {
            scene.write(&whole[..end]);
            let seen = scene.until_seen(&whole[..end]).await;
            refused += u64::from(seen.refused.is_some());
            held += u64::from(seen.held.is_some());
            for stored in &values {
                let (plaintext, _) = scene.server.read_well(KEY, stored).await;
                assert_eq!(plaintext, b"hello", "after {end} bytes");
            }
        }
        assert!(refused > 300 && held > 3, "{refused} {held}");
        let counted = scene.file_status().await["refusals"].as_u64().expect("a count");
        assert!(counted >= refused, "{counted} of {refused}");
        scene.write(&whole);
        scene.until_loaded(&whole).await;
        interop::print_figures(&format!(
            "{} beginnings of a file: {refused} refused, {held} held; {counted} refusals counted",
            whole.len()
        ));
    });
}

#[test]
fn a_file_that_reads_less_takes_over_after_the_hold() {
    play(async |stage| {
        let scene =
            Scene::set(&stage, &file(&[&aescbc(&[NEW, OLD])]), &["--config-hold", "2s"]).await;
        let less = file(&[&aescbc(&[NEW])]);
        scene.write(&less);
        let held = scene.until_seen(&less).await.held.expect("held");
        assert!(held.starts_with("held until 2"), "{held}");
        assert!(
            held.ends_with(
                "Z: it may be half-written, because it cannot read what the one in use can (secrets: values that begin with \
                 \"k8s:enc:aescbc:v1:old:\"); it takes effect after 2s without a change, or at once on SIGHUP"
            ),
            "{held}"
        );
        assert!(scene.file_status().await["heldUntilUnixSeconds"].is_f64());
        scene.until_loaded(&less).await;
        let status = scene.file_status().await;
        for member in ["heldUntilUnixSeconds", "held", "error"] {
            assert!(status[member].is_null(), "{status}");
        }
        assert_eq!(status["refusals"], 0, "a held file is not refused");
    });
}

#[test]
fn a_file_that_vanished_is_no_longer_held() {
    play(async |stage| {
        let whole = file(&[&aescbc(&[NEW, OLD])]);
        let scene = Scene::set(&stage, &whole, &["--config-hold", "24h"]).await;
        let less = file(&[&aescbc(&[NEW])]);
        scene.write(&less);
        scene.until_seen(&less).await.held.expect("held");
        fs::remove_file(&scene.path).expect("our own directory");
        // The hash is absent, as with an empty file.
        let error = scene.until_seen("").await.refused.expect("refused");
        assert!(error.contains("cannot read"), "{error}");
        let status = scene.file_status().await;
        assert!(status["heldUntilUnixSeconds"].is_null(), "{status}");
    });
}

#[test]
fn sighup_takes_a_file_that_reads_less_at_once() {
    play(async |stage| {
        let whole = file(&[&aescbc(&[NEW, OLD]), IDENTITY]);
        let scene = Scene::set(&stage, &whole, &["--config-hold", "24h"]).await;
        let less = file(&[&aescbc(&[NEW, OLD])]);
        scene.write(&less);
        let held = scene.until_seen(&less).await.held.expect("held");
        assert!(held.contains("secrets: values stored as plaintext"), "{held}");
        scene.server.process.signal(Signal::HUP);
        scene.until_loaded(&less).await;
        // SIGHUP applied to that file, not to the next one.
        let lesser = file(&[&aescbc(&[NEW])]);
        scene.write(&lesser);
        assert!(scene.until_seen(&lesser).await.held.is_some());
    });
}

#[test]
fn a_better_file_does_not_wait_for_a_candidate_to_fail() {
    play(async |stage| {
        let whole = file(&[&aescbc(&[NEW])]);
        let scene = Scene::set(&stage, &whole, &["--config-poll-interval", "1h"]).await;
        let load = Load::start(&scene.server.api).await;
        // A candidate may take twice this timeout to become healthy.
        let absent = format!(
            "  - kms: {{apiVersion: v2, name: absent, endpoint: \"unix://{}\", timeout: 24h}}\n",
            stage.path("absent.sock").display()
        );
        let candidate = file(&[&absent, &aescbc(&[NEW])]);
        scene.write(&candidate);
        scene.until_candidate(&candidate).await;
        // A file that is no better leaves the candidate alone.
        scene.write("half of a fi");
        for _ in 0..50 {
            breathe().await;
            let status = scene.server.status().await;
            assert_eq!(status["candidateConfigHash"], *sha256_text(&candidate));
        }
        let better = file(&[&aescbc(&[OLD, NEW])]);
        scene.write(&better);
        scene.until_loaded(&better).await;
        assert!(scene.server.status().await["candidateConfigHash"].is_null());
        load.finish().await;
    });
}

#[test]
fn a_file_that_became_invalid_during_a_candidates_probe_is_refused_afterwards() {
    play(async |stage| {
        let scene =
            Scene::set(&stage, &file(&[&aescbc(&[NEW])]), &["--config-poll-interval", "1h"]).await;
        let late = stage.path("late.sock");
        let candidate = format!(
            "{}{IDENTITY}",
            kms_config(&[("late", &late)]).replace(IDENTITY, &aescbc(&[NEW]))
        );
        scene.write(&candidate);
        scene.until_candidate(&candidate).await;
        scene.write("half of a fi");
        let _late = Scripted::serve(&late, "key-2");
        scene.until_loaded(&candidate).await;
        let error = scene.until_seen("half of a fi").await.refused.expect("refused");
        assert!(error.contains("not a valid encryption configuration"), "{error}");
    });
}
