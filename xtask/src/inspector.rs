//! Builds the Inspector: one HTML file, bundled from `wasm/inspector` and the npm package.

use std::path::Path;

use anyhow::{Result, ensure};

use crate::command;
use crate::setup;
use crate::workspace::Workspace;

/// Builds the page. The npm package must already be built.
///
/// # Errors
/// Returns [`setup::Missing`] if Node or the npm packages are not available, or an error if the npm package is not built or the bundler fails.
pub(crate) fn build(workspace: &Workspace) -> Result<()> {
    setup::node_modules(workspace)?;
    let module = workspace.npm_dist().join("dekker_bg.wasm.js");
    ensure!(module.exists(), "the npm package is not built");
    command::run(
        workspace.command("node").arg("wasm/inspector/build.js").arg(workspace.inspector()),
    )
}

/// Takes the pictures of the page that docs/javascript.md shows.
///
/// # Errors
/// Returns an error if Chromium is not available, or if the page does not reach the states that the pictures show.
pub(crate) fn take_pictures(workspace: &Workspace) -> Result<()> {
    let chromium = setup::chromium(workspace)?;
    command::run(
        workspace
            .command("node")
            .arg("wasm/inspector/screenshot.js")
            .arg(workspace.inspector())
            .arg(Path::new("docs"))
            .env("DEKKER_CHROMIUM", chromium),
    )
}
