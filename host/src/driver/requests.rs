//! Handles requests: answers them at once, or keeps them until the guest has a result.

use tokio::time::Instant;
use zeroize::Zeroizing;

use super::{ConfigFile, ConfigsInUse, Driver, Judged, Opened, Reply, Request};
use crate::fault::{Fault, ReloadError};
use crate::guest::{Guest, Trap};
use crate::model::{Check, Encrypted, HostError, Location, TransformError};
use crate::workers::{DekId, LeasedDek};

/// How often an operation is passed to a fresh instance before it is assumed to cause the traps: 2.
const REPLAYS_MAX: u32 = 2;

/// An operation that the guest has parked, with everything a fresh instance needs to repeat it.
pub(super) struct Pending {
    pub(super) open: Open,
    replays: u32,
}

pub(super) enum Open {
    ToStorage { at: Location, plaintext: Zeroizing<Vec<u8>>, reply: Reply<Encrypted> },
    FromStorage { at: Location, stored: Vec<u8>, reply: Reply<Opened> },
    Health { reply: Reply<Vec<Check>> },
}

/// The guest's response to a request: a result, or `Wait` if the guest has parked the operation.
enum Said {
    Encrypted(Result<Encrypted, TransformError>),
    Opened(Result<Opened, TransformError>),
    Checks(Vec<Check>),
    Wait,
}

impl Open {
    pub(super) fn fail(self, error: HostError) {
        // The receiver may be gone.
        match self {
            Self::ToStorage { reply, .. } => drop(reply.send(Err(error))),
            Self::FromStorage { reply, .. } => drop(reply.send(Err(error))),
            Self::Health { reply } => drop(reply.send(Err(error))),
        }
    }

    fn is_abandoned(&self) -> bool {
        match self {
            Self::ToStorage { reply, .. } => reply.is_closed(),
            Self::FromStorage { reply, .. } => reply.is_closed(),
            Self::Health { reply } => reply.is_closed(),
        }
    }

    fn ask(&self, guest: &mut Guest, op: u64, now: u64) -> Result<Said, Trap> {
        Ok(match self {
            Self::ToStorage { at, plaintext, reply: _ } => {
                guest.to_storage(op, at, plaintext, now)?.map_or(Said::Wait, Said::Encrypted)
            }
            Self::FromStorage { at, stored, reply: _ } => {
                let outcome = guest.from_storage(op, at, stored, now)?;
                let opened = |decrypted| Opened { decrypted, dek: guest.take_dek() };
                outcome.map_or(Said::Wait, |outcome| Said::Opened(outcome.map(opened)))
            }
            Self::Health { reply: _ } => guest.health(op, now)?.map_or(Said::Wait, Said::Checks),
        })
    }

    fn answer(self, said: Said) {
        match (self, said) {
            (Self::ToStorage { reply, .. }, Said::Encrypted(outcome)) => {
                drop(reply.send(outcome.map_err(HostError::Transform)))
            }
            (Self::FromStorage { reply, .. }, Said::Opened(outcome)) => {
                drop(reply.send(outcome.map_err(HostError::Transform)))
            }
            (Self::Health { reply }, Said::Checks(checks)) => drop(reply.send(Ok(checks))),
            // Unreachable: `ask` returns the variant that matches the request.
            (Self::ToStorage { .. } | Self::FromStorage { .. } | Self::Health { .. }, _) => {}
        }
    }
}

impl Driver {
    pub(super) fn request(&mut self, request: Request) {
        let now = self.clock.now();
        match request {
            Request::ToStorage { op, at, plaintext, reply } => {
                self.begin(op, Open::ToStorage { at, plaintext, reply }, 0)
            }
            Request::FromStorage { op, at, stored, reply } => {
                self.begin(op, Open::FromStorage { at, stored, reply }, 0)
            }
            Request::Health { op, reply } => self.begin(op, Open::Health { reply }, 0),
            Request::CheckNames { reply } => self.answer(reply, Guest::check_names),
            Request::Status { reply } => self.answer(reply, |guest| guest.status(now)),
            Request::Metrics { reply } => self.answer(reply, Guest::metrics),
            Request::UnreadableAfter { config, reply } => {
                let over = self.configs.running().hash.clone();
                self.answer(reply, |guest| {
                    let outcome = guest.unreadable_after(&config)?;
                    let outcome =
                        outcome.map_err(|faults| faults.iter().map(Fault::from).collect());
                    Ok(Judged { over, outcome })
                });
            }
            Request::ConfigsInUse { reply } => {
                let in_use = ConfigsInUse {
                    running: self.configs.running().hash.clone(),
                    candidate: self.configs.candidate().map(|file| file.hash.clone()),
                };
                drop(reply.send(Ok(in_use)));
            }
            Request::Lease { provider, reply } => {
                let incarnation = self.incarnation;
                self.answer(reply, |guest| {
                    let Some(lease) = guest.take_lease(&provider)? else {
                        return Ok(None);
                    };
                    let states = guest.write_states()?;
                    let state = states.iter().find(|state| state.provider == provider);
                    Ok(state.map(|state| LeasedDek {
                        id: DekId { incarnation, serial: state.serial },
                        lease,
                    }))
                });
            }
            Request::Reload { config, over, reply } => {
                if over.is_some_and(|over| over != self.configs.running().hash) {
                    drop(reply.send(Ok(Err(ReloadError::Overtaken))));
                    return;
                }
                let Some(outcome) = self.call(None, |guest| guest.reload(&config, now)) else {
                    drop(reply.send(Err(HostError::Trapped)));
                    return;
                };
                match outcome {
                    Ok(generation) => {
                        self.configs.offer(generation, ConfigFile::new(config), reply);
                    }
                    Err(faults) => drop(reply.send(Ok(Err(ReloadError::Faults(
                        faults.iter().map(Fault::from).collect(),
                    ))))),
                }
                self.settle(None);
            }
        }
    }

    /// Passes the open operations to a fresh instance, which parks them until it has asked the plugin for its Status.
    pub(super) fn replay(&mut self) {
        let mut ops: Vec<_> = self.open.keys().copied().collect();
        ops.sort_unstable();
        for op in ops {
            // If an operation traps, the remaining ones are left to the next instance.
            if self.guest.is_none() {
                return;
            }
            let Some(Pending { open, replays }) = self.open.remove(&op) else {
                continue;
            };
            if replays < REPLAYS_MAX {
                self.begin(op, open, replays + 1);
            } else {
                open.fail(HostError::Trapped);
            }
        }
    }

    fn begin(&mut self, op: u64, open: Open, replays: u32) {
        if open.is_abandoned() {
            return;
        }
        let now = self.clock.now();
        if self.due_at.is_some_and(|due| due <= now) {
            // The timer may be late because the machine slept.
            self.timeout();
        }
        let Some(guest) = &mut self.guest else {
            return open.fail(HostError::Trapped);
        };
        let start = Instant::now();
        let said = open.ask(guest, op, now);
        self.call_took = start.elapsed();
        match said {
            // An immediate success leaves no actions in the guest, so `settle` is not needed.
            Ok(said @ (Said::Encrypted(Ok(_)) | Said::Opened(Ok(_)))) => open.answer(said),
            Ok(Said::Wait) => {
                self.open.insert(op, Pending { open, replays });
                self.settle(Some(op));
            }
            Ok(said) => {
                open.answer(said);
                self.settle(None);
            }
            Err(trap) => {
                self.open.insert(op, Pending { open, replays });
                self.recover(Some(op), &trap);
            }
        }
    }

    fn answer<T>(&mut self, reply: Reply<T>, call: impl FnOnce(&mut Guest) -> Result<T, Trap>) {
        let outcome = self.call(None, call).ok_or(HostError::Trapped);
        drop(reply.send(outcome));
    }
}
