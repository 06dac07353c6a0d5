//! One-shot uses of `dekker encrypt`, `dekker decrypt` and `dekker kms`.

use crate::peers::{as_other, binary_for_other};
use crate::process::{Finished, Process};
use crate::scripted::Scripted;
use crate::stage::{Stage, kms_config, play};

const KEY: &str = "/registry/secrets/default/token";
const PLAINTEXT: &[u8] = b"hunter2\n\0\xff";

async fn once(stage: &Stage, command: &str, key: &str, how: &[&str], input: &[u8]) -> Finished {
    let mut args = vec![command, "--resource", "secrets", "--key", key];
    args.extend(how);
    stage.run(&args, input).await
}

/// Encrypts and decrypts a value, and checks that decryption with another storage key fails.
async fn there_and_back(stage: &Stage, how: &[&str], prefix: &str) -> Vec<u8> {
    let written = once(stage, "encrypt", KEY, how, PLAINTEXT).await;
    assert!(written.stderr.contains("key ID hash: sha256:"), "{written:?}");
    let stored = written.done();
    assert!(stored.starts_with(prefix.as_bytes()), "{stored:?}");
    let read = once(stage, "decrypt", KEY, how, &stored).await;
    assert!(read.stderr.contains("stale: false\n"), "{read:?}");
    assert_eq!(read.done(), PLAINTEXT);
    let refused = once(stage, "decrypt", "/elsewhere", how, &stored).await;
    assert_eq!(refused.code, Some(1), "{refused:?}");
    assert_eq!(refused.stdout, b"");
    stored
}

#[test]
fn encrypt_and_decrypt_with_a_configuration() {
    play(async |stage| {
        let _plugin = Scripted::serve(&stage.path("kms.sock"), "key-1");
        stage.file("c.yaml", kms_config(&[("own", &stage.path("kms.sock"))]));
        let how = ["--encryption-provider-config", "c.yaml"];
        there_and_back(&stage, &how, "k8s:enc:kms:v2:own:").await;
        assert!(!stage.path("home").exists(), "no state directory was needed");
    });
}

#[test]
fn encrypt_and_decrypt_with_a_state_directory_alone_and_beside_a_server() {
    play(async |stage| {
        let state = stage.state().display().to_string();
        let how = ["--state-dir", state.as_str()];
        let stored = there_and_back(&stage, &how, "k8s:enc:kms:v2:dekker:").await;
        let server = stage.serve(&[]).await;
        assert_eq!(server.read_well(KEY, &stored).await, (PLAINTEXT.to_vec(), false));
        let beside = there_and_back(&stage, &how, "k8s:enc:kms:v2:dekker:").await;
        assert_eq!(server.read_well(KEY, &beside).await, (PLAINTEXT.to_vec(), false));
    });
}

/// Root's default is /var/lib/dekker, which belongs to the system and not to a test. Another user's default directory is tested instead.
#[test]
fn encrypt_and_decrypt_with_the_default_state_directory() {
    play(async |stage| {
        let Some(binary) = binary_for_other(&stage) else {
            return;
        };
        let home = stage.state().display().to_string();
        for (variable, made) in [("XDG_STATE_HOME", "dekker"), ("HOME", ".local/state/dekker")] {
            let mut value = PLAINTEXT.to_vec();
            for direction in ["encrypt", "decrypt"] {
                let mut command = as_other(&binary.display().to_string());
                command
                    .args([direction, "--resource", "secrets", "--key", KEY])
                    .env_remove("XDG_STATE_HOME")
                    .env(variable, &home)
                    .current_dir("/");
                value = Process::start(command, &value).finished().await.done();
            }
            assert_eq!(value, PLAINTEXT, "{variable}");
            let keyring = stage.state().join(made).join("keyring.json");
            assert!(keyring.exists(), "{variable}");
        }
    });
}

#[test]
fn encrypt_and_decrypt_through_a_running_server() {
    play(async |stage| {
        let server = stage.serve(&[]).await;
        let address = format!("unix://{}", server.api.display());
        let how = ["--connect", address.as_str()];
        let stored = there_and_back(&stage, &how, "k8s:enc:kms:v2:dekker:").await;
        assert_eq!(server.read_well(KEY, &stored).await, (PLAINTEXT.to_vec(), false));
        let refused = once(&stage, "decrypt", "/elsewhere", &how, &stored).await;
        assert!(refused.stderr.contains("the server answered 422"), "{refused:?}");
        server.stop().await;
        let alone = once(&stage, "encrypt", KEY, &how, PLAINTEXT).await;
        assert_eq!(alone.code, Some(1));
        assert!(alone.stderr.contains("is `dekker serve` running?"), "{alone:?}");
        let both = ["--connect", address.as_str(), "--encryption-provider-config", "c.yaml"];
        assert_eq!(once(&stage, "encrypt", KEY, &both, b"").await.code, Some(2));
    });
}

#[test]
fn encrypt_warns_of_a_value_that_is_not_encrypted() {
    play(async |stage| {
        let config = "apiVersion: apiserver.config.k8s.io/v1
kind: EncryptionConfiguration
resources:
- resources: [secrets, widgets.example.com]
  providers:
  - aesgcm: {keys: [{name: key1, secret: fKiMVhYJ0/GgAQTMLZc7uSWbGE7idvk6PlteraedJuk=}]}
- resources: [events]
  providers:
  - identity: {}
";
        stage.file("c.yaml", config);
        let no_rule =
            "the value was not encrypted: no rule of the configuration covers this resource";
        let unknown = "Kubernetes stores no resource named \"secret\"; did you mean secrets?";
        let identity = "the value was not encrypted: identity is the first provider of its rule";
        for (resource, warning) in [
            ("secrets", None),
            ("widgets.example.com", None),
            ("secret", Some(format!("{no_rule}. {unknown}"))),
            ("configmaps", Some(no_rule.to_owned())),
            ("events", Some(identity.to_owned())),
        ] {
            let args = [
                "encrypt",
                "--resource",
                resource,
                "--key",
                KEY,
                "--encryption-provider-config",
                "c.yaml",
            ];
            let written = stage.run(&args, PLAINTEXT).await;
            let mut lines = written.stderr.lines();
            let warned = lines.find_map(|line| line.strip_prefix("dekker: warning: "));
            assert_eq!(warned, warning.as_deref(), "{resource}: {written:?}");
            let stored = written.done();
            assert_eq!(stored == PLAINTEXT, warning.is_some(), "{resource}");
        }
    });
}

#[test]
fn encrypt_fails_without_a_plugin() {
    play(async |stage| {
        stage.file("c.yaml", kms_config(&[("gone", &stage.path("kms.sock"))]));
        let how = ["--encryption-provider-config", "c.yaml"];
        let failed = once(&stage, "encrypt", KEY, &how, PLAINTEXT).await;
        assert_eq!(failed.code, Some(1), "{failed:?}");
        assert_eq!(failed.stdout, b"");
    });
}

#[test]
fn kms_status_needs_a_plugin_and_kms_rotate_a_keyring() {
    play(async |stage| {
        let state = stage.state().display().to_string();
        let how = ["--state-dir", state.as_str()];
        let alone = stage.run(&["kms", "status", how[0], how[1]], b"").await;
        assert_eq!(alone.code, Some(1));
        assert!(alone.stderr.contains("no KMS plugin listens on"), "{alone:?}");
        let nothing = stage.run(&["kms", "rotate", how[0], how[1]], b"").await;
        assert_eq!(nothing.code, Some(1));
        let _server = stage.serve(&[]).await;
        stage.run(&["kms", "status", how[0], how[1]], b"").await.done();
    });
}

#[test]
fn kms_status_shows_a_plugin_that_is_not_dekkers() {
    play(async |stage| {
        let socket = stage.path("kms.sock");
        let plugin = Scripted::serve(&socket, "key-1");
        let endpoint = format!("unix://{}", socket.display());
        let args = ["kms", "status", "--endpoint", &endpoint];
        let text = stage.run(&args, b"").await.done();
        let hash = dekker_tests::object::sha256_text("key-1");
        let expected = format!("version      v2\nhealthz      ok\nkey ID hash  {hash}\n");
        assert_eq!(String::from_utf8_lossy(&text), expected);
        plugin.script().healthz = "tired".into();
        let ill = stage.run(&args, b"").await;
        assert_eq!(ill.code, Some(1));
        assert!(ill.text().contains("healthz      tired\n"), "{ill:?}");
    });
}
