//! A module made smaller by Binaryen's wasm-opt, from npm.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};

use crate::command;
use crate::kept::Kept;
use crate::setup;
use crate::workspace::Workspace;

/// Smallest first. With its control flow made anew, a module is a hundredth smaller, and SHA-256 in it no more than that slower; a third
/// round, or `--converge`, wins less than a thousandth. Functions with one caller stay where they are, unless they are tiny: that hardly
/// matters for the size, but what repeats itself is then found by gzip, for a hundredth less of the npm package.
///
/// The features are those that rustc's wasm32-unknown-unknown has: what it compiles is understood, and nothing newer is made of it.
const ARGUMENTS: [&str; 13] = [
    "--one-caller-inline-max-function-size=20",
    "--flatten",
    "--rereloop",
    "-Oz",
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
