//! The servers' view of a [`Host`].

use axum::body::Bytes;
use zeroize::Zeroizing;

use super::Host;
use super::help::LogHelp;
use crate::http::Service;
use crate::model::{Check, Decrypted, Encrypted, HostError, Location, MetricFamily};

impl Service for Host {
    async fn to_storage(
        &self,
        at: Location,
        plaintext: Zeroizing<Vec<u8>>,
    ) -> Result<Encrypted, HostError> {
        Host::to_storage(self, at, plaintext).await
    }

    async fn from_storage(&self, at: Location, stored: Vec<u8>) -> Result<Decrypted, HostError> {
        self.timed_read(at, stored, LogHelp::Yes).await
    }

    async fn to_storage_many(
        &self,
        values: Vec<(Location, Bytes)>,
    ) -> Vec<Result<Encrypted, HostError>> {
        self.write_many(values).await
    }

    async fn from_storage_many(
        &self,
        values: Vec<(Location, Bytes)>,
    ) -> Vec<Result<Decrypted, HostError>> {
        self.read_many(values, LogHelp::Yes).await
    }

    async fn health(&self) -> Result<Vec<Check>, HostError> {
        Host::health(self).await
    }

    async fn check_names(&self) -> Result<Vec<String>, HostError> {
        Host::check_names(self).await
    }

    async fn status(&self) -> Result<serde_json::Value, HostError> {
        Host::status(self).await
    }

    async fn metrics(&self) -> Result<Vec<MetricFamily>, HostError> {
        Host::metrics(self).await
    }
}
