//! A plugin's last health answer, and how long it may be reused.

use alloc::string::String;
use core::time::Duration;

use crate::time::Timestamp;

/// How long a good answer may be reused, 20 seconds: upstream's kmsPluginHealthzPositiveTTL.
pub const GOOD_ANSWER_TTL: Duration = Duration::from_secs(20);
/// How long a bad answer may be reused, 3 seconds: upstream's kmsPluginHealthzNegativeTTL.
pub const BAD_ANSWER_TTL: Duration = Duration::from_secs(3);

/// The last answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LastAnswer {
    /// When it arrived.
    pub at: Timestamp,
    /// The error, or `None` if the answer was good.
    pub fault: Option<String>,
}

/// What is known about a plugin's health without asking it again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FreshAnswer<'a> {
    /// The last answer was good, less than [`GOOD_ANSWER_TTL`] ago.
    Good,
    /// The last answer was this error, less than [`BAD_ANSWER_TTL`] ago.
    Bad(&'a str),
    /// There is no answer, or it is too old.
    Missing,
}

impl LastAnswer {
    /// Returns the answer if it may still be reused.
    pub fn fresh(&self, now: Timestamp) -> FreshAnswer<'_> {
        let age = now.since(self.at);
        match &self.fault {
            None if age < GOOD_ANSWER_TTL => FreshAnswer::Good,
            Some(fault) if age < BAD_ANSWER_TTL => FreshAnswer::Bad(fault),
            None | Some(_) => FreshAnswer::Missing,
        }
    }
}
