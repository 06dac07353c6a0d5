//! Finds Node, and installs npm packages, one of which is wasm-opt.

use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use super::{Missing, is_newer};
use crate::command;
use crate::workspace::Workspace;

/// Finds Node, and installs the packages of the workspace's `package-lock.json` into `node_modules/`. The result is cached, because several parts
/// of one run need the packages.
///
/// # Errors
/// Returns [`Missing`] if there is no Node 20 or later, no npm, or its registry cannot be reached.
pub(crate) fn node_modules(workspace: &Workspace) -> Result<(), Missing> {
    static FOUND: OnceLock<Result<(), Missing>> = OnceLock::new();
    FOUND.get_or_init(|| find_node_modules(workspace)).clone()
}

fn find_node_modules(workspace: &Workspace) -> Result<(), Missing> {
    node_packages(workspace, workspace.root())
}

/// Finds Node, and installs the packages of a folder's `package-lock.json` into its `node_modules/`.
///
/// # Errors
/// Returns [`Missing`] if there is no Node 20 or later, no npm, or its registry cannot be reached.
pub(crate) fn node_packages(workspace: &Workspace, folder: &Path) -> Result<(), Missing> {
    let missing = |fault: &str| Missing {
        message: format!("{fault}; install Node.js 20 or later, with npm"),
    };
    let node = command::capture(workspace.command("node").arg("--version"))
        .map_err(|_| missing("there is no `node`"))?;
    if major_version(&node).is_none_or(|major| major < 20) {
        return Err(missing(&format!("the version of `node` is {}", node.trim_end())));
    }
    // npm records what it installed in node_modules. If package-lock.json is newer than this record, the packages may be outdated.
    if is_newer(&folder.join("node_modules/.package-lock.json"), &folder.join("package-lock.json"))
    {
        return Ok(());
    }
    let mut npm = workspace.command("npm");
    // `--ignore-scripts`: packages must not run their own scripts.
    npm.current_dir(folder).args([
        "ci",
        "--include=dev",
        "--ignore-scripts",
        "--no-audit",
        "--no-fund",
    ]);
    command::run(&mut npm)
        .map_err(|fault| Missing { message: format!("cannot install the npm packages: {fault:#}") })
}

/// Binaryen's wasm-opt, which is a script for Node.
#[derive(Debug, Clone)]
pub(crate) struct WasmOpt {
    /// The path of the script; the command is `node <script>`.
    pub script: PathBuf,
    /// Binaryen's version, which package-lock.json pins.
    pub version: String,
}

/// Finds the wasm-opt that package-lock.json pins, or installs it from npm into `node_modules`.
///
/// # Errors
/// Returns [`Missing`] if there is no Node 20 or later, or if npm cannot install the package.
pub(crate) fn wasm_opt(workspace: &Workspace) -> Result<WasmOpt, Missing> {
    node_modules(workspace).map_err(|fault| Missing {
        message: format!("wasm-opt, which makes WebAssembly smaller, is missing: {fault}"),
    })?;
    let root = workspace.root();
    let package = root.join("node_modules/binaryen");
    let version = json_text(&package.join("package.json"), "/version").ok_or_else(|| Missing {
        message: "node_modules has no binaryen; remove node_modules to have it installed again"
            .into(),
    })?;
    Ok(WasmOpt { script: package.join("bin/wasm-opt"), version })
}

/// Parses Node's major version, the 20 of `v20.1.2`.
fn major_version(version: &str) -> Option<u32> {
    version.strip_prefix('v')?.split('.').next()?.parse().ok()
}

/// Reads the string at a JSON pointer in a JSON file.
fn json_text(path: &Path, pointer: &str) -> Option<String> {
    let json: serde_json::Value = serde_json::from_slice(&std::fs::read(path).ok()?).ok()?;
    json.pointer(pointer)?.as_str().map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_major_version_of_node_is_parsed() {
        let table = [("v20.20.2\n", Some(20)), ("v9", Some(9)), ("20.1", None), ("", None)];
        for (version, expected) in table {
            assert_eq!(major_version(version), expected, "{version:?}");
        }
    }
}
