//! A module made smaller by Binaryen's wasm-opt, from npm.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};

use crate::command;
use crate::kept::Kept;
use crate::setup;
use crate::workspace::Workspace;

/// Smallest first. A second round, or `--converge`, wins less than a thousandth for twice the time.
///
/// The features are those that rustc's wasm32-unknown-unknown has: what it compiles is understood, and nothing newer is made of it.
const ARGUMENTS: [&str; 9] = [
    "-Oz",
    "--enable-bulk-memory",
    "--enable-bulk-memory-opt",
    "--enable-call-indirect-overlong",
    "--enable-multivalue",
    "--enable-mutable-globals",
    "--enable-nontrapping-float-to-int",
    "--enable-reference-types",
    "--enable-sign-ext",
];

/// The optimized module, kept under `name`. The result of the last run is used again if neither module nor optimizer changed since.
///
/// # Errors
/// [`setup::Missing`] when wasm-opt cannot be had; or it fails.
pub fn optimize(workspace: &Workspace, name: &str, module: &Path) -> Result<Vec<u8>> {
    let tool = setup::wasm_opt(workspace)?;
    let input = fs::read(module).with_context(|| format!("cannot read {}", module.display()))?;
    let mut how = workspace.command("node");
    how.arg(&tool.script).args(ARGUMENTS);
    let kept = Kept {
        directory: workspace.optimized(name),
        how: format!("binaryen {} {}", tool.version, ARGUMENTS.join(" ")),
    };
    if let Some(output) = kept.find(&input) {
        return Ok(output);
    }
    kept.make(&input, |output| {
        command::run(how.arg(module).arg("-o").arg(output))
    })
}
