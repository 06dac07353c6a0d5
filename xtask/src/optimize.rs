//! Makes modules smaller with Binaryen's wasm-opt, which comes from npm.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};

use crate::command;
use crate::kept::Kept;
use crate::setup;
use crate::workspace::Workspace;

/// The arguments of wasm-opt, chosen for size. Rebuilding the control flow (`--flatten --rereloop`) makes a module 1 % smaller and its SHA-256 at
/// most 1 % slower. A third `-Oz`, or `--converge`, saves less than 0.1 %. Functions with one caller are inlined only if they are tiny: this hardly
/// changes the module's size, but gzip then finds more repetition, which makes the npm package 1 % smaller.
///
/// The features are those of rustc's wasm32-unknown-unknown, so wasm-opt accepts what rustc compiles and emits nothing newer.
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

/// Optimizes a module, and caches the result under `name`. Returns the cached result if neither the module nor the optimizer has changed.
///
/// # Errors
/// Returns [`setup::Missing`] if wasm-opt is not available, or an error if it fails.
pub(crate) fn optimize(workspace: &Workspace, name: &str, module: &Path) -> Result<Vec<u8>> {
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
    kept.make(&input, |output| command::run(how.arg(module).arg("-o").arg(output)))
}
