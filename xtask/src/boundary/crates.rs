//! Which crate of the workspace may depend on which, as the column "may use" of CONTRIBUTING.md states. Dev-dependencies are free.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use serde_json::Value;

use crate::command;
use crate::workspace::Workspace;

/// The crates of the workspace that a crate may depend on.
#[derive(Clone, Copy)]
enum May {
    Use(&'static [&'static str]),
    UseAll,
}

/// Every crate of the workspace.
const TABLE: [(&str, May); 23] = [
    ("dekker-accelerated", May::Use(&["dekker-core", "dekker-memory"])),
    (
        "dekker-bench",
        May::Use(&[
            "dekker-compiled",
            "dekker-core",
            "dekker-host",
            "dekker-keys",
            "dekker-proto",
            "dekker-ring",
            "dekker-shared",
        ]),
    ),
    ("dekker-cli", May::Use(&["dekker-forms"])),
    ("dekker-compiled", May::Use(&[])),
    ("dekker-component", May::Use(&["dekker-core", "dekker-memory"])),
    ("dekker-concurrency", May::Use(&["dekker-core", "dekker-crypto"])),
    ("dekker-core", May::Use(&["dekker-crypto", "dekker-forms"])),
    ("dekker-core-tests", May::UseAll),
    ("dekker-crypto", May::Use(&[])),
    ("dekker-forms", May::Use(&[])),
    (
        "dekker-fuzz-targets",
        May::Use(&["dekker-core", "dekker-forms", "dekker-host", "dekker-proto"]),
    ),
    (
        "dekker-host",
        May::Use(&[
            "dekker-cli",
            "dekker-compiled",
            "dekker-crypto",
            "dekker-keys",
            "dekker-proto",
        ]),
    ),
    ("dekker-js", May::Use(&["dekker-core", "dekker-memory"])),
    ("dekker-js-inspect", May::Use(&["dekker-core", "dekker-forms", "dekker-memory"])),
    ("dekker-keys", May::Use(&["dekker-crypto"])),
    ("dekker-memory", May::Use(&[])),
    ("dekker-proto", May::Use(&[])),
    ("dekker-ring", May::Use(&["dekker-core", "dekker-crypto"])),
    ("dekker-shared", May::Use(&["dekker-core"])),
    ("dekker-tests", May::UseAll),
    ("dekker-wasi", May::Use(&["dekker-cli", "dekker-core"])),
    ("dekker-wasmtime-command", May::Use(&[])),
    ("xtask", May::Use(&[])),
];

/// Where the table is, for messages.
const HERE: &str = "xtask/src/boundary/crates.rs";

/// Returns a message for each dependency that the table does not allow, and for each difference between the table and the workspace.
///
/// # Errors
/// Returns an error if cargo cannot read the workspace.
pub(super) fn faults(workspace: &Workspace) -> Result<Vec<String>> {
    let arguments = ["metadata", "--no-deps", "--format-version", "1"];
    let metadata = command::capture(workspace.cargo().args(arguments))?;
    let metadata: Value =
        serde_json::from_str(&metadata).context("the output of `cargo metadata` is not JSON")?;
    let packages = packages(&metadata).context("`cargo metadata` lists no packages")?;
    Ok(compare(&TABLE, &packages, |package, name| {
        let text = fs::read_to_string(package.manifest).unwrap_or_default();
        let path = Path::new(package.manifest);
        let path = path.strip_prefix(workspace.root()).unwrap_or(path).display();
        format!("{path}:{}", line_of(&text, name))
    }))
}

/// A crate of the workspace.
struct Package<'m> {
    name: &'m str,
    /// The path of its Cargo.toml.
    manifest: &'m str,
    /// The names of its dependencies, except those of tests.
    dependencies: Vec<&'m str>,
}

/// Reads the crates from the output of `cargo metadata --no-deps`.
fn packages(metadata: &Value) -> Option<Vec<Package<'_>>> {
    metadata.get("packages")?.as_array()?.iter().map(package).collect()
}

fn package(package: &Value) -> Option<Package<'_>> {
    let text = |key| package.get(key)?.as_str();
    // A normal dependency has the kind null.
    let is_of_tests = |dependency: &&Value| {
        dependency.get("kind").and_then(Value::as_str).is_some_and(|kind| kind == "dev")
    };
    let dependencies = package.get("dependencies")?.as_array()?.iter();
    let names = dependencies.filter(|dependency| !is_of_tests(dependency));
    Some(Package {
        name: text("name")?,
        manifest: text("manifest_path")?,
        dependencies: names.filter_map(|one| one.get("name")?.as_str()).collect(),
    })
}

/// Compares the crates with a table. `place` returns the file and the line of a dependency.
fn compare(
    table: &[(&str, May)],
    packages: &[Package<'_>],
    place: impl Fn(&Package<'_>, &str) -> String,
) -> Vec<String> {
    let is_ours = |name: &str| packages.iter().any(|package| package.name == name);
    let mut faults = Vec::new();
    for package in packages {
        let name = package.name;
        let Some((_, may)) = table.iter().find(|(known, _)| *known == name) else {
            faults.push(format!(
                "{HERE}: the table has no crate `{name}`: add it there and to CONTRIBUTING.md, with the crates that it may use"
            ));
            continue;
        };
        for used in package.dependencies.iter().copied().filter(|used| is_ours(used)) {
            let is_allowed = match may {
                May::Use(allowed) => allowed.contains(&used),
                May::UseAll => true,
            };
            if !is_allowed {
                faults.push(format!(
                    "{}: `{name}` must not depend on `{used}`: remove the dependency, or, if the design has changed, allow it in {HERE} and in CONTRIBUTING.md",
                    place(package, used)
                ));
            }
        }
    }
    for (name, _) in table.iter().filter(|(name, _)| !is_ours(name)) {
        faults.push(format!("{HERE}: `{name}` is not in the workspace: remove it from the table"));
    }
    faults
}

/// Returns the line of a manifest that names a dependency first, from 1.
fn line_of(manifest: &str, name: &str) -> usize {
    let is_named =
        |line: &str| line.strip_prefix(name).is_some_and(|rest| rest.starts_with(['.', ' ', '=']));
    manifest.lines().position(is_named).map_or(1, |at| at + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_dependencies_outside_the_table_are_faults() {
        let metadata = serde_json::json!({ "packages": [
            { "name": "low", "manifest_path": "/low/Cargo.toml", "dependencies": [
                { "name": "high", "kind": null },
                { "name": "serde", "kind": null },
                { "name": "middle", "kind": "dev" },
            ] },
            { "name": "middle", "manifest_path": "/middle/Cargo.toml", "dependencies": [
                { "name": "low", "kind": null },
                { "name": "high", "kind": "build" },
            ] },
            { "name": "high", "manifest_path": "/high/Cargo.toml", "dependencies": [
                { "name": "low", "kind": null },
                { "name": "middle", "kind": "build" },
            ] },
        ] });
        let table = [("low", May::Use(&[])), ("middle", May::Use(&["low"])), ("high", May::UseAll)];
        let packages = packages(&metadata).expect("packages");
        let place = |package: &Package<'_>, _: &str| format!("{}:7", package.manifest);
        let faults = compare(&table, &packages, place);
        let starts = [
            "/low/Cargo.toml:7: `low` must not depend on `high`",
            "/middle/Cargo.toml:7: `middle` must not depend on `high`",
        ];
        assert_eq!(faults.len(), starts.len(), "{faults:?}");
        for (fault, start) in faults.iter().zip(starts) {
            assert!(fault.starts_with(start), "{fault}");
        }
    }

    #[test]
    fn table_and_workspace_must_have_the_same_crates() {
        let package = Package { name: "new", manifest: "", dependencies: Vec::new() };
        let faults = compare(&[("old", May::UseAll)], &[package], |_, _| String::new());
        assert_eq!(faults.len(), 2, "{faults:?}");
        assert!(faults.iter().any(|fault| fault.contains("has no crate `new`")));
        assert!(faults.iter().any(|fault| fault.contains("`old` is not in the workspace")));
    }

    #[test]
    fn the_line_of_a_dependency_is_found() {
        let manifest = "[dependencies]\na-b.workspace = true\na = { path = \"b\" }\n";
        let table = [("a", 3), ("a-b", 2), ("c", 1)];
        for (name, expected) in table {
            assert_eq!(line_of(manifest, name), expected, "{name}");
        }
    }
}
