//! The `dekker` command.
//!
//! Exit codes: 0 success, 1 error, 2 wrong usage.

mod access;
mod banner;
mod component_tools;
mod kms_command;
mod log;
mod protect;
mod serve;
mod server_connection;
#[cfg(test)]
pub(crate) mod simulated;
mod state_dir;
mod transform_commands;

use std::io::IsTerminal;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;
use clap::{Args, Parser, Subcommand, ValueEnum};
use dekker_cli::io::write_output;
use dekker_cli::{config_command, inspect_command};

use self::log::Log;
use self::protect::ProtectArgs;
use crate::heap;
use crate::host::{KmsCoast, WriteDekSource};

/// Kubernetes' encryption at rest as a WebAssembly component.
#[derive(Parser)]
#[command(name = "dekker", version, about, max_term_width = 100)]
struct Cli {
    #[command(subcommand)]
    command: Command,
    #[command(flatten)]
    log: LogArgs,
    #[command(flatten)]
    protect: ProtectArgs,
}

#[derive(Args)]
struct LogArgs {
    /// The format of log lines, on standard error
    #[arg(long, global = true, value_enum, default_value_t = LogFormat::Text)]
    log_format: LogFormat,
    /// Which log lines to write: a level, or directives such as `info,dekker_host=debug`
    #[arg(long, global = true, default_value = "info")]
    log: String,
}

#[derive(Clone, Copy, ValueEnum)]
enum LogFormat {
    /// For people
    Text,
    /// One JSON object per line
    Json,
}

#[derive(Subcommand)]
enum Command {
    /// Serve the transform API, health, metrics and status
    Serve(serve::ServeArgs),
    /// Encrypt standard input to what kube-apiserver would store
    Encrypt(transform_commands::EncryptArgs),
    /// Decrypt stored values, in any form that `inspect` reads
    Decrypt(transform_commands::DecryptArgs),
    /// Describe stored values in any form, without any key
    Inspect(inspect_command::InspectArgs),
    /// Check or show an encryption configuration
    #[command(subcommand)]
    Config(config_command::ConfigCommand),
    /// Run and manage Dekker's own KMS v2 plugin
    #[command(subcommand)]
    Kms(kms_command::KmsCommand),
}

/// The options of an engine, shared by all commands that run one.
#[derive(Args, Clone)]
struct EngineArgs {
    /// The encryption configuration file, as for kube-apiserver's flag of the same name [default: the one in the state directory, which
    /// names Dekker's own KMS plugin]
    #[arg(long, value_name = "FILE")]
    encryption_provider_config: Option<PathBuf>,
    /// The type of new write DEKs: `counter` for an AES key with counted nonces, `hkdf-seed` for a seed, as kube-apiserver writes since 1.29
    #[arg(long, value_enum, default_value_t = DekSourceArg::Counter)]
    dek_source: DekSourceArg,
    /// Whether a plugin that reports itself unhealthy can extend the life of its write DEK: `strict` never, `upstream` as in kube-apiserver
    #[arg(long, value_enum, default_value_t = CoastArg::Strict)]
    kms_coast: CoastArg,
    /// Run this component instead of the embedded one
    #[arg(long, value_name = "FILE")]
    component: Option<PathBuf>,
    /// Where Dekker keeps its sockets, its configuration and its plugin's keys [default: /var/lib/dekker for root, else
    /// $XDG_STATE_HOME/dekker or ~/.local/state/dekker]
    #[arg(long, value_name = "DIR")]
    state_dir: Option<PathBuf>,
}

#[derive(Clone, Copy, ValueEnum)]
enum DekSourceArg {
    Counter,
    HkdfSeed,
}

#[derive(Clone, Copy, ValueEnum)]
enum CoastArg {
    Strict,
    Upstream,
}

impl From<DekSourceArg> for WriteDekSource {
    fn from(source: DekSourceArg) -> Self {
        match source {
            DekSourceArg::Counter => Self::Counter,
            DekSourceArg::HkdfSeed => Self::HkdfSeed,
        }
    }
}

impl From<CoastArg> for KmsCoast {
    fn from(coast: CoastArg) -> Self {
        match coast {
            CoastArg::Strict => Self::Strict,
            CoastArg::Upstream => Self::Upstream,
        }
    }
}

/// Runs the command given by the process' arguments.
pub fn main() -> ExitCode {
    let Cli { command, log, protect } = Cli::parse();
    let log = match start_log(&log) {
        Ok(log) => log,
        Err(error) => {
            eprintln!("dekker: {error:#}");
            return ExitCode::from(2);
        }
    };
    protect::protect(&protect);
    heap::keep_freed_memory();
    let outcome =
        match command {
            Command::Serve(args) => block_on(serve::run(args, log.clone())),
            Command::Encrypt(args) => block_on(transform_commands::encrypt(args)),
            Command::Decrypt(args) => block_on(transform_commands::decrypt(args)),
            Command::Inspect(args) => component_tools::Compiled::new()
                .and_then(|tools| inspect_command::run(&tools, &args)),
            Command::Config(command) => component_tools::Compiled::new()
                .and_then(|tools| config_command::run(&tools, command)),
            Command::Kms(command) => block_on(kms_command::run(command)),
        };
    let code = outcome.unwrap_or_else(|error| {
        log.say(format!("dekker: {error:#}\n").as_bytes());
        ExitCode::FAILURE
    });
    log.flush();
    code
}

/// Writes to standard output. If its reader has stopped, only this task waits.
async fn announce(text: String) -> anyhow::Result<()> {
    tokio::task::spawn_blocking(move || write_output(text.as_bytes()))
        .await
        .context("cannot write to standard output")?
}

fn block_on(task: impl Future<Output = anyhow::Result<ExitCode>>) -> anyhow::Result<ExitCode> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .context("cannot start the runtime")?;
    let outcome = runtime.block_on(task);
    // Tasks that still run in the background, such as a read of a file, must not delay the exit.
    runtime.shutdown_background();
    outcome
}

fn start_log(args: &LogArgs) -> anyhow::Result<Log> {
    let filter = tracing_subscriber::EnvFilter::try_new(&args.log)
        .with_context(|| format!("--log {:?}", args.log))?;
    let log = Log::to_stderr()?;
    log.take_panics();
    let subscriber = tracing_subscriber::fmt().with_env_filter(filter).with_writer(log.clone());
    match args.log_format {
        LogFormat::Text => {
            subscriber.with_ansi(std::io::stderr().is_terminal()).with_target(false).init()
        }
        LogFormat::Json => subscriber.json().flatten_event(true).init(),
    }
    Ok(log)
}
