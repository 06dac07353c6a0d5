//! The targets that a run must reach, and whether it did.

use serde::Serialize;

use crate::rounds::{Op, Series, Source, Work};
use crate::subjects::names::{ACCELERATED, BOUNDARY, COPIED, GO, NATIVE, NOBLE, NODE, NPM, RING};
use crate::{cached, inspect, readers, server, sizes, transform};

/// A target ("bar"), with the figure that was reached.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Bar {
    /// What is compared or measured.
    pub what: String,
    /// The target in words, such as `at least 3× faster`.
    pub bar: String,
    /// The figure by the medians, or `None` if it was not measured.
    pub reached: Option<f64>,
    /// The figure by the best rounds, or `None` if it was not measured.
    pub best: Option<f64>,
    /// For a subject that crosses a boundary: the figure, by the medians, of a program that crosses the same boundary and does nothing else. This is
    /// the best that any implementation can reach across this boundary on this machine. `None` for other bars, or if it was not measured.
    pub limit: Option<f64>,
    /// The unit of the figures, such as `× faster`.
    pub unit: &'static str,
    /// Whether the figure by the medians meets the target, or `None` if it was not measured.
    pub met: Option<bool>,
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

    fn words(self, unit: &str) -> String {
        match self {
            Self::AtLeast(limit) => format!("at least {limit}{unit}"),
            Self::AtMost(limit) => format!("at most {limit}{unit}"),
        }
    }
}

/// The measurements of a run.
struct Figures<'a>(&'a [Series]);

/// A figure by the medians, and by the best rounds.
type Pair = (f64, f64);

impl Figures<'_> {
    fn find(&self, bench: &str, subject: &str, work: Work) -> Option<Pair> {
        let mut all = self.0.iter();
        let found = all.find(|s| s.bench == bench && s.subject == subject && s.work == work)?;
        Some((found.median, found.best))
    }

    /// Returns `a` divided by `b`.
    fn ratio(a: Option<Pair>, b: Option<Pair>) -> Option<Pair> {
        let ((a_median, a_best), (b_median, b_best)) = (a?, b?);
        Some((a_median / b_median, a_best / b_best))
    }

    /// Returns how many times faster `subject` is than `peer`.
    fn faster(&self, subject: &str, peer: &str, work: Work, of_peer: Work) -> Option<Pair> {
        Self::ratio(
            self.find(transform::NAME, peer, of_peer),
            self.find(transform::NAME, subject, work),
        )
    }
}

/// Returns all bars on speed and size, in the order of the table. `cores` is the number of cores that the readers had.
pub fn all(series: &[Series], cores: usize) -> Vec<Bar> {
    let figures = Figures(series);
    let mut bars = Vec::new();
    let mut add = |what: String, limit: Limit, unit: &'static str, reached: Option<Pair>| {
        bars.push(Bar {
            what,
            bar: limit.words(unit),
            reached: reached.map(|(median, _)| median),
            best: reached.map(|(_, best)| best),
            limit: None,
            unit,
            met: reached.map(|(median, _)| limit.holds(median)),
        });
    };
    let work = |op, source, size| Work { op, source, size, count: 1 };
    for (subject, limit) in [(NATIVE, 3.0), (ACCELERATED, 2.0)] {
        for source in [Source::Counter, Source::Seed] {
            for op in [Op::Write, Op::Read] {
                for size in [1024, 4096] {
                    let at = work(op, source, size);
                    add(
                        format!("{subject}: {op}, {source}, {} KiB, compared with Go", size / 1024),
                        Limit::AtLeast(limit),
                        "× faster",
                        figures.faster(subject, GO, at, at),
                    );
                }
            }
        }
    }
    for op in [Op::Write, Op::Read] {
        for (size, limit) in [(1024, 0.20), (4096, 0.35), (8192, 0.45)] {
            let at = work(op, Source::Counter, size);
            add(
                format!("{ACCELERATED}: {op}, {} KiB, compared with ring", size / 1024),
                Limit::AtLeast(limit),
                "× the speed",
                figures.faster(ACCELERATED, RING, at, at),
            );
        }
    }
    for op in [Op::Write, Op::Read] {
        for size in [1024, 4096] {
            let at = work(op, Source::Counter, size);
            add(
                format!("{NPM}: {op}, {} KiB, compared with {NOBLE}", size / 1024),
                Limit::AtLeast(5.0),
                "× faster",
                figures.faster(NPM, NOBLE, at, at),
            );
        }
    }
    for (op, peer) in [(Op::Write, "createCipheriv"), (Op::Read, "createDecipheriv")] {
        let at = work(op, Source::Counter, 4096);
        add(
            format!("{NPM}: {op}, 4 KiB, compared with {peer}"),
            Limit::AtMost(1.5),
            "× the time",
            Figures::ratio(
                figures.find(transform::NAME, NPM, at),
                figures.find(transform::NAME, NODE, at),
            ),
        );
    }
    for subject in [NATIVE, ACCELERATED] {
        let with = |count| {
            let at = work(Op::Read, Source::Counter, cached::SIZE);
            figures.find(cached::NAME, subject, Work { count, ..at })
        };
        add(
            format!("{subject}: cached read, 100,000 DEKs compared with 1"),
            Limit::AtMost(1.5),
            "× the time",
            Figures::ratio(with(100_000), with(1)),
        );
    }
    let p99 = |count| {
        let at = work(Op::Read, Source::Counter, readers::SIZE);
        figures.find(readers::NAME, readers::P99, Work { count, ..at })
    };
    // With fewer cores than readers, each reader waits for those before it. Scaling by this share removes the waiting time, so that only the overhead
    // of many readers remains.
    let share = cores.min(64) as f64 / 64.0;
    let many = p99(64).map(|(median, best)| (median * share, best * share));
    add(
        format!("64 readers compared with 1: p99 of a read, scaled by {}/64", cores.min(64)),
        Limit::AtMost(2.0),
        "× the time",
        Figures::ratio(many, p99(1)),
    );
    let nothing = work(Op::Read, Source::Counter, 0);
    for (subject, limit) in [
        (sizes::ACCELERATED, 300_000.0),
        (sizes::COMPONENT, 400_000.0),
        (sizes::NPM_GZIP, 100_000.0),
        (sizes::NPM_INSPECT_GZIP, 60_000.0),
    ] {
        let size = figures.find(sizes::NAME, subject, nothing);
        add(
            format!("size of {subject}"),
            Limit::AtMost(limit / 1e3),
            " kB",
            size.map(|(median, best)| (median / 1e3, best / 1e3)),
        );
    }
    add(
        "dekker serve: from start to the first healthy answer".to_owned(),
        Limit::AtMost(300.0),
        " ms",
        figures.find(server::STARTUP, server::DEKKER, nothing),
    );
    let listing = inspect::work(inspect::COUNT);
    let of = |bench, subject| figures.find(bench, subject, listing);
    let memory_max = (inspect::MEMORY_MAX >> 20) as f64;
    add(
        format!("{}: 1 GiB of etcdctl's JSON, compared with {}", inspect::DEKKER, inspect::SERDE),
        Limit::AtLeast(1.0),
        "× the speed",
        Figures::ratio(of(inspect::NAME, inspect::DEKKER), of(inspect::NAME, inspect::SERDE)),
    );
    add(
        format!("{}: memory for 1 GiB of etcdctl's JSON", inspect::DEKKER),
        Limit::AtMost(memory_max),
        " MiB",
        of(inspect::MEMORY, inspect::DEKKER),
    );
    for bar in &mut bars {
        bar.limit = limit_of(&bar.what, &figures);
    }
    bars
}

/// Returns [`Bar::limit`] for a bar that compares a subject that crosses a boundary with one that does not. Returns `None` for all others.
fn limit_of(what: &str, figures: &Figures<'_>) -> Option<f64> {
    let find = |subject, op, size| {
        let work = Work { op, source: Source::Counter, size, count: 1 };
        figures.find(transform::NAME, subject, work)
    };
    for op in [Op::Write, Op::Read] {
        for size in [1024, 4096, 8192] {
            let of = format!("{op}, {} KiB, compared with ", size / 1024);
            let ratio = if what == format!("{ACCELERATED}: {of}ring") {
                Figures::ratio(find(RING, op, size), find(BOUNDARY, op, size))
            } else if what.starts_with(&format!("{NPM}: {of}create")) {
                Figures::ratio(find(COPIED, op, size), find(NODE, op, size))
            } else {
                continue;
            };
            return ratio.map(|(median, _)| median);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn series(bench: &'static str, subject: &'static str, work: Work, value: f64) -> Series {
        Series::new(bench, subject, work, "ns", vec![value])
    }

    const AT: Work = Work { op: Op::Write, source: Source::Counter, size: 1024, count: 1 };

    fn bar(series: &[Series], what: &str) -> Bar {
        let all = all(series, 2);
        let mut found = all.into_iter().filter(|bar| bar.what.contains(what));
        found.next().unwrap()
    }

    #[test]
    fn a_bar_compares_the_ratio_of_the_medians() {
        let go = series(transform::NAME, GO, AT, 3000.0);
        let what = "native, ring: write, counter, 1 KiB";
        for (desc, ours, reached, met) in [
            ("faster", 500.0, Some(6.0), Some(true)),
            ("exactly at the target", 1000.0, Some(3.0), Some(true)),
            ("too slow", 1500.0, Some(2.0), Some(false)),
        ] {
            let ours = series(transform::NAME, NATIVE, AT, ours);
            let bar = bar(&[go.clone(), ours], what);
            assert_eq!((bar.reached, bar.met), (reached, met), "{desc}");
        }
        let bar = bar(&[go], what);
        assert_eq!((bar.reached, bar.met), (None, None), "not measured");
    }

    #[test]
    fn a_bar_across_a_boundary_has_a_limit() {
        let of = |subject, value| series(transform::NAME, subject, AT, value);
        let all = [of(ACCELERATED, 1000.0), of(BOUNDARY, 400.0), of(RING, 100.0)];
        let found = bar(&all, "write, 1 KiB, compared with ring");
        assert_eq!((found.reached, found.limit), (Some(0.1), Some(0.25)));
        assert_eq!(bar(&all, "native, ring: write, counter, 1 KiB").limit, None);
    }

    #[test]
    fn the_p99_of_readers_is_scaled_by_the_cores() {
        let at = |count| Work { op: Op::Read, count, ..AT };
        let one = series(readers::NAME, readers::P99, at(1), 100.0);
        // On two cores, 64 readers wait 32 times as long; 64 times as long is twice that.
        let many = series(readers::NAME, readers::P99, at(64), 6400.0);
        assert_eq!(bar(&[one, many], "64 readers").reached, Some(2.0));
    }
}
