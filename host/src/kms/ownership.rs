//! What one process at a time may serve, and one always should: a socket, behind a lock.
//!
//! ```text
//!            claimed                     ended by itself, or panicked
//!  Elsewhere ───────▶ Serving ──────────────────────────────────────────▶ Failed
//!      ▲                 ▲                                                   │ after a pause, longer each time
//!      └─────────────────┴───────────────────────────────────────────────────┘
//! ```
//!
//! Whoever does not have it looks again and again, so that it takes over as soon as the owner is gone, however that went: the kernel
//! releases the lock of a process that was killed. Looking costs one system call, and no thread waits in the kernel for a lock that may never
//! be released.

use std::future::{Future, pending};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep};

/// 250 ms: how often to look whether the owner is gone. Far below the 3 seconds after which a failed health check is repeated.
const LOOK: Duration = Duration::from_millis(250);

/// 250 ms, doubled up to 15 seconds: how long to wait before what failed is tried again.
const FIRST_RETRY: Duration = Duration::from_millis(250);
const LONGEST_RETRY: Duration = Duration::from_secs(15);

/// 1 minute: what was served for so long is well; its end is no reason for a long pause.
const STEADY: Duration = Duration::from_secs(60);

/// Something of which there is one for several processes.
pub trait Resource: Send + Sync + 'static {
    /// What the log calls it.
    const NAME: &'static str;

    /// What only its owner has. Dropping it gives it up.
    type Claim: Send + 'static;

    /// Takes it, unless another process has it: `None`. May be dropped before it ends.
    fn claim(&self) -> impl Future<Output = anyhow::Result<Option<Self::Claim>>> + Send;

    /// Serves it until `stop`; to end before is a fault.
    fn serve(
        &self,
        claim: Self::Claim,
        stop: Stop,
    ) -> impl Future<Output = anyhow::Result<()>> + Send;
}

/// Who serves it, as this process knows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Standing {
    /// This process.
    Serving,
    /// Another process; this one takes over when that ends.
    Elsewhere,
    /// Nobody that this process knows of: it tried, this went wrong, and it will try again.
    Failed(String),
}

/// The wish that it may end.
#[derive(Clone, Debug)]
pub struct Stop(watch::Receiver<()>);

impl Stop {
    /// Ready when it is there.
    pub async fn requested(mut self) {
        // Nothing is ever sent: the sender goes away.
        while self.0.changed().await.is_ok() {}
    }
}

/// Takes part in serving a [`Resource`], for as long as it lives.
#[derive(Debug)]
pub struct Ownership {
    standing: watch::Receiver<Standing>,
    stop: watch::Sender<()>,
    task: JoinHandle<()>,
}

impl Ownership {
    /// Tries once, and goes on by itself from there.
    ///
    /// # Errors
    /// When the first attempt fails for another reason than that another process has it.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    pub async fn start<R: Resource>(resource: R) -> anyhow::Result<Self> {
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
        Ok(Self {
            standing: standing_rx,
            stop,
            task: tokio::spawn(seeking.run(claim)),
        })
    }

    /// Who serves it, now and whenever that changes.
    pub fn standing(&self) -> watch::Receiver<Standing> {
        self.standing.clone()
    }

    /// Gives it up, once what is under way has been served, and waits for that.
    pub async fn stop(self) {
        let Self {
            standing: _,
            stop,
            task,
        } = self;
        drop(stop);
        // A task that panicked has ended as well.
        let _ = task.await;
    }

    /// As if its process were killed: nothing is finished first.
    #[cfg(test)]
    pub(crate) async fn kill(self) {
        self.task.abort();
        // That it was aborted is all that it says.
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

    /// Why it ended; `None` when it should.
    async fn serve(&mut self, claim: R::Claim) -> Option<String> {
        if self.standing.send_replace(Standing::Serving) != Standing::Serving {
            tracing::info!("this process serves {} now", R::NAME);
        }
        let since = Instant::now();
        let (resource, stop) = (self.resource.clone(), self.stop.clone());
        // A task of its own: its panic is its own too.
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
            // The runtime ends, and this task with it.
            Err(_) => pending().await,
        })
    }

    /// How long to wait before the next look.
    fn elsewhere(&mut self) -> Duration {
        self.retry = FIRST_RETRY;
        if self.standing.send_replace(Standing::Elsewhere) != Standing::Elsewhere {
            tracing::info!("another process serves {} now", R::NAME);
        }
        LOOK
    }

    /// How long to wait before the next attempt.
    fn failed(&mut self, fault: &str) -> Duration {
        let retry_in = self.retry;
        self.retry = (self.retry * 2).min(LONGEST_RETRY);
        let failed = Standing::Failed(fault.to_owned());
        if self.standing.send_replace(failed.clone()) == failed {
            tracing::debug!(fault, ?retry_in, "still cannot serve {}", R::NAME);
        } else {
            tracing::error!(fault, ?retry_in, "cannot serve {}", R::NAME);
        }
        retry_in
    }
}

/// Without this the task would outlive whoever waits for it.
struct AbortOnDrop<T>(JoinHandle<T>);

impl<T> Drop for AbortOnDrop<T> {
    fn drop(&mut self) {
        self.0.abort();
    }
}

#[cfg(test)]
mod tests;
