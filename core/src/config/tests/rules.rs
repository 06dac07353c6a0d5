//! Each validation rule, its message and the order of the messages.

use super::{HEAD, KEY16, faults, kms, provider};
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec;
use alloc::vec::Vec;

#[test]
fn each_error_has_upstreams_text() {
    let p = "resources[0].providers[0]";
    let table: [(&str, String, Vec<String>); 27] = [
        ("no resources", HEAD.to_string(), vec!["resources: Required value: at least one resources is required".to_string()]),
        (
            "an empty rule",
            format!("{HEAD}resources: [{{}}]\n"),
            vec![
                "resources[0].resources: Required value: at least one resources[0].resources is required".to_string(),
                "resources[0].providers: Required value: at least one resources[0].providers is required".to_string(),
            ],
        ),
        (
            "the same resource twice",
            format!("{HEAD}resources:\n- {{resources: [a<b, a<b], providers: [identity: {{}}]}}\n"),
            vec![r#"resources[0].resources: Invalid value: ["a\u003cb","a\u003cb"]: the same resource cannot be specified multiple times"#.to_string()],
        ),
        (
            "no provider",
            provider("{}"),
            vec![format!(r#"{p}: Invalid value: {{"AESGCM":null,"AESCBC":null,"Secretbox":null,"Identity":null,"KMS":null}}: provider does not contain any of the expected providers: KMS, AESGCM, AESCBC, Secretbox, Identity"#)],
        ),
        (
            "two providers, whose secrets are not printed",
            provider(&format!("{{aescbc: {{keys: [{{name: a, secret: {KEY16}}}]}}, identity: {{}}}}")),
            vec![format!(r#"{p}: Invalid value: ["aescbc","identity"]: more than one provider specified in a single element, should split into different list elements"#)],
        ),
        ("no keys", provider("aescbc: {}"), vec![format!("{p}.aescbc.keys: Required value: at least one keys is required")]),
        (
            "an empty key",
            provider("aesgcm: {keys: [{}]}"),
            vec![
                format!("{p}.aesgcm.keys[0].name: Required value: name is a mandatory field for a key"),
                format!("{p}.aesgcm.keys[0].secret: Required value: secret is a mandatory field for a key"),
            ],
        ),
        (
            "not base64",
            provider("secretbox: {keys: [{name: a, secret: 'a b'}]}"),
            vec![format!(r#"{p}.secretbox.keys[0].secret: Invalid value: "REDACTED": secrets must be base64 encoded"#)],
        ),
        (
            "AES key length",
            provider("aescbc: {keys: [{name: a, secret: AAAA}]}"),
            vec![format!(r#"{p}.aescbc.keys[0].secret: Invalid value: "REDACTED": secret is not of the expected length, got 3, expected one of [16 24 32]"#)],
        ),
        (
            "secretbox key length",
            provider(&format!("secretbox: {{keys: [{{name: a, secret: {KEY16}}}]}}")),
            vec![format!(r#"{p}.secretbox.keys[0].secret: Invalid value: "REDACTED": secret is not of the expected length, got 16, expected one of [32]"#)],
        ),
        (
            "an empty KMS provider",
            kms(""),
            vec![
                format!("{p}.kms.name: Required value: name is a mandatory field for a provider"),
                format!(r#"{p}.kms.endpoint: Invalid value: "": endpoint is a mandatory field for a kms"#),
            ],
        ),
        (
            "all of a v2 provider, in upstream's order",
            kms("apiVersion: v2, cachesize: 3, endpoint: 'tcp://x', timeout: -1.5s, name: 'a:b'"),
            vec![
                format!(r#"{p}.kms.name: Invalid value: "a:b": invalid KMS provider name a:b, must not contain ':'"#),
                format!(r#"{p}.kms.timeout: Invalid value: "-1.5s": timeout should be a positive value"#),
                format!(r#"{p}.kms.endpoint: Invalid value: "tcp://x": unsupported scheme "tcp" for KMS provider, only unix is supported"#),
                format!("{p}.kms.cachesize: Invalid value: 3: cachesize is not supported in v2"),
            ],
        ),
        (
            "API version, with upstream's slip",
            kms("apiVersion: v3, cachesize: 0, name: a, endpoint: 'unix:///a'"),
            vec![
                format!("{p}.kms.cachesize: Invalid value: 0: cachesize is not supported in v2"),
                format!(r#"{p}.kms.apiVersion: Invalid value: "v3": unsupported apiVersion apiVersion for KMS provider, only v1 and v2 are supported"#),
            ],
        ),
        (
            "cachesize of v1",
            kms("cachesize: 0, name: a, endpoint: '://'"),
            vec![
                format!(r#"{p}.kms.endpoint: Invalid value: "://": invalid endpoint for kms provider, error: parse "://": missing protocol scheme"#),
                format!("{p}.kms.cachesize: Invalid value: 0: cachesize should be a positive value, or negative to disable"),
            ],
        ),
        ("duration", kms("timeout: 3x, name: a, endpoint: 'unix:///a'"), vec![format!(r#"{p}.kms.timeout: Invalid value: "3x": time: unknown unit "x" in duration "3x""#)]),
        ("duration is a string", kms("timeout: 3, name: a, endpoint: 'unix:///a'"), vec![format!(r#"{p}.kms.timeout: expected a duration such as "3s", found a number"#)]),
        ("cachesize is an integer", kms("cachesize: 3000000000, name: a, endpoint: 'unix:///a'"), vec![format!("{p}.kms.cachesize: expected a whole number of 32 bits")]),
        ("plain yes is a boolean", kms("name: yes, endpoint: 'unix:///a'"), vec![format!("{p}.kms.name: expected a string, found a boolean: quote it")]),
        ("misspelt provider", provider("aesCBC: {}"), vec![format!(r#"{p}.aesCBC: unknown field "aesCBC"; did you mean "aescbc"?"#)]),
        ("duplicate field", kms("name: a, name: b, endpoint: 'unix:///a'"), vec![format!(r#"{p}.kms.name: duplicate field "name""#)]),
        (
            "an override of a merged field is a duplicate",
            provider("kms: &a {name: a, endpoint: 'unix:///a'}\n  - kms: {<<: *a, name: b}"),
            vec![r#"resources[0].providers[1].kms.name: duplicate field "name""#.to_string()],
        ),
        ("wrong kind", HEAD.replace("EncryptionC", "AuditC"), vec![r#"kind: Invalid value: "AuditConfiguration": no kind "AuditConfiguration" is registered for version "apiserver.config.k8s.io/v1"; expected kind EncryptionConfiguration of apiserver.config.k8s.io/v1"#.to_string()]),
        ("neither kind nor version", "a: b".to_string(), vec![
            r#"a: unknown field "a""#.to_string(),
            "apiVersion: Required value: apiVersion is missing".to_string(),
            "kind: Required value: kind is missing".to_string(),
        ]),
        (
            "masked",
            format!("{HEAD}resources:\n- {{resources: ['*.'], providers: [identity: {{}}]}}\n- {{resources: [secrets], providers: [identity: {{}}]}}\n"),
            vec![r#"resources[1].resources[0]: resource "secrets" is masked by earlier rule "*.""#.to_string()],
        ),
        ("empty", String::new(), vec!["encryption provider configuration file is empty".to_string()]),
        ("flow YAML at the start", "{a: b}".to_string(), vec!["json: key must be a string (a file that starts with '{' must be JSON)".to_string()]),
        ("no mapping", "- a".to_string(), vec!["expected a mapping, found a list".to_string()]),
    ];
    for (desc, text, want) in table {
        assert_eq!(faults(&text, false), want, "{desc}");
    }
}

#[test]
fn provider_names_are_unique_where_upstream_requires_it() {
    let two = |a: &str, b: &str| {
        provider(&format!(
            "kms: {{name: x, endpoint: 'unix:///a'{a}}}\n  - kms: {{name: x, endpoint: 'unix:///a'{b}}}"
        ))
    };
    let v2 = ", apiVersion: v2";
    let table = [
        ("v1 twice", two("", ""), false, false),
        ("v1 twice, reload", two("", ""), true, true),
        ("v1 then v2", two("", v2), false, true),
        ("v2 then v1", two(v2, ""), false, false),
        ("v2 then v1, reload", two(v2, ""), true, true),
        ("v2 twice", two(v2, v2), false, true),
    ];
    for (desc, text, reload, refused) in table {
        let want = r#"resources[0].providers[1].kms.name: Invalid value: "x": duplicate KMS provider name x, names must be unique"#;
        assert_eq!(faults(&text, reload), if refused { vec![want] } else { vec![] }, "{desc}");
    }
}
