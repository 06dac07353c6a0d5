//! Extends prometheus-client's metrics with exact names and a limit on the number of series.

use std::collections::VecDeque;
use std::hash::Hash;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use prometheus_client::encoding::{EncodeMetric, MetricEncoder};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::metrics::{MetricType, TypedMetric};

use super::MAX_SERIES;

/// A counter that is registered under its full name, including `_total`.
///
/// prometheus-client writes `# TYPE x counter` above `x_total`, which version 0.0.4 of the format treats as two metrics. If a counter is encoded as a
/// gauge, prometheus-client adds no suffix, and still writes the type `counter`.
#[derive(Clone, Debug, Default)]
pub(super) struct Total(Counter);

impl Total {
    pub(super) fn inc(&self) {
        self.0.inc();
    }
}

impl EncodeMetric for Total {
    fn encode(&self, mut encoder: MetricEncoder<'_>) -> std::fmt::Result {
        encoder.encode_gauge(&self.0.get())
    }

    fn metric_type(&self) -> MetricType {
        Self::TYPE
    }
}

impl TypedMetric for Total {
    const TYPE: MetricType = MetricType::Counter;
}

/// A counter whose value is read from a function. Like [`Total`], it is registered under its full name.
pub(super) struct Counted(pub(super) Box<dyn Fn() -> u64 + Send + Sync>);

impl std::fmt::Debug for Counted {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Counted").field(&(self.0)()).finish()
    }
}

impl EncodeMetric for Counted {
    fn encode(&self, mut encoder: MetricEncoder<'_>) -> std::fmt::Result {
        encoder.encode_gauge(&(self.0)())
    }

    fn metric_type(&self) -> MetricType {
        MetricType::Counter
    }
}

/// A family of histograms with at most [`MAX_SERIES`] series.
#[derive(Debug)]
pub(super) struct Bounded<L> {
    pub(super) family: Family<L, Histogram, fn() -> Histogram>,
    /// The label sets in `family`, oldest first.
    order: Mutex<VecDeque<L>>,
}

impl<L: Clone + Eq + Hash> Bounded<L> {
    pub(super) fn new(histogram: fn() -> Histogram) -> Self {
        Self { family: Family::new_with_constructor(histogram), order: Mutex::default() }
    }

    pub(super) fn observe(&self, labels: L, took: Duration) {
        if let Some(histogram) = self.family.get(&labels) {
            histogram.observe(took.as_secs_f64());
            return;
        }
        let mut order = self.order.lock().unwrap_or_else(PoisonError::into_inner);
        if !order.contains(&labels) {
            if order.len() >= MAX_SERIES
                && let Some(oldest) = order.pop_front()
            {
                self.family.remove(&oldest);
            }
            order.push_back(labels.clone());
        }
        self.family.get_or_create(&labels).observe(took.as_secs_f64());
    }

    pub(super) fn forget(&self, gone: impl Fn(&L) -> bool) {
        let mut order = self.order.lock().unwrap_or_else(PoisonError::into_inner);
        order.retain(|labels| {
            let keep = !gone(labels);
            if !keep {
                self.family.remove(labels);
            }
            keep
        });
    }
}

/// 0.1 ms to 52 s, doubling. Upstream: encrypt/envelope/metrics/metrics.go.
pub(super) fn kms_histogram() -> Histogram {
    Histogram::new(exponential_buckets(0.0001, 2.0, 20))
}

/// 5 µs to 41 ms, doubling. Upstream: pkg/storage/value/metrics.go.
pub(super) fn data_key_histogram() -> Histogram {
    Histogram::new(exponential_buckets(5e-6, 2.0, 14))
}
