//! Several engines at work for one: the control engine has the plugins, the polls and the DEKs; workers have parts of their counters.
//!
//! ```text
//!            ┌──────── lease: the DEK, a part of its counter, its expiry ────────┐
//!  control ──┤  learn: a DEK that was decrypted once                             ├──▶ worker (any number)
//!   engine ◀─┴──────── whatever a worker gives back undone ───────────────────────┘
//! ```
//!
//! A worker reads and writes what needs nobody else: with the keys of the file, with a leased DEK, with DEKs that it has learned. Whatever
//! else there is, every fault included, it gives back untouched and uncounted, and the control engine does it as if there were no workers.
//! So a worker has no calls, no polls, nothing parked, and no words of its own.

use alloc::boxed::Box;
use alloc::sync::Arc;

use super::event::ProviderId;
use super::pending::{Parking, ReadProgress, Wait};
use super::{Engine, Options};
use crate::config::Faults;
use crate::crypto::entropy::Entropy;
use crate::crypto::keys::{DekSourceType, KeyStore, OpeningKey, SealingKey};
use crate::crypto::nonce::CounterRange;
use crate::provider::kms::Kms;
use crate::provider::kms::message::EncryptedDekSource;
use crate::provider::kms::v2::KmsV2;
use crate::provider::kms::v2::dek_cache::ReadDek;
use crate::provider::kms::v2::key_state::Current;
use crate::provider::kms::v2::write_dek::WriteDek;
use crate::provider::transformer::{Decrypted, Encrypted, Location, Transform, TransformError};
use crate::time::Timestamp;

/// 2³² counter values: what one lease has. A worker that seals a million values a second needs the next one after an hour, and there are four
/// billion leases to a DEK.
pub const LEASE_LEN: u64 = 1 << 32;

/// A write DEK for one worker, with nonces that nobody else has. Not `Clone`: what is left of it when its worker ends is never used.
pub struct Lease {
    /// The provider's name.
    pub provider: Arc<str>,
    /// What seals.
    pub key: Box<dyn SealingKey>,
    /// What the DEK source is.
    pub source_type: DekSourceType,
    /// What the plugin made of it.
    pub source: EncryptedDekSource,
    /// The part of its counter; a seed has none, and this means nothing.
    pub range: CounterRange,
    /// When it was generated.
    pub since: Timestamp,
    /// After this it encrypts no more.
    pub expiry: Timestamp,
}

/// What workers must know of a provider's write DEK.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WriteState {
    /// The provider's name.
    pub provider: Arc<str>,
    /// Another one with each DEK of an engine, whatever files come.
    pub serial: u64,
    /// After this it encrypts no more. It moves on with each good answer of the plugin.
    pub expiry: Timestamp,
}

impl Engine {
    /// The write DEKs of the running configuration. When one has another serial than before, each worker needs a new lease of it; when only
    /// its expiry is another, [`Self::extend`] tells a worker.
    pub fn write_states(&self) -> impl Iterator<Item = WriteState> {
        self.running.kms.iter().filter_map(|id| {
            let Some(Kms::V2(provider)) = self.providers.get(id) else {
                return None;
            };
            let Current { serial, expiry, .. } = provider.state.current()?;
            Some(WriteState {
                provider: provider.info.name.clone(),
                // Providers are numbered through all files, so one that is made anew under the same name has other serials.
                serial: u64::from(id.0) << 32 | (*serial & u64::from(u32::MAX)),
                expiry: *expiry,
            })
        })
    }

    /// Leases a provider's write DEK, with [`LEASE_LEN`] values of its counter that are given to nobody else. `None`: there is no such
    /// provider, it has no DEK yet, or not so many values are left.
    #[must_use]
    pub fn lease(&mut self, provider: &str) -> Option<Lease> {
        let provider = self.running_v2(provider)?;
        // Whether a worker writes with it is not known here: its values must be readable after it was replaced.
        provider.keep_current();
        let Current {
            dek, since, expiry, ..
        } = provider.state.current()?;
        let (key, range) = dek.lease(LEASE_LEN)?;
        Some(Lease {
            provider: provider.info.name.clone(),
            key,
            source_type: dek.source_type(),
            source: dek.source().clone(),
            range,
            since: *since,
            expiry: *expiry,
        })
    }

    /// The DEK of a stored value of KMS v2, if it is at hand: for [`Self::learn`].
    #[must_use]
    pub fn known_dek(&mut self, resource: &str, stored: &[u8]) -> Option<Arc<dyn OpeningKey>> {
        let (provider, value) = self.kms_v2_of(resource, stored)?;
        provider.known_dek(value).map(|dek| dek.opening().clone())
    }

    /// A worker for the same file and options as its control engine's. It asks nobody anything: neither [`Self::poll_action`] nor
    /// [`Self::handle_timeout`] has anything to do.
    ///
    /// # Errors
    /// Every fault of the configuration.
    pub fn worker(
        config: &[u8],
        options: Options,
        keys: Box<dyn KeyStore>,
        entropy: Box<dyn Entropy>,
        now: Timestamp,
    ) -> Result<Self, Faults> {
        let mut worker = Self::idle(config, options, keys, entropy, now)?;
        worker.counts.be_worker();
        Ok(worker)
    }

    /// Gives a worker a DEK to write with, in the place of the one that it had. `false`: it has no such provider, or the key is lost.
    pub fn adopt(&mut self, lease: Lease) -> bool {
        let now = self.now;
        let Some(provider) = self.running_v2(&lease.provider) else {
            return false;
        };
        let Lease {
            provider: _,
            key,
            source_type,
            source,
            range,
            since,
            expiry,
        } = lease;
        let Ok(dek) = WriteDek::new(key, source_type, source, range) else {
            return false;
        };
        provider.has_written = false;
        provider.state.adopt(Arc::new(dek), since, expiry, now);
        true
    }

    /// Tells a worker the expiry of the DEK that it writes with.
    pub fn extend(&mut self, provider: &str, expiry: Timestamp) {
        if let Some(provider) = self.running_v2(provider) {
            provider.state.extend(expiry);
        }
    }

    /// Whether a worker has used up what it had leased of a provider's DEK: it needs a new lease.
    pub fn has_used_up(&self, provider: &str) -> bool {
        self.providers.values().any(|kms| match kms {
            Kms::V2(of) if *of.info.name == *provider => of
                .state
                .current()
                .is_some_and(|current| current.dek.is_used_up()),
            _ => false,
        })
    }

    /// Gives a worker the DEK of a stored value.
    pub fn learn(&mut self, resource: &str, stored: &[u8], dek: Arc<dyn OpeningKey>) {
        if let Some((provider, value)) = self.kms_v2_of(resource, stored) {
            provider.learn(value, ReadDek::new(dek));
        }
    }

    /// As [`Self::to_storage`], by a worker. `None`: it is for the control engine to do, and nothing has happened.
    #[must_use]
    pub fn try_to_storage(
        &mut self,
        at: Location<'_>,
        plaintext: &[u8],
        now: Timestamp,
    ) -> Option<Encrypted> {
        self.advance(now);
        let list = self.running.routing.find(at.resource).clone();
        let written = self.write(at, plaintext, &list, Parking::never(self.now));
        self.done_alone(written)
    }

    /// As [`Self::from_storage`], by a worker. `None`: it is for the control engine to do, and nothing has happened.
    #[must_use]
    pub fn try_from_storage(
        &mut self,
        at: Location<'_>,
        stored: &[u8],
        now: Timestamp,
    ) -> Option<Decrypted> {
        self.advance(now);
        let list = self.running.routing.find(at.resource).clone();
        let mut progress = ReadProgress::default();
        let parking = Parking::never(self.now);
        let read = self.read(at, stored, &list, &mut progress, None, parking);
        self.done_alone(read)
    }

    /// What a worker did without a fault on the way; otherwise nothing was counted.
    fn done_alone<T>(&mut self, outcome: Result<Result<T, TransformError>, Wait>) -> Option<T> {
        let faultless = self.counts.were_faultless();
        outcome.ok()?.ok().filter(|_| faultless)
    }

    /// A KMS v2 provider of the running configuration.
    fn running_v2(&mut self, name: &str) -> Option<&mut KmsV2> {
        let is_it = |id: &&ProviderId| match self.providers.get(id) {
            Some(Kms::V2(provider)) => *provider.info.name == *name,
            _ => false,
        };
        let id = *self.running.kms.iter().find(is_it)?;
        match self.providers.get_mut(&id) {
            Some(Kms::V2(provider)) => Some(provider),
            _ => None,
        }
    }

    /// The provider that a stored value is of, and what follows its prefix.
    fn kms_v2_of<'s>(
        &mut self,
        resource: &str,
        stored: &'s [u8],
    ) -> Option<(&mut KmsV2, &'s [u8])> {
        let list = self.running.routing.find(resource).clone();
        let (id, value) = list.iter().find_map(|transformer| {
            let value = stored.strip_prefix(transformer.prefix.as_bytes())?;
            match transformer.transform {
                Transform::Kms(id) => Some((id, value)),
                Transform::Local(_) => None,
            }
        })?;
        match self.providers.get_mut(&id) {
            Some(Kms::V2(provider)) => Some((provider, value)),
            _ => None,
        }
    }
}
