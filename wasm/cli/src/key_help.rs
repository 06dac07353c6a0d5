//! Why a value cannot be decrypted, from the names in the value and in the configuration. It stands beside the engine's error, whose text is
//! kube-apiserver's.

use dekker_forms::{KeyName, Provider, Stored, split};
use serde::Deserialize;

/// How many names of keys and providers are listed.
const LISTED: usize = 10;

/// A rule, as the engine's status has it.
#[derive(Deserialize)]
struct Rule {
    resources: Vec<String>,
    providers: Vec<Configured>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Configured {
    provider: String,
    api_version: Option<String>,
    name: Option<String>,
    keys: Option<Vec<String>>,
}

/// The kinds of errors, as the WIT interface names them, that the names of keys explain.
const KINDS: [&str; 3] = ["no-matching-prefix", "encrypted-data", "decrypt-failed"];

/// Whether [`KeyHelp`] can explain an error of this kind: a kind in the WIT interface, such as `decrypt-failed`.
pub fn explains(kind: &str) -> bool {
    KINDS.contains(&kind)
}

/// The rules of a configuration, with the names of providers and keys.
pub struct Rules(Vec<Rule>);

impl Rules {
    /// Reads the text of the engine's status.
    pub fn parse(status: &str) -> Option<Self> {
        Self::of_status(&serde_json::from_str(status).ok()?)
    }

    /// Reads the engine's status.
    pub fn of_status(status: &serde_json::Value) -> Option<Self> {
        Vec::deserialize(&status["rules"]).ok().map(Self)
    }
}

/// Explains values that cannot be decrypted, all with the names of one configuration.
#[derive(Default)]
pub struct KeyHelp {
    /// The rules of the configuration, once a value has needed them.
    rules: Option<Rules>,
}

impl KeyHelp {
    /// Returns the cause and the remedy for a value for which no key was found, or whose key does not open it. `kind` is the kind of its error.
    /// `rules` reads the engine's status; it is called once for all values, and only if a value needs it. The text contains names, and never a
    /// secret.
    pub fn of(
        &mut self,
        kind: &str,
        resource: &str,
        stored: &[u8],
        rules: impl FnOnce() -> Option<Rules>,
    ) -> Option<String> {
        if !explains(kind) {
            return None;
        }
        if self.rules.is_none() {
            self.rules = rules();
        }
        let Rules(rules) = self.rules.as_ref()?;
        of_rules(rules, resource, stored)
    }
}

fn of_rules(rules: &[Rule], resource: &str, stored: &[u8]) -> Option<String> {
    let covering = covering(rules, resource);
    let everywhere: Vec<_> = rules.iter().flat_map(|rule| &rule.providers).collect();
    let names: Vec<_> = everywhere.iter().flat_map(|configured| configured.names()).collect();
    let (provider, name) = match split(stored, &names) {
        Stored::Value { provider, name, .. } => (provider, name),
        Stored::NotEncrypted if !covering.is_empty() => {
            return Some(format!(
                "the value is not encrypted: it does not begin with k8s:enc:, and the rule for {resource} has no `identity`, which reads such values"
            ));
        }
        _ => return None,
    };
    let by = encrypted_by(provider, name);
    let wanted = KeyName { provider, name };
    let has = |configured: &&Configured| configured.names().contains(&wanted);
    if covering.iter().any(has) {
        return Some(format!(
            "the value was encrypted by {by}, which the file has: {}",
            doubt(provider)
        ));
    }
    let elsewhere: Vec<_> = rules
        .iter()
        .filter(|rule| rule.providers.iter().any(|configured| has(&configured)))
        .flat_map(|rule| rule.resources.iter().map(|resource| format!("{resource:?}")))
        .collect();
    if !elsewhere.is_empty() {
        let elsewhere = listed(elsewhere);
        return Some(format!(
            "the value was encrypted by {by}, which the file has for {elsewhere}, not for {resource:?}: check the resource"
        ));
    }
    if covering.is_empty() {
        return Some(format!(
            "the value was encrypted by {by}, and no rule of the file covers {resource:?}: check the resource, or add a rule"
        ));
    }
    let known = listed(covering.iter().flat_map(|configured| configured.described()));
    Some(format!(
        "the value was encrypted by {by}; for {resource:?}, the file has {known}: add what is missing, under the name that the value has"
    ))
}

impl Configured {
    fn kind(&self) -> Option<Provider> {
        Some(match (&*self.provider, self.api_version.as_deref()) {
            ("aesgcm", _) => Provider::AesGcm,
            ("aescbc", _) => Provider::AesCbc,
            ("secretbox", _) => Provider::Secretbox,
            ("kms", Some("v1")) => Provider::KmsV1,
            ("kms", Some("v2")) => Provider::KmsV2,
            _ => return None,
        })
    }

    /// Returns the names that its values can have.
    fn names(&self) -> Vec<KeyName<'_>> {
        let Some(provider) = self.kind() else {
            return Vec::new();
        };
        let names = self.keys.iter().flatten().chain(&self.name);
        names.map(|name| KeyName { provider, name }).collect()
    }

    fn described(&self) -> Vec<String> {
        if self.kind().is_none() {
            return vec![self.provider.clone()];
        }
        let names = self.names().into_iter();
        names.map(|KeyName { provider, name }| encrypted_by(provider, name)).collect()
    }
}

fn encrypted_by(provider: Provider, name: &str) -> String {
    match provider {
        Provider::AesGcm => format!("the key {name:?} of aesgcm"),
        Provider::AesCbc => format!("the key {name:?} of aescbc"),
        Provider::Secretbox => format!("the key {name:?} of secretbox"),
        Provider::KmsV1 => format!("the KMS v1 provider {name:?}"),
        Provider::KmsV2 => format!("the KMS v2 provider {name:?}"),
        other => format!("{name:?} of {}", other.prefix()),
    }
}

/// Why a value does not open although its key is there.
fn doubt(provider: Provider) -> &'static str {
    match provider {
        Provider::AesGcm => {
            "its secret is another one, the storage key is not the one under which the value was stored, or the value was altered"
        }
        Provider::AesCbc => {
            "its secret is another one, or the value was altered; aescbc does not authenticate values, so only the padding shows it"
        }
        Provider::Secretbox => "its secret is another one, or the value was altered",
        _ => {
            "the plugin decrypted the DEK of the value, so the storage key is not the one under which the value was stored, or the value was altered"
        }
    }
}

/// Returns the providers that read a resource: those of the exact name, else of its group's wildcard, else of `*.*`.
fn covering<'r>(rules: &'r [Rule], resource: &str) -> Vec<&'r Configured> {
    let (name, group) = resource.split_once('.').unwrap_or((resource, ""));
    let exact = if group.is_empty() { name } else { resource };
    for wanted in [exact, &format!("*.{group}"), "*.*"] {
        let matching = rules.iter().filter(|rule| rule.resources.iter().any(|it| it == wanted));
        let providers: Vec<_> = matching.flat_map(|rule| &rule.providers).collect();
        if !providers.is_empty() {
            return providers;
        }
    }
    Vec::new()
}

/// Joins texts, each once and not too many.
fn listed(texts: impl IntoIterator<Item = String>) -> String {
    let mut distinct: Vec<String> = Vec::new();
    for text in texts {
        if !distinct.contains(&text) {
            distinct.push(text);
        }
    }
    let more = distinct.len().saturating_sub(LISTED);
    distinct.truncate(LISTED);
    let list = distinct.join(", ");
    if more > 0 { format!("{list} and {more} more") } else { list }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn rules() -> serde_json::Value {
        json!([
            {"resources": ["secrets"], "providers": [
                {"provider": "aescbc", "keys": ["new", "k3s-2026-03-09T09:46:54+01:00"]},
                {"provider": "kms", "apiVersion": "v2", "name": "vault"},
            ]},
            {"resources": ["*.apps"], "providers": [
                {"provider": "aesgcm", "keys": ["apps"]},
                {"provider": "identity"},
            ]},
        ])
    }

    fn help(rules: serde_json::Value, resource: &str, stored: &[u8]) -> Option<String> {
        let status = || Rules::parse(&json!({ "rules": rules }).to_string());
        KeyHelp::default().of("decrypt-failed", resource, stored, status)
    }

    fn value(prefix: &str) -> Vec<u8> {
        // The IV and one block of aescbc, and long enough for the other local providers.
        [prefix.as_bytes(), &[0xf3; 48]].concat()
    }

    #[test]
    fn each_failure_names_the_key_of_the_value_and_those_of_the_file() {
        let table = [
            (
                "the key is not in the file",
                "secrets",
                value("k8s:enc:aescbc:v1:old:"),
                "the key \"old\" of aescbc; for \"secrets\", the file has the key \"new\" of aescbc, the key \
                 \"k3s-2026-03-09T09:46:54+01:00\" of aescbc, the KMS v2 provider \"vault\": add what is missing",
            ),
            (
                "a name with colons",
                "secrets",
                value("k8s:enc:aescbc:v1:k3s-2026-03-09T09:46:54+01:00:"),
                "the key \"k3s-2026-03-09T09:46:54+01:00\" of aescbc, which the file has: its secret is another one",
            ),
            (
                "aescbc has no authentication",
                "secrets",
                value("k8s:enc:aescbc:v1:new:"),
                "or the value was altered; aescbc does not authenticate values",
            ),
            (
                "aesgcm binds the storage key",
                "deployments.apps",
                value("k8s:enc:aesgcm:v1:apps:"),
                "the storage key is not the one under which the value was stored",
            ),
            (
                "the key serves another resource",
                "secrets",
                value("k8s:enc:aesgcm:v1:apps:"),
                "which the file has for \"*.apps\", not for \"secrets\": check the resource",
            ),
            (
                "no rule",
                "secret",
                value("k8s:enc:secretbox:v1:box:"),
                "no rule of the file covers \"secret\"",
            ),
            (
                "no rule, and the key is there",
                "secret",
                value("k8s:enc:aescbc:v1:new:"),
                "which the file has for \"secrets\", not for \"secret\"",
            ),
            (
                "another KMS provider",
                "secrets",
                value("k8s:enc:kms:v1:vault:"),
                "the KMS v1 provider \"vault\"; for \"secrets\", the file has",
            ),
            ("plaintext", "secrets", b"{}".to_vec(), "has no `identity`"),
        ];
        for (desc, resource, stored, expected) in table {
            let help = help(rules(), resource, &stored).unwrap_or_default();
            assert!(help.contains(expected), "{desc}: {help}");
        }
        assert_eq!(help(rules(), "secrets", b"k8s:enc:unknown:v1:x:"), None);
    }

    #[test]
    fn the_status_is_requested_once_and_only_for_errors_that_names_explain() {
        let mut key_help = KeyHelp::default();
        let mut requests = 0;
        let mut of = |kind| {
            let status = || {
                requests += 1;
                Rules::of_status(&json!({ "rules": rules() }))
            };
            let help = key_help.of(kind, "secrets", &value("k8s:enc:aescbc:v1:old:"), status);
            (help.is_some(), requests)
        };
        for (kind, expected) in [
            ("malformed", (false, 0)),
            ("kms", (false, 0)),
            ("decrypt-failed", (true, 1)),
            ("no-matching-prefix", (true, 1)),
            ("encrypted-data", (true, 1)),
            ("internal", (false, 1)),
        ] {
            assert_eq!(of(kind), expected, "{kind}");
        }
    }

    #[test]
    fn without_a_status_there_is_no_help() {
        let stored = value("k8s:enc:aescbc:v1:old:");
        for status in ["", "{}", "{\"rules\":null}"] {
            let rules = || Rules::parse(status);
            let help = KeyHelp::default().of("decrypt-failed", "secrets", &stored, rules);
            assert_eq!(help, None);
        }
    }

    #[test]
    fn long_lists_are_cut() {
        let keys: Vec<_> = (0..25).map(|n| format!("key{n}")).collect();
        let rules = json!([{"resources": ["secrets"], "providers": [{"provider": "aescbc", "keys": keys}]}]);
        let help = help(rules, "secrets", &value("k8s:enc:aescbc:v1:old:")).unwrap();
        assert!(help.contains("\"key9\" of aescbc and 15 more: add"), "{help}");
    }
}
