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
use crate::driver::{ConfigsInUse, Judged, ReloadError};
use crate::host::Host;
use crate::metrics::Metrics;
use crate::model::HostError;

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
    Ok(Content::of(dekker_cli::io::read_config(path)?))
}

impl Content {
    pub(crate) fn of(bytes: Zeroizing<Vec<u8>>) -> Self {
        let hash = crate::sha256::text(&bytes);
        Self { bytes, hash }
    }
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

/// The engine that runs what the file holds.
pub(crate) trait Engine: Sync {
    /// What it runs and what it looks at.
    fn configs_in_use(&self) -> impl Future<Output = Result<ConfigsInUse, HostError>> + Send;

    /// What a file would make unreadable.
    fn judge(
        &self,
        config: Zeroizing<Vec<u8>>,
    ) -> impl Future<Output = Result<Judged, HostError>> + Send;

    /// Offers a file, to follow the one of this hash, and waits for what becomes of it. The engine goes on with it if this is dropped.
    fn reload_over(
        &self,
        config: Zeroizing<Vec<u8>>,
        over: Arc<str>,
    ) -> impl Future<Output = Result<Result<(), ReloadError>, HostError>> + Send;

    /// Takes what `/statusz` says of the file.
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

    fn set_config_file(&self, status: serde_json::Value) {
        Host::set_config_file(self, status);
    }
}

/// Keeps a running engine in step with a file.
///
/// It asks the engine what is in use, each time, and remembers nothing of it: an offer whose end nobody waited for may have taken effect.
pub(crate) struct Controller<E> {
    path: PathBuf,
    interval: Duration,
    /// How long a file that can read less than the one in use must stay as it is.
    hold: Duration,
    engine: E,
    metrics: Arc<Metrics>,
    poll_now: Arc<PollNow>,
    /// The hash of what was there at the last poll, taken or not.
    seen: Option<String>,
    /// The last file that can read less than the one in use.
    held: Option<Held>,
    /// The hash of the file that a person said is whole.
    confirmed: Option<String>,
}

/// A file that can read less than the one in use.
struct Held {
    hash: String,
    since: Instant,
    /// When it takes over, as people tell it: seconds since the Unix epoch.
    until: f64,
}

impl<E: Engine> Controller<E> {
    /// `interval`: between two polls; `hold`: how long a file that can read less than the one in use must stay as it is.
    pub(crate) fn new(
        path: PathBuf,
        (interval, hold): (Duration, Duration),
        engine: E,
        metrics: Arc<Metrics>,
        poll_now: Arc<PollNow>,
    ) -> Self {
        Self {
            path,
            interval,
            hold,
            engine,
            metrics,
            poll_now,
            seen: None,
            held: None,
            confirmed: None,
        }
    }

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
            let held = self.held.as_ref().filter(|held| self.is_held(held));
            self.engine.set_config_file(serde_json::json!({
                "path": self.path.display().to_string(),
                "lastPollUnixSeconds": now,
                "seenHash": self.seen,
                "error": error,
                "refusals": refusals,
                "heldUntilUnixSeconds": held.map(|held| held.until),
            }));
            // A file that is held back is looked at again when its time is over.
            let wait = if error.is_some() && held.is_none() {
                let wait = retry.min(self.interval);
                retry = retry.saturating_mul(2);
                wait
            } else {
                retry = FIRST_RETRY;
                self.interval
            };
            last_error = error;
            let mut next = Instant::now() + wait;
            if let Some(held) = held {
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
        self.seen = None;
        let mut content = self.read().await?;
        if confirmed {
            self.confirmed = Some(content.hash.clone());
        }
        let mut missed = false;
        let outcome = loop {
            self.seen = Some(content.hash.clone());
            let in_use = self.engine.configs_in_use().await.map_err(text)?;
            // An older file that is still being looked at may take over when nobody expects it any more.
            let is_settled = in_use
                .candidate
                .is_none_or(|candidate| *candidate == *content.hash);
            if *in_use.running == *content.hash && is_settled {
                break Ok(None);
            }
            let judged = self.engine.judge(content.bytes.clone()).await;
            let Judged { over, outcome } = judged.map_err(text)?;
            // The reload tells the faults of a file that has any.
            let unreadable = outcome.unwrap_or_default().join("; ");
            if !unreadable.is_empty() {
                if self.holds(&content.hash, clock) {
                    break Err(format!(
                        "the file may be half-written, for it no longer reads what the one in use does ({unreadable}): it takes effect \
                         when it has been the same for {:?}, or at once on SIGHUP",
                        self.hold
                    ));
                }
                tracing::warn!(
                    unreadable,
                    "the changed configuration reads less than the one in use"
                );
            }
            let Content { bytes, hash } = content;
            let mut confirmed = None;
            let outcome = tokio::select! {
                outcome = self.engine.reload_over(bytes, over) => Ok(outcome.map_err(text)?),
                // A file whose plugins are not there is looked at for long: a better one does not wait for its end.
                newer = self.better_than(&hash, &mut missed, &mut confirmed) => Err(newer),
            };
            if confirmed.is_some() {
                self.confirmed = confirmed;
            }
            content = match outcome {
                Ok(Ok(())) => break Ok(Some(hash)),
                Ok(Err(ReloadError::Overtaken)) => self.read().await?,
                Ok(Err(error)) => break Err(error.to_string()),
                // Compared again with what is in use then: the older one may have taken effect meanwhile.
                Err(newer) => newer,
            };
        };
        if missed {
            self.poll_now.hint();
        }
        outcome
    }

    /// Whether a file that can read less than the one in use must still prove that it is whole.
    fn holds(&mut self, hash: &str, clock: &Clock) -> bool {
        let known = self.held.take().filter(|held| held.hash == hash);
        let held = known.unwrap_or_else(|| Held {
            hash: hash.to_owned(),
            since: Instant::now(),
            until: clock.now() as f64 / 1000.0 + self.hold.as_secs_f64(),
        });
        let is_held = self.is_held(&held);
        self.held = Some(held);
        is_held
    }

    fn is_held(&self, held: &Held) -> bool {
        self.seen.as_ref() == Some(&held.hash)
            && self.confirmed.as_ref() != Some(&held.hash)
            && held.since.elapsed() < self.hold
    }

    /// Waits until the file is another than that of this hash, valid, and reads all that the one in use reads. `missed`: it was another for a
    /// while. `confirmed`: the file that a person said is whole.
    async fn better_than(
        &self,
        hash: &str,
        missed: &mut bool,
        confirmed: &mut Option<String>,
    ) -> Content {
        loop {
            self.poll_now.notify.notified().await;
            // Before anything else is waited for: what comes of this hint must not be lost if the older file's time ends meanwhile.
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
mod tests;
