//! Publishes the configuration and the write DEKs in use to the workers and the metrics.

use std::sync::Arc;

use super::Driver;
use super::configs::Unknown;
use crate::guest::{Guest, Trap};
use crate::workers::{DekId, Published, Workers, WriteDek};

impl Driver {
    /// Starts `count` workers. Returns `None` if `count` is 0 or the component is self-contained.
    pub(crate) fn start_workers(&mut self, count: usize) -> Option<Arc<Workers>> {
        if count == 0 || !self.has_leases {
            return None;
        }
        self.workers = Some(Arc::new(Workers::new(
            count,
            self.component.clone(),
            self.options.clone(),
            self.clock,
            self.metrics.clone(),
        )));
        self.publish(None, true);
        self.workers.clone()
    }

    /// Asks the guest which configuration it runs, and publishes it to the metrics and the workers, before any caller receives a result of the last
    /// call. Returns `None` if the guest trapped.
    pub(super) fn follow(&mut self, culprit: Option<u64>) -> Option<()> {
        let generation = self.ask(culprit, Guest::running_generation)?;
        let is_new = match self.configs.follow(generation) {
            Ok(is_new) => is_new,
            Err(Unknown) => {
                let trap = Trap::msg("the component runs a configuration that it was not offered");
                self.recover(culprit, &trap);
                return None;
            }
        };
        if is_new {
            let now = self.clock.now() as f64 / 1000.0;
            self.metrics.reload_succeeded(&self.configs.running().hash, now);
        }
        self.publish(culprit, is_new)
    }

    /// Publishes the configuration and the write DEKs in use to the workers if they have changed. If a provider's DEK is unknown, for example after a
    /// trap, its previous DEK remains published and encrypts until it expires. Returns `None` if the guest trapped.
    fn publish(&mut self, culprit: Option<u64>, is_new_config: bool) -> Option<()> {
        let Some(workers) = self.workers.clone() else {
            return Some(());
        };
        let states = self.ask(culprit, Guest::write_states);
        if states.is_none() && !is_new_config {
            return None;
        }
        let has_states = states.is_some();
        let states = states.unwrap_or_default();
        let before = workers.published();
        let mut deks = before.deks.clone();
        if is_new_config {
            deks.retain(|dek| states.iter().any(|state| state.provider == dek.provider));
        }
        for state in states {
            deks.retain(|dek| dek.provider != state.provider);
            deks.push(WriteDek {
                provider: state.provider,
                id: DekId { incarnation: self.incarnation, serial: state.serial },
                expiry: state.expiry,
            });
        }
        deks.sort_unstable_by(|a, b| a.provider.cmp(&b.provider));
        if is_new_config || deks != before.deks {
            workers.publish(Published {
                epoch: before.epoch + u64::from(is_new_config),
                config: self.configs.running().bytes.clone(),
                deks,
            });
        }
        has_states.then_some(())
    }
}
