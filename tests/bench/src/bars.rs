//! The targets that a run must reach, and whether it did.

mod targets;

use serde::Serialize;

use crate::rounds::{Op, Series, Source, Work};
use crate::subjects::names::{HANDLES, HANDLES_BATCH, PLANS, PLANS_BATCH};
use crate::transform;

/// A target ("bar"), with the figure that was reached.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Bar {
    /// What is compared or measured.
    pub what: String,
    /// The plaintext's length in bytes, if there is one such target for each of several lengths.
    pub size: Option<usize>,
    /// The target in words, such as `at least 3× faster`.
    pub bar: String,
    /// The figure by the medians, or `None` if it was not measured.
    pub reached: Option<f64>,
    /// The figure by the best rounds, or `None` if it was not measured.
    pub best: Option<f64>,
    /// How often the figure contains its target: 1 or more if the target is met, 0.5 if the figure is twice as bad. `None` if it was not measured.
    pub margin: Option<f64>,
    /// The figure, by the medians, of the least work that this subject could do, measured in the same run: the best that any implementation can
    /// reach here. `None` if there is no such measurement.
    pub floor: Option<f64>,
    /// The unit of the figures, such as `× faster`.
    pub unit: &'static str,
    /// Whether the figure by the medians meets the target, or `None` if it was not measured.
    pub met: Option<bool>,
    /// Whether the floor meets the target. If it does not, nothing can. `None` if there is no floor.
    pub floor_met: Option<bool>,
}

#[derive(Clone, Copy)]
enum Limit {
    AtLeast(f64),
    AtMost(f64),
}

impl Limit {
    fn holds(self, value: f64) -> bool {
        match self {
            Self::AtLeast(limit) => value >= limit,
            Self::AtMost(limit) => value <= limit,
        }
    }

    /// Returns [`Bar::margin`].
    fn margin(self, value: f64) -> f64 {
        match self {
            Self::AtLeast(limit) => value / limit,
            Self::AtMost(limit) => limit / value,
        }
    }

    fn words(self, unit: &str) -> String {
        match self {
            Self::AtLeast(limit) => format!("at least {limit}{unit}"),
            Self::AtMost(limit) => format!("at most {limit}{unit}"),
        }
    }
}

/// A figure by the medians, and by the best rounds.
type Pair = (f64, f64);

impl Bar {
    fn new(what: impl Into<String>, limit: Limit, unit: &'static str) -> Self {
        Self {
            what: what.into(),
            size: None,
            bar: limit.words(unit),
            reached: None,
            best: None,
            margin: None,
            floor: None,
            unit,
            met: None,
            floor_met: None,
        }
    }

    /// The same bar for one of several sizes.
    fn at(self, size: usize) -> Self {
        Self { size: Some(size), ..self }
    }

    /// The same bar with what was reached, and the floor's figure.
    fn with(self, limit: Limit, reached: Option<Pair>, floor: Option<Pair>) -> Self {
        let (reached, best) = (reached.map(|(median, _)| median), reached.map(|(_, best)| best));
        let floor = floor.map(|(median, _)| median);
        Self {
            reached,
            best,
            margin: reached.map(|figure| limit.margin(figure)),
            floor,
            met: reached.map(|figure| limit.holds(figure)),
            floor_met: floor.map(|figure| limit.holds(figure)),
            ..self
        }
    }
}

/// The measurements of a run.
struct Figures<'a>(&'a [Series]);

impl Figures<'_> {
    fn find(&self, bench: &str, subject: &str, work: Work) -> Option<Pair> {
        let mut all = self.0.iter();
        let found = all.find(|s| s.bench == bench && s.subject == subject && s.work == work)?;
        Some((found.median, found.best))
    }

    /// Returns the time of a write or read.
    fn time(&self, subject: &str, work: Work) -> Option<Pair> {
        self.find(transform::NAME, subject, work)
    }

    /// Returns the time of the least work of a component, the better of the two ways. It has no DEK source: with a seed there is more to do.
    fn floor(&self, of: Floor, work: Work) -> Option<Pair> {
        let work = Work { source: Source::Counter, ..work };
        let ways = match of {
            Floor::Single => [HANDLES, PLANS],
            Floor::Batch => [HANDLES_BATCH, PLANS_BATCH],
        };
        let ways = ways.into_iter().filter_map(|subject| self.time(subject, work));
        ways.reduce(|(a, a_best), (b, b_best)| (a.min(b), a_best.min(b_best)))
    }
}

#[derive(Clone, Copy)]
enum Floor {
    Single,
    Batch,
}

/// Returns `a` divided by `b`.
fn ratio(a: Option<Pair>, b: Option<Pair>) -> Option<Pair> {
    let ((a_median, a_best), (b_median, b_best)) = (a?, b?);
    Some((a_median / b_median, a_best / b_best))
}

const fn work(op: Op, source: Source, size: usize) -> Work {
    Work { op, source, size, count: 1 }
}

/// Returns all bars, in the order of the table. `cores` is the number of cores that the readers had.
pub fn all(series: &[Series], cores: usize) -> Vec<Bar> {
    targets::all(&Figures(series), cores)
}

#[cfg(test)]
mod tests;
