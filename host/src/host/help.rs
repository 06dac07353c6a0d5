//! Causes and remedies that stand beside the texts of failed operations, which are kube-apiserver's.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use dekker_cli::key_help::{KeyHelp, Rules, explains};

use super::Host;
use crate::driver::Named;
use crate::model::{ErrorKind, HostError, Location, TransformError};

/// 1 second: how long after a failed read no further one is explained in the log, so that a client that repeats one cannot keep the engine busy.
const PAUSE: Duration = Duration::from_secs(1);

/// 1 minute: how long the same explanation is not logged again.
const QUIET: Duration = Duration::from_secs(60);

impl Host {
    /// Returns what is known about the cause of a failed operation and its remedy. `stored` is the value, if the operation is a read. Contains names
    /// of keys and providers, and never a secret or a key ID.
    pub async fn help(
        &self,
        error: &HostError,
        at: &Location,
        stored: Option<&[u8]>,
    ) -> Vec<String> {
        let HostError::Transform(error) = error else {
            return Vec::new();
        };
        let mut help = self.kms_help(error);
        if let Some(stored) = stored
            && explains(error.kind.as_str())
        {
            let status = self.status().await.unwrap_or_default();
            let rules = || Rules::of_status(&status);
            help.extend(KeyHelp::default().of(error.kind.as_str(), &at.resource, stored, rules));
        }
        help
    }

    /// Returns the help for each KMS provider whose last call failed, if the operation failed because of its plugin.
    pub(crate) fn kms_help(&self, error: &TransformError) -> Vec<String> {
        match error.kind {
            ErrorKind::Kms | ErrorKind::NotReady => {
                let all = self.0.kms_help.all().into_iter();
                all.map(|(provider, help)| format!("KMS provider {:?}: {help}", provider.name))
                    .collect()
            }
            ErrorKind::NoMatchingPrefix
            | ErrorKind::EncryptedData
            | ErrorKind::DecryptFailed
            | ErrorKind::Malformed
            | ErrorKind::NoncesExhausted
            | ErrorKind::Overloaded
            | ErrorKind::ReadOnly
            | ErrorKind::Internal => Vec::new(),
        }
    }

    /// Logs the cause and the remedy of a failed read, unless that was just done. The API does not report them: its callers may not be trusted.
    pub(super) async fn log_help(&self, error: &HostError, at: &Location, stored: &[u8]) {
        if !self.0.explained.may_ask(Instant::now()) {
            return;
        }
        for help in self.help(error, at, Some(stored)).await {
            if self.0.explained.is_due(&help, Instant::now()) {
                tracing::warn!(resource = at.resource, "a value could not be read: {help}");
            }
        }
    }
}

/// Adds to each KMS provider what the operator can do about its failed calls; `null` if nothing is known.
pub(super) fn add(providers: &mut [serde_json::Value], all: &[(Named, String)]) {
    for provider in providers {
        let is_this = |named: &Named| {
            let Named { name, api_version, endpoint } = named;
            provider["name"] == **name
                && provider["apiVersion"] == *api_version
                && provider["endpoint"] == **endpoint
        };
        let help = all.iter().find(|(named, _)| is_this(named)).map(|(_, help)| help.clone());
        provider["help"] = help.into();
    }
}

/// Whether the log explains a read that fails.
#[derive(Clone, Copy, Debug)]
pub(super) enum LogHelp {
    Yes,
    No,
}

/// 4 KiB: more than the prefix of any value.
const BEGINNING: usize = 4 << 10;

/// Returns enough of a value for its explanation. Whole blocks are left out, because the length of an aescbc value shows where its key's name ends.
pub(super) fn beginning(stored: &[u8]) -> &[u8] {
    stored.get(..BEGINNING + stored.len() % 16).unwrap_or(stored)
}

/// What the log has explained last.
#[derive(Debug, Default)]
pub(super) struct Explained(Mutex<Last>);

#[derive(Debug, Default)]
struct Last {
    asked: Option<Instant>,
    logged: Option<(Instant, String)>,
}

impl Explained {
    fn may_ask(&self, now: Instant) -> bool {
        let mut last = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let may_ask = last.asked.is_none_or(|asked| now.duration_since(asked) >= PAUSE);
        if may_ask {
            last.asked = Some(now);
        }
        may_ask
    }

    fn is_due(&self, text: &str, now: Instant) -> bool {
        let mut last = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let is_known = last
            .logged
            .as_ref()
            .is_some_and(|(at, logged)| logged == text && now.duration_since(*at) < QUIET);
        if !is_known {
            last.logged = Some((now, text.to_owned()));
        }
        !is_known
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_beginning_of_a_value_leaves_out_whole_blocks() {
        for (len, expected) in
            [(0, 0), (100, 100), (4096, 4096), (4097, 4097), (4112, 4096), (5001, 4105)]
        {
            assert_eq!(beginning(&vec![0; len]).len(), expected, "{len}");
        }
    }

    #[test]
    fn an_explanation_is_logged_once_a_minute() {
        let explained = Explained::default();
        let start = Instant::now();
        let after = |millis| start + Duration::from_millis(millis);
        for (millis, expected) in [(0, true), (999, false), (1000, true), (1001, false)] {
            assert_eq!(explained.may_ask(after(millis)), expected, "{millis} ms");
        }
        for (text, seconds, expected) in
            [("a", 0, true), ("a", 59, false), ("b", 59, true), ("b", 118, false), ("b", 119, true)]
        {
            let due = explained.is_due(text, start + Duration::from_secs(seconds));
            assert_eq!(due, expected, "{text} after {seconds} s");
        }
    }
}
