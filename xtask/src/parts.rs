//! The parts of `cargo xtask test`. A new part is an entry in [`PARTS`] and a function.

use std::fs;
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::command;
use crate::component;
use crate::host;
use crate::interop;
use crate::report::Counts;
use crate::setup::{self, Missing, Toolchain};
use crate::wasi_command;
use crate::workspace::Workspace;

/// What must have been built before a part runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Needs {
    /// Nothing.
    Nothing,
    /// The component: whatever compiles dekker-host embeds it.
    Component,
    /// The component, and the `dekker` binary.
    Binary,
}

/// How a part ended that did not fail.
pub enum Done {
    /// Everything holds.
    Passed,
    /// Everything holds, but the reader should know something.
    PassedWith(String),
    /// A tool that is optional everywhere, CI included, is not there.
    Skipped(String),
}

/// One part.
#[derive(Debug)]
pub struct Part {
    /// Its name on the command line.
    pub name: &'static str,
    /// What it shows, in a few words.
    pub about: &'static str,
    /// What it needs.
    pub needs: Needs,
    /// Runs it, and counts its tests if it has any. [`Missing`] as the fault is a skip outside CI.
    pub run: fn(&Workspace, &mut Counts) -> Result<Done>,
}

impl PartialEq for Part {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name
    }
}

/// All parts, in the order in which they run: what fails soonest comes first.
pub static PARTS: &[&Part] = &[
    &Part {
        name: "fmt",
        about: "all code is formatted",
        needs: Needs::Nothing,
        run: fmt,
    },
    &BUILD,
    &CLIPPY,
    &Part {
        name: "targets",
        about: "dekker-core builds for WebAssembly and for a machine without an operating system",
        needs: Needs::Nothing,
        run: targets,
    },
    &Part {
        name: "boundary",
        about: "the host reaches dekker-core only through the component, which imports only randomness",
        needs: Needs::Component,
        run: boundary,
    },
    &Part {
        name: "native",
        about: "tests of dekker-core, dekker-proto, dekker-host and xtask, doctests included",
        needs: Needs::Binary,
        run: native,
    },
    &Part {
        name: "end-to-end",
        about: "the component under wasmtime, and the dekker binary from end to end",
        needs: Needs::Binary,
        run: end_to_end,
    },
    &Part {
        name: "wasmtime",
        about: "dekker.wasm under the wasmtime command, beside the native commands",
        needs: Needs::Binary,
        run: wasmtime,
    },
    &INTEROP,
    &DOC,
    &Part {
        name: "deny",
        about: "licences, bans, sources and advisories of all dependencies, by cargo-deny where it is installed",
        needs: Needs::Nothing,
        run: deny,
    },
];

/// Builds everything that is shipped.
pub static BUILD: Part = Part {
    name: "build",
    about: "the component and the dekker binary build",
    needs: Needs::Nothing,
    run: build,
};

/// Takes the place of [`BUILD`] where no part needs the binary.
pub static BUILD_COMPONENT: Part = Part {
    name: "build",
    about: "the component builds",
    needs: Needs::Nothing,
    run: build_component,
};

/// Also the command `interop`.
pub static INTEROP: Part = Part {
    name: "interop",
    about: "kube-apiserver's own Go code against ours: vectors, live values, configurations, health, key states",
    needs: Needs::Binary,
    run: run_interop,
};

/// Also the command `lint`.
pub static CLIPPY: Part = Part {
    name: "clippy",
    about: "no warnings, on any target",
    needs: Needs::Component,
    run: clippy,
};

/// Also the command `doc`.
pub static DOC: Part = Part {
    name: "doc",
    about: "the documentation builds without warnings",
    needs: Needs::Component,
    run: doc,
};

fn fmt(workspace: &Workspace, _: &mut Counts) -> Result<Done> {
    setup::rustfmt(workspace)?;
    command::run(workspace.cargo().args(["fmt", "--all", "--check"]))?;
    Ok(Done::Passed)
}

fn build(workspace: &Workspace, counts: &mut Counts) -> Result<Done> {
    build_component(workspace, counts)?;
    host::build(workspace)?;
    Ok(Done::Passed)
}

fn build_component(workspace: &Workspace, _: &mut Counts) -> Result<Done> {
    component::build(workspace)?;
    Ok(Done::Passed)
}

fn clippy(workspace: &Workspace, _: &mut Counts) -> Result<Done> {
    setup::clippy(workspace)?;
    let toolchain = setup::target(workspace, setup::WASM)?;
    // The guest is no_std with a panic handler of its own: it only compiles for its target.
    let native = command::run(workspace.cargo().args([
        "clippy",
        "--release",
        "--workspace",
        "--exclude",
        "dekker-component",
        "--all-targets",
        "--",
        "-D",
        "warnings",
    ]));
    let guest_args = ["--profile", "guest", "-p", "dekker-component"];
    let (guest, done) = match toolchain {
        Toolchain::Own => {
            let mut clippy = toolchain.cargo(workspace, "clippy", setup::WASM);
            (
                command::run(clippy.args(guest_args).args(["--", "-D", "warnings"])),
                Done::Passed,
            )
        }
        // Debian has no clippy of that age: rustc's own warnings must do.
        Toolchain::Debian => {
            let mut check = toolchain.cargo(workspace, "check", setup::WASM);
            let note = "the guest was compiled with Debian's rustc, which has no clippy: only rustc's warnings were looked at there";
            (
                command::run(check.args(guest_args).env("RUSTFLAGS", "-D warnings")),
                Done::PassedWith(note.into()),
            )
        }
    };
    all([native, guest])?;
    Ok(done)
}

fn targets(workspace: &Workspace, _: &mut Counts) -> Result<Done> {
    let build = |target| {
        let mut command = setup::target(workspace, target)?.cargo(workspace, "build", target);
        command::run(command.args(["--release", "-p", "dekker-core"]))
    };
    all([build(setup::WASM), build(setup::BARE)])?;
    Ok(Done::Passed)
}

fn boundary(workspace: &Workspace, _: &mut Counts) -> Result<Done> {
    let mut tree = workspace.cargo();
    tree.args([
        "tree",
        "-p",
        "dekker-host",
        "--edges",
        "normal,build",
        "--target",
        "all",
        "--prefix",
        "none",
        "--format",
        "{p}",
    ]);
    eprintln!("$ {}", command::describe(&tree));
    let reached = reaches(&command::capture(&mut tree)?, "dekker-core");

    let manifest = workspace.root().join("host/Cargo.toml");
    let text = fs::read_to_string(&manifest)
        .with_context(|| format!("cannot read {}", manifest.display()))?;
    let named = text.contains("dekker-core");

    let unless = |found: bool, fault: &'static str| if found { bail!(fault) } else { Ok(()) };
    all([
        unless(reached, "dekker-host depends on dekker-core"),
        unless(named, "host/Cargo.toml names dekker-core"),
        component::check_built(workspace),
    ])?;
    Ok(Done::Passed)
}

fn native(workspace: &Workspace, counts: &mut Counts) -> Result<Done> {
    let packages = [
        "-p",
        "dekker-cli",
        "-p",
        "dekker-core",
        "-p",
        "dekker-proto",
        "-p",
        "dekker-host",
    ];
    let product = command::run_tests(cargo_test(workspace).args(packages), counts);
    // Apart: with other packages beside it, its dependencies would have other features and be built anew.
    let tool = command::run_tests(cargo_test(workspace).args(["-p", "xtask"]), counts);
    all([product, tool])?;
    Ok(Done::Passed)
}

fn end_to_end(workspace: &Workspace, counts: &mut Counts) -> Result<Done> {
    // The tests that need Go are the part `interop`.
    let mut tests = cargo_test(workspace);
    tests.env("DEKKER_INTEROP", "off");
    command::run_tests(tests.args(["-p", "dekker-tests"]), counts)?;
    Ok(Done::Passed)
}

fn wasmtime(workspace: &Workspace, counts: &mut Counts) -> Result<Done> {
    wasi_command::build(workspace)?;
    let mut tests = cargo_test(workspace);
    tests.env("DEKKER_WASM", workspace.wasi_command());
    // Apart: the command wants features of wasmtime that nothing else has.
    command::run_tests(tests.args(["-p", "dekker-wasmtime-command"]), counts)?;
    Ok(Done::Passed)
}

fn run_interop(workspace: &Workspace, counts: &mut Counts) -> Result<Done> {
    interop::run(workspace, counts)?;
    Ok(Done::Passed)
}

fn doc(workspace: &Workspace, _: &mut Counts) -> Result<Done> {
    let args = [
        "doc",
        "--no-deps",
        "--release",
        "--workspace",
        "--exclude",
        "dekker-component",
    ];
    let toolchain = setup::target(workspace, setup::WASM)?;
    let native = command::run(
        workspace
            .cargo()
            .args(args)
            .env("RUSTDOCFLAGS", "-D warnings"),
    );
    // On its own target it finds its macros built; natively they would be built once more.
    let mut guest = toolchain.cargo(workspace, "doc", setup::WASM);
    guest.args(["--no-deps", "--profile", "guest", "-p", "dekker-component"]);
    let guest = command::run(guest.env("RUSTDOCFLAGS", "-D warnings"));
    all([native, guest])?;
    Ok(Done::Passed)
}

/// Optional by design: cargo-deny takes minutes to compile, and its advisories come from outside the package registry.
fn deny(workspace: &Workspace, _: &mut Counts) -> Result<Done> {
    if command::capture(workspace.cargo().args(["deny", "--version"])).is_err() {
        return Ok(Done::Skipped("cargo-deny is optional and not installed; run `cargo install cargo-deny --locked` to have it".into()));
    }
    let check = ["deny", "check", "--hide-inclusion-graph"];
    command::run(
        workspace
            .cargo()
            .args(check)
            .args(["bans", "licenses", "sources"]),
    )?;
    if let Err(fault) = command::run(workspace.cargo().args(["deny", "fetch", "db"])) {
        return Ok(Done::PassedWith(format!(
            "advisories were NOT checked, their database cannot be had: {fault:#}"
        )));
    }
    command::run(workspace.cargo().args(check).arg("advisories"))?;
    Ok(Done::Passed)
}

/// All failures are reported, not only the first. Tests find what they run against in `DEKKER_BIN` and `DEKKER_COMPONENT`.
fn cargo_test(workspace: &Workspace) -> Command {
    let mut command = workspace.cargo();
    command
        .args(["test", "--release", "--no-fail-fast"])
        .env("DEKKER_BIN", workspace.binary())
        .env("DEKKER_COMPONENT", workspace.component());
    command
}

/// Whether `cargo tree --prefix none --format {p}` shows a package.
fn reaches(tree: &str, package: &str) -> bool {
    tree.lines()
        .any(|line| line.split_whitespace().next() == Some(package))
}

/// All faults as one. A lone fault stays what it is, so that [`Missing`] can be told; beside a real fault it is one more.
fn all<const N: usize>(results: [Result<()>; N]) -> Result<()> {
    let mut faults: Vec<anyhow::Error> = results.into_iter().filter_map(Result::err).collect();
    if faults.len() < 2 {
        return faults.pop().map_or(Ok(()), Err);
    }
    let missing: Vec<&Missing> = faults
        .iter()
        .filter_map(|fault| fault.downcast_ref())
        .collect();
    if missing.len() == faults.len() {
        return Err(Missing::join(&missing).into());
    }
    let lines: Vec<String> = faults.iter().map(|fault| format!("{fault:#}")).collect();
    bail!(lines.join("; "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique_and_one_word() {
        for (at, part) in PARTS.iter().enumerate() {
            assert!(!part.name.contains(char::is_whitespace), "{}", part.name);
            assert!(
                PARTS
                    .iter()
                    .skip(at + 1)
                    .all(|other| other.name != part.name),
                "{}",
                part.name
            );
        }
    }

    #[test]
    fn a_package_is_found_in_a_tree_by_its_whole_name() {
        let tree = "dekker-host v0.1.0 (/a b/host)\ndekker-corelib v1.0.0\nserde v1.0.0 (*)\n";
        let table = [
            ("there", "serde", true),
            ("only a prefix", "dekker-core", false),
            ("not there", "ring", false),
        ];
        for (desc, package, expected) in table {
            assert_eq!(reaches(tree, package), expected, "{desc}");
        }
    }

    #[test]
    fn all_faults_are_told() {
        assert!(all([Ok(()), Ok(())]).is_ok());
        let fault = all([
            Err(anyhow::anyhow!("one")),
            Ok(()),
            Err(anyhow::anyhow!("two")),
        ]);
        assert!(fault.is_err_and(|fault| fault.to_string() == "one; two"));
    }
}
