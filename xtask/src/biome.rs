//! Formats and lints JavaScript, TypeScript, JSON and CSS with Biome, which package-lock.json pins. Its configuration is `biome.jsonc`.

use std::process::Command;

use anyhow::Result;

use crate::command;
use crate::setup;
use crate::workspace::Workspace;

/// Formats the files, and sorts their imports.
///
/// # Errors
/// Returns [`setup::Missing`] if Node or the npm packages are not available, or an error if a file cannot be parsed.
pub(crate) fn format(workspace: &Workspace) -> Result<()> {
    command::run(biome(workspace)?.args(FORMAT).arg("--write"))
}

/// Checks that all files are formatted and their imports sorted.
///
/// # Errors
/// Returns [`setup::Missing`] if Node or the npm packages are not available, or an error if a file is not formatted.
pub(crate) fn check_format(workspace: &Workspace) -> Result<()> {
    command::run(biome(workspace)?.args(FORMAT))
}

/// Checks that the linter has no warnings.
///
/// # Errors
/// Returns [`setup::Missing`] if Node or the npm packages are not available, or an error if there is a warning.
pub(crate) fn lint(workspace: &Workspace) -> Result<()> {
    command::run(biome(workspace)?.args(["lint", "--error-on-warnings"]))
}

/// Biome sorts imports only in `check`, not in `format`.
const FORMAT: [&str; 2] = ["check", "--linter-enabled=false"];

fn biome(workspace: &Workspace) -> Result<Command> {
    setup::node_modules(workspace)?;
    let mut node = workspace.command("node");
    node.arg("node_modules/@biomejs/biome/bin/biome");
    Ok(node)
}
