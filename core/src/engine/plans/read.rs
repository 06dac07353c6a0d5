//! Planned reads.

use alloc::boxed::Box;
use alloc::sync::Arc;
use core::ops::Range;

use super::{PendingRead, Read, ReadJob, ReadTicket, Tried, TriedDek, not_ready};
use crate::crypto::keys::OpenError;
use crate::engine::Engine;
use crate::engine::counts::{Direction, NON_GRPC, status};
use crate::engine::event::OpId;
use crate::engine::pending::{
    Attempt, Begun, Operation, Parked, Parking, Place, ReadOperation, ReadProgress, Resumed,
    declined,
};
use crate::engine::routes::RouteId;
use crate::provider::error::TransformError;
use crate::provider::identity;
use crate::provider::kms::Kms;
use crate::provider::kms::call::ProviderId;
use crate::provider::kms::step::OpenStep;
use crate::provider::kms::v1;
use crate::provider::local::{Candidate, LocalKeys};
use crate::provider::plan::{OpenKey, ReadPlan};
use crate::provider::stored::Stored;
use crate::provider::transformer::Transform;
use crate::provider::value::{Labels, ValueState};
use crate::time::Timestamp;

impl Engine {
    /// Plans a read. `size` is the number of bytes that the caller holds while the operation is parked: of the value, its storage key and its
    /// resource. The stored bytes are attacker-controlled; this function does not panic.
    #[must_use]
    pub fn plan_read(
        &mut self,
        op: OpId,
        route: RouteId,
        size: usize,
        stored: Stored<'_>,
        now: Timestamp,
    ) -> Read {
        self.advance(now);
        if let Err(error) = self.accept(op) {
            return Read::Failed(error);
        }
        let begun = self.begun_now();
        let parking = Parking { place: Place::Needed(size), since: begun.at };
        self.begin_read(op, begun, route, parking, stored)
    }

    /// Plans a read on a worker. It is never parked and has no effect before it is reported as opened. Any error means that the control engine must
    /// perform the operation.
    #[must_use]
    pub fn try_plan_read(&mut self, route: RouteId, stored: Stored<'_>, now: Timestamp) -> Read {
        self.advance(now);
        let begun = self.begun_now();
        self.begin_read(OpId(0), begun, route, Parking::never(begun.at), stored)
    }

    /// Plans another read of the same resource at the same time on a worker, if it is like the read of `job`, which is this engine's last plan: with
    /// the same key, the same labels and the same state. Returns the range that the key opens; the ticket then counts one more read. Returns `None` if
    /// the read must be planned separately.
    pub fn try_plan_like(&self, job: &mut ReadJob, stored: Stored<'_>) -> Option<Range<usize>> {
        let ReadJob { plan: ReadPlan::Open { key: OpenKey::Dek(key), .. }, ticket, .. } = job
        else {
            return None;
        };
        let ReadTicket { labels, read, tried: Tried::Dek(tried), times } = ticket else {
            return None;
        };
        // Only the first provider: whether an earlier one opens this value, too, depends on the value.
        let is_plain = read.operation.progress.next == 0
            && read.parking.is_tentative()
            && tried.keep.is_none()
            && tried.gcm_error.is_none()
            && !tried.is_resumed;
        let Some(Kms::V2(provider)) = self.providers.get(&tried.provider).filter(|_| is_plain)
        else {
            return None;
        };
        let value = stored.strip_prefix(labels.transformer_prefix.as_bytes()).ok()??;
        let range = provider.range_by_end(value, key, labels.key_id_hash.as_ref()?)?;
        *times += 1;
        Some(range)
    }

    fn begin_read(
        &mut self,
        op: OpId,
        begun: Begun,
        route: RouteId,
        parking: Parking,
        stored: Stored<'_>,
    ) -> Read {
        let Some(target) = self.routes.target(route, &self.running).cloned() else {
            return Read::UnknownRoute;
        };
        let size = match parking.place {
            Place::Needed(size) => size,
            Place::Taken | Place::Never => 0,
        };
        let operation = ReadOperation { target, size, progress: ReadProgress::default() };
        self.step_read(PendingRead { op, begun, parking, operation, resumed: None }, stored)
    }

    /// Goes on with a read for which bytes of the value were missing.
    #[must_use]
    pub fn continue_read(&mut self, read: PendingRead, stored: Stored<'_>) -> Read {
        self.step_read(read, stored)
    }

    /// Plans a read whose wait has ended.
    #[must_use]
    pub fn resume_read(&mut self, op: OpId, stored: Stored<'_>) -> Read {
        if !self.is_ready(op) {
            return Read::Failed(not_ready());
        }
        let Some(Parked { begun, operation: Operation::Read(operation), resumed, .. }) =
            self.parked.remove(op)
        else {
            return Read::Failed(not_ready());
        };
        let resumed = resumed.unwrap_or(Resumed::Probed);
        let planned = self.wake_read(op, begun, operation, resumed, stored);
        self.close_unused();
        planned
    }

    /// Plans a read after its wait, which `resumed` ended.
    pub(in crate::engine) fn wake_read(
        &mut self,
        op: OpId,
        begun: Begun,
        operation: ReadOperation,
        resumed: Resumed,
        stored: Stored<'_>,
    ) -> Read {
        let resumed = match resumed {
            Resumed::Failed(error) => return Read::Failed(error),
            Resumed::Dek(dek) => Some(Box::new(dek)),
            Resumed::Probed | Resumed::EncryptedDek(_) => None,
        };
        let parking = Parking { place: Place::Taken, since: begun.at };
        self.step_read(PendingRead { op, begun, parking, operation, resumed }, stored)
    }

    /// Plans the next step of a read. Tries each provider whose prefix matches, in order: an error does not stop the search, and the first success
    /// wins. An error ends a tentative operation.
    fn step_read(&mut self, mut read: PendingRead, stored: Stored<'_>) -> Read {
        loop {
            let target = &read.operation.target;
            let list = target.list.clone();
            let progress = &mut read.operation.progress;
            let Some(transformer) = list.get(progress.next) else {
                return self.end_read(read);
            };
            let prefix = &transformer.prefix;
            let value = match stored.strip_prefix(prefix.as_bytes()) {
                Ok(Some(value)) => value,
                Ok(None) => {
                    progress.advance();
                    continue;
                }
                Err(missing) => return Read::Missing(read, missing),
            };
            let planned = match &transformer.transform {
                Transform::Identity => match identity::check(value) {
                    Ok(Ok(())) => Ok((ReadPlan::Copy, Tried::Copy, None)),
                    // The value is encrypted, and the rule has other providers for that. As in upstream, identity adds no error.
                    Ok(Err(_)) if target.has_rule => {
                        progress.advance();
                        continue;
                    }
                    Ok(Err(error)) => Err(error),
                    Err(missing) => return Read::Missing(read, missing),
                },
                Transform::Local(keys) => match keys.find(value, progress.next_key) {
                    Ok(Some(candidate)) => {
                        let Candidate { number, key_prefix, key, range } = candidate;
                        let plan = ReadPlan::Open { key: OpenKey::Local(key), range };
                        let state = if number == 0 { ValueState::Fresh } else { ValueState::Stale };
                        let tried = Tried::Key { keys: keys.clone(), number };
                        let mut job = self.read_job(read, prefix, plan, tried, Some(state));
                        job.ticket.labels.key_prefix = Some(key_prefix);
                        return Read::Open(job);
                    }
                    Ok(None) => Err(self.no_key_left(keys, &mut read)),
                    Err(missing) => return Read::Missing(read, missing),
                },
                Transform::Kms(id) => match self.read_kms(*id, value, &mut read) {
                    Ok(Attempt::Done(Ok((step, is_resumed)))) => {
                        return Read::Open(self.dek_job(*id, prefix, step, is_resumed, read));
                    }
                    Ok(Attempt::Done(Err(error))) => Err(error),
                    Ok(Attempt::Park(wait)) => {
                        let PendingRead { op, begun, operation, .. } = read;
                        self.park(op, wait, begun, Operation::Read(operation));
                        return Read::Parked;
                    }
                    Err(missing) => return Read::Missing(read, missing),
                },
            };
            match planned {
                Ok((plan, tried, state)) => {
                    let state = state.or(Some(ValueState::Fresh));
                    return Read::Open(self.read_job(read, prefix, plan, tried, state));
                }
                Err(error) if read.parking.is_tentative() => return Read::Failed(error),
                Err(error) => self.provider_failed(&mut read, prefix, error),
            }
        }
    }

    /// Returns the error of a local provider after all its keys have failed.
    fn no_key_left(&mut self, keys: &LocalKeys, read: &mut PendingRead) -> TransformError {
        let faults = core::mem::take(&mut read.operation.progress.key_faults);
        if !faults.is_empty() {
            return TransformError::of_search(faults);
        }
        if !read.parking.is_tentative() {
            let label = read.operation.target.label.clone();
            let unknown = self.counts.unknown();
            self.counts.transformation(&label, Direction::FromStorage, &unknown, NON_GRPC);
        }
        keys.unmatched()
    }

    /// Records that a provider could not decrypt a value, and goes on to the next one.
    fn provider_failed(
        &mut self,
        read: &mut PendingRead,
        prefix: &Arc<str>,
        error: TransformError,
    ) {
        let ReadOperation { target, progress, .. } = &mut read.operation;
        if target.has_rule {
            let label = if prefix.is_empty() { self.counts.identity() } else { prefix.clone() };
            let status = status(Some(&error));
            self.counts.transformation(&target.label, Direction::FromStorage, &label, status);
        }
        progress.faults.push(error);
        progress.advance();
    }

    /// Ends a read that no provider could perform.
    fn end_read(&mut self, read: PendingRead) -> Read {
        let PendingRead { parking, operation, .. } = read;
        let faults = operation.progress.faults;
        if faults.is_empty() && !parking.is_tentative() {
            let unknown = self.counts.unknown();
            let label = &operation.target.label;
            self.counts.transformation(label, Direction::FromStorage, &unknown, NON_GRPC);
        }
        Read::Failed(TransformError::of_search(faults))
    }

    fn read_job(
        &self,
        read: PendingRead,
        prefix: &Arc<str>,
        plan: ReadPlan,
        tried: Tried,
        state: Option<ValueState>,
    ) -> ReadJob {
        let is_first = read.operation.progress.next == 0;
        let labels = Labels {
            transformer_prefix: prefix.clone(),
            key_prefix: None,
            has_rule: read.operation.target.has_rule,
            key_id_hash: None,
        };
        let state = if is_first { state } else { Some(ValueState::Stale) };
        ReadJob { plan, state, ticket: ReadTicket { labels, read, tried, times: 1 } }
    }

    fn dek_job(
        &self,
        provider: ProviderId,
        prefix: &Arc<str>,
        step: OpenStep,
        is_resumed: bool,
        read: PendingRead,
    ) -> ReadJob {
        let OpenStep { dek, range, key_id_hash, state, keep } = step;
        let name = key_id_hash.as_ref().and_then(|_| self.providers.get(&provider));
        let tried = Tried::Dek(TriedDek {
            provider,
            name: name.map(|kms| kms.info().name.clone()),
            keep: keep.map(|name| Box::new((name, dek.clone()))),
            is_resumed,
            cbc: dek.cbc().cloned(),
            range: range.clone(),
            gcm_error: None,
        });
        let plan = ReadPlan::Open { key: OpenKey::Dek(dek.opening().clone()), range };
        let mut job = self.read_job(read, prefix, plan, tried, state);
        job.ticket.labels.key_id_hash = key_id_hash;
        job
    }

    /// Records that a planned read was carried out, and those that [`Self::try_plan_like`] planned after it.
    pub fn opened(&mut self, ticket: ReadTicket) {
        let ReadTicket { labels, read, tried, times } = ticket;
        if times == 0 {
            return;
        }
        let resource = &read.operation.target.label;
        if let Tried::Dek(dek) = tried {
            self.count_key_id(&dek, &labels, times);
            if let Some(keep) = dek.keep {
                let (name, key) = *keep;
                self.keep(dek.provider, name, key);
            } else if dek.is_resumed {
                self.count_fill(dek.provider);
            }
        }
        if let Some(key) = &labels.key_prefix {
            self.counts.transformations_done(resource, Direction::FromStorage, key, times);
        }
        if labels.has_rule {
            let prefix = &labels.transformer_prefix;
            let label = if prefix.is_empty() { self.counts.identity() } else { prefix.clone() };
            self.counts.transformations_done(resource, Direction::FromStorage, &label, times);
        }
    }

    /// Records that the key of a planned read does not open the value. Returns the next plan, or the error. On a worker, the control engine must
    /// perform the operation.
    #[must_use]
    pub fn not_opened(&mut self, ticket: ReadTicket, error: OpenError, stored: Stored<'_>) -> Read {
        let ReadTicket { labels, mut read, tried, times: _ } = ticket;
        if read.parking.is_tentative() {
            return Read::Failed(declined());
        }
        match tried {
            // Copying cannot fail.
            Tried::Copy => return Read::Failed(error.into()),
            Tried::Key { keys, number } => {
                if let Some(key) = &labels.key_prefix {
                    let resource = &read.operation.target.label;
                    self.counts.transformation(resource, Direction::FromStorage, key, NON_GRPC);
                }
                let progress = &mut read.operation.progress;
                progress.key_faults.push(keys.not_opened(error));
                progress.next_key = number + 1;
            }
            Tried::Dek(mut dek) => {
                if let Some(cbc) = dek.cbc.take() {
                    dek.gcm_error = Some(error);
                    let plan =
                        ReadPlan::Open { key: OpenKey::Local(cbc), range: dek.range.clone() };
                    let prefix = &labels.transformer_prefix;
                    let state = Some(v1::state(true));
                    let job = self.read_job(read, prefix, plan, Tried::Dek(dek), state);
                    return Read::Open(job);
                }
                self.count_key_id(&dek, &labels, 1);
                // Return the error of AES-GCM. That of AES-CBC would not help a person, but could help an attacker.
                let error = dek.gcm_error.unwrap_or(error);
                self.provider_failed(&mut read, &labels.transformer_prefix, error.into());
            }
        }
        self.step_read(read, stored)
    }

    fn count_key_id(&mut self, dek: &TriedDek, labels: &Labels, times: u64) {
        if let (Some(name), Some(hash)) = (&dek.name, &labels.key_id_hash) {
            self.counts.key_id_used(Direction::FromStorage, name, hash, self.now, times);
        }
    }
}
