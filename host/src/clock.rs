//! The one clock of the host.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustix::time::{ClockId, clock_gettime};

/// Milliseconds since the Unix epoch that never go back: the time of day at the start, and from there the time that has passed.
///
/// What has passed is measured by `CLOCK_BOOTTIME`, which runs on while the machine sleeps: a DEK must not outlive its three minutes in a
/// suspended laptop. A later change of the time of day is not followed.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clock {
    start: u64,
    booted: Duration,
}

impl Clock {
    pub(crate) fn start() -> Self {
        Self {
            start: millis(time_of_day()),
            booted: boot_time(),
        }
    }

    /// Milliseconds since the Unix epoch.
    pub(crate) fn now(&self) -> u64 {
        self.start
            .saturating_add(millis(boot_time().saturating_sub(self.booted)))
    }

    /// How long until then; zero if it has passed.
    pub(crate) fn until(&self, time: u64) -> Duration {
        Duration::from_millis(time.saturating_sub(self.now()))
    }
}

/// What has passed since the machine started, sleep included.
pub(crate) fn boot_time() -> Duration {
    #[cfg(test)]
    if let Some(time) = crate::simulation::seams::boot_time() {
        return time;
    }
    let time = clock_gettime(ClockId::Boottime);
    Duration::new(
        u64::try_from(time.tv_sec).unwrap_or(0),
        u32::try_from(time.tv_nsec).unwrap_or(0),
    )
}

/// What has passed since 1970, as this machine has it.
pub(crate) fn time_of_day() -> Duration {
    #[cfg(test)]
    if let Some(time) = crate::simulation::seams::time_of_day() {
        return time;
    }
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default()
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_does_not_go_back_and_knows_the_year() {
        let clock = Clock::start();
        let first = clock.now();
        assert!(first > 1_700_000_000_000 && clock.now() >= first);
        assert_eq!(clock.until(first.saturating_sub(1)), Duration::ZERO);
    }
}
