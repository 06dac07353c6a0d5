//! The engine as a plain-typed API: what every face of it can do.

mod component;
mod javascript;
mod native;

use std::collections::BTreeMap;
use std::fmt;

use dekker_core::engine::Options;
use dekker_core::engine::event::{Action, Check, Event, Generation, KmsProviderInfo};
use dekker_core::provider::transformer::{Decrypted, Encrypted, Location, TransformError};
use dekker_core::time::Timestamp;

pub use self::component::{ComponentMaker, Missing};
pub use self::javascript::JavaScriptMaker;
pub use self::native::NativeMaker;

/// One finding in a configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// The file is refused; otherwise it is a warning.
    pub is_fault: bool,
    /// The field; empty for the file as a whole.
    pub path: String,
    /// What is said of it.
    pub message: String,
    /// Line and column, both from 1.
    pub position: Option<(u32, u32)>,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.path, self.message)
    }
}

/// Labels and value of one sample.
pub type Sample = (Vec<(String, String)>, f64);

/// Makes engines of one face, and has the tools that need none.
pub trait Maker: Sync {
    /// A new engine whose randomness follows from `seed`.
    ///
    /// # Errors
    /// Every fault of the configuration.
    fn create(
        &self,
        config: &[u8],
        options: &Options,
        seed: u64,
        now: Timestamp,
    ) -> Result<Box<dyn Face>, Vec<Finding>>;

    /// What a stored value is, as JSON.
    ///
    /// # Errors
    /// What is wrong with it.
    fn inspect(&self, stored: &[u8]) -> Result<String, String>;

    /// Decrypts a KMS value with its DEK, without a plugin.
    ///
    /// # Errors
    /// What is wrong with it.
    fn open_with_dek(
        &self,
        stored: &[u8],
        key: &[u8],
        dek: &[u8],
    ) -> Result<Decrypted, TransformError>;

    /// Encrypts a value with the DEK of another, `like`: that value and its storage key.
    ///
    /// # Errors
    /// What is wrong with the other, or with the DEK.
    fn seal_with_dek(
        &self,
        plaintext: &[u8],
        key: &[u8],
        like: (&[u8], &[u8]),
        dek: &[u8],
    ) -> Result<Encrypted, TransformError>;

    /// Every fault and warning of a configuration.
    fn check_config(&self, config: &[u8], reload: bool) -> Vec<Finding>;
}

/// One engine; see [`dekker_core::engine::Engine`] for what each function means.
// `from_storage` is the field's word, not a conversion.
pub trait Face {
    /// Encrypts a value; `None`: parked.
    fn to_storage(
        &mut self,
        op: u64,
        at: Location<'_>,
        plaintext: &[u8],
        now: Timestamp,
    ) -> Option<Result<Encrypted, TransformError>>;
    /// Decrypts a value; `None`: parked.
    fn from_storage(
        &mut self,
        op: u64,
        at: Location<'_>,
        stored: &[u8],
        now: Timestamp,
    ) -> Option<Result<Decrypted, TransformError>>;
    /// The KMS checks; `None`: parked.
    fn health(&mut self, op: u64, now: Timestamp) -> Option<Vec<Check>>;
    /// Forgets a parked operation.
    fn cancel(&mut self, op: u64);
    /// Offers the bytes of a changed file; its number.
    ///
    /// # Errors
    /// Every fault of the configuration.
    fn reload(&mut self, config: &[u8], now: Timestamp) -> Result<Generation, Vec<Finding>>;
    /// What the running configuration reads and this one would not.
    ///
    /// # Errors
    /// Every fault of the configuration.
    fn unreadable_after(&mut self, config: &[u8]) -> Result<Vec<String>, Vec<Finding>>;
    /// Tells what a KMS call gave.
    fn handle_event(&mut self, event: Event, now: Timestamp);
    /// Does what is due.
    fn handle_timeout(&mut self, now: Timestamp);
    /// Everything to be done now.
    fn poll_actions(&mut self) -> Vec<Action>;
    /// When to call [`Self::handle_timeout`].
    fn poll_timeout(&mut self) -> Option<Timestamp>;
    /// The providers in use.
    fn kms_providers(&mut self) -> Vec<KmsProviderInfo>;
    /// JSON for `/statusz`.
    fn status(&mut self, now: Timestamp) -> String;
    /// The next random bytes that the engine asks for are these, all of them at once.
    fn choose_random(&mut self, bytes: &[u8]);
    /// What the engine counts, by name.
    fn metrics(&mut self) -> BTreeMap<String, Vec<Sample>>;
}
