//! `dekker inspect` describes a value without any key.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use crate::stage::{Stage, kms_config, play};

const KEY: &str = "/registry/secrets/default/token";
const PLAINTEXT: &[u8] = b"plaintext that nobody may see";

/// Returns a stored value, and the key ID that it contains unencrypted.
async fn stored(stage: &Stage) -> (Vec<u8>, String) {
    let server = stage.serve(&[]).await;
    let stored = server.write(KEY, PLAINTEXT).await;
    server.stop().await;
    let keyring = std::fs::read(stage.state().join("keyring.json")).expect("the keyring");
    let keyring: Value = serde_json::from_slice(&keyring).expect("JSON");
    let id = keyring["current"].as_str().expect("an ID").to_owned();
    assert!(stored.windows(id.len()).any(|window| window == id.as_bytes()));
    (stored, id)
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[test]
fn every_form_of_a_value_has_the_same_report() {
    play(async |stage| {
        let (stored, id) = stored(&stage).await;
        let etcdctl = json!({
            "header": {"revision": 7},
            "kvs": [{"key": STANDARD.encode(KEY), "create_revision": 2, "mod_revision": 7, "version": 1, "value": STANDARD.encode(&stored)}],
            "count": 1,
        });
        let file = stage.file("value", &stored).display().to_string();
        let hash = dekker_tests::object::sha256_text(&id);
        let table: [(&str, &str, Vec<u8>); 6] = [
            ("raw", "a file", b"".to_vec()),
            ("raw", "standard input", stored.clone()),
            ("hex", "hex", hex(&stored).into_bytes()),
            ("base64", "base64", STANDARD.encode(&stored).into_bytes()),
            (
                "base64",
                "base64 and a newline",
                format!("{}\n", STANDARD.encode(&stored)).into_bytes(),
            ),
            ("etcdctl -w json", "etcdctl", etcdctl.to_string().into_bytes()),
        ];
        for (form, desc, input) in table {
            let from = if input.is_empty() { file.as_str() } else { "-" };
            let text = stage.run(&["inspect", from], &input).await.done();
            let json = stage.run(&["inspect", from, "-o", "json"], &input).await.done();
            let values: Value = serde_json::from_slice(&json).expect("JSON");
            let value = &values[0];
            let size = stored.len();
            assert_eq!(values.as_array().map(Vec::len), Some(1), "{desc}");
            let seen = value.get("within").map_or(&value["form"], |within| &within[0]);
            assert_eq!(seen, form, "{desc}: {value}");
            for (field, expected) in [
                ("provider", json!("kms")),
                ("apiVersion", json!("v2")),
                ("providerName", json!("dekker")),
                ("keyIdHash", json!(hash)),
                ("encryptedDEKSourceType", json!("AES_GCM_KEY")),
                ("size", json!(size)),
                ("plaintextSize", json!(PLAINTEXT.len())),
            ] {
                assert_eq!(value[field], expected, "{desc}: {field}");
            }
            let text = String::from_utf8(text).expect("text");
            for part in [
                "provider     kms v2 \"dekker\"\n".to_owned(),
                format!("key ID hash  {hash}\n"),
                "DEK source   AES_GCM_KEY, 61 bytes encrypted\n".to_owned(),
                format!("size         {size} bytes, of a plaintext of {} bytes\n", PLAINTEXT.len()),
            ] {
                assert!(text.contains(&part), "{desc}: {part:?} in {text}");
            }
            let has_key = desc == "etcdctl";
            assert_eq!(text.contains(&format!("key          {KEY}\n")), has_key, "{text}");
            assert_eq!(text.contains("revision     7\n"), has_key, "{text}");
            assert_eq!(
                text.contains(&format!("input        {form}, line 1, byte ")),
                form != "raw"
            );
            for output in [text, String::from_utf8(json).expect("text")] {
                assert!(!output.contains(&id), "the key ID in the clear: {output}");
                assert!(!output.contains("nobody may see"), "the plaintext: {output}");
            }
        }
    });
}

#[test]
fn without_a_file_name_it_reads_standard_input() {
    play(async |stage| {
        let object = br#"{"apiVersion":"v1","kind":"Secret","data":{"a":"cGxhaW4="}}"#;
        let text = stage.run(&["inspect"], object).await;
        assert!(text.text().starts_with("provider     identity\n"), "{text:?}");
        assert!(!text.text().contains("cGxhaW4="), "{text:?}");
        assert_eq!(text.code, Some(0), "{text:?}");
    });
}

#[test]
fn what_is_not_a_stored_value_is_a_fault_and_never_identity() {
    play(async |stage| {
        for input in [&b"plain"[..], b"", b"{}", b"{\"header\":{},\"count\":0}"] {
            for output in ["text", "json", "jsonl", "summary"] {
                let ran = stage.run(&["inspect", "-o", output], input).await;
                assert_eq!(ran.code, Some(1), "{ran:?}");
                assert!(!ran.text().contains("identity"), "{ran:?}");
            }
            let ran = stage.run(&["inspect"], input).await;
            assert!(ran.stdout.is_empty() && ran.stderr.contains("; use etcdctl"), "{ran:?}");
        }
    });
}

/// A stream of many values: nothing but the table of kinds is kept.
#[test]
fn a_summary_counts_many_values() {
    play(async |stage| {
        let (stored, id) = stored(&stage).await;
        let hash = dekker_tests::object::sha256_text(&id);
        let value = STANDARD.encode(&stored);
        let pair = |at| {
            let key = STANDARD.encode(format!("{KEY}{at}"));
            format!("{{\"key\":\"{key}\",\"mod_revision\":{at},\"value\":\"{value}\"}}")
        };
        let pairs: Vec<String> = (1..=5000).map(pair).collect();
        let dump = format!("{{\"header\":{{}},\"kvs\":[{}]}}", pairs.join(","));
        let ran = stage.run(&["inspect", "-o", "summary"], dump.as_bytes()).await;
        let text = String::from_utf8(ran.done()).expect("text");
        for part in [
            "values       5000\nplaintext    0\nfaults       0\n".to_owned(),
            format!("     5000  kms v2 \"dekker\", key ID hash {hash}\n"),
        ] {
            assert!(text.contains(&part), "{part:?} in {text}");
        }
    });
}

#[test]
fn a_damaged_value_is_an_error() {
    play(async |stage| {
        let (stored, _) = stored(&stage).await;
        let cut = &stored[..stored.len() - 5];
        let inspected = stage.run(&["inspect"], cut).await;
        assert_eq!(inspected.code, Some(1), "{inspected:?}");
        assert!(inspected.text().contains("error"), "{inspected:?}");
        let missing = stage.run(&["inspect", "no-such-file"], b"").await;
        assert_eq!(missing.code, Some(1));
        assert!(missing.stderr.contains("no-such-file"), "{missing:?}");
    });
}

/// Returns a configuration with a key of aesgcm.
fn with_key(name: &str) -> String {
    format!(
        "apiVersion: apiserver.config.k8s.io/v1\nkind: EncryptionConfiguration\nresources:\n- resources: [secrets]\n  providers:\n\
         \x20 - aesgcm:\n      keys:\n      - name: '{name}'\n        secret: MDEyMzQ1Njc4OWFiY2RlZg==\n"
    )
}

#[test]
fn a_configuration_decides_where_a_name_with_colons_ends() {
    play(async |stage| {
        let stored = dekker_tests::cases::read("k3s-colon-gcm.bin");
        let config = |name: &str| stage.file("c.yaml", with_key(name)).display().to_string();
        let inspect = async |args: &[&str]| {
            let args = [&["inspect", "-o", "jsonl"], args].concat();
            let line = stage.run(&args, &stored).await.done();
            let value: Value = serde_json::from_slice(&line).expect("JSON");
            (value["keyName"].clone(), value.get("keyNameGuessed").cloned())
        };
        let whole = "aesgcmkey-2026-03-09T09:46:54+01:00";
        assert_eq!(inspect(&[]).await, (json!(whole), Some(json!(true))));
        for name in [whole, "aesgcmkey-2026-03-09T09:46", "aesgcmkey-2026-03-09T09"] {
            let config = config(name);
            let seen = inspect(&["--encryption-provider-config", &config]).await;
            assert_eq!(seen, (json!(name), None));
        }
        let config = config("another");
        let seen = inspect(&["--encryption-provider-config", &config]).await;
        assert_eq!(seen, (json!(whole), Some(json!(true))));
    });
}

/// The plugin of the configuration does not exist, and nothing waits for it.
#[test]
fn a_configuration_for_inspect_is_only_parsed() {
    play(async |stage| {
        let (stored, _) = stored(&stage).await;
        let config = stage.file("kms.yaml", kms_config(&[("dekker", &stage.path("no.sock"))]));
        let args = ["inspect", "--encryption-provider-config", &config.display().to_string()];
        let text = stage.run(&args, &stored).await;
        assert!(text.text().starts_with("provider     kms v2 \"dekker\"\n"), "{text:?}");
        assert_eq!((text.code, &*text.stderr), (Some(0), ""));

        let faulty = stage.file("faulty.yaml", with_key("")).display().to_string();
        let args = ["inspect", "--encryption-provider-config", &faulty];
        let refused = stage.run(&args, &stored).await;
        assert_eq!((refused.code, refused.stdout.len()), (Some(1), 0), "{refused:?}");
        let place = format!(
            "dekker: {faulty}: the file is not a valid encryption configuration: 8:15: resources[0].providers[0].aesgcm.keys[0].name: "
        );
        assert!(refused.stderr.starts_with(&place), "{refused:?}");
        assert!(!refused.stderr.contains("MDEy"), "a secret: {refused:?}");
    });
}
