//! Carries out the actions that the guest requests.

use super::kms_calls::KmsCalls;
use super::requests::{Open, Pending};
use super::{Driver, Opened};
use crate::fault::ReloadError;
use crate::guest::{Action, Guest, LogLevel, LogLine, Polled};
use crate::model::HostError;

impl Driver {
    pub(super) fn act(&mut self, polled: Polled) {
        match polled {
            Polled::Encrypted { op, outcome } => {
                if let Some(Pending { open: Open::ToStorage { reply, .. }, .. }) =
                    self.open.remove(&op)
                {
                    // The receiver may be gone.
                    let _ = reply.send(outcome.map_err(HostError::Transform));
                }
            }
            Polled::Decrypted { op, outcome, dek } => {
                if let Some(Pending { open: Open::FromStorage { reply, .. }, .. }) =
                    self.open.remove(&op)
                {
                    let outcome = outcome.map(|decrypted| Opened { decrypted, dek });
                    let _ = reply.send(outcome.map_err(HostError::Transform));
                }
            }
            Polled::Action(action) => self.perform(action),
        }
    }

    fn perform(&mut self, action: Action) {
        match action {
            Action::CallStatus(call) => {
                self.place(call.provider, |kms, incarnation| kms.status(incarnation, call))
            }
            Action::CallEncrypt(call) => {
                if call.is_new_dek {
                    self.metrics.observe_data_key(self.call_took);
                }
                self.place(call.provider, |kms, incarnation| kms.encrypt(incarnation, call));
            }
            Action::CallDecrypt(call) => {
                self.place(call.provider, |kms, incarnation| kms.decrypt(incarnation, call))
            }
            // `poll_actions` has replaced these.
            Action::ToStorageDone(_) | Action::FromStorageDone(_) | Action::Ready(_) => {}
            Action::HealthDone(done) => {
                if let Some(Pending { open: Open::Health { reply }, .. }) =
                    self.open.remove(&done.op)
                {
                    let _ = reply.send(Ok(done.checks.into_iter().map(Into::into).collect()));
                }
            }
            Action::ReloadDone(done) => {
                let outcome = done.outcome.map_err(ReloadError::Refused);
                self.configs.decided(done.generation, outcome);
            }
            Action::CloseProvider(id) => self.kms.close(id),
            Action::Log(line) => log(&line),
        }
    }

    /// Starts a KMS call. If the provider is unknown, first gets the list of providers from the guest.
    fn place(&mut self, provider: u32, call: impl FnOnce(&mut KmsCalls, u64)) {
        if !self.kms.knows(provider) {
            let Some(providers) = self.ask(None, Guest::kms_providers) else {
                return;
            };
            self.kms.learn(providers);
        }
        call(&mut self.kms, self.incarnation);
    }
}

fn log(line: &LogLine) {
    let LogLine { level, provider, message } = line;
    let provider = provider.as_deref();
    match level {
        LogLevel::Error => tracing::error!(provider, "{message}"),
        LogLevel::Warn => tracing::warn!(provider, "{message}"),
        LogLevel::Info => tracing::info!(provider, "{message}"),
        LogLevel::Debug => tracing::debug!(provider, "{message}"),
    }
}
