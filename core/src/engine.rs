//! The engine: one configuration at work, as a sans-IO state machine.
//!
//! It performs no I/O and reads no clock. The caller tells it what happened and when ([`Engine::to_storage`], [`Engine::from_storage`],
//! [`Engine::handle_event`], [`Engine::handle_timeout`]) and then does what [`Engine::poll_action`] says, until that gives nothing. An
//! operation that can be answered is answered at once; one that needs the plugin is parked under the caller's id, and its result comes
//! as an action.

pub mod event;
pub mod metrics;

mod calls;
mod data;
mod health;
mod kms;
pub mod lease;
mod pending;
mod readers;
mod reload;
mod status;
#[cfg(test)]
mod tests;

use alloc::boxed::Box;
use alloc::collections::VecDeque;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::num::NonZeroUsize;
use core::time::Duration;

pub use self::pending::{PARKED_BYTES_MAX, PARKED_MAX};

use self::event::{
    Action, CallId, Generation, KmsProviderInfo, LogLevel, LogLine, OpId, ProviderId,
};
use self::metrics::Counts;
use self::pending::{Call, ParkedOperations};
use self::readers::Readers;
use self::reload::{Candidate, LastReload};
use crate::config::{Config, Faults};
use crate::crypto::entropy::Entropy;
use crate::crypto::keys::{DekSourceType, KeyStore, SealingKey};
use crate::crypto::secret::Secret;
use crate::map::SortedMap;
use crate::provider::kms::Kms;
use crate::provider::kms::message::sha256_text;
use crate::provider::kms::v2::dek_cache::DekCache;
use crate::provider::kms::v2::key_state::Coast;
use crate::provider::routing::Routing;
use crate::time::Timestamp;

/// What does not stand in the configuration file.
#[derive(Clone, Debug)]
pub struct Options {
    /// The file may be reloaded: health collapses to one static check, and names of KMS v1 providers must be unique.
    pub reload: bool,
    /// What new write DEKs are. The default is [`DekSourceType::AesGcmKey`], the scheme of the counter.
    pub dek_source: DekSourceType,
    /// How an unhealthy plugin's answers count.
    pub coast: Coast,
    /// Most decrypted DEKs kept per provider.
    pub dek_cache_capacity: NonZeroUsize,
    /// Names this server in metrics, hashed; may be empty.
    pub apiserver_id: String,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            reload: false,
            dek_source: DekSourceType::AesGcmKey,
            coast: Coast::Strict,
            dek_cache_capacity: DekCache::DEFAULT_CAPACITY,
            apiserver_id: String::new(),
        }
    }
}

/// One configuration at work, reloads included.
pub struct Engine {
    options: Options,
    keys: Box<dyn KeyStore>,
    entropy: Box<dyn Entropy>,
    now: Timestamp,
    next_call: u64,
    next_provider: u32,
    next_generation: u64,
    /// Every provider that the running configuration, a candidate or a parked operation uses.
    providers: SortedMap<ProviderId, Kms>,
    running: Arc<ConfigSet>,
    candidate: Option<Candidate>,
    last_reload: Option<LastReload>,
    /// Configurations that were replaced, and when their last operations must have ended.
    retired: Vec<(Generation, Timestamp)>,
    parked: ParkedOperations,
    calls: SortedMap<CallId, Box<Call>>,
    /// The DEKs of KMS v1 writes that the plugin is encrypting.
    deks: SortedMap<CallId, Box<dyn SealingKey>>,
    actions: VecDeque<Action>,
    counts: Counts,
}

/// What was built from one file. The KMS providers it names live in the engine, so that two sets may share one.
struct ConfigSet {
    file: File,
    routing: Routing,
    /// In the order of the file.
    kms: Vec<ProviderId>,
    /// One check named `kms-providers`, or one for each provider.
    collapsed: bool,
    /// The sum of the providers' timeouts.
    timeouts: Duration,
    readers: Readers,
}

/// A file as it was offered.
struct File {
    generation: Generation,
    /// Local providers' keys are among them.
    bytes: Secret,
    /// `sha256:<hex>` of the bytes.
    hash: String,
}

impl File {
    fn new(generation: Generation, bytes: &[u8]) -> Self {
        Self {
            generation,
            bytes: Secret::new(bytes.to_vec()),
            hash: sha256_text(bytes),
        }
    }
}

impl Engine {
    /// Parses, validates and builds. The first probes are due at once: poll for actions.
    ///
    /// # Errors
    /// Every fault of the configuration.
    pub fn new(
        config: &[u8],
        options: Options,
        keys: Box<dyn KeyStore>,
        entropy: Box<dyn Entropy>,
        now: Timestamp,
    ) -> Result<Self, Faults> {
        let mut engine = Self::idle(config, options, keys, entropy, now)?;
        engine.handle_timeout(now);
        Ok(engine)
    }

    /// Built, and not begun.
    fn idle(
        config: &[u8],
        options: Options,
        keys: Box<dyn KeyStore>,
        entropy: Box<dyn Entropy>,
        now: Timestamp,
    ) -> Result<Self, Faults> {
        let parsed = Config::load(config, options.reload)?;
        let mut engine = Self {
            counts: Counts::new(&options.apiserver_id),
            options,
            keys,
            entropy,
            now,
            next_call: 1,
            next_provider: 1,
            next_generation: 1,
            providers: SortedMap::new(),
            running: Arc::new(ConfigSet {
                file: File::new(Generation(0), config),
                routing: Routing::new([]),
                kms: Vec::new(),
                collapsed: false,
                timeouts: Duration::ZERO,
                readers: Readers::default(),
            }),
            candidate: None,
            last_reload: None,
            retired: Vec::new(),
            parked: ParkedOperations::default(),
            calls: SortedMap::new(),
            deks: SortedMap::new(),
            actions: VecDeque::new(),
        };
        engine.running = Arc::new(engine.build(parsed, File::new(Generation(0), config))?);
        Ok(engine)
    }

    /// Which file is in use. Whatever else depends on the file must follow this, and not what was offered: read it after every call that may
    /// change state.
    pub fn running_generation(&self) -> Generation {
        self.running.file.generation
    }

    /// The bytes of the file in use, with the keys of its local providers in them.
    pub fn running_config(&self) -> &Secret {
        &self.running.file.bytes
    }

    /// The next thing to do. Call until it gives `None`, after every other call that may change state.
    #[must_use]
    pub fn poll_action(&mut self) -> Option<Action> {
        self.actions.pop_front()
    }

    /// When to call [`Self::handle_timeout`]; ask again after every other call. `None`: nothing waits for time to pass.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Timestamp> {
        let polls = self
            .providers
            .values()
            .filter_map(|provider| provider.poll_due());
        let calls = self.calls.values().map(|call| call.deadline);
        let candidate = self.candidate.iter().map(Candidate::due);
        let retired = self.retired.iter().map(|(_, deadline)| *deadline);
        polls.chain(calls).chain(candidate).chain(retired).min()
    }

    /// Does what is due. Call when the time of [`Self::poll_timeout`] has come.
    pub fn handle_timeout(&mut self, now: Timestamp) {
        let now = self.advance(now);
        self.expire_calls(now);
        let due: Vec<_> = self
            .providers
            .iter()
            .filter(|(_, p)| p.poll_due().is_some_and(|due| due <= now))
            .map(|(id, _)| *id)
            .collect();
        for id in due {
            self.begin_probe(id);
        }
        self.step_candidate();
        self.expire_retired();
        self.close_unused();
    }

    /// Forgets a parked operation: its action will not come.
    pub fn cancel(&mut self, op: OpId) {
        if let Some(parked) = self.parked.remove(op) {
            // What gRPC calls it, and so upstream's count.
            self.count_unfinished(&parked.operation, "Canceled");
        }
        self.close_unused();
    }

    /// The providers in use, those of a candidate and of a draining configuration included.
    pub fn kms_providers(&self) -> impl Iterator<Item = &KmsProviderInfo> {
        self.providers.values().map(Kms::info)
    }

    /// Time never goes back.
    fn advance(&mut self, now: Timestamp) -> Timestamp {
        self.now = self.now.max(now);
        self.now
    }

    fn log(&mut self, level: LogLevel, provider: Option<ProviderId>, message: String) {
        let provider = provider
            .and_then(|id| self.providers.get(&id))
            .map(|provider| provider.info().name.clone());
        self.actions.push_back(Action::Log(LogLine {
            level,
            provider,
            message,
        }));
    }
}
