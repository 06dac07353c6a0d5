//! `cargo xtask mutants`: cargo-mutants over the code that a mistake in costs a value or a nonce.

use std::ffi::OsString;
use std::path::Path;

use anyhow::Result;

use crate::command;
use crate::setup;
use crate::workspace::Workspace;

/// What is broken, a small way at a time, unless the arguments name files.
const FILES: [&str; 4] = [
    "core/src/crypto/**",
    "core/src/provider/kms/**",
    "core/src/engine/**",
    "core/src/engine.rs",
];

/// What each mutant meets: dekker-core's own tests, threads and histories of dekker-shared, and the corpora of the fuzz targets. The behaviour
/// suite would link wasmtime for each.
const TESTS: &str = "dekker-core,dekker-shared,dekker-fuzz-targets";

/// Runs it. What it found is in `target/mutants/mutants.out`.
///
/// # Errors
/// cargo-mutants cannot be had, or a mutant was missed.
pub fn run(workspace: &Workspace, args: Vec<OsString>) -> Result<()> {
    let tool = setup::tool(workspace, "cargo-mutants", "27.1.0")?;
    let mut mutants = workspace.cargo();
    let path = std::env::var("PATH").unwrap_or_default();
    let tools = tool.parent().unwrap_or(Path::new("")).display();
    mutants
        .env("PATH", format!("{tools}:{path}"))
        .env("PROPTEST_CASES", "32")
        .arg("mutants")
        .args(["--package", "dekker-core"])
        .args(["--test-package", TESTS])
        // Examples in documentation take longer to link than all tests to run.
        .args(["--profile", "mutants", "--cargo-test-arg=--tests"])
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
