//! The parts that run tests.

use std::process::Command;

use anyhow::Result;

use super::{Done, all};
use crate::command;
use crate::inspector;
use crate::npm;
use crate::report::Counts;
use crate::setup;
use crate::simulate;
use crate::wasi_command;
use crate::workspace::Workspace;

pub(super) fn native(workspace: &Workspace, counts: &mut Counts) -> Result<Done> {
    let packages = [
        "-p",
        "dekker-cli",
        "-p",
        "dekker-compiled",
        "-p",
        "dekker-concurrency",
        "-p",
        "dekker-core",
        "-p",
        "dekker-crypto",
        "-p",
        "dekker-forms",
        "-p",
        "dekker-fuzz-targets",
        "-p",
        "dekker-keys",
        "-p",
        "dekker-memory",
        "-p",
        "dekker-proto",
        "-p",
        "dekker-ring",
        "-p",
        "dekker-shared",
        "-p",
        "dekker-host",
    ];
    let product = command::run_tests(cargo_test(workspace).args(packages), counts);
    // Run separately: built together with other packages, the dependencies would have other features and be rebuilt.
    let tool = command::run_tests(cargo_test(workspace).args(["-p", "xtask"]), counts);
    let bench = command::run_tests(cargo_test(workspace).args(["-p", "dekker-bench"]), counts);
    all([product, tool, bench])?;
    Ok(Done::Passed)
}

pub(super) fn end_to_end(workspace: &Workspace, counts: &mut Counts) -> Result<Done> {
    // Tests that need only Go run in the part `interop`; those of the KMS clients, which need more, in the part `clients`.
    let mut tests = cargo_test(workspace);
    tests.env("DEKKER_INTEROP", "off").env("DEKKER_CLIENTS", "off");
    let packages = ["-p", "dekker-core-tests", "-p", "dekker-tests"];
    command::run_tests(tests.args(packages), counts)?;
    Ok(Done::Passed)
}

pub(super) fn simulation(workspace: &Workspace, counts: &mut Counts) -> Result<Done> {
    simulate::play(workspace, simulate::HISTORIES, counts)?;
    Ok(Done::Passed)
}

pub(super) fn crash(workspace: &Workspace, counts: &mut Counts) -> Result<Done> {
    crate::crash::run(workspace, counts).map(Done::PassedWith)
}

pub(super) fn wasmtime(workspace: &Workspace, counts: &mut Counts) -> Result<Done> {
    wasi_command::build(workspace)?;
    let mut tests = cargo_test(workspace);
    tests.env("DEKKER_WASM", workspace.wasi_command());
    // Run separately: this package needs features of wasmtime that no other package enables.
    command::run_tests(tests.args(["-p", "dekker-wasmtime-command"]), counts)?;
    Ok(Done::Passed)
}

pub(super) fn hosts(workspace: &Workspace, counts: &mut Counts) -> Result<Done> {
    all(crate::hosts::run(workspace, counts)?)?;
    Ok(Done::Passed)
}

pub(super) fn interop(workspace: &Workspace, counts: &mut Counts) -> Result<Done> {
    crate::interop::run(workspace, counts)?;
    Ok(Done::Passed)
}

pub(super) fn etcd(workspace: &Workspace, counts: &mut Counts) -> Result<Done> {
    crate::etcd::run(workspace, counts).map(Done::PassedWith)
}

pub(super) fn clients(workspace: &Workspace, counts: &mut Counts) -> Result<Done> {
    crate::clients::run(workspace, counts)?;
    Ok(Done::Passed)
}

pub(super) fn node(workspace: &Workspace, counts: &mut Counts) -> Result<Done> {
    npm::build(workspace)?;
    let suite = npm::run_tests(workspace, "tests/node", None, counts);
    let behaviours = on_face(cargo_test(workspace), "node", counts);
    // As in a browser, without Node's own cipher for long values.
    let mut portable = cargo_test(workspace);
    portable.env("DEKKER_CIPHER", "wasm");
    let portable = on_face(portable, "node", counts);
    let mut restored = cargo_test(workspace);
    restored.args(["-p", "dekker-tests", "--test", "restored_memory_node"]);
    let restored = command::run_tests(&mut restored, counts);
    let sizes = npm::check_sizes(workspace);
    let note = sizes.as_ref().map_or_else(|_| String::new(), String::clone);
    all([suite, behaviours, portable, restored, sizes.map(drop)])?;
    Ok(Done::PassedWith(note))
}

pub(super) fn browser(workspace: &Workspace, counts: &mut Counts) -> Result<Done> {
    let chromium = setup::chromium(workspace)?;
    npm::build(workspace)?;
    inspector::build(workspace)?;
    let suite = npm::run_tests(workspace, "tests/browser", Some(&chromium), counts);
    let mut tests = cargo_test(workspace);
    tests.env("DEKKER_CHROMIUM", &chromium);
    let behaviours = on_face(tests, "browser", counts);
    all([suite, behaviours])?;
    Ok(Done::Passed)
}

/// Runs the behaviour suite, the published vectors and everything recorded from upstream against one face of the npm package.
fn on_face(mut tests: Command, face: &str, counts: &mut Counts) -> Result<()> {
    tests.args(["-p", "dekker-tests", "--test"]).arg(format!("behaviour_{face}"));
    for recorded in ["vectors", "published_vectors", "config_verdicts", "key_states"] {
        tests.args(["--test", recorded]);
    }
    command::run_tests(tests.env("DEKKER_FACE", face), counts)
}

/// Returns a `cargo test` that reports all failures, not only the first. `DEKKER_BIN`, `DEKKER_COMPONENT` and `DEKKER_COMPONENT_ACCELERATED` name
/// the files that the tests run against.
fn cargo_test(workspace: &Workspace) -> Command {
    let mut command = workspace.cargo();
    command
        .args(["test", "--release", "--no-fail-fast"])
        .env("DEKKER_BIN", workspace.binary())
        .env("DEKKER_COMPONENT", workspace.component())
        .env("DEKKER_COMPONENT_ACCELERATED", workspace.accelerated());
    command
}
