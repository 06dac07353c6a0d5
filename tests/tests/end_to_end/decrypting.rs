//! `dekker decrypt` takes what `dekker inspect` takes: one value or many, in any form.

use std::os::unix::fs::PermissionsExt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use dekker_tests::cases;
use serde_json::{Value, json};

use crate::process::Finished;
use crate::scripted::Scripted;
use crate::stage::{Stage, kms_config, play};

#[test]
fn every_case_is_inspected_and_decrypted() {
    play(async |stage| {
        for name in cases::CONFIGURATIONS {
            stage.file(name, cases::read(name));
        }
        for step in cases::steps() {
            let ran = stage.run(&step.args, &step.input).await;
            step.check(ran.code, &ran.stdout, &ran.stderr);
        }
    });
}

const PREFIX: &str = "/registry/secrets/default/";

fn plaintext(at: usize) -> Vec<u8> {
    format!("k8s\0\n\x0c\n\x02v1\x12\x06Secret\x12\x04{at:04}\x1a\0\"\0").into_bytes()
}

/// Writes `count` secrets with one DEK, and returns them as `etcdctl get --prefix -w json` prints them.
async fn written(stage: &Stage, config: &str, count: usize) -> String {
    let server = stage.serve_config(config, &[]).await;
    let mut kvs = Vec::new();
    for at in 0..count {
        let key = format!("{PREFIX}{at}");
        let stored = server.write(&key, &plaintext(at)).await;
        kvs.push(json!({
            "key": STANDARD.encode(&key),
            "mod_revision": at + 2,
            "value": STANDARD.encode(stored),
        }));
    }
    server.stop().await;
    json!({"header": {"revision": 99}, "kvs": kvs, "count": count}).to_string()
}

/// Checks that each value was decrypted, in order.
fn check_lines(ran: &Finished, count: usize) {
    assert_eq!(ran.code, Some(0), "{ran:?}");
    let text = ran.text();
    let lines: Vec<Value> =
        text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    assert_eq!(lines.len(), count, "{ran:?}");
    for (at, line) in lines.iter().enumerate() {
        assert_eq!(line["key"], format!("{PREFIX}{at}"));
        assert_eq!(line["resource"], "secrets");
        assert_eq!(line["revision"], at + 2);
        assert_eq!(line["plaintext"], STANDARD.encode(plaintext(at)), "{line}");
    }
    assert!(ran.stderr.contains(&format!("{count} decrypted, 0 failed")), "{}", ran.stderr);
}

#[test]
fn many_values_of_one_dek_need_one_call_of_the_plugin() {
    play(async |stage| {
        let plugin = Scripted::serve(&stage.path("kms.sock"), "key-1");
        let config = kms_config(&[("own", &stage.path("kms.sock"))]);
        let input = written(&stage, &config, 50).await;
        let before = plugin.calls();
        let args = ["decrypt", "--encryption-provider-config", "config.yaml", "-o", "jsonl"];
        let ran = stage.run(&args, input.as_bytes()).await;
        check_lines(&ran, 50);
        let after = plugin.calls();
        assert_eq!((after.encrypt - before.encrypt, after.decrypt - before.decrypt), (0, 1));
    });
}

#[test]
fn many_values_are_decrypted_through_one_server() {
    play(async |stage| {
        let _plugin = Scripted::serve(&stage.path("kms.sock"), "key-1");
        let config = kms_config(&[("own", &stage.path("kms.sock"))]);
        let input = written(&stage, &config, 20).await;
        let server = stage.serve_config(&config, &[]).await;
        let address = format!("unix://{}", server.api.display());
        let args = ["decrypt", "--connect", &address, "-o", "jsonl"];
        check_lines(&stage.run(&args, input.as_bytes()).await, 20);
        // The server's refusal of one value does not stop the others.
        let mut changed: Value = serde_json::from_str(&input).expect("JSON");
        changed["kvs"][3]["key"] = STANDARD.encode("/registry/secrets/default/else").into();
        let ran = stage.run(&args, changed.to_string().as_bytes()).await;
        assert_eq!(ran.code, Some(1), "{ran:?}");
        assert!(ran.text().contains("the server answered 422"), "{ran:?}");
        assert!(ran.stderr.contains("19 decrypted, 1 failed"), "{ran:?}");
        server.stop().await;
        let ran = stage.run(&args, input.as_bytes()).await;
        assert_eq!((ran.code, ran.stdout.len()), (Some(1), 0), "{ran:?}");
        assert!(ran.stderr.contains("is `dekker serve` running?"), "{ran:?}");
    });
}

#[test]
fn a_dek_in_a_file_decrypts_many_values() {
    play(async |stage| {
        let plugin = Scripted::serve(&stage.path("kms.sock"), "key-1");
        let config = kms_config(&[("own", &stage.path("kms.sock"))]);
        let input = written(&stage, &config, 20).await;
        let dek = plugin.script().deks.first().expect("the write DEK").clone();
        stage.file("dek", STANDARD.encode(dek));
        let args = ["decrypt", "--dek-file", "dek", "-o", "jsonl"];
        let ran = stage.run(&args, input.as_bytes()).await;
        check_lines(&ran, 20);
    });
}

#[test]
fn a_directory_gets_a_private_file_for_each_value() {
    play(async |stage| {
        stage.file("cfg.yaml", cases::read("cfg.yaml"));
        let input = cases::read("dump-many.txt");
        let args = ["decrypt", "--encryption-provider-config", "cfg.yaml", "--output-dir", "out"];
        let ran = stage.run(&args, &input).await;
        assert_eq!((ran.code, ran.stdout.len()), (Some(1), 0), "{ran:?}");
        assert!(ran.stderr.contains("2 decrypted, 1 failed"), "{ran:?}");
        assert!(ran.stderr.contains("/registry/secrets/a/2: no matching key"), "{ran:?}");
        let mode = |name: &str| {
            let metadata = std::fs::metadata(stage.path(name)).expect("it was written");
            metadata.permissions().mode() & 0o777
        };
        assert_eq!(mode("out"), 0o700);
        for name in ["%2Fregistry%2Fsecrets%2Fa%2F1", "%2Fregistry%2Fsecrets%2Fa%2F3"] {
            assert_eq!(mode(&format!("out/{name}")), 0o600);
        }
        // Nothing is overwritten.
        let again = stage.run(&args, &input).await;
        assert_eq!(again.code, Some(1));
        assert!(again.stderr.contains("is not empty"), "{again:?}");
    });
}

#[test]
fn values_may_be_in_a_file() {
    play(async |stage| {
        stage.file("cfg.yaml", cases::read("cfg.yaml"));
        stage.file("value.json", cases::read("w-json.txt"));
        let args = ["decrypt", "value.json", "--encryption-provider-config", "cfg.yaml"];
        let plaintext = stage.run(&args, b"").await.done();
        assert!(plaintext.starts_with(b"k8s\0"), "{plaintext:?}");
        let missing = ["decrypt", "no-such-file", "--encryption-provider-config", "cfg.yaml"];
        let ran = stage.run(&missing, b"").await;
        assert_eq!(ran.code, Some(1));
        assert!(ran.stderr.contains("no-such-file"), "{ran:?}");
        let both = [&args[..], &["-o", "raw", "--output-dir", "out"]].concat();
        assert_eq!(stage.run(&both, b"").await.code, Some(2));
    });
}
