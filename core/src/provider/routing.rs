//! Which providers serve a resource.

use alloc::borrow::Cow;
use alloc::format;
use alloc::string::ToString;
use alloc::sync::Arc;
use alloc::vec::Vec;

use super::transformer::Transformer;
use crate::config::resource::GroupResource;
use crate::map::Names;

/// Resource → its list of providers: the first writes, all read.
///
/// Found in this order: the exact `resource.group`, then `*.group` (`*.` is the core group), then `*.*`, then identity. Upstream:
/// encryptionconfig/config.go, `transformerFromOverrides`.
pub struct Routing {
    /// Where each resource's list is in `lists`.
    rules: Names<'static>,
    lists: Vec<Arc<[Transformer]>>,
    fallback: Arc<[Transformer]>,
}

impl Routing {
    /// From rules in the order of the file. The same exact resource in two rules appends the later one's providers.
    ///
    /// Masked rules were refused when the configuration was checked.
    pub fn new(rules: impl IntoIterator<Item = (Vec<GroupResource>, Vec<Transformer>)>) -> Self {
        let mut names = Names::new();
        let mut lists: Vec<Vec<Transformer>> = Vec::new();
        for (resources, transformers) in rules {
            for resource in resources {
                let at = *names
                    .entry(Cow::Owned(resource.to_string()))
                    .or_insert(lists.len());
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

    /// The list of providers for a resource, never empty. `resource` is the resource, then its group: `secrets`, `deployments.apps`.
    pub fn find(&self, resource: &str) -> &Arc<[Transformer]> {
        most_exact(&self.rules, resource)
            .and_then(|at| self.lists.get(at))
            .unwrap_or(&self.fallback)
    }

    /// Whether a resource is stored as plaintext for want of a rule.
    pub fn is_fallback(&self, list: &Arc<[Transformer]>) -> bool {
        Arc::ptr_eq(list, &self.fallback)
    }
}

/// The resource and its group, at the first dot. On the way of every value: byte by byte, for which a short name needs no searcher.
pub(crate) fn split(resource: &str) -> Option<(&str, &str)> {
    let dot = resource.bytes().position(|byte| byte == b'.')?;
    Some((resource.get(..dot)?, resource.get(dot + 1..)?))
}

/// What is said of a resource: `resource.group`, else `*.group` (`*.` is the core group), else `*.*`. A wildcard stands for the resources that
/// nothing names.
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
        vec![Transformer {
            prefix: prefix.into(),
            ..Transformer::identity()
        }]
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
            (
                "the group is everything after the first dot",
                "x.y.apps",
                "e",
            ),
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
