//! How KMS calls begin, complete and expire.

use alloc::boxed::Box;

use super::event::{Action, Event, LogLevel};
use super::pending::{Call, Parked, Purpose, Resumed, Wait, closed};
use super::{Engine, Role};
use crate::crypto::keys::DekSourceType;
use crate::crypto::secret::DekBytes;
use crate::provider::error::{ErrorKind, TransformError};
use crate::provider::kms::call::{CallError, CallId, EncryptResponse, ProviderId, StatusResponse};
use crate::provider::kms::dek_cache::{CacheKey, ReadDek};
use crate::provider::kms::probe_step::{Outcome, Request, Step};
use crate::provider::kms::v2::key_state::{KeyIdFromStatus, StatusStep};
use crate::provider::kms::{Kms, v1};
use crate::time::Timestamp;

impl Engine {
    /// Handles an [`Event`]. The result of a KMS call is ignored if the call is unknown (for example because it has expired), or if its kind does not
    /// match the call.
    pub fn handle_event(&mut self, event: Event, now: Timestamp) {
        let now = self.advance(now);
        match event {
            Event::Status { call, outcome } => self.on_status(call, outcome),
            Event::Encrypted { call, outcome } => self.on_encrypted(call, outcome),
            Event::Decrypted { call, outcome } => self.on_decrypted(call, outcome),
            Event::Restored => self.replace_write_deks(now),
        }
        self.step_candidate();
        self.close_unused();
    }

    fn on_status(&mut self, call: CallId, outcome: Result<StatusResponse, CallError>) {
        let now = self.now;
        if let Some(call) = self.take_call(call, |purpose| purpose == Purpose::Status)
            && let Some(Kms::V2(provider)) = self.providers.get_mut(&call.provider)
        {
            let at = call.ended(&outcome, now);
            let StatusStep { step, key_id } =
                provider.state.on_status(outcome, &*self.keys, &*self.entropy, at);
            match key_id {
                Some(KeyIdFromStatus::Valid(hash)) => {
                    self.counts.key_id_from_status(&provider.info.name, &hash, now)
                }
                Some(KeyIdFromStatus::Invalid(code)) => {
                    self.counts.invalid_key_id_from_status(&provider.info.name, code)
                }
                None => {}
            }
            self.step_probe(call.provider, step);
        }
    }

    fn on_encrypted(&mut self, call: CallId, outcome: Result<EncryptResponse, CallError>) {
        let taken = self.take_call(call, |purpose| match purpose {
            Purpose::Encrypt | Purpose::EncryptDek => true,
            Purpose::Status | Purpose::Verify | Purpose::Dek { .. } => false,
        });
        match taken {
            Some(Call { provider: id, purpose: Purpose::EncryptDek, .. }) => {
                self.dek_encrypted(call, id, outcome)
            }
            Some(taken @ Call { provider: id, .. }) => {
                if let Some(provider) = self.providers.get_mut(&id) {
                    let at = taken.ended(&outcome, self.now);
                    let step = provider.on_encrypted(outcome, at);
                    self.step_probe(id, step);
                }
            }
            None => {}
        }
    }

    fn on_decrypted(&mut self, call: CallId, outcome: Result<DekBytes, CallError>) {
        let taken = self.take_call(call, |purpose| match purpose {
            Purpose::Verify | Purpose::Dek { .. } => true,
            Purpose::Status | Purpose::Encrypt | Purpose::EncryptDek => false,
        });
        match taken {
            Some(Call {
                provider: id,
                purpose: Purpose::Dek { key, source_type, cbc_fallback },
                ..
            }) => {
                if let Some(Kms::V1(provider)) = self.providers.get_mut(&id) {
                    provider.on_read(&outcome, self.now);
                }
                let dek = self.read_dek(source_type, cbc_fallback, outcome);
                self.dek_decrypted(call, id, key, &dek);
            }
            Some(taken @ Call { provider: id, .. }) => {
                if let Some(provider) = self.providers.get_mut(&id) {
                    let at = taken.ended(&outcome, self.now);
                    let step = provider.on_decrypted(outcome, at);
                    self.step_probe(id, step);
                }
            }
            None => {}
        }
    }

    /// Replaces every KMS v2 write DEK after a restored snapshot. Each copy restored from the snapshot would continue the DEK's counter at the same
    /// value. A read-only engine has no write DEK.
    fn replace_write_deks(&mut self, now: Timestamp) {
        if self.options.read_only {
            return;
        }
        self.log(
            LogLevel::Warn,
            None,
            "this process or its machine was restored from a snapshot, or its clock jumped ahead: each write DEK is replaced before the next write"
                .into(),
        );
        let mut replaced = alloc::vec::Vec::new();
        for (id, provider) in self.providers.iter_mut() {
            if let Kms::V2(provider) = provider {
                provider.state.retire(now);
                replaced.push(*id);
            }
        }
        // The calls of a probe under way were made before the restore, so another copy of the memory may hold their DEK too. Drop the calls; their
        // answers are then ignored.
        self.calls.retain(|_, call| match call.purpose {
            Purpose::Status | Purpose::Encrypt | Purpose::Verify => {
                !replaced.contains(&call.provider)
            }
            Purpose::Dek { .. } | Purpose::EncryptDek => true,
        });
        for id in replaced {
            self.begin_probe(id);
        }
    }

    /// Registers a new call, with the provider's timeout as its deadline. Returns `None` if the provider no longer exists.
    pub(super) fn begin_call(&mut self, provider: ProviderId, purpose: Purpose) -> Option<CallId> {
        let timeout = self.providers.get(&provider)?.info().timeout;
        let call = CallId(self.next_call);
        self.next_call += 1;
        self.calls.insert(call, Box::new(Call { provider, deadline: self.now + timeout, purpose }));
        Some(call)
    }

    /// Starts a probe of a provider, unless one is under way. A worker never starts one.
    pub(super) fn begin_probe(&mut self, id: ProviderId) {
        if self.role == Role::Worker {
            return;
        }
        let now = self.now;
        if let Some(request) = self.providers.get_mut(&id).and_then(|provider| provider.probe(now))
        {
            self.step_probe(id, Step::Call(request));
        }
    }

    /// Fails the calls whose deadline has passed, whether or not the host reports them as failed.
    pub(super) fn expire_calls(&mut self, now: Timestamp) {
        let expired = self
            .calls
            .iter()
            .filter(|(_, call)| call.deadline <= now)
            .map(|(id, call)| (*id, call.purpose));
        for (call, purpose) in expired.collect::<alloc::vec::Vec<_>>() {
            let error = CallError::deadline_exceeded();
            let event = match purpose {
                Purpose::Status => Event::Status { call, outcome: Err(error) },
                Purpose::Encrypt | Purpose::EncryptDek => {
                    Event::Encrypted { call, outcome: Err(error) }
                }
                Purpose::Verify | Purpose::Dek { .. } => {
                    Event::Decrypted { call, outcome: Err(error) }
                }
            };
            self.handle_event(event, now);
        }
    }

    fn take_call(&mut self, id: CallId, expected: impl Fn(Purpose) -> bool) -> Option<Call> {
        let purpose = self.calls.get(&id)?.purpose;
        if expected(purpose) { self.calls.remove(&id).map(|call| *call) } else { None }
    }

    fn step_probe(&mut self, id: ProviderId, step: Step) {
        let request = match step {
            Step::Call(request) => request,
            Step::Done(outcome) => return self.end_probe(id, outcome),
        };
        let purpose = match request {
            Request::Status => Purpose::Status,
            Request::Encrypt { .. } => Purpose::Encrypt,
            Request::Decrypt { .. } => Purpose::Verify,
        };
        let Some(call) = self.begin_call(id, purpose) else {
            return;
        };
        // The probe of a KMS v1 provider encrypts `ping`, not a DEK.
        let is_new_dek = matches!(self.providers.get(&id), Some(Kms::V2(_)));
        self.actions.push_back(match request {
            Request::Status => Action::CallStatus { call, provider: id },
            Request::Encrypt { uid, plaintext } => {
                Action::CallEncrypt { call, provider: id, uid, plaintext, is_new_dek }
            }
            Request::Decrypt { uid, request } => {
                Action::CallDecrypt { call, provider: id, uid, request }
            }
        });
    }

    fn end_probe(&mut self, id: ProviderId, outcome: Outcome) {
        let Outcome { fault, rotated, generation_failed } = outcome;
        if generation_failed {
            self.counts.data_key_generation_failed();
        }
        if let Some(message) = rotated {
            if let Some(Kms::V2(provider)) = self.providers.get_mut(&id) {
                provider.has_written = false;
            }
            self.log(LogLevel::Info, Some(id), message);
        }
        if let Some(fault) = &fault {
            self.log(LogLevel::Warn, Some(id), fault.clone());
        }
        let waits = [Wait::Priming(id), Wait::Probe(id)];
        for op in self.parked.find(|parked| waits.contains(&parked.wait)) {
            self.resume(op, Resumed::Probed);
        }
        self.health_probed(id, fault);
    }

    /// Converts the plugin's answer to a Decrypt into a DEK for reading.
    fn read_dek(
        &self,
        source_type: DekSourceType,
        cbc_fallback: bool,
        outcome: Result<DekBytes, CallError>,
    ) -> Result<ReadDek, TransformError> {
        match outcome {
            Ok(bytes) => {
                let dek = if cbc_fallback {
                    v1::read_dek(&*self.keys, &bytes)
                } else {
                    self.keys.import_dek(source_type, &bytes).map(ReadDek::new)
                };
                dek.map_err(|error| TransformError {
                    kind: ErrorKind::Kms,
                    message: alloc::format!("failed to decrypt DEK, error: {error}"),
                    grpc_code: None,
                })
            }
            // Upstream's KMS v1 does not wrap this error.
            Err(error) if cbc_fallback => Err((&error).into()),
            Err(error) => Err(TransformError::kms("failed to decrypt DEK", &error)),
        }
    }

    fn dek_decrypted(
        &mut self,
        call: CallId,
        id: ProviderId,
        key: CacheKey,
        dek: &Result<ReadDek, TransformError>,
    ) {
        if let Some(provider) = self.providers.get_mut(&id)
            && provider.in_flight().get(&key) == Some(&call)
        {
            provider.in_flight().remove(&key);
        }
        // A failed Decrypt also wakes every waiting read. Each of them continues with its next provider.
        for op in self.parked.find(|parked| parked.wait == Wait::Dek(call)) {
            self.resume(op, Resumed::Dek(dek.clone()));
        }
    }

    /// Fails the operations that are still parked after their configuration's grace period.
    pub(super) fn expire_retired(&mut self) {
        let now = self.now;
        let Some(expired) = self
            .retired
            .iter()
            .filter(|(_, deadline)| *deadline <= now)
            .map(|(generation, _)| *generation)
            .max()
        else {
            return;
        };
        self.retired.retain(|(generation, _)| *generation > expired);
        let is_over =
            |parked: &Parked| parked.begun.generation <= expired && parked.wait != Wait::Caller;
        for op in self.parked.find(is_over) {
            self.fail(op, closed());
        }
    }
}
