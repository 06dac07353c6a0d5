//! Which values a configuration can read, and which of them another configuration could no longer read.
//!
//! A file that is still being written is often a valid configuration whose last keys, providers or rules are missing. Before a reload, the caller
//! checks what would become unreadable ([`Engine::unreadable_after`](super::Engine::unreadable_after)).

use alloc::borrow::Cow;
use alloc::format;
use alloc::string::{String, ToString as _};
use alloc::vec;
use alloc::vec::Vec;

use sha2::{Digest, Sha256};

use crate::config::{Config, NamedKey, Provider};
use crate::crypto::keys::LocalCipher;
use crate::map::Names;
use crate::provider::prefix;
use crate::provider::routing::most_exact;

/// The maximum number of losses that are listed, 20. Further losses are only counted.
const LOSSES_LISTED_MAX: usize = 20;

/// The providers and keys that can read the values of each resource.
#[derive(Default)]
pub(super) struct Coverage {
    /// Maps each resource or wildcard to an index of `named`.
    resources: Names<'static>,
    /// The indexes of the rules for a name, in the order of the file.
    named: Vec<Vec<usize>>,
    /// The readers of each rule, in the order of the file.
    rules: Vec<Vec<Reader>>,
}

/// A provider, or one key of a local provider.
#[derive(Clone)]
struct Reader {
    /// The prefix of the reader's values; empty for identity.
    prefix: String,
    /// SHA-256 of the prefix and the key: equal if both are equal. The key itself is not stored. All zeros for identity.
    id: [u8; 32],
}

/// Identity, which also serves the resources that no rule names.
static PLAINTEXT: Reader = Reader { prefix: String::new(), id: [0; 32] };

impl Reader {
    fn new(prefix: String, secret: &[u8]) -> Self {
        let hash = Sha256::new()
            .chain_update((prefix.len() as u64).to_le_bytes())
            .chain_update(&prefix)
            .chain_update(secret);
        Self { id: hash.finalize().into(), prefix }
    }

    fn of(provider: &Provider, readers: &mut Vec<Self>) {
        let mut local = |cipher, keys: &[NamedKey]| {
            let prefix = prefix::local(cipher);
            readers.extend(
                keys.iter().map(|key| Self::new(format!("{prefix}{}:", key.name), &key.secret)),
            );
        };
        match provider {
            Provider::Identity => readers.push(PLAINTEXT.clone()),
            // A different endpoint may lead to the same keys. The health check shows whether a plugin answers there.
            Provider::Kms(kms) => {
                readers.push(Self::new(prefix::kms_provider(kms.version, &kms.name), b""))
            }
            Provider::AesGcm(keys) => local(LocalCipher::AesGcm, keys),
            Provider::AesCbc(keys) => local(LocalCipher::AesCbc, keys),
            Provider::Secretbox(keys) => local(LocalCipher::Secretbox, keys),
        }
    }
}

impl Coverage {
    pub(super) fn of(config: &Config) -> Self {
        let mut resources = Names::new();
        let mut named: Vec<Vec<usize>> = Vec::new();
        let mut rules = Vec::new();
        for (at, rule) in config.rules.iter().enumerate() {
            for resource in &rule.resources {
                let name = Cow::Owned(resource.to_string());
                let list = *resources.entry(name).or_insert(named.len());
                match named.get_mut(list) {
                    Some(list) => list.push(at),
                    None => named.push(vec![at]),
                }
            }
            let mut readers = Vec::new();
            for provider in &rule.providers {
                Reader::of(provider, &mut readers);
            }
            rules.push(readers);
        }
        Self { resources, named, rules }
    }

    /// Returns the rules for a resource or a wildcard, as [`most_exact`] finds them. If there are none, the values are plaintext.
    fn find(&self, resource: &str) -> &[usize] {
        most_exact(&self.resources, resource)
            .and_then(|at| self.named.get(at))
            .map_or(&[], Vec::as_slice)
    }

    fn readers(&self, rules: &[usize]) -> impl Iterator<Item = &Reader> {
        let fallback = rules.is_empty().then_some(&PLAINTEXT);
        rules.iter().filter_map(|at| self.rules.get(*at)).flatten().chain(fallback)
    }

    /// Returns the values that `self` can read and `other` cannot, such as `secrets: values that begin with "k8s:enc:aescbc:v1:key1:"`.
    ///
    /// Compares each resource that one of the two names, and each wildcard, which covers the resources that no rule names.
    pub(super) fn missing_in(&self, other: &Self) -> Vec<String> {
        let mut losses = Vec::new();
        let mut more = 0_usize;
        let theirs_alone =
            other.resources.keys().filter(|resource| !self.resources.contains_key(&***resource));
        // Neighbouring resources mostly have the same rules, so the result for the last resource is reused.
        let mut last: Option<(&[usize], &[usize], Vec<&str>)> = None;
        for resource in self.resources.keys().chain(theirs_alone) {
            let (ours, theirs) = (self.find(resource), other.find(resource));
            let missing = match last.take() {
                Some((a, b, missing)) if a == ours && b == theirs => missing,
                _ => self
                    .readers(ours)
                    .filter(|reader| !other.readers(theirs).any(|reads| reads.id == reader.id))
                    .map(|reader| &*reader.prefix)
                    .collect(),
            };
            for prefix in &missing {
                if losses.len() == LOSSES_LISTED_MAX {
                    more += 1;
                } else if prefix.is_empty() {
                    losses.push(format!("{resource}: values stored as plaintext"));
                } else {
                    losses.push(format!("{resource}: values that begin with \"{prefix}\""));
                }
            }
            last = Some((ours, theirs, missing));
        }
        if more > 0 {
            losses.push(format!("{more} more"));
        }
        losses
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = "MDEyMzQ1Njc4OWFiY2RlZg==";
    const OTHER: &str = "MDEyMzQ1Njc4OWFiY2RlZw==";

    fn coverage(rules: &[(&str, &str)]) -> Coverage {
        let mut file = String::from(
            "apiVersion: apiserver.config.k8s.io/v1\nkind: EncryptionConfiguration\nresources:\n",
        );
        for (resources, providers) in rules {
            file += &format!("- resources: [{resources}]\n  providers: [{{{providers}}}]\n");
        }
        Coverage::of(&Config::load(file.as_bytes(), true).unwrap())
    }

    fn aes(keys: &[(&str, &str)]) -> String {
        let keys: Vec<_> = keys
            .iter()
            .map(|(name, secret)| format!("{{name: {name}, secret: {secret}}}"))
            .collect();
        format!("aesgcm: {{keys: [{}]}}", keys.join(", "))
    }

    fn kms(name: &str, endpoint: &str) -> String {
        format!("kms: {{apiVersion: v2, name: {name}, endpoint: 'unix:///{endpoint}'}}")
    }

    #[test]
    fn values_that_a_new_file_cannot_read_are_reported() {
        let both = aes(&[("new", KEY), ("old", OTHER)]);
        let turned = aes(&[("old", OTHER), ("new", KEY)]);
        let new = aes(&[("new", KEY)]);
        let changed = aes(&[("new", OTHER), ("old", OTHER)]);
        let (a, moved) = (kms("a", "x"), kms("a", "y"));
        let with_identity = format!("{new}}}, {{identity: {{}}");
        type Rules<'a> = &'a [(&'a str, &'a str)];
        let table: &[(&str, Rules, Rules, &[&str])] = &[
            ("the same", &[("secrets", &both)], &[("secrets", &both)], &[]),
            ("another order", &[("secrets", &both)], &[("secrets", &turned)], &[]),
            ("one more", &[("secrets", &new)], &[("secrets", &both)], &[]),
            (
                "one less",
                &[("secrets", &both)],
                &[("secrets", &new)],
                &["secrets: values that begin with \"k8s:enc:aesgcm:v1:old:\""],
            ),
            (
                "another secret under the same name",
                &[("secrets", &both)],
                &[("secrets", &changed)],
                &["secrets: values that begin with \"k8s:enc:aesgcm:v1:new:\""],
            ),
            ("another endpoint", &[("secrets", &a)], &[("secrets", &moved)], &[]),
            (
                "identity gone",
                &[("secrets", &with_identity)],
                &[("secrets", &new)],
                &["secrets: values stored as plaintext"],
            ),
            (
                "a rule gone",
                &[("secrets", &new), ("configmaps", &a)],
                &[("secrets", &new)],
                &["configmaps: values that begin with \"k8s:enc:kms:v2:a:\""],
            ),
            (
                "a resource that was plaintext until now",
                &[("secrets", &new)],
                &[("secrets", &new), ("configmaps", &a)],
                &["configmaps: values stored as plaintext"],
            ),
            ("taken over by a wildcard", &[("secrets", &new)], &[("'*.'", &with_identity)], &[]),
            (
                "an exact rule instead of a wildcard",
                &[("'*.*'", &both)],
                &[("jobs.batch", &new), ("'*.*'", &both)],
                &["jobs.batch: values that begin with \"k8s:enc:aesgcm:v1:old:\""],
            ),
            (
                "a wildcard of one group instead of all",
                &[("'*.*'", &new)],
                &[("'*.batch'", &a), ("'*.*'", &new)],
                &["*.batch: values that begin with \"k8s:enc:aesgcm:v1:new:\""],
            ),
            (
                "the wildcard gone",
                &[("secrets", &new), ("'*.*'", &new)],
                &[("secrets", &new)],
                &["*.*: values that begin with \"k8s:enc:aesgcm:v1:new:\""],
            ),
        ];
        for (desc, old, new, expected) in table {
            assert_eq!(coverage(old).missing_in(&coverage(new)), *expected, "{desc}");
        }
    }

    #[test]
    fn the_report_of_unreadable_values_is_bounded() {
        let names: Vec<_> = (0..100).map(|n| format!("r{n}")).collect();
        let old = aes(&[("old", OTHER)]);
        let new = aes(&[("new", KEY)]);
        let all = names.join(", ");
        let losses = coverage(&[(&*all, &*old)]).missing_in(&coverage(&[(&*all, &*new)]));
        assert_eq!(losses.len(), LOSSES_LISTED_MAX + 1);
        assert_eq!(losses[LOSSES_LISTED_MAX], "80 more");
    }
}
