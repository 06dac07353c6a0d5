//! `cargo xtask test clients`: runs common KMS clients, in `tests/clients`, against `dekker kms serve`.

use std::path::{Path, PathBuf};

use anyhow::{Result, bail};

use crate::command;
use crate::report::Counts;
use crate::setup::{self, Missing};
use crate::workspace::Workspace;

/// The module files in `tests/clients/go`, one for each version of kube-apiserver, and the names of the programs built with them.
const KUBE: [(&str, &str); 2] = [("go.mod", "kube-1.31"), ("kube-1.37.mod", "kube-1.37")];

/// Builds the clients, and runs the tests that use them. Clients whose prerequisites are missing are left out of the tests. The part is then
/// reported as skipped, if the tests of the other clients pass.
///
/// # Errors
/// Returns [`Missing`] if a prerequisite is missing (in CI before any test runs), or an error if a step fails.
pub(crate) fn run(workspace: &Workspace, counts: &mut Counts) -> Result<()> {
    let folder = workspace.root().join("tests/clients");
    let mut missing = Vec::new();
    let mut tests = workspace.cargo();
    tests
        .args(["test", "--release", "--no-fail-fast", "-p", "dekker-tests"])
        .args(["--test", "kms_clients"])
        .env("DEKKER_BIN", workspace.binary());
    match go(workspace, &folder.join("go")) {
        Ok(programs) => {
            for (name, program) in programs {
                tests.env(variable(name), program);
            }
        }
        Err(fault) => missing.push(fault.downcast::<Missing>()?),
    }
    let requirements = folder.join("python/requirements.txt");
    match setup::python_packages(workspace, &workspace.grpc_python(), &requirements) {
        Ok(python) => {
            tests.env("DEKKER_CLIENT_PYTHON", python);
        }
        Err(fault) => missing.push(fault),
    }
    match setup::node_modules(workspace) {
        Ok(()) => {
            tests.env("DEKKER_CLIENT_NODE", "node");
        }
        Err(fault) => missing.push(fault),
    }
    if !missing.is_empty() && workspace.is_ci() {
        bail!(Missing::join(&missing.iter().collect::<Vec<_>>()));
    }
    command::run_tests(&mut tests, counts)?;
    if !missing.is_empty() {
        bail!(Missing::join(&missing.iter().collect::<Vec<_>>()));
    }
    Ok(())
}

fn variable(name: &str) -> String {
    let name = name.to_uppercase().replace(['-', '.'], "_");
    format!("DEKKER_CLIENT_{name}")
}

/// Builds kube-apiserver's own client in each version. Returns the names and paths of the programs.
fn go(workspace: &Workspace, source: &Path) -> Result<Vec<(&'static str, PathBuf)>> {
    let mut gofmt = workspace.command("gofmt");
    setup::go(workspace, source)?;
    let unformatted = command::capture(gofmt.args(["-l", "."]).current_dir(source))?;
    if !unformatted.is_empty() {
        bail!("gofmt: not formatted: {}", unformatted.trim_end());
    }
    let mut programs = Vec::new();
    for (modules, name) in KUBE {
        let program = workspace.clients().join(name);
        let mut build = workspace.command("go");
        build.args(["build", "-modfile", modules, "-o"]).arg(&program).arg(".").current_dir(source);
        command::run(&mut build)?;
        programs.push((name, program));
    }
    Ok(programs)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_has_a_variable_for_its_program() {
        assert_eq!(variable("kube-1.31"), "DEKKER_CLIENT_KUBE_1_31");
    }
}
