use std::io::Cursor;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;

use super::*;
use crate::core_engine::{ByEngine, Core, case};
use crate::slow_pipe::{self, Arrived};
use crate::{Location, Opened};

const TOKEN: &[u8] = b"/registry/secrets/default/token";

fn given<'a>(key: Option<&'a [u8]>, resource: Option<&'a str>) -> Given<'a> {
    Given { key, resource, needs_resource: true }
}

fn input(bytes: &[u8]) -> Input {
    Input::new(Box::new(Cursor::new(bytes.to_vec())), "the test".to_owned())
}

/// Decrypts with the configuration `config`. Returns the lines of output.
fn lines(config: &str, given: Given<'_>, bytes: &[u8]) -> Vec<Value> {
    let mut decryptor = ByEngine::new(config);
    lines_by(&mut decryptor, given, bytes)
}

fn lines_by(decryptor: &mut dyn Decryptor, given: Given<'_>, bytes: &[u8]) -> Vec<Value> {
    let mut sink = JsonLines(Vec::new());
    let failed = Decrypt { decryptor, given }.each(input(bytes), &mut sink).unwrap();
    let text = String::from_utf8(sink.0).unwrap();
    let lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let with_error = lines.iter().filter(|line| line.get("error").is_some()).count() as u64;
    assert_eq!(with_error, failed, "{lines:?}");
    lines
}

fn plaintext(line: &Value) -> Vec<u8> {
    let text = line["plaintext"].as_str().unwrap_or_else(|| panic!("{line}"));
    STANDARD.decode(text).unwrap()
}

/// Decrypts the only value of an input.
fn raw(config: &str, given: Given<'_>, bytes: &[u8]) -> anyhow::Result<(Vec<u8>, bool)> {
    let mut decryptor = ByEngine::new(config);
    let mut out = Vec::new();
    let decrypt = Decrypt { decryptor: &mut decryptor, given };
    let is_complete = decrypt.one(input(bytes), &mut out)?;
    Ok((out, is_complete))
}

#[test]
fn every_form_of_a_value_decrypts_to_the_same_bytes() {
    let token = given(Some(TOKEN), None);
    let (gcm, is_complete) = raw("cfg.yaml", token, &case("gcm.bin")).unwrap();
    assert!(is_complete && gcm.starts_with(b"k8s\0"), "{gcm:?}");
    let (cbc, _) = raw("cfg.yaml", token, &case("cbc.bin")).unwrap();
    for (name, expected) in [
        ("value-only.txt", &gcm),
        ("value-only-cbc.txt", &cbc),
        ("plain-simple.txt", &gcm),
        ("plain-simple-cbc.txt", &cbc),
        ("w-json.txt", &gcm),
        ("w-json-bom.txt", &gcm),
        ("w-fields.txt", &gcm),
        ("jq-value-quoted.txt", &gcm),
        ("b64url.txt", &gcm),
        ("xxd-p.txt", &gcm),
        ("xxd.txt", &gcm),
        ("hexdump-C.txt", &gcm),
        ("hexdump-C-indent.txt", &gcm),
        ("hexdump-C-valueonly.txt", &gcm),
        ("pg-bytea.txt", &gcm),
    ] {
        let (plaintext, is_complete) =
            raw("cfg.yaml", token, &case(name)).unwrap_or_else(|error| panic!("{name}: {error}"));
        assert!(plaintext == *expected && is_complete, "{name}: {plaintext:?}");
        // Without --key, where the input has the key.
        let has_key = name.starts_with("plain") || name.starts_with("w-") || name.contains("xxd.");
        if has_key || name.starts_with("hexdump-C.") || name.starts_with("hexdump-C-i") {
            let (plaintext, _) = raw("cfg.yaml", given(None, None), &case(name)).unwrap();
            assert!(plaintext == *expected, "{name}: {plaintext:?}");
        }
    }
    for (name, expected) in [("w-json-two.txt", [&gcm, &gcm]), ("jq-values.txt", [&gcm, &cbc])] {
        let lines = lines("cfg.yaml", token, &case(name));
        assert!(lines.iter().map(plaintext).eq(expected.into_iter().cloned()), "{name}");
    }
}

#[test]
fn names_with_colons_decrypt() {
    let stored = case("k3s-colon.bin");
    let (plaintext, _) = raw("k3s-config.json", given(Some(TOKEN), None), &stored).unwrap();
    assert!(plaintext.starts_with(b"k8s\0"), "{plaintext:?}");
}

#[test]
fn a_removed_line_end_is_named() {
    for (name, notes) in [("gcm.bin", 0), ("value-only.txt", 1), ("hexdump-C-valueonly.txt", 1)] {
        let lines = lines("cfg.yaml", given(Some(TOKEN), None), &case(name));
        let found = lines[0]["notes"].as_array().map_or(0, Vec::len);
        assert_eq!(found, notes, "{name}: {lines:?}");
    }
}

/// The last byte of a value may be a line feed that belongs to it.
#[test]
fn a_line_end_that_belongs_to_the_value_stays() {
    let stored = [&case("gcm.bin")[..], b"\n"].concat();
    struct Whole(Vec<u8>);
    impl Decryptor for Whole {
        fn decrypt(
            &mut self,
            _: Location<'_>,
            stored: &[u8],
        ) -> anyhow::Result<anyhow::Result<Opened>> {
            if stored != self.0 {
                return Ok(Err(anyhow::anyhow!("message authentication failed")));
            }
            let bytes = zeroize::Zeroizing::new(b"whole".to_vec());
            Ok(Ok(Opened { bytes, stale: Some(false), state: None, key_id_hash: None }))
        }
    }
    let lines = lines_by(&mut Whole(stored.clone()), given(Some(TOKEN), None), &stored);
    assert_eq!(plaintext(&lines[0]), b"whole");
    assert_eq!(lines[0].get("notes"), None);
}

/// Help costs more than an attempt. A reading that fails needs none if another one succeeds.
#[test]
fn help_is_requested_once_for_a_value_that_has_finally_failed() {
    #[derive(Default)]
    struct Opens {
        stored: Option<Vec<u8>>,
        attempts: usize,
        helps: Vec<(String, String, Vec<u8>)>,
    }
    impl Decryptor for Opens {
        fn decrypt(
            &mut self,
            _: Location<'_>,
            stored: &[u8],
        ) -> anyhow::Result<anyhow::Result<Opened>> {
            self.attempts += 1;
            if self.stored.as_deref() != Some(stored) {
                return Ok(Err(anyhow::anyhow!("attempt {} failed", self.attempts)));
            }
            let bytes = zeroize::Zeroizing::new(b"whole".to_vec());
            Ok(Ok(Opened { bytes, stale: Some(false), state: None, key_id_hash: None }))
        }

        fn help(&mut self, error: &anyhow::Error, at: Location<'_>, stored: &[u8]) -> Vec<String> {
            self.helps.push((error.to_string(), at.resource.to_owned(), stored.to_vec()));
            vec!["the cause".to_owned(), "the remedy".to_owned()]
        }
    }
    let value = case("gcm.bin");
    let with_line_end = [&value[..], b"\n"].concat();
    let mut decryptor = Opens { stored: Some(with_line_end.clone()), ..Opens::default() };
    lines_by(&mut decryptor, given(Some(TOKEN), None), &with_line_end);
    assert_eq!((decryptor.attempts, decryptor.helps.len()), (2, 0));

    let mut decryptor = Opens::default();
    let lines = lines_by(&mut decryptor, given(Some(TOKEN), None), &with_line_end);
    assert_eq!(lines[0]["error"], "attempt 1 failed\nhelp: the cause\nhelp: the remedy");
    let expected = ("attempt 1 failed".to_owned(), "secrets".to_owned(), value);
    assert_eq!((decryptor.attempts, decryptor.helps), (2, vec![expected]));

    // The engine was not called.
    let mut decryptor = Opens::default();
    let lines = lines_by(&mut decryptor, given(None, None), &with_line_end);
    assert!(lines[0]["error"].as_str().unwrap().contains("pass --key"), "{lines:?}");
    assert_eq!((decryptor.attempts, decryptor.helps.len()), (0, 0));
}

#[test]
fn values_are_decrypted_in_groups() {
    #[derive(Default)]
    struct Together(Vec<usize>);
    impl Decryptor for Together {
        fn decrypt(&mut self, _: Location<'_>, _: &[u8]) -> anyhow::Result<anyhow::Result<Opened>> {
            unreachable!("each value has one reading")
        }

        fn decrypt_many(
            &mut self,
            values: &[(Location<'_>, &[u8])],
        ) -> anyhow::Result<Vec<anyhow::Result<Opened>>> {
            self.0.push(values.len());
            let opened = |(_, stored): &(Location<'_>, &[u8])| {
                Ok(Opened::without_state(stored[stored.len() - 4..].to_vec().into(), None))
            };
            Ok(values.iter().map(opened).collect())
        }
    }
    let entry = |number: usize, length: usize| {
        let stored = [&b"k8s:enc:aesgcm:v1:key1:"[..], &vec![7; length]].concat();
        let stored = [stored, format!("{number:04}").into_bytes()].concat();
        let row = format!(
            r#"{{"key":"{}","value":"{}"}}"#,
            STANDARD.encode(TOKEN),
            STANDARD.encode(stored)
        );
        dekker_forms::read_all(row.as_bytes(), dekker_forms::Limits::default()).remove(0)
    };
    for (count, length, groups) in [
        (0, 100, &[0][..]),
        (1, 100, &[1]),
        (600, 100, &[256, 256, 88]),
        (3, 400 * 1024, &[2, 1]),
        (3, 2 * 1024 * 1024, &[1, 1, 1]),
    ] {
        let mut together = Together::default();
        let mut sink = JsonLines(Vec::new());
        let decrypt = Decrypt { decryptor: &mut together, given: given(None, None) };
        let mut group = Group::new(decrypt, &mut sink);
        for number in 0..count {
            group.add(entry(number, length)).unwrap();
        }
        assert_eq!(group.finish().unwrap(), 0);
        assert_eq!(together.0, groups, "{count} of {length} bytes");
        let text = String::from_utf8(sink.0).unwrap();
        let numbers = text.lines().map(|line| plaintext(&serde_json::from_str(line).unwrap()));
        assert!(numbers.eq((0..count).map(|number| format!("{number:04}").into_bytes())));
    }
}

/// The first value waits for the second only if its location depends on whether there is a second one.
#[test]
fn the_first_value_waits_for_the_second_only_if_arguments_name_its_location() {
    let item =
        || dekker_forms::read_all(&case("w-json.txt"), dekker_forms::Limits::default()).remove(0);
    for (given, written) in [(given(None, None), [1, 2]), (given(Some(TOKEN), None), [0, 2])] {
        let arrived = Arrived::default();
        let mut sink = JsonLines(arrived.clone());
        let mut decryptor = ByEngine::new("cfg.yaml");
        let mut group = Group::new(Decrypt { decryptor: &mut decryptor, given }, &mut sink);
        for count in written {
            group.add(item()).unwrap();
            group.before_waiting().unwrap();
            assert_eq!(arrived.values(), count);
        }
        group.finish().unwrap();
        assert_eq!(arrived.values(), 2);
    }
}

#[test]
fn it_goes_on_past_values_that_fail() {
    // The second value needs key2. The third is plaintext, which the rule's `identity` reads.
    let lines = lines("cfg.yaml", given(None, None), &case("dump-many.txt"));
    let [first, second, third] = lines.as_slice() else { panic!("{lines:?}") };
    assert!(plaintext(first).starts_with(b"k8s\0"));
    assert_eq!((&first["resource"], &first["stale"]), (&"secrets".into(), &false.into()));
    assert!(second["error"].as_str().unwrap().contains("no matching key"), "{second}");
    assert_eq!(second["key"], "/registry/secrets/a/2");
    assert!(plaintext(third).starts_with(b"k8s\0"));
    assert_eq!(third["stale"], true);
}

/// As from `etcdctl watch`. The first value does not wait for the second either.
#[test]
fn values_are_written_before_more_input_is_awaited() {
    let arrived = Arrived::default();
    let mut decryptor = ByEngine::new("cfg.yaml");
    let decrypt = Decrypt { decryptor: &mut decryptor, given: given(None, None) };
    let mut sink = JsonLines(BufWriter::new(arrived.clone()));
    assert_eq!(decrypt.each(slow_pipe::open(&arrived), &mut sink).unwrap(), 0);
    assert_eq!(arrived.values(), slow_pipe::VALUES);
}

#[test]
fn raw_output_takes_one_value() {
    for name in ["dump-many.txt", "w-json-two.txt", "jq-values.txt"] {
        let mut decryptor = ByEngine::new("cfg.yaml");
        let mut out = Vec::new();
        let decrypt =
            Decrypt { decryptor: &mut decryptor, given: given(Some(TOKEN), Some("secrets")) };
        let error = decrypt.one(input(&case(name)), &mut out).unwrap_err().to_string();
        assert!(error.contains("-o jsonl") && error.contains("--output-dir"), "{error}");
        assert!(out.is_empty() && decryptor.calls.is_empty(), "{name}");
    }
}

#[test]
fn inputs_without_a_value_are_faults() {
    for name in ["utf8-mangled.bin", "replacement.bin", "gz.bin", "snapshot-like.db"] {
        let (out, is_complete) =
            raw("cfg.yaml", given(Some(TOKEN), Some("secrets")), &case(name)).unwrap();
        assert!(out.is_empty() && !is_complete, "{name}");
    }
    for bytes in [&b""[..], b"\n", b"hello", b"{}"] {
        let (out, is_complete) =
            raw("cfg.yaml", given(Some(TOKEN), Some("secrets")), bytes).unwrap();
        assert!(out.is_empty() && !is_complete, "{bytes:?}");
    }
}

#[test]
fn damaged_values_and_other_keys_are_errors() {
    for (config, name, part) in [
        ("cfg.yaml", "hexdump-C-head.txt", ""),
        ("cfg.yaml", "cbc-trunc.bin", ""),
        ("cfg.yaml", "trunc20.bin", "no matching prefix"),
        ("cfg.yaml", "trunc40.bin", ""),
        ("cfg.yaml", "typo-prefix.bin", "no matching prefix"),
        // One byte too many.
        ("cfg.yaml", "b64-nopad.txt", "authentication"),
        ("cfg-key2.yaml", "cbc.bin", "no matching key"),
        ("cfg-otherkey.yaml", "cbc.bin", ""),
        ("cfg.yaml", "k3s-colon-gcm.bin", "no matching key"),
    ] {
        let error = raw(config, given(Some(TOKEN), None), &case(name)).unwrap_err().to_string();
        assert!(error.contains(part), "{name}: {error}");
    }
}

#[test]
fn a_value_that_is_encrypted_twice_is_named() {
    let lines = lines("cfg.yaml", given(Some(TOKEN), None), &case("double.bin"));
    assert!(plaintext(&lines[0]).starts_with(b"k8s:enc:"));
    assert!(lines[0]["notes"][0].as_str().unwrap().contains("encrypted twice"), "{lines:?}");
}

#[test]
fn plaintext_goes_through_the_engine() {
    let object = case("json-obj.bin");
    let secrets = given(Some(b"/registry/x.example.com/crontabs/a/b"), Some("secrets"));
    let (plaintext, _) = raw("cfg.yaml", secrets, &object).unwrap();
    assert_eq!(plaintext, object);
}

#[test]
fn key_and_resource_come_from_the_input_or_from_the_arguments() {
    let mut decryptor = ByEngine::new("cfg.yaml");
    let mut ask = |given: Given<'_>, name: &str| {
        lines_by(&mut decryptor, given, &case(name));
        let (resource, key, _) = decryptor.calls.pop().unwrap();
        (resource, String::from_utf8(key).unwrap())
    };
    let token = String::from_utf8(TOKEN.to_vec()).unwrap();
    let named = |resource: &str, key: &str| (resource.to_owned(), key.to_owned());
    assert_eq!(ask(given(None, None), "w-json.txt"), named("secrets", &token));
    assert_eq!(
        ask(given(Some(b"/registry/pods/a/b"), None), "w-json.txt"),
        named("pods", "/registry/pods/a/b")
    );
    assert_eq!(ask(given(None, Some("pods")), "w-json.txt"), named("pods", &token));
    // With several values, the arguments do not override the input.
    assert_eq!(ask(given(Some(b"/k"), Some("pods")), "w-json-two.txt"), named("secrets", &token));
    // aescbc and secretbox do not bind a value to its key.
    assert_eq!(ask(given(None, Some("secrets")), "cbc.bin"), named("secrets", ""));
    let lines = lines("cfg.yaml", given(None, Some("secrets")), &case("gcm.bin"));
    assert!(lines[0]["error"].as_str().unwrap().contains("--key"), "{lines:?}");
    let lines = self::lines("cfg.yaml", given(None, None), &case("cbc.bin"));
    assert!(lines[0]["error"].as_str().unwrap().contains("--resource"), "{lines:?}");
}

#[test]
fn a_directory_gets_a_file_for_each_value() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("out");
    let mut decryptor = ByEngine::new("cfg.yaml");
    let decrypt = Decrypt { decryptor: &mut decryptor, given: given(None, None) };
    let failed =
        decrypt.each(input(&case("dump-many.txt")), &mut Directory::create(&path).unwrap());
    assert_eq!(failed.unwrap(), 1);
    let mut names: Vec<_> = std::fs::read_dir(&path)
        .unwrap()
        .map(|file| file.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    assert_eq!(names, ["%2Fregistry%2Fsecrets%2Fa%2F1", "%2Fregistry%2Fsecrets%2Fa%2F3"]);
    let read = |name: &str| std::fs::read(path.join(name)).unwrap();
    assert!(names.iter().all(|name| read(name).starts_with(b"k8s\0")));
}

#[test]
fn a_dek_decrypts_without_a_resource() {
    let vectors = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/vectors/kms-v2-key.json");
    let vectors: Value = serde_json::from_str(&std::fs::read_to_string(vectors).unwrap()).unwrap();
    let vector = &vectors["vectors"][0];
    let stored = STANDARD.decode(vector["stored"].as_str().unwrap()).unwrap();
    let mut with_dek = WithDek::new(&Core, vec![0; 32]);
    let given = Given { key: Some(TOKEN), resource: None, needs_resource: false };
    // The wrong DEK: the value was reached, and only its authentication failed.
    let lines = lines_by(&mut with_dek, given, &stored);
    let error = lines[0]["error"].as_str().unwrap();
    assert!(error.contains("message authentication failed"), "{error}");
}

/// Whatever bytes a value has, it is decrypted as it is or without a line end.
#[test]
fn every_recorded_value_is_read_as_it_is() {
    let mut count = 0;
    for name in ["aesgcm", "aescbc", "secretbox", "kms-v1", "kms-v2-seed", "kms-v2-key"] {
        let path = format!("{}/../../tests/vectors/{name}.json", env!("CARGO_MANIFEST_DIR"));
        let file: Value = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
        for vector in file["vectors"].as_array().unwrap() {
            let Some(stored) = vector["stored"].as_str() else { continue };
            let stored = STANDARD.decode(stored).unwrap();
            let items = dekker_forms::read_all(&stored, dekker_forms::Limits::default());
            if !stored.starts_with(b"k8s:enc:") {
                assert!(matches!(items.as_slice(), [Err(_)]), "{name}: {items:?}");
                continue;
            }
            let [Ok(entry)] = items.as_slice() else {
                panic!("{name}: {}: {items:?}", vector["name"])
            };
            let readings = entry.probable_readings(&[]);
            assert!(readings.iter().any(|reading| *reading == stored), "{}", vector["name"]);
            count += 1;
        }
    }
    assert!(count > 200, "{count}");
}
