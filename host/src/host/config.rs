//! Configurations of a running engine: offering a file, and what it would change.

use std::sync::{Arc, MutexGuard, PoisonError};

use zeroize::Zeroizing;

use super::Host;
use crate::driver::{ConfigsInUse, Judged, Request};
use crate::fault::{Fault, ReloadError};
use crate::guest::{ConfigFinding, Severity};
use crate::model::HostError;

impl Host {
    /// Offers the bytes of a changed configuration, and waits until the configuration is in use or refused. Requests are served in the meantime.
    /// After a refusal, the old configuration stays in use.
    ///
    /// # Errors
    /// The outer error is returned if the component traps or the engine has ended. The inner error says why the configuration was refused.
    pub async fn reload(
        &self,
        config: Zeroizing<Vec<u8>>,
    ) -> Result<Result<(), ReloadError>, HostError> {
        self.reload_over(config, None).await
    }

    /// Like [`Self::reload`], but if `over` is given and is not the hash of the configuration in use, fails with [`ReloadError::Overtaken`].
    pub(crate) async fn reload_over(
        &self,
        config: Zeroizing<Vec<u8>>,
        over: Option<Arc<str>>,
    ) -> Result<Result<(), ReloadError>, HostError> {
        self.ask(|reply| Request::Reload { config, over, reply }).await
    }

    /// Returns the hashes of the running configuration and of the candidate.
    pub(crate) async fn configs_in_use(&self) -> Result<ConfigsInUse, HostError> {
        self.ask(|reply| Request::ConfigsInUse { reply }).await
    }

    /// Returns what the running configuration can read and this one could not. The list is empty if nothing would become unreadable. Each string is a
    /// phrase such as `secrets: values that begin with "k8s:enc:aescbc:v1:key1:"`.
    ///
    /// A file that is still being written may be valid although its last keys, providers or rules are missing. `dekker serve` accepts such a file
    /// only after it has remained unchanged for some time. Programs that watch files themselves should call this function before [`Self::reload`].
    ///
    /// # Errors
    /// The outer error is returned if the component traps or the engine has ended. The inner error lists all errors in the configuration.
    pub async fn unreadable_after(
        &self,
        config: Zeroizing<Vec<u8>>,
    ) -> Result<Result<Vec<String>, Vec<Fault>>, HostError> {
        Ok(self.judge(config).await?.outcome)
    }

    /// Like [`Self::unreadable_after`], but also returns the hash of the configuration that the file was compared with.
    pub(crate) async fn judge(&self, config: Zeroizing<Vec<u8>>) -> Result<Judged, HostError> {
        self.ask(|reply| Request::UnreadableAfter { config, reply }).await
    }

    /// Returns the warnings for a configuration file that may replace the one in use, valid or not; none if the component cannot determine them.
    pub(crate) async fn config_warnings(&self, config: Zeroizing<Vec<u8>>) -> Vec<Fault> {
        let component = self.0.component.clone();
        let check = move || component.check_config(&config, true).unwrap_or_default();
        #[cfg(test)]
        if crate::simulation::seams::is_simulated() {
            return warnings(&check());
        }
        // A task that panicked, or a runtime that ends.
        let findings = tokio::task::spawn_blocking(check).await.unwrap_or_default();
        warnings(&findings)
    }

    /// Sets what `/statusz` reports about the configuration file.
    pub(crate) fn set_config_file(&self, status: serde_json::Value) {
        *self.config_file() = Some(status);
    }

    pub(super) fn config_file(&self) -> MutexGuard<'_, Option<serde_json::Value>> {
        // The value is always replaced as a whole, so it is consistent even after a panic.
        self.0.config_file.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn warnings(findings: &[ConfigFinding]) -> Vec<Fault> {
    let is_warning = |finding: &&ConfigFinding| finding.severity == Severity::Warning;
    findings.iter().filter(is_warning).map(Fault::from).collect()
}
