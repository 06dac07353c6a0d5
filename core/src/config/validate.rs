//! Defaults and validation: applies upstream's rules in upstream's order and returns the resulting configuration.
//!
//! Upstream: pkg/apis/apiserver/validation/validation_encryption.go and v1/defaults.go. A field that could
//! not be decoded is skipped, because its error is already recorded.

mod kms;

use super::base64;
use super::fault::{Finding, Position, element, field};
use super::raw::{Field, RawConfig, RawKey, RawKeys, RawProvider, RawRule};
use super::render::{json_list, quoted};
use super::resource::{self, Masks};
use super::secret::REDACTED;
use crate::config::resource::GroupResource;
use crate::config::rule::{Config, NamedKey, Provider, Rule};
use crate::map::Names;
use alloc::borrow::ToOwned;
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

/// The lengths of keys for AES, in bytes.
pub(super) const AES_KEY_SIZES: &[usize] = &[16, 24, 32];
/// The length of keys for secretbox, in bytes.
pub(super) const SECRETBOX_KEY_SIZES: &[usize] = &[32];

const MORE_THAN_ONE: &str = "more than one provider specified in a single element, should split into different list elements";
const NO_PROVIDER: &str = "provider does not contain any of the expected providers: KMS, AESGCM, AESCBC, Secretbox, Identity";
/// An element without any provider, as upstream prints it: its Go struct as JSON.
const EMPTY_PROVIDER: &str =
    r#"{"AESGCM":null,"AESCBC":null,"Secretbox":null,"Identity":null,"KMS":null}"#;

/// Validates `raw` and adds every error to `faults`. The result is the complete configuration only if there are none.
pub(super) fn validate(raw: &RawConfig, reload: bool, faults: &mut Vec<Finding>) -> Config {
    let mut validator = Validator { reload, faults, kms_names: Names::new() };
    let mut config = Config { rules: Vec::new() };
    match &raw.resources {
        Field::Bad => {}
        Field::Given(rules, _) if !rules.is_empty() => {
            for (i, rule) in rules.iter().enumerate() {
                if let Some((rule, _)) = rule.given() {
                    config.rules.push(validator.rule(rule, &element("resources", i)));
                }
            }
            let mut masks = Masks::default();
            for (i, rule) in rules.iter().enumerate() {
                if let Some((list, _)) = rule.given().and_then(|(rule, _)| rule.resources.given()) {
                    masks.rule(list, &format!("resources[{i}].resources"), validator.faults);
                }
            }
        }
        Field::Absent | Field::Given(..) => {
            let at = raw.resources.place(raw.at);
            validator.faults.push(Finding::required(
                "resources",
                "at least one resources is required",
                at,
            ));
        }
    }
    config
}

/// A local provider: its field, its name, the valid sizes of its keys, and the constructor of its [`Provider`].
type Local<'a> = (&'a Field<RawKeys>, &'a str, &'a [usize], fn(Vec<NamedKey>) -> Provider);

struct Validator<'f> {
    reload: bool,
    faults: &'f mut Vec<Finding>,
    /// The names of all KMS providers so far, v1 and v2.
    kms_names: Names<'static>,
}

impl Validator<'_> {
    fn rule(&mut self, rule: &RawRule, path: &str) -> Rule {
        let RawRule { resources, providers, at } = rule;
        let mut built = Rule { resources: Vec::new(), providers: Vec::new() };
        let resources_path = field(path, "resources");
        self.at_least_one(resources, &resources_path, &resources_path, *at);
        if let Some((list, at)) = resources.given() {
            resource::check_list(list, &resources_path, at, self.faults);
            built.resources = list
                .iter()
                .filter_map(Field::text)
                .map(|(name, _)| GroupResource::parse(name))
                .collect();
        }
        let providers_path = field(path, "providers");
        self.at_least_one(providers, &providers_path, &providers_path, *at);
        for (j, provider) in providers.given().map_or(&[][..], |(list, _)| list).iter().enumerate()
        {
            let Some((provider, at)) = provider.given() else {
                continue;
            };
            built.providers.extend(self.provider(provider, &element(&providers_path, j), at));
        }
        built
    }

    fn at_least_one<T>(&mut self, list: &Field<Vec<T>>, path: &str, what: &str, holder: Position) {
        let missing = match list {
            Field::Absent => true,
            Field::Given(items, _) => items.is_empty(),
            Field::Bad => false,
        };
        if missing {
            let detail = format!("at least one {what} is required");
            self.faults.push(Finding::required(path, detail, list.place(holder)));
        }
    }

    fn provider(&mut self, provider: &RawProvider, path: &str, at: Position) -> Option<Provider> {
        let names: Vec<&str> = provider.names().collect();
        match names.as_slice() {
            [] if provider.has_unknown => {}
            [] => self.faults.push(Finding::invalid(path, EMPTY_PROVIDER, NO_PROVIDER, at)),
            [_] => {}
            // MUST DIFFER: upstream prints the whole struct, including secrets.
            many => self.faults.push(Finding::invalid(
                path,
                json_list(many.iter().copied()),
                MORE_THAN_ONE,
                at,
            )),
        }
        let RawProvider { kms, aesgcm, aescbc, secretbox, identity, has_unknown: _ } = provider;
        if kms.is_there() {
            let (kms, at) = kms.given()?;
            return self.kms(kms, &field(path, "kms"), at).map(Provider::Kms);
        }
        let local: [Local<'_>; 3] = [
            (aesgcm, "aesgcm", AES_KEY_SIZES, Provider::AesGcm),
            (aescbc, "aescbc", AES_KEY_SIZES, Provider::AesCbc),
            (secretbox, "secretbox", SECRETBOX_KEY_SIZES, Provider::Secretbox),
        ];
        for (field, name, sizes, make) in local {
            if field.is_there() {
                let (keys, at) = field.given()?;
                return Some(make(self.keys(keys, &format!("{path}.{name}.keys"), sizes, at)));
            }
        }
        identity.given().map(|_| Provider::Identity)
    }

    fn keys(&mut self, keys: &RawKeys, path: &str, sizes: &[usize], at: Position) -> Vec<NamedKey> {
        let RawKeys { keys } = keys;
        self.at_least_one(keys, path, "keys", at);
        let list = keys.given().map_or(&[][..], |(list, _)| list);
        list.iter()
            .enumerate()
            .filter_map(|(i, key)| {
                let (key, at) = key.given()?;
                self.key(key, &element(path, i), sizes, at)
            })
            .collect()
    }

    fn key(&mut self, key: &RawKey, path: &str, sizes: &[usize], at: Position) -> Option<NamedKey> {
        let RawKey { name, secret } = key;
        if name.or_empty() == Some("") {
            self.mandatory(field(path, "name"), "name", "key", name.place(at));
        }
        let path = field(path, "secret");
        let text = match secret {
            Field::Bad => return None,
            Field::Given(text, _) if !text.is_empty() => text,
            Field::Absent | Field::Given(..) => {
                self.mandatory(path, "secret", "key", secret.place(at));
                return None;
            }
        };
        let at = secret.place(at);
        let value = quoted(REDACTED);
        let Some(bytes) = base64::decode(text) else {
            self.faults.push(Finding::invalid(path, value, "secrets must be base64 encoded", at));
            return None;
        };
        if !sizes.contains(&bytes.len()) {
            let sizes: Vec<String> = sizes.iter().map(ToString::to_string).collect();
            let detail = format!(
                "secret is not of the expected length, got {}, expected one of [{}]",
                bytes.len(),
                sizes.join(" ")
            );
            self.faults.push(Finding::invalid(path, value, detail, at));
        }
        Some(NamedKey { name: name.or_empty()?.to_owned(), secret: bytes })
    }

    fn mandatory(&mut self, path: String, field: &str, of: &str, at: Position) {
        self.faults.push(Finding::required(
            path,
            format!("{field} is a mandatory field for a {of}"),
            at,
        ));
    }
}
