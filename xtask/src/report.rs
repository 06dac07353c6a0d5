//! The results of a test run, and the table that shows them.

use std::fmt::Write as _;
use std::ops::AddAssign;
use std::time::Duration;

/// The number of tests by result.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Counts {
    /// Tests that passed.
    pub passed: u64,
    /// Tests that failed.
    pub failed: u64,
    /// Tests that did not run, which cargo calls `ignored`.
    pub skipped: u64,
}

impl Counts {
    /// Parses `test result: ok. 3 passed; 0 failed; 1 ignored; …`, the last line of each test binary that cargo runs.
    pub(crate) fn from_result_line(line: &str) -> Option<Self> {
        let rest = line.trim_start().strip_prefix("test result: ")?;
        let count_before = |word: &str| -> Option<u64> {
            let before = rest.split(';').find_map(|field| field.trim().strip_suffix(word))?;
            before.split_whitespace().last()?.parse().ok()
        };
        Some(Self {
            passed: count_before("passed")?,
            failed: count_before("failed")?,
            skipped: count_before("ignored")?,
        })
    }

    /// Parses `ℹ pass 3`, `ℹ fail 0`, `ℹ cancelled 0` or `ℹ skipped 1`, four of the last lines that `node --test` prints.
    pub(crate) fn from_node_line(line: &str) -> Option<Self> {
        let mut words = line.strip_prefix("ℹ ")?.split_whitespace();
        let (word, count) = (words.next()?, words.next()?.parse().ok()?);
        let mut counts = Self::default();
        match word {
            "pass" => counts.passed = count,
            "fail" | "cancelled" => counts.failed = count,
            "skipped" => counts.skipped = count,
            _ => return None,
        }
        Some(counts)
    }
}

impl AddAssign for Counts {
    fn add_assign(&mut self, other: Self) {
        let Self { passed, failed, skipped } = other;
        self.passed += passed;
        self.failed += failed;
        self.skipped += skipped;
    }
}

/// How a part ended.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// All checks passed.
    Passed {
        /// Something that the reader should know nevertheless.
        note: Option<String>,
    },
    /// A check failed.
    Failed {
        /// What failed.
        reason: String,
    },
    /// The part could not run.
    Skipped {
        /// Why, and what to do about it.
        reason: String,
    },
}

/// The result of one part.
#[derive(Debug)]
pub(crate) struct PartReport {
    /// Its name on the command line.
    pub name: &'static str,
    /// How it ended.
    pub verdict: Verdict,
    /// The tests in the part; all zero if the part is a single check.
    pub counts: Counts,
    /// How long it took.
    pub elapsed: Duration,
}

impl PartReport {
    /// Returns the part's counts for the table. A part without tests counts as one test, and so does a failure without a failed test (such as a test
    /// that does not compile) or a skip.
    fn tally(&self) -> Counts {
        let mut counts = self.counts;
        match &self.verdict {
            Verdict::Passed { .. } if counts == Counts::default() => counts.passed = 1,
            Verdict::Failed { .. } if counts.failed == 0 => counts.failed = 1,
            Verdict::Skipped { .. } => counts.skipped += 1,
            Verdict::Passed { .. } | Verdict::Failed { .. } => {}
        }
        counts
    }
}

/// The results of a run.
#[derive(Debug, Default)]
pub(crate) struct Report {
    parts: Vec<PartReport>,
}

impl Report {
    /// Adds the result of a part.
    pub(crate) fn add(&mut self, part: PartReport) {
        self.parts.push(part);
    }

    /// Whether no part failed.
    pub(crate) fn is_good(&self) -> bool {
        !self.parts.iter().any(|part| matches!(part.verdict, Verdict::Failed { .. }))
    }

    /// Formats the table of the parts, a line for each part with a note, a failure or a skip, and the line with the totals.
    pub(crate) fn render(&self) -> String {
        let mut text = String::new();
        let mut total = Counts::default();
        let mut elapsed = Duration::ZERO;
        // Writing to a String cannot fail.
        let _ = writeln!(
            text,
            "{:<12}  {:<7}  {:>8}  {:>6}  {:>6}  {:>7}",
            "part", "result", "seconds", "passed", "failed", "skipped"
        );
        for part in &self.parts {
            let word = match part.verdict {
                Verdict::Passed { .. } => "passed",
                Verdict::Failed { .. } => "FAILED",
                Verdict::Skipped { .. } => "SKIPPED",
            };
            row(&mut text, part.name, word, part.elapsed, part.tally());
            total += part.tally();
            elapsed += part.elapsed;
        }
        row(&mut text, "total", "", elapsed, total);
        for part in &self.parts {
            let _ = match &part.verdict {
                Verdict::Passed { note: None } => Ok(()),
                Verdict::Passed { note: Some(note) } => {
                    writeln!(text, "NOTE {}: {note}", part.name)
                }
                Verdict::Failed { reason } => writeln!(text, "FAIL {}: {reason}", part.name),
                Verdict::Skipped { reason } => writeln!(text, "SKIP {}: {reason}", part.name),
            };
        }
        let Counts { passed, failed, skipped } = total;
        let _ = writeln!(text, "\n{passed} passed, {failed} failed, {skipped} skipped");
        text
    }
}

fn row(text: &mut String, name: &str, result: &str, elapsed: Duration, counts: Counts) {
    let Counts { passed, failed, skipped } = counts;
    let seconds = elapsed.as_secs_f64();
    // Writing to a String cannot fail.
    let _ = writeln!(
        text,
        "{name:<12}  {result:<7}  {seconds:>8.1}  {passed:>6}  {failed:>6}  {skipped:>7}"
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn result_lines_are_parsed() {
        let counts = |passed, failed, skipped| Some(Counts { passed, failed, skipped });
        let table = [
            (
                "passed",
                "test result: ok. 12 passed; 0 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.02s\n",
                counts(12, 0, 1),
            ),
            (
                "failed",
                "test result: FAILED. 3 passed; 2 failed; 0 ignored; 0 measured; 4 filtered out; finished in 1.50s",
                counts(3, 2, 0),
            ),
            (
                "in colour",
                "test result: \x1b[32mok\x1b[m. 7 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out",
                counts(7, 0, 0),
            ),
            ("one test", "test result_is_kept ... ok", None),
            ("a heading", "running 3 tests", None),
            ("in the middle of a line", "see test result: ok. 1 passed; 0 failed; 0 ignored", None),
            ("cut short", "test result: ok. 1 passed", None),
            ("not a number", "test result: ok. many passed; 0 failed; 0 ignored", None),
        ];
        for (desc, line, expected) in table {
            assert_eq!(Counts::from_result_line(line), expected, "{desc}");
        }
    }

    #[test]
    fn counts_are_parsed_from_the_output_of_node() {
        let counts = |passed, failed, skipped| Some(Counts { passed, failed, skipped });
        let table = [
            ("passed", "ℹ pass 62\n", counts(62, 0, 0)),
            ("failed", "ℹ fail 1\n", counts(0, 1, 0)),
            ("cancelled", "ℹ cancelled 2\n", counts(0, 2, 0)),
            ("skipped", "ℹ skipped 3\n", counts(0, 0, 3)),
            ("the total, which is the sum of the others", "ℹ tests 64\n", None),
            ("the name of a test", "✔ pass 3 (1.2ms)\n", None),
            ("not a number", "ℹ pass on\n", None),
        ];
        for (desc, line, expected) in table {
            assert_eq!(Counts::from_node_line(line), expected, "{desc}");
        }
    }

    fn part(name: &'static str, verdict: Verdict, counts: Counts, seconds: u64) -> PartReport {
        PartReport { name, verdict, counts, elapsed: Duration::from_secs(seconds) }
    }

    #[test]
    fn a_report_is_a_table_that_ends_with_the_totals() {
        let mut report = Report::default();
        report.add(part("fmt", Verdict::Passed { note: None }, Counts::default(), 1));
        report.add(part(
            "clippy",
            Verdict::Passed { note: Some("one lint less".into()) },
            Counts::default(),
            2,
        ));
        report.add(part(
            "native",
            Verdict::Failed { reason: "exit status: 101".into() },
            Counts { passed: 40, failed: 2, skipped: 1 },
            30,
        ));
        report.add(part(
            "doc",
            Verdict::Failed { reason: "exit status: 101".into() },
            Counts::default(),
            4,
        ));
        report.add(part(
            "deny",
            Verdict::Skipped { reason: "not installed".into() },
            Counts::default(),
            0,
        ));
        let expected = "\
part          result    seconds  passed  failed  skipped
fmt           passed        1.0       1       0        0
clippy        passed        2.0       1       0        0
native        FAILED       30.0      40       2        1
doc           FAILED        4.0       0       1        0
deny          SKIPPED       0.0       0       0        1
total                      37.0      42       3        2
NOTE clippy: one lint less
FAIL native: exit status: 101
FAIL doc: exit status: 101
SKIP deny: not installed

42 passed, 3 failed, 2 skipped
";
        assert_eq!(report.render(), expected);
        assert!(!report.is_good());
    }

    #[test]
    fn a_part_that_does_not_compile_counts_as_failed() {
        let report = part(
            "native",
            Verdict::Failed { reason: "does not compile".into() },
            Counts { passed: 5, failed: 0, skipped: 0 },
            1,
        );
        assert_eq!(report.tally(), Counts { passed: 5, failed: 1, skipped: 0 });
    }

    #[test]
    fn a_skipped_part_does_not_fail_a_run() {
        let mut report = Report::default();
        report.add(part(
            "deny",
            Verdict::Skipped { reason: "not installed".into() },
            Counts::default(),
            0,
        ));
        assert!(report.is_good());
    }
}
