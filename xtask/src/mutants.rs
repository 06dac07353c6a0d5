//! `cargo xtask mutants`: cargo-mutants over the code that a mistake in costs a value or a nonce.

use std::ffi::OsString;
use std::path::Path;

use anyhow::Result;

use crate::command;
use crate::setup;
use crate::workspace::Workspace;

/// What is broken, a small way at a time.
const FILES: [&str; 4] = [
    "core/src/crypto/**",
    "core/src/provider/kms/**",
    "core/src/engine/**",
    "core/src/engine.rs",
];

/// Runs it. Each mutant is built and meets dekker-core's own tests and the behaviour suite's native face; what it found is in
/// `target/mutants/mutants.out`.
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
        .arg("mutants")
        .args(["--package", "dekker-core"])
        .args([
            "--test-package",
            "dekker-core,dekker-shared,dekker-fuzz-targets",
        ])
        // The profile that everything else is built in, and incremental: each mutant changes one function.
        .args(["--profile", "mutants"])
        .args(["--timeout", "60", "--build-timeout", "300"])
        .args(["--no-shuffle", "--colors", "never"])
        .arg("--output")
        .arg(workspace.target().join("mutants"));
    for file in FILES {
        mutants.args(["--file", file]);
    }
    command::run(mutants.args(args))
}
