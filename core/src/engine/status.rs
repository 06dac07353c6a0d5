//! The engine's state for `/statusz`.

use alloc::string::{String, ToString};

use super::Engine;
use crate::json::Writer;
use crate::provider::kms::Kms;
use crate::provider::kms::dek_cache::DekCache;
use crate::provider::kms::last_answer::LastAnswer;
use crate::provider::kms::v2::key_state::Current;
use crate::time::Timestamp;

impl Engine {
    /// Returns JSON for `/statusz`: the configuration's hash, the last reload, the names in the configuration and, for each KMS provider, its key ID hash, the age and expiry of its
    /// write DEK, its last Status and the size of its cache. Contains no secrets and no key IDs.
    pub fn status(&mut self, now: Timestamp) -> String {
        let now = self.advance(now);
        let mut json = Writer::default();
        json.open('{');
        json.text("time", &now.to_string());
        json.text("configHash", &self.running.file.hash);
        json.flag("automaticReload", Some(self.options.reload));
        json.flag("readOnly", Some(self.options.read_only));
        let candidate = self.candidate.as_ref();
        json.text_or_null("candidateConfigHash", candidate.map(|candidate| candidate.hash()));
        match &self.last_reload {
            Some(reload) => {
                json.open_member("lastReload", '{');
                json.text("time", &reload.at.to_string());
                json.text("configHash", &reload.hash);
                json.text_or_null("error", reload.error.as_deref());
                json.close('}');
            }
            None => json.null("lastReload"),
        }
        json.open_member("rules", '[');
        for rule in &self.running.names {
            rule.write(&mut json);
        }
        json.close(']');
        json.number("parkedOperations", self.parked.len() as u64);
        json.number("kmsCallsInFlight", self.calls.len() as u64);
        json.open_member("kmsProviders", '[');
        for (id, provider) in self.providers.iter() {
            json.open('{');
            write_provider(&mut json, provider, self.running.kms.contains(id), now);
            json.close('}');
        }
        json.close(']');
        json.close('}');
        json.finish()
    }
}

fn write_provider(json: &mut Writer, provider: &Kms, in_use: bool, now: Timestamp) {
    let info = provider.info();
    json.text("name", &info.name);
    json.text("apiVersion", info.version.name());
    json.text("endpoint", &info.endpoint);
    let timeout = u64::try_from(info.timeout.as_millis()).unwrap_or(u64::MAX);
    json.number("timeoutMilliseconds", timeout);
    json.flag("inUse", Some(in_use));
    let last = provider.last_answer();
    json.flag("healthy", last.map(|answer| answer.fault.is_none()));
    match write_dek_of(provider) {
        Some(current) => {
            json.open_member("writeDek", '{');
            json.text("keyIdHash", current.dek.source().key_id().hash());
            json.text("sourceType", current.dek.source_type().name());
            json.number("ageSeconds", now.since(current.since).as_secs());
            json.text("expiry", &current.expiry.to_string());
            let expired = current.validate_encrypt_capability(now).is_err();
            json.flag("expired", Some(expired));
            json.close('}');
        }
        None => json.null("writeDek"),
    }
    match last {
        Some(LastAnswer { at, fault }) => {
            json.open_member("lastStatus", '{');
            json.text("time", &at.to_string());
            json.text_or_null("error", fault.as_deref());
            json.close('}');
        }
        None => json.null("lastStatus"),
    }
    let next = provider.poll_due().map(|due| due.to_string());
    json.text_or_null("nextStatus", next.as_deref());
    json.number("dekCacheSize", provider.cache().map_or(0, DekCache::len) as u64);
}

/// Returns a provider's write DEK. KMS v1 has none, because it uses a new DEK for each write.
fn write_dek_of(provider: &Kms) -> Option<&Current> {
    match provider {
        Kms::V1(_) => None,
        Kms::V2(provider) => provider.state.current(),
    }
}
