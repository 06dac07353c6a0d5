//! The commands' tools, implemented with dekker-core.

use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::Context;
use dekker_cli::encrypt_warning::Written;
use dekker_cli::key_help::{KeyHelp, Rules};
use dekker_cli::transform_args::Place;
use dekker_cli::{Decryptor, Finding, Like, Opened, Tools, ValueState, not_valid};
use dekker_core::config::{self, Faults};
use dekker_core::crypto::entropy::{Entropy, EntropyError};
use dekker_core::crypto::rustcrypto::RustCrypto;
use dekker_core::crypto::secret::Secret;
use dekker_core::engine::event::OpId;
use dekker_core::engine::{Engine, Options};
use dekker_core::inspect::{KeyName, inspect_json_with, value_prefixes};
use dekker_core::provider::kms::with_dek;
use dekker_core::time::Timestamp;
use dekker_core::{Decrypted, Encrypted, Location, TransformError};
use zeroize::Zeroizing;

/// The system's source of randomness: under WASI, `wasi:random`.
struct System;

impl Entropy for System {
    fn fill(&self, bytes: &mut [u8]) -> Result<(), EntropyError> {
        getrandom::fill(bytes).map_err(|_| EntropyError)
    }
}

/// [`Tools`], implemented with dekker-core.
pub(crate) struct Core;

fn finding(is_warning: bool, finding: &config::Finding) -> Finding {
    Finding {
        is_warning,
        path: finding.path.clone(),
        message: finding.message.clone(),
        position: finding.position.map(|place| (place.line, place.column)),
    }
}

fn faults(faults: &Faults) -> Vec<Finding> {
    faults.iter().map(|fault| finding(false, fault)).collect()
}

impl Tools for Core {
    fn inspect(
        &self,
        stored: &[u8],
        prefixes: &[String],
    ) -> anyhow::Result<Result<String, String>> {
        let names = prefixes.iter().filter_map(|prefix| KeyName::of_value_prefix(prefix));
        Ok(inspect_json_with(stored, &names.collect::<Vec<_>>()))
    }

    fn value_prefixes(&self, config: &[u8]) -> anyhow::Result<Result<Vec<String>, Vec<Finding>>> {
        Ok(value_prefixes(config).map_err(|error| faults(&error)))
    }

    fn check_config(&self, config: &[u8], reload: bool) -> anyhow::Result<Vec<Finding>> {
        let report = config::check(config, reload);
        let faults = report.faults.iter().map(|fault| finding(false, fault));
        let warnings = report.warnings.iter().map(|warning| finding(true, warning));
        Ok(faults.chain(warnings).collect())
    }

    fn show_config(&self, config: &[u8]) -> anyhow::Result<Result<String, Vec<Finding>>> {
        Ok(config::show(config).map_err(|error| faults(&error)))
    }

    fn open_with_dek(&self, stored: &[u8], key: &[u8], dek: &[u8]) -> anyhow::Result<Opened> {
        let dek = Secret::new(dek.to_vec());
        let opened = opened(with_dek::open(stored, key, &dek, &RustCrypto)?);
        // As in the native binary, which prints no state of a value that was decrypted without the plugin.
        Ok(Opened::without_state(opened.bytes, opened.key_id_hash))
    }

    fn seal_with_dek(
        &self,
        plaintext: &[u8],
        key: &[u8],
        like: Like<'_>,
        dek: &[u8],
    ) -> anyhow::Result<Opened> {
        let dek = Secret::new(dek.to_vec());
        let like = with_dek::Like { stored: like.stored, key: like.key };
        Ok(sealed(with_dek::seal(plaintext, key, like, &dek, &RustCrypto, &System)?))
    }
}

fn opened(decrypted: Decrypted) -> Opened {
    Opened {
        stale: decrypted.state.map(dekker_core::ValueState::is_stale),
        state: decrypted.state.map(|state| match state {
            dekker_core::ValueState::Fresh => ValueState::Fresh,
            dekker_core::ValueState::OtherSource => ValueState::OtherSource,
            dekker_core::ValueState::Stale => ValueState::Stale,
        }),
        bytes: Zeroizing::new(decrypted.plaintext.into_exposed()),
        key_id_hash: decrypted.key_id_hash.map(|hash| hash.to_string()),
    }
}

fn sealed(encrypted: Encrypted) -> Opened {
    let hash = encrypted.key_id_hash.map(|hash| hash.to_string());
    Opened::without_state(Zeroizing::new(encrypted.stored), hash)
}

fn now() -> anyhow::Result<Timestamp> {
    let since =
        SystemTime::now().duration_since(UNIX_EPOCH).context("the clock is set before 1970")?;
    let millis = u64::try_from(since.as_millis()).context("the clock is set too far ahead")?;
    Ok(Timestamp::from_millis(millis))
}

/// Creates an engine for a configuration.
///
/// # Errors
/// Returns an error if the configuration is not valid, naming all of its errors, or if the clock is before 1970.
pub(crate) fn engine(config: &[u8]) -> anyhow::Result<Engine> {
    Engine::new(config, Options::default(), Box::new(RustCrypto), Box::new(System), now()?)
        .map_err(|error| anyhow::Error::msg(not_valid(&faults(&error))))
}

/// What to do about a value that only a plugin can encrypt or decrypt.
const NEEDS_PLUGIN: &str = "this operation needs a KMS plugin, which WebAssembly cannot reach: pass the DEK with --dek-file, or use the native `dekker`";

/// Encrypts one value.
///
/// # Errors
/// Returns the engine's error, or an error if the operation needs a plugin, which cannot be reached from here.
pub(crate) fn encrypt(
    mut engine: Engine,
    place: &Place,
    plaintext: &[u8],
) -> anyhow::Result<Opened> {
    let at = Location { resource: &place.resource, key: place.key() };
    let encrypted = engine.to_storage(OpId(1), at, plaintext, now()?).context(NEEDS_PLUGIN)??;
    Written {
        resource: &place.resource,
        has_rule: Some(encrypted.has_rule),
        is_plaintext: encrypted.transformer_prefix.is_empty(),
    }
    .warn();
    Ok(sealed(encrypted))
}

/// Decrypts with an engine.
pub(crate) struct ByEngine {
    engine: Engine,
    last: u64,
    key_help: KeyHelp,
}

impl ByEngine {
    pub(crate) fn new(engine: Engine) -> Self {
        Self { engine, last: 0, key_help: KeyHelp::default() }
    }
}

impl Decryptor for ByEngine {
    fn decrypt(
        &mut self,
        at: dekker_cli::Location<'_>,
        stored: &[u8],
    ) -> anyhow::Result<anyhow::Result<Opened>> {
        self.last += 1;
        let op = OpId(self.last);
        let at = Location { resource: at.resource, key: at.key };
        let now = now()?;
        let outcome = self.engine.from_storage(op, at, stored, now);
        if outcome.is_none() {
            self.engine.cancel(op);
        }
        // Calls to plugins, which cannot be made from here.
        while self.engine.poll_action().is_some() {}
        Ok(match outcome {
            Some(Ok(decrypted)) => Ok(opened(decrypted)),
            Some(Err(error)) => Err(error.into()),
            None => Err(anyhow::Error::msg(NEEDS_PLUGIN)),
        })
    }

    fn help(
        &mut self,
        error: &anyhow::Error,
        at: dekker_cli::Location<'_>,
        stored: &[u8],
    ) -> Vec<String> {
        let Some(error) = error.downcast_ref::<TransformError>() else {
            return Vec::new();
        };
        let rules = || Rules::parse(&self.engine.status(now().ok()?));
        self.key_help.of(error.kind.as_str(), at.resource, stored, rules).into_iter().collect()
    }
}
