//! Names of resources as encryption configurations write them: which of them can never match, and what was probably meant.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;

use super::{GROUPS, split_entry};

/// The name of a resource that Kubernetes does not store. Displays as a sentence that says so, with the name that was probably meant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Misnamed<'n> {
    /// The name as it was written.
    pub name: &'n str,
    /// The name that was probably meant, such as `deployments.apps`.
    pub suggestion: Option<String>,
}

/// Does not show a name that is too long to be one.
impl fmt::Display for Misnamed<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { name, suggestion } = self;
        match name.len() <= MAX_NAME {
            true => write!(f, "Kubernetes stores no resource named {name:?}; ")?,
            false => f.write_str("Kubernetes stores no resource with so long a name; ")?,
        }
        match suggestion {
            Some(suggestion) => write!(f, "did you mean {suggestion}?"),
            None => f.write_str(
                "write the plural in lower case, then a dot and the group, such as deployments.apps",
            ),
        }
    }
}

/// The longest name: a DNS label, a dot and a DNS subdomain. Longer names get no suggestion.
const MAX_NAME: usize = 63 + 1 + 253;

/// The most parts of a name for which a suggestion is sought.
const MAX_PARTS: usize = 8;

/// Names that match stored objects and are not in the table: everything; the resources of paths that are no objects of an API; and a resource that was
/// removed in Kubernetes 1.25, whose group has no dot, so that it cannot be a custom resource.
const OTHERS: [&str; 4] =
    ["*.*", "apiServerIPInfo", "apiServerPeerIPInfo", "podsecuritypolicies.policy"];

/// Returns a description if `name`, which is `resource[.group]`, can never match a stored object; wildcards are names too.
///
/// Every name in a group with a dot may be a custom resource, and can match. The exceptions are the singular of a built-in resource in its group, and
/// a built-in resource with its parts in another order or with a version.
///
/// ```
/// use dekker_forms::misnamed;
/// let meant = |name| misnamed(name).and_then(|misnamed| misnamed.suggestion);
/// assert_eq!(misnamed("secrets"), None);
/// assert_eq!(misnamed("widgets.example.com"), None);
/// assert_eq!(meant("secret").as_deref(), Some("secrets"));
/// assert_eq!(meant("apps/deployments").as_deref(), Some("deployments.apps"));
/// assert_eq!(meant("CronJob").as_deref(), Some("cronjobs.batch"));
/// assert_eq!(
///     misnamed("deployments.v1.apps").unwrap().to_string(),
///     "Kubernetes stores no resource named \"deployments.v1.apps\"; did you mean deployments.apps?"
/// );
/// ```
pub fn misnamed(name: &str) -> Option<Misnamed<'_>> {
    // A dot at the end denotes the core group.
    let bare =
        name.strip_suffix('.').filter(|bare| *bare != "*" && !bare.contains('.')).unwrap_or(name);
    let found = suggest(name);
    if OTHERS.contains(&name) || found.as_ref().is_some_and(|found| found.name == bare) {
        return None;
    }
    let (resource, group) = name.split_once('.').unwrap_or((name, ""));
    let is_custom = group.contains('.')
        && group.split('.').all(is_label)
        && (resource == "*" || is_label(resource));
    if is_custom && !found.as_ref().is_some_and(|found| found.is_certain) {
        return None;
    }
    Some(Misnamed { name, suggestion: found.map(|found| found.name) })
}

fn is_label(part: &str) -> bool {
    !part.is_empty()
        && part.bytes().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == b'-')
}

struct Suggestion {
    name: String,
    /// Whether group and resource are those of the suggestion, apart from order, version and number.
    is_certain: bool,
}

/// Returns the built-in resource that is most similar. The parts of `name` may have any order and any separator, with versions between them.
fn suggest(name: &str) -> Option<Suggestion> {
    if name.len() > MAX_NAME {
        return None;
    }
    let lower = name.to_ascii_lowercase();
    let parts: Vec<&str> = lower.split(['.', '/']).filter(|part| !is_filler(part)).collect();
    if parts.len() > MAX_PARTS {
        return None;
    }
    let mut best: Option<(usize, Suggestion)> = None;
    for (group, entries) in GROUPS {
        let names = ["*"].into_iter().chain(entries.split(' ').map(|entry| split_entry(entry).1));
        for resource in names {
            for (i, part) in parts.iter().enumerate() {
                let Some(distance) = distance(part, resource) else {
                    continue;
                };
                let is_group = is_group(&parts, i, group);
                // A wildcard needs its group; `*` alone could be that of any.
                if resource == "*" && (!is_group || name == "*") {
                    continue;
                }
                let penalty = if is_group { 0 } else { parts.len().min(2) };
                let score = distance * 4 + penalty;
                if best.as_ref().is_some_and(|(least, _)| *least <= score) {
                    continue;
                }
                let is_certain = is_group && is_same(part, resource);
                let dot = if group.is_empty() && resource != "*" { "" } else { "." };
                let name = format!("{resource}{dot}{group}");
                best = Some((score, Suggestion { name, is_certain }));
            }
        }
    }
    best.map(|(_, found)| found)
}

/// Whether the parts other than the one at `i` are those of the group.
fn is_group(parts: &[&str], i: usize, group: &str) -> bool {
    let others = parts.iter().enumerate().filter(|(j, _)| *j != i).map(|(_, part)| *part);
    others.eq(group.split('.').filter(|label| !label.is_empty()))
}

/// Whether the part is a version, or another part of a URL that a name does not have.
fn is_filler(part: &str) -> bool {
    matches!(part, "" | "core" | "api" | "apis")
        || part.starts_with('v') && part.as_bytes().get(1).is_some_and(u8::is_ascii_digit)
}

/// Whether `part` is the resource or its singular.
fn is_same(part: &str, plural: &str) -> bool {
    match plural.strip_prefix(part) {
        Some(end) => matches!(end, "" | "s" | "es"),
        None => part.strip_suffix('y').and_then(|stem| plural.strip_prefix(stem)) == Some("ies"),
    }
}

/// Returns how much the two differ: how many characters are between their common beginning and their common end. Returns `None` if that is more than
/// a third of them.
fn distance(part: &str, plural: &str) -> Option<usize> {
    let (part, plural) = (part.as_bytes(), plural.as_bytes());
    let length = part.len().max(plural.len());
    let shorter = part.len().min(plural.len());
    let head = same(&mut part.iter().zip(plural));
    let tail = same(&mut part.iter().rev().zip(plural.iter().rev())).min(shorter - head);
    let distance = length - head - tail;
    (distance * 3 <= length).then_some(distance)
}

/// Returns how many pairs at the beginning are equal.
fn same<'b>(pairs: &mut dyn Iterator<Item = (&'b u8, &'b u8)>) -> usize {
    pairs.take_while(|(a, b)| a == b).count()
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::string::ToString;

    /// What `misnamed` returns: `-` for a name that can match, `?` for one without a suggestion, and otherwise the suggestion.
    fn meant(name: &str) -> String {
        match misnamed(name) {
            None => "-".into(),
            Some(Misnamed { suggestion: None, .. }) => "?".into(),
            Some(Misnamed { suggestion: Some(suggestion), .. }) => suggestion,
        }
    }

    #[test]
    fn every_built_in_resource_and_wildcard_can_match() {
        for (group, entries) in GROUPS {
            let dot = if group.is_empty() { "" } else { "." };
            for entry in entries.split(' ') {
                let resource = split_entry(entry).1;
                assert_eq!(meant(&format!("{resource}{dot}{group}")), "-");
            }
            assert_eq!(meant(&format!("*.{group}")), "-");
        }
    }

    #[test]
    fn custom_resources_and_resources_of_other_versions_can_match() {
        for name in [
            "secrets.",
            "*.*",
            "*.example.com",
            "apiServerIPInfo",
            "podsecuritypolicies.policy",
            "resourceclasses.resource.k8s.io",
            "podschedulingcontexts.resource.k8s.io",
            "resourceclaimparameters.resource.k8s.io",
            "clustercidrs.networking.k8s.io",
            "volumesnapshots.snapshot.storage.k8s.io",
            "gateways.gateway.networking.k8s.io",
            "pandas.awesome.bears.com",
            "jobs.batch.volcano.sh",
            "deployments.apps.example.com",
            "secrets.core.example.com",
            "widgets.v1.example.com",
            "ingresses.config.openshift.io",
            "services.serving.knative.dev",
            "secret.example.com",
            "ingress.config.openshift.io",
            "pods.metrics.k8s.io",
            "a.b-c.d",
        ] {
            assert_eq!(meant(name), "-", "{name}");
        }
    }

    #[test]
    fn names_that_match_nothing_get_a_suggestion() {
        for (name, suggestion) in [
            ("secret", "secrets"),
            ("Secret", "secrets"),
            ("Secrets", "secrets"),
            ("secerts", "secrets"),
            ("secrets.core", "secrets"),
            ("secrets.v1", "secrets"),
            ("v1/secrets", "secrets"),
            ("/api/v1/secrets", "secrets"),
            ("secrets/status", "secrets"),
            ("secrets*", "secrets"),
            ("config-maps", "configmaps"),
            ("configmap", "configmaps"),
            ("endpoint", "endpoints"),
            ("PersistentVolume", "persistentvolumes"),
            ("PersistentVolumeClaim", "persistentvolumeclaims"),
            ("deployments", "deployments.apps"),
            ("deployment", "deployments.apps"),
            ("deployment.apps", "deployments.apps"),
            ("Deployment.apps", "deployments.apps"),
            ("apps/deployments", "deployments.apps"),
            ("deployments/apps", "deployments.apps"),
            ("apps/v1/deployments", "deployments.apps"),
            ("apis/apps/v1/deployments", "deployments.apps"),
            ("apps.deployments", "deployments.apps"),
            ("deployments.v1.apps", "deployments.apps"),
            ("deployments.apps.v1", "deployments.apps"),
            ("deployments.apps/v1", "deployments.apps"),
            ("deployments.extensions", "deployments.apps"),
            ("cronjobs.apps", "cronjobs.batch"),
            ("CronJob", "cronjobs.batch"),
            ("deployments.apps.", "deployments.apps"),
            ("jobs.v1.batch", "jobs.batch"),
            ("ingress", "ingresses.networking.k8s.io"),
            ("ingresses", "ingresses.networking.k8s.io"),
            ("ingresses.networking", "ingresses.networking.k8s.io"),
            ("ingress.networking.k8s.io", "ingresses.networking.k8s.io"),
            ("networking.k8s.io/v1/ingresses", "ingresses.networking.k8s.io"),
            ("networking.k8s.io.ingresses", "ingresses.networking.k8s.io"),
            ("networkpolicy.networking.k8s.io", "networkpolicies.networking.k8s.io"),
            ("NetworkPolicy", "networkpolicies.networking.k8s.io"),
            ("role.rbac.authorization.k8s.io", "roles.rbac.authorization.k8s.io"),
            ("roles.v1.rbac.authorization.k8s.io", "roles.rbac.authorization.k8s.io"),
            ("customresourcedefinitions", "customresourcedefinitions.apiextensions.k8s.io"),
            ("apps/*", "*.apps"),
            ("*.apps/v1", "*.apps"),
            ("*.v1.apps", "*.apps"),
            ("*.core", "*."),
            ("*.v1", "*."),
            ("*..", "*."),
        ] {
            assert_eq!(meant(name), suggestion, "{name}");
        }
    }

    #[test]
    fn names_that_match_nothing_and_resemble_nothing_get_none() {
        for name in [
            "",
            ".",
            "*",
            "*/*",
            "foo",
            "foos.apps",
            "foo bar",
            "foo.",
            "a..b",
            ".b.c",
            "*foo.example.com",
            "foo.*",
            "*.nosuchgroup",
            "é.example.com",
            "a/b.example.com",
            "secrets.a.b.c.d.e.f.g.h.",
        ] {
            assert_eq!(meant(name), "?", "{name}");
        }
        assert_eq!(meant(&"secrets/".repeat(1000)), "?");
        let long = "x".repeat(1000);
        assert!(!misnamed(&long).unwrap().to_string().contains("xx"));
    }
}
