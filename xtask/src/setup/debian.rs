//! Finds and installs Debian's packages.

use std::os::unix::fs::MetadataExt;
use std::path::Path;

use super::attempt;
use crate::command;
use crate::workspace::Workspace;

/// Whether packages can be installed: this is Debian, and the user is root.
pub(super) fn can_install() -> bool {
    // /proc/self belongs to the effective user.
    let is_root = std::fs::metadata("/proc/self").is_ok_and(|itself| itself.uid() == 0);
    is_root && Path::new("/etc/debian_version").exists()
}

/// Whether all these packages are installed.
pub(super) fn has(workspace: &Workspace, packages: &[&str]) -> bool {
    let states = command::capture(
        workspace.command("dpkg-query").args(["-W", "-f=${Status}\\n"]).args(packages),
    );
    states.is_ok_and(|states| states.lines().all(|state| state == "install ok installed"))
}

/// Installs packages. Returns whether this succeeded.
pub(super) fn install(workspace: &Workspace, packages: &[&str]) -> bool {
    let apt_get = || {
        let mut command = workspace.command("apt-get");
        command.env("DEBIAN_FRONTEND", "noninteractive");
        command
    };
    // The result is ignored: package lists that were updated only in part may be enough.
    attempt(apt_get().arg("update"));
    attempt(apt_get().args(["install", "-y", "--no-install-recommends"]).args(packages))
}
