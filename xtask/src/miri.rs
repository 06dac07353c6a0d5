//! `cargo xtask miri`: tests under Miri, which sees undefined behaviour, data races and leaks, and wants a nightly toolchain.

use anyhow::{Result, bail};

use crate::command;
use crate::report::Counts;
use crate::setup;
use crate::workspace::Workspace;

/// What is run: arguments of `cargo miri test`. Interpreted code is a thousand times slower, so long tests are left out; and so is what calls
/// ring, whose assembly Miri cannot interpret.
const RUNS: [&[&str]; 4] = [
    &["-p", "dekker-memory", "--lib"],
    &["-p", "dekker-aead", "--lib", "--", "wiped", "every_length"],
    &["-p", "dekker-ciphers", "--lib"],
    &[
        "-p",
        "dekker-core",
        "--lib",
        "--",
        "crypto",
        "map",
        "lru",
        "json::write",
    ],
];

/// Runs them all, whatever comes of the first.
///
/// # Errors
/// Nightly or Miri cannot be had, or a test fails.
pub fn run(workspace: &Workspace) -> Result<()> {
    setup::nightly(workspace, &["miri", "rust-src"])?;
    let mut counts = Counts::default();
    let mut failed = Vec::new();
    for arguments in RUNS {
        let mut miri = workspace.command("cargo");
        // What cargo has told xtask of the toolchain would win over `+nightly`.
        miri.env_remove("RUSTUP_TOOLCHAIN")
            .env_remove("RUSTC")
            .env(
                "MIRIFLAGS",
                "-Zmiri-strict-provenance -Zmiri-disable-isolation",
            )
            .env("PROPTEST_CASES", "2")
            .env("CARGO_TARGET_DIR", workspace.target().join("miri"))
            .args(["+nightly", "miri", "test"])
            .args(arguments);
        if let Err(fault) = command::run_tests(&mut miri, &mut counts) {
            failed.push(format!("{fault:#}"));
        }
    }
    let Counts {
        passed,
        failed: broken,
        skipped,
    } = counts;
    println!("\n{passed} passed, {broken} failed, {skipped} skipped under Miri");
    if !failed.is_empty() {
        bail!(failed.join("; "));
    }
    Ok(())
}
