//! `dekker config`.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Subcommand;

use super::write_output;
use crate::config_file;
use crate::driver::Fault;
use crate::guest::{Component, ConfigFinding, EMBEDDED, MEMORY_MAX, Severity};

#[derive(Subcommand)]
pub(super) enum ConfigCommand {
    /// Name every fault of a configuration, each with its place, and what one may want to know of it
    Check {
        /// The configuration
        file: PathBuf,
        /// Check with the rules for automatic reload, as kube-apiserver's flag of the same name brings them
        #[arg(long, default_value_t = false, num_args = 0..=1, require_equals = true, default_missing_value = "true", action = clap::ArgAction::Set)]
        encryption_provider_config_automatic_reload: bool,
    },
    /// Print a configuration with its defaults filled in and its secrets redacted
    Show {
        /// The configuration
        file: PathBuf,
    },
}

pub(super) fn run(command: ConfigCommand) -> anyhow::Result<ExitCode> {
    let component =
        Component::compile(EMBEDDED, MEMORY_MAX).map_err(|error| anyhow::anyhow!("{error:#}"))?;
    let failed =
        |error: wasmtime::Error| anyhow::anyhow!("the component failed on this file: {error:#}");
    match command {
        ConfigCommand::Check {
            file,
            encryption_provider_config_automatic_reload: reload,
        } => {
            let content = config_file::read(&file).map_err(anyhow::Error::msg)?;
            let findings = component
                .check_config(&content.bytes, reload)
                .map_err(failed)?;
            let (text, faults) = report(&file.display().to_string(), &findings);
            write_output(text.as_bytes())?;
            Ok(if faults == 0 {
                ExitCode::SUCCESS
            } else {
                ExitCode::FAILURE
            })
        }
        ConfigCommand::Show { file } => {
            let content = config_file::read(&file).map_err(anyhow::Error::msg)?;
            match component.show_config(&content.bytes).map_err(failed)? {
                Ok(text) => {
                    write_output(text.as_bytes())?;
                    Ok(ExitCode::SUCCESS)
                }
                Err(findings) => {
                    let (text, _) = report(&file.display().to_string(), &findings);
                    eprint!("{text}");
                    Ok(ExitCode::FAILURE)
                }
            }
        }
    }
}

/// A line for each finding, as compilers write them, and a summary; also the number of faults. The file's own lines are not shown: they may
/// hold secrets.
fn report(file: &str, findings: &[ConfigFinding]) -> (String, usize) {
    let mut text = String::new();
    let mut faults = 0;
    for finding in findings {
        let Fault {
            path,
            message,
            position,
        } = Fault::from(finding);
        let place = position
            .map(|(line, column)| format!(":{line}:{column}"))
            .unwrap_or_default();
        let path = if path.is_empty() {
            path
        } else {
            format!("{path}: ")
        };
        let severity = match finding.severity {
            Severity::Fault => {
                faults += 1;
                "error"
            }
            Severity::Warning => "warning",
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
