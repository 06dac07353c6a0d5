//! A running engine behind a handle that any task may use.

use zeroize::Zeroizing;

use crate::guest::bindings::dekker::transformer::types::{
    Decrypted, Encrypted, Location, TransformError,
};
use crate::guest::bindings::exports::dekker::transformer::engine::{Check, MetricFamily};

/// placeholder: bodies come later
#[derive(Clone)]
pub struct Host {}

/// Why a call on [`Host`] gave no result from the engine.
#[derive(Debug)]
#[non_exhaustive]
pub enum HostError {
    /// The engine answered with a fault.
    Transform(TransformError),
    /// The component trapped on this request; a fresh instance has taken over.
    Trapped,
    /// The host is shutting down.
    Closed,
}

impl Host {
    /// Encrypts.
    pub async fn to_storage(
        &self,
        _at: Location,
        _plaintext: Zeroizing<Vec<u8>>,
    ) -> Result<Encrypted, HostError> {
        todo!()
    }
    /// Decrypts.
    pub async fn from_storage(
        &self,
        _at: Location,
        _stored: Vec<u8>,
    ) -> Result<Decrypted, HostError> {
        todo!()
    }
    /// The KMS checks, as upstream would run them now (may wait for the plugin).
    pub async fn health(&self) -> Result<Vec<Check>, HostError> {
        todo!()
    }
    /// Names of the installed KMS checks, without running them.
    pub async fn check_names(&self) -> Result<Vec<String>, HostError> {
        todo!()
    }
    /// JSON for /statusz.
    pub async fn status(&self) -> Result<serde_json::Value, HostError> {
        todo!()
    }
    /// What the engine counts.
    pub async fn metrics(&self) -> Result<Vec<MetricFamily>, HostError> {
        todo!()
    }
}
