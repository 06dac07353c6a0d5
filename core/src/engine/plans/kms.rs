//! Plans with KMS providers.

use alloc::string::String;
use alloc::sync::Arc;

use super::PendingRead;
use crate::crypto::entropy::uuid;
use crate::crypto::keys::DekSourceType;
use crate::engine::counts::Direction;
use crate::engine::event::Action;
use crate::engine::pending::{
    Attempt, Keep, OnceSealed, Operation, Parked, Parking, Purpose, Resumed, Wait, WriteOperation,
    closed, declined, overloaded,
};
use crate::engine::{Engine, Role};
use crate::provider::error::{ErrorKind, TransformError};
use crate::provider::kms::Kms;
use crate::provider::kms::call::{self, CallError, CallId, EncryptResponse, ProviderId};
use crate::provider::kms::dek_cache::CacheKey;
use crate::provider::kms::step::{DekNeeded, OpenStep, ReadStep, WriteStep};
use crate::provider::kms::v2::envelope::Fields;
use crate::provider::plan::SealPlan;
use crate::provider::stored::{Missing, Stored};

/// A plan, `sha256:<hex>` of the key ID (only for KMS v2), and the name of the provider.
type PlannedWrite = (SealPlan, Option<Arc<str>>, Arc<str>);

/// The DEK of a value, and whether the plugin has just decrypted it.
type PlannedRead = (OpenStep, bool);

impl Engine {
    /// Plans a write with a KMS provider.
    pub(super) fn write_kms(&mut self, id: ProviderId, parking: Parking) -> Attempt<PlannedWrite> {
        let now = self.now;
        let Some(provider) = self.providers.get_mut(&id) else {
            return Attempt::Done(Err(closed()));
        };
        if let Kms::V1(_) = provider {
            // Each write needs the plugin.
            if parking.is_tentative() {
                return Attempt::Done(Err(declined()));
            }
            self.counts.v1_arrival(Direction::ToStorage, now);
        }
        match provider.write(now) {
            Ok(WriteStep::Seal { plan, key_id_hash }) => {
                Attempt::Done(Ok((plan, key_id_hash, provider.info().name.clone())))
            }
            Ok(WriteStep::Priming | WriteStep::NeedsEncryptedDek)
                if !self.has_room(id, parking) =>
            {
                Attempt::Done(Err(overloaded()))
            }
            Ok(WriteStep::Priming) => Attempt::Park(Wait::Priming(id)),
            Ok(WriteStep::NeedsEncryptedDek) => match self.ask_for_encrypted_dek(id) {
                Ok(call) => Attempt::Park(Wait::EncryptedDek(call)),
                Err(error) => Attempt::Done(Err(error)),
            },
            Err(error) if error.kind == ErrorKind::NotReady => self.not_ready(id, error, parking),
            Err(error) => {
                // The first write that finds the nonces exhausted starts a probe at once. If the plugin fails, later writes leave further probes to
                // the polls.
                let due = self.providers.get(&id).and_then(Kms::poll_due);
                let is_due = due.is_some_and(|due| due <= now);
                if error.kind == ErrorKind::NoncesExhausted && is_due {
                    self.begin_probe(id);
                }
                Attempt::Done(Err(error))
            }
        }
    }

    /// Returns whether an operation may wait for the plugin of a provider.
    fn has_room(&self, id: ProviderId, parking: Parking) -> bool {
        let is_only = self.running.kms.len() == 1;
        self.parked.has_room(id, parking.place, is_only)
    }

    /// Handles the case that there is no DEK or that it has expired.
    ///
    /// The poll that would have provided or renewed the DEK may be overdue, because the process, the machine or the tab slept, or it may be under
    /// way. The operation then waits for the poll to end. It fails at once if the next poll is not due yet, or if the plugin was probed after the
    /// operation began and still provided no DEK.
    ///
    /// MUST DIFFER: upstream always fails the operation at once.
    fn not_ready<T>(
        &mut self,
        id: ProviderId,
        error: TransformError,
        parking: Parking,
    ) -> Attempt<T> {
        let Some(Kms::V2(provider)) = self.providers.get(&id) else {
            return Attempt::Done(Err(error));
        };
        let is_overdue = provider.state.poll_due().is_none_or(|due| due <= self.now);
        if self.role == Role::Worker || !is_overdue || provider.state.was_asked_since(parking.since)
        {
            return Attempt::Done(Err(error));
        }
        if !self.has_room(id, parking) {
            return Attempt::Done(Err(overloaded()));
        }
        self.begin_probe(id);
        Attempt::Park(Wait::Probe(id))
    }

    /// Generates a DEK for one KMS v1 write and requests its encryption by the plugin. Returns the ID of the call.
    fn ask_for_encrypted_dek(&mut self, id: ProviderId) -> Result<CallId, TransformError> {
        let generated = self
            .keys
            .generate(DekSourceType::AesGcmKey, &*self.entropy)
            .and_then(|dek| dek.to_encrypt().map(|plaintext| (dek, plaintext)));
        let (dek, plaintext) =
            generated.inspect_err(|_| self.counts.data_key_generation_failed())?;
        let call = self.begin_call(id, Purpose::EncryptDek).ok_or_else(closed)?;
        self.deks.insert(call, dek);
        self.actions.push_back(Action::CallEncrypt {
            call,
            provider: id,
            uid: String::new(),
            plaintext,
            is_new_dek: true,
        });
        Ok(call)
    }

    /// Completes the KMS v1 write whose DEK the plugin has encrypted or failed to encrypt. If the write was cancelled, no operation waits for the
    /// answer.
    pub(in crate::engine) fn dek_encrypted(
        &mut self,
        call: CallId,
        id: ProviderId,
        outcome: Result<EncryptResponse, CallError>,
    ) {
        let Some(dek) = self.deks.remove(&call) else {
            return;
        };
        // The call was made for one write, so that its DEK seals one value.
        let waiting = self.parked.find(|parked| parked.wait == Wait::EncryptedDek(call));
        let Some(op) = waiting.first().copied() else {
            return;
        };
        let Some(Parked { operation: Operation::Write(WriteOperation { target, .. }), .. }) =
            self.parked.get(op)
        else {
            return;
        };
        let prefix = target.list.first().map(|transformer| transformer.prefix.clone());
        let sealed = match (&outcome, self.providers.get(&id), prefix) {
            (Ok(answer), Some(Kms::V1(provider)), Some(prefix)) => {
                let planned = provider.seal(&prefix, dek, &answer.ciphertext, &*self.keys);
                planned.map(|(plan, keep)| {
                    let keep = keep.map(|(name, dek)| Keep { provider: id, name, dek });
                    OnceSealed { plan, keep }
                })
            }
            (Ok(_), ..) => Err(closed()),
            // Upstream does not wrap this error.
            (Err(error), ..) => Err(error.into()),
        };
        self.resume(op, Resumed::EncryptedDek(sealed));
    }

    /// Plans a read with a KMS provider. `value` is the part after the prefix.
    pub(super) fn read_kms(
        &mut self,
        id: ProviderId,
        value: Stored<'_>,
        read: &mut PendingRead,
    ) -> Result<Attempt<PlannedRead>, Missing> {
        let parking = read.parking;
        if let Some(Err(error)) = read.resumed.as_deref() {
            let error = without_key_id(error.clone(), value)?;
            read.resumed = None;
            return Ok(Attempt::Done(Err(error)));
        }
        let is_resumed = read.resumed.is_some();
        if self.options.read_only && parking.is_tentative() {
            // Only the control engine knows the key ID of the last Status, which determines the value's state.
            return Ok(Attempt::Done(Err(declined())));
        }
        let Some(provider) = self.providers.get_mut(&id) else {
            return Ok(Attempt::Done(Err(closed())));
        };
        let is_v1 = matches!(provider, Kms::V1(_));
        if is_v1 && !is_resumed && parking.is_tentative() {
            // Workers have no DEKs of KMS v1.
            return Ok(Attempt::Done(Err(declined())));
        }
        let resumed = read.resumed.as_deref().and_then(|dek| dek.as_ref().ok());
        let step = provider.read(value, resumed)?;
        read.resumed = None;
        if is_v1 && !is_resumed {
            self.counts.v1_arrival(Direction::FromStorage, self.now);
        }
        Ok(match step {
            Ok(ReadStep::Open(step)) => Attempt::Done(Ok((step, is_resumed))),
            Ok(ReadStep::Priming | ReadStep::NeedsDek(..)) if !self.has_room(id, parking) => {
                Attempt::Done(Err(overloaded()))
            }
            Ok(ReadStep::Priming) => Attempt::Park(Wait::Priming(id)),
            Ok(ReadStep::NeedsDek(key, needed)) => match self.ask_for_dek(id, key, needed) {
                Ok(call) => Attempt::Park(Wait::Dek(call)),
                Err(error) => Attempt::Done(Err(error)),
            },
            Err(error) if error.kind == ErrorKind::NotReady => self.not_ready(id, error, parking),
            Err(error) => Attempt::Done(Err(error)),
        })
    }

    /// Requests the decryption of a DEK by the plugin, unless a call for it is under way. Returns the ID of the call.
    fn ask_for_dek(
        &mut self,
        id: ProviderId,
        key: CacheKey,
        needed: DekNeeded,
    ) -> Result<CallId, TransformError> {
        let provider = self.providers.get_mut(&id).ok_or_else(closed)?;
        if provider.cache().is_some() {
            self.counts.cache_miss();
        }
        if let Some(call) = provider.in_flight().get(&key).copied()
            // Do not wait for a call that is past its deadline: its failure would not show the plugin's current state.
            && self.calls.get(&call).is_some_and(|call| call.deadline > self.now)
        {
            return Ok(call);
        }
        let DekNeeded { request, source_type, cbc_fallback } = needed;
        let uid = uuid(&*self.entropy)?;
        let purpose = Purpose::Dek { key, source_type, cbc_fallback };
        let call = self.begin_call(id, purpose).ok_or_else(closed)?;
        self.actions.push_back(Action::CallDecrypt { call, provider: id, uid, request });
        if let Some(provider) = self.providers.get_mut(&id) {
            provider.in_flight().insert(key, call);
        }
        Ok(call)
    }
}

/// Replaces the value's key ID with its hash in the error of a Decrypt.
fn without_key_id(error: TransformError, value: Stored<'_>) -> Result<TransformError, Missing> {
    Ok(match Fields::decode(value)? {
        Ok(fields) => {
            TransformError { message: call::without_key_id(&error.message, fields.key_id), ..error }
        }
        // A KMS v1 value, which contains no key ID.
        Err(_) => error,
    })
}
