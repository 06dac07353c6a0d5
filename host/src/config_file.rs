//! Polls and watches the configuration file, and offers it to the engine when it has changed.
//!
//! Changes are detected by the hash of the polled content. Watch events, SIGHUP and the end of a wait only cause a poll. So a Kubernetes `..data`
//! symlink swap, a rename over the file, an in-place write, and a file that disappears and comes back are all handled in the same way: as different
//! bytes at the path. Upstream: encryptionconfig/controller.
//!
//! A file that is still being written may be valid although its last keys, providers or rules are missing. So a file that reads less than the
//! configuration in use takes effect only after it has remained unchanged for a while. A file that reads as much takes effect at once. MUST DIFFER:
//! upstream accepts any valid file.

mod refusal;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use notify::Watcher;
use tokio::sync::Notify;
use tokio::time::Instant;
use zeroize::Zeroizing;

use self::refusal::Refusal;
use crate::clock::Clock;
use crate::driver::{ConfigsInUse, Judged};
use crate::fault::{Fault, ReloadError};
use crate::host::Host;
use crate::metrics::Metrics;
use crate::model::HostError;

pub(crate) use self::refusal::log_warnings;

/// The delay before a refused file is offered again: 1 second, doubled up to the poll interval.
const FIRST_RETRY: Duration = Duration::from_secs(1);

/// The delay between a hint and the poll, 100 milliseconds, so that a file that is being written is read once and complete rather than in parts.
const SETTLE: Duration = Duration::from_millis(100);

/// The bytes of a configuration file and their hash.
pub(crate) struct Content {
    pub(crate) bytes: Zeroizing<Vec<u8>>,
    /// `sha256:<hex>` of the bytes.
    pub(crate) hash: String,
}

/// Reads the file.
///
/// # Errors
/// Returns an error under the same conditions as [`dekker_cli::io::read_config`].
pub(crate) fn read(path: &Path) -> Result<Content, String> {
    Ok(Content::of(dekker_cli::io::read_config(path)?))
}

impl Content {
    pub(crate) fn of(bytes: Zeroizing<Vec<u8>>) -> Self {
        let hash = crate::sha256::text(&bytes);
        Self { bytes, hash }
    }
}

/// Requests a poll from outside the controller.
#[derive(Default)]
pub(crate) struct PollNow {
    notify: Notify,
    confirmed: AtomicBool,
}

impl PollNow {
    /// Requests a poll because the file may have changed.
    pub(crate) fn hint(&self) {
        self.notify.notify_one();
    }

    /// Requests a poll, and records that the user has confirmed that the file is complete.
    pub(crate) fn confirm(&self) {
        self.confirmed.store(true, Ordering::Relaxed);
        self.notify.notify_one();
    }

    /// Waits for the next hint, and then until the change that caused it has had time to finish.
    async fn settled(&self) {
        self.notify.notified().await;
        // A process that writes the file in place is probably still writing.
        tokio::time::sleep(SETTLE).await;
    }
}

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

/// Keeps a running engine in step with a file.
///
/// On each poll, the controller asks the engine what is in use. It does not remember this itself, because an offer whose outcome it did not wait for
/// may have taken effect.
pub(crate) struct Controller<E> {
    path: PathBuf,
    timing: Timing,
    engine: E,
    metrics: Arc<Metrics>,
    poll_now: Arc<PollNow>,
    /// The hash of the file's content at the last poll, whether it was accepted or not.
    seen: Option<String>,
    /// The last file that was held back because it reads less than the configuration in use.
    held: Option<Held>,
    /// The hash of the file that the user has confirmed to be complete.
    confirmed: Option<String>,
}

/// A file that reads less than the configuration in use.
struct Held {
    hash: String,
    since: Instant,
    /// When the file may take effect, for the log and `/statusz`.
    until: SystemTime,
}

impl Held {
    fn until_unix_seconds(&self) -> f64 {
        self.until.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64()
    }
}

/// The result of a poll whose file is not refused.
enum Polled {
    /// The file is the one in use.
    Unchanged,
    /// The file with this hash has taken effect.
    InUse(String),
    /// The file is valid and held back: until when, and why.
    Held(String),
}

/// When a controller acts.
#[derive(Clone, Copy)]
pub(crate) struct Timing {
    /// The time between two polls.
    pub(crate) interval: Duration,
    /// How long a file that reads less than the configuration in use must remain unchanged.
    pub(crate) hold: Duration,
}

impl<E: Engine> Controller<E> {
    /// Creates a controller.
    pub(crate) fn new(
        path: PathBuf,
        timing: Timing,
        engine: E,
        metrics: Arc<Metrics>,
        poll_now: Arc<PollNow>,
    ) -> Self {
        Self { path, timing, engine, metrics, poll_now, seen: None, held: None, confirmed: None }
    }

    /// Polls indefinitely, beginning at once.
    pub(crate) async fn run(mut self) {
        let _watcher = watch(&self.path, self.poll_now.clone());
        let clock = Clock::start();
        let mut retry = FIRST_RETRY;
        let (mut last_error, mut last_hold): (Option<String>, Option<String>) = (None, None);
        let mut refusals = 0_u64;
        loop {
            let outcome = self.poll(&clock).await;
            let now = clock.now() as f64 / 1000.0;
            let path = self.path.display();
            let (mut error, mut hold) = (None, None);
            match outcome {
                Ok(Polled::Unchanged) => {}
                Ok(Polled::InUse(hash)) => {
                    tracing::info!(hash, %path, "the changed configuration is in use");
                }
                // Not a failure: the file is valid, and counts as a success when it takes effect.
                Ok(Polled::Held(reason)) => {
                    if last_hold.as_ref() == Some(&reason) {
                        tracing::debug!(reason, "the configuration is still held");
                    } else {
                        tracing::warn!(%path, "the changed configuration is {reason}");
                    }
                    hold = Some(reason);
                }
                Err(Refusal { reason, config }) => {
                    // Log a repeated error only at debug level.
                    if last_error.as_ref() == Some(&reason) {
                        tracing::debug!(error = reason, "the configuration is still refused");
                    } else {
                        tracing::error!(error = reason, %path, "the configuration was refused; the one in use is kept");
                        if let Some(config) = config {
                            log_warnings(&self.path, &self.engine.config_warnings(config).await);
                        }
                    }
                    self.metrics.reload_failed(now);
                    refusals += 1;
                    error = Some(reason);
                }
            }
            let held = self.held.as_ref().filter(|held| self.is_held(held));
            self.engine.set_config_file(serde_json::json!({
                "path": self.path.display().to_string(),
                "lastPollUnixSeconds": now,
                "seenHash": self.seen,
                "error": error,
                "refusals": refusals,
                "held": hold,
                "heldUntilUnixSeconds": held.map(Held::until_unix_seconds),
            }));
            // A file that is held back is polled again when its hold time ends.
            let wait = if error.is_some() {
                let wait = retry.min(self.timing.interval);
                retry = retry.saturating_mul(2);
                wait
            } else {
                retry = FIRST_RETRY;
                self.timing.interval
            };
            (last_error, last_hold) = (error, hold);
            let mut next = Instant::now() + wait;
            if let Some(held) = held {
                next = next.min(held.since + self.timing.hold);
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
        tokio::task::spawn_blocking(move || read(&path)).await.map_err(|error| error.to_string())?
    }

    /// Polls once. Returns an error if the file is refused.
    async fn poll(&mut self, clock: &Clock) -> Result<Polled, Refusal> {
        let confirmed = self.poll_now.confirmed.swap(false, Ordering::Relaxed);
        self.seen = None;
        let mut content = self.read().await?;
        if confirmed {
            self.confirmed = Some(content.hash.clone());
        }
        let mut missed = false;
        let outcome = loop {
            self.seen = Some(content.hash.clone());
            let in_use = self.engine.configs_in_use().await.map_err(text)?;
            // An older candidate that is still being probed may take effect later, even though its outcome is no longer awaited.
            let is_settled = in_use.candidate.is_none_or(|candidate| *candidate == *content.hash);
            if *in_use.running == *content.hash && is_settled {
                break Ok(Polled::Unchanged);
            }
            let judged = self.engine.judge(content.bytes.clone()).await;
            let Judged { over, outcome } = judged.map_err(text)?;
            // If the file has errors, `reload_over` reports them.
            let unreadable = outcome.unwrap_or_default().join("; ");
            if !unreadable.is_empty() {
                if let Some(until) = self.holds(&content.hash, clock) {
                    break Ok(Polled::Held(format!(
                        "held until {until}: it may be half-written, because it cannot read what the one in use can ({unreadable}); it takes \
                         effect after {:?} without a change, or at once on SIGHUP",
                        self.timing.hold
                    )));
                }
                tracing::warn!(
                    unreadable,
                    "the changed configuration can read less than the one in use"
                );
            }
            let Content { bytes, hash } = content;
            let mut confirmed = None;
            let outcome = tokio::select! {
                outcome = self.engine.reload_over(bytes.clone(), over) => Ok(outcome.map_err(text)?),
                // Probing a file whose plugins are unavailable takes a long time. A better file ends the wait.
                newer = self.better_than(&hash, &mut missed, &mut confirmed) => Err(newer),
            };
            if confirmed.is_some() {
                self.confirmed = confirmed;
            }
            content = match outcome {
                Ok(Ok(())) => break Ok(Polled::InUse(hash)),
                Ok(Err(ReloadError::Overtaken)) => self.read().await?,
                Ok(Err(error)) => {
                    break Err(Refusal { reason: error.to_string(), config: Some(bytes) });
                }
                // Compare it with the configuration that is then in use: the older file may have taken effect in the meantime.
                Err(newer) => newer,
            };
        };
        if missed {
            self.poll_now.hint();
        }
        outcome
    }

    /// Returns until when a file that reads less than the configuration in use must be held back, in RFC 3339, or `None` if no longer.
    fn holds(&mut self, hash: &str, clock: &Clock) -> Option<String> {
        let known = self.held.take().filter(|held| held.hash == hash);
        let held = known.unwrap_or_else(|| Held {
            hash: hash.to_owned(),
            since: Instant::now(),
            until: UNIX_EPOCH + Duration::from_millis(clock.now()) + self.timing.hold,
        });
        let until =
            self.is_held(&held).then(|| humantime::format_rfc3339_seconds(held.until).to_string());
        self.held = Some(held);
        until
    }

    fn is_held(&self, held: &Held) -> bool {
        self.seen.as_ref() == Some(&held.hash)
            && self.confirmed.as_ref() != Some(&held.hash)
            && held.since.elapsed() < self.timing.hold
    }

    /// Waits until the file differs from the one with this hash, is valid, and reads everything that the configuration in use reads. A file that the
    /// user has confirmed may read less.
    ///
    /// Sets `missed` while there is a change that this function has seen and not returned. Sets `confirmed` to the hash of the file that the user has
    /// confirmed to be complete.
    async fn better_than(
        &self,
        hash: &str,
        missed: &mut bool,
        confirmed: &mut Option<String>,
    ) -> Content {
        loop {
            self.poll_now.notify.notified().await;
            // Set this before the next await. If the older file's outcome ends the wait, this future is dropped, and the hint must not be lost.
            *missed = true;
            tokio::time::sleep(SETTLE).await;
            let Ok(content) = self.read().await else {
                continue;
            };
            if self.poll_now.confirmed.swap(false, Ordering::Relaxed) {
                *confirmed = Some(content.hash.clone());
            }
            if content.hash == hash {
                *missed = false;
                continue;
            }
            let judged = self.engine.judge(content.bytes.clone()).await;
            let is_valid = |judged: &Judged| match &judged.outcome {
                Ok(lost) => lost.is_empty() || confirmed.as_ref() == Some(&content.hash),
                Err(_) => false,
            };
            if judged.is_ok_and(|judged| is_valid(&judged)) {
                *missed = false;
                return content;
            }
        }
    }
}

fn text(error: HostError) -> String {
    error.to_string()
}

/// Watches the file's directory, and the directory of the file that it links to, for any change. Polling finds what the watcher misses.
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
        std::fs::canonicalize(path).ok().and_then(|path| path.parent().map(Path::to_path_buf)),
    ];
    let watcher = notify::recommended_watcher(hint).and_then(|mut watcher| {
        for directory in directories.into_iter().flatten() {
            let directory =
                if directory.as_os_str().is_empty() { Path::new(".") } else { &directory };
            watcher.watch(directory, notify::RecursiveMode::NonRecursive)?;
        }
        Ok(watcher)
    });
    watcher.inspect_err(|error| tracing::warn!(%error, "the configuration file cannot be watched; it is still polled")).ok()
}

#[cfg(test)]
mod tests;
