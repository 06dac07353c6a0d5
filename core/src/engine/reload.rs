//! Building the running configuration from a file, and replacing it on a reload.

use alloc::boxed::Box;
use alloc::format;
use alloc::string::{String, ToString as _};
use alloc::sync::Arc;
use alloc::vec;
use alloc::vec::Vec;
use core::time::Duration;

use super::candidate::{CANDIDATE_MIN_GRACE, CANDIDATE_PROBE_INTERVAL, Candidate, LastReload};
use super::config_set::{ConfigSet, File, ParsedFile};
use super::coverage::Coverage;
use super::event::{Action, Generation, LogLevel};
use super::rule_names::RuleNames;
use super::{Engine, Options};
use crate::config::{Config, Faults, Finding, KmsProvider, KmsVersion, NamedKey, Provider};
use crate::crypto::keys::LocalCipher;
use crate::crypto::nonce::CounterRange;
use crate::map::SortedMap;
use crate::provider::error::aggregate;
use crate::provider::kms::Kms;
use crate::provider::kms::call::{KmsProviderInfo, ProviderId};
use crate::provider::kms::dek_cache::DekCache;
use crate::provider::kms::last_answer::FreshAnswer;
use crate::provider::kms::v1::KmsV1;
use crate::provider::kms::v2::KmsV2;
use crate::provider::kms::v2::key_state::KeyState;
use crate::provider::local::LocalKeys;
use crate::provider::prefix;
use crate::provider::routing::Routing;
use crate::provider::transformer::{Transform, Transformer};
use crate::sha256;
use crate::time::Timestamp;

/// The default of `cachesize`, 1000: upstream's `defaultCacheSize` (apiserver/v1).
const V1_CACHE_SIZE: i32 = 1000;

impl Engine {
    /// Offers the content of a changed file. If it is valid, the engine builds a candidate configuration from it and probes the candidate until it is
    /// healthy, for at most max(10 s, twice the sum of its KMS timeouts), where the timeout of a KMS v1 provider counts twice. The candidate then
    /// replaces the running configuration in one step, and the engine emits [`Action::ReloadDone`]. A KMS provider whose name, version, endpoint,
    /// timeout and, for KMS v1, cache size are unchanged keeps its DEK and its cache. In a read-only engine, a valid file is in use at once, whatever
    /// the health of its plugins.
    ///
    /// If another candidate is still being probed, the new one replaces it. Returns the file's number, which [`Self::running_generation`] returns as
    /// soon as the file is in use.
    ///
    /// # Errors
    /// Returns every error in the configuration. The running configuration stays in use.
    pub fn reload(&mut self, config: &[u8], now: Timestamp) -> Result<Generation, Faults> {
        let now = self.advance(now);
        match self.parse(config) {
            Ok(parsed) => self.reload_parsed(parsed, now),
            Err(faults) => {
                self.refuse(sha256::text(config), &faults);
                self.take_generation();
                Err(faults)
            }
        }
    }

    /// Parses and validates the content of a changed file, without any effect. Pass the result to [`Self::losses`] and [`Self::reload_parsed`] of the
    /// same engine, which then need not parse the file again.
    ///
    /// ```
    /// # use dekker_core::{Engine, Timestamp};
    /// # use dekker_core::config::Faults;
    /// # use dekker_core::engine::event::Generation;
    /// /// Offers a file, unless values that are readable now would become unreadable.
    /// fn offer(engine: &mut Engine, file: &[u8], now: Timestamp) -> Result<Option<Generation>, Faults> {
    ///     let parsed = engine.parse(file)?;
    ///     if engine.losses(&parsed).is_empty() {
    ///         engine.reload_parsed(parsed, now).map(Some)
    ///     } else {
    ///         Ok(None)
    ///     }
    /// }
    /// ```
    ///
    /// # Errors
    /// Returns every error in the configuration.
    pub fn parse(&self, config: &[u8]) -> Result<ParsedFile, Faults> {
        let file = File::new(config, self.options.keep_file);
        Config::load(config, self.options.reload).map(|config| ParsedFile { file, config })
    }

    /// As [`Self::reload`], for a file that is already parsed.
    ///
    /// # Errors
    /// Returns an error if the backend cannot use the keys of the configuration. The running configuration stays in use.
    pub fn reload_parsed(
        &mut self,
        parsed: ParsedFile,
        now: Timestamp,
    ) -> Result<Generation, Faults> {
        let now = self.advance(now);
        let generation = self.take_generation();
        let hash = parsed.file.hash.clone();
        let set = self.build(generation, parsed).inspect_err(|faults| self.refuse(hash, faults))?;
        let deadline = now + set.grace().max(CANDIDATE_MIN_GRACE);
        let candidate = Candidate { set: Arc::new(set), deadline, next_probe: now };
        if let Some(older) = self.candidate.replace(candidate) {
            self.actions.push_back(Action::ReloadDone {
                generation: older.set.generation,
                outcome: Err("replaced by a newer file".to_string()),
            });
        }
        self.step_candidate();
        self.close_unused();
        Ok(generation)
    }

    fn take_generation(&mut self) -> Generation {
        let generation = Generation(self.next_generation);
        self.next_generation += 1;
        generation
    }

    /// Records that an invalid file was offered.
    fn refuse(&mut self, hash: String, faults: &Faults) {
        let error = Some(faults.to_string());
        self.last_reload = Some(LastReload { at: self.now, hash, error });
    }

    /// Returns what the running configuration can read and `config` could not, one phrase for each loss, such as
    /// `secrets: values that begin with "k8s:enc:aescbc:v1:key1:"`. The list is empty if nothing is lost. At most 20 losses are listed; if there are
    /// more, the last entry gives the number of the others.
    ///
    /// A file that is still being written may be valid although its last keys, providers or rules are missing. Call this before [`Self::reload`], and
    /// if the file loses something, wait until it has stayed the same for some time.
    ///
    /// # Errors
    /// Returns every error in the configuration.
    pub fn unreadable_after(&self, config: &[u8]) -> Result<Vec<String>, Faults> {
        self.parse(config).map(|parsed| self.losses(&parsed))
    }

    /// As [`Self::unreadable_after`], for a file that is already parsed.
    pub fn losses(&self, parsed: &ParsedFile) -> Vec<String> {
        self.running.coverage.missing_in(&Coverage::of(&parsed.config))
    }

    /// Builds the state that a configuration describes. KMS providers that did not change are kept.
    pub(super) fn build(
        &mut self,
        generation: Generation,
        parsed: ParsedFile,
    ) -> Result<ConfigSet, Faults> {
        let ParsedFile { file, config } = parsed;
        let coverage = Coverage::of(&config);
        let names = RuleNames::of(&config);
        let mut kms = Vec::new();
        let mut v1_used = false;
        let mut timeouts = Duration::ZERO;
        let mut rules = Vec::new();
        for rule in config.rules {
            let mut list = Vec::new();
            for provider in rule.providers {
                match provider {
                    Provider::Identity => list.push(Transformer::identity()),
                    Provider::Kms(provider) => {
                        let weight = match provider.version {
                            // The health check of KMS v1 makes two calls. Upstream: kmsPrefixTransformer.
                            KmsVersion::V1 => 2,
                            KmsVersion::V2 => 1,
                        };
                        timeouts = timeouts.saturating_add(provider.timeout.saturating_mul(weight));
                        v1_used |= provider.version == KmsVersion::V1;
                        let prefix = prefix::kms_provider(provider.version, &provider.name);
                        let id = self.kms_provider(provider);
                        kms.push(id);
                        list.push(Transformer {
                            prefix: prefix.into(),
                            transform: Transform::Kms(id),
                        });
                    }
                    Provider::AesGcm(keys) => list.push(self.local(LocalCipher::AesGcm, &keys)?),
                    Provider::AesCbc(keys) => list.push(self.local(LocalCipher::AesCbc, &keys)?),
                    Provider::Secretbox(keys) => {
                        list.push(self.local(LocalCipher::Secretbox, &keys)?);
                    }
                }
            }
            rules.push((rule.resources, list));
        }
        let collapsed = self.options.reload || (!kms.is_empty() && !v1_used);
        Ok(ConfigSet {
            generation,
            file,
            routing: Routing::new(rules),
            kms,
            collapsed,
            timeouts,
            coverage,
            names,
        })
    }

    /// Creates a provider that uses keys from the configuration.
    fn local(&self, cipher: LocalCipher, keys: &[NamedKey]) -> Result<Transformer, Faults> {
        let keys = LocalKeys::new(cipher, keys, &*self.keys).map_err(|error| {
            // Validation has checked the lengths, so this error means that the backend failed.
            Faults::new(vec![Finding {
                path: String::new(),
                message: format!("the keys of a local provider cannot be used: {error}"),
                position: None,
            }])
        })?;
        Ok(Transformer {
            prefix: prefix::local(cipher).into(),
            transform: Transform::Local(Arc::new(keys)),
        })
    }

    /// Returns the existing provider with the same settings, or creates a new one.
    fn kms_provider(&mut self, config: KmsProvider) -> ProviderId {
        let KmsProvider { version, name, endpoint, address, timeout, cache_size } = config;
        let cache_size = cache_size.unwrap_or(V1_CACHE_SIZE);
        let same = |kms: &Kms| {
            let info = kms.info();
            let same_cache = match kms {
                Kms::V1(v1) => v1.cache_size == cache_size,
                Kms::V2(_) => true,
            };
            *info.name == *name
                && info.version == version
                && info.endpoint == endpoint
                && info.timeout == timeout
                && same_cache
        };
        if let Some((id, _)) = self.providers.iter().find(|(_, kms)| same(kms)) {
            return *id;
        }
        let id = ProviderId(self.next_provider);
        self.next_provider += 1;
        let name: Arc<str> = name.into();
        let info = KmsProviderInfo { id, name: name.clone(), version, endpoint, address, timeout };
        let mut seed = [0; 16];
        // Without randomness no DEK can be generated either, so the only effect is that positions in the cache become predictable.
        let _ = self.entropy.fill(&mut seed);
        let kms = match version {
            KmsVersion::V1 => Kms::V1(Box::new(if self.options.read_only {
                KmsV1::read_only(info, cache_size, &seed)
            } else {
                KmsV1::new(info, cache_size, &seed)
            })),
            KmsVersion::V2 => Kms::V2(Box::new(KmsV2 {
                info,
                state: self.key_state(name),
                cache: DekCache::new(self.options.dek_cache_capacity, &seed),
                in_flight: SortedMap::new(),
                has_written: false,
                last_read: None,
            })),
        };
        self.providers.insert(id, kms);
        id
    }

    /// Creates the key state of a new KMS v2 provider.
    fn key_state(&self, name: Arc<str>) -> KeyState {
        let Options { dek_source, coast, read_only, .. } = self.options;
        if read_only {
            KeyState::read_only(name, dek_source, coast, self.now)
        } else {
            KeyState::new(name, dek_source, coast, CounterRange::WHOLE, self.now)
        }
    }

    /// Probes the candidate. Puts it into use if it is healthy, and refuses it if its deadline has passed.
    pub(super) fn step_candidate(&mut self) {
        let now = self.now;
        let Some(candidate) = &self.candidate else {
            return;
        };
        let set = candidate.set.clone();
        if self.options.read_only {
            // Reads depend on Decrypt alone, so the health of the plugins is no reason to refuse the file.
            self.candidate = None;
            return self.commit(set);
        }
        let (deadline, probe_due) = (candidate.deadline, candidate.next_probe <= now);
        let mut faults = Vec::new();
        let mut unanswered = Vec::new();
        for (at, id) in set.kms.iter().enumerate() {
            let Some(provider) = self.providers.get(id) else {
                continue;
            };
            match provider.fresh_answer(now) {
                FreshAnswer::Good => {}
                FreshAnswer::Bad(fault) => faults.push(format!("kms-provider-{at}: {fault}")),
                FreshAnswer::Missing => {
                    let last = provider
                        .last_answer()
                        .and_then(|answer| answer.fault.as_deref())
                        .unwrap_or("no answer yet");
                    faults.push(format!("kms-provider-{at}: {last}"));
                    unanswered.push(*id);
                }
            }
        }
        if faults.is_empty() {
            self.candidate = None;
            self.commit(set);
        } else if deadline <= now {
            self.candidate = None;
            let error = format!(
                "health check for new transformers failed, polling error context deadline exceeded: {}",
                aggregate(faults.iter().map(String::as_str))
            );
            self.reload_done(&set, Err(error));
        } else if probe_due {
            if let Some(candidate) = &mut self.candidate {
                candidate.next_probe = now + CANDIDATE_PROBE_INTERVAL;
            }
            for id in unanswered {
                self.begin_probe(id);
            }
        }
    }

    fn commit(&mut self, set: Arc<ConfigSet>) {
        let old = core::mem::replace(&mut self.running, set.clone());
        let generation = old.generation;
        if self.parked.iter().any(|parked| parked.begun.generation <= generation) {
            let deadline = self.now + old.grace().max(CANDIDATE_MIN_GRACE);
            self.retired.push((generation, deadline));
        }
        self.reload_done(&set, Ok(()));
    }

    fn reload_done(&mut self, set: &ConfigSet, outcome: Result<(), String>) {
        let hash = set.file.hash.clone();
        match &outcome {
            Ok(()) => self.log(LogLevel::Info, None, format!("the configuration {hash} is in use")),
            Err(error) => self.log(
                LogLevel::Error,
                None,
                format!("the configuration {hash} was refused: {error}"),
            ),
        }
        self.last_reload =
            Some(LastReload { at: self.now, hash, error: outcome.as_ref().err().cloned() });
        self.actions.push_back(Action::ReloadDone { generation: set.generation, outcome });
    }

    /// Closes the providers that neither a configuration nor a parked operation uses.
    pub(super) fn close_unused(&mut self) {
        if self.candidate.is_none() && self.providers.len() == self.running.kms.len() {
            return;
        }
        let mut used = self.running.kms.clone();
        used.extend(self.candidate.iter().flat_map(|candidate| &candidate.set.kms));
        used.extend(self.parked.iter().flat_map(|parked| parked.operation.providers()));
        let unused: Vec<_> =
            self.providers.keys().filter(|id| !used.contains(id)).copied().collect();
        for id in unused {
            self.providers.remove(&id);
            self.calls.retain(|_, call| call.provider != id);
            let calls = &self.calls;
            self.deks.retain(|call, _| calls.contains_key(call));
            self.actions.push_back(Action::CloseProvider { provider: id });
        }
    }
}
