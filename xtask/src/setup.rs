//! Finds or installs what building and testing need: targets, components, a C compiler, npm packages, a browser.

mod debian;
mod node;
mod toolchain;
mod tools;

use std::fmt;
use std::path::{Path, PathBuf};
use std::process::Command;

pub(crate) use self::node::{node_modules, node_packages, wasm_opt};
pub(crate) use self::toolchain::{
    BARE, Toolchain, WASI, WASM, clippy, nightly, rustfmt, target, wasi,
};
pub(crate) use self::tools::{deny, tool};
use crate::command;
use crate::workspace::Workspace;

/// Prerequisites that are missing on this machine and could not be installed.
#[derive(Debug, Clone)]
pub(crate) struct Missing {
    message: String,
}

impl Missing {
    /// Combines several into one.
    pub(crate) fn join(all: &[&Self]) -> Self {
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
pub(crate) fn go(workspace: &Workspace, source: &Path) -> Result<(), Missing> {
    go_packages(workspace, source, &["-test", "."])
}

/// The same for the packages that these words of `go list` name.
///
/// # Errors
/// Returns [`Missing`] as [`go`] does.
pub(crate) fn go_packages(
    workspace: &Workspace,
    source: &Path,
    packages: &[&str],
) -> Result<(), Missing> {
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
    ask(&[&["list", "-deps"], packages].concat())?;
    Ok(())
}

/// Installs the targets, the toolchain's components and the npm packages, and prints what is missing. Commands that need more install it
/// themselves. Returns `false` if the guest crates' target is missing, without which nothing can be built, or if anything is missing in CI. A
/// missing C compiler is only a warning.
pub(crate) fn everything(workspace: &Workspace) -> bool {
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
pub(crate) fn python_packages(
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
    let made = make() || (debian::can_install() && debian::install(workspace, &DEBIAN) && make());
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
pub(crate) fn chromium(workspace: &Workspace) -> Result<PathBuf, Missing> {
    const CHROMIUM: &str = "/usr/bin/chromium";
    if let Some(named) = std::env::var_os("DEKKER_CHROMIUM") {
        return Ok(named.into());
    }
    if Path::new(CHROMIUM).exists()
        || (debian::can_install() && debian::install(workspace, &["chromium"]))
    {
        return Ok(CHROMIUM.into());
    }
    Err(Missing {
        message: "Chromium is missing; set DEKKER_CHROMIUM to its path, or on Debian, as root, run `apt-get install chromium`".into(),
    })
}

/// Finds Debian's etcd and etcdctl, and installs them if `needed`. Returns their directory, or `None` if they are not there and not needed.
///
/// # Errors
/// Returns [`Missing`] if they are needed and there are none.
pub(crate) fn debian_etcd(workspace: &Workspace, needed: bool) -> Result<Option<PathBuf>, Missing> {
    const PACKAGES: [&str; 2] = ["etcd-server", "etcd-client"];
    let directory = Path::new("/usr/bin");
    let is_there = || ["etcd", "etcdctl"].iter().all(|name| directory.join(name).exists());
    if is_there()
        || (needed && debian::can_install() && debian::install(workspace, &PACKAGES) && is_there())
    {
        return Ok(Some(directory.into()));
    }
    if !needed {
        return Ok(None);
    }
    Err(Missing {
        message: "etcd cannot be built and is not installed; on Debian, as root, run `apt-get install etcd-server etcd-client`".into(),
    })
}

/// Finds or installs a C compiler, which rustc links with. xtask itself was already linked with something, so a missing `cc` is only a warning: the
/// machine may use another linker, or has lost its compiler since.
pub(crate) fn c_compiler(workspace: &Workspace) {
    if answers(workspace.command("cc").arg("--version")) {
        return;
    }
    if !(debian::can_install() && debian::install(workspace, &["gcc", "libc6-dev"])) {
        eprintln!(
            "warning: there is no C compiler `cc`; if linking fails, install one (on Debian: apt-get install gcc libc6-dev)"
        );
    }
}

/// Runs a command that may fail, and prints the error. Returns whether it succeeded.
fn attempt(command: &mut Command) -> bool {
    command::run(command).inspect_err(|fault| eprintln!("  {fault:#}")).is_ok()
}

fn answers(command: &mut Command) -> bool {
    command::capture(command).is_ok()
}
