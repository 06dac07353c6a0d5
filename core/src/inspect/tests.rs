mod cases;

use alloc::string::ToString;
use alloc::vec;
use alloc::vec::Vec;

use super::*;

fn value(prefix: &str, body: &[u8]) -> Vec<u8> {
    [prefix.as_bytes(), body].concat()
}

/// Encodes an envelope field by field, so that the test does not depend on Dekker's own encoder.
fn envelope(source_type: u8, data: &[u8]) -> Vec<u8> {
    let mut out = vec![0x0a, data.len() as u8];
    out.extend_from_slice(data);
    out.extend_from_slice(b"\x12\x03key\x1a\x03dek\x22\x0a\x0a\x05a.b.c\x12\x01v");
    out.extend_from_slice(&[0x28, source_type]);
    out
}

#[test]
fn every_format_is_recognized_and_measured() {
    let table = [
        ("plaintext", value("", b"k8s\0x"), "identity", 5),
        ("aesgcm", value("k8s:enc:aesgcm:v1:k:", &[0; 12 + 7 + 16]), "aesgcm", 7),
        ("aesgcm of nothing", value("k8s:enc:aesgcm:v1:k:", &[0; 28]), "aesgcm", 0),
        ("aescbc of one block", value("k8s:enc:aescbc:v1:k:", &[0; 32]), "aescbc", 15),
        ("secretbox", value("k8s:enc:secretbox:v1:k:", &[0; 24 + 16 + 9]), "secretbox", 9),
        (
            "kms v1",
            value("k8s:enc:kms:v1:p:", &[&[0, 3, 1, 2, 3][..], &[0; 12 + 5 + 16]].concat()),
            "kms",
            5,
        ),
        ("kms v2, key", value("k8s:enc:kms:v2:p:", &envelope(0, &[0; 12 + 4 + 16])), "kms", 4),
        (
            "kms v2, seed",
            value("k8s:enc:kms:v2:p:", &envelope(1, &[0; 32 + 12 + 4 + 16])),
            "kms",
            4,
        ),
    ];
    for (desc, stored, provider, plaintext_size) in table {
        let seen = inspect(&stored).unwrap();
        assert_eq!(
            (seen.origin.provider, seen.plaintext_size, seen.size),
            (provider, plaintext_size, stored.len()),
            "{desc}"
        );
        let mut end = 0;
        for segment in &seen.layout {
            assert_eq!(segment.offset, end, "{desc}: the layout has no gaps");
            end += segment.length;
        }
        assert_eq!(end, stored.len(), "{desc}: the layout covers everything");
    }
}

#[test]
fn kms_v2_shows_hash_type_and_annotation_names_only() {
    let json = inspect_json(&value("k8s:enc:kms:v2:p:", &envelope(1, &[0; 61]))).unwrap();
    for shown in [
        "2c70e12b7a0646f92279f427c7b38e7334d8e5389cff167a1dc30e73f826b683",
        "HKDF_SHA256_XNONCE_AES_GCM_SEED",
        "a.b.c",
        "\"p\"",
    ] {
        assert!(json.contains(shown), "{shown} in {json}");
    }
    assert!(!json.contains("\"key\""), "the key ID is not shown: {json}");
}

#[test]
fn a_damaged_value_is_reported_with_the_cause() {
    let table = [
        ("nothing", value("", b""), "is empty"),
        ("unknown", value("k8s:enc:rot13:v1:k:", b"x"), "not with a prefix"),
        ("no name", value("k8s:enc:aesgcm:v1:", b"abc"), "not followed by a name"),
        ("short", value("k8s:enc:aesgcm:v1:k:", &[0; 27]), "27 bytes"),
        ("an IV and nothing else", value("k8s:enc:aescbc:v1:k:", &[0; 16]), "16 bytes follow"),
        ("half a block", value("k8s:enc:aescbc:v1:k:", &[0; 40]), "24 bytes"),
        (
            "kms v1, length past the end",
            value("k8s:enc:kms:v1:p:", &[255, 255, 0]),
            "at least 65565",
        ),
        ("kms v2, not protobuf", value("k8s:enc:kms:v2:p:", &[0x0a, 0xff]), "cut short"),
        (
            "kms v2, cut short in the data",
            value("k8s:enc:kms:v2:p:", &[0x0a, 30, 1, 2]),
            "a field is cut short at byte 19; at least 32 bytes are missing",
        ),
        (
            "kms v2, cut short between fields",
            value("k8s:enc:kms:v2:p:", &[&[0x0a, 30][..], &[1; 30]].concat()),
            "(the value may be cut short)",
        ),
        (
            "kms v2, an annotation cut short in its length",
            value("k8s:enc:kms:v2:p:", &[0x22, 4, 0x0a, 9, b'a', b'b']),
            "an annotation is cut short at byte 21",
        ),
        (
            "kms v2, a damaged length",
            value("k8s:enc:kms:v2:p:", &[0x0a, 0xff, 0xff, 0xff, 0xff, 0x7f]),
            "a field is cut short at byte 23",
        ),
        (
            "kms v2, data shorter than a nonce and a tag",
            value("k8s:enc:kms:v2:p:", &envelope(0, &[0; 27])),
            "27 bytes, expected at least 28",
        ),
        (
            "kms v2, a line end of etcdctl",
            value("k8s:enc:kms:v2:p:", &[&envelope(0, &[0; 30])[..], b"\n"].concat()),
            "ends with a line end",
        ),
        (
            "a head of the prefix",
            value("k8s:enc:kms:", b""),
            "within its prefix, after k8s:enc:kms:",
        ),
        ("a head of k8s:enc:", value("k8s:en", b""), "within its prefix, after k8s:en"),
        ("nothing after the prefix", value("k8s:enc:kms:v1:", b""), "not followed by a name"),
        ("an empty name", value("k8s:enc:aesgcm:v1::", &[0; 40]), "not followed by a name"),
        (
            "kms v2, unknown type",
            value("k8s:enc:kms:v2:p:", &envelope(2, &[0; 61])),
            "unknown encryptedDEKSourceType: 2",
        ),
    ];
    for (desc, stored, expected) in table {
        let error = inspect(&stored).unwrap_err().to_string();
        assert!(error.contains(expected), "{desc}: {error}");
    }
}

/// Programs read the JSON, so its members and their order stay.
#[test]
fn the_json_of_a_value_is_fixed() {
    let layout = |parts: &[(&str, usize, usize)]| {
        let parts = parts.iter().map(|(name, offset, length)| {
            alloc::format!(r#"{{"name":"{name}","offset":{offset},"length":{length}}}"#)
        });
        parts.collect::<Vec<_>>().join(",")
    };
    let gcm =
        layout(&[("prefix", 0, 26), ("nonce", 26, 12), ("ciphertext", 38, 2), ("tag", 40, 16)]);
    let gcm = alloc::format!(
        r#"{{"provider":"aesgcm","keyName":"key:1ab","keyNameGuessed":true,"size":56,"plaintextSize":2,"layout":[{gcm}]}}"#
    );
    let kms = layout(&[
        ("prefix", 0, 17),
        ("length", 17, 2),
        ("encryptedDEK", 19, 1),
        ("nonce", 20, 12),
        ("tag", 32, 16),
    ]);
    let kms = alloc::format!(
        r#"{{"provider":"kms","apiVersion":"v1","providerName":"p","encryptedDEKSourceSize":1,"size":48,"plaintextSize":0,"layout":[{kms}]}}"#
    );
    let text = r#"{"provider":"identity","content":"text","size":1,"plaintextSize":1,"layout":[{"name":"plaintext","offset":0,"length":1}]}"#;
    for (desc, stored, expected) in [
        ("aesgcm", value("k8s:enc:aesgcm:v1:key:1ab:", &[0; 12 + 2 + 16]), Ok(&*gcm)),
        ("kms v1", value("k8s:enc:kms:v1:p:", &[&[0, 1][..], &[7; 29]].concat()), Ok(&kms)),
        ("identity", value("", b"x"), Ok(text)),
        (
            "no value",
            Vec::new(),
            Err(r#"{"error":"there is no value: the input is empty","size":0}"#),
        ),
        (
            "cut short",
            value("k8s:enc:aescbc:v1:key1:", &[0; 16]),
            Err(
                r#"{"error":"the value is cut short: 16 bytes follow k8s:enc:aescbc:v1:key1:, expected at least 32; at least 16 bytes are missing","provider":"aescbc","keyName":"key1","size":39,"missingAtLeast":16}"#,
            ),
        ),
        (
            "kms v2 without a body",
            value("k8s:enc:kms:v2:p:", b""),
            Err(
                r#"{"error":"the value is cut short: 0 bytes follow k8s:enc:kms:v2:p:, expected at least 36; at least 36 bytes are missing","provider":"kms","apiVersion":"v2","providerName":"p","size":17,"missingAtLeast":36}"#,
            ),
        ),
    ] {
        let json = inspect_json(&stored);
        assert_eq!(json.as_deref().map_err(|error| &**error), expected, "{desc}");
    }
}
