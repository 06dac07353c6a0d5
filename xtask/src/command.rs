//! Runs commands. Each command is printed before it runs, and its duration afterwards; only [`capture`] prints nothing.

use std::borrow::Cow;
use std::ffi::OsStr;
use std::io::{BufRead, BufReader};
use std::process::{Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::report::Counts;

/// Runs a command, which inherits xtask's standard streams unless the caller has redirected them.
///
/// # Errors
/// Returns an error if the command cannot be started or does not exit with 0.
pub(crate) fn run(command: &mut Command) -> Result<()> {
    let shown = describe(command);
    eprintln!("$ {shown}");
    let start = Instant::now();
    let status = command.status().with_context(|| format!("cannot run `{shown}`"))?;
    conclude(&shown, status, start.elapsed())
}

/// Runs `cargo test`, passes its standard output through, and adds the figures of its `test result:` lines to `counts`.
///
/// # Errors
/// Returns an error as [`run`] does, or if the output cannot be read. `counts` keeps the tests that were counted before the error.
pub(crate) fn run_tests(command: &mut Command, counts: &mut Counts) -> Result<()> {
    run_tests_seeing(command, counts, |_| {})
}

/// Runs tests like [`run_tests`], and also calls `see` with every line.
///
/// # Errors
/// Returns an error as [`run_tests`] does.
pub(crate) fn run_tests_seeing(
    command: &mut Command,
    counts: &mut Counts,
    mut see: impl FnMut(&str),
) -> Result<()> {
    let shown = describe(command);
    eprintln!("$ {shown}");
    let start = Instant::now();
    let mut child =
        command.stdout(Stdio::piped()).spawn().with_context(|| format!("cannot run `{shown}`"))?;
    if let Some(stdout) = child.stdout.take() {
        let mut stdout = BufReader::new(stdout);
        let mut line = Vec::new();
        // Read as bytes, because a test may print something that is not UTF-8.
        while stdout
            .read_until(b'\n', &mut line)
            .with_context(|| format!("cannot read from `{shown}`"))?
            > 0
        {
            let text = String::from_utf8_lossy(&line);
            print!("{text}");
            see(&text);
            if let Some(result) = Counts::from_result_line(&text) {
                *counts += result;
            }
            line.clear();
        }
    }
    let status = child.wait().with_context(|| format!("cannot wait for `{shown}`"))?;
    conclude(&shown, status, start.elapsed())
}

/// Runs a short command without printing it, and returns its standard output.
///
/// # Errors
/// Returns an error if the command cannot be started, does not exit with 0 (the error then contains its standard error), or prints something
/// other than UTF-8.
pub(crate) fn capture(command: &mut Command) -> Result<String> {
    let shown = describe(command);
    let output =
        command.stdin(Stdio::null()).output().with_context(|| format!("cannot run `{shown}`"))?;
    if !output.status.success() {
        bail!(
            "`{shown}`: {}\n{}",
            output.status,
            String::from_utf8_lossy(&output.stderr).trim_end()
        );
    }
    String::from_utf8(output.stdout)
        .with_context(|| format!("the output of `{shown}` is not UTF-8"))
}

/// Formats a command as one would type it in a shell, with the environment variables that it sets.
pub(crate) fn describe(command: &Command) -> String {
    let variables = command.get_envs().filter_map(|(name, value)| {
        let value = value?;
        if name == "PATH" {
            return Some(format!("PATH={}", shorten_path(&value.to_string_lossy())));
        }
        Some(format!("{}={}", name.to_string_lossy(), quote(value)))
    });
    // A full path to cargo is shown as `cargo`.
    let program = command.get_program();
    let program = std::path::Path::new(program).file_name().unwrap_or(program);
    let words =
        std::iter::once(program).chain(command.get_args()).map(|word| quote(word).into_owned());
    variables.chain(words).collect::<Vec<_>>().join(" ")
}

fn conclude(shown: &str, status: ExitStatus, elapsed: Duration) -> Result<()> {
    eprintln!("  {:.1} s", elapsed.as_secs_f64());
    if !status.success() {
        bail!("`{shown}`: {status}");
    }
    Ok(())
}

/// Shortens a search path: if it ends with xtask's own search path, that part becomes `$PATH`.
fn shorten_path(path: &str) -> String {
    let own = std::env::var("PATH").unwrap_or_default();
    path.strip_suffix(&own).map_or_else(|| path.to_owned(), |before| format!("{before}$PATH"))
}

fn quote(word: &OsStr) -> Cow<'_, str> {
    let text = word.to_string_lossy();
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./=:,@%+".contains(c);
    if !text.is_empty() && text.chars().all(plain) {
        return text;
    }
    format!("'{}'", text.replace('\'', r"'\''")).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_is_shown_as_shell_input() {
        let mut command = Command::new("/opt/rust tools/bin/cargo");
        command
            .args(["test", "-p", "a b", "it's", ""])
            .env("RUSTDOCFLAGS", "-D warnings")
            .env_remove("CARGO_PKG_NAME");
        assert_eq!(
            describe(&command),
            r"RUSTDOCFLAGS='-D warnings' cargo test -p 'a b' 'it'\''s' ''"
        );
    }

    #[test]
    fn results_are_counted_and_a_failure_is_reported() {
        let mut counts = Counts::default();
        let script = "echo 'test result: ok. 2 passed; 0 failed; 1 ignored; 0 measured; 0 filtered out'; exit 101";
        let fault = run_tests(Command::new("sh").args(["-c", script]), &mut counts);
        assert_eq!(counts, Counts { passed: 2, failed: 0, skipped: 1 });
        assert!(fault.is_err_and(|fault| fault.to_string().contains("101")));
    }

    #[test]
    fn the_error_names_a_missing_program() {
        let fault = run(&mut Command::new("dekker-no-such-program"));
        assert!(fault.is_err_and(|fault| fault.to_string().contains("dekker-no-such-program")));
    }
}
