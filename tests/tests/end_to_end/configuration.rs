//! `dekker config`, and invalid configurations.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use dekker_tests::config_cases::ConfigCase;
use dekker_tests::face::Finding;

use crate::stage::{kms_config, plain_config, play};

/// 16 bytes. The file contains their base64.
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

/// The position of each error, and upstream's text for it.
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
            assert!(!text.contains(form.trim_end_matches('=')), "{form} in {text}");
        }
    }
}

#[test]
fn check_reports_all_six_errors_with_positions() {
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
fn check_names_the_mistakes_of_common_files() {
    play(async |stage| {
        for ConfigCase { file, content, findings } in ConfigCase::all() {
            stage.file(&file, content);
            let checked = stage.run(&["config", "check", &file], b"").await;
            let text = checked.text();
            let mut lines = text.lines();
            for finding in &findings {
                let Finding { is_fault, path, message, position } = finding;
                let (line, column) = position.expect("a position");
                let severity = if *is_fault { "error" } else { "warning" };
                let path = if path.is_empty() { String::new() } else { format!("{path}: ") };
                let expected = format!("{file}:{line}:{column}: {severity}: {path}{message}");
                assert_eq!(lines.next(), Some(&*expected), "{text}");
            }
            let is_valid = !findings.iter().any(|finding| finding.is_fault);
            let verdict = if is_valid { "valid, 0 faults, " } else { "not valid, " };
            let last = lines.next().unwrap_or_default();
            assert!(last.starts_with(&format!("{file}: {verdict}")), "{text}");
            assert_eq!(checked.code, Some(i32::from(!is_valid)), "{file}");
        }
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
            assert!(refused.stderr.contains(&fault), "{fault} in {}", refused.stderr);
        }
        assert_no_secret(&refused.stderr);
        assert!(!stage.state().join("api.sock").exists());
    });
}

#[test]
fn serve_logs_the_hints_of_a_file_that_it_refuses() {
    play(async |stage| {
        let config = plain_config().replace(
            "identity: {}",
            "aesgcm: {keys: [{name: key1, secret: \"${ENCRYPTION_KEY}\"}]}",
        );
        stage.file("c.yaml", &config);
        let args = ["serve", "--health-listen", "127.0.0.1:0", "--state-dir", "state"];
        let args = [&args[..], &["--encryption-provider-config", "c.yaml"]].concat();
        let refused = stage.run(&args, b"").await;
        assert_eq!((refused.code, refused.text()), (Some(1), String::new()), "{refused:?}");
        let hint = refused.stderr.find("a warning about the refused configuration: 6:");
        let error = refused.stderr.find("dekker: c.yaml: the file is not a valid encryption");
        assert!(hint.is_some() && error.is_some(), "{refused:?}");
        assert!(refused.stderr.contains("is a placeholder that was not filled in"), "{refused:?}");
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
        assert!(checked.text().contains("c.yaml: valid, 0 faults, "), "{checked:?}");
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
        // The output is itself a valid configuration, except for the secrets.
        let with_secret = text.replace("REDACTED", &secret);
        stage.file("shown.yaml", with_secret);
        stage.run(&["config", "check", "shown.yaml"], b"").await.done();
    });
}

#[test]
fn usage_errors_and_failures_have_different_exit_codes() {
    play(async |stage| {
        stage.file("empty.yaml", "");
        let table: [(&[&str], i32, &str); 9] = [
            (&["config", "chekc"], 2, "check"),
            (&["config", "check"], 2, "<FILE>"),
            (&["serve", "--config-poll-interval", "60"], 2, "such as 60s"),
            (&["serve", "--listen", "tcp://127.0.0.1:1"], 2, "only unix sockets are supported"),
            (&["serve", "--workers", "0"], 2, "--workers"),
            (&["serve", "--workers", "many"], 2, "--workers"),
            (&["--log", "dekker=loud", "config", "check", "empty.yaml"], 2, "--log"),
            (&["config", "check", "no-such-file.yaml"], 1, "no-such-file.yaml"),
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
fn a_file_is_identified_by_the_hash_of_its_bytes() {
    play(async |stage| {
        let server = stage.serve_config(&plain_config(), &[]).await;
        let hash = "sha256:6c4289801b45c3c75fc97d53a363cfa3a37c9c8e3ad17e91dc5b86a7dae011f3";
        assert_eq!(server.status().await["configHash"], *hash);
        server.stop().await;
        stage.file("empty.yaml", "");
        for (name, fault) in
            [("empty.yaml", "is empty"), ("no-such-file.yaml", "No such file or directory")]
        {
            let args = ["serve", "--encryption-provider-config", name];
            let refused = stage.run(&args, b"").await;
            assert_eq!(refused.code, Some(1), "{refused:?}");
            for part in [name, fault] {
                assert!(refused.stderr.contains(part), "{refused:?}");
            }
        }
    });
}

#[test]
fn local_providers_read_and_write_from_the_shell() {
    play(async |stage| {
        let secret = STANDARD.encode(SECRET);
        let long = STANDARD.encode("0123456789abcdef0123456789abcdef");
        let line = |kind: &str, secret: &str| {
            format!("  - {kind}: {{keys: [{{name: key1, secret: \"{secret}\"}}]}}\n")
        };
        let lines = [
            ("aescbc", line("aescbc", &secret)),
            ("aesgcm", line("aesgcm", &secret)),
            ("secretbox", line("secretbox", &long)),
        ];
        let all: String = lines.iter().map(|(_, line)| line.as_str()).collect();
        stage.file(
            "all.yaml",
            kms_config(&[]).replace("  - identity", &format!("{all}  - identity")),
        );
        stage.run(&["config", "check", "all.yaml"], b"").await.done();
        for (at, (kind, line)) in lines.iter().enumerate() {
            let one = kms_config(&[]).replace("  - identity", &format!("{line}  - identity"));
            stage.file("one.yaml", one);
            let args = |command, file| {
                let key = "/registry/secrets/default/token";
                [
                    command,
                    "--resource",
                    "secrets",
                    "--key",
                    key,
                    "--encryption-provider-config",
                    file,
                ]
            };
            let stored = stage.run(&args("encrypt", "one.yaml"), b"hunter2").await.done();
            assert!(stored.starts_with(format!("k8s:enc:{kind}:v1:key1:").as_bytes()), "{kind}");
            for (file, stale) in [("one.yaml", false), ("all.yaml", at != 0)] {
                let read = stage.run(&args("decrypt", file), &stored).await;
                assert!(
                    read.stderr.contains(&format!("stale: {stale}\n")),
                    "{kind}, {file}: {read:?}"
                );
                assert_no_secret(&read.stderr);
                assert_eq!(read.done(), b"hunter2", "{kind}, {file}");
            }
        }
    });
}
