//! Builds `dekker.wasm`, a WASI command with those of Dekker's commands that need no plugin.

use std::fs;

use anyhow::{Context, Result};

use crate::command;
use crate::setup;
use crate::workspace::Workspace;

/// Builds `dekker.wasm`. For this target, cargo's output already is a component.
///
/// # Errors
/// Returns [`setup::Missing`] if the target is not available, or an error if the crate does not compile or its output cannot be copied.
pub(crate) fn build(workspace: &Workspace) -> Result<()> {
    setup::wasi(workspace)?;
    command::run(workspace.cargo().args([
        "build",
        "--target",
        setup::WASI,
        "--profile",
        "guest",
        "-p",
        "dekker-wasi",
    ]))?;
    let (built, path) = (workspace.wasi_module(), workspace.wasi_command());
    if let Some(directory) = path.parent() {
        fs::create_dir_all(directory)
            .with_context(|| format!("cannot create {}", directory.display()))?;
    }
    let size = fs::copy(&built, &path)
        .with_context(|| format!("cannot copy {} to {}", built.display(), path.display()))?;
    eprintln!("{} ({} kB)", path.display(), size / 1000);
    Ok(())
}
