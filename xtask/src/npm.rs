//! Builds and tests the npm package: the WebAssembly module for JavaScript, its bindings, and the handwritten files in `wasm/js/package`.
//!
//! All of it is written to `dist/`, which `package.json` in the root packs.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use wasm_bindgen_cli_support::Bindgen;

use crate::command;
use crate::optimize;
use crate::report::Counts;
use crate::setup;
use crate::workspace::Workspace;

/// 100 kB. The limit for the module's size after gzip.
const GZIP_MAX_BYTES: usize = 100_000;

/// Builds the package.
///
/// # Errors
/// Returns [`setup::Missing`] if the target, Node or the npm packages are not available, or an error if a step fails.
pub(crate) fn build(workspace: &Workspace) -> Result<()> {
    let toolchain = setup::target(workspace, setup::WASM)?;
    setup::node_modules(workspace)?;
    let mut cargo = toolchain.cargo_with_std(workspace, "rustc", setup::WASM);
    cargo.args(["--profile", "guest", "-p", "dekker-js"]);
    // rustc must not strip the module: wasm-bindgen reads a section that says what it was compiled for, and strips the rest itself.
    command::run(cargo.args(["--", "-C", "strip=none"]))?;

    let bound = workspace.npm_bindings();
    bind(&workspace.npm_module(), &bound)?;
    let module = bound.join("dekker_bg.wasm");
    let optimized = optimize::optimize(workspace, "npm", &module)?;

    let dist = workspace.npm_dist();
    assemble(workspace, &dist)?;
    let packed = dist.join("dekker_bg.wasm");
    fs::write(&packed, &optimized).with_context(|| format!("cannot write {}", packed.display()))?;
    copy(&bound.join("dekker.js"), &dist.join("dekker.js"))?;
    command::run(workspace.command("node").arg("wasm/js/inline.js").arg(&dist))?;

    let gzip = gzip_size(workspace, &packed)?;
    eprintln!(
        "{}\n  module {} kB, {}",
        dist.display(),
        optimized.len() / 1000,
        gzip_against_bar(gzip)
    );
    Ok(())
}

/// Runs the JavaScript tests of a folder against the built package, binary and Inspector.
///
/// # Errors
/// Returns an error if a test fails or Node cannot be run.
pub(crate) fn run_tests(
    workspace: &Workspace,
    folder: &str,
    chromium: Option<&Path>,
    counts: &mut Counts,
) -> Result<()> {
    let folder = workspace.root().join(folder);
    let context = || format!("cannot read {}", folder.display());
    let mut tests = Vec::new();
    for entry in fs::read_dir(&folder).with_context(context)? {
        let path = entry.with_context(context)?.path();
        if path.to_string_lossy().ends_with(".test.js") {
            tests.push(path);
        }
    }
    tests.sort();
    let mut node = workspace.command("node");
    node.args(["--test", "--test-reporter", "spec"])
        .args(tests)
        .env("DEKKER_BIN", workspace.binary())
        .env("DEKKER_INSPECTOR", workspace.inspector());
    if let Some(chromium) = chromium {
        node.env("DEKKER_CHROMIUM", chromium);
    }
    let mut seen = Counts::default();
    let result = command::run_tests_seeing(&mut node, counts, |line| {
        if let Some(line) = Counts::from_node_line(line) {
            seen += line;
        }
    });
    *counts += seen;
    result
}

/// Generates the JavaScript bindings, and a module that imports them.
fn bind(module: &Path, output: &Path) -> Result<()> {
    eprintln!("$ wasm-bindgen {}", module.display());
    let start = std::time::Instant::now();
    Bindgen::new()
        .input_path(module)
        .out_name("dekker")
        .web(true)?
        .typescript(false)
        // `wasm.js` loads the module, in different ways for Node, browsers and the inlined module.
        .omit_default_module_path(true)
        // `wasm.js` calls this function when it replaces an instance that trapped.
        .reset_state_function(true)
        .remove_name_section(true)
        .remove_producers_section(true)
        .generate(output)
        .with_context(|| format!("cannot generate bindings for {}", module.display()))?;
    eprintln!("  {:.1} s", start.elapsed().as_secs_f32());
    Ok(())
}

/// Recreates `dist/` with the handwritten files.
fn assemble(workspace: &Workspace, dist: &Path) -> Result<()> {
    if dist.exists() {
        fs::remove_dir_all(dist).with_context(|| format!("cannot remove {}", dist.display()))?;
    }
    let source = workspace.root().join("wasm/js/package");
    copy_all(&source, dist)?;
    let proto = workspace.root().join("proto/proto/kms");
    copy_all(&proto, &dist.join("kms"))
}

fn copy_all(from: &Path, to: &Path) -> Result<()> {
    let context = || format!("cannot copy {} to {}", from.display(), to.display());
    fs::create_dir_all(to).with_context(context)?;
    for entry in fs::read_dir(from).with_context(context)? {
        let entry = entry.with_context(context)?;
        let target = to.join(entry.file_name());
        if entry.file_type().with_context(context)?.is_dir() {
            copy_all(&entry.path(), &target)?;
        } else {
            copy(&entry.path(), &target)?;
        }
    }
    Ok(())
}

fn copy(from: &Path, to: &Path) -> Result<()> {
    fs::copy(from, to)
        .with_context(|| format!("cannot copy {} to {}", from.display(), to.display()))?;
    Ok(())
}

fn gzip_size(workspace: &Workspace, file: &Path) -> Result<usize> {
    let script = "const fs = require('fs'), zlib = require('zlib');
        console.log(zlib.gzipSync(fs.readFileSync(process.argv[1]), { level: 9 }).length)";
    let size = command::capture(workspace.command("node").args(["-e", script]).arg(file))?;
    size.trim().parse().context("the output of node is not a number")
}

fn gzip_against_bar(bytes: usize) -> String {
    let kilobytes = |bytes: usize| format!("{}.{} kB", bytes / 1000, bytes % 1000 / 100);
    let bar = kilobytes(GZIP_MAX_BYTES);
    if bytes < GZIP_MAX_BYTES {
        format!("{} compressed with gzip (limit: under {bar})", kilobytes(bytes))
    } else {
        format!("{} compressed with gzip: TOO LARGE (limit: under {bar})", kilobytes(bytes))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_compared_with_the_limit() {
        assert_eq!(
            gzip_against_bar(99_999),
            "99.9 kB compressed with gzip (limit: under 100.0 kB)"
        );
        assert_eq!(
            gzip_against_bar(100_000),
            "100.0 kB compressed with gzip: TOO LARGE (limit: under 100.0 kB)"
        );
    }
}
