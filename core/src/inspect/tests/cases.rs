//! Values that people hold: the cases of dekker-forms, and what an inspection says of them.

use alloc::string::ToString;
use alloc::vec::Vec;

use super::super::*;
use crate::config::Config;

const TRUNC20: &[u8] = include_bytes!("../../../../tests/vectors/cases/values/trunc20.bin");
const TRUNC40: &[u8] = include_bytes!("../../../../tests/vectors/cases/values/trunc40.bin");
const CBC_TRUNC: &[u8] = include_bytes!("../../../../tests/vectors/cases/values/cbc-trunc.bin");
const TYPO_PREFIX: &[u8] = include_bytes!("../../../../tests/vectors/cases/values/typo-prefix.bin");
const K3S_COLON: &[u8] = include_bytes!("../../../../tests/vectors/cases/values/k3s-colon.bin");
const K3S_COLON_GCM: &[u8] =
    include_bytes!("../../../../tests/vectors/cases/values/k3s-colon-gcm.bin");
const DOUBLE: &[u8] = include_bytes!("../../../../tests/vectors/cases/values/double.bin");

const K3S_CBC: &str = "aescbckey-2026-03-09T09:46:54+01:00";
const K3S_GCM: &str = "aesgcmkey-2026-03-09T09:46:54+01:00";

#[test]
fn names_with_colons_are_whole() {
    let table = [
        // Only this name leaves whole blocks.
        (K3S_COLON, "aescbc", K3S_CBC, false, 150, 79),
        (K3S_COLON_GCM, "aesgcm", K3S_GCM, true, 152, 70),
        (DOUBLE, "aesgcm", "key1", false, 172, 121),
    ];
    for (stored, provider, name, is_guessed, size, plaintext_size) in table {
        let seen = inspect(stored).unwrap();
        let origin = &seen.origin;
        assert_eq!((origin.provider, origin.key_name.as_deref()), (provider, Some(name)));
        assert_eq!(origin.key_name_is_guessed, is_guessed, "{name}");
        assert_eq!((seen.size, seen.plaintext_size), (size, plaintext_size), "{name}");
        let json = inspect_json(stored).unwrap();
        assert_eq!(json.contains(r#","keyNameGuessed":true,"#), is_guessed, "{json}");
    }
}

#[test]
fn names_of_a_configuration_decide() {
    let config = |names: &[&str]| {
        let keys: Vec<_> = names
            .iter()
            .map(|name| alloc::format!("{{name: '{name}', secret: MDEyMzQ1Njc4OWFiY2RlZg==}}"))
            .collect();
        let keys = keys.join(", ");
        let file = alloc::format!(
            "apiVersion: apiserver.config.k8s.io/v1\nkind: EncryptionConfiguration\nresources:\n- resources: [secrets]\n  \
             providers:\n  - aescbc: {{keys: [{{name: other, secret: MDEyMzQ1Njc4OWFiY2RlZg==}}]}}\n  - aesgcm: {{keys: [{keys}]}}\n  \
             - kms: {{apiVersion: v2, name: vault, endpoint: 'unix:///run/kms.sock'}}\n  - identity: {{}}\n"
        );
        Config::load(file.as_bytes(), false).unwrap()
    };
    let seen = |names: &[&str]| {
        let config = config(names);
        let seen = inspect_with(K3S_COLON_GCM, &key_names(&config)).unwrap().origin;
        (seen.key_name.unwrap(), seen.key_name_is_guessed)
    };
    assert_eq!(seen(&["key1", K3S_GCM]), (K3S_GCM.into(), false));
    assert_eq!(seen(&["aesgcmkey-2026-03-09T09"]), ("aesgcmkey-2026-03-09T09".into(), false));
    // A configuration without the key, or with the name at another provider, does not decide.
    assert_eq!(seen(&["key1"]), (K3S_GCM.into(), true));
    assert_eq!(seen(&["other"]), (K3S_GCM.into(), true));
    let config = config(&["b"]);
    let names: Vec<_> = key_names(&config).into_iter().map(|known| known.name).collect();
    assert_eq!(names, ["other", "b", "vault"]);
    let prefixes: Vec<_> = key_names(&config).iter().map(KeyName::value_prefix).collect();
    assert_eq!(
        prefixes,
        ["k8s:enc:aescbc:v1:other:", "k8s:enc:aesgcm:v1:b:", "k8s:enc:kms:v2:vault:"]
    );
    let known: Vec<_> = prefixes.iter().map(|prefix| KeyName::of_value_prefix(prefix)).collect();
    assert!(known.into_iter().eq(key_names(&config).into_iter().map(Some)));
}

#[test]
fn a_file_that_is_not_valid_has_no_prefixes() {
    let faults = value_prefixes(b"kind: EncryptionConfiguration\nresources: []\n").unwrap_err();
    let first = faults.iter().next().unwrap();
    assert!(first.position.is_some(), "{faults}");
}

#[test]
fn what_is_known_of_a_damaged_value_is_reported() {
    type Row<'a> = (&'a [u8], &'a str, Option<&'a str>, Option<u64>, &'a str);
    let table: [Row; 4] = [
        (
            TRUNC20,
            "kms v2",
            None,
            Some(37),
            "the value is cut short: the prefix k8s:enc:kms:v2: is not followed by a name that ends with ':', only by \"1_sec\"; at least 37 bytes are missing",
        ),
        (
            TRUNC40,
            "aescbc",
            Some("key1"),
            Some(15),
            "the value is cut short: 17 bytes follow k8s:enc:aescbc:v1:key1:, expected at least 32; at least 15 bytes are missing",
        ),
        (
            CBC_TRUNC,
            "aescbc",
            Some("key1"),
            Some(5),
            "the value is cut short or damaged: 75 bytes follow k8s:enc:aescbc:v1:key1: and the IV, expected a multiple of 16; if it is cut short, at least 5 bytes are missing",
        ),
        (
            TYPO_PREFIX,
            "",
            None,
            None,
            "the value begins with k8s:enc:, but not with a prefix of aesgcm, aescbc, secretbox, kms v1 or kms v2 (did you mean aesgcm?)",
        ),
    ];
    for (stored, provider, key_name, missing, text) in table {
        let error = inspect(stored).unwrap_err();
        let Partial { origin, size, missing_at_least } = &*error.known;
        let (known, version) =
            (origin.iter().map(|it| it.provider), origin.iter().filter_map(|it| it.api_version));
        assert_eq!(known.chain(version).collect::<Vec<_>>().join(" "), provider);
        let known = origin.as_ref().and_then(|origin| origin.key_name.as_deref());
        assert_eq!((known, *size), (key_name, stored.len()), "{text}");
        if let Some(origin) = origin {
            assert_eq!((&origin.provider_name, origin.key_name_is_guessed), (&None, false));
        }
        assert_eq!(*missing_at_least, missing, "{text}");
        assert_eq!(error.to_string(), text);
    }
}

#[test]
fn json_of_a_damaged_value_has_the_members_that_are_known() {
    let json = inspect_json(TRUNC40).unwrap_err();
    let text = "the value is cut short: 17 bytes follow k8s:enc:aescbc:v1:key1:, expected at least 32; at least 15 bytes are missing";
    assert_eq!(
        json,
        alloc::format!(
            r#"{{"error":"{text}","provider":"aescbc","keyName":"key1","size":40,"missingAtLeast":15}}"#
        )
    );
    let json = inspect_json(b"k8s:enc:kms:v2:a:").unwrap_err();
    let known =
        r#","provider":"kms","apiVersion":"v2","providerName":"a","size":17,"missingAtLeast":36}"#;
    assert!(json.contains(known), "{json}");
}

/// Cuts values at every length. Each head is a value of the same provider, or an error; never plaintext, and never certain of part of a name.
#[test]
fn heads_of_a_value_are_never_something_else() {
    let table = [
        (K3S_COLON, "k8s:enc:aescbc:v1:", K3S_CBC),
        (K3S_COLON_GCM, "k8s:enc:aesgcm:v1:", K3S_GCM),
        (DOUBLE, "k8s:enc:aesgcm:v1:", "key1"),
    ];
    for (stored, prefix, name) in table {
        for len in 4..stored.len() {
            let origin = match inspect(&stored[..len]) {
                Ok(seen) => Some(seen.origin),
                Err(InspectError { fault, known }) => {
                    assert_eq!(known.size, len);
                    // At most as much is missing as was cut off.
                    let missing = known.missing_at_least.unwrap_or(1);
                    let cut = (stored.len() - len) as u64;
                    assert!((1..=cut).contains(&missing), "{len}: {fault}, {missing}");
                    known.origin
                }
            };
            let Some(Origin { provider, key_name, key_name_is_guessed, .. }) = origin else {
                continue;
            };
            assert_eq!(alloc::format!("k8s:enc:{provider}:v1:"), prefix, "{len}");
            let is_whole = key_name.as_deref().is_none_or(|seen| seen == name);
            assert!(is_whole || key_name_is_guessed, "{len}: {key_name:?}");
        }
    }
}

#[test]
fn a_line_end_of_etcdctl_is_named() {
    let mut stored = K3S_COLON.to_vec();
    stored.push(b'\n');
    let error = inspect(&stored).unwrap_err();
    assert_eq!(error.fault, InspectFault::LineEnd);
    assert_eq!(error.known.origin.as_ref().unwrap().key_name.as_deref(), Some(K3S_CBC));
    let text = "the value ends with a line end that is not a part of it: etcdctl adds one to what --print-value-only prints";
    assert_eq!(error.to_string(), text);
}

#[test]
fn similar_prefixes_are_suggested() {
    let table = [
        ("aes-gcm:v1:k:x", Some("aesgcm")),
        ("AESCBC:v1:k:x", Some("aescbc")),
        ("secretbocks:v1:k:x", None),
        ("kms:v3:k:x", Some("kms v2")),
        ("rot13:v1:k:x", None),
    ];
    for (rest, expected) in table {
        let error = inspect(alloc::format!("k8s:enc:{rest}").as_bytes()).unwrap_err();
        assert_eq!(error.fault, InspectFault::UnknownProvider { similar: expected }, "{rest}");
        let text = error.to_string();
        assert_eq!(text.contains("did you mean"), expected.is_some(), "{text}");
    }
}
