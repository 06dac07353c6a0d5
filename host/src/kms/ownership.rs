//! Ownership of a resource, such as a socket behind a lock, that exactly one of several processes should serve at any time.
//!
//! ```text
//!            claimed                     ended by itself, or panicked
//!  Elsewhere ───────▶ Serving ──────────────────────────────────────────▶ Failed
//!      ▲                 ▲                                                   │ after a pause, longer each time
//!      └─────────────────┴───────────────────────────────────────────────────┘
//! ```
//!
//! A process that does not own the resource tries to claim it at regular intervals, so that it takes over as soon as the owner is gone, for whatever
//! reason: the kernel releases the lock of a killed process. An attempt costs one system call, and no thread waits in the kernel for a lock that may
//! never be released.

use std::future::{Future, pending};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep};

/// 250 ms: the interval between checks whether the owner is gone. Far below the 3 seconds after which a failed health check is repeated.
const LOOK: Duration = Duration::from_millis(250);

/// 250 ms, doubled up to 15 seconds: the pause before a failed attempt is repeated.
const FIRST_RETRY: Duration = Duration::from_millis(250);
const LONGEST_RETRY: Duration = Duration::from_secs(15);

/// 1 minute: after serving this long, the pauses begin at the shortest again.
const STEADY: Duration = Duration::from_secs(60);

/// A resource that several processes share and one process at a time serves.
pub(crate) trait Resource: Send + Sync + 'static {
    /// Its name in the log.
    const NAME: &'static str;

    /// What only the owner has. Dropping it releases the resource.
    type Claim: Send + 'static;

    /// Claims the resource. Returns `None` if another process has it. The future may be dropped before it completes.
    fn claim(&self) -> impl Future<Output = anyhow::Result<Option<Self::Claim>>> + Send;

    /// Serves the resource until `stop` is requested. To end earlier is a failure.
    fn serve(
        &self,
        claim: Self::Claim,
        stop: Stop,
    ) -> impl Future<Output = anyhow::Result<()>> + Send;
}

/// Which process serves the resource, as far as this process can see.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Standing {
    /// This process.
    Serving,
    /// Another process. This one takes over when that one ends.
    Elsewhere,
    /// No process, as far as this process can see: its attempt failed with this error, and it will try again.
    Failed(String),
}

/// The signal to stop serving.
#[derive(Clone, Debug)]
pub(crate) struct Stop(watch::Receiver<()>);

impl Stop {
    /// Waits until the stop is requested.
    pub(crate) async fn requested(mut self) {
        // No value is ever sent: the signal is that the sender is dropped.
        while self.0.changed().await.is_ok() {}
    }
}

/// This process's part in serving a [`Resource`].
#[derive(Debug)]
pub(crate) struct Ownership {
    standing: watch::Receiver<Standing>,
    stop: watch::Sender<()>,
    task: JoinHandle<()>,
}

impl Ownership {
    /// Makes the first attempt to claim the resource, and continues in a background task.
    ///
    /// # Errors
    /// Returns an error if the first attempt fails. That another process has the resource is not an error.
    ///
    /// # Panics
    /// Panics outside a tokio runtime.
    pub(crate) async fn start<R: Resource>(resource: R) -> anyhow::Result<Self> {
        let claim = resource.claim().await?;
        let first = match &claim {
            Some(_) => Standing::Serving,
            None => Standing::Elsewhere,
        };
        let (standing, standing_rx) = watch::channel(first);
        let (stop, stop_rx) = watch::channel(());
        let seeking = Seeking {
            resource: Arc::new(resource),
            standing,
            stop: Stop(stop_rx),
            retry: FIRST_RETRY,
        };
        Ok(Self { standing: standing_rx, stop, task: tokio::spawn(seeking.run(claim)) })
    }

    /// Returns a receiver for the current standing and its changes.
    pub(crate) fn standing(&self) -> watch::Receiver<Standing> {
        self.standing.clone()
    }

    /// Releases the resource after the work in progress, and waits for that.
    pub(crate) async fn stop(self) {
        let Self { standing: _, stop, task } = self;
        drop(stop);
        // A task that panicked has ended too.
        let _ = task.await;
    }

    /// Ends like a killed process, without finishing any work.
    #[cfg(test)]
    pub(crate) async fn kill(self) {
        self.task.abort();
        // The result only reports that the task was aborted.
        let _ = self.task.await;
    }
}

struct Seeking<R> {
    resource: Arc<R>,
    standing: watch::Sender<Standing>,
    stop: Stop,
    retry: Duration,
}

impl<R: Resource> Seeking<R> {
    async fn run(mut self, claim: Option<R::Claim>) {
        let mut attempt = Ok(claim);
        loop {
            let pause = match attempt {
                Ok(Some(claim)) => match self.serve(claim).await {
                    None => return,
                    Some(fault) => self.failed(&fault),
                },
                Ok(None) => self.elsewhere(),
                Err(error) => self.failed(&format!("{error:#}")),
            };
            let next = async {
                sleep(pause).await;
                self.resource.claim().await
            };
            attempt = tokio::select! {
                () = self.stop.clone().requested() => return,
                attempt = next => attempt,
            };
        }
    }

    /// Serves the resource. Returns why serving ended, or `None` if a stop was requested.
    async fn serve(&mut self, claim: R::Claim) -> Option<String> {
        if self.stands(Standing::Serving) {
            tracing::info!("this process serves {} now", R::NAME);
        }
        let since = Instant::now();
        let (resource, stop) = (self.resource.clone(), self.stop.clone());
        // In a separate task, so that a panic ends only that task.
        let serving = async move { resource.serve(claim, stop).await };
        let mut serving = AbortOnDrop(tokio::spawn(serving));
        let ended = (&mut serving.0).await;
        if self.stop.0.has_changed().is_err() {
            return None;
        }
        if since.elapsed() >= STEADY {
            self.retry = FIRST_RETRY;
        }
        Some(match ended {
            Ok(Ok(())) => "it ended by itself".to_owned(),
            Ok(Err(error)) => format!("{error:#}"),
            Err(error) if error.is_panic() => "it panicked".to_owned(),
            // The runtime is shutting down, and this task with it.
            Err(_) => pending().await,
        })
    }

    /// Records that another process serves the resource, and returns how long to wait before the next check.
    fn elsewhere(&mut self) -> Duration {
        self.retry = FIRST_RETRY;
        if self.stands(Standing::Elsewhere) {
            tracing::info!("another process serves {} now", R::NAME);
        }
        LOOK
    }

    /// Publishes where the resource is served. Returns `false`, and wakes no one, if that is nothing new.
    fn stands(&self, standing: Standing) -> bool {
        self.standing.send_if_modified(|current| {
            let is_new = *current != standing;
            *current = standing;
            is_new
        })
    }

    /// Records a failure, and returns how long to wait before the next attempt.
    fn failed(&mut self, fault: &str) -> Duration {
        let retry_in = self.retry;
        self.retry = (self.retry * 2).min(LONGEST_RETRY);
        let failed = Standing::Failed(fault.to_owned());
        if self.stands(failed) {
            tracing::error!(fault, ?retry_in, "cannot serve {}", R::NAME);
        } else {
            tracing::debug!(fault, ?retry_in, "still cannot serve {}", R::NAME);
        }
        retry_in
    }
}

/// Aborts a task when the task that waits for it is dropped.
struct AbortOnDrop<T>(JoinHandle<T>);

impl<T> Drop for AbortOnDrop<T> {
    fn drop(&mut self) {
        self.0.abort();
    }
}

#[cfg(test)]
mod tests;
