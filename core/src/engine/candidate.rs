//! A configuration that is offered to replace the running one.

use alloc::string::String;
use alloc::sync::Arc;
use core::time::Duration;

use super::config_set::ConfigSet;
use crate::time::Timestamp;

/// The minimum time that a candidate has to become healthy, 10 seconds: upstream's minKMSPluginCloseGracePeriod. Also the minimum time that
/// operations have to end after their configuration was replaced.
pub(super) const CANDIDATE_MIN_GRACE: Duration = Duration::from_secs(10);
/// The interval at which a candidate's health is checked, 100 milliseconds, as in upstream's `validateNewTransformersHealth`.
pub(super) const CANDIDATE_PROBE_INTERVAL: Duration = Duration::from_millis(100);

/// A new configuration that is being probed while the previous one is still in use.
pub(super) struct Candidate {
    pub(super) set: Arc<ConfigSet>,
    pub(super) deadline: Timestamp,
    pub(super) next_probe: Timestamp,
}

impl Candidate {
    pub(super) fn due(&self) -> Timestamp {
        self.deadline.min(self.next_probe)
    }

    pub(super) fn hash(&self) -> &str {
        &self.set.file.hash
    }
}

/// The outcome of the last reload.
pub(super) struct LastReload {
    pub(super) at: Timestamp,
    pub(super) hash: String,
    pub(super) error: Option<String>,
}
