//! Adds up the metrics of several engines.

use crate::model::{MetricFamily, MetricKind};

/// Adds a worker's metrics to a sum. Counters and histograms are added; of two timestamps, the later one is kept. A worker's other gauges, such as
/// the size of its own cache, are ignored because they do not describe the whole.
pub(crate) fn add_up(sum: &mut Vec<MetricFamily>, more: Vec<MetricFamily>) {
    for family in more {
        let is_time = family.name.ends_with("_timestamp_seconds");
        if family.kind == MetricKind::Gauge && !is_time {
            continue;
        }
        let Some(same) = sum.iter_mut().find(|of| of.name == family.name) else {
            sum.push(family);
            continue;
        };
        for sample in family.samples {
            match same.samples.iter_mut().find(|of| of.labels == sample.labels) {
                Some(of) if is_time => of.value = of.value.max(sample.value),
                Some(of) => of.value += sample.value,
                None => same.samples.push(sample),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Sample;

    fn family(name: &str, kind: MetricKind, samples: &[(&str, f64)]) -> MetricFamily {
        let sample = |(label, value): &(&str, f64)| Sample {
            labels: vec![("of".to_owned(), (*label).to_owned())],
            value: *value,
        };
        MetricFamily {
            name: name.to_owned(),
            help: String::new(),
            kind,
            samples: samples.iter().map(sample).collect(),
        }
    }

    #[test]
    fn counts_are_added_and_the_later_time_is_kept() {
        use MetricKind::{Counter, Gauge, Histogram};
        let mut sum = vec![
            family("uses_total", Counter, &[("a", 1.0), ("b", 2.0)]),
            family("last_timestamp_seconds", Gauge, &[("a", 10.0), ("b", 20.0)]),
            family("cache_size", Gauge, &[("a", 7.0)]),
        ];
        let worker = vec![
            family("uses_total", Counter, &[("b", 3.0), ("c", 4.0)]),
            family("last_timestamp_seconds", Gauge, &[("a", 11.0), ("b", 19.0), ("c", 5.0)]),
            family("cache_size", Gauge, &[("a", 1.0), ("z", 1.0)]),
            family("only_gauge", Gauge, &[("a", 1.0)]),
            family("took_seconds", Histogram, &[("a", 1.0)]),
        ];
        add_up(&mut sum, worker);
        assert_eq!(
            sum,
            [
                family("uses_total", Counter, &[("a", 1.0), ("b", 5.0), ("c", 4.0)]),
                family("last_timestamp_seconds", Gauge, &[("a", 11.0), ("b", 20.0), ("c", 5.0)]),
                family("cache_size", Gauge, &[("a", 7.0)]),
                family("took_seconds", Histogram, &[("a", 1.0)]),
            ]
        );
    }
}
