//! `cargo xtask simulate`: plays many seeded histories, with every fix in place or with one of them removed.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::command;
use crate::component;
use crate::report::Counts;
use crate::workspace::Workspace;

/// The default number of histories in a run, the same as in CI.
pub(crate) const HISTORIES: u64 = 10_000;

/// What to simulate.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Simulation {
    /// This many random histories.
    Histories(u64),
    /// Random histories with a fix removed, which must fail.
    Without {
        /// The name of a file in `tests/without`, without `.patch`; or `all`, for one run per file.
        fix: String,
        /// The number of histories in each run.
        histories: u64,
    },
    /// Every fault in every phase. Renews the table in `docs/fault-matrix.md`.
    Matrix,
}

/// Runs a simulation.
///
/// # Errors
/// Returns an error if a promise was broken; or, with a fix removed, if all promises were kept.
pub(crate) fn run(workspace: &Workspace, simulation: &Simulation) -> Result<()> {
    component::build(workspace)?;
    match simulation {
        Simulation::Histories(histories) => play(workspace, *histories, &mut Counts::default()),
        Simulation::Without { fix, histories } => without(workspace, fix, *histories),
        Simulation::Matrix => {
            let table = workspace.root().join("docs/fault-matrix.md");
            let mut tests = host_test(workspace, "simulation::matrix::every_fault_in_every_phase");
            tests.env("DEKKER_MATRIX", table);
            command::run(&mut tests)
        }
    }
}

/// Plays `histories` histories of the host, and as many of dekker-shared. The second run takes place even if the first fails.
///
/// # Errors
/// Returns an error if a promise was broken.
pub(crate) fn play(workspace: &Workspace, histories: u64, counts: &mut Counts) -> Result<()> {
    let count = histories.to_string();
    let mut host = host_test(workspace, "simulation::histories_keep_every_promise");
    let mut shared = workspace.cargo();
    shared
        .args(["test", "--release", "-p", "dekker-shared"])
        .args(["--test", "simulation", "--"])
        .args(["--exact", "histories_keep_every_promise", "--nocapture"]);
    let host = command::run_tests(host.env("DEKKER_HISTORIES", &count), counts);
    let shared = command::run_tests(shared.env("DEKKER_HISTORIES", &count), counts);
    host.and(shared)
}

/// Returns the command for one test of dekker-host, whose output is not captured.
fn host_test(workspace: &Workspace, name: &str) -> Command {
    let mut command = workspace.cargo();
    command.args(["test", "--release", "-p", "dekker-host", "--lib", "--"]).args([
        "--exact",
        name,
        "--nocapture",
    ]);
    command
}

/// Removes the named fix, or one fix after the other, in a copy of the tree, and plays the histories without it.
fn without(workspace: &Workspace, fix: &str, histories: u64) -> Result<()> {
    let patches = patches(workspace)?;
    let mut chosen = patches.into_iter();
    let chosen: Vec<_> = match fix {
        "all" => chosen.collect(),
        name => chosen.by_ref().filter(|patch| is_named(patch, name)).collect(),
    };
    if chosen.is_empty() {
        bail!("there is no fix `{fix}` in tests/without");
    }
    let mut unseen = Vec::new();
    let mut seen = Vec::new();
    for patch in chosen {
        let name = patch.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        eprintln!("\n== without {name}");
        let copy = copy(workspace)?;
        apply(&copy, &patch)?;
        component::build(&copy)?;
        compiles(&copy)?;
        match play(&copy, histories, &mut Counts::default()) {
            Ok(()) => unseen.push(name),
            Err(_) => seen.push(name),
        }
    }
    eprintln!("\ndetected: {}", seen.join(", "));
    if !unseen.is_empty() {
        bail!("{histories} histories passed without these fixes: {}", unseen.join(", "));
    }
    Ok(())
}

/// Returns the patches in `tests/without`, sorted. Each removes one fix.
fn patches(workspace: &Workspace) -> Result<Vec<PathBuf>> {
    let folder = workspace.root().join("tests/without");
    let entries =
        fs::read_dir(&folder).with_context(|| format!("cannot read {}", folder.display()))?;
    let mut patches = Vec::new();
    for entry in entries {
        let path = entry?.path();
        if path.extension() == Some(OsStr::new("patch")) {
            patches.push(path);
        }
    }
    patches.sort();
    Ok(patches)
}

fn is_named(patch: &Path, name: &str) -> bool {
    patch.file_stem() == Some(OsStr::new(name))
}

/// Copies the working tree, with its uncommitted changes. The copy has its own target directory, which starts as a copy of what is already built,
/// so that dependencies are not built again.
fn copy(workspace: &Workspace) -> Result<Workspace> {
    let copy = workspace.at(workspace.without());
    let root = copy.root();
    let listed = command::capture(workspace.command("git").args([
        "ls-files",
        "-z",
        "--cached",
        "--others",
        "--exclude-standard",
    ]))?;
    let listed: BTreeSet<&str> = listed.split('\0').filter(|path| !path.is_empty()).collect();
    for path in &listed {
        let (from, to) = (workspace.root().join(path), root.join(path));
        let Ok(bytes) = fs::read(&from) else {
            // The file was deleted and this is not committed yet, or it is a link to a folder.
            continue;
        };
        // An unchanged file keeps its modification time, so that it is not rebuilt.
        if fs::read(&to).is_ok_and(|there| there == bytes) {
            continue;
        }
        if let Some(folder) = to.parent() {
            fs::create_dir_all(folder)
                .with_context(|| format!("cannot create {}", folder.display()))?;
        }
        fs::write(&to, bytes).with_context(|| format!("cannot write {}", to.display()))?;
    }
    for folder in ["release", "wasm32-unknown-unknown", "dekker"] {
        let (from, to) = (workspace.target().join(folder), copy.target().join(folder));
        if !to.exists() && from.exists() {
            fs::create_dir_all(copy.target())
                .with_context(|| format!("cannot create {}", copy.target().display()))?;
            let mut cp = workspace.command("cp");
            command::run(cp.arg("-a").args([&from, &to]))?;
        }
    }
    Ok(copy)
}

fn apply(copy: &Workspace, patch: &Path) -> Result<()> {
    let mut git = copy.command("git");
    // The copy is inside a repository that ignores it. If git found that repository, it would not apply the patch.
    if let Some(above) = copy.root().parent() {
        git.env("GIT_CEILING_DIRECTORIES", above);
    }
    command::run(git.arg("apply").arg(patch))
}

/// Compiles the tests of the copy. Without this step, a copy that does not compile would look like one whose simulation fails.
fn compiles(copy: &Workspace) -> Result<()> {
    let mut tests = copy.cargo();
    let packages = ["test", "--release", "--no-run", "-p", "dekker-host"];
    command::run(tests.args(packages).arg("--lib"))?;
    let mut tests = copy.cargo();
    let packages = ["test", "--release", "--no-run", "-p", "dekker-shared"];
    command::run(tests.args(packages).args(["--test", "simulation"]))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Playing histories without each fix takes too long for every test run. A patch that no longer applies would be noticed too late.
    #[test]
    fn every_patch_that_removes_a_fix_applies() {
        let workspace = Workspace::find().expect("a workspace");
        let patches = patches(&workspace).expect("patches");
        assert!(!patches.is_empty());
        for patch in patches {
            let mut git = workspace.command("git");
            let check = git.args(["apply", "--check"]).arg(&patch).output().expect("git");
            let stderr = String::from_utf8_lossy(&check.stderr);
            assert!(check.status.success(), "{}: {stderr}", patch.display());
        }
    }
}
