//! The engine's metrics, as Prometheus names them. Names and labels are upstream's.
//!
//! Upstream: storage/value/metrics.go, encrypt/envelope/metrics/metrics.go.

use alloc::string::{String, ToString};
use alloc::vec;
use alloc::vec::Vec;

use super::Engine;
use super::counts::{
    ARRIVAL_BOUNDS, Counts, Direction, InvalidKeyIdLabels, KeyIdLabels, StatusLabels,
    TransformationLabels, Use,
};
use crate::provider::kms::Kms;
use crate::time::Timestamp;

/// The kind of a metric.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MetricKind {
    /// Only increases, until the engine is replaced by a new one.
    Counter,
    /// Increases and decreases.
    Gauge,
    /// Samples with the label `le` are cumulative buckets, the last of which is `+Inf`. The sample without that label is the sum.
    Histogram,
}

/// A metric and all its samples.
#[derive(Clone, Debug, PartialEq)]
pub struct MetricFamily {
    /// The full name, as Prometheus shows it.
    pub name: &'static str,
    /// A description of one sentence.
    pub help: &'static str,
    /// The kind of the metric.
    pub kind: MetricKind,
    /// The samples, in no particular order. No two have the same labels.
    pub samples: Vec<Sample>,
}

/// One sample of a metric.
#[derive(Clone, Debug, PartialEq)]
pub struct Sample {
    /// The names and values of the labels.
    pub labels: Vec<(&'static str, String)>,
    /// The value.
    pub value: f64,
}

/// A metric, and how its samples are collected.
struct Metric {
    name: &'static str,
    help: &'static str,
    kind: MetricKind,
    samples: fn(&Engine) -> Vec<Sample>,
}

const METRICS: [Metric; 10] = [
    Metric {
        name: "apiserver_storage_transformation_operations_total",
        help: "Reads and writes, by resource, transformer and outcome. Those with a named key are counted for both the provider and the key.",
        kind: MetricKind::Counter,
        samples: transformations,
    },
    Metric {
        name: "apiserver_storage_envelope_transformation_cache_misses_total",
        help: "Reads whose DEK was not cached and had to be decrypted by the plugin.",
        kind: MetricKind::Counter,
        samples: |engine| single(engine.counts.cache_misses as f64),
    },
    Metric {
        name: "apiserver_storage_data_key_generation_failures_total",
        help: "DEKs and seeds that could not be generated.",
        kind: MetricKind::Counter,
        samples: |engine| single(engine.counts.data_key_failures as f64),
    },
    Metric {
        name: "apiserver_envelope_encryption_key_id_hash_total",
        help: "Uses of a key ID, by direction, provider and API server.",
        kind: MetricKind::Counter,
        samples: |engine| key_ids(&engine.counts, |used| used.count as f64),
    },
    Metric {
        name: "apiserver_envelope_encryption_key_id_hash_last_timestamp_seconds",
        help: "When a key ID was last used, in seconds since the Unix epoch.",
        kind: MetricKind::Gauge,
        samples: |engine| key_ids(&engine.counts, |used| used.last.as_secs_f64()),
    },
    Metric {
        name: "apiserver_envelope_encryption_key_id_hash_status_last_timestamp_seconds",
        help: "When the plugin's Status last named a key ID, in seconds since the Unix epoch.",
        kind: MetricKind::Gauge,
        samples: key_ids_from_status,
    },
    Metric {
        name: "apiserver_envelope_encryption_invalid_key_id_from_status_total",
        help: "Status answers without a valid key ID, by provider and error.",
        kind: MetricKind::Counter,
        samples: invalid_key_ids,
    },
    Metric {
        name: "apiserver_envelope_encryption_dek_source_cache_size",
        help: "Decrypted DEKs in the cache of a KMS v2 provider.",
        kind: MetricKind::Gauge,
        samples: cache_sizes,
    },
    Metric {
        name: "apiserver_envelope_encryption_dek_cache_fill_percent",
        help: "Fill level, from 0 to 1, of the KMS v1 cache to which a DEK was added last.",
        kind: MetricKind::Gauge,
        samples: |engine| single(engine.counts.v1_cache_fill),
    },
    Metric {
        name: "apiserver_envelope_encryption_dek_cache_inter_arrival_time_seconds",
        help: "Time between consecutive reads or writes with KMS v1.",
        kind: MetricKind::Histogram,
        samples: arrivals,
    },
];

impl Engine {
    /// Returns the engine's metrics. They contain no secrets and no key IDs.
    pub fn metrics(&self) -> Vec<MetricFamily> {
        let collect = |&Metric { name, help, kind, samples }: &Metric| MetricFamily {
            name,
            help,
            kind,
            samples: samples(self),
        };
        METRICS.iter().map(collect).collect()
    }
}

/// Returns the only sample of a metric without labels.
fn single(value: f64) -> Vec<Sample> {
    vec![Sample { labels: Vec::new(), value }]
}

fn transformations(engine: &Engine) -> Vec<Sample> {
    let sample = |(labels, count): (&TransformationLabels, u64)| Sample {
        labels: vec![
            ("resource", labels.resource.clone()),
            ("transformation_type", labels.direction.label().to_string()),
            ("transformer_prefix", labels.prefix.to_string()),
            ("status", labels.status.to_string()),
        ],
        value: count as f64,
    };
    engine.counts.transformations().map(sample).collect()
}

fn key_ids(counts: &Counts, value: fn(&Use) -> f64) -> Vec<Sample> {
    let sample = |(labels, used): &(KeyIdLabels, Use)| Sample {
        labels: vec![
            ("transformation_type", labels.direction.label().to_string()),
            ("provider_name", labels.provider.to_string()),
            ("key_id_hash", labels.hash.to_string()),
            ("apiserver_id_hash", counts.apiserver_id_hash.clone()),
        ],
        value: value(used),
    };
    counts.key_ids.iter().map(sample).collect()
}

fn key_ids_from_status(engine: &Engine) -> Vec<Sample> {
    let counts = &engine.counts;
    let sample = |(labels, at): &(StatusLabels, Timestamp)| Sample {
        labels: vec![
            ("provider_name", labels.provider.to_string()),
            ("key_id_hash", labels.hash.to_string()),
            ("apiserver_id_hash", counts.apiserver_id_hash.clone()),
        ],
        value: at.as_secs_f64(),
    };
    counts.key_ids_from_status.iter().map(sample).collect()
}

fn invalid_key_ids(engine: &Engine) -> Vec<Sample> {
    let sample = |(labels, count): (&InvalidKeyIdLabels, &u64)| Sample {
        labels: vec![
            ("provider_name", labels.provider.to_string()),
            ("error", labels.code.to_string()),
        ],
        value: *count as f64,
    };
    engine.counts.invalid_key_ids.iter().map(sample).collect()
}

/// Returns one sample per provider name. While a reload replaces a provider with another one of the same name, their sizes are added.
fn cache_sizes(engine: &Engine) -> Vec<Sample> {
    let mut sizes: Vec<(&str, usize)> = Vec::new();
    for provider in engine.providers.values() {
        // Upstream reports only the caches of KMS v2, and only those that are not empty.
        let Kms::V2(provider) = provider else {
            continue;
        };
        if provider.cache.is_empty() {
            continue;
        }
        match sizes.iter_mut().find(|(name, _)| **name == *provider.info.name) {
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

fn arrivals(engine: &Engine) -> Vec<Sample> {
    let mut samples = Vec::new();
    for direction in [Direction::FromStorage, Direction::ToStorage] {
        let Some(arrivals) = &engine.counts.arrivals[direction as usize] else {
            continue;
        };
        let label = || ("transformation_type", direction.label().to_string());
        let mut count = 0;
        for (bound, bucket) in ARRIVAL_BOUNDS.iter().zip(arrivals.buckets) {
            count += bucket;
            samples.push(Sample {
                labels: vec![label(), ("le", (*bound).to_string())],
                value: count as f64,
            });
        }
        let value = arrivals.sum_millis as f64 / 1000.0;
        samples.push(Sample { labels: vec![label()], value });
    }
    samples
}
