//! Formats the results of a run as JSON, text and Markdown.

mod bars;
mod table;

use std::fmt::Write as _;

use serde::Serialize;

use crate::bars::Bar;
use crate::load::IDLE_MAX;
use crate::rounds::{Op, Series, Source, bytes};
use crate::{cached, heap, inspect, many_server, readers, server, sizes, threads, transform};

use self::table::{Table, grid, short};

/// The results of a run.
#[derive(Debug, Serialize)]
pub struct Report {
    /// The version of this format, 2.
    pub format: u32,
    /// Whether the run only checks that everything runs; its figures are then not meaningful.
    pub quick: bool,
    /// The number of cores that this process may use.
    pub cores: usize,
    /// The processor's architecture, such as `x86_64`.
    pub architecture: &'static str,
    /// The share of the processors that other programs used during the run, from 0 to 1. `None` if the kernel does not report it.
    pub others: Option<f64>,
    /// The versions of what was measured.
    pub versions: Vec<String>,
    /// The subjects that were left out, and why.
    pub skipped: Vec<String>,
    /// The targets, and whether they were reached.
    pub bars: Vec<Bar>,
    /// The measurements.
    pub series: Vec<Series>,
}

impl Report {
    fn of(&self, bench: &'static str) -> impl Iterator<Item = &Series> {
        self.series.iter().filter(move |s| s.bench == bench)
    }

    /// Returns each table with its name, which is that of its markers in `docs/PERFORMANCE.md`, and its title.
    fn tables(&self) -> Vec<(&'static str, &'static str, Table)> {
        let mut all = vec![("bars", "Targets", bars::table(&self.bars))];
        for (name, title, op, source) in [
            ("write-counter", "A write, DEK source counter, µs", Op::Write, Source::Counter),
            ("read-counter", "A read, DEK source counter, µs", Op::Read, Source::Counter),
            ("write-seed", "A write, DEK source seed, µs", Op::Write, Source::Seed),
            ("read-seed", "A read, DEK source seed, µs", Op::Read, Source::Seed),
        ] {
            let of = self.of(transform::NAME);
            let of = of.filter(|s| s.work.op == op && s.work.source == source);
            all.push((name, title, grid("", of, |s| s.work.size, |size| bytes(*size), 1e3)));
        }
        let counted = |count: &usize| count.to_string();
        let of =
            |bench, corner, scale| grid(corner, self.of(bench), |s| s.work.count, counted, scale);
        all.push((
            cached::NAME,
            "A cached read of 1 KiB, by number of cached DEKs, µs",
            of(cached::NAME, "DEKs", 1e3),
        ));
        all.push((
            readers::NAME,
            "A read of 1 KiB, by number of concurrent readers, µs",
            of(readers::NAME, "readers", 1e3),
        ));
        let threads = grid(
            "threads",
            self.of(threads::NAME),
            |s| (s.work.op, s.work.count),
            |(op, count)| format!("{op}, {count}"),
            1e3,
        );
        all.push((threads::NAME, "A write and a read of 1 KiB, by number of threads, µs", threads));
        let http = grid(
            "connections",
            self.of(server::HTTP),
            |s| (s.work.op, s.work.size, s.work.count),
            |(op, size, count)| format!("{op} {}, {count}", bytes(*size)),
            1.0,
        );
        all.push((server::HTTP, "Requests per second, by operation, size and connections", http));
        let batched = grid("", self.of(many_server::NAME), |s| s.work.op, ToString::to_string, 1.0);
        let title = "Values per second over one connection, in batches of 256 values of 1 KiB";
        all.push((many_server::NAME, title, batched));
        let heap = grid(
            "history of the heap",
            self.of(heap::NAME),
            |s| (s.work.op, s.unit),
            |(op, unit)| format!("{op}, {unit}"),
            1.0,
        );
        all.push((heap::NAME, "A write and a read of 1 MiB, by what the heap did before", heap));
        let inspected = self.of(inspect::NAME).chain(self.of(inspect::MEMORY));
        let inspected = grid("", inspected, |s| s.unit, |unit| (*unit).to_owned(), 1.0);
        all.push((
            inspect::NAME,
            "Reading 1 GiB of etcdctl's JSON, and the memory for it",
            inspected,
        ));
        let startup = grid("", self.of(server::STARTUP), |_| (), |()| "ms".into(), 1.0);
        all.push((server::STARTUP, "From start to the first healthy answer", startup));
        let sizes = grid("", self.of(sizes::NAME), |_| (), |()| "kB".into(), 1e3);
        all.push((sizes::NAME, "Sizes", sizes));
        // A table that was not measured has only its head.
        all.retain(|(_, _, table)| table.0.len() > 1);
        all
    }

    /// Formats all tables for a terminal, the bars last.
    pub fn text(&self) -> String {
        let mut tables = self.tables();
        tables.rotate_left(1);
        let mut text = String::new();
        for (_, title, table) in tables {
            let _ = writeln!(text, "\n{title}\n\n{}", table.aligned());
        }
        for skipped in &self.skipped {
            let _ = writeln!(text, "SKIP {skipped}");
        }
        let missed = self.bars.iter().filter(|bar| bar.met == Some(false)).count();
        if missed > 0 {
            let measured = self.bars.iter().filter(|bar| bar.met.is_some()).count();
            let _ = writeln!(text, "MISSED: {missed} of {measured} targets");
        }
        if self.others.is_some_and(|share| share > IDLE_MAX) {
            let _ = writeln!(text, "NOT IDLE: {}", self.load());
        }
        text
    }

    /// Describes the load by other programs.
    fn load(&self) -> String {
        let Some(share) = self.others else {
            return "whether the machine was idle is not known".to_owned();
        };
        let percent = short(share * 100.0);
        if share > IDLE_MAX {
            format!("other programs used {percent}% of the processors; only ratios mean something")
        } else {
            format!("idle: other programs used {percent}% of the processors")
        }
    }

    /// Formats each table as Markdown, by name. The last one, `run`, lists the machine and the versions.
    pub fn markdown(&self) -> Vec<(&'static str, String)> {
        let tables = self.tables().into_iter();
        let mut all: Vec<_> = tables.map(|(name, _, table)| (name, table.markdown())).collect();
        let mut run = format!("{} cores, {}.\n- {}\n", self.cores, self.architecture, self.load());
        for version in self.versions.iter().chain(&self.skipped) {
            let _ = writeln!(run, "- {version}");
        }
        all.push(("run", run));
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rounds::Work;

    fn report() -> Report {
        let series = |subject, size, value| {
            let work = Work { op: Op::Write, source: Source::Counter, size, count: 1 };
            Series::new(transform::NAME, subject, work, "ns", vec![value])
        };
        Report {
            format: 2,
            quick: true,
            cores: 2,
            architecture: "x86_64",
            others: Some(0.01),
            versions: vec!["a 1".into()],
            skipped: vec!["b: not available".into()],
            bars: Vec::new(),
            series: vec![
                series("one", 64, 1000.0),
                series("other", 64, 12_345.0),
                series("other", 1024, 123_456.0),
            ],
        }
    }

    #[test]
    fn a_table_has_a_row_for_each_subject() {
        let all = report().markdown();
        let expected = "\
|  | 64 B | 1 KiB |
|---|---:|---:|
| one | 1.00 |  |
| other | 12.3 | 123 |
";
        assert_eq!(all[0], ("write-counter", expected.into()));
        let idle = "idle: other programs used 1.00% of the processors";
        assert_eq!(all[1].1, format!("2 cores, x86_64.\n- {idle}\n- a 1\n- b: not available\n"));
        let text = report().text();
        assert!(text.contains("other  12.3    123\n") && !text.contains("IDLE"), "{text}");
    }

    #[test]
    fn a_machine_that_is_not_idle_is_named() {
        let busy = Report { others: Some(0.305), ..report() };
        let load = "other programs used 30.5% of the processors; only ratios mean something\n";
        assert!(busy.text().ends_with(&format!("NOT IDLE: {load}")), "{}", busy.text());
        assert!(busy.markdown()[1].1.contains(&format!("- {load}")), "{:?}", busy.markdown());
        let unknown = Report { others: None, ..report() };
        assert!(unknown.markdown()[1].1.contains("- whether the machine was idle is not known\n"));
        assert!(!unknown.text().contains("IDLE"));
    }
}
