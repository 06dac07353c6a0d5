//! The findings of configurations that people hold: the files in `tests/vectors/cases/configurations`, and valid files of common sources.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use dekker_core::config::{Finding, check};
use serde_json::Value;

fn read(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests").join(name);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Returns the findings in the format of `config-findings.tsv`.
fn findings(file: &str, content: &str) -> String {
    let report = check(content.as_bytes(), false);
    let mut lines = String::new();
    for (severity, findings) in [("error", &report.faults), ("warning", &report.warnings)] {
        for Finding { path, message, position, .. } in findings {
            let place = position.map_or("-".to_string(), |at| at.to_string());
            writeln!(lines, "{file}\t{severity}\t{place}\t{path}\t{message}").unwrap();
        }
    }
    lines
}

#[test]
fn the_cases_have_the_recorded_findings() {
    let cases = read("vectors/cases/cases.tsv");
    let files =
        cases.lines().filter_map(|line| line.split('\t').next()?.strip_prefix("configurations/"));
    let (mut count, mut actual) = (0, String::new());
    for file in files {
        count += 1;
        let content = read(&format!("vectors/cases/configurations/{file}"));
        actual.push_str(&findings(file, &content));
    }
    let recorded = read("vectors/config-findings.tsv");
    let recorded = recorded.split_inclusive('\n').filter(|line| !line.starts_with('#'));
    let recorded: String = recorded.collect();
    assert!(recorded == actual, "the findings are now:\n{actual}");
    assert_eq!(count, 16);
}

/// The messages of warnings about providers and rules, which have nothing to do with mistakes in the file.
const GENERAL: [&str; 8] = [
    "identity is first",
    "identity is the only provider",
    "aescbc does not detect",
    "aesgcm uses random nonces",
    "KMS v1 is deprecated",
    "a timeout of more than 30s",
    "only the first document",
    "no rule covers secrets",
];

/// Returns the warnings of a valid file about mistakes.
fn mistakes(desc: &str, content: &str) -> Vec<String> {
    let report = check(content.as_bytes(), false);
    assert_eq!(report.faults, [], "{desc}");
    let is_general = |message: &str| GENERAL.iter().any(|general| message.starts_with(general));
    let warnings = report.warnings.iter().filter(|warning| !is_general(&warning.message));
    warnings.map(ToString::to_string).collect()
}

#[test]
fn valid_configurations_that_people_use_get_no_warning_of_a_mistake() {
    let k3s = r#"{"kind":"EncryptionConfiguration","apiVersion":"apiserver.config.k8s.io/v1","resources":[{"resources":["secrets"],"providers":[{"aescbc":{"keys":[{"name":"aescbckey-2026-03-09T09:46:54+01:00","secret":"fKiMVhYJ0/GgAQTMLZc7uSWbGE7idvk6PlteraedJuk="},{"name":"aescbckey","secret":"5rWmKz1mT8C0yq0x7wJq1S1f2O3iYw3pVt2d9a0b1cE="}]}},{"identity":{}}]}]}"#;
    let head =
        "apiVersion: apiserver.config.k8s.io/v1\nkind: EncryptionConfiguration\nresources:\n";
    let legacy = "kind: EncryptionConfig\napiVersion: v1\nresources:\n";
    let providers = "  providers:\n  - secretbox: {keys: [{name: key1, secret: fKiMVhYJ0/GgAQTMLZc7uSWbGE7idvk6PlteraedJuk=}]}\n  - identity: {}\n";
    let openshift = [
        "secrets",
        "configmaps",
        "routes.route.openshift.io",
        "oauthaccesstokens.oauth.openshift.io",
        "oauthauthorizetokens.oauth.openshift.io",
    ];
    let documented = ["secrets", "configmaps", "pandas.awesome.bears.example"];
    let rules = |names: &[&str]| {
        let names: String = names.iter().map(|name| format!("  - '{name}'\n")).collect();
        format!("- resources:\n{names}{providers}")
    };
    let kms = "  providers:\n  - kms: {apiVersion: v2, name: aws-encryption-provider, endpoint: 'unix:///var/run/kmsplugin/socket.sock', timeout: 3s}\n  - identity: {}\n";
    for (desc, content) in [
        ("k3s", k3s.to_string()),
        ("OpenShift", format!("{head}{}", rules(&openshift))),
        ("the documentation", format!("{head}{}", rules(&documented))),
        ("an old kind", format!("{legacy}{}", rules(&["secrets"]))),
        (
            "wildcards",
            format!(
                "{head}{}{}{}",
                rules(&["secrets", "events"]),
                rules(&["*.apps", "*.example.com"]),
                rules(&["*.*"])
            ),
        ),
        ("the core group", format!("{head}{}", rules(&["*."]))),
        ("KMS v2", format!("{head}- resources: [secrets]\n{kms}")),
        (
            "comments with placeholders",
            format!("# ${{KEY}} and {{{{ key }}}}\n{head}# <key> *.*\n{}", rules(&["secrets"])),
        ),
        (
            "a key of 24 bytes",
            format!(
                "{head}- resources: [secrets]\n  providers: [{{aescbc: {{keys: [{{name: a, secret: 'fKiMVhYJ0/GgAQTMLZc7uSWbGE7idvk6'}}]}}}}]\n"
            ),
        ),
        (
            "one name in two rules and in two providers",
            format!(
                "{head}{}{}  - aesgcm: {{keys: [{{name: key1, secret: fKiMVhYJ0/GgAQTMLZc7uSWbGE7idvk6PlteraedJuk=}}]}}\n",
                rules(&["secrets"]),
                rules(&["configmaps"])
            ),
        ),
    ] {
        assert_eq!(mistakes(desc, &content), [""; 0], "{desc}");
    }
}

#[test]
fn files_that_upstream_accepts_get_no_warning_of_a_mistake_in_keys_or_templates() {
    // Many names of resources in the corpus are arbitrary, and match nothing.
    let is_expected = |warning: &str| {
        ["matches nothing: ", "so it matches nothing", "only the path of the endpoint"]
            .iter()
            .any(|part| warning.contains(part))
    };
    let corpus = read("interop/config/corpus.jsonl");
    let (mut count, mut found) = (0, Vec::new());
    for line in corpus.lines().skip(1) {
        let case: Value = serde_json::from_str(line).unwrap();
        let (Some(desc), Some(content)) = (case["desc"].as_str(), case["file"].as_str()) else {
            continue;
        };
        // Upstream accepts some files that Dekker refuses.
        if check(content.as_bytes(), false).faults.is_empty() {
            count += 1;
            let warnings = mistakes(desc, content).into_iter();
            found
                .extend(warnings.filter(|warning| !is_expected(warning)).map(|_| desc.to_string()));
        }
    }
    assert!(count > 100, "{count} files");
    assert_eq!(found, ["key dup names"]);
}
