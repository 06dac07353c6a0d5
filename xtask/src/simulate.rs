//! `cargo xtask simulate`: the seeded simulation in numbers, with every fix in, or with one taken out.

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

/// How many histories a run has unless told: as many as in CI.
pub const HISTORIES: u64 = 10_000;

/// What to simulate.
#[derive(Debug, Clone, PartialEq)]
pub enum Simulation {
    /// Random histories.
    Histories(u64),
    /// The same, each time with a fix taken out: the one of this name, or `all`. The histories must fail.
    Without {
        /// A file in `tests/without`, without `.patch`; or `all`.
        fix: String,
        /// At most.
        histories: u64,
    },
    /// Every fault in every phase, and the table of it in the documentation.
    Matrix,
}

/// Runs it.
///
/// # Errors
/// A promise was broken; or, with a fix taken out, none was.
pub fn run(workspace: &Workspace, simulation: &Simulation) -> Result<()> {
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

/// Plays so many histories of the host, and of dekker-shared. Both run, whatever comes of the first.
///
/// # Errors
/// A promise was broken.
pub fn play(workspace: &Workspace, histories: u64, counts: &mut Counts) -> Result<()> {
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

/// One test of dekker-host, which prints as it goes.
fn host_test(workspace: &Workspace, name: &str) -> Command {
    let mut command = workspace.cargo();
    command
        .args(["test", "--release", "-p", "dekker-host", "--lib", "--"])
        .args(["--exact", name, "--nocapture"]);
    command
}

/// Takes out one fix after another, in a copy of the tree.
fn without(workspace: &Workspace, fix: &str, histories: u64) -> Result<()> {
    let patches = patches(workspace)?;
    let mut chosen = patches.into_iter();
    let chosen: Vec<_> = match fix {
        "all" => chosen.collect(),
        name => chosen
            .by_ref()
            .filter(|patch| is_named(patch, name))
            .collect(),
    };
    if chosen.is_empty() {
        bail!("there is no fix `{fix}` in tests/without");
    }
    let mut unseen = Vec::new();
    let mut seen = Vec::new();
    for patch in chosen {
        let name = patch
            .file_stem()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
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
    eprintln!("\nseen: {}", seen.join(", "));
    if !unseen.is_empty() {
        bail!(
            "{histories} histories did not see that it was missing: {}",
            unseen.join(", ")
        );
    }
    Ok(())
}

/// What takes a fix out, in order.
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

/// The tree once more, as it is now, with a target directory of its own that begins with what was built of other people's crates.
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
            // Deleted and not committed yet, or a link to a folder.
            continue;
        };
        // What is as it was keeps its time, so that it is not built anew.
        if fs::read(&to).is_ok_and(|there| there == bytes) {
            continue;
        }
        if let Some(folder) = to.parent() {
            fs::create_dir_all(folder)
                .with_context(|| format!("cannot make {}", folder.display()))?;
        }
        fs::write(&to, bytes).with_context(|| format!("cannot write {}", to.display()))?;
    }
    for folder in ["release", "wasm32-unknown-unknown", "dekker"] {
        let (from, to) = (workspace.target().join(folder), copy.target().join(folder));
        if !to.exists() && from.exists() {
            fs::create_dir_all(copy.target())
                .with_context(|| format!("cannot make {}", copy.target().display()))?;
            let mut cp = workspace.command("cp");
            command::run(cp.arg("-a").args([&from, &to]))?;
        }
    }
    Ok(copy)
}

fn apply(copy: &Workspace, patch: &Path) -> Result<()> {
    let mut git = copy.command("git");
    // The copy lies in a repository that ignores it; there git would leave it alone.
    if let Some(above) = copy.root().parent() {
        git.env("GIT_CEILING_DIRECTORIES", above);
    }
    command::run(git.arg("apply").arg(patch))
}

/// A copy that does not compile would look like one whose simulation fails.
fn compiles(copy: &Workspace) -> Result<()> {
    let mut tests = copy.cargo();
    let packages = ["test", "--release", "--no-run", "-p", "dekker-host"];
    command::run(tests.args(packages).arg("--lib"))?;
    let mut tests = copy.cargo();
    let packages = ["test", "--release", "--no-run", "-p", "dekker-shared"];
    command::run(tests.args(packages).args(["--test", "simulation"]))
}
