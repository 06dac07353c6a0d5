//! Builds and tests the npm package: the WebAssembly modules for JavaScript, their bindings, and the handwritten files in `wasm/js/package`.
//!
//! All of it is written to `dist/`, which `package.json` in the root packs.

mod sizes;

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use wasm_bindgen_cli_support::Bindgen;

pub(crate) use self::sizes::check as check_sizes;
use crate::command;
use crate::optimize;
use crate::report::Counts;
use crate::setup;
use crate::workspace::Workspace;

/// A WebAssembly module of the package.
struct Module {
    /// The crate.
    package: &'static str,
    /// The name of the bindings; the module's file has `_bg.wasm` after it.
    bindings: &'static str,
    /// The directory in which the optimizer caches the module.
    cache: &'static str,
}

static MODULES: [Module; 2] = [
    Module { package: "dekker-js", bindings: "dekker", cache: "npm" },
    Module { package: "dekker-js-inspect", bindings: "dekker_inspect", cache: "npm inspect" },
];

/// Builds the package.
///
/// # Errors
/// Returns [`setup::Missing`] if the target, Node or the npm packages are not available, or an error if a step fails.
pub(crate) fn build(workspace: &Workspace) -> Result<()> {
    setup::node_modules(workspace)?;
    let built = MODULES.iter().map(|module| module.build(workspace));
    let built = built.collect::<Result<Vec<_>>>()?;

    let dist = workspace.npm_dist();
    assemble(workspace, &dist)?;
    for (module, optimized) in MODULES.iter().zip(built) {
        module.pack(workspace, &optimized, &dist)?;
    }
    let sizes = sizes::describe(workspace)?.replace("; ", "\n  ");
    eprintln!("{}\n  {sizes}", dist.display());
    Ok(())
}

impl Module {
    /// Builds the module and its bindings. Returns the optimized module.
    fn build(&self, workspace: &Workspace) -> Result<Vec<u8>> {
        let toolchain = setup::target(workspace, setup::WASM)?;
        let mut cargo = toolchain.cargo_with_std(workspace, "rustc", setup::WASM);
        cargo.args(["--profile", "guest", "-p", self.package]);
        // rustc must not strip the module: wasm-bindgen reads a section that says what it was compiled for, and strips the rest itself.
        command::run(cargo.args(["--", "-C", "strip=none"]))?;

        let bound = workspace.npm_bindings();
        bind(&workspace.guest_module(self.package), self.bindings, &bound)?;
        optimize::optimize(workspace, self.cache, &bound.join(self.file()))
    }

    /// Writes the module and its bindings to `dist`.
    fn pack(&self, workspace: &Workspace, optimized: &[u8], dist: &Path) -> Result<()> {
        let packed = dist.join(self.file());
        fs::write(&packed, optimized)
            .with_context(|| format!("cannot write {}", packed.display()))?;
        eprintln!("{}: {} kB", packed.display(), optimized.len() / 1000);
        let script = format!("{}.js", self.bindings);
        copy(&workspace.npm_bindings().join(&script), &dist.join(&script))?;
        command::run(workspace.command("node").arg("wasm/js/inline.js").arg(&packed))
    }

    /// The name of the module's file.
    fn file(&self) -> String {
        format!("{}_bg.wasm", self.bindings)
    }
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
fn bind(module: &Path, name: &str, output: &Path) -> Result<()> {
    eprintln!("$ wasm-bindgen {}", module.display());
    let start = std::time::Instant::now();
    Bindgen::new()
        .input_path(module)
        .out_name(name)
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
