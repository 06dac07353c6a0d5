//! Warnings about settings that are allowed but probably unintended.

mod key;

use super::endpoint;
use super::fault::{Finding, Position, element, field};
use super::raw::{Field, RawConfig, RawKey, RawKeys, RawKms, RawProvider, RawRule};
use super::resource::{self, GroupResource};
use super::validate::{AES_KEY_SIZES, SECRETBOX_KEY_SIZES};
use crate::map::Names;
use alloc::borrow::Cow;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use dekker_forms::misnamed;

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
const SAME_NAME: &str = "an earlier key of this rule has the same name: stored values do not show which of the two encrypted them, so give every new key a new name";
const KEEP: &str = "; values may be encrypted with the present key, so keep it after the new one";

/// Adds the warnings about the parts of the file that could be decoded.
pub(super) fn lint(raw: &RawConfig, warnings: &mut Vec<Finding>) {
    let Some((rules, at)) = raw.resources.given() else {
        return;
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
        lint_rule(rule, &element("resources", i), warnings);
    }
    if !covers_secrets && !rules.is_empty() {
        warnings.push(Finding::new("resources", NO_SECRETS, at));
    }
}

fn names(rule: &RawRule) -> impl Iterator<Item = GroupResource> {
    let list = rule.resources.given().map_or(&[][..], |(list, _)| list);
    list.iter().filter_map(Field::text).map(|(name, _)| GroupResource::parse(name))
}

fn lint_rule(rule: &RawRule, path: &str, warnings: &mut Vec<Finding>) {
    for (j, name) in rule.resources.given().map_or(&[][..], |(list, _)| list).iter().enumerate() {
        if let Some((name, at)) = name.text() {
            lint_name(name, || element(&field(path, "resources"), j), at, warnings);
        }
    }
    let mut key_names = Names::new();
    let providers = rule.providers.given().map_or(&[][..], |(list, _)| list);
    for (j, provider) in providers.iter().enumerate() {
        let Some((provider, at)) = provider.given() else {
            continue;
        };
        let RawProvider { kms, aesgcm, aescbc, secretbox, identity, has_unknown: _ } = provider;
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
        let local = [
            ("aesgcm", aesgcm, AES_KEY_SIZES),
            ("aescbc", aescbc, AES_KEY_SIZES),
            ("secretbox", secretbox, SECRETBOX_KEY_SIZES),
        ];
        for (name, keys, sizes) in local {
            let keys = keys.given().and_then(|(RawKeys { keys }, _)| keys.given());
            for (k, key) in keys.map_or(&[][..], |(list, _)| list).iter().enumerate() {
                let Some((RawKey { name: key_name, secret }, _)) = key.given() else {
                    continue;
                };
                let path = |of: &str| format!("{path}.{name}.keys[{k}].{of}");
                if let Some((key_name, at)) = key_name.text()
                    && !key_name.is_empty()
                    && key_names.insert(Cow::Owned([name, ":", key_name].concat()), 0).is_some()
                {
                    warnings.push(Finding::new(path("name"), SAME_NAME, at));
                }
                if let Some((secret, at)) = secret.given()
                    && let Some(mistake) = key::mistake(secret, sizes)
                {
                    let keep = if mistake.is_accepted { KEEP } else { "" };
                    warnings.push(Finding::new(
                        path("secret"),
                        [mistake.message, keep].concat(),
                        at,
                    ));
                }
            }
        }
    }
}

/// Warns about a name that matches nothing. If upstream refuses it, that suffices unless the right name is known.
fn lint_name(name: &str, path: impl FnOnce() -> String, at: Position, warnings: &mut Vec<Finding>) {
    if name.is_empty() {
        warnings.push(Finding::new(path(), EMPTY_NAME, at));
    } else if let Some(misnamed) = misnamed(name)
        && (misnamed.suggestion.is_some() || resource::name_fault(name).is_none())
    {
        warnings.push(Finding::new(path(), format!("matches nothing: {misnamed}"), at));
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
