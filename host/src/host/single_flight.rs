//! Shares one run of a function among all concurrent callers.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio::time::Instant;

/// Runs a function for many callers. Callers that arrive during a run share its result; the run continues even if a caller goes away. So at most one
/// run is in progress, and two runs begin at least an interval apart.
///
/// A result may come from a run that began before the caller asked. `Coalesced` in `http` gives every caller a run that began later.
pub(super) struct SingleFlight<T> {
    interval: Duration,
    last: Mutex<Option<Run<T>>>,
}

struct Run<T> {
    begun: Instant,
    /// `None` until the run has ended.
    outcome: watch::Receiver<Option<T>>,
}

impl<T> Run<T> {
    /// Returns whether the run is in progress. A run that has panicked, or whose runtime is gone, is not.
    fn is_under_way(&self) -> bool {
        self.outcome.has_changed().is_ok() && self.outcome.borrow().is_none()
    }
}

impl<T: Clone + Send + Sync + 'static> SingleFlight<T> {
    /// Creates an instance that waits at least `interval` between the beginnings of two runs.
    pub(super) fn new(interval: Duration) -> Self {
        Self { interval, last: Mutex::default() }
    }

    /// Returns the result of the run in progress, or of a new one. Returns `None` if the run panics or the runtime is gone.
    pub(super) async fn join<F>(&self, runtime: &Handle, run: impl FnOnce() -> F) -> Option<T>
    where
        F: Future<Output = T> + Send + 'static,
    {
        let mut outcome = self.outcome(runtime, run);
        let ended = outcome.wait_for(Option::is_some).await.ok()?;
        ended.clone()
    }

    fn outcome<F>(&self, runtime: &Handle, run: impl FnOnce() -> F) -> watch::Receiver<Option<T>>
    where
        F: Future<Output = T> + Send + 'static,
    {
        // The value is always replaced as a whole, so it is consistent even after a panic.
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        let begins = match &*last {
            Some(run) if run.is_under_way() => return run.outcome.clone(),
            Some(run) => Instant::now().max(run.begun + self.interval),
            None => Instant::now(),
        };
        let (result, outcome) = watch::channel(None);
        *last = Some(Run { begun: begins, outcome: outcome.clone() });
        let run = run();
        runtime.spawn(async move {
            // Callers that arrive during this wait share the result.
            if begins > Instant::now() {
                tokio::time::sleep_until(begins).await;
            }
            let outcome = run.await;
            result.send_replace(Some(outcome));
        });
        outcome
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU32, Ordering};

    use tokio::sync::Notify;
    use tokio::task::JoinSet;

    use super::*;

    const INTERVAL: Duration = Duration::from_millis(50);

    /// Counts runs. Each run waits for `go`.
    #[derive(Clone, Default)]
    struct Counted {
        asked: Arc<AtomicU32>,
        runs: Arc<AtomicU32>,
        go: Arc<Notify>,
    }

    impl Counted {
        fn run(&self) -> impl Future<Output = u32> + Send + 'static {
            let Self { runs, go, .. } = self.clone();
            async move {
                let run = runs.fetch_add(1, Ordering::Relaxed) + 1;
                go.notified().await;
                run
            }
        }
    }

    #[tokio::test(start_paused = true)]
    async fn concurrent_callers_share_one_run_and_a_cancelled_caller_stops_no_other() {
        let flight = Arc::new(SingleFlight::new(INTERVAL));
        let counted = Counted::default();
        let mut tasks = JoinSet::new();
        let ask = |tasks: &mut JoinSet<Option<u32>>| {
            let (flight, counted) = (flight.clone(), counted.clone());
            tasks.spawn(async move {
                counted.asked.fetch_add(1, Ordering::Relaxed);
                flight.join(&Handle::current(), || counted.run()).await
            })
        };
        let first = ask(&mut tasks);
        for _ in 0..1000 {
            ask(&mut tasks);
        }
        while counted.asked.load(Ordering::Relaxed) < 1001 {
            tokio::task::yield_now().await;
        }
        first.abort();
        counted.go.notify_one();
        let mut answers = 0;
        while let Some(answer) = tasks.join_next().await {
            match answer {
                Ok(answer) => {
                    assert_eq!(answer, Some(1));
                    answers += 1;
                }
                Err(error) => assert!(error.is_cancelled()),
            }
        }
        assert_eq!((answers, counted.runs.load(Ordering::Relaxed)), (1000, 1));
        ask(&mut tasks);
        counted.go.notify_one();
        assert_eq!(tasks.join_next().await.unwrap().unwrap(), Some(2));
    }

    #[tokio::test(start_paused = true)]
    async fn runs_begin_at_least_the_interval_apart() {
        let flight = SingleFlight::new(INTERVAL);
        let start = Instant::now();
        for n in 0..10_u32 {
            let done = flight.join(&Handle::current(), || async move { n }).await;
            assert_eq!(done, Some(n), "it began after it was asked for");
        }
        assert_eq!(start.elapsed(), INTERVAL * 9);
    }

    #[tokio::test(start_paused = true)]
    async fn a_run_that_panics_is_followed_by_another() {
        let flight = SingleFlight::new(INTERVAL);
        let runtime = Handle::current();
        let failed = flight.join(&runtime, || async { panic!("a test's") }).await;
        assert_eq!(failed, None::<u32>);
        assert_eq!(flight.join(&runtime, || async { 7 }).await, Some(7));
    }
}
