//! The state of one connection, and when it entered that state.
//!
//! ```text
//!             begin            first poll of the body        its end           the answer's head
//!  Idle ─────────────▶ Working ─────────────────────▶ Reading ───────▶ Working ────────────────▶ Answering ──▶ Idle
//!   ▲ the client's turn        the server's turn      the client's     the server's              the client's
//! ```
//!
//! An HTTP/2 connection can have several exchanges at once, each with its own phase. If the server waits only for the client, the connection may be
//! closed in favour of another. While the server works for it, it may not.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;

use super::Limits;

/// 16 KiB: the number of bytes that must move, in either direction, for a client to count as making progress.
const PROGRESS: u64 = 16 * 1024;

/// 1 second: a client that makes no progress for this long while the server waits for it is stalled or idle. With [`PROGRESS`], the minimum rate is
/// 16 KiB/s.
const STALL: Duration = Duration::from_secs(1);

/// 5 seconds: the time that a connection has to end gracefully.
const LEAVE: Duration = Duration::from_secs(5);

/// How a connection ends.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(super) enum Ending {
    /// After the open exchanges.
    Gracefully,
    /// At once.
    Now,
}

/// The order in which connections are given up for others. The first variant is given up first.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(super) enum Rank {
    /// The connection was asked to end, and the server waits only for the client.
    Leaving,
    /// No exchange has been open for at least [`STALL`].
    Idle,
    /// The server waits only for the client, which has made no progress for at least [`STALL`].
    Stalled,
    /// The server waits only for the client, which has made progress within the last [`STALL`]; or no exchange is open, but one was (or the
    /// connection began) within that time.
    Busy,
    /// The server works for the connection.
    Working,
}

/// Which side an exchange waits for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Phase {
    Working,
    Reading,
    Answering,
}

#[derive(Debug)]
struct Open {
    id: u64,
    phase: Phase,
    since: Instant,
}

#[derive(Debug)]
struct State {
    open: Vec<Open>,
    next_id: u64,
    /// When the last exchange ended; before the first exchange, when the connection began.
    idle_since: Instant,
    /// Whether a request has arrived.
    served: bool,
    ending: Option<(Ending, Instant)>,
}

/// The state of a connection. The connection, its exchanges and the registry share it.
#[derive(Debug)]
pub(super) struct Activity {
    began: Instant,
    state: Mutex<State>,
    /// Bytes moved since `progressed`.
    moved: AtomicU64,
    /// The time of the last progress, in milliseconds since `began`.
    progressed: AtomicU64,
    ending_set: Notify,
    shed: Notify,
}

impl Activity {
    pub(super) fn new() -> Self {
        let began = Instant::now();
        Self {
            began,
            state: Mutex::new(State {
                open: Vec::new(),
                next_id: 0,
                idle_since: began,
                served: false,
                ending: None,
            }),
            moved: AtomicU64::new(0),
            progressed: AtomicU64::new(0),
            ending_set: Notify::new(),
            shed: Notify::new(),
        }
    }

    /// Records that bytes were received or sent.
    pub(super) fn moved(&self, bytes: usize) {
        let bytes = u64::try_from(bytes).unwrap_or(u64::MAX);
        if self.moved.fetch_add(bytes, Ordering::Relaxed) >= PROGRESS.saturating_sub(bytes) {
            self.progress();
        }
    }

    fn progress(&self) {
        self.moved.store(0, Ordering::Relaxed);
        let since = u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.progressed.store(since, Ordering::Relaxed);
    }

    fn progressed(&self) -> Instant {
        self.began + Duration::from_millis(self.progressed.load(Ordering::Relaxed))
    }

    /// Begins an exchange for a request that has arrived. The exchange is open until every clone of the returned handle is dropped.
    pub(super) fn begin(self: &Arc<Self>) -> Exchange {
        let mut state = self.state();
        let id = state.next_id;
        state.next_id += 1;
        state.served = true;
        state.open.push(Open { id, phase: Phase::Working, since: Instant::now() });
        drop(state);
        Exchange(Arc::new(OpenExchange { activity: Arc::clone(self), id }))
    }

    /// Asks the connection to end.
    pub(super) fn end(&self, ending: Ending) {
        let mut state = self.state();
        let before = state.ending.map(|(ending, _)| ending);
        if before < Some(ending) {
            state.ending = Some((ending, Instant::now()));
            drop(state);
            self.ending_set.notify_one();
        }
    }

    /// Returns whether the connection was asked to end.
    pub(super) fn is_ending(&self) -> bool {
        self.state().ending.is_some()
    }

    /// Returns whether the connection was asked to end at once.
    pub(super) fn is_cut(&self) -> bool {
        matches!(self.state().ending, Some((Ending::Now, _)))
    }

    /// Waits until the connection is asked to end, and returns how.
    pub(super) async fn ending(&self) -> Ending {
        loop {
            self.ending_set.notified().await;
            if let Some((ending, _)) = self.state().ending {
                return ending;
            }
        }
    }

    /// Answers the requests in progress on this connection with 503, and then ends the connection.
    pub(super) fn shed(&self) {
        self.shed.notify_waiters();
        self.end(Ending::Gracefully);
    }

    /// Returns the connection's rank and the time from which its wait counts.
    pub(super) fn rank(&self, now: Instant) -> (Rank, Instant) {
        let state = self.state();
        let working = state
            .open
            .iter()
            .filter(|open| open.phase == Phase::Working)
            .map(|open| open.since)
            .min();
        match (working, &state.ending, state.open.is_empty()) {
            (Some(since), _, _) => (Rank::Working, since),
            (None, Some((_, since)), _) => (Rank::Leaving, *since),
            (None, None, is_idle) => {
                let (rank, since) = match is_idle {
                    true => (Rank::Idle, state.idle_since),
                    false => (Rank::Stalled, self.progressed()),
                };
                if now.saturating_duration_since(since) >= STALL {
                    (rank, since)
                } else {
                    (Rank::Busy, since)
                }
            }
        }
    }

    /// Returns how the connection must end by now, and why; `None` if no limit is exceeded.
    pub(super) fn overdue(&self, now: Instant, limits: &Limits) -> Option<(Ending, &'static str)> {
        let state = self.state();
        let is_over =
            |since: Instant, limit: Duration| now.saturating_duration_since(since) >= limit;
        let of_phase = |phase: Phase, limit: Duration| {
            state.open.iter().any(|open| open.phase == phase && is_over(open.since, limit))
        };
        if of_phase(Phase::Answering, limits.answer) {
            return Some((Ending::Now, "an answer was not read in time"));
        }
        // The code that reads bodies enforces their limits and answers 408. This limit is for requests that do not get that far.
        if of_phase(Phase::Reading, limits.body + limits.body) {
            return Some((Ending::Now, "a body did not arrive in time"));
        }
        if let Some((_, since)) = state.ending {
            let works = state.open.iter().any(|open| open.phase == Phase::Working);
            return (!works && is_over(since, LEAVE))
                .then_some((Ending::Now, "it did not end when asked to"));
        }
        if !state.open.is_empty() {
            None
        } else if !state.served {
            is_over(state.idle_since, limits.header)
                .then_some((Ending::Now, "no request came in time"))
        } else {
            is_over(state.idle_since, limits.idle).then_some((Ending::Gracefully, "it was idle"))
        }
    }

    fn enter(&self, id: u64, phase: Phase) {
        self.progress();
        let now = Instant::now();
        if let Some(open) = self.state().open.iter_mut().find(|open| open.id == id) {
            open.phase = phase;
            open.since = now;
        }
    }

    fn leave(&self, id: u64) {
        self.progress();
        let mut state = self.state();
        if let Some(at) = state.open.iter().position(|open| open.id == id) {
            state.open.swap_remove(at);
        }
        if state.open.is_empty() {
            state.idle_since = Instant::now();
        }
    }

    /// A poisoned lock is safe to use: a panic cannot leave a change half done.
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A request and its answer, until the last clone is dropped.
#[derive(Clone, Debug)]
pub(in crate::http) struct Exchange(Arc<OpenExchange>);

#[derive(Debug)]
struct OpenExchange {
    activity: Arc<Activity>,
    id: u64,
}

impl Drop for OpenExchange {
    fn drop(&mut self) {
        self.activity.leave(self.id);
    }
}

impl Exchange {
    /// Records that the server waits for the request's body.
    pub(super) fn reading(&self) {
        self.0.activity.enter(self.0.id, Phase::Reading);
    }

    /// Records that the server works.
    pub(super) fn working(&self) {
        self.0.activity.enter(self.0.id, Phase::Working);
    }

    /// Records that the server waits for the client to read the answer.
    pub(super) fn answering(&self) {
        self.0.activity.enter(self.0.id, Phase::Answering);
    }

    /// Waits until the connection is shed. Its requests must then be refused.
    pub(in crate::http) async fn shed(&self) {
        self.0.activity.shed.notified().await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn the_rank_of_a_connection_follows_its_activity() {
        let activity = Arc::new(Activity::new());
        let rank = || activity.rank(Instant::now()).0;
        assert_eq!(rank(), Rank::Busy, "its request may be on its way");
        tokio::time::advance(STALL).await;
        assert_eq!(rank(), Rank::Idle, "no request yet");
        let exchange = activity.begin();
        tokio::time::advance(STALL).await;
        assert_eq!(rank(), Rank::Working, "however long it takes");
        exchange.reading();
        assert_eq!(rank(), Rank::Busy);
        tokio::time::advance(STALL).await;
        assert_eq!(rank(), Rank::Stalled);
        activity.moved(1);
        assert_eq!(rank(), Rank::Stalled, "one byte is not progress");
        activity.moved(16 * 1024 - 1);
        assert_eq!(rank(), Rank::Busy, "16 KiB are progress");
        exchange.working();
        let other = activity.begin();
        other.answering();
        assert_eq!(rank(), Rank::Working, "one of two");
        exchange.answering();
        tokio::time::advance(STALL).await;
        assert_eq!(rank(), Rank::Stalled);
        drop((exchange, other));
        assert_eq!(rank(), Rank::Busy);
        tokio::time::advance(STALL).await;
        assert_eq!(rank(), Rank::Idle);
        activity.end(Ending::Gracefully);
        assert_eq!(rank(), Rank::Leaving);
    }

    #[tokio::test(start_paused = true)]
    async fn every_wait_for_a_client_is_limited() {
        let limits = Limits::default();
        let soon = Duration::from_millis(1);
        type Begin = fn(&Arc<Activity>) -> Option<Exchange>;
        let table: [(&str, Begin, _, _); 4] = [
            ("no request", |_| None, limits.header, Some(Ending::Now)),
            (
                "idle",
                |activity| {
                    drop(activity.begin());
                    None
                },
                limits.idle,
                Some(Ending::Gracefully),
            ),
            (
                "an answer that the client does not read",
                |activity| {
                    let exchange = activity.begin();
                    exchange.answering();
                    Some(exchange)
                },
                limits.answer,
                Some(Ending::Now),
            ),
            (
                "at work: the plugin's timeout is the limit",
                |activity| Some(activity.begin()),
                Duration::from_secs(3600),
                None,
            ),
        ];
        for (desc, start, limit, expected) in table {
            let activity = Arc::new(Activity::new());
            let _open = start(&activity);
            tokio::time::advance(limit - soon).await;
            // Progress does not extend these limits.
            activity.moved(100 * 1024);
            let overdue = || activity.overdue(Instant::now(), &limits).map(|(how, _)| how);
            assert_eq!(overdue(), None, "{desc}, before");
            tokio::time::advance(soon).await;
            assert_eq!(overdue(), expected, "{desc}, at the limit");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_that_does_not_close_in_time_is_cut() {
        let limits = Limits::default();
        let activity = Arc::new(Activity::new());
        drop(activity.begin());
        activity.end(Ending::Gracefully);
        assert_eq!(activity.ending().await, Ending::Gracefully);
        assert!(activity.overdue(Instant::now(), &limits).is_none());
        tokio::time::advance(LEAVE).await;
        let overdue = activity.overdue(Instant::now(), &limits);
        assert_eq!(overdue.map(|(how, _)| how), Some(Ending::Now));
    }
}
