//! The `dekker` binary, which embeds the component.

use std::ffi::{OsStr, OsString};
use std::os::unix::process::CommandExt;
use std::process::Command;

use anyhow::{Context, Result};

use crate::command;
use crate::workspace::Workspace;

const AUTOMATIC_RELOAD: &str = "--encryption-provider-config-automatic-reload";

/// Builds the host. The component must have been built before.
///
/// # Errors
/// It does not compile.
pub fn build(workspace: &Workspace) -> Result<()> {
    command::run(
        workspace
            .cargo()
            .args(["build", "--release", "-p", "dekker-host"]),
    )
}

/// Becomes `dekker serve`, in the directory from which xtask was called. Only comes back when that fails.
///
/// # Errors
/// The binary cannot be run.
pub fn serve(workspace: &Workspace, args: Vec<OsString>) -> Result<()> {
    let mut command = Command::new(workspace.binary());
    command.args(serve_arguments(args));
    let shown = command::describe(&command);
    eprintln!("$ {shown}");
    Err(command.exec()).with_context(|| format!("cannot run `{shown}`"))
}

/// Automatic reload is on unless the caller has a word on it.
fn serve_arguments(args: Vec<OsString>) -> Vec<OsString> {
    let mut all = vec![OsString::from("serve")];
    if !args.iter().any(|arg| is_flag(arg, AUTOMATIC_RELOAD)) {
        all.push(format!("{AUTOMATIC_RELOAD}=true").into());
    }
    all.extend(args);
    all
}

/// `--flag` or `--flag=value`.
fn is_flag(arg: &OsStr, flag: &str) -> bool {
    arg.as_encoded_bytes()
        .strip_prefix(flag.as_bytes())
        .is_some_and(|rest| rest.is_empty() || rest.starts_with(b"="))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn serve_turns_automatic_reload_on_unless_told_otherwise() {
        let on = "--encryption-provider-config-automatic-reload=true";
        let off = "--encryption-provider-config-automatic-reload=false";
        let table: &[(&str, &[&str], &[&str])] = &[
            ("nothing said", &[], &["serve", on]),
            (
                "before the caller's",
                &["--state-dir", "a b"],
                &["serve", on, "--state-dir", "a b"],
            ),
            ("turned off", &[off], &["serve", off]),
            (
                "the value apart",
                &[AUTOMATIC_RELOAD, "false"],
                &["serve", AUTOMATIC_RELOAD, "false"],
            ),
            (
                "a longer name",
                &["--encryption-provider-config-automatic-reloading"],
                &[
                    "serve",
                    on,
                    "--encryption-provider-config-automatic-reloading",
                ],
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
