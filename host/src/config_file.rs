//! The configuration file while it runs: polled, watched, offered to the engine when it changed.
//!
//! What counts is the hash of the content, polled; a watch event, a SIGHUP and the end of a wait only cause a poll. So a Kubernetes `..data`
//! symlink swap, a rename over the file, an in-place write and a file that vanishes and comes back are all the same thing: other bytes under
//! the path. Upstream: encryptionconfig/controller.
//!
//! A file that is still being written may be valid, with its last keys, providers or rules missing. So a file that reads less than the one in
//! use must stay as it is for a while before it takes over; one that reads as much does so at once. MUST DIFFER: upstream takes any valid file.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use notify::Watcher;
use tokio::sync::Notify;
use tokio::time::Instant;
use zeroize::Zeroizing;

use crate::clock::Clock;
use crate::host::Host;
use crate::metrics::Metrics;

/// 1 second, doubled up to the poll interval: how long to wait before a refused file is offered again.
const FIRST_RETRY: Duration = Duration::from_secs(1);

/// 100 milliseconds: how long to wait after a hint, so that a file that is being written is looked at once and whole rather than in parts.
const SETTLE: Duration = Duration::from_millis(100);

/// The bytes of a configuration file, and their hash.
pub(crate) struct Content {
    pub(crate) bytes: Zeroizing<Vec<u8>>,
    /// `sha256:<hex>`.
    pub(crate) hash: String,
}

/// Reads the file once.
///
/// # Errors
/// As [`dekker_cli::io::read_config`].
pub(crate) fn read(path: &Path) -> Result<Content, String> {
    let bytes = dekker_cli::io::read_config(path)?;
    let hash = crate::sha256::text(&bytes);
    Ok(Content { bytes, hash })
}

/// Causes a poll from outside.
#[derive(Default)]
pub(crate) struct PollNow {
    notify: Notify,
    confirmed: AtomicBool,
}

impl PollNow {
    /// Something may have changed.
    pub(crate) fn hint(&self) {
        self.notify.notify_one();
    }

    /// A person says that the file is whole as it is.
    pub(crate) fn confirm(&self) {
        self.confirmed.store(true, Ordering::Relaxed);
        self.notify.notify_one();
    }

    /// The next hint, once what caused it has had time to end.
    async fn settled(&self) {
        self.notify.notified().await;
        // Whoever writes the file in place is likely still at it.
        tokio::time::sleep(SETTLE).await;
    }
}

/// Keeps a running [`Host`] in step with a file.
pub(crate) struct Controller {
    pub(crate) path: PathBuf,
    pub(crate) interval: Duration,
    /// How long a file that can read less than the one in use must stay as it is.
    pub(crate) hold: Duration,
    pub(crate) host: Host,
    pub(crate) metrics: Arc<Metrics>,
    /// The hash of what is in use.
    pub(crate) loaded: String,
    /// The hash of what was there at the last poll, taken or not.
    pub(crate) seen: Option<String>,
    /// What the last poll held back.
    pub(crate) held: Option<Held>,
    pub(crate) poll_now: Arc<PollNow>,
}

/// A file that can read less than the one in use.
pub(crate) struct Held {
    hash: String,
    since: Instant,
    /// When it takes over, as people tell it: seconds since the Unix epoch.
    until: f64,
}

impl Controller {
    /// Polls for ever, at once to begin with.
    pub(crate) async fn run(mut self) {
        let _watcher = watch(&self.path, self.poll_now.clone());
        let clock = Clock::start();
        let mut retry = FIRST_RETRY;
        let mut last_error: Option<String> = None;
        let mut refusals = 0_u64;
        loop {
            let outcome = self.poll(&clock).await;
            let now = clock.now() as f64 / 1000.0;
            match &outcome {
                Ok(None) => {}
                Ok(Some(hash)) => {
                    tracing::info!(hash, path = %self.path.display(), "the changed configuration is in use");
                    self.metrics.reload_succeeded(hash, now);
                }
                Err(error) => {
                    // The same fault again is no news.
                    if last_error.as_ref() == Some(error) {
                        tracing::debug!(error, "the configuration is still refused");
                    } else {
                        tracing::error!(error, path = %self.path.display(), "the configuration was refused; the one in use serves on");
                    }
                    self.metrics.reload_failed(now);
                    refusals += 1;
                }
            }
            let error = outcome.err();
            self.host.set_config_file(serde_json::json!({
                "path": self.path.display().to_string(),
                "lastPollUnixSeconds": now,
                "loadedHash": self.loaded,
                "seenHash": self.seen,
                "error": error,
                "refusals": refusals,
                "heldUntilUnixSeconds": self.held.as_ref().map(|held| held.until),
            }));
            let wait = if error.is_some() {
                let wait = retry.min(self.interval);
                retry = retry.saturating_mul(2);
                wait
            } else {
                retry = FIRST_RETRY;
                self.interval
            };
            last_error = error;
            let mut next = Instant::now() + wait;
            if let Some(held) = &self.held {
                next = next.min(held.since + self.hold);
            }
            tokio::select! {
                () = self.poll_now.settled() => retry = FIRST_RETRY,
                () = tokio::time::sleep_until(next) => {}
            }
        }
    }

    async fn read(&self) -> Result<Content, String> {
        #[cfg(test)]
        if crate::simulation::seams::is_simulated() {
            return read(&self.path);
        }
        let path = self.path.clone();
        tokio::task::spawn_blocking(move || read(&path))
            .await
            .map_err(|error| error.to_string())?
    }

    /// `Ok(None)`: nothing changed.
    async fn poll(&mut self, clock: &Clock) -> Result<Option<String>, String> {
        let confirmed = self.poll_now.confirmed.swap(false, Ordering::Relaxed);
        // What was held stays held only if it is found again.
        let held = self.held.take();
        self.seen = None;
        let mut content = self.read().await?;
        self.seen = Some(content.hash.clone());
        if content.hash == self.loaded {
            return Ok(None);
        }
        // The reload tells the faults of a file that has any.
        let unreadable = self.unreadable_after(&content).await?.unwrap_or_default();
        if !unreadable.is_empty() {
            let held = held
                .filter(|held| held.hash == content.hash)
                .unwrap_or_else(|| Held {
                    hash: content.hash.clone(),
                    since: Instant::now(),
                    until: clock.now() as f64 / 1000.0 + self.hold.as_secs_f64(),
                });
            let unreadable = unreadable.join("; ");
            if !confirmed && held.since.elapsed() < self.hold {
                self.held = Some(held);
                return Err(format!(
                    "the file may be half-written, for it no longer reads what the one in use does ({unreadable}): it takes effect when it \
                     has been the same for {:?}, or at once on SIGHUP",
                    self.hold
                ));
            }
            tracing::warn!(
                unreadable,
                "the changed configuration reads less than the one in use"
            );
        }
        let mut missed = false;
        let outcome = loop {
            let Content { bytes, hash } = content;
            tokio::select! {
                outcome = self.host.reload(bytes) => break outcome.map(|outcome| outcome.map(|()| hash)),
                // A file whose plugins are not there is looked at for long: a better one does not wait for its end.
                newer = self.better_than(&hash, &mut missed) => {
                    self.seen = Some(newer.hash.clone());
                    content = newer;
                }
            }
        };
        if missed {
            self.poll_now.hint();
        }
        match outcome {
            Ok(Ok(hash)) => {
                self.loaded.clone_from(&hash);
                Ok(Some(hash))
            }
            Ok(Err(error)) => Err(error.to_string()),
            Err(error) => Err(error.to_string()),
        }
    }

    /// What the file in use reads and this one does not. `None`: it has faults.
    async fn unreadable_after(&self, content: &Content) -> Result<Option<Vec<String>>, String> {
        let outcome = self.host.unreadable_after(content.bytes.clone()).await;
        outcome.map(Result::ok).map_err(|error| error.to_string())
    }

    /// Waits until the file is another than that of this hash, valid, and reads all that the one in use reads. `missed`: it was another for a
    /// while.
    async fn better_than(&self, hash: &str, missed: &mut bool) -> Content {
        loop {
            self.poll_now.notify.notified().await;
            // Before anything else is waited for: what comes of this hint must not be lost if the older file's time ends meanwhile.
            *missed = true;
            tokio::time::sleep(SETTLE).await;
            match self.read().await {
                Ok(content) if content.hash == hash => *missed = false,
                Ok(content) => {
                    let unreadable = self.unreadable_after(&content).await;
                    if unreadable.is_ok_and(|lost| lost.is_some_and(|lost| lost.is_empty())) {
                        *missed = false;
                        return content;
                    }
                }
                Err(_) => {}
            }
        }
    }
}

/// Watches the file's directory, and that of what the file links to, for any change; polling finds what this misses.
fn watch(path: &Path, poll_now: Arc<PollNow>) -> Option<notify::RecommendedWatcher> {
    #[cfg(test)]
    if crate::simulation::seams::is_simulated() {
        return None;
    }
    let hint = move |event: notify::Result<notify::Event>| {
        if event.is_ok_and(|event| !event.kind.is_access()) {
            poll_now.hint();
        }
    };
    let directories = [
        path.parent().map(Path::to_path_buf),
        std::fs::canonicalize(path)
            .ok()
            .and_then(|path| path.parent().map(Path::to_path_buf)),
    ];
    let watcher = notify::recommended_watcher(hint).and_then(|mut watcher| {
        for directory in directories.into_iter().flatten() {
            let directory = if directory.as_os_str().is_empty() {
                Path::new(".")
            } else {
                &directory
            };
            watcher.watch(directory, notify::RecursiveMode::NonRecursive)?;
        }
        Ok(watcher)
    });
    watcher.inspect_err(|error| tracing::warn!(%error, "the configuration file cannot be watched; it is still polled")).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_known_by_its_hash() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("c.yaml");
        std::fs::write(&path, b"abc").unwrap();
        let content = read(&path).unwrap();
        assert_eq!(
            content.hash,
            "sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
        );
    }
}
