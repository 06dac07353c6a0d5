//! Finds or installs cargo subcommands that are not part of a toolchain.

use std::path::PathBuf;
use std::process::Command;

use super::{Missing, answers, attempt};
use crate::command;
use crate::workspace::Workspace;

/// Finds or installs a cargo subcommand of this version, in the target directory. Returns the path of its program.
///
/// # Errors
/// Returns [`Missing`] if the subcommand cannot be downloaded or does not compile.
pub(crate) fn tool(workspace: &Workspace, name: &str, version: &str) -> Result<PathBuf, Missing> {
    let program = workspace.tools().join("bin").join(name);
    let subcommand = name.strip_prefix("cargo-").unwrap_or(name);
    let is_there = || {
        let said = command::capture(Command::new(&program).args([subcommand, "--version"]));
        said.is_ok_and(|said| said.trim_end().ends_with(&format!(" {version}")))
    };
    let get = || {
        let mut cargo = workspace.cargo();
        cargo
            .args(["install", name, "--version", version, "--locked", "--force"])
            .arg("--root")
            .arg(workspace.tools());
        attempt(&mut cargo)
    };
    if is_there() || (get() && is_there()) {
        return Ok(program);
    }
    Err(Missing {
        message: format!(
            "{name} {version} is missing and could not be installed; run `cargo install {name} --version {version} --locked --root {}`",
            workspace.tools().display()
        ),
    })
}

/// The version of cargo-deny that is installed in CI.
const CARGO_DENY: &str = "0.20.2";

/// Returns the command `cargo deny`. In CI, the pinned version is used, and installed if it is missing. Elsewhere an installed version is used, but
/// nothing is installed, because cargo-deny takes minutes to compile.
///
/// # Errors
/// Returns [`Missing`] if cargo-deny is not installed, or in CI if it cannot be installed.
pub(crate) fn deny(workspace: &Workspace) -> Result<Command, Missing> {
    if workspace.is_ci() {
        let program = tool(workspace, "cargo-deny", CARGO_DENY)?;
        return Ok(workspace.command(&program.to_string_lossy()));
    }
    if !answers(workspace.cargo().args(["deny", "--version"])) {
        return Err(Missing {
            message: format!(
                "cargo-deny is not installed; run `cargo install cargo-deny --version {CARGO_DENY} --locked`"
            ),
        });
    }
    let mut command = workspace.cargo();
    command.arg("deny");
    Ok(command)
}
