//! No output contains an unencrypted key ID, a key, a DEK or a plaintext.

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD};
use serde_json::Value;

use crate::scripted::Scripted;
use crate::server::Server;
use crate::stage::{Stage, kms_config, play};
use crate::wait::until;

const KEY: &str = "/registry/secrets/default/token";
const PLAINTEXT: &str = "a plaintext that is nowhere else";

/// Returns every form in which bytes may appear in a text.
fn forms(secret: &[u8]) -> Vec<String> {
    let hex: String = secret.iter().map(|byte| format!("{byte:02x}")).collect();
    let list: Vec<_> = secret.iter().map(u8::to_string).collect();
    vec![
        String::from_utf8_lossy(secret).into_owned(),
        hex.to_uppercase(),
        hex,
        STANDARD_NO_PAD.encode(secret),
        URL_SAFE_NO_PAD.encode(secret),
        list.join(", "),
        list.join(","),
        format!("{}", secret.escape_ascii()),
    ]
}

fn assert_shows_none(shown: &[(&str, String)], secrets: &[Vec<u8>]) {
    for secret in secrets {
        assert!(secret.len() >= 8, "long enough not to be there by chance");
        for form in forms(secret) {
            for (desc, text) in shown {
                assert!(!text.contains(&form), "{form:?} is in {desc}:\n{text}");
            }
        }
    }
}

/// Returns everything that a server shows, after every way in which a value can fail.
async fn shown_by(server: Server) -> Vec<(&'static str, String)> {
    let mut shown = Vec::new();
    let stored = server.write(KEY, PLAINTEXT.as_bytes()).await;
    assert_eq!(server.read_well(KEY, &stored).await.0, PLAINTEXT.as_bytes());
    let mut altered_dek = stored.clone();
    let last = altered_dek.len() - 1;
    altered_dek[last] ^= 1;
    for (desc, key, value) in [
        ("the error for a wrong key", "/elsewhere", stored.clone()),
        ("the error for an altered DEK", KEY, altered_dek),
        ("the error for a value cut short", KEY, stored[..60].to_vec()),
        ("the error for another provider", KEY, b"k8s:enc:kms:v2:x:y".to_vec()),
    ] {
        let answer = server.read(key, &value).await;
        assert_ne!(answer.status, 200, "{desc}");
        shown.push((desc, format!("{:?}\n{}", answer.headers, answer.text())));
    }
    for path in ["/metrics", "/statusz", "/healthz?verbose", "/healthz/kms-providers"] {
        let answer = server.get(path).await;
        shown.push((path, format!("{:?}\n{}", answer.headers, answer.text())));
    }
    let banner = server.banner.clone();
    let log = server.stop().await;
    assert!(log.contains("sha256:"), "the log has hashes of key IDs: {log}");
    shown.push(("the log", log));
    shown.push(("the banner", banner));
    shown
}

/// Returns the keyring's key IDs and keys. Each key is returned both decoded and as in the file.
fn keyring(stage: &Stage) -> Vec<Vec<u8>> {
    let file = std::fs::read(stage.state().join("keyring.json")).expect("the keyring");
    let file: Value = serde_json::from_slice(&file).expect("JSON");
    let mut secrets = Vec::new();
    for entry in file["keys"].as_array().expect("keys") {
        let text = |field: &str| entry[field].as_str().expect("text").to_owned();
        let key = text("key");
        let decoded = base64::engine::general_purpose::STANDARD.decode(&key).expect("base64");
        secrets.extend([text("id").into_bytes(), key.into_bytes(), decoded]);
    }
    secrets
}

#[test]
fn dekkers_own_keys_are_shown_nowhere() {
    play(async |stage| {
        let server = stage.serve(&["--log", "trace", "--log-format", "json"]).await;
        let state = stage.state().display().to_string();
        let mut shown = Vec::new();
        for (desc, args) in [("kms rotate", ["kms", "rotate"]), ("kms status", ["kms", "status"])] {
            let args = [&args[..], &["--log", "trace", "--state-dir", &state]].concat();
            let ended = stage.run(&args, b"").await;
            assert_eq!(ended.code, Some(0), "{ended:?}");
            shown.push((desc, format!("{}{}", ended.text(), ended.stderr)));
        }
        shown.extend(shown_by(server).await);
        let mut secrets = keyring(&stage);
        assert_eq!(secrets.len(), 6, "two keys");
        secrets.push(PLAINTEXT.into());
        assert_shows_none(&shown, &secrets);
    });
}

#[test]
fn deks_and_key_ids_of_any_plugin_are_shown_nowhere() {
    play(async |stage| {
        let (socket, id) = (stage.path("kms.sock"), "key-id-in-the-clear-7f3a");
        let plugin = Scripted::serve(&socket, id);
        let config = kms_config(&[("a", &socket)]);
        let server = stage.serve_config(&config, &["--log", "trace"]).await;
        let mut shown = shown_by(server).await;
        // Once more, with a key ID that is longer than allowed, so that the health check reports the error.
        let long = "too-long-a-key-id-".repeat(60);
        plugin.script().key_id.clone_from(&long);
        let server = stage.serve_config(&config, &["--log", "trace"]).await;
        let fault = until("the error is shown", async || {
            let answer = server.get("/healthz/kms-providers").await;
            (answer.status == 500).then_some(answer.text())
        })
        .await;
        assert!(fault.contains("got invalid KMSv2 KeyID hash \"sha256:"), "{fault}");
        shown.extend([
            ("the error for a long key ID", fault),
            ("its metrics", server.metrics().await),
        ]);
        shown.push(("its log", server.stop().await));
        let mut secrets = plugin.script().deks.clone();
        assert_eq!(secrets.len(), 1);
        secrets.extend([id.into(), b"too-long-a-key-id-".to_vec(), PLAINTEXT.into()]);
        assert_shows_none(&shown, &secrets);
    });
}
