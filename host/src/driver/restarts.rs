//! Replaces instances that have trapped.

use std::time::Duration;

use tokio::time::Instant;

use super::Driver;
use super::requests::Pending;
use crate::fault::describe;
use crate::guest::Trap;
use crate::model::HostError;

/// The delay before an instance that lived for less than [`LIVED`] is replaced: 1 second, doubled up to 1 minute. The first replacement is immediate.
const FIRST_RESTART_WAIT: Duration = Duration::from_secs(1);
pub(super) const LONGEST_RESTART_WAIT: Duration = Duration::from_secs(60);
/// The minimum lifetime of an instance that counts as stable, 1 minute. The replacement of a stable instance is not delayed.
pub(super) const LIVED: Duration = Duration::from_secs(60);

impl Driver {
    /// Drops the instance, which is unusable after a trap, and schedules the next one. [`Self::keep_alive`] creates it. If it were created here, in
    /// the middle of a call, an instance that traps at once would cause a recursion.
    pub(super) fn recover(&mut self, culprit: Option<u64>, trap: &Trap) {
        tracing::error!(
            error = format!("{trap:#}"),
            "the component trapped; a fresh instance takes over"
        );
        self.metrics.trap();
        self.lose_instance();
        match culprit.and_then(|op| self.open.remove(&op)) {
            // An operation that traps would trap in any instance. The instance is not at fault, so replace it without delay.
            Some(Pending { open, .. }) => {
                open.fail(HostError::Trapped);
                self.restart_after(Duration::ZERO);
            }
            None => self.restart_slowly(),
        }
    }

    fn lose_instance(&mut self) {
        self.guest = None;
        self.due_at = None;
        self.kms.forget_all();
        self.configs.begin_anew();
    }

    /// Schedules the next instance, with increasing delay if instances fail repeatedly.
    fn restart_slowly(&mut self) {
        if self.made.elapsed() >= LIVED {
            self.restart_wait = Duration::ZERO;
        }
        let wait = self.restart_wait;
        self.restart_wait = (wait * 2).clamp(FIRST_RESTART_WAIT, LONGEST_RESTART_WAIT);
        self.restart_after(wait);
    }

    fn restart_after(&mut self, wait: Duration) {
        if !wait.is_zero() {
            tracing::error!(
                seconds = wait.as_secs(),
                "the component fails repeatedly; the next instance is created after a delay"
            );
            // Operations do not wait for a delayed instance.
            for (_, Pending { open, .. }) in self.open.drain() {
                open.fail(HostError::Trapped);
            }
        }
        self.due = Some(Instant::now() + wait);
    }

    /// Creates a fresh instance if there is none and the delay has passed. Passes it the open operations.
    pub(super) fn keep_alive(&mut self) {
        while self.guest.is_none() && self.due.is_none_or(|due| due <= Instant::now()) {
            self.restart();
        }
    }

    fn restart(&mut self) {
        self.incarnation += 1;
        self.made = Instant::now();
        let config = &self.configs.running().bytes;
        let failed = match self.component.load(config, &self.options, self.clock.now()) {
            Ok(Ok(guest)) => {
                self.metrics.restart();
                self.guest = Some(guest);
                self.settle(None);
                return self.replay();
            }
            Ok(Err(faults)) => {
                let faults = describe(&faults);
                format!("the configuration in use is now refused: {faults}")
            }
            Err(trap) => format!("{trap:#}"),
        };
        tracing::error!(error = failed, "cannot create a fresh instance; trying again");
        self.restart_wait = self.restart_wait.max(FIRST_RESTART_WAIT);
        self.restart_slowly();
    }
}
