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
mod read;
mod write;

use alloc::boxed::Box;
use alloc::string::ToString;
use alloc::sync::Arc;

use super::Engine;
use super::event::OpId;
use super::pending::{Begun, Keep, Parking, ReadOperation, Wait};
use super::routes::RouteId;
use crate::crypto::keys::{LocalKey, OpenError};
use crate::provider::error::{ErrorKind, TransformError};
use crate::provider::kms::call::ProviderId;
use crate::provider::kms::dek_cache::{KeptName, ReadDek};
use crate::provider::local::LocalKeys;
use crate::provider::plan::{ReadPlan, WritePlan};
use crate::provider::stored::Missing;
use crate::provider::value::{Labels, ValueState};

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
    /// Boxed, as in the other types of this file: nearly every value has none, and plans are moved often.
    keep: Option<Box<Keep>>,
    is_tentative: bool,
    times: u64,
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
    times: u64,
}

/// A read that has not ended.
pub struct PendingRead {
    op: OpId,
    begun: Begun,
    parking: Parking,
    operation: ReadOperation,
    resumed: Option<Box<Result<ReadDek, TransformError>>>,
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
    keep: Option<Box<(KeptName, ReadDek)>>,
    /// Whether the plugin has just decrypted the DEK.
    is_resumed: bool,
    cbc: Option<Arc<dyn LocalKey>>,
    range: core::ops::Range<usize>,
    /// The error of AES-GCM, if AES-CBC is tried now.
    gcm_error: Option<OpenError>,
}

impl WriteJob {
    /// Plans another write of the same resource at the same time, with the same key and the next nonce. The ticket then counts one more write. Returns
    /// `None` if that write must be planned separately.
    ///
    /// Only for the last plan that the engine made, and before any other function of the engine is called.
    pub fn again(&mut self) -> Option<WritePlan> {
        let plan = match &self.plan {
            WritePlan::Copy => WritePlan::Copy,
            WritePlan::Seal(plan) => WritePlan::Seal(plan.again()?),
        };
        self.ticket.times += 1;
        Some(plan)
    }
}

impl WriteTicket {
    /// Counts one write less, because its plan could not be carried out.
    pub const fn withdraw_one(&mut self) {
        self.times = self.times.saturating_sub(1);
    }
}

impl ReadTicket {
    /// Counts one read less, because its plan could not be carried out.
    pub const fn withdraw_one(&mut self) {
        self.times = self.times.saturating_sub(1);
    }
}

impl Engine {
    /// Returns the number of a resource: the resource, then its group.
    pub fn route(&mut self, resource: &str) -> RouteId {
        self.routes.id(resource, &self.running)
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
