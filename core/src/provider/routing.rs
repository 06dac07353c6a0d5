//! Which providers serve a resource.

use alloc::borrow::Cow;
use alloc::format;
use alloc::string::ToString;
use alloc::sync::Arc;
use alloc::vec::Vec;

use super::transformer::Transformer;
use crate::config::resource::GroupResource;
use crate::map::Names;

/// Maps each resource to its list of providers. The first provider writes, all of them read.
///
/// A resource is looked up in this order: the exact `resource.group`, then `*.group` (`*.` is the core group), then `*.*`, then identity. Upstream:
/// encryptionconfig/config.go, `transformerFromOverrides`.
pub struct Routing {
    /// The index of each resource's list in `lists`.
    rules: Names<'static>,
    lists: Vec<Arc<[Transformer]>>,
    fallback: Arc<[Transformer]>,
}

impl Routing {
    /// Builds the map from rules in the order of the file. If two rules name exactly the same resource, the providers of the later rule are appended.
    ///
    /// Validation of the configuration has already rejected masked rules.
    pub fn new(rules: impl IntoIterator<Item = (Vec<GroupResource>, Vec<Transformer>)>) -> Self {
        let mut names = Names::new();
        let mut lists: Vec<Vec<Transformer>> = Vec::new();
        for (resources, transformers) in rules {
            for resource in resources {
                let at = *names.entry(Cow::Owned(resource.to_string())).or_insert(lists.len());
                if at == lists.len() {
                    lists.push(Vec::new());
                }
                if let Some(list) = lists.get_mut(at) {
                    list.extend_from_slice(&transformers);
                }
            }
        }
        Self {
            rules: names,
            lists: lists.into_iter().map(Into::into).collect(),
            fallback: [Transformer::identity()].into(),
        }
    }

    /// Returns the list of providers for a resource, which is never empty. `resource` is the resource, then its group: `secrets`, `deployments.apps`.
    pub fn find(&self, resource: &str) -> &Arc<[Transformer]> {
        most_exact(&self.rules, resource)
            .and_then(|at| self.lists.get(at))
            .unwrap_or(&self.fallback)
    }

    /// Returns whether `list` is the fallback: the resource is stored as plaintext because no rule covers it.
    pub fn is_fallback(&self, list: &Arc<[Transformer]>) -> bool {
        Arc::ptr_eq(list, &self.fallback)
    }
}

/// Splits a resource at the first dot into its name and its group. This runs for every value. The search goes byte by byte, because names are too
/// short to benefit from a substring searcher.
pub(crate) fn split(resource: &str) -> Option<(&str, &str)> {
    let dot = resource.bytes().position(|byte| byte == b'.')?;
    Some((resource.get(..dot)?, resource.get(dot + 1..)?))
}

/// Returns the entry for a resource: that of `resource.group`, else that of `*.group` (`*.` is the core group), else that of `*.*`. A wildcard covers
/// the resources that no rule names.
pub(crate) fn most_exact(rules: &Names<'_>, resource: &str) -> Option<usize> {
    let (name, group) = split(resource).unwrap_or((resource, ""));
    let exact = if group.is_empty() { name } else { resource };
    rules
        .get(exact)
        .or_else(|| rules.get(&*format!("*.{group}")))
        .or_else(|| rules.get("*.*"))
        .copied()
}

#[cfg(test)]
mod tests {
    use alloc::vec;

    use super::*;

    fn list(prefix: &str) -> Vec<Transformer> {
        vec![Transformer { prefix: prefix.into(), ..Transformer::identity() }]
    }

    fn rule(resource: &str, prefix: &str) -> (Vec<GroupResource>, Vec<Transformer>) {
        (vec![GroupResource::parse(resource)], list(prefix))
    }

    #[test]
    fn the_most_exact_rule_serves_a_resource() {
        let routing = Routing::new([
            rule("secrets", "a"),
            rule("deployments.apps", "b"),
            rule("*.apps", "c"),
            rule("*.", "d"),
            rule("*.*", "e"),
        ]);
        let table = [
            ("exact, core group", "secrets", "a"),
            ("exact, written with a dot", "secrets.", "a"),
            ("exact, with group", "deployments.apps", "b"),
            ("any of a group", "daemonsets.apps", "c"),
            ("any of the core group", "pods", "d"),
            ("any of any group", "ingresses.networking.k8s.io", "e"),
            ("the group is everything after the first dot", "x.y.apps", "e"),
        ];
        for (desc, resource, expected) in table {
            assert_eq!(&*routing.find(resource)[0].prefix, expected, "{desc}");
        }
    }

    #[test]
    fn a_resource_without_a_rule_is_plaintext() {
        let routing = Routing::new([rule("secrets", "a")]);
        let list = routing.find("pods");
        assert!(routing.is_fallback(list) && list[0].prefix.is_empty());
    }

    #[test]
    fn the_same_resource_twice_appends() {
        let routing = Routing::new([rule("secrets", "a"), rule("secrets", "b")]);
        let prefixes: Vec<_> = routing.find("secrets").iter().map(|t| &*t.prefix).collect();
        assert_eq!(prefixes, ["a", "b"]);
    }
}
