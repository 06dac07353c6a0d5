//! What the operator can do about failed KMS calls, for the log, `/statusz` and the command line. The errors themselves have upstream's texts.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::kms::client::CallError;
use crate::kms::key_id_hash;

/// 1 minute: how long the same help for a provider is not logged again.
const QUIET: Duration = Duration::from_secs(60);

/// A KMS provider as the configuration has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Named {
    pub(crate) name: String,
    /// `v1` or `v2`.
    pub(crate) api_version: &'static str,
    pub(crate) endpoint: String,
}

/// The help for each provider whose last call failed for a known reason. The calls report to it; the handles of the host read it.
#[derive(Debug, Default)]
pub(crate) struct KmsHelp(Mutex<BTreeMap<u32, Known>>);

#[derive(Debug)]
struct Known {
    provider: Named,
    /// The help of the last call, if it failed for a known reason.
    call: Option<String>,
    /// The hash of the key ID of the last Status.
    status_key: Option<String>,
    disagreement: Option<Disagreement>,
    logged: Option<(Instant, String)>,
}

/// The key IDs of a Status and of the Encrypt that followed it. The engine then uses no new DEK, and upstream's text gives only the two hashes.
#[derive(Debug)]
struct Disagreement {
    status_key: String,
    encrypt_key: String,
}

impl KmsHelp {
    pub(super) fn learn(&self, id: u32, provider: Named) {
        let (call, status_key, disagreement, logged) = (None, None, None, None);
        let known = Known { provider, call, status_key, disagreement, logged };
        self.known().entry(id).or_insert(known);
    }

    pub(super) fn forget(&self, id: u32) {
        self.known().remove(&id);
    }

    pub(super) fn forget_all(&self) {
        self.known().clear();
    }

    /// Records the outcome of a call.
    pub(super) fn called(&self, id: u32, error: Option<&CallError>) {
        self.with(id, |known| {
            known.call = error.and_then(|error| error.help.clone());
            // The connection logs its own failures.
            if error.is_none_or(|error| !error.message.contains("latest balancer error: ")) {
                known.log(Instant::now());
            }
        });
    }

    /// Records the key ID of a Status.
    pub(super) fn status_key(&self, id: u32, key_id: &str) {
        self.with(id, |known| {
            let key = key_id_hash(key_id);
            if known.disagreement.as_ref().is_some_and(|between| between.status_key != key) {
                known.disagreement = None;
            }
            known.status_key = Some(key);
        });
    }

    /// Records the key ID of an Encrypt of KMS v2.
    pub(super) fn encrypt_key(&self, id: u32, key_id: &str) {
        self.with(id, |known| {
            let encrypt_key = key_id_hash(key_id);
            known.disagreement = match &known.status_key {
                Some(key) if *key != encrypt_key => {
                    Some(Disagreement { status_key: key.clone(), encrypt_key })
                }
                Some(_) | None => None,
            };
            known.log(Instant::now());
        });
    }

    /// Returns the providers for which there is help.
    pub(crate) fn all(&self) -> Vec<(Named, String)> {
        let known = self.known();
        known.values().filter_map(|known| Some((known.provider.clone(), known.help()?))).collect()
    }

    fn with(&self, id: u32, change: impl FnOnce(&mut Known)) {
        // A provider that is gone was closed during the call.
        if let Some(known) = self.known().get_mut(&id) {
            change(known);
        }
    }

    fn known(&self) -> MutexGuard<'_, BTreeMap<u32, Known>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Known {
    fn help(&self) -> Option<String> {
        if let Some(help) = &self.call {
            return Some(help.clone());
        }
        let Disagreement { status_key, encrypt_key } = self.disagreement.as_ref()?;
        Some(format!(
            "the plugin's Status names the key ID hash {status_key}, but its Encrypt used {encrypt_key}, so its DEK is not used: if the plugin is \
             rotating its key, this ends when both agree; otherwise give all instances of the plugin the same current key"
        ))
    }

    fn log(&mut self, now: Instant) {
        let Some(help) = self.help() else {
            self.logged = None;
            return;
        };
        let is_known = self
            .logged
            .as_ref()
            .is_some_and(|(at, logged)| *logged == help && now.duration_since(*at) < QUIET);
        if !is_known {
            tracing::warn!(provider = self.provider.name, "a KMS plugin cannot be used: {help}");
            self.logged = Some((now, help));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named() -> Named {
        Named { name: "a".into(), api_version: "v2", endpoint: "unix:///run/a.sock".into() }
    }

    fn error(help: Option<&str>) -> CallError {
        CallError { code: 12, message: "no".into(), help: help.map(str::to_owned) }
    }

    fn only(help: &KmsHelp) -> Option<String> {
        let mut all = help.all();
        assert!(all.len() <= 1);
        all.pop().map(|(provider, help)| {
            assert_eq!(provider, named());
            help
        })
    }

    #[test]
    fn the_help_is_that_of_the_last_call() {
        let help = KmsHelp::default();
        help.called(1, Some(&error(Some("unknown provider"))));
        help.learn(1, named());
        assert_eq!(only(&help), None);
        help.called(1, Some(&error(Some("do this"))));
        assert_eq!(only(&help).as_deref(), Some("do this"));
        help.called(1, Some(&error(None)));
        assert_eq!(only(&help), None, "another error");
        help.called(1, Some(&error(Some("do this"))));
        help.called(1, None);
        assert_eq!(only(&help), None, "a success");
        help.called(1, Some(&error(Some("do this"))));
        help.forget(1);
        assert_eq!(only(&help), None, "closed");
    }

    #[test]
    fn key_ids_that_differ_are_named_by_their_hashes() {
        let help = KmsHelp::default();
        help.learn(1, named());
        help.encrypt_key(1, "key-1");
        assert_eq!(only(&help), None, "KMS v1 has no Status");
        help.status_key(1, "key-1");
        help.encrypt_key(1, "key-1");
        assert_eq!(only(&help), None);
        help.status_key(1, "key-2");
        assert_eq!(only(&help), None, "the new key has not encrypted yet");
        help.encrypt_key(1, "key-1");
        let text = only(&help).unwrap();
        let hashes = [key_id_hash("key-2"), key_id_hash("key-1")];
        assert!(hashes.iter().all(|hash| text.contains(hash)), "{text}");
        assert!(!text.contains("key-1") && !text.contains("key-2"), "{text}");
        help.status_key(1, "key-2");
        assert!(only(&help).is_some(), "until the plugin agrees with itself");
        help.encrypt_key(1, "key-2");
        assert_eq!(only(&help), None);
        help.encrypt_key(1, "key-1");
        help.status_key(1, "key-1");
        assert_eq!(only(&help), None, "back to the old key, for which there is a DEK");
    }
}
