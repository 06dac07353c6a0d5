//! Which resource a storage key belongs to.

mod name;

pub use name::{Misnamed, misnamed};

use crate::text;

/// The resource of a storage key. `resource.group` is how an encryption configuration names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Resource<'k> {
    /// The plural name, for example `secrets`.
    pub resource: &'k str,
    /// The API group. Empty for the core group.
    pub group: &'k str,
    /// Whether the prefix of the key is one that is known, and so the resource is certain.
    pub certain: bool,
}

impl core::fmt::Display for Resource<'_> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(self.resource)?;
        if !self.group.is_empty() {
            f.write_str(".")?;
            f.write_str(self.group)?;
        }
        Ok(())
    }
}

/// The prefixes of kube-apiserver (`--etcd-prefix`) and OpenShift, with their slashes.
const PREFIXES: [&str; 3] = ["/registry/", "/kubernetes.io/", "/openshift.io/"];

/// The paths of built-in resources below the prefix, by group: `path`, or `path=resource` where they differ.
///
/// Source: upstream's test/integration/etcd/data.go of v1.37. `events` are those of the core group, never of `events.k8s.io`.
const GROUPS: [(&str, &str); 21] = [
    (
        "",
        "configmaps controllers=replicationcontrollers events limitranges minions=nodes namespaces persistentvolumeclaims persistentvolumes pods podtemplates resourcequotas secrets serviceaccounts services/endpoints=endpoints services/specs=services",
    ),
    (
        "admissionregistration.k8s.io",
        "mutatingadmissionpolicies mutatingadmissionpolicybindings mutatingwebhookconfigurations validatingadmissionpolicies validatingadmissionpolicybindings validatingwebhookconfigurations",
    ),
    (
        "apiextensions.k8s.io",
        "apiextensions.k8s.io/customresourcedefinitions=customresourcedefinitions",
    ),
    ("apiregistration.k8s.io", "apiregistration.k8s.io/apiservices=apiservices"),
    ("apps", "controllerrevisions daemonsets deployments replicasets statefulsets"),
    ("autoscaling", "horizontalpodautoscalers"),
    ("batch", "cronjobs jobs"),
    (
        "certificates.k8s.io",
        "certificatesigningrequests clustertrustbundles podcertificaterequests",
    ),
    ("coordination.k8s.io", "leasecandidates leases"),
    ("discovery.k8s.io", "endpointslices"),
    ("flowcontrol.apiserver.k8s.io", "flowschemas prioritylevelconfigurations"),
    ("internal.apiserver.k8s.io", "storageversions"),
    ("lifecycle.k8s.io", "evictionrequests evictions"),
    (
        "networking.k8s.io",
        "ingress=ingresses ingressclasses ipaddresses networkpolicies servicecidrs",
    ),
    ("node.k8s.io", "runtimeclasses"),
    ("policy", "poddisruptionbudgets"),
    ("rbac.authorization.k8s.io", "clusterrolebindings clusterroles rolebindings roles"),
    (
        "resource.k8s.io",
        "deviceclasses devicetaintrules resourceclaims resourceclaimtemplates resourcepoolstatusrequests resourceslices",
    ),
    ("scheduling.k8s.io", "compositepodgroups podgroups priorityclasses workloads"),
    (
        "storage.k8s.io",
        "csidrivers csinodes csistoragecapacities storageclasses volumeattachments volumeattributesclasses",
    ),
    ("storagemigration.k8s.io", "storageversionmigrations"),
];

/// Paths that are no objects of an API, and the resource whose rule applies to them. Upstream: pkg/registry/core/service/allocator/storage,
/// pkg/controlplane/reconcilers.
const SPECIAL: [(&str, &str); 4] = [
    ("ranges/serviceips", "services"),
    ("ranges/servicenodeports", "services"),
    ("masterleases", "apiServerIPInfo"),
    ("peerserverleases", "apiServerPeerIPInfo"),
];

/// Returns the resource of a storage key, if it can be known.
///
/// Below a known prefix, a first part with a dot is the group of a custom resource, and the part after it is the resource. With another prefix, the
/// first part that is a known path counts, and the resource is not certain.
///
/// ```
/// use dekker_forms::resource;
/// let of = |key: &str| resource(key.as_bytes()).map(|resource| resource.to_string());
/// assert_eq!(of("/registry/secrets/default/token").as_deref(), Some("secrets"));
/// assert_eq!(of("/registry/deployments/default/web").as_deref(), Some("deployments.apps"));
/// assert_eq!(of("/registry/example.com/widgets/default/w").as_deref(), Some("widgets.example.com"));
/// assert_eq!(of("/registry/unknown/x"), None);
/// ```
pub fn resource(key: &[u8]) -> Option<Resource<'_>> {
    let key = core::str::from_utf8(key).ok()?;
    if !text::is_key(key.as_bytes(), 64 * 1024) {
        return None;
    }
    if let Some(path) = PREFIXES.iter().find_map(|prefix| key.strip_prefix(prefix)) {
        return below_prefix(path);
    }
    // Another prefix has one to a few parts.
    let mut rest = key.strip_prefix('/')?;
    for _ in 0..4 {
        rest = rest.split_once('/')?.1;
        if let Some((resource, group)) = built_in(rest) {
            return Some(Resource { resource, group, certain: false });
        }
    }
    None
}

/// Whether the key is below a prefix of Kubernetes.
pub(crate) fn has_known_prefix(key: &[u8]) -> bool {
    PREFIXES.iter().any(|prefix| key.starts_with(prefix.as_bytes()))
}

fn below_prefix(path: &str) -> Option<Resource<'_>> {
    if let Some((resource, group)) = built_in(path) {
        return Some(Resource { resource, group, certain: true });
    }
    let (group, rest) = path.split_once('/')?;
    let (resource, name) = rest.split_once('/')?;
    let is_custom = group.as_bytes().contains(&b'.') && !resource.is_empty() && !name.is_empty();
    is_custom.then_some(Resource { resource, group, certain: true })
}

/// Returns resource and group of a path below the prefix, which needs a name after it.
fn built_in(path: &str) -> Option<(&'static str, &'static str)> {
    let begins = |known: &str| {
        path.strip_prefix(known).is_some_and(|rest| rest.len() > 1 && rest.starts_with('/'))
    };
    if let Some((_, resource)) =
        SPECIAL.iter().find(|(special, _)| path == *special || begins(special))
    {
        return Some((resource, ""));
    }
    for (group, paths) in GROUPS {
        for entry in paths.split(' ') {
            let (known, resource) = split_entry(entry);
            if begins(known) {
                return Some((resource, group));
            }
        }
    }
    None
}

/// Splits an entry of [`GROUPS`] into path and resource.
fn split_entry(entry: &str) -> (&str, &str) {
    entry.split_once('=').unwrap_or((entry, entry))
}

#[cfg(test)]
mod tests {
    use alloc::string::ToString;

    #[test]
    fn special_paths_and_other_prefixes() {
        for (key, resource, certain) in [
            ("/registry/minions/a", Some("nodes"), true),
            ("/registry/services/specs/a/b", Some("services"), true),
            ("/registry/services/endpoints/a/b", Some("endpoints"), true),
            ("/registry/controllers/a/b", Some("replicationcontrollers"), true),
            ("/registry/ingress/a/b", Some("ingresses.networking.k8s.io"), true),
            ("/registry/events/a/b", Some("events"), true),
            ("/registry/ranges/serviceips", Some("services"), true),
            ("/registry/masterleases/10.0.0.1", Some("apiServerIPInfo"), true),
            ("/kubernetes.io/secrets/a/b", Some("secrets"), true),
            (
                "/registry/apiregistration.k8s.io/apiservices/v1.",
                Some("apiservices.apiregistration.k8s.io"),
                true,
            ),
            ("/my/own/prefix/secrets/a/b", Some("secrets"), false),
            ("/registry/secrets", None, true),
            ("/registry/secrets/", None, true),
            ("/registry/example.com/widgets", None, true),
            ("/bootstrap/abc", None, true),
            ("compact_rev_key", None, true),
            ("", None, true),
        ] {
            let found = super::resource(key.as_bytes());
            assert_eq!(found.map(|found| found.to_string()).as_deref(), resource, "{key}");
            assert!(found.is_none_or(|found| found.certain == certain), "{key}");
        }
        assert_eq!(super::resource(b"/registry/\xff/a/b"), None);
    }
}
