//! What the engine counts. Names and labels are upstream's; label sets are bounded.
//!
//! Upstream: storage/value/metrics.go, encrypt/envelope/metrics/metrics.go.

use alloc::string::{String, ToString};
use alloc::sync::Arc;
use alloc::vec;
use alloc::vec::Vec;

use super::Engine;
use super::event::CallError;
use crate::map::{RecentlyUsed, SortedMap};
use crate::provider::kms::Kms;
use crate::provider::kms::message::key_id_hash;
use crate::provider::transformer::TransformError;
use crate::time::Timestamp;

/// 100: upstream's cacheSize, the most series per key ID metric.
const KEY_ID_SERIES_MAX: usize = 100;
/// 1000: combinations of resource, prefix and status; past that the resource is counted as `other`.
const TRANSFORMATION_SERIES_MAX: usize = 1000;

/// Which way a value goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Direction {
    /// Decryption.
    FromStorage,
    /// Encryption.
    ToStorage,
}

impl Direction {
    const fn label(self) -> &'static str {
        match self {
            Self::FromStorage => "from_storage",
            Self::ToStorage => "to_storage",
        }
    }
}

/// How a metric's values behave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MetricKind {
    /// Only grows, until the engine is made anew.
    Counter,
    /// Goes up and down.
    Gauge,
}

/// A metric and all its values.
#[derive(Clone, Debug, PartialEq)]
pub struct MetricFamily {
    /// The full name, as Prometheus shows it.
    pub name: &'static str,
    /// One sentence.
    pub help: &'static str,
    /// Counter or gauge.
    pub kind: MetricKind,
    /// Each with labels of its own, in no order.
    pub samples: Vec<Sample>,
}

/// One value of a metric.
#[derive(Clone, Debug, PartialEq)]
pub struct Sample {
    /// Names and values.
    pub labels: Vec<(&'static str, String)>,
    /// The value.
    pub value: f64,
}

struct Use {
    count: u64,
    last: Timestamp,
}

type TransformationLabels = (String, Direction, Arc<str>, &'static str);

/// The counts of one engine.
pub(super) struct Counts {
    apiserver_id_hash: String,
    transformations: SortedMap<TransformationLabels, u64>,
    key_ids: RecentlyUsed<(Direction, Arc<str>, Arc<str>), Use>,
    key_ids_from_status: RecentlyUsed<(Arc<str>, Arc<str>), Timestamp>,
    invalid_key_ids: SortedMap<(Arc<str>, &'static str), u64>,
    cache_misses: u64,
    data_key_failures: u64,
}

impl Counts {
    pub(super) fn new(apiserver_id: &str) -> Self {
        Self {
            apiserver_id_hash: key_id_hash(apiserver_id),
            transformations: SortedMap::new(),
            key_ids: RecentlyUsed::new(KEY_ID_SERIES_MAX),
            key_ids_from_status: RecentlyUsed::new(KEY_ID_SERIES_MAX),
            invalid_key_ids: SortedMap::new(),
            cache_misses: 0,
            data_key_failures: 0,
        }
    }

    pub(super) fn transformation(
        &mut self,
        resource: &str,
        direction: Direction,
        prefix: &str,
        error: Option<&TransformError>,
    ) {
        // Upstream names a gRPC code where a plugin's answer caused the fault, and this word for every other fault.
        let status = error.map_or("OK", |error| {
            error
                .grpc_code
                .map_or("unknown-non-grpc", CallError::code_name)
        });
        let full = self.transformations.len() >= TRANSFORMATION_SERIES_MAX;
        let mut labels = (resource.to_string(), direction, prefix.into(), status);
        if full && !self.transformations.contains_key(&labels) {
            labels.0 = "other".to_string();
        }
        self.transformations.count(labels);
    }

    pub(super) fn key_id_used(
        &mut self,
        direction: Direction,
        provider: &Arc<str>,
        hash: &Arc<str>,
        now: Timestamp,
    ) {
        let key = (direction, provider.clone(), hash.clone());
        let new = || Use {
            count: 0,
            last: now,
        };
        if let Some(entry) = self.key_ids.get_or_insert(key, new) {
            entry.count += 1;
            entry.last = now;
        }
    }

    pub(super) fn key_id_from_status(
        &mut self,
        provider: &Arc<str>,
        hash: &Arc<str>,
        now: Timestamp,
    ) {
        let key = (provider.clone(), hash.clone());
        if let Some(at) = self.key_ids_from_status.get_or_insert(key, || now) {
            *at = now;
        }
    }

    pub(super) fn invalid_key_id_from_status(&mut self, provider: &Arc<str>, code: &'static str) {
        self.invalid_key_ids.count((provider.clone(), code));
    }

    pub(super) fn cache_miss(&mut self) {
        self.cache_misses += 1;
    }

    pub(super) fn data_key_generation_failed(&mut self) {
        self.data_key_failures += 1;
    }
}

impl Engine {
    /// The counts that the engine keeps. No secrets, no key IDs.
    pub fn metrics(&self) -> Vec<MetricFamily> {
        let counts = &self.counts;
        let apiserver = || ("apiserver_id_hash", counts.apiserver_id_hash.clone());
        let key_id_samples = |value: fn(&Use) -> f64| {
            let sample =
                |((direction, provider, hash), used): &((Direction, Arc<str>, Arc<str>), Use)| {
                    Sample {
                        labels: vec![
                            ("transformation_type", direction.label().to_string()),
                            ("provider_name", provider.to_string()),
                            ("key_id_hash", hash.to_string()),
                            apiserver(),
                        ],
                        value: value(used),
                    }
                };
            counts.key_ids.iter().map(sample).collect()
        };
        vec![
            MetricFamily {
                name: "apiserver_storage_transformation_operations_total",
                help: "Reads and writes, by resource, transformer and outcome.",
                kind: MetricKind::Counter,
                samples: counts
                    .transformations
                    .iter()
                    .map(transformation_sample)
                    .collect(),
            },
            MetricFamily {
                name: "apiserver_storage_envelope_transformation_cache_misses_total",
                help: "Reads whose DEK was not at hand and had to be decrypted by the plugin.",
                kind: MetricKind::Counter,
                samples: vec![Sample {
                    labels: Vec::new(),
                    value: counts.cache_misses as f64,
                }],
            },
            MetricFamily {
                name: "apiserver_storage_data_key_generation_failures_total",
                help: "DEKs and seeds that could not be generated.",
                kind: MetricKind::Counter,
                samples: vec![Sample {
                    labels: Vec::new(),
                    value: counts.data_key_failures as f64,
                }],
            },
            MetricFamily {
                name: "apiserver_envelope_encryption_key_id_hash_total",
                help: "Uses of a key ID, by direction, provider and API server.",
                kind: MetricKind::Counter,
                samples: key_id_samples(|used| used.count as f64),
            },
            MetricFamily {
                name: "apiserver_envelope_encryption_key_id_hash_last_timestamp_seconds",
                help: "When a key ID was last used, in seconds since the Unix epoch.",
                kind: MetricKind::Gauge,
                samples: key_id_samples(|used| used.last.as_secs_f64()),
            },
            MetricFamily {
                name: "apiserver_envelope_encryption_key_id_hash_status_last_timestamp_seconds",
                help: "When the plugin's Status last named a key ID, in seconds since the Unix epoch.",
                kind: MetricKind::Gauge,
                samples: counts
                    .key_ids_from_status
                    .iter()
                    .map(
                        |((provider, hash), at): &((Arc<str>, Arc<str>), Timestamp)| Sample {
                            labels: vec![
                                ("provider_name", provider.to_string()),
                                ("key_id_hash", hash.to_string()),
                                apiserver(),
                            ],
                            value: at.as_secs_f64(),
                        },
                    )
                    .collect(),
            },
            MetricFamily {
                name: "apiserver_envelope_encryption_invalid_key_id_from_status_total",
                help: "Status answers without a valid key ID, by provider and fault.",
                kind: MetricKind::Counter,
                samples: counts
                    .invalid_key_ids
                    .iter()
                    .map(|((provider, error), count)| Sample {
                        labels: vec![
                            ("provider_name", provider.to_string()),
                            ("error", (*error).to_string()),
                        ],
                        value: *count as f64,
                    })
                    .collect(),
            },
            MetricFamily {
                name: "apiserver_envelope_encryption_dek_source_cache_size",
                help: "Decrypted DEKs that the provider holds.",
                kind: MetricKind::Gauge,
                samples: self.cache_sizes(),
            },
        ]
    }

    /// One sample per name: while a reload replaces a provider by another of the same name, both are counted together.
    fn cache_sizes(&self) -> Vec<Sample> {
        let mut sizes: Vec<(&str, usize)> = Vec::new();
        for provider in self.providers.values() {
            // Upstream counts those of KMS v2 only.
            let Kms::V2(provider) = provider else {
                continue;
            };
            match sizes
                .iter_mut()
                .find(|(name, _)| **name == *provider.info.name)
            {
                Some((_, size)) => *size += provider.cache.len(),
                None => sizes.push((&provider.info.name, provider.cache.len())),
            }
        }
        let sample = |(name, size): (&str, usize)| Sample {
            labels: vec![("provider_name", name.to_string())],
            value: size as f64,
        };
        sizes.into_iter().map(sample).collect()
    }
}

fn transformation_sample(
    ((resource, direction, prefix, status), count): (&TransformationLabels, &u64),
) -> Sample {
    Sample {
        labels: vec![
            ("resource", resource.clone()),
            ("transformation_type", direction.label().to_string()),
            ("transformer_prefix", prefix.to_string()),
            ("status", (*status).to_string()),
        ],
        value: *count as f64,
    }
}
