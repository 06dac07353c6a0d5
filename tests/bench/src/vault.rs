//! A KMS v2 plugin in this process. It looks up DEKs in a map instead of encrypting them, so that only the transformers are measured.

use std::collections::HashMap;

use dekker_core::crypto::entropy::Entropy;
use dekker_core::crypto::keys::{DekSourceType, KeyStore};
use dekker_core::engine::event::{Action, EncryptResponse, Event, OpId, StatusResponse};
use dekker_core::engine::{Engine, Options};
use dekker_core::time::Timestamp;
use dekker_core::{Decrypted, Encrypted, Location, TransformError};
use dekker_host::instance::Plugin;

use anyhow::{Context, Result, bail};
use std::num::NonZeroUsize;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use crate::rounds::Source;

/// The provider's name in [`CONFIG`].
pub const PROVIDER: &str = "vault";
/// A configuration with Secrets under one KMS v2 provider.
pub const CONFIG: &str = "
apiVersion: apiserver.config.k8s.io/v1
kind: EncryptionConfiguration
resources:
- resources: [secrets]
  providers:
  - kms: {apiVersion: v2, name: vault, endpoint: 'unix:///run/vault.sock', timeout: 3s}
";
/// The storage key of every value.
pub const KEY: &[u8] = b"/registry/secrets/default/token";
/// The resource of every value.
pub const RESOURCE: &str = "secrets";

const KEY_ID: &str = "kek-2026-01";

impl Source {
    /// Returns core's type for this source.
    pub const fn dek_source_type(self) -> DekSourceType {
        match self {
            Self::Counter => DekSourceType::AesGcmKey,
            Self::Seed => DekSourceType::HkdfSha256XnonceAesGcmSeed,
        }
    }
}

/// A plugin that keeps the DEKs that it "encrypted", by ciphertext.
#[derive(Default)]
pub struct Vault(HashMap<Vec<u8>, Vec<u8>>);

impl Vault {
    /// The plugin's key ID.
    pub const KEY_ID: &str = KEY_ID;
}

impl Plugin for Vault {
    fn key_id(&self) -> String {
        KEY_ID.to_owned()
    }

    /// Returns 60 bytes, as many as AES-GCM makes of a DEK. Here they are a new number, hashed over the 60 bytes.
    fn encrypt(&mut self, dek: &[u8]) -> Vec<u8> {
        let number = self.0.len() as u64;
        let word = |i: u64| {
            let mut z = (number << 3 | i).wrapping_mul(0x9e37_79b9_7f4a_7c15);
            z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            (z ^ (z >> 27)).to_le_bytes()
        };
        let mut ciphertext: Vec<u8> = (0..8).flat_map(word).collect();
        ciphertext.truncate(60);
        self.0.insert(ciphertext.clone(), dek.to_vec());
        ciphertext
    }

    fn decrypt(&mut self, ciphertext: &[u8]) -> Option<Vec<u8>> {
        self.0.get(ciphertext).cloned()
    }
}

/// Core's engine in this process, with its plugin.
pub struct Native {
    engine: Engine,
    /// The engine's plugin.
    pub vault: Vault,
    clock: Clock,
    next_op: u64,
}

impl Native {
    /// Creates an engine, and answers its first calls to the plugin, so that it has a write DEK.
    ///
    /// # Errors
    /// Returns an error if the engine refuses the configuration.
    pub fn new(
        keys: Box<dyn KeyStore>,
        entropy: Box<dyn Entropy>,
        source: Source,
        dek_cache_capacity: Option<NonZeroUsize>,
        vault: Vault,
    ) -> Result<Self> {
        let mut options = Options { dek_source: source.dek_source_type(), ..Options::default() };
        options.dek_cache_capacity = dek_cache_capacity.unwrap_or(options.dek_cache_capacity);
        let clock = Clock::new()?;
        let engine = Engine::new(CONFIG.as_bytes(), options, keys, entropy, clock.now());
        let mut native = Self {
            engine: engine.ok().context("the engine rejected the configuration")?,
            vault,
            clock,
            next_op: 1,
        };
        native.settle();
        Ok(native)
    }

    /// Runs the engine's due timeouts, and answers the calls to the plugin that they cause.
    ///
    /// # Errors
    /// Never returns an error.
    pub fn tick(&mut self) -> Result<()> {
        self.engine.handle_timeout(self.clock.now());
        self.settle();
        Ok(())
    }

    /// Encrypts a value.
    ///
    /// # Errors
    /// Returns the engine's error, or an error if the write has to wait for the plugin.
    pub fn to_storage(&mut self, plaintext: &[u8]) -> Result<Encrypted> {
        let now = self.clock.now();
        self.next_op += 1;
        let outcome = self.engine.to_storage(OpId(self.next_op), AT, plaintext, now);
        match outcome {
            Some(outcome) => Ok(outcome?),
            None => bail!("the write has to wait for the plugin"),
        }
    }

    /// Decrypts a value. If its DEK is not cached, asks the plugin for it.
    ///
    /// # Errors
    /// Returns the engine's error, or an error if the engine did not answer.
    pub fn from_storage(&mut self, stored: &[u8]) -> Result<Decrypted> {
        let now = self.clock.now();
        self.next_op += 1;
        let op = OpId(self.next_op);
        match self.engine.from_storage(op, AT, stored, now) {
            Some(outcome) => Ok(outcome?),
            None => {
                let mut done = self.settle().into_iter();
                let (_, outcome) =
                    done.find(|(of, _)| *of == op).context("the engine returned no result")?;
                Ok(outcome?)
            }
        }
    }

    fn settle(&mut self) -> Vec<Ended> {
        settle(&mut self.engine, &mut self.vault, self.clock)
    }
}

/// A read that ended, and its result.
pub type Ended = (OpId, Result<Decrypted, TransformError>);

/// Answers the calls of an engine to its plugin. Returns the reads that this ends.
pub fn settle(engine: &mut Engine, vault: &mut Vault, clock: Clock) -> Vec<Ended> {
    let mut reads = Vec::new();
    while let Some(action) = engine.poll_action() {
        let event = match action {
            Action::CallStatus { call, provider: _ } => Event::Status {
                call,
                outcome: Ok(StatusResponse {
                    version: "v2".to_owned(),
                    healthz: "ok".to_owned(),
                    key_id: KEY_ID.to_owned(),
                }),
            },
            Action::CallEncrypt { call, provider: _, uid: _, plaintext, is_new_dek: _ } => {
                Event::Encrypted {
                    call,
                    outcome: Ok(EncryptResponse {
                        ciphertext: vault.encrypt(plaintext.expose()),
                        key_id: KEY_ID.to_owned(),
                        annotations: Vec::new().into(),
                    }),
                }
            }
            Action::CallDecrypt { call, provider: _, uid: _, request } => Event::Decrypted {
                call,
                outcome: Ok(vault.decrypt(&request.ciphertext).unwrap_or_default().into()),
            },
            Action::FromStorageDone { op, outcome } => {
                reads.push((op, outcome));
                continue;
            }
            Action::ToStorageDone { .. }
            | Action::HealthDone { .. }
            | Action::ReloadDone { .. }
            | Action::Ready { .. }
            | Action::CloseProvider { .. }
            | Action::Log(_) => continue,
        };
        engine.handle_event(event, clock.now());
    }
    reads
}

/// The time of day for an engine. It never goes back.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    /// The time of day at `start`, in milliseconds since 1970.
    epoch_millis: u64,
    start: Instant,
}

impl Clock {
    /// Starts at the system's time of day.
    ///
    /// # Errors
    /// Returns an error if that is before 1970.
    pub fn new() -> Result<Self> {
        let epoch = SystemTime::now().duration_since(UNIX_EPOCH)?.as_millis();
        Ok(Self { epoch_millis: u64::try_from(epoch)?, start: Instant::now() })
    }

    /// The time now.
    pub fn now(self) -> Timestamp {
        let passed = self.start.elapsed().as_millis();
        Timestamp::from_millis(self.epoch_millis + passed as u64)
    }
}

/// The location of every value.
pub const AT: Location<'static> = Location { resource: RESOURCE, key: KEY };
