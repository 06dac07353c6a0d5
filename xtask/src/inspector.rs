//! The Inspector: one HTML file, made of `wasm/inspector` and the npm package.

use std::path::Path;

use anyhow::{Result, ensure};

use crate::command;
use crate::setup;
use crate::workspace::Workspace;

/// Builds the page. The npm package must have been built.
///
/// # Errors
/// [`setup::Missing`] when Node or npm's packages cannot be had; or the bundler fails.
pub fn build(workspace: &Workspace) -> Result<()> {
    setup::node_modules(workspace)?;
    let module = workspace.npm_dist().join("dekker_bg.wasm.js");
    ensure!(module.exists(), "the npm package is not built");
    command::run(
        workspace
            .command("node")
            .arg("wasm/inspector/build.js")
            .arg(workspace.inspector()),
    )
}

/// Takes the pictures of the page that README shows.
///
/// # Errors
/// Chromium cannot be had, or the page does not do what the pictures are of.
pub fn take_pictures(workspace: &Workspace) -> Result<()> {
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
