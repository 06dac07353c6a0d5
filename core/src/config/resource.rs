//! The resources that a rule applies to.

use super::fault::{Finding, Position, element};
use super::raw::Field;
use super::render::{json_list, quoted};
use crate::map::Names;
use alloc::borrow::{Cow, ToOwned};
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;

const DUPLICATE: &str = "the same resource cannot be specified multiple times";
const OVERLAP: &str = "using overlapping resources such as 'secrets' and '*.' in the same resource list is not allowed as they will be masked";
const CAPITALS: &str = "resource name should not contain capital letters";
const STAR: &str =
    "use '*.' to encrypt all the resources from core API group or *.* to encrypt all resources";
const NO_REST_API: &str = "resources which do not have REST API/s cannot be encrypted";
const EVENTS: &str = "'*.events.k8s.io' objects are stored using the 'events' API group in etcd. Use 'events' instead in the config file";
const EXTENSIONS: &str = "'extensions' group has been removed and cannot be used for encryption";
const ACROSS_GROUPS: &str = "encrypting the same resource across groups is not supported";

/// `resource[.group]`, either of which may be `*`. The core group is empty.
///
/// Upstream: `schema.ParseGroupResource`, and `grYAMLString` for display.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct GroupResource {
    /// The API group: empty for core, `*` for every group.
    pub group: String,
    /// The resource: `*` for all of the group.
    pub resource: String,
}

impl GroupResource {
    /// Splits `text` at the first dot. Text without a dot is a resource of the core group.
    #[must_use]
    pub fn parse(text: &str) -> Self {
        let (resource, group) = split(text);
        Self { group: group.to_owned(), resource: resource.to_owned() }
    }
}

/// Returns the resource, and the group after the first dot.
fn split(text: &str) -> (&str, &str) {
    text.split_once('.').unwrap_or((text, ""))
}

impl fmt::Display for GroupResource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.resource.as_str(), self.group.as_str()) {
            ("*", "") => f.write_str("*."),
            (resource, "") => f.write_str(resource),
            (resource, group) => write!(f, "{resource}.{group}"),
        }
    }
}

/// Reports the errors within one list: upstream's `validateResourceOverlap`, then `validateResourceNames`.
///
/// Elements that could not be decoded are skipped.
pub(super) fn check_list(
    list: &[Field<String>],
    path: &str,
    at: Position,
    faults: &mut Vec<Finding>,
) {
    let names = || list.iter().filter_map(Field::text);
    let mut seen = Names::new();
    let mut sizes = Names::new();
    for (name, _) in names() {
        let (resource, group) = split(name);
        // A trailing dot also denotes the core group.
        let whole = if group.is_empty() { resource } else { name };
        *seen.entry(Cow::Borrowed(whole)).or_default() += 1;
        *sizes.entry(Cow::Borrowed(group)).or_default() += 1;
    }
    let duplicate = seen.values().any(|times| *times > 1);
    // Upstream compares every pair; this computes the same result for the whole list in one pass.
    let count = names().count();
    let overlap = names().any(|(name, _)| match split(name) {
        ("*", "*") => count > 1,
        ("*", group) => sizes.get(group).is_some_and(|size| *size > 1),
        _ => false,
    });
    for (found, detail) in [(duplicate, DUPLICATE), (overlap, OVERLAP)] {
        if found {
            faults.push(Finding::invalid(
                path,
                json_list(names().map(|(name, _)| name)),
                detail,
                at,
            ));
        }
    }
    for (j, given) in list.iter().enumerate() {
        let Some((name, at)) = given.text() else {
            continue;
        };
        if let Some(detail) = name_fault(name) {
            faults.push(Finding::invalid(element(path, j), quoted(name), detail, at));
        }
    }
}

/// Returns upstream's error for one name.
pub(super) fn name_fault(name: &str) -> Option<&'static str> {
    let parsed = GroupResource::parse(name);
    // Lowercasing the whole string differs from this only in the final form of the Greek sigma, which does not change the result.
    if name.chars().any(|c| !c.to_lowercase().eq([c])) {
        Some(CAPITALS)
    } else if name == "*" {
        Some(STAR)
    } else if matches!(
        name,
        "apiserveripinfo" | "serviceipallocations" | "servicenodeportallocations"
    ) {
        Some(NO_REST_API)
    } else if parsed.group == "events.k8s.io" {
        Some(EVENTS)
    } else if parsed.group == "extensions" {
        Some(EXTENSIONS)
    } else if parsed.group == "*" && parsed.resource != "*" {
        Some(ACROSS_GROUPS)
    } else {
        None
    }
}

/// The wildcards of earlier rules, which mask later rules.
///
/// Upstream (encryptionconfig/config.go, where transformers are built) stops at the first masked resource; this
/// reports each of them. Duplicates within one list are [`check_list`]'s concern.
#[derive(Default)]
pub(super) struct Masks {
    /// The groups that a wildcard covers, including `*` if one covers everything.
    wildcards: Names<'static>,
}

impl Masks {
    /// Reports the resources of this rule that earlier rules mask, then adds this rule's wildcards.
    pub(super) fn rule(&mut self, list: &[Field<String>], path: &str, faults: &mut Vec<Finding>) {
        let mut own = Vec::new();
        for (j, given) in list.iter().enumerate() {
            let Some((name, at)) = given.text() else {
                continue;
            };
            let resource = GroupResource::parse(name);
            let groups = [resource.group.as_str(), "*"];
            if let Some(group) =
                groups.into_iter().find(|group| self.wildcards.contains_key(*group))
            {
                let mask = GroupResource { group: group.to_owned(), resource: "*".to_owned() };
                let message = format!(
                    "resource {} is masked by earlier rule {}",
                    quoted(&format!("{resource}")),
                    quoted(&format!("{mask}"))
                );
                faults.push(Finding::new(element(path, j), message, at));
            }
            if resource.resource == "*" {
                own.push(resource.group);
            }
        }
        for group in own {
            self.wildcards.insert(Cow::Owned(group), 0);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::string::ToString;

    const AT: Position = Position { line: 1, column: 1 };

    fn list(names: &[&str]) -> Vec<Field<String>> {
        names.iter().map(|name| Field::Given(name.to_string(), AT)).collect()
    }

    #[test]
    fn resources_print_as_they_are_written() {
        let table = [
            ("secrets", "", "secrets", "secrets"),
            ("deployments.apps", "apps", "deployments", "deployments.apps"),
            (
                "pandas.awesome.bears.example",
                "awesome.bears.example",
                "pandas",
                "pandas.awesome.bears.example",
            ),
            ("*.", "", "*", "*."),
            ("*.*", "*", "*", "*.*"),
            ("*.apps", "apps", "*", "*.apps"),
            ("secrets.", "", "secrets", "secrets"),
            ("", "", "", ""),
        ];
        for (text, group, resource, shown) in table {
            let parsed = GroupResource::parse(text);
            assert_eq!(
                (parsed.group.as_str(), parsed.resource.as_str()),
                (group, resource),
                "{text}"
            );
            assert_eq!(parsed.to_string(), shown, "{text}");
        }
    }

    #[test]
    fn each_resource_list_error_has_upstreams_text() {
        let table: &[(&str, &[&str], &[&str])] = &[
            ("fine", &["secrets", "*.apps", "events"], &[]),
            ("capitals", &["Secrets.*"], &[CAPITALS]),
            ("star", &["*"], &[STAR]),
            ("no REST API", &["apiserveripinfo"], &[NO_REST_API]),
            ("no REST API", &["serviceipallocations"], &[NO_REST_API]),
            ("no REST API", &["servicenodeportallocations"], &[NO_REST_API]),
            ("events group", &["*.events.k8s.io"], &[EVENTS]),
            ("extensions", &["*.extensions"], &[EXTENSIONS]),
            ("across groups", &["secrets.*"], &[ACROSS_GROUPS]),
            ("duplicate", &["a", "b", "a"], &[DUPLICATE]),
            ("duplicate by another spelling", &["a", "a."], &[DUPLICATE]),
            ("core overlap", &["secrets", "*."], &[OVERLAP]),
            ("everything overlaps", &["secrets", "*.*"], &[OVERLAP]),
            ("group overlap", &["a.apps", "*.apps"], &[OVERLAP]),
            ("both", &["*.apps", "*.apps"], &[DUPLICATE, OVERLAP]),
            ("both, then names", &["*.*", "*.*", "*"], &[DUPLICATE, OVERLAP, STAR]),
            ("other groups do not overlap", &["a.batch", "*.apps"], &[]),
        ];
        for (desc, names, want) in table {
            let mut faults = Vec::new();
            check_list(&list(names), "r", AT, &mut faults);
            assert_eq!(faults.len(), want.len(), "{desc}: {faults:?}");
            for (fault, want) in faults.iter().zip(*want) {
                assert!(fault.message.ends_with(want), "{desc}: {fault}");
            }
        }
    }

    #[test]
    fn earlier_wildcards_mask_later_rules() {
        type Case<'a> = (&'a str, &'a [&'a [&'a str]], &'a [&'a str]);
        let table: &[Case<'_>] = &[
            ("specific first is fine", &[&["secrets"], &["*."], &["*.*"]], &[]),
            ("the same resource appends", &[&["secrets"], &["secrets"]], &[]),
            (
                "core",
                &[&["*."], &["secrets"]],
                &[r#"resource "secrets" is masked by earlier rule "*.""#],
            ),
            (
                "everything",
                &[&["*.*"], &["*."]],
                &[r#"resource "*." is masked by earlier rule "*.*""#],
            ),
            (
                "everything twice",
                &[&["*.*"], &["*.*"]],
                &[r#"resource "*.*" is masked by earlier rule "*.*""#],
            ),
            (
                "group",
                &[&["*.apps"], &["x.apps"]],
                &[r#"resource "x.apps" is masked by earlier rule "*.apps""#],
            ),
            (
                "group before all",
                &[&["*.apps"], &["*.*"], &["x.apps"]],
                &[r#"resource "x.apps" is masked by earlier rule "*.apps""#],
            ),
            ("overlaps within one list are found by another check", &[&["*.", "secrets"]], &[]),
        ];
        for (desc, rules, want) in table {
            let (mut faults, mut masks) = (Vec::new(), Masks::default());
            for rule in *rules {
                masks.rule(&list(rule), "r", &mut faults);
            }
            let got: Vec<&str> = faults.iter().map(|fault| fault.message.as_str()).collect();
            assert_eq!(&got, want, "{desc}");
        }
    }
}
