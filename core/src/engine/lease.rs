//! Several engines for one configuration. The control engine owns the plugin calls, the polls and the DEKs. Workers own parts of the DEKs' counters.
//!
//! ```text
//!            ┌──────── lease: the DEK, a part of its counter, its expiry ────────┐
//!  control ──┤  learn: a DEK that was decrypted once                             ├──▶ worker (any number)
//!   engine ◀─┴──────── operations that the worker declines ───────────────────────┘
//! ```
//!
//! A worker performs the reads and writes that depend on nothing else: those that use a key from the file, a leased DEK, or a DEK that it has
//! learned. For every other operation, and for every operation that fails, it returns `None`, without side effects and without counting the
//! operation. The control engine then performs the operation, as it would without workers. Therefore a worker makes no calls, runs no polls, parks no
//! operations and reports no errors.

use alloc::boxed::Box;
use alloc::sync::Arc;

use super::{Engine, Options, Role};
use crate::config::{Faults, KmsVersion};
use crate::crypto::entropy::Entropy;
use crate::crypto::keys::{DekSourceType, KeyStore, OpeningKey, SealingKey};
use crate::crypto::nonce::CounterRange;
use crate::provider::kms::Kms;
use crate::provider::kms::call::ProviderId;
use crate::provider::kms::dek_cache::ReadDek;
use crate::provider::kms::message::EncryptedDekSource;
use crate::provider::kms::v2::KmsV2;
use crate::provider::kms::v2::key_state::Current;
use crate::provider::kms::v2::write_dek::WriteDek;
use crate::provider::prefix;
use crate::provider::stored::{Missing, Stored};
use crate::provider::transformer::Transform;
use crate::provider::value::{Decrypted, Encrypted, Location};
use crate::time::Timestamp;

/// The number of counter values in one lease, 2³². A worker that seals a million values a second uses one up in about an hour; a DEK has four billion
/// leases.
pub const LEASE_LEN: u64 = 1 << 32;

/// A write DEK for one worker, with nonces that no other engine uses. It is not `Clone`. Nonces that are left when the worker ends are never used.
pub struct Lease {
    /// The provider's name.
    pub provider: Arc<str>,
    /// The handle that seals.
    pub key: Box<dyn SealingKey>,
    /// The type of the DEK source.
    pub source_type: DekSourceType,
    /// The DEK source, encrypted by the plugin.
    pub source: EncryptedDekSource,
    /// The counter values that the worker may use. Ignored for a seed, which has no counter.
    pub range: CounterRange,
    /// When the DEK was generated.
    pub since: Timestamp,
    /// When the DEK stops encrypting.
    pub expiry: Timestamp,
}

/// What workers must know about a provider's write DEK.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WriteState {
    /// The provider's name.
    pub provider: Arc<str>,
    /// A number that is different for each DEK of one engine, also across reloads.
    pub serial: u64,
    /// When the DEK stops encrypting. Each good Status answer extends it.
    pub expiry: Timestamp,
}

impl Engine {
    /// Returns the state of each write DEK of the running configuration. If a serial has changed, each worker needs a new lease of that DEK. If only
    /// the expiry has changed, pass it to each worker with [`Self::extend`].
    pub fn write_states(&self) -> impl Iterator<Item = WriteState> {
        self.running.kms.iter().filter_map(|id| {
            let Some(Kms::V2(provider)) = self.providers.get(id) else {
                return None;
            };
            let Current { serial, expiry, .. } = provider.state.current()?;
            Some(WriteState {
                provider: provider.info.name.clone(),
                // Provider IDs are unique across all files, so a provider that is removed and later created under the same name gets other serials.
                serial: u64::from(id.0) << 32 | (*serial & u64::from(u32::MAX)),
                expiry: *expiry,
            })
        })
    }

    /// Leases a provider's write DEK, with the next [`LEASE_LEN`] values of its counter, which no other engine uses. Returns `None` if there is no
    /// KMS v2 provider of this name, if it has no DEK yet, if fewer values are left, or if the backend no longer has the key. A read-only engine has
    /// no DEK, so it gives no lease.
    #[must_use]
    pub fn lease(&mut self, provider: &str) -> Option<Lease> {
        let provider = self.running_v2(provider)?;
        // This engine does not see whether a worker writes with the DEK. Cache it now, so that the worker's values stay readable after it was
        // replaced.
        provider.keep_current();
        let Current { dek, since, expiry, .. } = provider.state.current()?;
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

    /// Returns the DEK of a stored KMS v2 value if this engine holds it in decrypted form. Pass it to a worker with [`Self::learn`]. Returns `None` if
    /// the engine is read-only, because its workers decrypt no KMS values.
    #[must_use]
    pub fn known_dek(&mut self, resource: &str, stored: &[u8]) -> Option<Arc<dyn OpeningKey>> {
        if self.options.read_only {
            return None;
        }
        // All bytes are here.
        let (provider, value) = self.kms_v2_of(resource, Stored::whole(stored)).ok()??;
        provider.known_dek(value).ok()?.map(|dek| dek.opening().clone())
    }

    /// Creates a worker for the same file and options as its control engine. It never probes or calls a plugin: [`Self::poll_timeout`] returns `None`,
    /// and [`Self::handle_timeout`] only sets the time.
    ///
    /// # Errors
    /// Returns every error in the configuration.
    pub fn worker(
        config: &[u8],
        options: Options,
        keys: Box<dyn KeyStore>,
        entropy: Box<dyn Entropy>,
        now: Timestamp,
    ) -> Result<Self, Faults> {
        Self::idle(Role::Worker, config, options, keys, entropy, now)
    }

    /// Gives a worker a new DEK to write with, in place of its previous one. Returns `false` if the worker has no such provider or the backend no
    /// longer has the key.
    pub fn adopt(&mut self, lease: Lease) -> bool {
        let now = self.now;
        let Some(provider) = self.running_v2(&lease.provider) else {
            return false;
        };
        let Lease { provider: name, key, source_type, source, range, since, expiry } = lease;
        let prefix = prefix::kms_provider(KmsVersion::V2, &name);
        let Ok(dek) = WriteDek::new(&prefix, key, source_type, source, range) else {
            return false;
        };
        provider.has_written = false;
        provider.state.adopt(Arc::new(dek), since, expiry, now);
        true
    }

    /// Sets the expiry of the DEK that a worker writes with.
    pub fn extend(&mut self, provider: &str, expiry: Timestamp) {
        if let Some(provider) = self.running_v2(provider) {
            provider.state.extend(expiry);
        }
    }

    /// Returns whether a worker has used up its lease of a provider's DEK and needs a new one.
    pub fn has_used_up(&self, provider: &str) -> bool {
        self.providers.values().any(|kms| match kms {
            Kms::V2(of) if *of.info.name == *provider => {
                of.state.current().is_some_and(|current| current.dek.is_used_up())
            }
            _ => false,
        })
    }

    /// Adds the DEK of a stored value to a worker's cache.
    ///
    /// # Errors
    /// Returns an error if the window of the value is too small.
    pub fn learn(
        &mut self,
        resource: &str,
        stored: Stored<'_>,
        dek: Arc<dyn OpeningKey>,
    ) -> Result<(), Missing> {
        match self.kms_v2_of(resource, stored)? {
            Some((provider, value)) => provider.learn(value, ReadDek::new(dek)),
            None => Ok(()),
        }
    }

    /// Encrypts a value on a worker, as [`Self::to_storage`] does. Returns `None`, without any effect, if the control engine must perform the
    /// operation.
    #[must_use]
    pub fn try_to_storage(
        &mut self,
        at: Location<'_>,
        plaintext: &[u8],
        now: Timestamp,
    ) -> Option<Encrypted> {
        let route = self.route(at.resource);
        let job = self.try_plan_write(route, now)?;
        self.seal(job, at.key, plaintext).ok()
    }

    /// Decrypts a value on a worker, as [`Self::from_storage`] does. Returns `None`, without any effect, if the control engine must perform the
    /// operation.
    #[must_use]
    pub fn try_from_storage(
        &mut self,
        at: Location<'_>,
        stored: &[u8],
        now: Timestamp,
    ) -> Option<Decrypted> {
        let route = self.route(at.resource);
        let planned = self.try_plan_read(route, Stored::whole(stored), now);
        self.carry_out_read(planned, at.key, stored)?.ok()
    }

    /// Returns the KMS v2 provider of the running configuration that has this name.
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

    /// Returns the KMS v2 provider of a stored value, and the part of the value after the prefix.
    fn kms_v2_of<'s>(
        &mut self,
        resource: &str,
        stored: Stored<'s>,
    ) -> Result<Option<(&mut KmsV2, Stored<'s>)>, Missing> {
        for transformer in self.running.routing.find(resource).iter() {
            if let Transform::Kms(id) = transformer.transform
                && let Some(value) = stored.strip_prefix(transformer.prefix.as_bytes())?
            {
                return Ok(match self.providers.get_mut(&id) {
                    Some(Kms::V2(provider)) => Some((provider, value)),
                    _ => None,
                });
            }
        }
        Ok(None)
    }
}
