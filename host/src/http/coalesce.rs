//! Coalescing of concurrent requests for the same result.

use std::future::Future;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::sync::Mutex;

/// Runs an operation on request, one run at a time. All callers that ask during a run share the result of the next run. So a result is never older
/// than the request for it, and a flood of requests causes no more work than one run after another.
///
/// `SingleFlight` in `host` differs in two ways: there, callers that arrive during a run share the result of that run, which may be older than their
/// request, and the run belongs to no caller. It bounds the load on the engine. This type bounds the load of an endpoint whose answer must be fresh.
///
/// Upstream's plugin checks behave in the same way: a check waits for the running one, and then finds a fresh result (encryptionconfig/config.go,
/// `kmsv2PluginProbe.check`).
pub(super) struct Coalesced<T> {
    /// The number of runs that have begun.
    begun: AtomicU64,
    /// The result of the last run that ended, with the run's number.
    last: Mutex<Option<(u64, T)>>,
}

impl<T> Default for Coalesced<T> {
    fn default() -> Self {
        Self { begun: AtomicU64::new(0), last: Mutex::const_new(None) }
    }
}

impl<T: Clone> Coalesced<T> {
    /// Returns the result of a run that begins after this call. If the caller that runs the operation drops this future, the next caller begins a new
    /// run.
    pub(super) async fn get<F: Future<Output = T>>(&self, run: impl FnOnce() -> F) -> T {
        let begun = self.begun.load(Ordering::Acquire);
        let mut last = self.last.lock().await;
        if let Some((number, value)) = &*last
            && *number > begun
        {
            return value.clone();
        }
        let number = self.begun.fetch_add(1, Ordering::AcqRel) + 1;
        let value = run().await;
        *last = Some((number, value.clone()));
        value
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use tokio::sync::Semaphore;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn concurrent_callers_share_two_runs_and_each_result_is_newer_than_its_call() {
        let coalesced = Arc::new(Coalesced::default());
        let gate = Arc::new(Semaphore::new(0));
        let runs = Arc::new(AtomicU64::new(0));
        let ask = || {
            let (coalesced, gate, runs) = (coalesced.clone(), gate.clone(), runs.clone());
            tokio::spawn(async move {
                let run = async || {
                    let run = runs.fetch_add(1, Ordering::Relaxed) + 1;
                    gate.acquire().await.unwrap().forget();
                    run
                };
                coalesced.get(run).await
            })
        };
        let first = ask();
        while runs.load(Ordering::Relaxed) == 0 {
            tokio::task::yield_now().await;
        }
        let flood: Vec<_> = (0..100).map(|_| ask()).collect();
        for _ in 0..3 {
            tokio::task::yield_now().await;
        }
        gate.add_permits(100);
        assert_eq!(first.await.unwrap(), 1);
        for asked in flood {
            assert_eq!(asked.await.unwrap(), 2);
        }
        assert_eq!(runs.load(Ordering::Relaxed), 2);
    }

    #[tokio::test(start_paused = true)]
    async fn a_cancelled_caller_does_not_block_the_next_run() {
        let coalesced = Coalesced::default();
        let never = coalesced.get(std::future::pending::<u32>);
        let given_up = tokio::time::timeout(Duration::from_secs(1), never).await;
        assert!(given_up.is_err());
        let next = coalesced.get(|| std::future::ready(7));
        assert_eq!(next.await, 7);
    }
}
