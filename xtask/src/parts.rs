//! The parts of `cargo xtask test`. To add a part, add an entry to [`PARTS`] and a function.

use std::fs;
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::boundary;
use crate::clients;
use crate::command;
use crate::component;
use crate::crash;
use crate::host;
use crate::hosts;
use crate::inspector;
use crate::interop;
use crate::npm;
use crate::report::Counts;
use crate::setup::{self, Missing, Toolchain};
use crate::simulate;
use crate::wasi_command;
use crate::workspace::Workspace;

/// What must be built before a part runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Needs {
    /// Nothing.
    Nothing,
    /// The components, one of which every build of dekker-host embeds.
    Component,
    /// The components and the `dekker` binary.
    Binary,
}

/// How a part ended if it did not fail.
pub enum Done {
    /// All checks passed.
    Passed,
    /// All checks passed, and the report shows this note.
    PassedWith(String),
}

/// A part of `cargo xtask test`.
#[derive(Debug)]
pub struct Part {
    /// Its name on the command line.
    pub name: &'static str,
    /// What the part checks, in a few words.
    pub about: &'static str,
    /// What must be built before it runs.
    pub needs: Needs,
    /// Runs the part, and counts its tests if it has any. The error [`Missing`] means that the part is skipped, except in CI.
    pub run: fn(&Workspace, &mut Counts) -> Result<Done>,
}

impl PartialEq for Part {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name
    }
}

/// All parts, in the order in which they run: those that fail soonest come first.
pub static PARTS: &[&Part] = &[
    &Part { name: "fmt", about: "all code is formatted", needs: Needs::Nothing, run: fmt },
    &BUILD,
    &CLIPPY,
    &Part {
        name: "targets",
        about: "dekker-core compiles for WebAssembly and for a target without an operating system",
        needs: Needs::Nothing,
        run: targets,
    },
    &Part {
        name: "boundary",
        about: "core's floors, circles between files, dependencies between crates, and what the host and the components may use",
        needs: Needs::Component,
        run: run_boundary,
    },
    &Part {
        name: "size",
        about: "the components are within their size limits",
        needs: Needs::Component,
        run: size,
    },
    &Part {
        name: "native",
        about: "tests of core, its backends, the host and xtask, doctests included",
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
        name: "simulation",
        about: "random histories of the whole host in simulated time: no nonce is repeated, no value is lost",
        needs: Needs::Component,
        run: simulation,
    },
    &Part {
        name: "crash",
        about: "the dekker binary under kill -9, many concurrent starts and stops, full disks, few descriptors and little memory",
        needs: Needs::Binary,
        run: run_crash,
    },
    &Part {
        name: "wasmtime",
        about: "dekker.wasm under the wasmtime command, compared with the native command",
        needs: Needs::Binary,
        run: wasmtime,
    },
    &Part {
        name: "hosts",
        about: "the component in the example hosts of docs/plugin-hosts.md: Rust, wasmtime, Python and Node",
        needs: Needs::Component,
        run: run_hosts,
    },
    &INTEROP,
    &Part {
        name: "clients",
        about: "KMS clients against dekker kms serve: kube-apiserver 1.31 and 1.37, gRPC for Python and for Node",
        needs: Needs::Binary,
        run: run_clients,
    },
    &Part {
        name: "node",
        about: "the npm package in Node: its tests, types and packed files, and the behaviour suite",
        needs: Needs::Binary,
        run: node,
    },
    &Part {
        name: "browser",
        about: "the npm package and the Inspector in Chromium: their tests, and the behaviour suite",
        needs: Needs::Component,
        run: browser,
    },
    &DOC,
    &Part {
        name: "deny",
        about: "licences, bans, sources and advisories of all dependencies; only CI installs cargo-deny",
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

/// Replaces [`BUILD`] if no part needs the binary.
pub static BUILD_COMPONENT: Part = Part {
    name: "build",
    about: "the component builds",
    needs: Needs::Nothing,
    run: build_component,
};

/// The part `interop`, which is also the command `interop`.
pub static INTEROP: Part = Part {
    name: "interop",
    about: "comparison with kube-apiserver's own Go code: vectors, live values, configurations, health, key states",
    needs: Needs::Binary,
    run: run_interop,
};

/// The part `clippy`, which is also the command `lint`.
pub static CLIPPY: Part = Part {
    name: "clippy",
    about: "no warnings, on any target",
    needs: Needs::Component,
    run: clippy,
};

/// The part `doc`, which is also the command `doc`.
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
    let native = command::run(
        workspace
            .cargo()
            .args(["clippy", "--release", "--workspace", "--all-targets"])
            .args(WITHOUT_GUESTS)
            .args(["--", "-D", "warnings"]),
    );
    // Alone, it has dekker-tests without its feature `component`, as for mutants.
    let without_component = command::run(
        workspace.cargo().args(["clippy", "--release", "-p", "dekker-core-tests"]).args([
            "--all-targets",
            "--",
            "-D",
            "warnings",
        ]),
    );
    let guests = guests(toolchain, workspace, |command| match toolchain {
        Toolchain::Own => (command("clippy"), ["--", "-D", "warnings"].as_slice()),
        // Debian has no clippy for this version of rustc, so only rustc's own warnings are checked.
        Toolchain::Debian => {
            let mut check = command("check");
            check.env("RUSTFLAGS", "-D warnings");
            (check, [].as_slice())
        }
    });
    let [component, accelerated, js] = guests;
    all([native, without_component, component, accelerated, js])?;
    Ok(match toolchain {
        Toolchain::Own => Done::Passed,
        Toolchain::Debian => Done::PassedWith("the guests were compiled with Debian's rustc, which has no clippy, so only rustc's warnings were checked there".into()),
    })
}

/// The arguments that exclude the guest crates. These compile only for their own target; one of them defines its own panic handler.
const WITHOUT_GUESTS: [&str; 6] =
    ["--exclude", "dekker-accelerated", "--exclude", "dekker-component", "--exclude", "dekker-js"];

/// Runs one command on each guest crate. The guest crates need different features of the same dependencies, so they are built separately.
fn guests(
    toolchain: Toolchain,
    workspace: &Workspace,
    make: impl Fn(&dyn Fn(&str) -> Command) -> (Command, &'static [&'static str]),
) -> [Result<()>; 3] {
    let run = |package: &str, cargo: &dyn Fn(&str) -> Command| {
        let (mut command, rest) = make(cargo);
        command::run(command.args(["--profile", "guest", "-p", package]).args(rest))
    };
    let component =
        |package| run(package, &|subcommand| toolchain.cargo(workspace, subcommand, setup::WASM));
    [
        component("dekker-component"),
        component("dekker-accelerated"),
        run("dekker-js", &|subcommand| {
            toolchain.cargo_with_std(workspace, subcommand, setup::WASM)
        }),
    ]
}

fn targets(workspace: &Workspace, _: &mut Counts) -> Result<Done> {
    let build = |target| {
        let mut command = setup::target(workspace, target)?.cargo(workspace, "build", target);
        command::run(command.args(["--release", "-p", "dekker-core"]))
    };
    all([build(setup::WASM), build(setup::BARE)])?;
    Ok(Done::Passed)
}

fn run_boundary(workspace: &Workspace, _: &mut Counts) -> Result<Done> {
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
        boundary::check(workspace),
    ])?;
    Ok(Done::Passed)
}

fn size(workspace: &Workspace, _: &mut Counts) -> Result<Done> {
    component::check_size(workspace).map(Done::PassedWith)
}

fn native(workspace: &Workspace, counts: &mut Counts) -> Result<Done> {
    let packages = [
        "-p",
        "dekker-cli",
        "-p",
        "dekker-compiled",
        "-p",
        "dekker-concurrency",
        "-p",
        "dekker-core",
        "-p",
        "dekker-crypto",
        "-p",
        "dekker-fuzz-targets",
        "-p",
        "dekker-keys",
        "-p",
        "dekker-memory",
        "-p",
        "dekker-proto",
        "-p",
        "dekker-ring",
        "-p",
        "dekker-shared",
        "-p",
        "dekker-host",
    ];
    let product = command::run_tests(cargo_test(workspace).args(packages), counts);
    // Run separately: built together with other packages, the dependencies would have other features and be rebuilt.
    let tool = command::run_tests(cargo_test(workspace).args(["-p", "xtask"]), counts);
    let bench = command::run_tests(cargo_test(workspace).args(["-p", "dekker-bench"]), counts);
    all([product, tool, bench])?;
    Ok(Done::Passed)
}

fn end_to_end(workspace: &Workspace, counts: &mut Counts) -> Result<Done> {
    // Tests that need only Go run in the part `interop`; those of the KMS clients, which need more, in the part `clients`.
    let mut tests = cargo_test(workspace);
    tests.env("DEKKER_INTEROP", "off").env("DEKKER_CLIENTS", "off");
    let packages = ["-p", "dekker-core-tests", "-p", "dekker-tests"];
    command::run_tests(tests.args(packages), counts)?;
    Ok(Done::Passed)
}

fn simulation(workspace: &Workspace, counts: &mut Counts) -> Result<Done> {
    simulate::play(workspace, simulate::HISTORIES, counts)?;
    Ok(Done::Passed)
}

fn run_crash(workspace: &Workspace, counts: &mut Counts) -> Result<Done> {
    crash::run(workspace, counts).map(Done::PassedWith)
}

fn wasmtime(workspace: &Workspace, counts: &mut Counts) -> Result<Done> {
    wasi_command::build(workspace)?;
    let mut tests = cargo_test(workspace);
    tests.env("DEKKER_WASM", workspace.wasi_command());
    // Run separately: this package needs features of wasmtime that no other package enables.
    command::run_tests(tests.args(["-p", "dekker-wasmtime-command"]), counts)?;
    Ok(Done::Passed)
}

fn run_hosts(workspace: &Workspace, counts: &mut Counts) -> Result<Done> {
    all(hosts::run(workspace, counts)?)?;
    Ok(Done::Passed)
}

fn run_interop(workspace: &Workspace, counts: &mut Counts) -> Result<Done> {
    interop::run(workspace, counts)?;
    Ok(Done::Passed)
}

fn run_clients(workspace: &Workspace, counts: &mut Counts) -> Result<Done> {
    clients::run(workspace, counts)?;
    Ok(Done::Passed)
}

fn node(workspace: &Workspace, counts: &mut Counts) -> Result<Done> {
    npm::build(workspace)?;
    let suite = npm::run_tests(workspace, "tests/node", None, counts);
    let behaviours = on_face(cargo_test(workspace), "node", counts);
    // As in a browser, without Node's own cipher for long values.
    let mut portable = cargo_test(workspace);
    portable.env("DEKKER_CIPHER", "wasm");
    let portable = on_face(portable, "node", counts);
    let mut restored = cargo_test(workspace);
    restored.args(["-p", "dekker-tests", "--test", "restored_memory_node"]);
    let restored = command::run_tests(&mut restored, counts);
    all([suite, behaviours, portable, restored])?;
    Ok(Done::Passed)
}

fn browser(workspace: &Workspace, counts: &mut Counts) -> Result<Done> {
    let chromium = setup::chromium(workspace)?;
    npm::build(workspace)?;
    inspector::build(workspace)?;
    let suite = npm::run_tests(workspace, "tests/browser", Some(&chromium), counts);
    let mut tests = cargo_test(workspace);
    tests.env("DEKKER_CHROMIUM", &chromium);
    let behaviours = on_face(tests, "browser", counts);
    all([suite, behaviours])?;
    Ok(Done::Passed)
}

/// Runs the behaviour suite, the published vectors and everything recorded from upstream against one face of the npm package.
fn on_face(mut tests: Command, face: &str, counts: &mut Counts) -> Result<()> {
    tests.args(["-p", "dekker-tests", "--test"]).arg(format!("behaviour_{face}"));
    for recorded in ["vectors", "published_vectors", "config_verdicts", "key_states"] {
        tests.args(["--test", recorded]);
    }
    command::run_tests(tests.env("DEKKER_FACE", face), counts)
}

fn doc(workspace: &Workspace, _: &mut Counts) -> Result<Done> {
    let toolchain = setup::target(workspace, setup::WASM)?;
    let native = command::run(
        workspace
            .cargo()
            .args(["doc", "--no-deps", "--release", "--workspace"])
            .args(WITHOUT_GUESTS)
            .env("RUSTDOCFLAGS", "-D warnings"),
    );
    // The guests' documentation is built for their own target, for which the build has already compiled their macros.
    let [component, accelerated, js] = guests(toolchain, workspace, |command| {
        let mut doc = command("doc");
        doc.arg("--no-deps").env("RUSTDOCFLAGS", "-D warnings");
        (doc, &[])
    });
    all([native, component, accelerated, js])?;
    Ok(Done::Passed)
}

/// Runs cargo-deny. Its advisories do not come from the package registry; without them, everything else is checked.
fn deny(workspace: &Workspace, _: &mut Counts) -> Result<Done> {
    let check = |checks: &[&str]| {
        let mut deny = setup::deny(workspace)?;
        deny.args(["check", "--hide-inclusion-graph"]).args(checks);
        command::run(&mut deny)
    };
    check(&["bans", "licenses", "sources"])?;
    if let Err(fault) = command::run(setup::deny(workspace)?.args(["fetch", "db"])) {
        return Ok(Done::PassedWith(format!(
            "advisories were NOT checked, because their database cannot be fetched: {fault:#}"
        )));
    }
    check(&["advisories"])?;
    Ok(Done::Passed)
}

/// Returns a `cargo test` that reports all failures, not only the first. `DEKKER_BIN`, `DEKKER_COMPONENT` and `DEKKER_COMPONENT_ACCELERATED` name
/// the files that the tests run against.
fn cargo_test(workspace: &Workspace) -> Command {
    let mut command = workspace.cargo();
    command
        .args(["test", "--release", "--no-fail-fast"])
        .env("DEKKER_BIN", workspace.binary())
        .env("DEKKER_COMPONENT", workspace.component())
        .env("DEKKER_COMPONENT_ACCELERATED", workspace.accelerated());
    command
}

/// Whether the output of `cargo tree --prefix none --format {p}` lists a package.
fn reaches(tree: &str, package: &str) -> bool {
    tree.lines().any(|line| line.split_whitespace().next() == Some(package))
}

/// Combines the errors into one. A single error is returned unchanged, and several that are all [`Missing`] become one `Missing`, so that the caller
/// can recognize it. Otherwise the messages are joined.
fn all<const N: usize>(results: [Result<()>; N]) -> Result<()> {
    let mut faults: Vec<anyhow::Error> = results.into_iter().filter_map(Result::err).collect();
    if faults.len() < 2 {
        return faults.pop().map_or(Ok(()), Err);
    }
    let missing: Vec<&Missing> = faults.iter().filter_map(|fault| fault.downcast_ref()).collect();
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
                PARTS.iter().skip(at + 1).all(|other| other.name != part.name),
                "{}",
                part.name
            );
        }
    }

    #[test]
    fn a_package_is_found_in_a_tree_by_its_full_name() {
        let tree = "dekker-host v0.1.0 (/a b/host)\ndekker-corelib v1.0.0\nserde v1.0.0 (*)\n";
        let table = [
            ("present", "serde", true),
            ("only a prefix", "dekker-core", false),
            ("absent", "ring", false),
        ];
        for (desc, package, expected) in table {
            assert_eq!(reaches(tree, package), expected, "{desc}");
        }
    }

    #[test]
    fn all_errors_are_reported() {
        assert!(all([Ok(()), Ok(())]).is_ok());
        let fault = all([Err(anyhow::anyhow!("one")), Ok(()), Err(anyhow::anyhow!("two"))]);
        assert!(fault.is_err_and(|fault| fault.to_string() == "one; two"));
    }
}
