//! Measures subjects in turns.

use std::fmt;
use std::time::Duration;

use anyhow::Result;
use serde::Serialize;

/// The number and the length of the rounds.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// The number of rounds of each measurement.
    pub rounds: usize,
    /// Roughly how long one subject works in one round.
    pub round: Duration,
    /// Whether to use few DEKs and few requests, only to check that everything runs.
    pub quick: bool,
}

impl Plan {
    /// A run whose figures are meaningful.
    pub const FULL: Self = Self { rounds: 31, round: Duration::from_millis(20), quick: false };
    /// A run that only checks that everything runs.
    pub const QUICK: Self = Self { rounds: 5, round: Duration::from_millis(2), quick: true };
}

/// The operation that is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Op {
    /// `to_storage`, or seal for a cipher alone.
    Write,
    /// `from_storage` with a cached DEK, or open for a cipher alone.
    Read,
}

impl fmt::Display for Op {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Write => "write",
            Self::Read => "read",
        })
    }
}

/// The kind of a DEK source.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Source {
    /// An AES key, with nonces from a counter.
    Counter,
    /// A seed, from which a key is derived for each value.
    Seed,
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Counter => "counter",
            Self::Seed => "seed",
        })
    }
}

/// The work that is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Work {
    /// The operation.
    pub op: Op,
    /// The kind of the DEK source.
    pub source: Source,
    /// The plaintext's length in bytes.
    pub size: usize,
    /// The number of cached DEKs, readers, threads, connections or values, in a benchmark that varies it; 1 in all others.
    pub count: usize,
}

impl fmt::Display for Work {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { op, source, size, count } = self;
        write!(f, "{op}, {source}, {}, {count}", bytes(*size))
    }
}

/// Formats a size, such as `64 B`, `4 KiB` or `1 MiB`.
pub fn bytes(size: usize) -> String {
    match size {
        0..1024 => format!("{size} B"),
        1024..0x10_0000 => format!("{} KiB", size / 1024),
        _ => format!("{} MiB", size / 0x10_0000),
    }
}

/// An implementation that is measured.
pub trait Subject {
    /// Its name in tables.
    fn name(&self) -> &'static str;

    /// Whether the subject can do this work. A cipher alone has no DEK source; it is measured only with [`Source::Counter`].
    fn can(&self, work: &Work) -> bool {
        let _ = work;
        true
    }

    /// Does the work `n` times, and returns the total time. Preparation is not timed.
    ///
    /// # Errors
    /// Returns an error if the work fails or gives a wrong result.
    fn run(&mut self, work: &Work, n: u64) -> Result<Duration>;
}

/// The result of one measurement.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Series {
    /// The benchmark's name.
    pub bench: &'static str,
    /// The subject's name.
    pub subject: &'static str,
    /// The work that was measured.
    #[serde(flatten)]
    pub work: Work,
    /// `ns`, `µs`, `ms`, `requests/s`, `values/s`, `bytes`, `MB/s`, `MiB`, `page faults` or `times as long`.
    pub unit: &'static str,
    /// The value of the best round.
    pub best: f64,
    /// The median of the rounds.
    pub median: f64,
    /// The number of rounds.
    pub rounds: usize,
}

impl Series {
    /// Summarizes one value per round. The best value is the largest for a rate (a unit that ends with `/s`), and the smallest for every other unit.
    pub fn new(
        bench: &'static str,
        subject: &'static str,
        work: Work,
        unit: &'static str,
        mut values: Vec<f64>,
    ) -> Self {
        values.sort_by(f64::total_cmp);
        let best = if unit.ends_with("/s") { values.last() } else { values.first() };
        Self {
            bench,
            subject,
            work,
            unit,
            best: best.copied().unwrap_or(f64::NAN),
            median: quantile(&values, 0.5),
            rounds: values.len(),
        }
    }
}

/// Returns the quantile `part`, from 0 to 1, of sorted values: the smallest value that this part of them does not exceed. Returns NaN if there are
/// no values.
pub fn quantile(sorted: &[f64], part: f64) -> f64 {
    let at = (sorted.len() as f64 * part).ceil() as usize;
    let at = at.clamp(1, sorted.len().max(1)) - 1;
    sorted.get(at).copied().unwrap_or(f64::NAN)
}

/// Measures all subjects that can do this work, in turns. Each round begins with another subject. The figures are nanoseconds for one operation.
///
/// # Errors
/// Returns the first error of a subject, with its name and the work.
pub fn take_turns(
    bench: &'static str,
    subjects: &mut [Box<dyn Subject>],
    work: Work,
    plan: Plan,
) -> Result<Vec<Series>> {
    let mut able: Vec<_> = subjects.iter_mut().filter(|s| s.can(&work)).collect();
    let mut times = Vec::new();
    for subject in &mut able {
        let n = calibrate(&mut ***subject, &work, plan.round)?;
        times.push((n, Vec::with_capacity(plan.rounds)));
    }
    for round in 0..plan.rounds {
        for turn in 0..able.len() {
            let who = (round + turn) % able.len();
            let (n, values) = &mut times[who];
            let took = run(&mut **able[who], &work, *n)?;
            values.push(took.as_nanos() as f64 / *n as f64);
        }
    }
    let series = able.iter().zip(times);
    let series =
        series.map(|(subject, (_, values))| Series::new(bench, subject.name(), work, "ns", values));
    Ok(series.collect())
}

fn run(subject: &mut dyn Subject, work: &Work, n: u64) -> Result<Duration> {
    let took = subject.run(work, n);
    took.map_err(|fault| fault.context(format!("{}: {work}", subject.name())))
}

/// Returns how often the subject can do the work in one round. This also warms the subject up.
fn calibrate(subject: &mut dyn Subject, work: &Work, round: Duration) -> Result<u64> {
    let mut n = 1;
    loop {
        let took = run(subject, work, n)?;
        // A quarter of a round is long enough for an estimate.
        if took >= round / 4 || n >= 1 << 30 {
            let fits = n as f64 * round.as_secs_f64() / took.as_secs_f64().max(1e-9);
            return Ok((fits as u64).max(1));
        }
        n *= 2;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WORK: Work = Work { op: Op::Write, source: Source::Counter, size: 1024, count: 1 };

    struct Steady(&'static str, u64, Vec<u64>);

    impl Subject for Steady {
        fn name(&self) -> &'static str {
            self.0
        }

        fn run(&mut self, _: &Work, n: u64) -> Result<Duration> {
            self.2.push(n);
            Ok(Duration::from_nanos(self.1 * n))
        }
    }

    #[test]
    fn each_subject_gets_its_own_figures() {
        let mut subjects: Vec<Box<dyn Subject>> = vec![
            Box::new(Steady("fast", 100, Vec::new())),
            Box::new(Steady("slow", 50_000, Vec::new())),
        ];
        let plan = Plan { rounds: 3, round: Duration::from_micros(1000), quick: true };
        let all = take_turns("transform", &mut subjects, WORK, plan).unwrap();
        let shown: Vec<_> = all.iter().map(|s| (s.subject, s.best, s.rounds)).collect();
        assert_eq!(shown, [("fast", 100.0, 3), ("slow", 50_000.0, 3)]);
    }

    #[test]
    fn median_and_best_are_taken_over_the_rounds() {
        let table = [
            ("a time", "ns", vec![3.0, 1.0, 2.0], 1.0, 2.0),
            ("a rate", "requests/s", vec![3.0, 1.0, 2.0], 3.0, 2.0),
            ("one round", "ms", vec![7.0], 7.0, 7.0),
            ("an even number", "ns", vec![4.0, 1.0, 2.0, 3.0], 1.0, 2.0),
        ];
        for (desc, unit, values, best, median) in table {
            let series = Series::new("b", "s", WORK, unit, values);
            assert_eq!((series.best, series.median), (best, median), "{desc}");
        }
    }

    #[test]
    fn sizes_are_formatted_with_units() {
        assert_eq!([64, 1024, 65536, 1 << 20].map(bytes), ["64 B", "1 KiB", "64 KiB", "1 MiB"]);
    }
}
