//! Finds or installs what compiles: targets, the toolchain's components, and a nightly toolchain.
//!
//! A target comes from the first of these that has it: the installed toolchain, `rustup target add`, or Debian's rustc with a standard library
//! built from source.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;
use std::sync::{Mutex, PoisonError};

use super::{Missing, answers, attempt, debian};
use crate::command;
use crate::workspace::Workspace;

/// The target of the guest crates.
pub(crate) const WASM: &str = "wasm32-unknown-unknown";
/// A target without an operating system. A crate that builds for it needs none.
pub(crate) const BARE: &str = "riscv64gc-unknown-none-elf";
/// The target of `dekker.wasm`, with the whole standard library.
pub(crate) const WASI: &str = "wasm32-wasip2";

/// Debian's packages of Rust 1.96, its sources and wasm-ld. They install to /usr/bin and do not change rustup's toolchain.
const DEBIAN_PACKAGES: [&str; 4] = ["rustc-web", "cargo-web", "rust-web-src", "lld-22"];

/// The toolchain that compiles for a target.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Toolchain {
    /// The toolchain that compiled xtask, which has the target's standard library.
    Own,
    /// Debian's toolchain, which also builds the standard library.
    Debian,
}

impl Toolchain {
    /// Returns `cargo <subcommand> --target <target>`, for crates without `std`.
    pub(crate) fn cargo(self, workspace: &Workspace, subcommand: &str, target: &str) -> Command {
        self.cargo_with(workspace, subcommand, target, "core,alloc,panic_abort")
    }

    /// Returns `cargo <subcommand> --target <target>`, for crates with `std`.
    pub(crate) fn cargo_with_std(
        self,
        workspace: &Workspace,
        subcommand: &str,
        target: &str,
    ) -> Command {
        self.cargo_with(workspace, subcommand, target, "std,panic_abort")
    }

    fn cargo_with(
        self,
        workspace: &Workspace,
        subcommand: &str,
        target: &str,
        library: &str,
    ) -> Command {
        let mut command = match self {
            Self::Own => workspace.cargo(),
            Self::Debian => workspace.command("/usr/bin/cargo"),
        };
        command.args([subcommand, "--target", target]);
        match self {
            Self::Own => {}
            Self::Debian => {
                let path = std::env::var("PATH").unwrap_or_default();
                command
                    .arg(format!("-Zbuild-std={library}"))
                    .env("PATH", format!("/usr/bin:{path}"))
                    .env("RUSTC", "/usr/bin/rustc")
                    // Allows -Zbuild-std on a stable release of Rust.
                    .env("RUSTC_BOOTSTRAP", "1")
                    .env("CARGO_TARGET_WASM32_UNKNOWN_UNKNOWN_LINKER", "/usr/bin/wasm-ld-22");
            }
        }
        command
    }
}

/// Finds or installs a toolchain that compiles for a target. The result is cached, because several parts of one run need the same target.
///
/// # Errors
/// Returns [`Missing`] if neither rustup nor Debian provides the target.
pub(crate) fn target(workspace: &Workspace, target: &'static str) -> Result<Toolchain, Missing> {
    static FOUND: Mutex<BTreeMap<&str, Result<Toolchain, Missing>>> = Mutex::new(BTreeMap::new());
    // A panic while the lock is held cannot leave the map in an invalid state.
    let mut found = FOUND.lock().unwrap_or_else(PoisonError::into_inner);
    found.entry(target).or_insert_with(|| find_target(workspace, target)).clone()
}

/// Finds or installs [`WASI`]. Only rustup provides it: Debian's source of the standard library lacks the C library that this target needs.
///
/// # Errors
/// Returns [`Missing`] if rustup cannot install the target.
pub(crate) fn wasi(workspace: &Workspace) -> Result<(), Missing> {
    if has_target(workspace, WASI)
        || (attempt(workspace.command("rustup").args(["target", "add", WASI]))
            && has_target(workspace, WASI))
    {
        return Ok(());
    }
    Err(Missing {
        message: format!("the Rust target {WASI} is missing; run `rustup target add {WASI}`"),
    })
}

/// Finds or installs `cargo clippy`.
///
/// # Errors
/// Returns [`Missing`] if rustup cannot install it.
pub(crate) fn clippy(workspace: &Workspace) -> Result<(), Missing> {
    component(workspace, "clippy", "clippy")
}

/// Finds or installs `cargo fmt`.
///
/// # Errors
/// Returns [`Missing`] if rustup cannot install it.
pub(crate) fn rustfmt(workspace: &Workspace) -> Result<(), Missing> {
    component(workspace, "rustfmt", "fmt")
}

/// Finds or installs a nightly toolchain with these components.
///
/// # Errors
/// Returns [`Missing`] if rustup cannot install the toolchain or a component.
pub(crate) fn nightly(workspace: &Workspace, components: &[&str]) -> Result<(), Missing> {
    let rustup = |args: &[&str]| {
        let mut rustup = workspace.command("rustup");
        rustup.args(args);
        rustup
    };
    let is_there = || answers(&mut rustup(&["run", "nightly", "rustc", "--version"]));
    if !is_there() {
        attempt(&mut rustup(&["toolchain", "install", "nightly", "--profile", "minimal"]));
        if !is_there() {
            return Err(Missing {
                message: "a nightly toolchain is missing; run `rustup toolchain install nightly`"
                    .into(),
            });
        }
    }
    for component in components {
        let is_there = || {
            let list = ["component", "list", "--installed", "--toolchain", "nightly"];
            command::capture(&mut rustup(&list))
                .is_ok_and(|list| list.lines().any(|line| line.starts_with(component)))
        };
        let add = ["component", "add", component, "--toolchain", "nightly"];
        if !(is_there() || attempt(&mut rustup(&add)) && is_there()) {
            return Err(Missing {
                message: format!(
                    "nightly's {component} is missing; run `rustup component add {component} --toolchain nightly`"
                ),
            });
        }
    }
    Ok(())
}

fn find_target(workspace: &Workspace, target: &str) -> Result<Toolchain, Missing> {
    if has_target(workspace, target) {
        return Ok(Toolchain::Own);
    }
    eprintln!("The target {target} is not installed.");
    if attempt(workspace.command("rustup").args(["target", "add", target]))
        && has_target(workspace, target)
    {
        return Ok(Toolchain::Own);
    }
    if debian::has(workspace, &DEBIAN_PACKAGES)
        || (debian::can_install() && debian::install(workspace, &DEBIAN_PACKAGES))
    {
        eprintln!(
            "Debian's Rust is used for {target}; it compiles the standard library from source."
        );
        return Ok(Toolchain::Debian);
    }
    Err(Missing {
        message: format!(
            "the Rust target {target} is missing; run `rustup target add {target}`, or on Debian, as root, run `apt-get install {}`",
            DEBIAN_PACKAGES.join(" ")
        ),
    })
}

/// Whether rustc has a target's standard library. rustup does not fail if it cannot install a target that rust-toolchain.toml lists, so this looks
/// for the library's directory.
fn has_target(workspace: &Workspace, target: &str) -> bool {
    let rustc = std::env::var("RUSTC").unwrap_or_else(|_| "rustc".into());
    let libdir = command::capture(workspace.command(&rustc).args([
        "--print",
        "target-libdir",
        "--target",
        target,
    ]));
    libdir.is_ok_and(|libdir| Path::new(libdir.trim_end()).is_dir())
}

fn component(workspace: &Workspace, name: &str, subcommand: &str) -> Result<(), Missing> {
    let is_there = || answers(workspace.cargo().args([subcommand, "--version"]));
    if is_there()
        || (attempt(workspace.command("rustup").args(["component", "add", name])) && is_there())
    {
        return Ok(());
    }
    Err(Missing {
        message: format!("`cargo {subcommand}` is missing; run `rustup component add {name}`"),
    })
}
