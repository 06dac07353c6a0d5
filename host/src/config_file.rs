//! The configuration file while it runs: polled, watched, offered to the engine when it changed.
//!
//! What counts is the hash of the content, polled; a watch event, a SIGHUP and the end of a wait only cause a poll. So a Kubernetes `..data`
//! symlink swap, a rename over the file, an in-place write and a file that vanishes and comes back are all the same thing: other bytes under
//! the path. Upstream: encryptionconfig/controller.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use notify::Watcher;
use tokio::sync::Notify;
use tokio::time::Instant;
use zeroize::Zeroizing;

use crate::clock::Clock;
use crate::host::Host;
use crate::metrics::Metrics;

/// 1 MiB: the longest file that is read; the engine refuses a longer one as well.
const FILE_MAX: u64 = 1024 * 1024;
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

/// Reads the file once, through one descriptor.
///
/// # Errors
/// When it cannot be read, is empty or is too long; the text names the file and the remedy.
pub(crate) fn read(path: &Path) -> Result<Content, String> {
    let cannot = |error: io::Error| {
        format!(
            "cannot read the encryption configuration {}: {error}",
            path.display()
        )
    };
    let file = File::open(path).map_err(cannot)?;
    // Sized up front: a buffer that grows would leave copies of secrets behind.
    let mut bytes = Zeroizing::new(Vec::with_capacity(FILE_MAX as usize + 1));
    file.take(FILE_MAX + 1)
        .read_to_end(&mut bytes)
        .map_err(cannot)?;
    if bytes.is_empty() {
        return Err(format!(
            "the encryption configuration {} is empty",
            path.display()
        ));
    }
    if bytes.len() as u64 > FILE_MAX {
        return Err(format!(
            "the encryption configuration {} is over {FILE_MAX} bytes long",
            path.display()
        ));
    }
    let hash = crate::sha256::text(&bytes);
    Ok(Content { bytes, hash })
}

/// Keeps a running [`Host`] in step with a file.
pub(crate) struct Controller {
    pub(crate) path: PathBuf,
    pub(crate) interval: Duration,
    pub(crate) host: Host,
    pub(crate) metrics: Arc<Metrics>,
    /// The hash of what is in use.
    pub(crate) loaded: String,
    /// Polls at once when it is notified.
    pub(crate) poll_now: Arc<Notify>,
}

impl Controller {
    /// Polls for ever, at once to begin with.
    pub(crate) async fn run(mut self) {
        let _watcher = watch(&self.path, self.poll_now.clone());
        let clock = Clock::start();
        let mut retry = FIRST_RETRY;
        let mut last_error: Option<String> = None;
        loop {
            let outcome = self.poll().await;
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
                }
            }
            let error = outcome.err();
            self.host.set_config_file(serde_json::json!({
                "path": self.path.display().to_string(),
                "lastPollUnixSeconds": now,
                "loadedHash": self.loaded,
                "error": error,
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
            let next = Instant::now() + wait;
            tokio::select! {
                () = self.poll_now.notified() => {
                    retry = FIRST_RETRY;
                    // Whoever writes the file in place is likely still at it.
                    tokio::time::sleep(SETTLE).await;
                }
                () = tokio::time::sleep_until(next) => {}
            }
        }
    }

    /// `Ok(None)`: nothing changed.
    async fn poll(&mut self) -> Result<Option<String>, String> {
        let path = self.path.clone();
        let content = tokio::task::spawn_blocking(move || read(&path))
            .await
            .map_err(|error| error.to_string())??;
        if content.hash == self.loaded {
            return Ok(None);
        }
        match self.host.reload(content.bytes).await {
            Ok(Ok(())) => {
                self.loaded.clone_from(&content.hash);
                Ok(Some(content.hash))
            }
            Ok(Err(error)) => Err(error.to_string()),
            Err(error) => Err(error.to_string()),
        }
    }
}

/// Watches the file's directory, and that of what the file links to, for any change; polling finds what this misses.
fn watch(path: &Path, poll_now: Arc<Notify>) -> Option<notify::RecommendedWatcher> {
    let hint = move |event: notify::Result<notify::Event>| {
        if event.is_ok_and(|event| !event.kind.is_access()) {
            poll_now.notify_one();
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
    fn a_file_is_read_within_bounds() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("c.yaml");
        assert!(read(&path).err().unwrap().contains("cannot read"));
        std::fs::write(&path, b"").unwrap();
        assert!(read(&path).err().unwrap().contains("is empty"));
        std::fs::write(&path, vec![b'#'; FILE_MAX as usize + 1]).unwrap();
        assert!(read(&path).err().unwrap().contains("is over"));
        std::fs::write(&path, b"abc").unwrap();
        let content = read(&path).unwrap();
        assert_eq!(
            content.hash,
            "sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
        );
    }
}
