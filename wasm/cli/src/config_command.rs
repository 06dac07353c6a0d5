//! The command `config`: checks or shows a configuration.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Subcommand;

use crate::io::{read_config, write_output};
use crate::{Finding, Tools};

/// Its commands.
#[derive(Subcommand)]
pub enum ConfigCommand {
    /// Report all errors and warnings of a configuration, with positions
    Check {
        /// The configuration
        file: PathBuf,
        /// Check with the rules for automatic reload, like kube-apiserver with the flag of the same name
        #[arg(long, default_value_t = false, num_args = 0..=1, require_equals = true, default_missing_value = "true", action = clap::ArgAction::Set)]
        encryption_provider_config_automatic_reload: bool,
    },
    /// Print a configuration with its defaults filled in and its secrets redacted
    Show {
        /// The configuration
        file: PathBuf,
    },
}

/// Runs a `config` command. The exit code is 1 if the configuration is not valid.
///
/// # Errors
/// Returns an error if the file cannot be read, if the engine fails, or if the output cannot be written.
pub fn run(tools: &dyn Tools, command: ConfigCommand) -> anyhow::Result<ExitCode> {
    let (text, faults) = match command {
        ConfigCommand::Check { file, encryption_provider_config_automatic_reload: reload } => {
            let content = read_config(&file).map_err(anyhow::Error::msg)?;
            let findings = tools.check_config(&content, reload)?;
            report(&file.display().to_string(), &findings)
        }
        ConfigCommand::Show { file } => {
            let content = read_config(&file).map_err(anyhow::Error::msg)?;
            match tools.show_config(&content)? {
                Ok(text) => (text, 0),
                Err(findings) => {
                    let (text, _) = report(&file.display().to_string(), &findings);
                    eprint!("{text}");
                    return Ok(ExitCode::FAILURE);
                }
            }
        }
    };
    write_output(text.as_bytes())?;
    Ok(if faults == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Formats each finding as a line in the style of compilers, followed by a summary line. Also returns the number of errors. Does not show lines of
/// the file, which may contain secrets.
fn report(file: &str, findings: &[Finding]) -> (String, usize) {
    let mut text = String::new();
    let mut faults = 0;
    for finding in findings {
        let Finding { is_warning, path, message, position } = finding;
        let place = position.map(|(line, column)| format!(":{line}:{column}")).unwrap_or_default();
        let path = if path.is_empty() { String::new() } else { format!("{path}: ") };
        let severity = if *is_warning {
            "warning"
        } else {
            faults += 1;
            "error"
        };
        text.push_str(&format!("{file}{place}: {severity}: {path}{message}\n"));
    }
    let count =
        |count: usize, what: &str| format!("{count} {what}{}", if count == 1 { "" } else { "s" });
    let verdict = if faults == 0 { "valid" } else { "not valid" };
    text.push_str(&format!(
        "{file}: {verdict}, {}, {}\n",
        count(faults, "fault"),
        count(findings.len() - faults, "warning")
    ));
    (text, faults)
}
