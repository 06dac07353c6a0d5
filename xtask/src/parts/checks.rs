//! The parts that check the code and what is built from it, without running it.

use std::fs;
use std::process::Command;

use anyhow::{Context, Result, bail};

use super::{Done, all};
use crate::biome;
use crate::command;
use crate::component;
use crate::host;
use crate::report::Counts;
use crate::setup::{self, Toolchain};
use crate::workspace::Workspace;

pub(super) fn fmt(workspace: &Workspace, _: &mut Counts) -> Result<Done> {
    setup::rustfmt(workspace)?;
    let rust = command::run(workspace.cargo().args(["fmt", "--all", "--check"]));
    all([rust, biome::check_format(workspace)])?;
    Ok(Done::Passed)
}

pub(super) fn build(workspace: &Workspace, counts: &mut Counts) -> Result<Done> {
    build_component(workspace, counts)?;
    host::build(workspace)?;
    Ok(Done::Passed)
}

pub(super) fn build_component(workspace: &Workspace, _: &mut Counts) -> Result<Done> {
    component::build(workspace)?;
    Ok(Done::Passed)
}

/// The tests of dekker-tests that are not run with its others (`test = false`).
const TESTS_OF_OTHER_PARTS: [&str; 4] =
    ["behaviour_browser", "behaviour_node", "crash", "restored_memory_node"];

pub(super) fn clippy(workspace: &Workspace, _: &mut Counts) -> Result<Done> {
    setup::clippy(workspace)?;
    let toolchain = setup::target(workspace, setup::WASM)?;
    let native = command::run(
        workspace
            .cargo()
            .args(["clippy", "--release", "--workspace", "--all-targets"])
            .args(WITHOUT_GUESTS)
            .args(["--", "-D", "warnings"]),
    );
    // Tests that other parts run are not among `--all-targets`.
    let of_other_parts = command::run(
        workspace
            .cargo()
            .args(["clippy", "--release", "-p", "dekker-tests"])
            .args(TESTS_OF_OTHER_PARTS.iter().flat_map(|name| ["--test", name]))
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
    all([native, of_other_parts, without_component, all(guests), biome::lint(workspace)])?;
    Ok(match toolchain {
        Toolchain::Own => Done::Passed,
        Toolchain::Debian => Done::PassedWith("the guests were compiled with Debian's rustc, which has no clippy, so only rustc's warnings were checked there".into()),
    })
}

/// The arguments that exclude the guest crates. These compile only for their own target; one of them defines its own panic handler.
const WITHOUT_GUESTS: [&str; 8] = [
    "--exclude",
    "dekker-accelerated",
    "--exclude",
    "dekker-component",
    "--exclude",
    "dekker-js",
    "--exclude",
    "dekker-js-inspect",
];

/// Runs one command on each guest crate. The guest crates need different features of the same dependencies, so they are built separately.
fn guests(
    toolchain: Toolchain,
    workspace: &Workspace,
    make: impl Fn(&dyn Fn(&str) -> Command) -> (Command, &'static [&'static str]),
) -> [Result<()>; 4] {
    let run = |package: &str, cargo: &dyn Fn(&str) -> Command| {
        let (mut command, rest) = make(cargo);
        command::run(command.args(["--profile", "guest", "-p", package]).args(rest))
    };
    let component =
        |package| run(package, &|subcommand| toolchain.cargo(workspace, subcommand, setup::WASM));
    let npm = |package| {
        run(package, &|subcommand| toolchain.cargo_with_std(workspace, subcommand, setup::WASM))
    };
    [
        component("dekker-component"),
        component("dekker-accelerated"),
        npm("dekker-js"),
        npm("dekker-js-inspect"),
    ]
}

pub(super) fn targets(workspace: &Workspace, _: &mut Counts) -> Result<Done> {
    let build = |target| {
        let mut command = setup::target(workspace, target)?.cargo(workspace, "build", target);
        command::run(command.args(["--release", "-p", "dekker-core"]))
    };
    all([build(setup::WASM), build(setup::BARE)])?;
    Ok(Done::Passed)
}

pub(super) fn boundary(workspace: &Workspace, _: &mut Counts) -> Result<Done> {
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
        crate::boundary::check(workspace),
    ])?;
    Ok(Done::Passed)
}

pub(super) fn size(workspace: &Workspace, _: &mut Counts) -> Result<Done> {
    component::check_size(workspace).map(Done::PassedWith)
}

pub(super) fn doc(workspace: &Workspace, _: &mut Counts) -> Result<Done> {
    let toolchain = setup::target(workspace, setup::WASM)?;
    let native = command::run(
        workspace
            .cargo()
            .args(["doc", "--no-deps", "--release", "--workspace"])
            .args(WITHOUT_GUESTS)
            .env("RUSTDOCFLAGS", "-D warnings"),
    );
    // The guests' documentation is built for their own target, for which the build has already compiled their macros.
    let guests = guests(toolchain, workspace, |command| {
        let mut doc = command("doc");
        doc.arg("--no-deps").env("RUSTDOCFLAGS", "-D warnings");
        (doc, &[])
    });
    all([native, all(guests)])?;
    Ok(Done::Passed)
}

/// Runs cargo-deny. Its advisories do not come from the package registry; without them, everything else is checked.
pub(super) fn deny(workspace: &Workspace, _: &mut Counts) -> Result<Done> {
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

/// Whether the output of `cargo tree --prefix none --format {p}` lists a package.
fn reaches(tree: &str, package: &str) -> bool {
    tree.lines().any(|line| line.split_whitespace().next() == Some(package))
}

#[cfg(test)]
mod tests {
    use super::*;

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
}
