//! Builds and runs the `dekker` binary, which embeds the accelerated component.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::os::unix::process::CommandExt;
use std::process::Command;

use anyhow::{Context, Result};

use crate::command;
use crate::kept::Kept;
use crate::workspace::Workspace;

const AUTOMATIC_RELOAD: &str = "--encryption-provider-config-automatic-reload";

/// Builds the host, and first compiles the component that it embeds ahead of time. The components must already be built.
///
/// # Errors
/// Returns an error if the component cannot be read, or if it or the host does not compile.
pub(crate) fn build(workspace: &Workspace) -> Result<()> {
    precompile(workspace)?;
    command::run(workspace.cargo().args(["build", "--release", "-p", "dekker-host"]))
}

/// Compiles the accelerated component ahead of time, unless the cached code is for the same component, wasmtime and processor.
fn precompile(workspace: &Workspace) -> Result<()> {
    // Built together with dekker-host, so that wasmtime has the same features and is built only once.
    command::run(workspace.cargo().args([
        "build",
        "--release",
        "-p",
        "dekker-host",
        "-p",
        "dekker-compiled",
        "--bin",
        "dekker-precompile",
    ]))?;
    let precompiler = || Command::new(workspace.precompiler());
    let path = workspace.accelerated();
    let component = fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?;
    let kept = Kept { directory: workspace.compiled(), how: command::capture(&mut precompiler())? };
    if kept.find(&component).is_none() {
        kept.make(&component, |output| command::run(precompiler().arg(&path).arg(output)))?;
    }
    Ok(())
}

/// Replaces this process with `dekker serve`, in the directory from which xtask was called. Returns only if that fails.
///
/// # Errors
/// Returns an error if the binary cannot be run.
pub(crate) fn serve(workspace: &Workspace, args: Vec<OsString>) -> Result<()> {
    let mut command = Command::new(workspace.binary());
    command.args(serve_arguments(args));
    let shown = command::describe(&command);
    eprintln!("$ {shown}");
    Err(command.exec()).with_context(|| format!("cannot run `{shown}`"))
}

/// Returns the arguments for `dekker serve`. Automatic reload is on, unless `args` contain its flag.
fn serve_arguments(args: Vec<OsString>) -> Vec<OsString> {
    let mut all = vec![OsString::from("serve")];
    if !args.iter().any(|arg| is_flag(arg, AUTOMATIC_RELOAD)) {
        all.push(format!("{AUTOMATIC_RELOAD}=true").into());
    }
    all.extend(args);
    all
}

/// Whether `arg` is `--flag` or `--flag=value`.
fn is_flag(arg: &OsStr, flag: &str) -> bool {
    arg.as_encoded_bytes()
        .strip_prefix(flag.as_bytes())
        .is_some_and(|rest| rest.is_empty() || rest.starts_with(b"="))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn serve_enables_automatic_reload_by_default() {
        let on = "--encryption-provider-config-automatic-reload=true";
        let off = "--encryption-provider-config-automatic-reload=false";
        let table: &[(&str, &[&str], &[&str])] = &[
            ("no flag", &[], &["serve", on]),
            ("before the caller's", &["--state-dir", "a b"], &["serve", on, "--state-dir", "a b"]),
            ("turned off", &[off], &["serve", off]),
            (
                "the value as a separate argument",
                &[AUTOMATIC_RELOAD, "false"],
                &["serve", AUTOMATIC_RELOAD, "false"],
            ),
            (
                "a longer name",
                &["--encryption-provider-config-automatic-reloading"],
                &["serve", on, "--encryption-provider-config-automatic-reloading"],
            ),
            (
                "the config flag alone",
                &["--encryption-provider-config", "f"],
                &["serve", on, "--encryption-provider-config", "f"],
            ),
        ];
        for (desc, args, expected) in table {
            assert_eq!(
                serve_arguments(args.iter().map(OsString::from).collect()),
                *expected,
                "{desc}"
            );
        }
    }
}
