//! Warnings about settings that are allowed but probably unintended.

use super::endpoint;
use super::fault::{Finding, Position, element, field};
use super::raw::{Field, RawConfig, RawKms, RawProvider, RawRule};
use super::resource::GroupResource;
use alloc::vec::Vec;

/// 30 s, in nanoseconds: half of the time that a request to the API server may take.
const LONG_TIMEOUT: i64 = 30_000_000_000;

const IDENTITY_FIRST: &str = "identity is first, so new values are stored in plaintext; put the provider that should encrypt first";
const ONLY_IDENTITY: &str = "identity is the only provider, so nothing is encrypted";
const CBC: &str = "aescbc does not detect modified values and is vulnerable to padding oracle attacks; prefer kms v2 or secretbox";
const GCM: &str = "aesgcm uses random nonces: rotate its key at least every 200,000 writes";
const KMS_V1: &str = "KMS v1 is deprecated since Kubernetes v1.28; use apiVersion: v2";
const TIMEOUT: &str =
    "a timeout of more than 30s lets one request wait longer than most clients do";
const UNUSED: &str = "only the path of the endpoint is used; write unix:///path";
const EMPTY_NAME: &str = "the resource's name is empty, so it matches nothing";
const NO_SECRETS: &str = "no rule covers secrets";

/// Returns the warnings about the parts of the file that could be decoded.
pub(super) fn lint(raw: &RawConfig) -> Vec<Finding> {
    let mut warnings = Vec::new();
    let Some((rules, at)) = raw.resources.given() else {
        return warnings;
    };
    let mut covers_secrets = false;
    for (i, rule) in rules.iter().enumerate() {
        let Some((rule, _)) = rule.given() else {
            continue;
        };
        covers_secrets |= names(rule).any(|name| {
            matches!(
                (name.resource.as_str(), name.group.as_str()),
                ("secrets" | "*", "") | ("*", "*")
            )
        });
        lint_rule(rule, &element("resources", i), &mut warnings);
    }
    if !covers_secrets && !rules.is_empty() {
        warnings.push(Finding::new("resources", NO_SECRETS, at));
    }
    warnings
}

fn names(rule: &RawRule) -> impl Iterator<Item = GroupResource> {
    let list = rule.resources.given().map_or(&[][..], |(list, _)| list);
    list.iter().filter_map(Field::text).map(|(name, _)| GroupResource::parse(name))
}

fn lint_rule(rule: &RawRule, path: &str, warnings: &mut Vec<Finding>) {
    for (j, name) in rule.resources.given().map_or(&[][..], |(list, _)| list).iter().enumerate() {
        if let Some(("", at)) = name.text() {
            warnings.push(Finding::new(element(&field(path, "resources"), j), EMPTY_NAME, at));
        }
    }
    let providers = rule.providers.given().map_or(&[][..], |(list, _)| list);
    for (j, provider) in providers.iter().enumerate() {
        let Some((provider, at)) = provider.given() else {
            continue;
        };
        let RawProvider { kms, aesgcm, aescbc, secretbox: _, identity, has_unknown: _ } = provider;
        let path = &element(&field(path, "providers"), j);
        if j == 0 && identity.is_there() {
            let message = if providers.len() > 1 { IDENTITY_FIRST } else { ONLY_IDENTITY };
            warnings.push(Finding::new(field(path, "identity"), message, identity.place(at)));
        }
        // Only the first provider encrypts new values; the others are there to decrypt old ones.
        if j == 0 && aescbc.is_there() {
            warnings.push(Finding::new(field(path, "aescbc"), CBC, aescbc.place(at)));
        }
        if j == 0 && aesgcm.is_there() {
            warnings.push(Finding::new(field(path, "aesgcm"), GCM, aesgcm.place(at)));
        }
        if let Some((kms, at)) = kms.given() {
            lint_kms(kms, &field(path, "kms"), at, warnings);
        }
    }
}

fn lint_kms(kms: &RawKms, path: &str, at: Position, warnings: &mut Vec<Finding>) {
    let RawKms { api_version, name: _, cache_size: _, endpoint, timeout } = kms;
    if matches!(api_version.or_empty(), Some("" | "v1")) {
        warnings.push(Finding::new(field(path, "apiVersion"), KMS_V1, api_version.place(at)));
    }
    if let Some((nanoseconds, at)) = timeout.given()
        && *nanoseconds > LONG_TIMEOUT
    {
        warnings.push(Finding::new(field(path, "timeout"), TIMEOUT, at));
    }
    if let Some((text, at)) = endpoint.text()
        && endpoint::parse(text).is_ok()
        && endpoint::has_unused_parts(text)
    {
        warnings.push(Finding::new(field(path, "endpoint"), UNUSED, at));
    }
}
