//! `dekker inspect` describes a value without any key.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use crate::stage::{Stage, play};

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
            ("etcd", "etcdctl", etcdctl.to_string().into_bytes()),
        ];
        for (encoding, desc, input) in table {
            let from = if input.is_empty() { file.as_str() } else { "-" };
            let text = stage.run(&["inspect", from], &input).await.done();
            let json = stage.run(&["inspect", from, "-o", "json"], &input).await.done();
            let values: Value = serde_json::from_slice(&json).expect("JSON");
            let value = &values[0];
            let size = stored.len();
            assert_eq!(values.as_array().map(Vec::len), Some(1), "{desc}");
            assert!(
                value["encoding"].as_str().is_some_and(|name| name.contains(encoding)),
                "{desc}: {value}"
            );
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
            let has_key = encoding == "etcd";
            assert_eq!(text.contains(&format!("key          {KEY}\n")), has_key, "{text}");
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
        let text = stage.run(&["inspect"], b"plain").await;
        assert!(text.text().starts_with("provider     identity\n"), "{text:?}");
        assert!(!text.text().contains("plain\n"), "{text:?}");
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
