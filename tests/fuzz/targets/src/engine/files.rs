//! The configurations of a history.

const HEAD: &str =
    "apiVersion: apiserver.config.k8s.io/v1\nkind: EncryptionConfiguration\nresources:\n";
const A: &str = "kms: {apiVersion: v2, name: a, endpoint: 'unix:///run/a.sock'}";
/// The same plugin on another socket, which makes it another provider.
const MOVED: &str =
    "kms: {apiVersion: v2, name: a, endpoint: 'unix:///run/moved.sock', timeout: 7s}";
const B: &str = "kms: {apiVersion: v2, name: b, endpoint: 'unix:///run/b.sock', timeout: 1s}";
const OLD: &str =
    "kms: {apiVersion: v1, name: old, endpoint: 'unix:///run/old.sock', cachesize: 2}";
const UNCACHED: &str =
    "kms: {apiVersion: v1, name: old, endpoint: 'unix:///run/old.sock', cachesize: -1}";
const GCM: &str = "aesgcm: {keys: [{name: p, secret: MDEyMzQ1Njc4OWFiY2RlZg==}, {name: q, secret: MTEyMzQ1Njc4OWFiY2RlZg==}]}";
const GCM_TURNED: &str = "aesgcm: {keys: [{name: q, secret: MTEyMzQ1Njc4OWFiY2RlZg==}, {name: p, secret: MDEyMzQ1Njc4OWFiY2RlZg==}]}";
const CBC: &str =
    "aescbc: {keys: [{name: c, secret: MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=}]}";
const BOX: &str =
    "secretbox: {keys: [{name: s, secret: MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=}]}";
const PLAIN: &str = "identity: {}";

/// The resources that a history reads and writes. The last one has no rule.
pub(super) const RESOURCES: [&str; 4] = ["secrets", "configmaps", "pods", "events"];

/// Returns a file that reads what every file of [`some`] writes; those may lack providers.
pub(super) fn all() -> String {
    file(&[A, B, PLAIN], &[GCM, CBC, BOX, PLAIN], &[OLD, BOX, PLAIN])
}

/// Returns the files that a history begins with and reloads. The last one is invalid.
pub(super) fn some() -> [String; 8] {
    [
        file(&[A, PLAIN], &[GCM, PLAIN], &[OLD, PLAIN]),
        all(),
        file(&[B, A], &[CBC, GCM], &[PLAIN, OLD]),
        file(&[PLAIN, A, B], &[BOX, GCM_TURNED], &[UNCACHED]),
        file(&[MOVED, B], &[GCM_TURNED], &[OLD]),
        file(&[PLAIN], &[PLAIN, GCM], &[PLAIN]),
        file(&[A], &[BOX], &[BOX, OLD]),
        "%%%".to_owned(),
    ]
}

fn file(secrets: &[&str], configmaps: &[&str], pods: &[&str]) -> String {
    let mut text = HEAD.to_owned();
    for (resource, providers) in RESOURCES.iter().zip([secrets, configmaps, pods]) {
        text += &format!("- resources: [{resource}]\n  providers:\n");
        for provider in providers {
            text += &format!("  - {provider}\n");
        }
    }
    text
}
