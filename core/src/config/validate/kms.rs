//! The validation rules of a KMS provider.

use super::Validator;
use crate::config::fault::{Finding, Position, field};
use crate::config::kms_provider::{KmsProvider, KmsVersion, SocketAddress};
use crate::config::raw::{Field, RawKms};
use crate::config::render::{json, quoted};
use crate::config::{duration, endpoint};
use alloc::borrow::{Cow, ToOwned};
use alloc::format;
use alloc::string::String;
use core::time::Duration;

/// 3 s, in nanoseconds: upstream's defaultTimeout.
const DEFAULT_TIMEOUT: i64 = 3_000_000_000;
/// Upstream's defaultCacheSize, for v1 only.
const DEFAULT_CACHE_SIZE: i32 = 1000;
/// Upstream's defaultAPIVersion.
const DEFAULT_API_VERSION: &str = "v1";

impl Validator<'_> {
    pub(super) fn kms(&mut self, kms: &RawKms, path: &str, at: Position) -> Option<KmsProvider> {
        let RawKms { api_version, name, cache_size, endpoint, timeout } = kms;
        let version_text = match api_version.or_empty() {
            Some("") => Some(DEFAULT_API_VERSION),
            text => text,
        };
        let version = match version_text {
            Some("v1") => Some(KmsVersion::V1),
            Some("v2") => Some(KmsVersion::V2),
            _ => None,
        };
        // Upstream's rules test for "not v1" where they mean v2. A version that could not be decoded is neither.
        let not_v1 = version_text.is_some_and(|text| text != "v1");
        let name_text = name.or_empty();
        if let Some(text) = name_text {
            self.kms_name(text, not_v1, &field(path, "name"), name, at);
        }
        let timeout = self.kms_timeout(timeout, &field(path, "timeout"));
        let address = self.kms_endpoint(endpoint, &field(path, "endpoint"), at);
        let cache_size_path = field(path, "cachesize");
        let cache_size = match (cache_size, version) {
            (Field::Given(size, at), _) if not_v1 => {
                self.faults.push(Finding::invalid(
                    cache_size_path,
                    size,
                    "cachesize is not supported in v2",
                    *at,
                ));
                None
            }
            (Field::Given(0, at), Some(KmsVersion::V1)) => {
                let detail = "cachesize should be a positive value, or negative to disable";
                self.faults.push(Finding::invalid(cache_size_path, 0, detail, *at));
                None
            }
            (Field::Given(size, _), _) => Some(*size),
            (Field::Absent | Field::Bad, Some(KmsVersion::V1)) => Some(DEFAULT_CACHE_SIZE),
            (Field::Absent | Field::Bad, Some(KmsVersion::V2) | None) => None,
        };
        if let (Some(text), None) = (version_text, version) {
            // Upstream prints the name of the field where the value belongs.
            let detail =
                "unsupported apiVersion apiVersion for KMS provider, only v1 and v2 are supported";
            let at = api_version.place(at);
            self.faults.push(Finding::invalid(field(path, "apiVersion"), quoted(text), detail, at));
        }
        Some(KmsProvider {
            version: version?,
            name: name_text?.to_owned(),
            endpoint: endpoint.or_empty()?.to_owned(),
            address: address?,
            timeout: timeout?,
            cache_size,
        })
    }

    fn kms_name(
        &mut self,
        text: &str,
        not_v1: bool,
        path: &str,
        name: &Field<String>,
        holder: Position,
    ) {
        let at = name.place(holder);
        if text.is_empty() {
            self.mandatory(path.to_owned(), "name", "provider", at);
        }
        if not_v1 && text.contains(':') {
            let detail = format!("invalid KMS provider name {text}, must not contain ':'");
            self.faults.push(Finding::invalid(path, quoted(text), detail, at));
        }
        let is_known = self.kms_names.insert(Cow::Owned(text.to_owned()), 0).is_some();
        if is_known && (self.reload || not_v1) {
            let detail = format!("duplicate KMS provider name {text}, names must be unique");
            self.faults.push(Finding::invalid(path, quoted(text), detail, at));
        }
    }

    fn kms_timeout(&mut self, timeout: &Field<i64>, path: &str) -> Option<Duration> {
        let nanoseconds = match timeout {
            Field::Bad => return None,
            Field::Absent => DEFAULT_TIMEOUT,
            Field::Given(nanoseconds, at) => {
                if *nanoseconds <= 0 {
                    let value = json(&duration::show(*nanoseconds));
                    self.faults.push(Finding::invalid(
                        path,
                        value,
                        "timeout should be a positive value",
                        *at,
                    ));
                }
                *nanoseconds
            }
        };
        u64::try_from(nanoseconds).ok().map(Duration::from_nanos)
    }

    fn kms_endpoint(
        &mut self,
        field: &Field<String>,
        path: &str,
        holder: Position,
    ) -> Option<SocketAddress> {
        let text = field.or_empty()?;
        let at = field.place(holder);
        if text.is_empty() {
            // Upstream reports `Invalid value: ""` here, not `Required value`.
            self.faults.push(Finding::invalid(
                path,
                quoted(""),
                "endpoint is a mandatory field for a kms",
                at,
            ));
            return None;
        }
        endpoint::parse(text)
            .map_err(|detail| self.faults.push(Finding::invalid(path, quoted(text), detail, at)))
            .ok()
    }
}
