//! Tests the whole path from bytes to a configuration or its errors.
//!
//! Texts that come from upstream were compared with the decoder and the validation of k8s.io/apiserver v0.37.2.

mod hints;
mod hostile;
mod rules;

use super::{Config, KmsVersion, Provider, SocketAddress, check, show};
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec;
use alloc::vec::Vec;
use core::time::Duration;

const HEAD: &str = "apiVersion: apiserver.config.k8s.io/v1\nkind: EncryptionConfiguration\n";
const KEY16: &str = "MDEyMzQ1Njc4OWFiY2RlZg==";
const KEY32: &str = "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=";

fn provider(text: &str) -> String {
    format!("{HEAD}resources:\n- resources: [secrets]\n  providers:\n  - {text}\n")
}

fn kms(fields: &str) -> String {
    provider(&format!("kms: {{{fields}}}"))
}

fn valid() -> String {
    format!(
        "{HEAD}resources:\n- resources: [secrets, \"*.apps\"]\n  providers:\n  - kms: {{apiVersion: v2, name: k, endpoint: 'unix:///@k', timeout: 1.5s}}\n  - kms: {{name: old, endpoint: 'unix:///run/old.sock'}}\n  - aescbc: {{keys: [{{name: a, secret: {KEY16}}}]}}\n  - aesgcm:\n      keys:\n      - name: b\n        secret: \"{KEY32}\"\n  - secretbox: {{keys: [{{name: c, secret: '{KEY32}'}}]}}\n  - identity: {{}}\n"
    )
}

fn faults(text: &str, reload: bool) -> Vec<String> {
    check(text.as_bytes(), reload).faults.iter().map(ToString::to_string).collect()
}

fn places(text: &str) -> Vec<String> {
    let report = check(text.as_bytes(), false);
    report.faults.iter().map(|f| f.position.map_or("-".to_string(), |at| at.to_string())).collect()
}

#[test]
fn a_valid_file_loads_with_defaults() {
    let config = Config::load(valid().as_bytes(), true).unwrap();
    let [rule] = config.rules.as_slice() else { panic!("{config:?}") };
    let names: Vec<String> = rule.resources.iter().map(ToString::to_string).collect();
    assert_eq!(names, ["secrets", "*.apps"]);
    let [
        Provider::Kms(v2),
        Provider::Kms(v1),
        Provider::AesCbc(cbc),
        Provider::AesGcm(gcm),
        Provider::Secretbox(boxed),
        Provider::Identity,
    ] = rule.providers.as_slice()
    else {
        panic!("{rule:?}")
    };
    assert_eq!(
        (v2.version, v2.cache_size, v2.timeout),
        (KmsVersion::V2, None, Duration::from_millis(1500))
    );
    assert_eq!(v2.address, SocketAddress::Abstract("k".to_string()));
    assert_eq!(
        (v1.version, v1.cache_size, v1.timeout),
        (KmsVersion::V1, Some(1000), Duration::from_secs(3))
    );
    assert_eq!(v1.address, SocketAddress::Path("/run/old.sock".to_string()));
    assert_eq!(&*cbc[0].secret, b"0123456789abcdef");
    assert_eq!((gcm[0].secret.len(), boxed[0].secret.len()), (32, 32));
    assert!(!format!("{config:?}").contains("48, 49"), "Debug prints key bytes");
}

#[test]
fn other_valid_forms_of_a_file_load() {
    let ok = "resources:\n- resources: [secrets]\n  providers: [identity: {}]\n";
    let json = r#"{"apiVersion":"apiserver.config.k8s.io/v1","kind":"EncryptionConfiguration","resources":[{"resources":["yes"],"providers":[{"identity":{}}]}]}"#;
    let table = [
        ("legacy kind", format!("apiVersion: v1\nkind: EncryptionConfig\n{ok}")),
        ("CRLF", format!("{HEAD}{ok}").replace('\n', "\r\n")),
        ("byte order mark", format!("\u{feff}{HEAD}{ok}")),
        ("only the first document counts", format!("{HEAD}{ok}---\nfoo: [\n")),
        ("JSON", json.to_string()),
        ("JSON with tabs and line breaks", json.replace(':', ":\n\t").replace('{', "{\n\t")),
        (
            "null is absent",
            format!("{HEAD}{ok}").replace("[identity: {}]", "[{identity: {}, kms: null}]"),
        ),
        (
            "alias and merge",
            format!(
                "{HEAD}resources:\n- &x\n  resources: [secrets]\n  providers: [identity: {{}}]\n- <<: *x\n"
            ),
        ),
        ("YAML 1.1 directive", format!("%YAML 1.1\n---\n{HEAD}{ok}")),
    ];
    for (desc, text) in table {
        assert_eq!(faults(&text, false), [""; 0], "{desc}");
    }
}

#[test]
fn seven_errors_are_reported_together_with_positions() {
    let text = format!(
        "{HEAD}resources:\n- resources: [Secrets]\n  colour: red\n  providers:\n  - kms:\n      name: 5\n      endpoint: unix:rel.sock\n      timeout: 0s\n  - aescbc:\n      keys:\n      - name: é\n        secret: AAAA\n  - {{}}\n"
    )
    .replace('\n', "\r\n");
    let got = check(text.as_bytes(), false).faults;
    let paths: Vec<&str> = got.iter().map(|fault| fault.path.as_str()).collect();
    assert_eq!(
        paths,
        [
            "resources[0].colour",
            "resources[0].providers[0].kms.name",
            "resources[0].resources[0]",
            "resources[0].providers[0].kms.timeout",
            "resources[0].providers[0].kms.endpoint",
            "resources[0].providers[1].aescbc.keys[0].secret",
            "resources[0].providers[2]",
        ]
    );
    assert_eq!(places(&text), ["5:3", "8:13", "4:15", "10:16", "9:17", "14:17", "15:5"]);
}

#[test]
fn columns_count_characters() {
    assert_eq!(
        places(&format!("{HEAD}\"é\": 1\nresources: [é: 1, bé: 2]\n")),
        ["3:1", "4:13", "4:19", "4:13", "4:13", "4:19", "4:19"]
    );
}

#[test]
fn the_shown_configuration_has_defaults_and_no_secrets_and_loads_again() {
    let shown = show(valid().as_bytes()).unwrap();
    assert!(shown.contains("      apiVersion: v1\n      name: old\n      endpoint: \"unix:///run/old.sock\"\n      timeout: 3s\n      cachesize: 1000\n"), "{shown}");
    assert!(
        shown.contains("  - \"*.apps\"\n") && !shown.contains(KEY16) && !shown.contains(KEY32),
        "{shown}"
    );
    let again = shown.replace("REDACTED", KEY32);
    assert_eq!(show(again.as_bytes()).unwrap(), shown);
}

#[test]
fn lint_warns_of_likely_mistakes() {
    let table = [
        (
            "no warnings",
            kms("apiVersion: v2, name: a, endpoint: 'unix:///a', timeout: 30s"),
            vec![],
        ),
        (
            "identity at the end is fine",
            provider(&format!(
                "secretbox: {{keys: [{{name: a, secret: {KEY32}}}]}}\n  - identity: {{}}"
            )),
            vec![],
        ),
        (
            "identity first",
            provider(&format!(
                "identity: {{}}\n  - secretbox: {{keys: [{{name: a, secret: {KEY32}}}]}}"
            )),
            vec!["identity is first"],
        ),
        ("only identity", provider("identity: {}"), vec!["identity is the only provider"]),
        (
            "cbc",
            provider(&format!("aescbc: {{keys: [{{name: a, secret: {KEY32}}}]}}")),
            vec!["aescbc does not detect"],
        ),
        (
            "gcm",
            provider(&format!("aesgcm: {{keys: [{{name: a, secret: {KEY32}}}]}}")),
            vec!["rotate its key"],
        ),
        (
            "KMS v1, slow, with a host",
            kms("name: a, endpoint: 'unix://run/a', timeout: 31s"),
            vec!["deprecated", "more than 30s", "only the path"],
        ),
        (
            "no secrets",
            kms("apiVersion: v2, name: a, endpoint: 'unix:///a'")
                .replace("[secrets]", "[configmaps]"),
            vec!["no rule covers secrets"],
        ),
        (
            "a second document",
            format!("{}---\n", kms("apiVersion: v2, name: a, endpoint: 'unix:///a'")),
            vec!["only the first document"],
        ),
    ];
    for (desc, text, want) in table {
        let report = check(text.as_bytes(), false);
        assert_eq!(report.faults, [], "{desc}");
        let got = report.warnings;
        assert!(got.iter().all(|warning| warning.position.is_some()), "{desc}: {got:?}");
        assert!(
            got.len() == want.len()
                && got.iter().zip(&want).all(|(got, want)| got.message.contains(want)),
            "{desc}: {got:?}"
        );
    }
}
