//! The engine of the tests: dekker-core in this process.

use std::path::PathBuf;

use dekker_core::crypto::entropy::{Entropy, EntropyError};
use dekker_core::crypto::rustcrypto::RustCrypto;
use dekker_core::crypto::secret::Secret;
use dekker_core::engine::event::OpId;
use dekker_core::engine::{Engine, Options};
use dekker_core::inspect::{KeyName, inspect_json_with, value_prefixes};
use dekker_core::provider::kms::with_dek;
use dekker_core::time::Timestamp;
use zeroize::Zeroizing;

use crate::{Decryptor, Finding, Like, Location, Opened, Tools};

/// Returns the path of a file of tests/vectors/cases.
pub(crate) fn case_path(name: &str) -> PathBuf {
    let cases = "../../tests/vectors/cases/values";
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(cases).join(name)
}

/// Reads a file of tests/vectors/cases.
pub(crate) fn case(name: &str) -> Vec<u8> {
    std::fs::read(case_path(name)).unwrap()
}

/// The tools that need no engine. Tests use three of them.
pub(crate) struct Core;

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
        let finding = |fault: &dekker_core::config::Finding| Finding {
            is_warning: false,
            path: fault.path.clone(),
            message: fault.message.clone(),
            position: fault.position.map(|at| (at.line, at.column)),
        };
        Ok(value_prefixes(config).map_err(|faults| faults.iter().map(finding).collect()))
    }

    fn check_config(&self, _: &[u8], _: bool) -> anyhow::Result<Vec<Finding>> {
        unreachable!("no test of this crate calls it")
    }

    fn show_config(&self, _: &[u8]) -> anyhow::Result<Result<String, Vec<Finding>>> {
        unreachable!("no test of this crate calls it")
    }

    fn open_with_dek(&self, stored: &[u8], key: &[u8], dek: &[u8]) -> anyhow::Result<Opened> {
        let dek = Secret::new(dek.to_vec());
        Ok(opened(with_dek::open(stored, key, &dek, &RustCrypto)?))
    }

    fn seal_with_dek(&self, _: &[u8], _: &[u8], _: Like<'_>, _: &[u8]) -> anyhow::Result<Opened> {
        unreachable!("no test of this crate calls it")
    }
}

fn opened(decrypted: dekker_core::Decrypted) -> Opened {
    Opened {
        bytes: Zeroizing::new(decrypted.plaintext.into_exposed()),
        stale: decrypted.state.map(dekker_core::ValueState::is_stale),
        state: None,
        key_id_hash: decrypted.key_id_hash.map(|hash| hash.to_string()),
    }
}

struct Fixed;

impl Entropy for Fixed {
    fn fill(&self, bytes: &mut [u8]) -> Result<(), EntropyError> {
        bytes.fill(7);
        Ok(())
    }
}

/// Decrypts with an engine, and records what it was asked for.
pub(crate) struct ByEngine {
    engine: Engine,
    pub(crate) calls: Vec<(String, Vec<u8>, Vec<u8>)>,
}

impl ByEngine {
    /// Creates an engine for a configuration among the cases.
    pub(crate) fn new(config: &str) -> Self {
        let (options, now) = (Options::default(), Timestamp::from_millis(0));
        let keys = Box::new(RustCrypto);
        let engine = Engine::new(&case(config), options, keys, Box::new(Fixed), now).unwrap();
        Self { engine, calls: Vec::new() }
    }
}

impl Decryptor for ByEngine {
    fn decrypt(
        &mut self,
        at: Location<'_>,
        stored: &[u8],
    ) -> anyhow::Result<anyhow::Result<Opened>> {
        self.calls.push((at.resource.to_owned(), at.key.to_vec(), stored.to_vec()));
        let op = OpId(self.calls.len() as u64);
        let at = dekker_core::Location { resource: at.resource, key: at.key };
        let outcome = self.engine.from_storage(op, at, stored, Timestamp::from_millis(0)).unwrap();
        Ok(outcome.map(opened).map_err(Into::into))
    }
}
