//! The engine: a sans-I/O state machine that runs one encryption configuration.
//!
//! The engine performs no I/O and reads no clock. The caller reports what happened, together with the current time ([`Engine::to_storage`],
//! [`Engine::from_storage`], [`Engine::handle_event`], [`Engine::handle_timeout`]). It then performs the actions that [`Engine::poll_action`]
//! returns, until that returns `None`. An operation that need not wait for a plugin returns its result at once. Any other operation is parked under
//! the caller's [`OpId`], and its result arrives as an [`Action`].

pub mod event;
pub mod metrics;

mod calls;
mod candidate;
mod config_set;
mod counts;
mod coverage;
mod data;
mod health;
pub mod lease;
mod pending;
pub mod plans;
mod reload;
mod routes;
mod rule_names;
mod status;
#[cfg(test)]
mod tests;

use alloc::boxed::Box;
use alloc::collections::VecDeque;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::num::NonZeroUsize;

pub use self::config_set::ParsedFile;
pub use self::pending::{PARKED_BYTES_MAX, PARKED_MAX};
pub use self::routes::RouteId;

use self::candidate::{Candidate, LastReload};
use self::config_set::{ConfigSet, File};
use self::counts::Counts;
use self::event::{Action, Generation, LogLevel, LogLine, OpId};
use self::pending::{Call, Held, ParkedOperations};
use self::routes::Routes;
use crate::config::{Config, Faults};
use crate::crypto::entropy::Entropy;
use crate::crypto::keys::{DekSourceType, KeyStore, SealingKey};
use crate::crypto::secret::Secret;
use crate::map::SortedMap;
use crate::provider::kms::Kms;
use crate::provider::kms::call::{CallId, KmsProviderInfo, ProviderId};
use crate::provider::kms::dek_cache::DekCache;
use crate::provider::kms::v2::key_state::Coast;
use crate::time::Timestamp;

/// Settings that are not part of the configuration file.
#[derive(Clone, Debug)]
pub struct Options {
    /// Whether the file may be reloaded. If so, the health checks collapse to one static check, and the names of KMS v1 providers must be unique.
    pub reload: bool,
    /// The type of new write DEKs. The default is [`DekSourceType::AesGcmKey`], whose nonces contain a counter.
    pub dek_source: DekSourceType,
    /// Whether an unhealthy plugin's answer extends the expiry of its write DEK.
    pub coast: Coast,
    /// The maximum number of decrypted DEKs that each KMS v2 provider caches.
    pub dek_cache_capacity: NonZeroUsize,
    /// Identifies this API server in metrics, where it appears as a hash. May be empty.
    pub apiserver_id: String,
    /// Whether the engine only decrypts. It then makes no DEK and sends no Encrypt call, and refuses writes. It still polls Status, but no read and no
    /// reload depends on the answer.
    pub read_only: bool,
    /// Whether to keep the bytes of the file in use, for [`Engine::running_config`]. They contain the keys of local providers.
    pub keep_file: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            reload: false,
            dek_source: DekSourceType::AesGcmKey,
            coast: Coast::Strict,
            dek_cache_capacity: DekCache::DEFAULT_CAPACITY,
            apiserver_id: String::new(),
            read_only: false,
            keep_file: true,
        }
    }
}

/// What an engine does for its configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Role {
    /// Everything: it also probes the plugins, calls them and parks operations.
    Control,
    /// Only the operations that need no plugin and meet no error; see [`lease`]. It counts only those that it completes.
    Worker,
}

/// Runs one configuration, including its reloads. See the [module documentation](self).
///
/// ```
/// use dekker_core::{
///     Engine, Entropy, EntropyError, Location, OpId, Options, RustCrypto, Timestamp,
/// };
///
/// struct Random;
/// impl Entropy for Random {
///     fn fill(&self, bytes: &mut [u8]) -> Result<(), EntropyError> {
///         // Ask the kernel each time, for example with the crate `getrandom`.
///         # bytes.fill(7);
///         Ok(())
///     }
/// }
///
/// let config = b"
/// apiVersion: apiserver.config.k8s.io/v1
/// kind: EncryptionConfiguration
/// resources:
/// - resources: [secrets]
///   providers:
///   - aescbc: {keys: [{name: key1, secret: MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=}]}
///   - identity: {}
/// ";
/// let now = Timestamp::from_millis(1_700_000_000_000);
/// let keys = Box::new(RustCrypto);
/// let mut engine = Engine::new(config, Options::default(), keys, Box::new(Random), now)?;
///
/// // With a KMS provider the result may be `None`: it then arrives as an action.
/// let at = Location { resource: "secrets", key: b"/registry/secrets/default/token" };
/// let written = engine.to_storage(OpId(1), at, b"hunter2", now).expect("no plugin is needed")?;
/// assert!(written.stored.starts_with(b"k8s:enc:aescbc:v1:key1:"));
///
/// let read = engine.from_storage(OpId(2), at, &written.stored, now).expect("no plugin is needed")?;
/// assert_eq!(read.plaintext.expose(), b"hunter2");
/// assert!(!read.is_stale());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Engine {
    role: Role,
    options: Options,
    keys: Box<dyn KeyStore>,
    entropy: Box<dyn Entropy>,
    now: Timestamp,
    next_call: u64,
    next_provider: u32,
    next_generation: u64,
    /// All providers that the running configuration, a candidate or a parked operation uses.
    providers: SortedMap<ProviderId, Kms>,
    running: Arc<ConfigSet>,
    candidate: Option<Candidate>,
    last_reload: Option<LastReload>,
    /// Replaced configurations under which operations are still parked, each with the deadline of these operations.
    retired: Vec<(Generation, Timestamp)>,
    parked: ParkedOperations,
    /// The values of parked operations that the caller has not kept itself.
    held: SortedMap<OpId, Box<Held>>,
    routes: Routes,
    calls: SortedMap<CallId, Box<Call>>,
    /// The DEKs of KMS v1 writes that the plugin is encrypting.
    deks: SortedMap<CallId, Box<dyn SealingKey>>,
    actions: VecDeque<Action>,
    counts: Counts,
}

impl Engine {
    /// Parses and validates `config` and builds an engine from it. The first probes are due immediately: poll for actions.
    ///
    /// # Errors
    /// Returns every error in the configuration.
    pub fn new(
        config: &[u8],
        options: Options,
        keys: Box<dyn KeyStore>,
        entropy: Box<dyn Entropy>,
        now: Timestamp,
    ) -> Result<Self, Faults> {
        let mut engine = Self::idle(Role::Control, config, options, keys, entropy, now)?;
        engine.handle_timeout(now);
        Ok(engine)
    }

    /// Builds an engine without starting its probes.
    fn idle(
        role: Role,
        file: &[u8],
        options: Options,
        keys: Box<dyn KeyStore>,
        entropy: Box<dyn Entropy>,
        now: Timestamp,
    ) -> Result<Self, Faults> {
        let config = Config::load(file, options.reload)?;
        let mut engine = Self {
            role,
            counts: Counts::new(&options.apiserver_id),
            options,
            keys,
            entropy,
            now,
            next_call: 1,
            next_provider: 1,
            next_generation: 1,
            providers: SortedMap::new(),
            running: Arc::new(ConfigSet::empty()),
            candidate: None,
            last_reload: None,
            retired: Vec::new(),
            parked: ParkedOperations::default(),
            held: SortedMap::new(),
            routes: Routes::default(),
            calls: SortedMap::new(),
            deks: SortedMap::new(),
            actions: VecDeque::new(),
        };
        let parsed = ParsedFile { file: File::new(file, engine.options.keep_file), config };
        engine.running = Arc::new(engine.build(Generation(0), parsed)?);
        Ok(engine)
    }

    /// Returns the generation of the file in use. State that depends on the file must follow this value, not the file that was offered last. Read it
    /// after every call that may change the engine's state.
    pub fn running_generation(&self) -> Generation {
        self.running.generation
    }

    /// Returns the content of the file in use, which includes the keys of its local providers. Returns `None` without [`Options::keep_file`].
    pub fn running_config(&self) -> Option<&Secret> {
        self.running.file.bytes.as_ref()
    }

    /// Returns the next action to perform. Call this until it returns `None` after every other call that may change the engine's state.
    #[must_use]
    pub fn poll_action(&mut self) -> Option<Action> {
        self.actions.pop_front()
    }

    /// Returns when to call [`Self::handle_timeout`], or `None` if nothing is scheduled, as always on a worker. The time may change with every other
    /// call.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Timestamp> {
        if self.role == Role::Worker {
            return None;
        }
        let polls = self.providers.values().filter_map(|provider| provider.poll_due());
        let calls = self.calls.values().map(|call| call.deadline);
        let candidate = self.candidate.iter().map(Candidate::due);
        let retired = self.retired.iter().map(|(_, deadline)| *deadline);
        polls.chain(calls).chain(candidate).chain(retired).min()
    }

    /// Performs the work that is due. Call this when the time that [`Self::poll_timeout`] returned has come.
    pub fn handle_timeout(&mut self, now: Timestamp) {
        let now = self.advance(now);
        if self.role == Role::Worker {
            return;
        }
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

    /// Cancels a parked operation. No action follows for it.
    pub fn cancel(&mut self, op: OpId) {
        self.held.remove(&op);
        if let Some(parked) = self.parked.remove(op) {
            // gRPC's name for this status, which upstream counts.
            self.count_unfinished(&parked.operation, "Canceled");
        }
        self.close_unused();
    }

    /// Returns the providers in use, including those of a candidate and of configurations that still drain.
    pub fn kms_providers(&self) -> impl Iterator<Item = &KmsProviderInfo> {
        self.providers.values().map(Kms::info)
    }

    /// Sets the engine's time to `now` and returns it. Time never goes back: an earlier value counts as the latest one seen.
    fn advance(&mut self, now: Timestamp) -> Timestamp {
        self.now = self.now.max(now);
        self.now
    }

    fn log(&mut self, level: LogLevel, provider: Option<ProviderId>, message: String) {
        let provider = provider
            .and_then(|id| self.providers.get(&id))
            .map(|provider| provider.info().name.clone());
        self.actions.push_back(Action::Log(LogLine { level, provider, message }));
    }
}
