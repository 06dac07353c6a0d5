//! `cargo xtask mutants`: runs cargo-mutants on the code in which a mistake would lose a value or repeat a nonce.

use std::ffi::OsString;
use std::path::Path;

use anyhow::Result;

use crate::command;
use crate::setup;
use crate::workspace::Workspace;

/// The files that are mutated, unless the arguments name files.
const FILES: [&str; 4] =
    ["core/src/crypto/**", "core/src/provider/kms/**", "core/src/engine/**", "core/src/engine.rs"];

/// The packages whose tests run against each mutant: dekker-core, dekker-core-tests (the behaviour suite and random histories in native code),
/// dekker-shared (threads and histories) and the fuzz targets (their corpora). These packages do not depend on wasmtime.
const TESTS: &str = "dekker-core,dekker-core-tests,dekker-shared,dekker-fuzz-targets";

/// Runs cargo-mutants, which writes its findings to `target/mutants/mutants.out`.
///
/// # Errors
/// Returns an error if cargo-mutants is not available, or if the tests missed a mutant.
pub(crate) fn run(workspace: &Workspace, args: Vec<OsString>) -> Result<()> {
    let tool = setup::tool(workspace, "cargo-mutants", "27.1.0")?;
    let mut mutants = workspace.cargo();
    let path = std::env::var("PATH").unwrap_or_default();
    let tools = tool.parent().unwrap_or(Path::new("")).display();
    mutants
        .env("PATH", format!("{tools}:{path}"))
        .env("PROPTEST_CASES", "32")
        .env("DEKKER_HISTORIES", "500")
        .arg("mutants")
        .args(["--package", "dekker-core"])
        .args(["--test-package", TESTS])
        // Without doctests: they take longer to link than all tests take to run.
        .args(["--profile", "mutants", "--cargo-test-arg=--tests"])
        // Takes a minute without full optimization. The models of dekker-concurrency check the same counter.
        .args(["--cargo-test-arg=--", "--cargo-test-arg=--skip", "--cargo-test-arg=four_billion"])
        .args(["--timeout", "120", "--build-timeout", "300"])
        .args(["--no-shuffle", "--colors", "never"])
        .arg("--output")
        .arg(workspace.target().join("mutants"));
    if !args.iter().any(|arg| arg == "--file" || arg == "-f") {
        for file in FILES {
            mutants.args(["--file", file]);
        }
    }
    command::run(mutants.args(args))
}
