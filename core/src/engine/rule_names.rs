//! The names in a configuration, for `/statusz`. With them, a person can see why a value does not decrypt.

use alloc::string::{String, ToString};
use alloc::vec::Vec;

use crate::config::{Config, NamedKey, Provider};
use crate::json::Writer;

/// The names in a rule.
pub(super) struct RuleNames {
    resources: Vec<String>,
    providers: Vec<ProviderNames>,
}

struct ProviderNames {
    kind: &'static str,
    api_version: Option<&'static str>,
    /// The provider's name; KMS only.
    name: Option<String>,
    /// The names of the keys; local providers only.
    keys: Option<Vec<String>>,
}

impl RuleNames {
    /// Returns the names of each rule, in the order of the file.
    pub(super) fn of(config: &Config) -> Vec<Self> {
        let rules = config.rules.iter().map(|rule| Self {
            resources: rule.resources.iter().map(ToString::to_string).collect(),
            providers: rule.providers.iter().map(ProviderNames::of).collect(),
        });
        rules.collect()
    }

    /// Writes the rule as an element.
    pub(super) fn write(&self, json: &mut Writer) {
        json.open('{');
        json.open_member("resources", '[');
        for resource in &self.resources {
            json.element(resource);
        }
        json.close(']');
        json.open_member("providers", '[');
        for ProviderNames { kind, api_version, name, keys } in &self.providers {
            json.open('{');
            json.text("provider", kind);
            json.text_if("apiVersion", *api_version);
            json.text_if("name", name.as_deref());
            if let Some(keys) = keys {
                json.open_member("keys", '[');
                for key in keys {
                    json.element(key);
                }
                json.close(']');
            }
            json.close('}');
        }
        json.close(']');
        json.close('}');
    }
}

impl ProviderNames {
    fn of(provider: &Provider) -> Self {
        let local = |kind, keys: &[NamedKey]| Self {
            kind,
            api_version: None,
            name: None,
            keys: Some(keys.iter().map(|key| key.name.clone()).collect()),
        };
        match provider {
            Provider::AesGcm(keys) => local("aesgcm", keys),
            Provider::AesCbc(keys) => local("aescbc", keys),
            Provider::Secretbox(keys) => local("secretbox", keys),
            Provider::Kms(kms) => Self {
                kind: "kms",
                api_version: Some(kms.version.name()),
                name: Some(kms.name.clone()),
                keys: None,
            },
            Provider::Identity => {
                Self { kind: "identity", api_version: None, name: None, keys: None }
            }
        }
    }
}
