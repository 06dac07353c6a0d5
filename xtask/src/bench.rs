//! `cargo xtask bench`: builds everything that is measured, finds the peers and runs `dekker-bench`.

use std::ffi::OsString;
use std::path::PathBuf;

use anyhow::{Context, Result};

use crate::command;
use crate::setup::{self, Missing};
use crate::workspace::Workspace;
use crate::{component, host, npm, wasi_command};

/// Runs the benchmarks, and prints their figures. A peer that is not installed is left out, and a line says so; in CI that is an error.
///
/// # Errors
/// Returns an error if a step fails.
pub(crate) fn run(workspace: &Workspace, args: Vec<OsString>) -> Result<()> {
    component::build(workspace)?;
    host::build(workspace)?;
    let ci = workspace.is_ci();
    let wasi = optional(ci, "dekker.wasm", wasi_command::build(workspace))?;
    let npm = optional(ci, "the benchmarks in Node", npm::build(workspace))?;
    let go = optional(ci, "the benchmarks in Go", go(workspace))?;
    command::run(workspace.cargo().args(["build", "--release", "-p", "dekker-bench"]))?;

    let program = workspace.bench();
    let program = program.to_str().context("the path of the Go program is not UTF-8")?;
    let mut bench = workspace.command(program);
    bench
        .env("DEKKER_BIN", workspace.binary())
        .env("DEKKER_COMPONENT", workspace.component())
        .env("DEKKER_COMPONENT_ACCELERATED", workspace.accelerated())
        .arg("--json")
        .arg(workspace.bench_json());
    if wasi.is_some() {
        bench.env("DEKKER_WASM", workspace.wasi_command());
    }
    if npm.is_some() {
        let script = workspace.root().join("tests/bench/peer.js");
        bench
            .env("DEKKER_BENCH_NODE", script)
            .env("DEKKER_NPM_MODULE", workspace.npm_dist().join("dekker_bg.wasm"))
            .env("DEKKER_NPM_INSPECT_MODULE", workspace.npm_dist().join("dekker_inspect_bg.wasm"));
    }
    if let Some(program) = go {
        bench.env("DEKKER_INTEROP_PEER", program);
    }
    for arg in args {
        let docs = arg == "--write-docs";
        bench.arg(arg);
        if docs {
            bench.arg(workspace.root().join("docs"));
        }
    }
    command::run(&mut bench)
}

/// Replaces [`Missing`] by `None`, and prints what is left out. In CI, `Missing` stays an error.
fn optional<T>(ci: bool, what: &str, result: Result<T>) -> Result<Option<T>> {
    match result {
        Err(fault) if fault.is::<Missing>() && !ci => {
            eprintln!("SKIP {what}: {fault:#}");
            Ok(None)
        }
        result => result.map(Some),
    }
}

/// Builds the Go program in `tests/interop`, which runs upstream's own code.
fn go(workspace: &Workspace) -> Result<PathBuf> {
    let source = workspace.root().join("tests/interop");
    setup::go(workspace, &source)?;
    let program = workspace.interop().join("peer");
    let mut go = workspace.command("go");
    go.args(["build", "-o"]).arg(&program).arg(".").current_dir(&source);
    command::run(&mut go)?;
    Ok(program)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_peer_is_an_error_only_in_ci() {
        let missing = || Err::<(), _>(anyhow::Error::new(Missing::join(&[])));
        assert!(optional(false, "a peer", missing()).is_ok_and(|peer| peer.is_none()));
        assert!(optional(true, "a peer", missing()).is_err());
        let broken = Err::<(), _>(anyhow::anyhow!("it does not compile"));
        assert!(optional(false, "a peer", broken).is_err());
    }
}
