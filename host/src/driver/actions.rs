//! Carries out the actions that the guest requests.

use super::Driver;
use super::kms_calls::KmsCalls;
use super::requests::{Open, Pending};
use crate::fault::ReloadError;
use crate::guest::{Action, Guest, LogLevel, LogLine};
use crate::model::HostError;

impl Driver {
    pub(super) fn act(&mut self, action: Action) {
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
            Action::ToStorageDone(done) => {
                if let Some(Pending { open: Open::ToStorage { reply, .. }, .. }) =
                    self.open.remove(&done.op)
                {
                    let outcome = done
                        .outcome
                        .map(Into::into)
                        .map_err(|error| HostError::Transform(error.into()));
                    // The receiver may be gone.
                    let _ = reply.send(outcome);
                }
            }
            Action::FromStorageDone(done) => {
                let outcome = done
                    .outcome
                    .map(Into::into)
                    .map_err(|error| HostError::Transform(error.into()));
                if let Some(Pending { open: Open::FromStorage { reply, .. }, .. }) =
                    self.open.remove(&done.op)
                {
                    let _ = reply.send(outcome);
                }
            }
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
