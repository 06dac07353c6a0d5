//! What the controller needs from the engine.

use std::sync::Arc;

use zeroize::Zeroizing;

use crate::driver::{ConfigsInUse, Judged};
use crate::fault::{Fault, ReloadError};
use crate::host::Host;
use crate::model::HostError;

/// The engine that is kept in step with the file.
pub(crate) trait Engine: Sync {
    /// Returns the hashes of the running configuration and of the candidate.
    fn configs_in_use(&self) -> impl Future<Output = Result<ConfigsInUse, HostError>> + Send;

    /// Returns what a file would make unreadable.
    fn judge(
        &self,
        config: Zeroizing<Vec<u8>>,
    ) -> impl Future<Output = Result<Judged, HostError>> + Send;

    /// Offers a file to replace the configuration with the hash `over`, and waits for the outcome. If this future is dropped, the engine continues
    /// with the file.
    fn reload_over(
        &self,
        config: Zeroizing<Vec<u8>>,
        over: Arc<str>,
    ) -> impl Future<Output = Result<Result<(), ReloadError>, HostError>> + Send;

    /// Returns the warnings for a file, valid or not; none if they cannot be determined.
    fn config_warnings(
        &self,
        config: Zeroizing<Vec<u8>>,
    ) -> impl Future<Output = Vec<Fault>> + Send;

    /// Sets what `/statusz` reports about the file.
    fn set_config_file(&self, status: serde_json::Value);
}

impl Engine for Host {
    fn configs_in_use(&self) -> impl Future<Output = Result<ConfigsInUse, HostError>> + Send {
        Host::configs_in_use(self)
    }

    fn judge(
        &self,
        config: Zeroizing<Vec<u8>>,
    ) -> impl Future<Output = Result<Judged, HostError>> + Send {
        Host::judge(self, config)
    }

    fn reload_over(
        &self,
        config: Zeroizing<Vec<u8>>,
        over: Arc<str>,
    ) -> impl Future<Output = Result<Result<(), ReloadError>, HostError>> + Send {
        Host::reload_over(self, config, Some(over))
    }

    fn config_warnings(
        &self,
        config: Zeroizing<Vec<u8>>,
    ) -> impl Future<Output = Vec<Fault>> + Send {
        Host::config_warnings(self, config)
    }

    fn set_config_file(&self, status: serde_json::Value) {
        Host::set_config_file(self, status);
    }
}
