//! `cargo xtask interop`: compares Dekker with upstream's own code, which the Go program in `tests/interop` runs. One table has a row for each
//! comparison; a mismatch in any row is an error.

use std::ffi::OsStr;
use std::fmt::Write as _;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::command;
use crate::report::Counts;
use crate::setup;
use crate::workspace::Workspace;

/// The recordings that must be the same each time. The paths are relative to `tests/`.
const CORPUS: &str = "interop/config/corpus.jsonl";
const KEY_STATES: &str = "vectors/key-states.json";
const SOCKETS: &str = "vectors/kms-sockets.json";

/// A row of the table.
#[derive(Debug, PartialEq, Eq)]
struct Row {
    what: String,
    compared: usize,
    mismatches: usize,
}

impl Row {
    /// Parses `INTEROP <what>: <n> compared, <m> mismatches`, which each comparison in `dekker-tests` prints.
    fn from_line(line: &str) -> Option<Self> {
        // A test harness that runs tests one after the other prints its own text before it on the same line.
        let (_, rest) = line.split_once("INTEROP ")?;
        let (what, counts) = rest.trim_end().rsplit_once(": ")?;
        let (compared, mismatches) = counts.split_once(" compared, ")?;
        Some(Self {
            what: what.into(),
            compared: compared.parse().ok()?,
            mismatches: mismatches.strip_suffix(" mismatches")?.parse().ok()?,
        })
    }
}

/// The Go program, its directories and the rows so far.
struct Interop<'a> {
    workspace: &'a Workspace,
    source: PathBuf,
    /// The directory of the built program and of the fresh recordings.
    out: PathBuf,
    rows: Vec<Row>,
}

/// Runs all comparisons, and prints the table.
///
/// # Errors
/// Returns [`setup::Missing`] if Go is not available, or an error if a step fails or a comparison finds a mismatch.
pub(crate) fn run(workspace: &Workspace, counts: &mut Counts) -> Result<()> {
    let start = Instant::now();
    let source = workspace.root().join("tests/interop");
    setup::go(workspace, &source)?;
    let mut interop = Interop { workspace, source, out: workspace.interop(), rows: Vec::new() };
    interop.check_source()?;
    interop.record()?;
    let recorded =
        interop.compare("recorded", &["vectors", "config_verdicts", "key_states"], &[], counts);
    let fresh = interop.fresh();
    let names = ["vectors", "config_verdicts", "key_states", "interop_live"];
    let now = interop.compare("now", &names, &[("DEKKER_INTEROP_FRESH", &fresh)], counts);
    print!("\n{}", render(&interop.rows, start.elapsed()));
    recorded.and(now)?;
    let mismatches: usize = interop.rows.iter().map(|row| row.mismatches).sum();
    if mismatches > 0 {
        bail!("{mismatches} mismatches with upstream");
    }
    Ok(())
}

impl Interop<'_> {
    fn go<A: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = A>) -> Command {
        let mut command = self.workspace.command("go");
        command.args(args).current_dir(&self.source);
        command
    }

    fn program(&self) -> PathBuf {
        self.out.join("peer")
    }

    /// The directory of the fresh recordings, with the same layout as `tests/`.
    fn fresh(&self) -> PathBuf {
        self.out.join("fresh")
    }

    fn check_source(&self) -> Result<()> {
        let mut gofmt = self.workspace.command("gofmt");
        let unformatted = command::capture(gofmt.args(["-l", "."]).current_dir(&self.source))?;
        if !unformatted.is_empty() {
            bail!("gofmt: not formatted: {}", unformatted.trim_end());
        }
        command::run(&mut self.go(["vet", "."]))?;
        let mut build = self.go(["build", "-o"]);
        command::run(build.arg(self.program()).arg("."))
    }

    /// Records vectors, verdicts, key states and the errors of unusable sockets from upstream again, and compares those that are not random with the committed ones.
    fn record(&mut self) -> Result<()> {
        let fresh = self.fresh();
        if fresh.exists() {
            fs::remove_dir_all(&fresh)
                .with_context(|| format!("cannot remove {}", fresh.display()))?;
        }
        for folder in ["vectors", "interop/config"] {
            fs::create_dir_all(fresh.join(folder)).context("cannot create a folder")?;
        }
        let mut vectors = Command::new(self.program());
        vectors.args(["vectors", "--every-large"]).arg(fresh.join("vectors"));
        command::run(&mut vectors)?;
        let open = |path: &Path| {
            File::open(path).with_context(|| format!("cannot read {}", path.display()))
        };
        let create = |path: &Path| {
            File::create(path).with_context(|| format!("cannot write {}", path.display()))
        };
        let mut verdicts = Command::new(self.program());
        verdicts
            .arg("verdicts")
            .stdin(open(&self.committed(CORPUS))?)
            .stdout(create(&fresh.join(CORPUS))?);
        command::run(&mut verdicts)?;
        // Also runs the Go program's other test, which compares `upstream_tests.txt` with upstream's tests.
        let mut tests = self.go(["test", "-count=1", "."]);
        tests.env("INTEROP_STATES", fresh.join(KEY_STATES));
        command::run(tests.env("INTEROP_SOCKETS", fresh.join(SOCKETS)))?;
        for (what, name) in [
            ("configuration verdicts", CORPUS),
            ("key states", KEY_STATES),
            ("unusable sockets", SOCKETS),
        ] {
            let row = self.same(what, name)?;
            self.rows.push(row);
        }
        Ok(())
    }

    fn committed(&self, name: &str) -> PathBuf {
        self.workspace.root().join("tests").join(name)
    }

    /// Compares a recording with the committed one, line by line.
    fn same(&self, what: &str, name: &str) -> Result<Row> {
        let read = |path: PathBuf| {
            fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))
        };
        let (committed, fresh) = (read(self.committed(name))?, read(self.fresh().join(name))?);
        let lines = committed.lines().count().max(fresh.lines().count());
        let equal = committed.lines().zip(fresh.lines()).filter(|(a, b)| a == b).count();
        Ok(Row {
            what: format!("{what}: upstream against the recording"),
            compared: lines,
            mismatches: lines - equal,
        })
    }

    /// Runs these tests of `dekker-tests`, and adds a row for each of their comparisons.
    fn compare(
        &mut self,
        when: &str,
        tests: &[&str],
        variables: &[(&str, &Path)],
        counts: &mut Counts,
    ) -> Result<()> {
        let mut cargo = self.workspace.cargo();
        cargo
            .args(["test", "--release", "--no-fail-fast", "-p", "dekker-tests"])
            .env("DEKKER_BIN", self.workspace.binary())
            .env("DEKKER_COMPONENT", self.workspace.component())
            .env("DEKKER_COMPONENT_ACCELERATED", self.workspace.accelerated())
            .env("DEKKER_INTEROP_PEER", self.program());
        for test in tests {
            cargo.args(["--test", test]);
        }
        for (name, value) in variables {
            cargo.env(name, value);
        }
        cargo.args(["--", "--nocapture"]);
        let rows = &mut self.rows;
        command::run_tests_seeing(&mut cargo, counts, |line| {
            if let Some(mut row) = Row::from_line(line) {
                row.what = format!("{}, {when}", row.what);
                rows.push(row);
            }
        })
    }
}

fn render(rows: &[Row], elapsed: Duration) -> String {
    let width = rows.iter().map(|row| row.what.chars().count()).max().unwrap_or(0);
    let mut text =
        format!("{:<width$}  {:>9}  {:>10}\n", "upstream and Dekker", "compared", "mismatches");
    let mut total = (0, 0);
    // Writing to a String cannot fail.
    for Row { what, compared, mismatches } in rows {
        total = (total.0 + compared, total.1 + mismatches);
        let _ = writeln!(text, "{what:<width$}  {compared:>9}  {mismatches:>10}");
    }
    let _ = writeln!(text, "{:<width$}  {:>9}  {:>10}", "total", total.0, total.1);
    let _ = writeln!(text, "{:.1} s", elapsed.as_secs_f64());
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(what: &str, compared: usize, mismatches: usize) -> Row {
        Row { what: what.into(), compared, mismatches }
    }

    #[test]
    fn rows_are_parsed_from_the_output_of_tests() {
        let table = [
            (
                "a row",
                "INTEROP vectors (native): 378 compared, 2 mismatches\n",
                Some(row("vectors (native)", 378, 2)),
            ),
            (
                "colons in it",
                "INTEROP live: a, b: 1 compared, 0 mismatches",
                Some(row("live: a, b", 1, 0)),
            ),
            (
                "after the test harness's output",
                "test x ... INTEROP y: 1 compared, 0 mismatches",
                Some(row("y", 1, 0)),
            ),
            ("no number", "INTEROP y: many compared, 0 mismatches", None),
            ("cut short", "INTEROP y: 1 compared", None),
            ("something else", "test interop ... ok", None),
        ];
        for (desc, line, expected) in table {
            assert_eq!(Row::from_line(line), expected, "{desc}");
        }
    }

    #[test]
    fn the_table_adds_up() {
        let rows = [row("vectors", 378, 0), row("health bodies", 9, 2)];
        let expected = "\
upstream and Dekker   compared  mismatches
vectors                  378           0
health bodies              9           2
total                    387           2
1.5 s
";
        // The head is wider than the widest row.
        let shown = render(&rows, Duration::from_millis(1500));
        let squeezed = |text: &str| {
            let line = |line: &str| line.split_whitespace().collect::<Vec<_>>().join(" ");
            text.lines().map(line).collect::<Vec<_>>()
        };
        assert_eq!(squeezed(&shown), squeezed(expected));
    }
}
