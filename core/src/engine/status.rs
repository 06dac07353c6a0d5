//! What `/statusz` shows.

use alloc::string::{String, ToString};
use alloc::vec::Vec;

use serde::Serialize;

use super::Engine;
use crate::provider::kms::Kms;
use crate::provider::kms::v2::dek_cache::DekCache;
use crate::provider::kms::v2::key_state::Current;
use crate::time::Timestamp;

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Status<'a> {
    time: String,
    config_hash: &'a str,
    automatic_reload: bool,
    candidate_config_hash: Option<&'a str>,
    last_reload: Option<LastReload<'a>>,
    parked_operations: usize,
    kms_calls_in_flight: usize,
    kms_providers: Vec<Provider<'a>>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct LastReload<'a> {
    time: String,
    config_hash: &'a str,
    error: Option<&'a str>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Provider<'a> {
    name: &'a str,
    api_version: &'static str,
    endpoint: &'a str,
    timeout_milliseconds: u64,
    in_use: bool,
    healthy: Option<bool>,
    write_dek: Option<WriteDek<'a>>,
    last_status: Option<LastStatus<'a>>,
    next_status: Option<String>,
    dek_cache_size: usize,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct WriteDek<'a> {
    key_id_hash: &'a str,
    source_type: &'static str,
    age_seconds: u64,
    expiry: String,
    expired: bool,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct LastStatus<'a> {
    time: String,
    error: Option<&'a str>,
}

impl Engine {
    /// JSON for `/statusz`: the configuration's hash, the last reload, and for each KMS provider its key ID hash, the age and expiry of its
    /// write DEK, its last Status and the size of its cache. No secrets, no key IDs.
    pub fn status(&mut self, now: Timestamp) -> String {
        let now = self.advance(now);
        let kms_providers = self.providers.iter().map(|(id, provider)| Provider {
            name: &provider.info().name,
            api_version: provider.info().version.name(),
            endpoint: &provider.info().endpoint,
            timeout_milliseconds: u64::try_from(provider.info().timeout.as_millis())
                .unwrap_or(u64::MAX),
            in_use: self.running.kms.contains(id),
            healthy: provider.last_answer().map(|(_, fault)| fault.is_none()),
            write_dek: write_dek_of(provider).map(|current| WriteDek {
                key_id_hash: current.dek.source().key_id().hash(),
                source_type: current.dek.source_type().name(),
                age_seconds: now.since(current.since).as_secs(),
                expiry: current.expiry.to_string(),
                expired: current.validate_encrypt_capability(now).is_err(),
            }),
            last_status: provider.last_answer().map(|(at, error)| LastStatus {
                time: at.to_string(),
                error,
            }),
            next_status: provider.poll_due().map(|due| due.to_string()),
            dek_cache_size: provider.cache().map_or(0, DekCache::len),
        });
        let status = Status {
            time: now.to_string(),
            config_hash: &self.running.hash,
            automatic_reload: self.options.reload,
            candidate_config_hash: self.candidate.as_ref().map(|candidate| candidate.hash()),
            last_reload: self.last_reload.as_ref().map(|reload| LastReload {
                time: reload.at.to_string(),
                config_hash: &reload.hash,
                error: reload.error.as_deref(),
            }),
            parked_operations: self.parked.len(),
            kms_calls_in_flight: self.calls.len(),
            kms_providers: kms_providers.collect(),
        };
        // Strings and numbers only: serialization cannot fail.
        serde_json::to_string(&status).unwrap_or_default()
    }
}

/// KMS v1 has a DEK for each write.
fn write_dek_of(provider: &Kms) -> Option<&Current> {
    match provider {
        Kms::V1(_) => None,
        Kms::V2(provider) => provider.state.current(),
    }
}
