//! Parked operations, and KMS calls under way.

use alloc::boxed::Box;
use alloc::string::{String, ToString};
use alloc::sync::Arc;
use alloc::vec::Vec;

use super::config_set::ConfigSet;
use super::event::{Generation, OpId};
use super::routes::Target;
use crate::crypto::keys::DekSourceType;
use crate::crypto::secret::Secret;
use crate::map::SortedMap;
use crate::provider::error::{ErrorKind, TransformError};
use crate::provider::kms::call::{CallId, ProviderId};
use crate::provider::kms::dek_cache::{CacheKey, KeptName, ReadDek};
use crate::provider::plan::SealPlan;
use crate::provider::transformer::Transformer;
use crate::time::Timestamp;

/// The maximum number of parked reads and writes, 4096. Without a limit, an unreachable plugin would let them fill the memory.
pub const PARKED_MAX: usize = 4096;
/// The maximum number of parked health checks, 64, in addition to reads and writes. Health checks that wait at the same time share their probes.
pub(super) const HEALTH_PARKED_MAX: usize = 64;
/// The maximum number of bytes that parked operations may hold, 64 MiB.
pub const PARKED_BYTES_MAX: usize = 64 * 1024 * 1024;

/// What a parked operation waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wait {
    /// The end of a provider's first probe.
    Priming(ProviderId),
    /// The answer to a Decrypt.
    Dek(CallId),
    /// The answer to the Encrypt of the DEK that was generated for this write.
    EncryptedDek(CallId),
    /// The end of several probes.
    Probes,
    /// The end of a probe that may renew an expired DEK or provide the first one.
    Probe(ProviderId),
    /// The caller, who has the value: [`Action::Ready`](super::event::Action::Ready).
    Caller,
}

/// What ended the wait of a parked operation.
pub(super) enum Resumed {
    /// A probe.
    Probed,
    /// The Decrypt that a read waited for.
    Dek(Result<ReadDek, TransformError>),
    /// The Encrypt that a write of KMS v1 waited for.
    EncryptedDek(Result<OnceSealed, TransformError>),
    /// An error that ends the operation and is already counted.
    Failed(TransformError),
}

/// A write of KMS v1 whose DEK is encrypted.
pub(super) struct OnceSealed {
    pub(super) plan: SealPlan,
    /// What to cache when the value is sealed.
    pub(super) keep: Option<Keep>,
}

/// A DEK to cache when it has sealed or opened a value.
pub(super) struct Keep {
    pub(super) provider: ProviderId,
    pub(super) name: KeptName,
    pub(super) dek: ReadDek,
}

/// The result of an operation, or what it must wait for.
pub(super) enum Attempt<T> {
    /// The operation is complete.
    Done(Result<T, TransformError>),
    /// The operation must be parked.
    Park(Wait),
}

/// Under which configuration an operation began, and when.
#[derive(Clone, Copy)]
pub(super) struct Begun {
    pub(super) generation: Generation,
    pub(super) at: Timestamp,
}

/// The room that an operation needs in order to wait.
#[derive(Clone, Copy, Debug)]
pub(super) enum Place {
    /// It was parked before and keeps its room.
    Taken,
    /// It would hold this number of bytes.
    Needed(usize),
    /// It must not wait; see [`Parking::is_tentative`].
    Never,
}

/// Whether an operation may wait.
#[derive(Clone, Copy, Debug)]
pub(super) struct Parking {
    pub(super) place: Place,
    /// When the operation began. If a plugin was probed after that, the operation does not wait for it a second time.
    pub(super) since: Timestamp,
}

impl Parking {
    /// For a tentative operation.
    pub(super) fn never(now: Timestamp) -> Self {
        Self { place: Place::Never, since: now }
    }

    /// Returns whether the operation has no effect and is not counted unless it succeeds at once. A worker's operations are tentative: the control
    /// engine performs those that a worker cannot complete.
    pub(super) fn is_tentative(self) -> bool {
        match self.place {
            Place::Never => true,
            Place::Taken | Place::Needed(_) => false,
        }
    }
}

/// A parked operation.
pub(super) struct Parked {
    pub(super) wait: Wait,
    /// The provider whose plugin the operation waits for. `None` for a health check, which may wait for several.
    pub(super) provider: Option<ProviderId>,
    pub(super) begun: Begun,
    pub(super) operation: Operation,
    /// What ended its wait, while the operation waits for its caller.
    pub(super) resumed: Option<Resumed>,
}

pub(super) enum Operation {
    Write(WriteOperation),
    Read(ReadOperation),
    Health(HealthOperation),
}

/// A write. The caller has its value.
pub(super) struct WriteOperation {
    pub(super) target: Target,
    /// The number of bytes that the operation holds while it is parked, here or at the caller.
    pub(super) size: usize,
}

/// A read, and how far it has come in its list of providers. The caller has its value.
pub(super) struct ReadOperation {
    pub(super) target: Target,
    /// See [`WriteOperation::size`].
    pub(super) size: usize,
    pub(super) progress: ReadProgress,
}

/// How far a read has come.
#[derive(Default)]
pub(super) struct ReadProgress {
    /// The index of the provider to try next.
    pub(super) next: usize,
    /// The number of the key of this provider to try next. Only for local providers.
    pub(super) next_key: usize,
    /// The errors of the keys of this provider that were tried.
    pub(super) key_faults: Vec<TransformError>,
    /// The errors of the providers that were tried.
    pub(super) faults: Vec<TransformError>,
}

impl ReadProgress {
    /// Goes on to the next provider.
    pub(super) fn advance(&mut self) {
        self.next += 1;
        self.next_key = 0;
        self.key_faults.clear();
    }
}

/// The value of a parked operation that this engine holds for its caller.
pub(super) struct Held {
    /// The storage key.
    pub(super) key: Vec<u8>,
    pub(super) value: HeldValue,
}

pub(super) enum HeldValue {
    Plaintext(Secret),
    Stored(Vec<u8>),
}

/// A health check that waits for probes.
pub(super) struct HealthOperation {
    pub(super) set: Arc<ConfigSet>,
    pub(super) waiting: Vec<ProviderId>,
    pub(super) faults: Vec<(ProviderId, String)>,
}

impl Operation {
    fn len(&self) -> usize {
        match self {
            Self::Write(write) => write.size,
            Self::Read(read) => read.size,
            Self::Health(_) => 0,
        }
    }

    /// Returns the KMS providers that the operation may still need.
    pub(super) fn providers(&self) -> Vec<ProviderId> {
        match self {
            Self::Write(WriteOperation { target, .. })
            | Self::Read(ReadOperation { target, .. }) => {
                target.list.iter().filter_map(Transformer::kms_provider).collect()
            }
            Self::Health(health) => health.set.kms.clone(),
        }
    }
}

/// The operations that wait for one plugin.
#[derive(Clone, Copy, Default)]
struct Share {
    count: usize,
    bytes: usize,
}

/// All parked operations, within their limits.
#[derive(Default)]
pub(super) struct ParkedOperations {
    by_id: SortedMap<OpId, Box<Parked>>,
    /// The number of parked health checks.
    health: usize,
    bytes: usize,
    /// The share of each plugin.
    shares: SortedMap<ProviderId, Share>,
}

impl ParkedOperations {
    pub(super) fn contains(&self, op: OpId) -> bool {
        self.by_id.contains_key(&op)
    }

    pub(super) fn len(&self) -> usize {
        self.by_id.len()
    }

    /// Returns whether a read or a write may wait for this provider. If there are several providers, the operations that wait for one of them may
    /// take at most as much room as they leave free. So if its plugin is unreachable, there is still room for operations that wait for the others.
    pub(super) fn has_room(&self, provider: ProviderId, place: Place, is_only: bool) -> bool {
        let len = match place {
            Place::Taken => return true,
            Place::Never => return false,
            Place::Needed(len) => len,
        };
        let own = match self.shares.get(&provider) {
            Some(share) if !is_only => *share,
            Some(_) | None => Share::default(),
        };
        let free = PARKED_MAX.saturating_sub(self.by_id.len() - self.health);
        let free_bytes = PARKED_BYTES_MAX.saturating_sub(self.bytes);
        own.count < free && own.bytes.saturating_add(len) <= free_bytes
    }

    /// Returns whether one more health check may wait.
    pub(super) fn has_room_for_health(&self) -> bool {
        self.health < HEALTH_PARKED_MAX
    }

    pub(super) fn insert(&mut self, op: OpId, parked: Parked) {
        let len = parked.operation.len();
        self.bytes += len;
        self.health += usize::from(matches!(parked.operation, Operation::Health(_)));
        if let Some(provider) = parked.provider {
            let mut share = self.shares.remove(&provider).unwrap_or_default();
            share.count += 1;
            share.bytes += len;
            self.shares.insert(provider, share);
        }
        self.by_id.insert(op, Box::new(parked));
    }

    pub(super) fn remove(&mut self, op: OpId) -> Option<Parked> {
        let parked = self.by_id.remove(&op)?;
        let len = parked.operation.len();
        self.bytes -= len;
        self.health -= usize::from(matches!(parked.operation, Operation::Health(_)));
        if let Some(provider) = parked.provider
            && let Some(mut share) = self.shares.remove(&provider)
            && share.count > 1
        {
            share.count -= 1;
            share.bytes -= len;
            self.shares.insert(provider, share);
        }
        Some(*parked)
    }

    /// Makes an operation wait for its caller. Returns `false` if there is no such operation.
    pub(super) fn make_ready(&mut self, op: OpId, resumed: Resumed) -> bool {
        let Some(parked) = self.by_id.get_mut(&op) else {
            return false;
        };
        parked.wait = Wait::Caller;
        parked.resumed = Some(resumed);
        true
    }

    pub(super) fn get(&self, op: OpId) -> Option<&Parked> {
        self.by_id.get(&op).map(|parked| &**parked)
    }

    /// Returns the operations for which `wanted` holds, in the order of their IDs.
    pub(super) fn find(&self, wanted: impl Fn(&Parked) -> bool) -> Vec<OpId> {
        self.by_id.iter().filter(|(_, parked)| wanted(parked)).map(|(op, _)| *op).collect()
    }

    pub(super) fn health_mut(&mut self) -> impl Iterator<Item = (OpId, &mut HealthOperation)> {
        self.by_id.iter_mut().filter_map(|(op, parked)| match &mut parked.operation {
            Operation::Health(health) => Some((*op, health)),
            Operation::Write(_) | Operation::Read(_) => None,
        })
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Parked> {
        self.by_id.values().map(|parked| &**parked)
    }
}

/// A KMS call under way.
pub(super) struct Call {
    pub(super) provider: ProviderId,
    /// When the call counts as failed, whether or not the host reports a failure.
    pub(super) deadline: Timestamp,
    pub(super) purpose: Purpose,
}

impl Call {
    /// Returns the time that counts as the end of the call. A failure that is reported after the deadline, for example because the machine slept,
    /// counts as of the deadline, so that the next poll is due a fixed time after the deadline and not after `now`.
    pub(super) fn ended<T, E>(&self, outcome: &Result<T, E>, now: Timestamp) -> Timestamp {
        match outcome {
            Ok(_) => now,
            Err(_) => now.min(self.deadline),
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Purpose {
    Status,
    Encrypt,
    Verify,
    Dek { key: CacheKey, source_type: DekSourceType, cbc_fallback: bool },
    EncryptDek,
}

/// Returns the error of an operation that outlived its configuration.
pub(super) fn closed() -> TransformError {
    TransformError::new(ErrorKind::Kms, "the KMS provider was closed by a reload".to_string())
}

/// Returns the error of a write to an engine that only decrypts.
pub(super) fn read_only() -> TransformError {
    TransformError::new(
        ErrorKind::ReadOnly,
        "this engine is read-only: it decrypts values and encrypts none; to encrypt, create one without the option read-only"
            .to_string(),
    )
}

/// Returns the error of a tentative operation that only the control engine can perform. Nobody sees it: the worker's caller receives `None`.
pub(super) fn declined() -> TransformError {
    TransformError::new(ErrorKind::Internal, "the control engine must do this".to_string())
}

/// Returns the error of an operation that would have to wait but may not.
pub(super) fn overloaded() -> TransformError {
    TransformError::new(
        ErrorKind::Overloaded,
        "too many operations are waiting for the KMS plugin; try again".to_string(),
    )
}

#[cfg(test)]
mod tests;
