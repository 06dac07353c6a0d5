//! `dekker.wasm`, the commands that need no plugin as a WASI command.

use std::fs;

use anyhow::{Context, Result};

use crate::command;
use crate::setup;
use crate::workspace::Workspace;

/// Builds it. What cargo makes for this target is a component as it comes.
///
/// # Errors
/// [`setup::Missing`] when the target cannot be had; it does not compile.
pub fn build(workspace: &Workspace) -> Result<()> {
    setup::wasi(workspace)?;
    command::run(workspace.cargo().args([
        "build",
        "--target",
        setup::WASI,
        "--profile",
        "guest",
        "-p",
        "dekker-command",
    ]))?;
    let (built, path) = (workspace.wasi_module(), workspace.wasi_command());
    if let Some(directory) = path.parent() {
        fs::create_dir_all(directory)
            .with_context(|| format!("cannot make {}", directory.display()))?;
    }
    let size = fs::copy(&built, &path)
        .with_context(|| format!("cannot copy {} to {}", built.display(), path.display()))?;
    eprintln!("{} ({} kB)", path.display(), size / 1000);
    Ok(())
}
