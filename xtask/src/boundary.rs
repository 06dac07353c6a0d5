//! Checks who uses whom: the floors of core, circles between files, and the dependencies between the crates of the workspace.
//!
//! Only what is compiled without `cfg(test)` counts: tests may use everything.

mod circles;
mod crates;
mod floors;
mod imports;
mod sources;
mod tokens;

use anyhow::{Result, bail};

use self::sources::Sources;
use crate::workspace::Workspace;

/// Checks the sources of core and host, and the manifests of all crates.
///
/// # Errors
/// Returns an error that lists each fault with its file, its line and what to do; or an error if a file cannot be read.
pub(crate) fn check(workspace: &Workspace) -> Result<()> {
    let mut faults = Vec::new();
    let core = Sources::read(workspace.root(), "core/src")?.uses();
    faults.extend(floors::faults(&core));
    faults.extend(circles::faults(&core));
    let host = Sources::read(workspace.root(), "host/src")?.uses();
    faults.extend(circles::faults(&host));
    faults.extend(crates::faults(workspace)?);
    if faults.is_empty() {
        return Ok(());
    }
    bail!("the rules about who may use whom are broken:\n  {}", faults.join("\n  "))
}
