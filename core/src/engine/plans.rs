//! Reads and writes of values that the caller has: the engine decides how, the caller does it.
//!
//! ```text
//!  plan_write ──▶ Write::Seal(job) ──▶ the caller seals ──▶ sealed(ticket)
//!  plan_read  ──▶ Read::Open(job)  ──▶ the caller opens ──▶ opened(ticket), or not_opened(ticket): the next plan, or the error
//!             ──▶ Parked ──▶ Action::Ready ──▶ resume_write, resume_read
//!             ──▶ Missing: again, with a larger window of the value
//! ```
//!
//! [`Engine::to_storage`] and [`Engine::from_storage`] do all of this for values in this process' memory.

mod kms;

use alloc::string::ToString;
use alloc::sync::Arc;

use super::Engine;
use super::counts::{Direction, NON_GRPC, OK, status};
use super::event::OpId;
use super::pending::{
    Attempt, Begun, Keep, OnceSealed, Operation, Parked, Parking, Place, ReadOperation,
    ReadProgress, Resumed, Wait, WriteOperation, declined, read_only,
};
use super::routes::{RouteId, Target};
use crate::crypto::keys::{LocalKey, OpenError};
use crate::provider::error::{ErrorKind, TransformError};
use crate::provider::identity;
use crate::provider::kms::call::ProviderId;
use crate::provider::kms::dek_cache::{KeptName, ReadDek};
use crate::provider::kms::step::OpenStep;
use crate::provider::kms::v1;
use crate::provider::local::{Candidate, LocalKeys};
use crate::provider::plan::{OpenKey, ReadPlan, SealPlan, WritePlan};
use crate::provider::stored::{Missing, Stored};
use crate::provider::transformer::Transform;
use crate::provider::value::{Labels, ValueState};
use crate::time::Timestamp;

/// A planned write.
#[derive(Debug)]
#[allow(clippy::large_enum_variant, reason = "nearly every write has this variant")]
pub enum Write {
    /// Carry out the plan.
    Seal(WriteJob),
    /// The value cannot be encrypted.
    Failed(TransformError),
    /// The operation is parked: [`Action::Ready`](super::event::Action::Ready) follows.
    Parked,
    /// The route is no longer valid: get a new one with [`Engine::route`].
    UnknownRoute,
}

/// A planned read.
#[derive(Debug)]
#[allow(clippy::large_enum_variant, reason = "nearly every read has this variant")]
pub enum Read {
    /// Carry out the plan.
    Open(ReadJob),
    /// The value cannot be decrypted.
    Failed(TransformError),
    /// The operation is parked: [`Action::Ready`](super::event::Action::Ready) follows.
    Parked,
    /// The window of the value is too small. Call [`Engine::continue_read`] with one that has at least these bytes.
    Missing(PendingRead, Missing),
    /// The route is no longer valid: get a new one with [`Engine::route`].
    UnknownRoute,
}

/// How to encrypt a value.
#[derive(Debug)]
pub struct WriteJob {
    /// How to get the bytes to store.
    pub plan: WritePlan,
    /// To report the outcome with.
    pub ticket: WriteTicket,
}

/// Identifies a planned write when its outcome is reported to [`Engine::sealed`] or [`Engine::not_sealed`].
pub struct WriteTicket {
    /// What identifies the transformer and key.
    pub labels: Labels,
    resource: Arc<str>,
    /// The name of the KMS provider. Only for KMS v2.
    provider: Option<Arc<str>>,
    keep: Option<Keep>,
    is_tentative: bool,
}

/// How to decrypt a value.
#[derive(Debug)]
pub struct ReadJob {
    /// How to get the plaintext.
    pub plan: ReadPlan,
    /// How the value differs from what a write would produce now; see [`Decrypted::state`](crate::Decrypted::state).
    pub state: Option<ValueState>,
    /// To report the outcome with.
    pub ticket: ReadTicket,
}

/// Identifies a planned read when its outcome is reported to [`Engine::opened`] or [`Engine::not_opened`].
pub struct ReadTicket {
    /// What identifies the transformer and key.
    pub labels: Labels,
    read: PendingRead,
    tried: Tried,
}

/// A read that has not ended.
pub struct PendingRead {
    op: OpId,
    begun: Begun,
    parking: Parking,
    operation: ReadOperation,
    resumed: Option<Result<ReadDek, TransformError>>,
}

/// What a plan tries.
enum Tried {
    /// The stored bytes are the plaintext.
    Copy,
    /// A key of a local provider.
    Key { keys: Arc<LocalKeys>, number: usize },
    /// The DEK of a KMS value.
    Dek(TriedDek),
}

struct TriedDek {
    provider: ProviderId,
    /// The name of the provider. Only for KMS v2.
    name: Option<Arc<str>>,
    keep: Option<(KeptName, ReadDek)>,
    /// Whether the plugin has just decrypted the DEK.
    is_resumed: bool,
    cbc: Option<Arc<dyn LocalKey>>,
    range: core::ops::Range<usize>,
    /// The error of AES-GCM, if AES-CBC is tried now.
    gcm_error: Option<OpenError>,
}

impl Engine {
    /// Returns the number of a resource: the resource, then its group.
    pub fn route(&mut self, resource: &str) -> RouteId {
        self.routes.id(resource, &self.running)
    }

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
    pub(super) fn continue_write(
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
                    keep,
                    is_tentative: false,
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

    /// Records that a planned write was carried out.
    pub fn sealed(&mut self, ticket: WriteTicket) {
        let WriteTicket { labels, resource, provider, keep, is_tentative: _ } = ticket;
        if let (Some(name), Some(hash)) = (&provider, &labels.key_id_hash) {
            self.counts.key_id_used(Direction::ToStorage, name, hash, self.now);
        }
        if let Some(Keep { provider, name, dek }) = keep {
            self.keep(provider, name, dek);
        }
        if let Some(key) = &labels.key_prefix {
            self.counts.transformation(&resource, Direction::ToStorage, key, OK);
        }
        if labels.has_rule {
            let prefix = &labels.transformer_prefix;
            self.counts.transformation(&resource, Direction::ToStorage, prefix, OK);
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
    pub(super) fn wake_read(
        &mut self,
        op: OpId,
        begun: Begun,
        operation: ReadOperation,
        resumed: Resumed,
        stored: Stored<'_>,
    ) -> Read {
        let resumed = match resumed {
            Resumed::Failed(error) => return Read::Failed(error),
            Resumed::Dek(dek) => Some(dek),
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
        ReadJob { plan, state, ticket: ReadTicket { labels, read, tried } }
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
            keep: keep.map(|name| (name, dek.clone())),
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

    /// Records that a planned read was carried out.
    pub fn opened(&mut self, ticket: ReadTicket) {
        let ReadTicket { labels, read, tried } = ticket;
        let resource = &read.operation.target.label;
        if let Tried::Dek(dek) = tried {
            self.count_key_id(&dek, &labels);
            if let Some((name, key)) = dek.keep {
                self.keep(dek.provider, name, key);
            } else if dek.is_resumed {
                self.count_fill(dek.provider);
            }
        }
        if let Some(key) = &labels.key_prefix {
            self.counts.transformation(resource, Direction::FromStorage, key, OK);
        }
        if labels.has_rule {
            let prefix = &labels.transformer_prefix;
            let label = if prefix.is_empty() { self.counts.identity() } else { prefix.clone() };
            self.counts.transformation(resource, Direction::FromStorage, &label, OK);
        }
    }

    /// Records that the key of a planned read does not open the value. Returns the next plan, or the error. On a worker, the control engine must
    /// perform the operation.
    #[must_use]
    pub fn not_opened(&mut self, ticket: ReadTicket, error: OpenError, stored: Stored<'_>) -> Read {
        let ReadTicket { labels, mut read, tried } = ticket;
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
                self.count_key_id(&dek, &labels);
                // Return the error of AES-GCM. That of AES-CBC would not help a person, but could help an attacker.
                let error = dek.gcm_error.unwrap_or(error);
                self.provider_failed(&mut read, &labels.transformer_prefix, error.into());
            }
        }
        self.step_read(read, stored)
    }

    fn count_key_id(&mut self, dek: &TriedDek, labels: &Labels) {
        if let (Some(name), Some(hash)) = (&dek.name, &labels.key_id_hash) {
            self.counts.key_id_used(Direction::FromStorage, name, hash, self.now);
        }
    }

    /// Caches a DEK that has sealed or opened a value.
    fn keep(&mut self, provider: ProviderId, name: KeptName, dek: ReadDek) {
        if let Some(kms) = self.providers.get_mut(&provider) {
            kms.keep(name, dek);
        }
        self.count_fill(provider);
    }

    /// Records how full the cache of a KMS v1 provider is.
    fn count_fill(&mut self, provider: ProviderId) {
        if let Some(crate::provider::kms::Kms::V1(v1)) = self.providers.get(&provider)
            && let Some(fill) = v1.cache_fill()
        {
            self.counts.v1_cache_fill(fill);
        }
    }

    /// Returns whether an operation waits for its caller.
    fn is_ready(&self, op: OpId) -> bool {
        self.parked.get(op).is_some_and(|parked| parked.wait == Wait::Caller)
    }
}

fn not_ready() -> TransformError {
    TransformError::new(
        ErrorKind::Internal,
        "no operation with this ID is ready to go on".to_string(),
    )
}

impl core::fmt::Debug for WriteTicket {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("WriteTicket(..)")
    }
}

impl core::fmt::Debug for ReadTicket {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("ReadTicket(..)")
    }
}

impl core::fmt::Debug for PendingRead {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("PendingRead(..)")
    }
}
