//! The engine as a plain-typed API: the operations that every face provides.

#[cfg(feature = "component")]
mod component;
#[cfg(feature = "host")]
mod host;
mod javascript;
mod native;

use std::collections::BTreeMap;
use std::fmt;

use dekker_core::engine::Options;
use dekker_core::engine::event::{Action, Check, Event, Generation, KmsProviderInfo};
use dekker_core::time::Timestamp;
use dekker_core::{Decrypted, Encrypted, Location, TransformError};

#[cfg(feature = "component")]
pub use self::component::{ComponentMaker, Missing};
#[cfg(feature = "host")]
pub use self::host::HostMaker;
pub use self::javascript::JavaScriptMaker;
pub use self::native::NativeMaker;

/// One finding in a configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// `true` for an error, which makes the file invalid; `false` for a warning.
    pub is_fault: bool,
    /// The path of the field; empty for the file as a whole.
    pub path: String,
    /// The message.
    pub message: String,
    /// Line and column, both counted from 1.
    pub position: Option<(u32, u32)>,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.path, self.message)
    }
}

/// The labels and the value of one sample.
pub type Sample = (Vec<(String, String)>, f64);

/// Creates engines of one face, and provides the functions that need no engine.
pub trait Maker: Sync {
    /// Creates an engine whose randomness is determined by `seed`, unless the maker is not [repeatable](Self::is_repeatable).
    ///
    /// # Errors
    /// Returns every error in the configuration.
    fn create(
        &self,
        config: &[u8],
        options: &Options,
        seed: u64,
        now: Timestamp,
    ) -> Result<Box<dyn Face>, Vec<Finding>>;

    /// Whether the randomness of its engines can be chosen. If not, it is the kernel's.
    fn is_repeatable(&self) -> bool {
        true
    }

    /// Describes a stored value as JSON.
    ///
    /// # Errors
    /// Returns an error if the value is malformed.
    fn inspect(&self, stored: &[u8]) -> Result<String, String>;

    /// Decrypts a KMS value with its DEK, without a plugin.
    ///
    /// # Errors
    /// Returns an error if the value is malformed or the DEK does not decrypt it.
    fn open_with_dek(
        &self,
        stored: &[u8],
        key: &[u8],
        dek: &[u8],
    ) -> Result<Decrypted, TransformError>;

    /// Encrypts a value with the DEK of another value. `like` is that other value and its storage key.
    ///
    /// # Errors
    /// Returns an error if the other value is malformed or the DEK does not decrypt it.
    fn seal_with_dek(
        &self,
        plaintext: &[u8],
        key: &[u8],
        like: (&[u8], &[u8]),
        dek: &[u8],
    ) -> Result<Encrypted, TransformError>;

    /// Returns all errors and warnings of a configuration.
    fn check_config(&self, config: &[u8], reload: bool) -> Vec<Finding>;
}

/// One engine. See [`dekker_core::engine::Engine`] for the meaning of each function.
// `from_storage` is Kubernetes' term; it is not a conversion.
pub trait Face {
    /// Encrypts a value. `None` means that the operation is parked.
    fn to_storage(
        &mut self,
        op: u64,
        at: Location<'_>,
        plaintext: &[u8],
        now: Timestamp,
    ) -> Option<Result<Encrypted, TransformError>>;
    /// Decrypts a value. `None` means that the operation is parked.
    fn from_storage(
        &mut self,
        op: u64,
        at: Location<'_>,
        stored: &[u8],
        now: Timestamp,
    ) -> Option<Result<Decrypted, TransformError>>;
    /// Encrypts values in one call, without asking a plugin. The result of a value is `None` if it must be encrypted alone. Returns `None` if the
    /// face has no such call.
    fn to_storage_many(
        &mut self,
        values: &[(Location<'_>, &[u8])],
        now: Timestamp,
    ) -> Option<Vec<Option<Encrypted>>> {
        let _ = (values, now);
        None
    }
    /// Decrypts values in one call, as [`Self::to_storage_many`] encrypts them.
    fn from_storage_many(
        &mut self,
        values: &[(Location<'_>, &[u8])],
        now: Timestamp,
    ) -> Option<Vec<Option<Decrypted>>> {
        let _ = (values, now);
        None
    }
    /// Runs the KMS health checks. `None` means that the operation is parked.
    fn health(&mut self, op: u64, now: Timestamp) -> Option<Vec<Check>>;
    /// Cancels a parked operation.
    fn cancel(&mut self, op: u64);
    /// Offers the bytes of a changed file as a candidate and returns its generation.
    ///
    /// # Errors
    /// Returns every error in the configuration.
    fn reload(&mut self, config: &[u8], now: Timestamp) -> Result<Generation, Vec<Finding>>;
    /// Lists what the running configuration reads and this one would not.
    ///
    /// # Errors
    /// Returns every error in the configuration.
    fn unreadable_after(&mut self, config: &[u8]) -> Result<Vec<String>, Vec<Finding>>;
    /// Passes an event, such as the result of a KMS call, to the engine.
    fn handle_event(&mut self, event: Event, now: Timestamp);
    /// Does the work that is due.
    fn handle_timeout(&mut self, now: Timestamp);
    /// Returns all actions that the host must take now.
    fn poll_actions(&mut self) -> Vec<Action>;
    /// Returns when to call [`Self::handle_timeout`].
    fn poll_timeout(&mut self) -> Option<Timestamp>;
    /// Returns the providers in use.
    fn kms_providers(&mut self) -> Vec<KmsProviderInfo>;
    /// Returns the JSON for `/statusz`.
    fn status(&mut self, now: Timestamp) -> String;
    /// Makes the engine's next request for random bytes return these, all at once. Panics if its maker is not [repeatable](Maker::is_repeatable).
    fn choose_random(&mut self, bytes: &[u8]);
    /// Returns the engine's metrics, by name.
    fn metrics(&mut self) -> BTreeMap<String, Vec<Sample>>;
}
