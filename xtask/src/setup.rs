//! Finds or installs what building and testing need: targets, components, a C compiler, npm packages, a browser.
//!
//! A target comes from the first of these that has it: the installed toolchain, `rustup target add`, or Debian's rustc with a standard library
//! built from source.

use std::collections::BTreeMap;
use std::fmt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, OnceLock, PoisonError};

use crate::command;
use crate::workspace::Workspace;

/// The target of the guest crates.
pub const WASM: &str = "wasm32-unknown-unknown";
/// A target without an operating system. A crate that builds for it needs none.
pub const BARE: &str = "riscv64gc-unknown-none-elf";
/// The target of `dekker.wasm`, with the whole standard library.
pub const WASI: &str = "wasm32-wasip2";

/// Debian's packages of Rust 1.96, its sources and wasm-ld. They install to /usr/bin and do not change rustup's toolchain.
const DEBIAN_PACKAGES: [&str; 4] = ["rustc-web", "cargo-web", "rust-web-src", "lld-22"];

/// Prerequisites that are missing on this machine and could not be installed.
#[derive(Debug, Clone)]
pub struct Missing {
    message: String,
}

impl Missing {
    /// Combines several into one.
    pub fn join(all: &[&Self]) -> Self {
        let messages: Vec<&str> = all.iter().map(|missing| missing.message.as_str()).collect();
        Self { message: messages.join("; ") }
    }
}

impl fmt::Display for Missing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Missing {}

/// Checks that Go is installed and can build the module in `source`, and downloads the module's dependencies.
///
/// # Errors
/// Returns [`Missing`] if Go is missing or too old, or if a dependency cannot be downloaded.
pub fn go(workspace: &Workspace, source: &Path) -> Result<(), Missing> {
    let ask = |args: &[&str]| {
        let mut go = workspace.command("go");
        // Use the installed Go: do not download another version.
        go.args(args).current_dir(source).env("GOTOOLCHAIN", "local");
        command::capture(&mut go).map_err(|fault| Missing {
            message: format!(
                "Go in the version that go.mod requires, or one of its modules, is missing: {fault:#}"
            ),
        })
    };
    ask(&["version"])?;
    // Listing the dependencies also downloads them, and only them.
    ask(&["list", "-deps", "-test", "."])?;
    Ok(())
}

/// The toolchain that compiles for a target.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Toolchain {
    /// The toolchain that compiled xtask, which has the target's standard library.
    Own,
    /// Debian's toolchain, which also builds the standard library.
    Debian,
}

impl Toolchain {
    /// Returns `cargo <subcommand> --target <target>`, for crates without `std`.
    pub fn cargo(self, workspace: &Workspace, subcommand: &str, target: &str) -> Command {
        self.cargo_with(workspace, subcommand, target, "core,alloc,panic_abort")
    }

    /// Returns `cargo <subcommand> --target <target>`, for crates with `std`.
    pub fn cargo_with_std(self, workspace: &Workspace, subcommand: &str, target: &str) -> Command {
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

/// Installs the targets, the toolchain's components and the npm packages, and prints what is missing. Commands that need more install it
/// themselves. Returns `false` if the guest crates' target is missing, without which nothing can be built, or if anything is missing in CI. A
/// missing C compiler is only a warning.
pub fn everything(workspace: &Workspace) -> bool {
    c_compiler(workspace);
    let ci = workspace.is_ci();
    let results = [
        (target(workspace, WASM).map(drop), true),
        (target(workspace, BARE).map(drop), ci),
        (wasi(workspace), ci),
        (clippy(workspace), ci),
        (rustfmt(workspace), ci),
        (node_modules(workspace), ci),
    ];
    let mut good = true;
    for (result, required) in results {
        match result {
            Ok(()) => {}
            Err(missing) if required => {
                eprintln!("error: {missing}");
                good = false;
            }
            Err(missing) => eprintln!("SKIP: {missing}"),
        }
    }
    if good {
        eprintln!("Ready to build.");
    }
    good
}

/// Finds or installs a toolchain that compiles for a target. The result is cached, because several parts of one run need the same target.
///
/// # Errors
/// Returns [`Missing`] if neither rustup nor Debian provides the target.
pub fn target(workspace: &Workspace, target: &'static str) -> Result<Toolchain, Missing> {
    static FOUND: Mutex<BTreeMap<&str, Result<Toolchain, Missing>>> = Mutex::new(BTreeMap::new());
    // A panic while the lock is held cannot leave the map in an invalid state.
    let mut found = FOUND.lock().unwrap_or_else(PoisonError::into_inner);
    found.entry(target).or_insert_with(|| find_target(workspace, target)).clone()
}

/// Finds or installs [`WASI`]. Only rustup provides it: Debian's source of the standard library lacks the C library that this target needs.
///
/// # Errors
/// Returns [`Missing`] if rustup cannot install the target.
pub fn wasi(workspace: &Workspace) -> Result<(), Missing> {
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

/// Finds Node, and installs the packages of the workspace's `package-lock.json` into `node_modules/`. The result is cached, because several parts
/// of one run need the packages.
///
/// # Errors
/// Returns [`Missing`] if there is no Node 20 or later, no npm, or its registry cannot be reached.
pub fn node_modules(workspace: &Workspace) -> Result<(), Missing> {
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
pub fn node_packages(workspace: &Workspace, folder: &Path) -> Result<(), Missing> {
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

/// Whether `made` exists and is at least as new as `source`, from which it was made.
fn is_newer(made: &Path, source: &Path) -> bool {
    let time = |path: &Path| path.metadata().and_then(|file| file.modified());
    matches!((time(made), time(source)), (Ok(made), Ok(source)) if made >= source)
}

/// Creates a Python virtual environment in `environment` with the packages in `requirements`, which pins them by hash. Returns the path of its
/// interpreter.
///
/// # Errors
/// Returns [`Missing`] if there is no Python 3 that can create virtual environments, or if the packages cannot be installed.
pub fn python_packages(
    workspace: &Workspace,
    environment: &Path,
    requirements: &Path,
) -> Result<PathBuf, Missing> {
    const DEBIAN: [&str; 2] = ["python3", "python3-venv"];
    let python = environment.join("bin/python");
    let stamp = environment.join("requirements.txt");
    if is_newer(&stamp, requirements) && answers(Command::new(&python).arg("--version")) {
        return Ok(python);
    }
    let make = || {
        let mut venv = workspace.command("python3");
        attempt(venv.args(["-m", "venv", "--clear"]).arg(environment))
    };
    let made =
        make() || (is_root_on_debian() && install_debian_packages(workspace, &DEBIAN) && make());
    if !made {
        return Err(Missing {
            message: "there is no `python3` that can create virtual environments; install Python 3.9 or later, on Debian with python3-venv".into(),
        });
    }
    let missing = |fault: &dyn fmt::Display| Missing {
        message: format!("cannot install the Python packages: {fault:#}"),
    };
    // Install only wheels, so that no package is built from source.
    let mut pip = workspace.command(&python.to_string_lossy());
    pip.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check"])
        .args(["--require-hashes", "--only-binary", ":all:", "-r"])
        .arg(requirements);
    command::run(&mut pip).map_err(|fault| missing(&fault))?;
    // Copied last, so that an incomplete environment has no stamp.
    std::fs::copy(requirements, &stamp).map_err(|fault| missing(&fault))?;
    Ok(python)
}

/// Finds or installs Chromium: the program that `DEKKER_CHROMIUM` names, or Debian's package.
///
/// # Errors
/// Returns [`Missing`] if there is no Chromium.
pub fn chromium(workspace: &Workspace) -> Result<PathBuf, Missing> {
    const CHROMIUM: &str = "/usr/bin/chromium";
    if let Some(named) = std::env::var_os("DEKKER_CHROMIUM") {
        return Ok(named.into());
    }
    if Path::new(CHROMIUM).exists()
        || (is_root_on_debian() && install_debian_packages(workspace, &["chromium"]))
    {
        return Ok(CHROMIUM.into());
    }
    Err(Missing {
        message: "Chromium is missing; set DEKKER_CHROMIUM to its path, or on Debian, as root, run `apt-get install chromium`".into(),
    })
}

/// Finds or installs `cargo clippy`.
///
/// # Errors
/// Returns [`Missing`] if rustup cannot install it.
pub fn clippy(workspace: &Workspace) -> Result<(), Missing> {
    component(workspace, "clippy", "clippy")
}

/// Finds or installs a nightly toolchain with these components.
///
/// # Errors
/// Returns [`Missing`] if rustup cannot install the toolchain or a component.
pub fn nightly(workspace: &Workspace, components: &[&str]) -> Result<(), Missing> {
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

/// Finds or installs a cargo subcommand of this version, in the target directory. Returns the path of its program.
///
/// # Errors
/// Returns [`Missing`] if the subcommand cannot be downloaded or does not compile.
pub fn tool(workspace: &Workspace, name: &str, version: &str) -> Result<PathBuf, Missing> {
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
pub fn deny(workspace: &Workspace) -> Result<Command, Missing> {
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

/// Finds or installs `cargo fmt`.
///
/// # Errors
/// Returns [`Missing`] if rustup cannot install it.
pub fn rustfmt(workspace: &Workspace) -> Result<(), Missing> {
    component(workspace, "rustfmt", "fmt")
}

/// Binaryen's wasm-opt, which is a script for Node.
#[derive(Debug, Clone)]
pub struct WasmOpt {
    /// The path of the script; the command is `node <script>`.
    pub script: PathBuf,
    /// Binaryen's version, which package-lock.json pins.
    pub version: String,
}

/// Finds the wasm-opt that package-lock.json pins, or installs it from npm into `node_modules`.
///
/// # Errors
/// Returns [`Missing`] if there is no Node 20 or later, or if npm cannot install the package.
pub fn wasm_opt(workspace: &Workspace) -> Result<WasmOpt, Missing> {
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

/// Finds or installs a C compiler, which rustc links with. xtask itself was already linked with something, so a missing `cc` is only a warning: the
/// machine may use another linker, or has lost its compiler since.
pub fn c_compiler(workspace: &Workspace) {
    if answers(workspace.command("cc").arg("--version")) {
        return;
    }
    if !(is_root_on_debian() && install_debian_packages(workspace, &["gcc", "libc6-dev"])) {
        eprintln!(
            "warning: there is no C compiler `cc`; if linking fails, install one (on Debian: apt-get install gcc libc6-dev)"
        );
    }
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
    if has_debian_packages(workspace, &DEBIAN_PACKAGES)
        || (is_root_on_debian() && install_debian_packages(workspace, &DEBIAN_PACKAGES))
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

fn is_root_on_debian() -> bool {
    // /proc/self belongs to the effective user.
    let is_root = std::fs::metadata("/proc/self").is_ok_and(|itself| itself.uid() == 0);
    is_root && Path::new("/etc/debian_version").exists()
}

fn has_debian_packages(workspace: &Workspace, packages: &[&str]) -> bool {
    let states = command::capture(
        workspace.command("dpkg-query").args(["-W", "-f=${Status}\\n"]).args(packages),
    );
    states.is_ok_and(|states| states.lines().all(|state| state == "install ok installed"))
}

fn install_debian_packages(workspace: &Workspace, packages: &[&str]) -> bool {
    let apt_get = || {
        let mut command = workspace.command("apt-get");
        command.env("DEBIAN_FRONTEND", "noninteractive");
        command
    };
    // The result is ignored: package lists that were updated only in part may be enough.
    attempt(apt_get().arg("update"));
    attempt(apt_get().args(["install", "-y", "--no-install-recommends"]).args(packages))
}

/// Runs a command that may fail, and prints the error. Returns whether it succeeded.
fn attempt(command: &mut Command) -> bool {
    command::run(command).inspect_err(|fault| eprintln!("  {fault:#}")).is_ok()
}

fn answers(command: &mut Command) -> bool {
    command::capture(command).is_ok()
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
