//! The connections of a server, and which of them is closed when there are too many.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use super::Limits;
use super::activity::{Activity, Ending, Rank};

/// 60 seconds: the minimum interval between log lines about connections closed in favour of others.
const WARNING_INTERVAL: Duration = Duration::from_secs(60);

/// The connections of one server. Clones share them.
#[derive(Clone, Debug)]
pub(in crate::http) struct Registry(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    limits: Limits,
    connections: Mutex<Connections>,
}

#[derive(Debug, Default)]
struct Connections {
    by_number: BTreeMap<u64, Arc<Activity>>,
    next: u64,
    warned: Option<Instant>,
}

impl Registry {
    pub(in crate::http) fn new(limits: &Limits) -> Self {
        Self(Arc::new(Shared { limits: limits.clone(), connections: Mutex::default() }))
    }

    /// Registers a new connection. It is always accepted; if there are too many, another one is closed.
    ///
    /// Over [`Limits::connections`], that is the one that has been idle longest, or, if none is idle, the one whose client has stalled longest. Over
    /// [`Limits::connections_max`] it may be any connection; if the server works for all of them, the oldest request is refused.
    pub(super) fn admit(&self) -> Member {
        let Limits { connections: most, connections_max: max, .. } = self.0.limits;
        let live = self.live();
        if live >= most {
            self.give_up(if live >= max { Rank::Working } else { Rank::Stalled });
        }
        let activity = Arc::new(Activity::new());
        let mut connections = self.connections();
        let number = connections.next;
        connections.next += 1;
        connections.by_number.insert(number, Arc::clone(&activity));
        drop(connections);
        Member { activity, number, registry: self.clone() }
    }

    /// Closes one connection, whichever it is, because the system has no room for another.
    pub(super) fn make_room(&self) {
        match self.readiest(|rank| rank == Rank::Leaving) {
            Some((_, activity)) => activity.end(Ending::Now),
            None => self.give_up(Rank::Working),
        }
    }

    /// Closes the connection whose client has stalled longest, if there is one, because a request finds no slot or no memory.
    pub(in crate::http) fn give_up_stalled(&self) {
        let stalled = self.readiest(|rank| matches!(rank, Rank::Leaving | Rank::Stalled));
        if let Some((_, activity)) = stalled {
            self.warn("its client stalls and other requests need its memory");
            activity.end(Ending::Now);
        }
    }

    /// Ends the connections that exceed a limit.
    pub(super) fn sweep(&self) {
        let now = Instant::now();
        for activity in self.connections().by_number.values() {
            if let Some((ending, reason)) = activity.overdue(now, &self.0.limits) {
                tracing::debug!(reason, "closing a connection");
                activity.end(ending);
            }
        }
    }

    /// Returns the number of connections that were not asked to end.
    fn live(&self) -> usize {
        let connections = self.connections();
        // Below the limit, the exact count does not matter.
        if connections.by_number.len() < self.0.limits.connections {
            return connections.by_number.len();
        }
        let is_live = |activity: &&Arc<Activity>| !activity.is_ending();
        connections.by_number.values().filter(is_live).count()
    }

    fn give_up(&self, up_to: Rank) {
        let may_go = |rank| rank != Rank::Leaving && rank <= up_to;
        let Some((rank, activity)) = self.readiest(may_go) else {
            return;
        };
        self.warn("there are too many connections");
        match rank {
            Rank::Leaving | Rank::Idle | Rank::Stalled | Rank::Busy => activity.end(Ending::Now),
            Rank::Working => activity.shed(),
        }
    }

    fn readiest(&self, may_go: impl Fn(Rank) -> bool) -> Option<(Rank, Arc<Activity>)> {
        let now = Instant::now();
        let connections = self.connections();
        let ranked = connections.by_number.values().map(|activity| {
            let (rank, since) = activity.rank(now);
            (rank, since, activity)
        });
        // Skip a connection that is already being cut, and one that still works and was already asked to end.
        let may_go = |(rank, _, activity): &(Rank, Instant, &Arc<Activity>)| {
            let is_spent = match rank {
                Rank::Leaving => activity.is_cut(),
                Rank::Working => activity.is_ending(),
                Rank::Idle | Rank::Stalled | Rank::Busy => false,
            };
            may_go(*rank) && !is_spent
        };
        let (rank, _, activity) =
            ranked.filter(may_go).min_by_key(|(rank, since, _)| (*rank, *since))?;
        Some((rank, Arc::clone(activity)))
    }

    fn warn(&self, reason: &str) {
        let now = Instant::now();
        let warned = &mut self.connections().warned;
        let is_due = |at: Instant| now.saturating_duration_since(at) >= WARNING_INTERVAL;
        if warned.is_none_or(is_due) {
            *warned = Some(now);
            tracing::warn!(reason, "closed a connection to make room for others");
        }
    }

    /// A poisoned lock is safe to use: a panic cannot leave a change half done.
    fn connections(&self) -> MutexGuard<'_, Connections> {
        let connections = self.0.connections.lock();
        connections.unwrap_or_else(PoisonError::into_inner)
    }
}

/// A connection's entry in the registry. Dropping it removes the entry.
pub(super) struct Member {
    pub(super) activity: Arc<Activity>,
    number: u64,
    registry: Registry,
}

impl Drop for Member {
    fn drop(&mut self) {
        self.registry.connections().by_number.remove(&self.number);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn registry(connections: usize, connections_max: usize) -> Registry {
        Registry::new(&Limits { connections, connections_max, ..Limits::default() })
    }

    fn ending(member: &Member) -> bool {
        member.activity.is_ending()
    }

    #[tokio::test(start_paused = true)]
    async fn the_longest_idle_connection_is_closed_first() {
        let registry = registry(3, 4);
        let second = Duration::from_secs(1);
        let working = registry.admit();
        let _open = working.activity.begin();
        let idle = registry.admit();
        tokio::time::advance(second).await;
        let idle_later = registry.admit();
        tokio::time::advance(second).await;
        let fourth = registry.admit();
        assert!(ending(&idle) && !ending(&idle_later) && !ending(&working));
        let fifth = registry.admit();
        assert!(ending(&idle_later) && !ending(&fourth) && !ending(&fifth));
        let sixth = registry.admit();
        assert!(!ending(&fourth), "it has just come, and there is room");
        let _seventh = registry.admit();
        assert!(ending(&fourth) && !ending(&fifth) && !ending(&sixth));
    }

    #[tokio::test(start_paused = true)]
    async fn a_stalled_connection_is_closed_before_a_busy_one_and_a_working_one_is_kept() {
        let registry = registry(2, 3);
        let stalled = registry.admit();
        let first = stalled.activity.begin();
        first.answering();
        tokio::time::advance(Duration::from_secs(1)).await;
        let busy = registry.admit();
        let second = busy.activity.begin();
        second.reading();
        let third = registry.admit();
        let open = third.activity.begin();
        assert!(ending(&stalled) && !ending(&busy));
        let fourth = registry.admit();
        let others = fourth.activity.begin();
        assert!(!ending(&busy), "there is room up to the upper limit");
        let _fifth = registry.admit();
        assert!(ending(&busy), "and none beyond");
        assert!(!ending(&third) && !ending(&fourth));
        drop((first, second, open, others));
    }

    #[tokio::test(start_paused = true)]
    async fn the_oldest_request_is_refused_when_all_connections_are_working() {
        let registry = registry(1, 2);
        let first = registry.admit();
        let oldest = first.activity.begin();
        tokio::time::advance(Duration::from_secs(1)).await;
        let second = registry.admit();
        let _newer = second.activity.begin();
        let mut shed = Box::pin(oldest.shed());
        assert!(is_pending(&mut shed).await, "not yet");
        let _third = registry.admit();
        shed.await;
        assert!(ending(&first) && !ending(&second));
    }

    async fn is_pending(future: &mut (impl Future<Output = ()> + Unpin)) -> bool {
        std::future::poll_fn(|cx| {
            std::task::Poll::Ready(std::pin::Pin::new(&mut *future).poll(cx).is_pending())
        })
        .await
    }
}
