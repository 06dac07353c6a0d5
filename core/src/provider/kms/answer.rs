//! A plugin's last answer about its health, and how long it may be used again.

use alloc::string::String;
use core::time::Duration;

use crate::time::Timestamp;

/// 20 seconds: upstream's kmsPluginHealthzPositiveTTL.
pub const GOOD_ANSWER_TTL: Duration = Duration::from_secs(20);
/// 3 seconds: upstream's kmsPluginHealthzNegativeTTL.
pub const BAD_ANSWER_TTL: Duration = Duration::from_secs(3);

/// When the last answer came, and what was wrong with it.
pub struct LastAnswer {
    at: Timestamp,
    fault: Option<String>,
}

impl LastAnswer {
    /// An answer that came now.
    pub fn new(at: Timestamp, fault: Option<String>) -> Self {
        Self { at, fault }
    }

    /// The answer, if it may still be used: for 20 s if it was good, for 3 s if it was bad. The outer `None`: ask again.
    pub fn fresh(&self, now: Timestamp) -> Option<Option<&str>> {
        let ttl = if self.fault.is_none() {
            GOOD_ANSWER_TTL
        } else {
            BAD_ANSWER_TTL
        };
        (now.since(self.at) < ttl).then_some(self.fault.as_deref())
    }

    /// The answer however old, and when it came.
    pub fn last(&self) -> (Timestamp, Option<&str>) {
        (self.at, self.fault.as_deref())
    }
}
