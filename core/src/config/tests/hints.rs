//! Help beside errors, and warnings of probable mistakes: each kind in several forms.

use super::{HEAD, KEY16, KEY32, check, kms, provider};
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec;
use alloc::vec::Vec;

/// Returns the warnings, as `line:column path: message`, without those about aescbc and aesgcm themselves.
fn warnings(text: &str) -> Vec<String> {
    let report = check(text.as_bytes(), false);
    let other = report.warnings.iter().filter(|one| {
        !["aescbc does", "aesgcm uses", "no rule covers"]
            .iter()
            .any(|start| one.message.starts_with(start))
    });
    other.map(|one| format!("{} {one}", one.position.unwrap())).collect()
}

fn with_secret(secret: &str) -> String {
    provider(&format!("aescbc: {{keys: [{{name: a, secret: {secret}}}]}}"))
}

fn of_secret(secret: &str) -> Vec<String> {
    let path = "resources[0].providers[0].aescbc.keys[0].secret: ";
    let all = warnings(&with_secret(secret));
    all.iter().map(|one| one.split(path).nth(1).unwrap_or(one).to_string()).collect()
}

#[test]
fn placeholders_that_were_left_in_are_named() {
    let table = [
        ("'${KEY}'", "${…}"),
        ("$(cat key)", "$(…)"),
        ("$KEY", "$…"),
        ("'{{ .Values.key }}'", "{{…}}"),
        ("'{% raw %}key'", "{%…%}"),
        ("((key))", "((…))"),
        ("<BASE 64 ENCODED SECRET>", "<…>"),
        ("'<%= @key %>'", "<…>"),
        ("'@KEY@'", "@…@"),
        ("'%KEY%'", "%…%"),
        ("'`cat key`'", "`…`"),
        ("__KEY__", "__…__"),
    ];
    for (secret, form) in table {
        let want = format!(
            "{form} is a placeholder that was not filled in: write the value itself here; this prints a new key: head -c 32 /dev/urandom | base64"
        );
        assert_eq!(of_secret(secret), [want], "{secret}");
    }
    let elsewhere =
        kms("apiVersion: v2, name: '${NAME}', endpoint: 'unix:///{{ path }}', timeout: 3s");
    assert_eq!(
        warnings(&elsewhere),
        [
            "6:33 resources[0].providers[0].kms.name: ${…} is a placeholder that was not filled in: write the value itself here",
            "6:54 resources[0].providers[0].kms.endpoint: {{…}} is a placeholder that was not filled in: write the value itself here",
        ]
    );
    // A shell without this variable syntax: the braces make it a mapping.
    assert!(warnings(&with_secret("{$KEY}"))[0].contains("keys[0].secret: $… is a placeholder"));
}

#[test]
fn placeholders_are_named_where_the_text_cannot_be_parsed() {
    let table = [
        ("{{ key }}", "6:", "{{…}}"),
        ("@KEY@", "6:39", "@…@"),
        ("%KEY%", "6:39", "%…%"),
        ("`cat key`", "6:39", "`…`"),
    ];
    for (secret, place, form) in table {
        let text = with_secret(secret);
        let report = check(text.as_bytes(), false);
        assert_eq!(report.faults.len(), 1, "{secret}");
        let got = warnings(&text);
        let start = format!("{form} is a placeholder");
        assert!(
            got.len() == 1 && got[0].starts_with(place) && got[0].contains(&start),
            "{secret}: {got:?} {:?}",
            report.faults
        );
    }
    let template = format!("{{{{- if .Values.on }}}}\n{HEAD}");
    assert!(warnings(&template)[0].starts_with("1:1 {{…}} is a placeholder"));
    let many = format!("a: [\n{}", "${A}\n".repeat(1000));
    assert_eq!(warnings(&many).len(), 50);
}

#[test]
fn wildcards_without_quotes_are_named() {
    let table = [
        ("[*.*]", "4:15", "*.*"),
        ("[secrets, *.apps]", "4:24", "*.apps"),
        ("[secrets,*.]", "4:23", "*."),
        ("\n  - *.*", "5:5", "*.*"),
        ("\n  - secrets\n  - *", "6:5", "*"),
        ("*.*", "4:14", "*.*"),
    ];
    for (list, place, name) in table {
        let text = provider("identity: {}").replace("[secrets]", list);
        assert_eq!(check(text.as_bytes(), false).faults.len(), 1, "{list}");
        let want = format!("{place} * begins an alias in YAML: put the name in quotes, \"{name}\"");
        assert_eq!(warnings(&text), [want], "{list}");
    }
    for line in ["a: [ # *.*", "a: [ '*.*'", "a: [ *b", "a: [ b * c", "a: [ b-*.c"] {
        assert_eq!(warnings(line), [""; 0], "{line}");
    }
}

#[test]
fn a_configuration_inside_another_file_is_found() {
    let inner = format!("{HEAD}resources: []\n").replace('\n', "\n    ");
    // base64 of "kind: EncryptionConfiguration\n"
    let base64 = "a2luZDogRW5jcnlwdGlvbkNvbmZpZ3VyYXRpb24K";
    let here = "the encryption configuration is inside this file, here: ";
    let table = [
        (
            "a part",
            format!("kube_api:\n  secretsEncryptionConfig:\n    {inner}"),
            format!("3:5 kube_api.secretsEncryptionConfig: {here}save this part alone as a file"),
        ),
        (
            "a part in a list",
            format!("spec:\n  - other\n  - {}", inner.trim_end()),
            format!("3:5 spec[1]: {here}save this part alone as a file"),
        ),
        (
            "rules without a kind",
            "config:\n  resources:\n  - providers: []\n".to_string(),
            format!("2:3 config: {here}save this part alone as a file, with apiVersion: apiserver.config.k8s.io/v1 and kind: EncryptionConfiguration"),
        ),
        (
            "text",
            format!("write_files:\n- path: /a\n  content: |\n    {inner}"),
            format!("4:5 write_files[0].content: {here}save this text as a file"),
        ),
        (
            "base64 in a list of Secrets",
            format!("kind: List\nitems:\n- metadata: {{annotations: {{a: \"kind: EncryptionConfig\"}}}}\n  data: {{encryption-configuration.yaml: {base64}}}\n"),
            format!("4:41 items[0].data.encryption-configuration.yaml: {here}decode this text with base64 -d, and save it as a file"),
        ),
        (
            "base64 alone",
            base64.to_string(),
            format!("1:1 {here}decode this text with base64 -d, and save it as a file"),
        ),
        (
            "Talos",
            format!("version: v1alpha1\ncluster:\n  secretboxEncryptionSecret: {KEY32}\n"),
            "3:30 cluster.secretboxEncryptionSecret: Talos generates the encryption configuration from this key: see /system/secrets/kubernetes/kube-apiserver/encryptionconfig.yaml on a node".to_string(),
        ),
    ];
    for (desc, text, want) in table {
        assert!(!check(text.as_bytes(), false).faults.is_empty(), "{desc}");
        assert_eq!(warnings(&text), [want], "{desc}");
    }
    assert_eq!(warnings("kind: Secret\ndata: {a: b}\n"), [""; 0]);
}

#[test]
fn mistakes_in_keys_are_named() {
    let keep = "; values may be encrypted with the present key, so keep it after the new one";
    let hex = "the secret is hex, but it is read as base64: convert it with xxd -r -p | base64";
    let shorter = "the secret is read as base64, so the key has 24 bytes: if the 32 characters are the key itself, encode them with base64";
    let characters = "the secret is read as base64: if its characters are the key itself, encode them with base64";
    let words = "this looks like a placeholder: write the key itself here; this prints a new key: head -c 32 /dev/urandom | base64";
    let example = "this is an example key of the documentation of Kubernetes, which everyone knows: make your own with head -c 32 /dev/urandom | base64";
    let kept = |text: &str| Some(format!("{text}{keep}"));
    let plain = |text: &str| Some(text.to_string());
    let table = [
        ("a good key", KEY32, None),
        ("a good key of 24 bytes", "'fKiMVhYJ0/GgAQTMLZc7uSWbGE7idvk6'", None),
        (
            "hex of 32 bytes",
            "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff",
            plain(hex),
        ),
        ("hex of 16 bytes", "'00112233445566778899aabbccddeeff'", kept(hex)),
        ("hex with a prefix", "'0x00112233445566778899aabbccddeeff'", plain(hex)),
        ("32 characters", "ABCDEFGHIJKLMNOPQRSTUVWXYZ123456", kept(shorter)),
        (
            "32 characters that are not base64",
            "'ABCDEFGHIJKLMNOPQRSTUVWXYZ!23456'",
            plain(characters),
        ),
        ("16 characters", "ABCDEFGHIJKLMNOP", plain(characters)),
        ("an example", "c2VjcmV0IGlzIHNlY3VyZQ==", kept(example)),
        ("an example", "dGhpcyBpcyBwYXNzd29yZA==", kept(example)),
        ("an example of 24 bytes", "c2VjcmV0IGlzIHNlY3VyZSwgaXMgaXQ/", kept(example)),
        (
            "redacted",
            "REDACTED",
            plain("the secret was redacted when this file was printed: write the key itself here"),
        ),
        ("words", "YOUR_BASE64_KEY", plain(words)),
        ("words that are base64", "CHANGEME", plain(words)),
        ("too short", "AAAA", None),
        ("not base64", "'!'", None),
    ];
    for (desc, secret, want) in table {
        assert_eq!(of_secret(secret), Vec::from_iter(want), "{desc}");
    }
    let secretbox = provider(
        "secretbox: {keys: [{name: a, secret: YWJjZGVmZ2hpamtsbW5vcHFyc3R1dnd4eXoxMjM0NTY=}]}",
    );
    assert!(warnings(&secretbox)[0].contains("this is an example key"));
    let short =
        provider("secretbox: {keys: [{name: a, secret: ABCDEFGHIJKLMNOPQRSTUVWXYZ123456}]}");
    assert!(warnings(&short)[0].ends_with(characters), "upstream refuses it");
}

#[test]
fn two_keys_of_one_name_are_a_warning_within_one_rule() {
    let key = |name: &str, secret: &str| format!("{{name: {name}, secret: {secret}}}");
    let cbc = |keys: &[String]| format!("aescbc: {{keys: [{}]}}", keys.join(", "));
    let (a, b, other) = (key("a", KEY16), key("b", KEY16), key("a", KEY32));
    let same = "name: an earlier key of this rule has the same name: stored values do not show which of the two encrypted them, so give every new key a new name";
    let p = "resources[0].providers";
    let table = [
        (
            "in one provider",
            cbc(&[a.clone(), b.clone(), other.clone()]),
            vec![format!("6:118 {p}[0].aescbc.keys[2].{same}")],
        ),
        (
            "in two providers of one kind",
            format!(
                "{}\n  - {}",
                cbc(core::slice::from_ref(&a)),
                cbc(core::slice::from_ref(&other))
            ),
            vec![format!("7:28 {p}[1].aescbc.keys[0].{same}")],
        ),
        (
            "in two kinds",
            format!(
                "{}\n  - {}",
                cbc(core::slice::from_ref(&a)),
                cbc(&[other]).replace("aescbc", "aesgcm")
            ),
            vec![],
        ),
        ("other names", cbc(&[a, b]), vec![]),
    ];
    for (desc, text, want) in table {
        assert_eq!(warnings(&provider(&text)), want, "{desc}");
    }
}

#[test]
fn resources_that_match_nothing_are_a_warning() {
    let table = [
        ("secret", "\"secret\"; did you mean secrets?"),
        ("apps/deployments", "\"apps/deployments\"; did you mean deployments.apps?"),
        ("deployments.v1.apps", "\"deployments.v1.apps\"; did you mean deployments.apps?"),
        (
            "foo",
            "\"foo\"; write the plural in lower case, then a dot and the group, such as deployments.apps",
        ),
        // Upstream refuses these.
        ("Secrets", "\"Secrets\"; did you mean secrets?"),
        ("CronJob", "\"CronJob\"; did you mean cronjobs.batch?"),
        ("deployments.extensions", "\"deployments.extensions\"; did you mean deployments.apps?"),
    ];
    for (name, want) in table {
        let text = provider("identity: {}").replace("[secrets]", &format!("[secrets, {name}]"));
        let want = format!(
            "4:24 resources[0].resources[1]: matches nothing: Kubernetes stores no resource named {want}"
        );
        assert_eq!(warnings(&text)[0], want, "{name}");
    }
    for name in
        ["widgets.example.com", "*.example.com", "Foo", "apiserveripinfo", "events.events.k8s.io"]
    {
        let text = provider("identity: {}").replace("[secrets]", &format!("[secrets, '{name}']"));
        let got = warnings(&text);
        assert!(got.iter().all(|one| !one.contains("matches nothing")), "{name}: {got:?}");
    }
}

#[test]
fn a_wrong_version_is_an_error_of_the_version() {
    let table = [
        ("apiserver.config.k8s.io/v1beta1", "EncryptionConfiguration", "apiVersion"),
        ("v1", "EncryptionConfiguration", "apiVersion"),
        ("v1beta1", "EncryptionConfig", "apiVersion"),
        ("apiserver.config.k8s.io/v1", "EncryptionConfig", "kind"),
        ("v1", "Secret", "kind"),
    ];
    for (version, kind, path) in table {
        let text = format!("apiVersion: {version}\nkind: {kind}\n");
        let report = check(text.as_bytes(), false);
        let [fault] = report.faults.as_slice() else { panic!("{version} {kind}: {report:?}") };
        let line = if path == "kind" { 2 } else { 1 };
        assert_eq!(
            (fault.path.as_str(), fault.position.unwrap().line),
            (path, line),
            "{version} {kind}"
        );
    }
}
