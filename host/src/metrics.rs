//! Counts and times what the host does, and renders these metrics and the engine's as one text.
//!
//! The text is in Prometheus' format, version 0.0.4, which every Prometheus accepts by default and which kube-apiserver uses. OpenMetrics,
//! prometheus-client's native format, would remove `_total` from the names in `# TYPE` lines, so that they would differ from upstream's.

mod series;
mod sum;
mod text;
mod transformations;

use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

use crate::model::{MetricFamily, MetricKind, Sample};
pub(crate) use sum::add_up;

use series::{Bounded, Counted, Total, data_key_histogram, kms_histogram};
use transformations::{Registered, Transformations};

/// The maximum number of series per histogram, 200. Beyond it, a new series replaces the one that was created first, and starts at zero.
///
/// Two labels are not fixed sets: provider names and transformer prefixes. Both come from the configuration file, so only a process that keeps
/// reloading new names reaches this limit. Upstream has no limit for them.
pub(crate) const MAX_SERIES: usize = 200;

/// The `Content-Type` of [`Metrics::render`].
pub(crate) const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// The direction of a transformation: the label `transformation_type`.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub(crate) enum TransformationType {
    /// A write.
    ToStorage,
    /// A read.
    FromStorage,
}

impl TransformationType {
    /// Returns upstream's label value.
    #[must_use]
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::ToStorage => "to_storage",
            Self::FromStorage => "from_storage",
        }
    }
}

/// The host's metrics. Shared in an `Arc`; all methods may be called from any thread.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    kms: Bounded<KmsLabels>,
    kms_v1: Bounded<KmsLabels>,
    transformations: Arc<Transformations>,
    http_requests: Family<HttpLabels, Total>,
    component_traps: Total,
    component_restarts: Total,
    data_keys: Histogram,
    reloads: Family<ReloadLabels, Total>,
    reload_timestamps: Family<ReloadLabels, Gauge<f64, AtomicU64>>,
    /// The hash of the configuration in use: the only series of `last_config_info`.
    last_config_hash: Mutex<Option<String>>,
    apiserver_id_hash: String,
}

impl Metrics {
    /// Creates an empty registry.
    ///
    /// `apiserver_id` identifies this server. It appears only as `sha256:<hex>`; an empty ID stays empty, as in upstream.
    #[must_use]
    pub fn new(apiserver_id: &str) -> Self {
        let kms = Bounded::new(kms_histogram);
        let kms_v1 = Bounded::new(kms_histogram);
        let transformations = Arc::new(Transformations::new());
        let data_keys = data_key_histogram();
        let http_requests = Family::<HttpLabels, Total>::default();
        let component_traps = Total::default();
        let component_restarts = Total::default();
        let reloads = Family::<ReloadLabels, Total>::default();
        let reload_timestamps = Family::<ReloadLabels, Gauge<f64, AtomicU64>>::default();

        // Names, labels and buckets are upstream's. prometheus-client appends a full stop to each help text.
        let mut registry = Registry::default();
        // Upstream: pkg/storage/value/encrypt/envelope/metrics/metrics.go.
        registry.register(
            "apiserver_envelope_encryption_kms_operations_latency_seconds",
            "How long calls to KMS v2 plugins took, by method and gRPC status",
            kms.family.clone(),
        );
        registry.register(
            "dekker_kms_v1_operations_latency_seconds",
            "How long calls to KMS v1 plugins took, by method and gRPC status; upstream times only those of KMS v2",
            kms_v1.family.clone(),
        );
        // Upstream: pkg/storage/value/metrics.go.
        registry.register(
            "apiserver_storage_transformation_duration_seconds",
            "How long successful reads and writes took, including the wait for the plugin",
            Registered(Arc::clone(&transformations)),
        );
        registry.register(
            "apiserver_storage_data_key_generation_duration_seconds",
            "How long the calls into the component that generated a DEK or seed took, an upper bound for the generation",
            data_keys.clone(),
        );
        // Upstream: pkg/server/options/encryptionconfig/metrics/metrics.go.
        registry.register(
            "apiserver_encryption_config_controller_automatic_reloads_total",
            "Changed configurations accepted or refused",
            reloads.clone(),
        );
        registry.register(
            "apiserver_encryption_config_controller_automatic_reload_last_timestamp_seconds",
            "When a changed configuration was last accepted or refused, in seconds since the Unix epoch",
            reload_timestamps.clone(),
        );
        registry.register(
            "dekker_http_requests_total",
            "HTTP requests answered, by path and class of status",
            http_requests.clone(),
        );
        registry.register(
            "dekker_component_traps_total",
            "Calls in which the component trapped",
            component_traps.clone(),
        );
        registry.register(
            "dekker_component_restarts_total",
            "Fresh instances of the component that replaced one that trapped",
            component_restarts.clone(),
        );

        Self {
            registry,
            kms,
            kms_v1,
            transformations,
            data_keys,
            http_requests,
            component_traps,
            component_restarts,
            reloads,
            reload_timestamps,
            last_config_hash: Mutex::new(None),
            apiserver_id_hash: sha256_label(apiserver_id),
        }
    }

    /// Adds a counter of dropped log lines, whose value `count` returns.
    #[must_use]
    pub(crate) fn count_dropped_log_lines(
        mut self,
        count: impl Fn() -> u64 + Send + Sync + 'static,
    ) -> Self {
        self.registry.register(
            "dekker_log_lines_dropped_total",
            "Log lines dropped because the log was not read in time",
            Counted(Box::new(count)),
        );
        self
    }

    /// Records that a DEK or seed was generated.
    ///
    /// Only the component could time this exactly, but it has no clock. So `took` is the duration of the whole call into the component. For KMS v2 it
    /// is the call that handles the Status answer with a new key ID. For KMS v1 it is the write, which includes copying its plaintext into the
    /// component. Generations are counted where upstream calls `RecordDataKeyGeneration`, but the measured times are a little longer. What a health
    /// check of KMS v1 encrypts is not a DEK and is not counted. Failed generations are counted by the engine.
    pub(crate) fn observe_data_key(&self, took: Duration) {
        self.data_keys.observe(took.as_secs_f64());
    }

    /// Records a KMS call that has ended.
    ///
    /// `method` is the full gRPC method, such as `/v2.KeyManagementService/Encrypt`. `code` is the gRPC status code, 0 for OK. Upstream does not time
    /// calls to KMS v1, so they are in a separate metric of Dekker's.
    pub(crate) fn observe_kms(
        &self,
        provider: &str,
        method: &'static str,
        code: u32,
        took: Duration,
    ) {
        let labels = KmsLabels {
            provider_name: provider.to_owned(),
            method_name: method,
            grpc_status_code: grpc_code_name(code),
        };
        let kms = if method.starts_with("/v1beta1.") { &self.kms_v1 } else { &self.kms };
        kms.observe(labels, took);
    }

    /// Records successful transformations that took as long each. Failures are counted by the engine and not timed, as in upstream.
    pub(crate) fn observe_transformations(
        &self,
        kind: TransformationType,
        prefix: &str,
        took: Duration,
        times: u64,
    ) {
        self.transformations.observe(kind, prefix, took, times);
    }

    /// Records an HTTP request that was answered. `path` is one of the server's own paths, never a path sent by a client.
    pub(crate) fn http_request(&self, path: &'static str, status: u16) {
        let class = match status {
            100..=199 => "1xx",
            200..=299 => "2xx",
            300..=399 => "3xx",
            400..=499 => "4xx",
            _ => "5xx",
        };
        self.http_requests.get_or_create(&HttpLabels { path, class }).inc();
    }

    /// Records that the component trapped.
    pub(crate) fn trap(&self) {
        self.component_traps.inc();
    }

    /// Records that a fresh instance replaced one that trapped.
    pub(crate) fn restart(&self) {
        self.component_restarts.inc();
    }

    /// Records the configuration that was read at the start. It does not count as a reload. `hash` is `sha256:<hex>`.
    pub(crate) fn config_loaded(&self, hash: &str) {
        let mut last = self.last_config_hash.lock().unwrap_or_else(PoisonError::into_inner);
        *last = Some(hash.to_owned());
    }

    /// Records that a changed configuration took effect. `hash` is `sha256:<hex>`; `unix_seconds` is the time in seconds since the Unix epoch.
    pub(crate) fn reload_succeeded(&self, hash: &str, unix_seconds: f64) {
        self.reload("success", unix_seconds);
        self.config_loaded(hash);
    }

    /// Records that a changed configuration was refused. `unix_seconds` is the time in seconds since the Unix epoch.
    pub(crate) fn reload_failed(&self, unix_seconds: f64) {
        self.reload("failure", unix_seconds);
    }

    /// Removes the series of a KMS provider that is no longer in use.
    pub(crate) fn forget_provider(&self, provider: &str) {
        for kms in [&self.kms, &self.kms_v1] {
            kms.forget(|labels| labels.provider_name == provider);
        }
    }

    /// Renders all metrics as text: first the host's, then the engine's.
    ///
    /// A family of the engine is omitted if its name or a label's name is invalid, or if its name is already in use. The component is not trusted to
    /// keep the text well-formed.
    #[must_use]
    pub fn render(&self, engine: &[MetricFamily]) -> String {
        let mut host = String::new();
        prometheus_client::encoding::text::encode_registry(&mut host, &self.registry)
            .expect("writing to a String cannot fail, and our own metrics encode");
        let mut text = text::Exposition::after(&host);
        if let Some(info) = self.last_config_info() {
            text.push(&info);
        }
        for family in engine {
            text.push(family);
        }
        text.finish()
    }

    fn reload(&self, status: &'static str, unix_seconds: f64) {
        let labels = ReloadLabels { status, apiserver_id_hash: self.apiserver_id_hash.clone() };
        self.reloads.get_or_create(&labels).inc();
        self.reload_timestamps.get_or_create(&labels).set(unix_seconds);
    }

    fn last_config_info(&self) -> Option<MetricFamily> {
        let hash = self.last_config_hash.lock().unwrap_or_else(PoisonError::into_inner).clone()?;
        Some(MetricFamily {
            name: "apiserver_encryption_config_controller_last_config_info".to_owned(),
            help: "The configuration in use, by the hash of its file.".to_owned(),
            kind: MetricKind::Gauge,
            samples: vec![Sample {
                labels: vec![
                    ("apiserver_id_hash".to_owned(), self.apiserver_id_hash.clone()),
                    ("hash".to_owned(), hash),
                ],
                value: 1.0,
            }],
        })
    }
}

#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
struct KmsLabels {
    provider_name: String,
    method_name: &'static str,
    grpc_status_code: &'static str,
}

#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
struct HttpLabels {
    path: &'static str,
    class: &'static str,
}

#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
struct ReloadLabels {
    status: &'static str,
    apiserver_id_hash: String,
}

/// Returns Go's name of a gRPC code (google.golang.org/grpc/codes).
///
/// An unknown code becomes `Unknown`, as in tonic. Go would print `Code(99)`, but a plugin must not be able to create series.
fn grpc_code_name(code: u32) -> &'static str {
    match code {
        0 => "OK",
        1 => "Canceled",
        3 => "InvalidArgument",
        4 => "DeadlineExceeded",
        5 => "NotFound",
        6 => "AlreadyExists",
        7 => "PermissionDenied",
        8 => "ResourceExhausted",
        9 => "FailedPrecondition",
        10 => "Aborted",
        11 => "OutOfRange",
        12 => "Unimplemented",
        13 => "Internal",
        14 => "Unavailable",
        15 => "DataLoss",
        16 => "Unauthenticated",
        _ => "Unknown",
    }
}

/// Returns `sha256:<hex>` of the string, or an empty string if it is empty.
fn sha256_label(data: &str) -> String {
    if data.is_empty() {
        return String::new();
    }
    crate::sha256::text(data.as_bytes())
}

#[cfg(test)]
mod tests;
