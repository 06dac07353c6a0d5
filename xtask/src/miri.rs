//! `cargo xtask miri`: runs tests under Miri, which detects undefined behaviour, data races and leaks, and needs a nightly toolchain.

use anyhow::{Result, bail};

use crate::command;
use crate::report::Counts;
use crate::setup;
use crate::workspace::Workspace;

/// The arguments of each `cargo miri test`. Interpreted code is a thousand times slower, so long tests are left out. Tests that call ring are left
/// out too, because Miri cannot interpret its assembly.
const RUNS: [&[&str]; 4] = [
    &["-p", "dekker-memory", "--lib"],
    &["-p", "dekker-crypto", "--features", "ring", "--lib", "--", "wiped", "every_length"],
    &["-p", "dekker-crypto", "--lib"],
    &["-p", "dekker-core", "--lib", "--", "crypto", "map", "lru", "json::write"],
];

/// Runs all of `RUNS`, even if one fails.
///
/// # Errors
/// Returns an error if the nightly toolchain or Miri is not available, or if a test fails.
pub(crate) fn run(workspace: &Workspace) -> Result<()> {
    setup::nightly(workspace, &["miri", "rust-src"])?;
    let mut counts = Counts::default();
    let mut failed = Vec::new();
    for arguments in RUNS {
        let mut miri = workspace.command("cargo");
        // cargo sets these for xtask; they would override `+nightly`.
        miri.env_remove("RUSTUP_TOOLCHAIN")
            .env_remove("RUSTC")
            .env("MIRIFLAGS", "-Zmiri-strict-provenance -Zmiri-disable-isolation")
            .env("PROPTEST_CASES", "2")
            .env("CARGO_TARGET_DIR", workspace.target().join("miri"))
            .args(["+nightly", "miri", "test"])
            .args(arguments);
        if let Err(fault) = command::run_tests(&mut miri, &mut counts) {
            failed.push(format!("{fault:#}"));
        }
    }
    let Counts { passed, failed: broken, skipped } = counts;
    println!("\n{passed} passed, {broken} failed, {skipped} skipped under Miri");
    if !failed.is_empty() {
        bail!(failed.join("; "));
    }
    Ok(())
}
