//! `cargo xtask crash`: tests the `dekker` binary under kill -9 and the other faults of `tests/tests/crash.rs`.

use std::num::NonZeroU32;
use std::process::Command;

use anyhow::Result;

use crate::command;
use crate::report::Counts;
use crate::workspace::Workspace;
use crate::{component, host};

/// Builds the binary, and runs the tests of the part `crash`, with `kills` kills at random moments and a stop of four minutes.
///
/// # Errors
/// Returns an error if a step or a test fails.
pub(crate) fn by_hand(workspace: &Workspace, kills: Option<NonZeroU32>) -> Result<()> {
    component::build(workspace)?;
    host::build(workspace)?;
    let mut tests = tests(workspace);
    // Longer than a write DEK may be used.
    tests.env("DEKKER_STOPPED_SECONDS", "240");
    if let Some(kills) = kills {
        tests.env("DEKKER_KILLS", kills.to_string());
    }
    let figures = figures_of(&mut tests, &mut Counts::default())?;
    println!("\n{}", figures.replace("; ", "\n"));
    Ok(())
}

/// Runs the tests, and returns the figures that they print.
///
/// # Errors
/// Returns an error as [`command::run_tests`] does.
pub(crate) fn run(workspace: &Workspace, counts: &mut Counts) -> Result<String> {
    figures_of(&mut tests(workspace), counts)
}

fn tests(workspace: &Workspace) -> Command {
    let mut tests = workspace.cargo();
    tests
        .args(["test", "--release", "--no-fail-fast", "-p", "dekker-tests"])
        .args(["--test", "crash"])
        .env("DEKKER_BIN", workspace.binary())
        // The tests mostly wait for processes.
        .env("RUST_TEST_THREADS", "4");
    tests
}

fn figures_of(tests: &mut Command, counts: &mut Counts) -> Result<String> {
    let mut figures = Vec::new();
    command::run_tests_seeing(tests, counts, |line| figures.extend(figure(line)))?;
    Ok(figures.join("; "))
}

/// Returns what follows `CRASH ` in a line. A test harness that runs tests one after the other prints its own text before it on the same line.
fn figure(line: &str) -> Option<String> {
    let (_, figure) = line.split_once("CRASH ")?;
    Some(figure.trim_end().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_parsed_from_the_output_of_tests() {
        let table = [
            ("a line", "CRASH kills: 200\n", Some("kills: 200")),
            ("after the test harness's output", "test x ... CRASH seed: 1\n", Some("seed: 1")),
            ("something else", "test crash ... ok\n", None),
        ];
        for (desc, line, expected) in table {
            assert_eq!(figure(line).as_deref(), expected, "{desc}");
        }
    }
}
