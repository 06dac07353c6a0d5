//! The KMS checks of `/healthz` and `/readyz`.

use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec;
use alloc::vec::Vec;

use super::Engine;
use super::config_set::ConfigSet;
use super::event::{Action, Check, OpId};
use super::pending::{Begun, HealthOperation, Operation, Wait};
use crate::provider::error::aggregate;
use crate::provider::kms::call::ProviderId;
use crate::provider::kms::last_answer::FreshAnswer;
use crate::time::Timestamp;

impl Engine {
    /// Runs the KMS health checks. If reload is enabled or only KMS v2 is used, there is one check named `kms-providers`. Otherwise each provider has
    /// a check: `kms-provider-0` and so on.
    ///
    /// A plugin's answer is reused for 20 s if it was good and for 3 s if it was bad; otherwise the plugin is probed. Returns `None` if the operation
    /// was parked under `op`; the result then arrives as [`Action::HealthDone`].
    ///
    /// Upstream: encryptionconfig/config.go, `kmsHealthChecker`.
    #[must_use]
    pub fn health(&mut self, op: OpId, now: Timestamp) -> Option<Vec<Check>> {
        let now = self.advance(now);
        if self.poll_timeout().is_some_and(|due| due <= now) {
            // A probe that is past its deadline, for example because the machine slept, does not show the plugin's current state. Expire it first.
            self.handle_timeout(now);
        }
        let set = self.running.clone();
        let mut faults = Vec::new();
        let mut waiting = Vec::new();
        for id in &set.kms {
            match self.providers.get(id).map(|provider| provider.fresh_answer(now)) {
                Some(FreshAnswer::Good) => {}
                Some(FreshAnswer::Bad(fault)) => faults.push((*id, fault.to_string())),
                Some(FreshAnswer::Missing) | None => waiting.push(*id),
            }
        }
        if waiting.is_empty() || self.accept(op).is_err() || !self.parked.has_room_for_health() {
            faults.extend(
                waiting.into_iter().map(|id| {
                    (id, "too many operations are waiting for the KMS plugin".to_string())
                }),
            );
            return Some(self.checks(&set, &faults));
        }
        let generation = set.generation;
        let probes = waiting.clone();
        self.park(
            op,
            Wait::Probes,
            Begun { generation, at: now },
            Operation::Health(HealthOperation { set, waiting, faults }),
        );
        for id in probes {
            self.begin_probe(id);
        }
        None
    }

    /// Returns the names of the checks, without running them.
    pub fn check_names(&self) -> Vec<String> {
        self.checks(&self.running, &[]).into_iter().map(|check| check.name).collect()
    }

    /// Passes the outcome of a probe to the health checks that wait for it.
    pub(super) fn health_probed(&mut self, id: ProviderId, fault: Option<String>) {
        let mut done = Vec::new();
        for (op, health) in self.parked.health_mut() {
            if health.waiting.contains(&id) {
                health.waiting.retain(|waiting| *waiting != id);
                if let Some(fault) = &fault {
                    health.faults.push((id, fault.clone()));
                }
                if health.waiting.is_empty() {
                    done.push(op);
                }
            }
        }
        for op in done {
            if let Some(Operation::Health(health)) =
                self.parked.remove(op).map(|parked| parked.operation)
            {
                let checks = self.checks(&health.set, &health.faults);
                self.actions.push_back(Action::HealthDone { op, checks });
            }
        }
    }

    pub(super) fn checks(&self, set: &ConfigSet, faults: &[(ProviderId, String)]) -> Vec<Check> {
        let each = set.kms.iter().enumerate().map(|(at, id)| {
            let fault = faults.iter().find(|(of, _)| of == id).map(|(_, fault)| fault);
            (format!("kms-provider-{at}"), fault)
        });
        if !set.collapsed {
            return each.map(|(name, fault)| Check { name, fault: fault.cloned() }).collect();
        }
        let faults: Vec<_> = each
            .filter_map(|(name, fault)| fault.map(|fault| format!("{name}: {fault}")))
            .collect();
        let fault = (!faults.is_empty()).then(|| aggregate(faults.iter().map(String::as_str)));
        vec![Check { name: "kms-providers".to_string(), fault }]
    }
}
