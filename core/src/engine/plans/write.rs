//! Planned writes.

use alloc::boxed::Box;
use alloc::string::ToString;

use super::{Write, WriteJob, WriteTicket, not_ready};
use crate::engine::Engine;
use crate::engine::counts::{Direction, NON_GRPC, status};
use crate::engine::event::OpId;
use crate::engine::pending::{
    Attempt, Begun, Keep, OnceSealed, Operation, Parked, Parking, Place, Resumed, WriteOperation,
    read_only,
};
use crate::engine::routes::{RouteId, Target};
use crate::provider::error::{ErrorKind, TransformError};
use crate::provider::plan::{SealPlan, WritePlan};
use crate::provider::transformer::Transform;
use crate::provider::value::Labels;
use crate::time::Timestamp;

impl Engine {
    /// Plans a write. `size` is the number of bytes that the caller holds while the operation is parked: of the value, its storage key and its
    /// resource.
    #[must_use]
    pub fn plan_write(&mut self, op: OpId, route: RouteId, size: usize, now: Timestamp) -> Write {
        self.advance(now);
        if self.options.read_only {
            return Write::Failed(read_only());
        }
        if let Err(error) = self.accept(op) {
            return Write::Failed(error);
        }
        let Some(target) = self.routes.target(route, &self.running).cloned() else {
            return Write::UnknownRoute;
        };
        let begun = self.begun_now();
        let parking = Parking { place: Place::Needed(size), since: begun.at };
        self.step_write(op, begun, WriteOperation { target, size }, parking)
    }

    /// Plans a write on a worker. Returns `None`, without any effect, if the control engine must perform the operation or the route is no longer
    /// valid.
    #[must_use]
    pub fn try_plan_write(&mut self, route: RouteId, now: Timestamp) -> Option<WriteJob> {
        self.advance(now);
        if self.options.read_only {
            return None;
        }
        let target = self.routes.target(route, &self.running)?.clone();
        match self.write(&target, Parking::never(self.now)) {
            Attempt::Done(planned) => planned.ok(),
            Attempt::Park(_) => None,
        }
    }

    /// Plans a write whose wait has ended.
    #[must_use]
    pub fn resume_write(&mut self, op: OpId) -> Write {
        if !self.is_ready(op) {
            return Write::Failed(not_ready());
        }
        let Some(Parked { begun, operation: Operation::Write(write), resumed, .. }) =
            self.parked.remove(op)
        else {
            return Write::Failed(not_ready());
        };
        let planned = self.continue_write(op, begun, write, resumed.unwrap_or(Resumed::Probed));
        self.close_unused();
        planned
    }

    /// Plans a write after its wait, which `resumed` ended.
    pub(in crate::engine) fn continue_write(
        &mut self,
        op: OpId,
        begun: Begun,
        write: WriteOperation,
        resumed: Resumed,
    ) -> Write {
        match resumed {
            Resumed::Failed(error) => Write::Failed(error),
            Resumed::EncryptedDek(sealed) => self.write_once(&write.target, sealed),
            Resumed::Probed | Resumed::Dek(_) => {
                let parking = Parking { place: Place::Taken, since: begun.at };
                self.step_write(op, begun, write, parking)
            }
        }
    }

    fn step_write(
        &mut self,
        op: OpId,
        begun: Begun,
        write: WriteOperation,
        parking: Parking,
    ) -> Write {
        match self.write(&write.target, parking) {
            Attempt::Done(Ok(job)) => Write::Seal(job),
            Attempt::Done(Err(error)) => Write::Failed(error),
            Attempt::Park(wait) => {
                self.park(op, wait, begun, Operation::Write(write));
                Write::Parked
            }
        }
    }

    /// Plans a write with the first provider of a resource.
    fn write(&mut self, target: &Target, parking: Parking) -> Attempt<WriteJob> {
        // Validation guarantees a provider; without one, nothing may be written.
        let Some(transformer) = target.list.first() else {
            return Attempt::Done(Err(TransformError::new(
                ErrorKind::NoMatchingPrefix,
                "no provider writes this resource".to_string(),
            )));
        };
        let prefix = &transformer.prefix;
        let ticket = |key_prefix, key_id_hash, provider| WriteTicket {
            labels: Labels {
                transformer_prefix: prefix.clone(),
                key_prefix,
                has_rule: target.has_rule,
                key_id_hash,
            },
            resource: target.label.clone(),
            provider,
            keep: None,
            is_tentative: parking.is_tentative(),
            times: 1,
        };
        let planned = match &transformer.transform {
            Transform::Identity => Ok((WritePlan::Copy, ticket(None, None, None))),
            Transform::Local(keys) => keys.first_prefix().map(|key_prefix| {
                let plan = SealPlan::local(keys.clone());
                (WritePlan::Seal(plan), ticket(Some(key_prefix.clone()), None, None))
            }),
            Transform::Kms(id) => match self.write_kms(*id, parking) {
                Attempt::Done(planned) => planned.map(|(plan, hash, name)| {
                    (WritePlan::Seal(plan), ticket(None, hash, Some(name)))
                }),
                Attempt::Park(wait) => return Attempt::Park(wait),
            },
        };
        Attempt::Done(match planned {
            Ok((plan, ticket)) => Ok(WriteJob { plan, ticket }),
            Err(error) => {
                // The control engine performs a tentative operation, and counts it.
                if target.has_rule && !parking.is_tentative() {
                    let status = status(Some(&error));
                    self.counts.transformation(&target.label, Direction::ToStorage, prefix, status);
                }
                Err(error)
            }
        })
    }

    /// Plans a write of KMS v1, whose DEK the plugin has encrypted or failed to encrypt.
    fn write_once(&mut self, target: &Target, sealed: Result<OnceSealed, TransformError>) -> Write {
        let Some(transformer) = target.list.first() else {
            return Write::Failed(not_ready());
        };
        let prefix = &transformer.prefix;
        match sealed {
            Ok(OnceSealed { plan, keep }) => {
                let ticket = WriteTicket {
                    labels: Labels {
                        transformer_prefix: prefix.clone(),
                        key_prefix: None,
                        has_rule: true,
                        key_id_hash: None,
                    },
                    resource: target.label.clone(),
                    provider: None,
                    keep: keep.map(Box::new),
                    is_tentative: false,
                    times: 1,
                };
                Write::Seal(WriteJob { plan: WritePlan::Seal(plan), ticket })
            }
            Err(error) => {
                let status = status(Some(&error));
                self.counts.transformation(&target.label, Direction::ToStorage, prefix, status);
                Write::Failed(error)
            }
        }
    }

    /// Records that a planned write was carried out, and those that [`WriteJob::again`] planned after it.
    pub fn sealed(&mut self, ticket: WriteTicket) {
        let WriteTicket { labels, resource, provider, keep, is_tentative: _, times } = ticket;
        if times == 0 {
            return;
        }
        if let (Some(name), Some(hash)) = (&provider, &labels.key_id_hash) {
            self.counts.key_id_used(Direction::ToStorage, name, hash, self.now, times);
        }
        if let Some(keep) = keep {
            let Keep { provider, name, dek } = *keep;
            self.keep(provider, name, dek);
        }
        if let Some(key) = &labels.key_prefix {
            self.counts.transformations_done(&resource, Direction::ToStorage, key, times);
        }
        if labels.has_rule {
            let prefix = &labels.transformer_prefix;
            self.counts.transformations_done(&resource, Direction::ToStorage, prefix, times);
        }
    }

    /// Records that a planned write could not be carried out, because the cipher or the source of randomness failed. A worker records nothing.
    pub fn not_sealed(&mut self, ticket: WriteTicket, error: &TransformError) {
        let WriteTicket { labels, resource, is_tentative, .. } = ticket;
        if is_tentative {
            return;
        }
        if let Some(key) = &labels.key_prefix {
            self.counts.transformation(&resource, Direction::ToStorage, key, NON_GRPC);
        }
        if labels.has_rule {
            let prefix = &labels.transformer_prefix;
            let status = status(Some(error));
            self.counts.transformation(&resource, Direction::ToStorage, prefix, status);
        }
    }
}
