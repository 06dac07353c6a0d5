//! `dekker config`, and configurations that are refused.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::stage::{kms_config, play};

/// 16 bytes, and their base64 as a file has it.
const SECRET: &str = "correct horse 16";

fn six_faults() -> String {
    let (secret, short) = (STANDARD.encode(SECRET), STANDARD.encode("too short"));
    format!(
        r#"apiVersion: apiserver.config.k8s.io/v1
kind: EncryptionConfiguration
resources:
- resources: [Secrets]
  providers:
  - aescbc: {{keys: [{{name: key1, secret: "{short}"}}]}}
  - aesgcm: {{keys: [{{secret: "{secret}"}}]}}
  - kms: {{apiVersion: v2, name: "a:b", endpoint: "unix:///run/a.sock"}}
  - kms: {{apiVersion: v2, name: c, endpoint: "tcp:///run/c.sock"}}
  - kms: {{apiVersion: v2, name: d, endpoint: "unix:///run/d.sock", timeout: -3s}}
  - identity: {{}}
"#
    )
}

/// Where each fault is, and what upstream says of it.
const SIX_FAULTS: [(&str, &str); 6] = [
    (
        "4:15",
        "resources[0].resources[0]: Invalid value: \"Secrets\": resource name should not contain capital letters",
    ),
    (
        "6:42",
        "resources[0].providers[0].aescbc.keys[0].secret: Invalid value: \"REDACTED\": secret is not of the expected length, got 9, expected one of [16 24 32]",
    ),
    (
        "7:21",
        "resources[0].providers[1].aesgcm.keys[0].name: Required value: name is a mandatory field for a key",
    ),
    (
        "8:33",
        "resources[0].providers[2].kms.name: Invalid value: \"a:b\": invalid KMS provider name a:b, must not contain ':'",
    ),
    (
        "9:46",
        "resources[0].providers[3].kms.endpoint: Invalid value: \"tcp:///run/c.sock\": unsupported scheme \"tcp\" for KMS provider, only unix is supported",
    ),
    (
        "10:77",
        "resources[0].providers[4].kms.timeout: Invalid value: \"-3s\": timeout should be a positive value",
    ),
];

fn assert_no_secret(text: &str) {
    for secret in [SECRET, "too short"] {
        for form in [secret.to_owned(), STANDARD.encode(secret)] {
            assert!(
                !text.contains(form.trim_end_matches('=')),
                "{form} in {text}"
            );
        }
    }
}

#[test]
fn check_names_all_six_faults_with_their_places() {
    play(async |stage| {
        stage.file("c.yaml", six_faults());
        let checked = stage.run(&["config", "check", "c.yaml"], b"").await;
        assert_eq!(checked.code, Some(1), "{checked:?}");
        let text = checked.text();
        for (place, message) in SIX_FAULTS {
            let line = format!("c.yaml:{place}: error: {message}\n");
            assert!(text.contains(&line), "{line}in {text}");
        }
        assert!(text.contains("c.yaml: not valid, 6 faults, "), "{text}");
        assert_no_secret(&format!("{text}{}", checked.stderr));
    });
}

#[test]
fn serve_refuses_the_same_file_for_the_same_reasons() {
    play(async |stage| {
        stage.file("c.yaml", six_faults());
        let mut args = vec![
            "serve",
            "--health-listen",
            "127.0.0.1:0",
            "--encryption-provider-config",
            "c.yaml",
        ];
        args.extend(["--state-dir", "state"]);
        let refused = stage.run(&args, b"").await;
        assert_eq!(refused.code, Some(1));
        assert_eq!(refused.text(), "");
        for (place, message) in SIX_FAULTS {
            let fault = format!("{place}: {message}");
            assert!(
                refused.stderr.contains(&fault),
                "{fault} in {}",
                refused.stderr
            );
        }
        assert_no_secret(&refused.stderr);
        assert!(!stage.state().join("api.sock").exists());
    });
}

#[test]
fn a_valid_file_passes_and_shows_without_secrets() {
    play(async |stage| {
        let secret = STANDARD.encode(SECRET);
        let local =
            format!("  - aesgcm: {{keys: [{{name: key1, secret: \"{secret}\"}}]}}\n  - identity");
        let config =
            kms_config(&[("own", &stage.path("kms.sock"))]).replace("  - identity", &local);
        stage.file("c.yaml", &config);
        let checked = stage.run(&["config", "check", "c.yaml"], b"").await;
        assert!(
            checked.text().contains("c.yaml: valid, 0 faults, "),
            "{checked:?}"
        );
        assert_no_secret(&format!("{checked:?}"));
        checked.done();
        let shown = stage.run(&["config", "show", "c.yaml"], b"").await;
        assert_no_secret(&format!("{shown:?}"));
        let text = String::from_utf8(shown.done()).expect("text");
        for part in [
            "secret: REDACTED\n",
            "name: own\n",
            "timeout: 2s\n",
            "kind: EncryptionConfiguration\n",
        ] {
            assert!(text.contains(part), "{part:?} in {text}");
        }
        // What it shows is a configuration itself, but for the secrets.
        let with_secret = text.replace("REDACTED", &secret);
        stage.file("shown.yaml", with_secret);
        stage
            .run(&["config", "check", "shown.yaml"], b"")
            .await
            .done();
    });
}

#[test]
fn wrong_usage_is_told_apart_from_faults() {
    play(async |stage| {
        stage.file("empty.yaml", "");
        let table: [(&[&str], i32, &str); 7] = [
            (&["config", "chekc"], 2, "check"),
            (&["config", "check"], 2, "<FILE>"),
            (&["serve", "--config-poll-interval", "60"], 2, "such as 60s"),
            (
                &["serve", "--listen", "tcp://127.0.0.1:1"],
                2,
                "only unix sockets are supported",
            ),
            (
                &["--log", "dekker=loud", "config", "check", "empty.yaml"],
                2,
                "--log",
            ),
            (
                &["config", "check", "no-such-file.yaml"],
                1,
                "no-such-file.yaml",
            ),
            (&["config", "check", "empty.yaml"], 1, "is empty"),
        ];
        for (args, code, part) in table {
            let ended = stage.run(args, b"").await;
            assert_eq!(ended.code, Some(code), "{args:?}: {ended:?}");
            assert!(ended.stderr.contains(part), "{args:?}: {ended:?}");
        }
    });
}

#[test]
fn a_provider_that_is_not_there_yet_is_said_to_be_so() {
    play(async |stage| {
        let secret = STANDARD.encode(SECRET);
        let long = STANDARD.encode("0123456789abcdef0123456789abcdef");
        for (provider, line) in [
            (
                "aescbc",
                format!("aescbc: {{keys: [{{name: key1, secret: \"{secret}\"}}]}}"),
            ),
            (
                "aesgcm",
                format!("aesgcm: {{keys: [{{name: key1, secret: \"{secret}\"}}]}}"),
            ),
            (
                "secretbox",
                format!("secretbox: {{keys: [{{name: key1, secret: \"{long}\"}}]}}"),
            ),
            (
                "kms v1",
                "kms: {apiVersion: v1, name: a, endpoint: \"unix:///run/a.sock\"}".to_owned(),
            ),
        ] {
            let config =
                kms_config(&[]).replace("  - identity", &format!("  - {line}\n  - identity"));
            stage.file("c.yaml", config);
            let args = [
                "serve",
                "--state-dir",
                "state",
                "--health-listen",
                "127.0.0.1:0",
                "--encryption-provider-config",
                "c.yaml",
            ];
            let refused = stage.run(&args, b"").await;
            assert_eq!(refused.code, Some(1), "{provider}");
            assert!(
                refused.stderr.contains("not supported by this version yet"),
                "{provider}: {refused:?}"
            );
            assert_no_secret(&refused.stderr);
            // To the check it is what it is for kube-apiserver: fine.
            stage.run(&["config", "check", "c.yaml"], b"").await.done();
        }
    });
}
