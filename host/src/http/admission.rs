//! Admission control: slots for requests, and memory for their values.
//!
//! Each server has its own budget, so that a flood on one interface takes nothing from another.
//!
//! | resource | limit | when exhausted |
//! |---|---|---|
//! | requests, from the header to the last byte of the answer | [`Limits::requests`] | 503 after [`Limits::patience`] |
//! | memory for their values (bodies, values being transformed, answers), not counting the first 8 KiB of each | 64 MiB | 503 after [`Limits::patience`] |
//! | requests that wait for a slot or for memory | 1024 | 503 |
//!
//! While a request waits, the server closes connections whose clients stall, because these may hold the slot or the memory that the request waits
//! for.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;

use super::listen::{Held, Limits, Registry};

/// 64 MiB: 32 values of the maximum length. A value is in memory twice only while it is transformed, and few values are transformed at the same time.
const MEMORY: usize = 64 * 1024 * 1024;

/// 8 KiB: the part of each request's value that is not counted, so that large values take nothing from small ones. A request without a value takes
/// about as much memory.
pub(super) const UNCOUNTED: usize = 8 * 1024;

/// 1024: the number of requests that may wait to be admitted. Further requests are refused at once.
const WAITING: usize = 1024;

/// 250 milliseconds: the interval between checks for stalled connections while a request waits.
const LOOK: Duration = Duration::from_millis(250);

/// The error when no slot or no memory became free for as long as a request may wait.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Overloaded;

/// One server's budget for requests and their values.
pub(super) struct Admission {
    requests: Arc<Semaphore>,
    memory: Arc<Semaphore>,
    waiting: Semaphore,
    patience: Duration,
    registry: Registry,
}

impl Admission {
    pub(super) fn new(limits: &Limits, registry: Registry) -> Self {
        Self {
            requests: Arc::new(Semaphore::new(limits.requests)),
            memory: Arc::new(Semaphore::new(MEMORY)),
            waiting: Semaphore::new(WAITING),
            patience: limits.patience,
            registry,
        }
    }

    /// Waits for a slot for a request.
    pub(super) async fn request(&self) -> Result<Place<'_>, Overloaded> {
        Ok(Place {
            admission: self,
            request: self.take(&self.requests, 1).await?,
            memory: None,
            counted: 0,
        })
    }

    async fn take(
        &self,
        from: &Arc<Semaphore>,
        count: usize,
    ) -> Result<OwnedSemaphorePermit, Overloaded> {
        if let Ok(permit) = try_take(from, count) {
            return Ok(permit);
        }
        let _waits = self.waiting.try_acquire().map_err(|_| Overloaded)?;
        let count = u32::try_from(count).map_err(|_| Overloaded)?;
        let mut taken = std::pin::pin!(Arc::clone(from).acquire_many_owned(count));
        let until = Instant::now() + self.patience;
        loop {
            self.registry.give_up_stalled();
            let next = until.min(Instant::now() + LOOK);
            match tokio::time::timeout_at(next, taken.as_mut()).await {
                Ok(permit) => return permit.map_err(|_| Overloaded),
                Err(_) if next < until => {}
                Err(_) => return Err(Overloaded),
            }
        }
    }
}

fn try_take(from: &Arc<Semaphore>, count: usize) -> Result<OwnedSemaphorePermit, Overloaded> {
    let count = u32::try_from(count).map_err(|_| Overloaded)?;
    Arc::clone(from).try_acquire_many_owned(count).map_err(|_| Overloaded)
}

/// The slot of an admitted request, with the memory reserved for its value.
pub(super) struct Place<'a> {
    admission: &'a Admission,
    request: OwnedSemaphorePermit,
    memory: Option<OwnedSemaphorePermit>,
    counted: usize,
}

impl Place<'_> {
    /// Waits for memory for a value of `len` bytes.
    pub(super) async fn reserve(&mut self, len: usize) -> Result<(), Overloaded> {
        let more = self.missing(len);
        if more > 0 {
            let permit = self.admission.take(&self.admission.memory, more).await?;
            self.add(permit, more);
        }
        Ok(())
    }

    /// Reserves memory for a value that has grown to `len` bytes. Does not wait: the request already holds memory, and several requests could wait
    /// for each other.
    pub(super) fn try_reserve(&mut self, len: usize) -> Result<(), Overloaded> {
        let more = self.missing(len);
        if more > 0 {
            let permit = try_take(&self.admission.memory, more)?;
            self.add(permit, more);
        }
        Ok(())
    }

    /// Returns the slot and the memory, to be held until the answer is written.
    pub(super) fn held(self) -> Held {
        Held::new(self.request, self.memory)
    }

    fn missing(&self, len: usize) -> usize {
        len.saturating_sub(UNCOUNTED).saturating_sub(self.counted)
    }

    fn add(&mut self, permit: OwnedSemaphorePermit, more: usize) {
        match &mut self.memory {
            Some(memory) => memory.merge(permit),
            None => self.memory = Some(permit),
        }
        self.counted += more;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn admission(requests: usize) -> Admission {
        let limits = Limits { requests, ..Limits::default() };
        Admission::new(&limits, Registry::new(&limits))
    }

    #[tokio::test(start_paused = true)]
    async fn a_request_waits_for_a_place_with_a_time_limit() {
        let admission = admission(1);
        let first = admission.request().await.expect("a place");
        let began = Instant::now();
        assert_eq!(admission.request().await.err(), Some(Overloaded));
        assert_eq!(began.elapsed(), Limits::default().patience);
        let held = first.held();
        let (second, ()) = tokio::join!(admission.request(), async { drop(held) });
        assert!(second.is_ok(), "a released place is taken");
    }

    #[tokio::test(start_paused = true)]
    async fn large_values_leave_memory_for_small_ones() {
        let admission = admission(100);
        let mut places = Vec::new();
        let large = MEMORY / 32;
        for _ in 0..32 {
            let mut place = admission.request().await.expect("a place");
            place.reserve(large).await.expect("memory");
            places.push(place);
        }
        let mut place = admission.request().await.expect("a place");
        assert_eq!(place.reserve(large).await, Err(Overloaded));
        assert_eq!(place.try_reserve(2 * large), Err(Overloaded));
        assert_eq!(place.reserve(UNCOUNTED).await, Ok(()));
        places.pop();
        assert_eq!(place.try_reserve(large), Ok(()));
        assert_eq!(place.try_reserve(large), Ok(()), "it already has that much");
    }
}
