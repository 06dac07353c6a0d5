//! A plugin's last health answer, and how long it may be reused.

use alloc::string::String;
use core::time::Duration;

use crate::time::Timestamp;

/// How long a good answer may be reused, 20 seconds: upstream's kmsPluginHealthzPositiveTTL.
pub const GOOD_ANSWER_TTL: Duration = Duration::from_secs(20);
/// How long a bad answer may be reused, 3 seconds: upstream's kmsPluginHealthzNegativeTTL.
pub const BAD_ANSWER_TTL: Duration = Duration::from_secs(3);

/// The last answer: when it arrived, and its error.
pub struct LastAnswer {
    at: Timestamp,
    fault: Option<String>,
}

impl LastAnswer {
    /// Creates an answer that arrived at `at`.
    pub fn new(at: Timestamp, fault: Option<String>) -> Self {
        Self { at, fault }
    }

    /// Returns the answer if it may still be reused: for 20 s if it was good, for 3 s if it was bad. The inner value is the error, or `None` if the
    /// answer was good.
    pub fn fresh(&self, now: Timestamp) -> Option<Option<&str>> {
        let ttl = if self.fault.is_none() { GOOD_ANSWER_TTL } else { BAD_ANSWER_TTL };
        (now.since(self.at) < ttl).then_some(self.fault.as_deref())
    }

    /// Returns the answer regardless of its age, and when it arrived.
    pub fn last(&self) -> (Timestamp, Option<&str>) {
        (self.at, self.fault.as_deref())
    }
}
