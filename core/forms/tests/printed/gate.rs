//! What may be plaintext, and what stands beside it.

use dekker_forms::{Content, FaultKind, Limits, read_all};

use super::printers::{PRINTERS, Pair};

/// etcd's own keys hold other values. Below `/registry/`, anything that is not a stored value is damaged.
#[test]
fn other_plaintext_needs_a_key_outside_of_kubernetes() {
    let item = |key: &str, value: &[u8]| {
        let pair = Pair { key: key.into(), value: value.to_vec(), revision: 1 };
        let json = PRINTERS.iter().find(|printer| printer.name == "get -w json").unwrap();
        let mut items = read_all(&(json.print)(&[pair]), Limits::default());
        (items.len(), items.remove(0).map(|entry| entry.content).map_err(|fault| fault.kind))
    };
    for (key, value, right) in [
        ("compact_rev_key", &b"1234"[..], Ok(Content::Other)),
        ("/bootstrap/abc", b"anything", Ok(Content::Other)),
        ("/bootstrap/abc", b"x k8s:enc: y", Err(FaultKind::EncryptedInside)),
        ("/bootstrap/abc", b"x 6b38733a656e633a y", Err(FaultKind::EncryptedInside)),
        ("/bootstrap/abc", b"azhzOmVuYzphZXNnY20=", Err(FaultKind::EncryptedInside)),
        ("/registry/secrets/a/b", b"anything", Err(FaultKind::Unrecognized)),
        ("/registry/secrets/a/b", b"k9s:enc:aesgcm:v1:k:", Err(FaultKind::Unrecognized)),
        ("/registry/secrets/a/b", b"k8s\0\n\x04k8s:enc:", Err(FaultKind::EncryptedInside)),
        ("/registry/secrets/a/b", b"k8s\0plain", Err(FaultKind::Damaged)),
        ("/registry/secrets/a/b", b"k8s\0\n\x0c\n\x02v1", Err(FaultKind::CutShort)),
        ("/registry/secrets/a/b", b"k8s:enc", Err(FaultKind::CutShort)),
        ("/registry/x.com/xs/a", b"\xd9\xd9\xf7\xa0", Ok(Content::Cbor)),
    ] {
        assert_eq!(item(key, value), (1, right), "{key} {value:?}");
    }
}

/// Whatever is skipped or not understood beside plaintext is searched for encrypted values.
#[test]
fn encrypted_values_beside_plaintext_are_faults() {
    let object = "{\"apiVersion\":\"v1\",\"kind\":\"Secret\"}";
    let pair = Pair { key: "/registry/x/y".into(), value: object.into(), revision: 1 };
    let json = PRINTERS.iter().find(|printer| printer.name == "get -w json").unwrap();
    let printed = String::from_utf8((json.print)(&[pair])).unwrap();
    for input in [
        printed.replace("{\"header\":", "{\"note\":\"azhzOmVuYzphZXNnY20=\",\"header\":"),
        printed.replace("\"version\":1", "\"version\":1,\"other\":\"k8s:enc:aesgcm\""),
        printed.replace("\"version\":1", "\"version\":1,\"6b38733a656e633a\":0"),
        format!("# k8s:enc:aesgcm:v1:key1:\n{object}"),
        format!("{{\"level\":\"warn\",\"x\":\"k8s:enc:\"}}\n{object}"),
        format!("{object}\n$ k8s:enc:aesgcm:v1:key1:\n"),
        format!("{object}{{\"x\":\"k8s:enc:\"}}"),
    ] {
        let items = read_all(input.as_bytes(), Limits::default());
        assert!(items.iter().any(Result::is_err), "{input}: {items:?}");
    }
}
