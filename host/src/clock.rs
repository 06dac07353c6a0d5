//! The host's clock.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustix::time::{ClockId, clock_gettime};

/// A clock that returns milliseconds since the Unix epoch and never goes back. It starts with the time of day and adds the elapsed time.
///
/// Elapsed time is measured with `CLOCK_BOOTTIME`, which continues while the machine sleeps, so that a DEK does not outlive its three minutes in a
/// suspended laptop. Later changes of the time of day are ignored.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clock {
    start: u64,
    booted: Duration,
}

impl Clock {
    pub(crate) fn start() -> Self {
        Self { start: millis(time_of_day()), booted: boot_time() }
    }

    /// Returns the time in milliseconds since the Unix epoch.
    pub(crate) fn now(&self) -> u64 {
        self.start.saturating_add(millis(boot_time().saturating_sub(self.booted)))
    }

    /// Returns the duration until `time`, or zero if it has passed.
    pub(crate) fn until(&self, time: u64) -> Duration {
        Duration::from_millis(time.saturating_sub(self.now()))
    }
}

/// Returns the time since the machine started, including sleep.
pub(crate) fn boot_time() -> Duration {
    #[cfg(test)]
    if let Some(time) = crate::simulation::seams::boot_time() {
        return time;
    }
    let time = clock_gettime(ClockId::Boottime);
    Duration::new(u64::try_from(time.tv_sec).unwrap_or(0), u32::try_from(time.tv_nsec).unwrap_or(0))
}

/// Returns the time since the Unix epoch according to the machine's time of day.
pub(crate) fn time_of_day() -> Duration {
    #[cfg(test)]
    if let Some(time) = crate::simulation::seams::time_of_day() {
        return time;
    }
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_does_not_go_back_and_counts_from_1970() {
        let clock = Clock::start();
        let first = clock.now();
        assert!(first > 1_700_000_000_000 && clock.now() >= first);
        assert_eq!(clock.until(first.saturating_sub(1)), Duration::ZERO);
    }
}
