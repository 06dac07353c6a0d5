//! Short ways to write configuration files.

/// Returns a file with these rules; see [`rule`].
pub fn config(rules: &[String]) -> String {
    let mut file =
        "apiVersion: apiserver.config.k8s.io/v1\nkind: EncryptionConfiguration\nresources:\n"
            .to_string();
    file.extend(rules.iter().cloned());
    file
}

/// Returns one element of `resources`.
pub fn rule(resources: &[&str], providers: &[String]) -> String {
    let mut text = format!("- resources: {resources:?}\n  providers:\n");
    for provider in providers {
        text += &format!("  - {provider}\n");
    }
    text
}

/// Returns a KMS v2 provider that listens on `/run/<name>.sock`, with the default timeout of 3 s.
pub fn kms(name: &str) -> String {
    kms_at(name, &format!("unix:///run/{name}.sock"), "3s")
}

/// Returns a KMS v2 provider.
pub fn kms_at(name: &str, endpoint: &str, timeout: &str) -> String {
    format!("kms: {{apiVersion: v2, name: {name}, endpoint: '{endpoint}', timeout: {timeout}}}")
}

/// Returns the `identity` provider, which stores plaintext.
pub fn identity() -> String {
    "identity: {}".into()
}

/// Returns a file in which the KMS v2 provider `a` alone serves secrets.
pub fn secrets() -> String {
    secrets_with(&[kms("a")])
}

/// Returns a file in which these providers serve secrets.
pub fn secrets_with(providers: &[String]) -> String {
    config(&[rule(&["secrets"], providers)])
}
