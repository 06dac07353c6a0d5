//! The durations of transformations, as histograms. Every value is recorded, so threads must not wait for each other here: each usually has its own
//! shard. A scrape returns the sum of the shards.

use std::collections::VecDeque;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use prometheus_client::encoding::{EncodeLabelSet, EncodeMetric, MetricEncoder, NoLabelSet};
use prometheus_client::metrics::histogram::exponential_buckets;
use prometheus_client::metrics::{MetricType, TypedMetric};

use super::{MAX_SERIES, TransformationType};
use crate::thread_number::thread_number;

/// The number of shards. More threads than that share some.
const SHARDS: usize = 32;

/// The buckets with a bound: 5 µs to 84 s, doubling. Upstream: pkg/storage/value/metrics.go.
const BUCKETS: u16 = 25;
const FIRST_BOUND: f64 = 5e-6;

/// A family of histograms with at most [`MAX_SERIES`] series. Beyond it, a new series replaces the one that was created first.
pub(super) struct Transformations {
    /// The upper bounds of the buckets.
    bounds: Vec<f64>,
    shards: Box<[Shard]>,
    /// The series that exist, oldest first. Locked before a shard, never after.
    order: Mutex<VecDeque<Labels>>,
}

/// Series in separate cache lines.
#[repr(align(128))]
#[derive(Default)]
struct Shard(Mutex<Vec<Series>>);

#[derive(Clone, Debug, EncodeLabelSet, Eq, PartialEq)]
struct Labels {
    transformation_type: &'static str,
    transformer_prefix: String,
}

impl Labels {
    fn are(&self, kind: TransformationType, prefix: &str) -> bool {
        self.transformation_type == kind.as_str() && self.transformer_prefix == prefix
    }
}

struct Series {
    labels: Labels,
    /// The count of each bucket, and at the end of what is above all bounds.
    counts: Vec<u64>,
    /// In seconds.
    sum: f64,
}

impl Series {
    fn new(labels: Labels) -> Self {
        Self { labels, counts: vec![0; usize::from(BUCKETS) + 1], sum: 0.0 }
    }
}

impl Transformations {
    pub(super) fn new() -> Self {
        Self {
            bounds: exponential_buckets(FIRST_BOUND, 2.0, BUCKETS).collect(),
            shards: (0..SHARDS).map(|_| Shard::default()).collect(),
            order: Mutex::default(),
        }
    }

    /// Adds `times` values that took as long each.
    pub(super) fn observe(
        &self,
        kind: TransformationType,
        prefix: &str,
        took: Duration,
        times: u64,
    ) {
        let shard = &self.shards[thread_number() % SHARDS];
        if self.add(&mut locked(&shard.0), kind, prefix, took, times) {
            return;
        }
        let labels =
            Labels { transformation_type: kind.as_str(), transformer_prefix: prefix.to_owned() };
        let mut order = locked(&self.order);
        if !order.contains(&labels) {
            if order.len() >= MAX_SERIES
                && let Some(oldest) = order.pop_front()
            {
                self.remove(&oldest);
            }
            order.push_back(labels.clone());
        }
        let mut series = locked(&shard.0);
        // Another thread of this shard may have been faster.
        if !self.add(&mut series, kind, prefix, took, times) {
            series.insert(0, Series::new(labels));
            self.add(&mut series, kind, prefix, took, times);
        }
    }

    /// Adds to a series of a shard. Returns `false` if the shard does not have it.
    fn add(
        &self,
        shard: &mut [Series],
        kind: TransformationType,
        prefix: &str,
        took: Duration,
        times: u64,
    ) -> bool {
        let Some(at) = shard.iter().position(|series| series.labels.are(kind, prefix)) else {
            return false;
        };
        let seconds = took.as_secs_f64();
        let bucket = self.bounds.iter().position(|bound| seconds <= *bound);
        let series = &mut shard[at];
        series.counts[bucket.unwrap_or(self.bounds.len())] += times;
        series.sum += seconds * times as f64;
        // The next value is probably of the same series.
        shard.swap(0, at);
        true
    }

    fn remove(&self, labels: &Labels) {
        for shard in &self.shards {
            locked(&shard.0).retain(|series| series.labels != *labels);
        }
    }

    /// Returns the sum of all shards.
    fn total(&self, labels: &Labels) -> Series {
        let mut total = Series::new(labels.clone());
        for shard in &self.shards {
            if let Some(series) = locked(&shard.0).iter().find(|series| series.labels == *labels) {
                total.sum += series.sum;
                total.counts.iter_mut().zip(&series.counts).for_each(|(sum, one)| *sum += one);
            }
        }
        total
    }
}

/// The metric as the registry holds it.
#[derive(Debug)]
pub(super) struct Registered(pub(super) Arc<Transformations>);

impl EncodeMetric for Registered {
    fn encode(&self, mut encoder: MetricEncoder<'_>) -> fmt::Result {
        let all = &*self.0;
        let order = locked(&all.order).clone();
        for labels in &order {
            let Series { counts, sum, .. } = all.total(labels);
            let bounds = all.bounds.iter().copied().chain([f64::INFINITY]);
            let buckets: Vec<_> = bounds.zip(counts.iter().copied()).collect();
            let count = counts.iter().sum();
            let mut encoder = encoder.encode_family(labels)?;
            encoder.encode_histogram::<NoLabelSet>(sum, count, &buckets, None)?;
        }
        Ok(())
    }

    fn metric_type(&self) -> MetricType {
        Self::TYPE
    }
}

impl TypedMetric for Registered {
    const TYPE: MetricType = MetricType::Histogram;
}

impl fmt::Debug for Transformations {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Transformations").field("series", &locked(&self.order)).finish()
    }
}

/// Locks a mutex even after a panic in another thread: counts and labels change one by one.
fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    fn labels(prefix: &str) -> Labels {
        Labels { transformation_type: "to_storage", transformer_prefix: prefix.to_owned() }
    }

    #[test]
    fn a_scrape_adds_up_what_the_threads_observed() {
        let all = Transformations::new();
        let observe = || {
            for prefix in ["a", "b", "a"] {
                all.observe(TransformationType::ToStorage, prefix, MS, 1);
            }
            all.observe(TransformationType::FromStorage, "a", MS, 3);
            all.observe(TransformationType::ToStorage, "a", Duration::from_secs(3600), 1);
        };
        std::thread::scope(|scope| {
            for _ in 0..3 * SHARDS {
                scope.spawn(observe);
            }
        });
        let threads = 3 * SHARDS as u64;
        let Series { counts, sum, .. } = all.total(&labels("a"));
        // 5 µs doubled eight times is 1.28 ms.
        assert_eq!((counts[7], counts[8], counts[9]), (0, 2 * threads, 0));
        assert_eq!(counts.last(), Some(&threads), "above all bounds");
        assert!((sum - threads as f64 * 3600.002).abs() < 1e-3, "{sum}");
        assert_eq!(all.total(&labels("b")).counts.iter().sum::<u64>(), threads);
        let read =
            Labels { transformation_type: "from_storage", transformer_prefix: "a".to_owned() };
        let Series { counts, sum, .. } = all.total(&read);
        assert_eq!(counts[8], 3 * threads);
        assert!((sum - threads as f64 * 0.003).abs() < 1e-6, "{sum}");
        assert_eq!(locked(&all.order).len(), 3);
    }

    #[test]
    fn a_series_that_is_too_many_replaces_the_oldest_in_every_shard() {
        let all = Transformations::new();
        let observe = |n: usize| all.observe(TransformationType::ToStorage, &n.to_string(), MS, 1);
        std::thread::scope(|scope| {
            scope.spawn(|| (0..MAX_SERIES).for_each(observe)).join().unwrap()
        });
        (0..=MAX_SERIES).for_each(observe);
        assert_eq!(locked(&all.order).len(), MAX_SERIES);
        for shard in &all.shards {
            let series = locked(&shard.0);
            assert!(series.iter().all(|one| one.labels != labels("0")), "the oldest is gone");
            assert!(series.len() <= MAX_SERIES);
        }
        assert_eq!(all.total(&labels("1")).counts[8], 2);
        observe(0);
        assert_eq!(all.total(&labels("0")).counts[8], 1, "it starts again");
    }
}
