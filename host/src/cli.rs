//! The `dekker` command.
//!
//! Exit codes: 0 done, 1 a fault, 2 wrong usage.

mod config;
mod inspect;
mod kms;
mod serve;
mod state_dir;
mod value;

use std::io::{IsTerminal, Read, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context;
use clap::{Args, Parser, Subcommand, ValueEnum};
use zeroize::Zeroizing;

use crate::host::{KmsCoast, WriteDekSource};

/// 64 MiB: the longest standard input or file that a command reads.
const INPUT_MAX: u64 = 64 * 1024 * 1024;

/// Kubernetes' encryption at rest as a WebAssembly component.
#[derive(Parser)]
#[command(name = "dekker", version, about, max_term_width = 100)]
struct Cli {
    #[command(subcommand)]
    command: Command,
    #[command(flatten)]
    log: LogArgs,
}

#[derive(Args)]
struct LogArgs {
    /// How log lines look, on standard error
    #[arg(long, global = true, value_enum, default_value_t = LogFormat::Text)]
    log_format: LogFormat,
    /// What is logged: a level, or directives such as `info,dekker_host=debug`
    #[arg(long, global = true, default_value = "info")]
    log: String,
}

#[derive(Clone, Copy, ValueEnum)]
enum LogFormat {
    /// For people
    Text,
    /// One JSON object a line
    Json,
}

#[derive(Subcommand)]
enum Command {
    /// Serve the transform API, health, metrics and status
    Serve(serve::ServeArgs),
    /// Encrypt standard input to what kube-apiserver would store
    Encrypt(value::ValueArgs),
    /// Decrypt a stored value on standard input
    Decrypt(value::ValueArgs),
    /// Tell what a stored value is, without any key
    Inspect(inspect::InspectArgs),
    /// Look at an encryption configuration
    #[command(subcommand)]
    Config(config::ConfigCommand),
    /// Run and manage the KMS v2 plugin that Dekker brings along
    #[command(subcommand)]
    Kms(kms::KmsCommand),
}

/// How the engine behaves; shared by all commands that run one.
#[derive(Args, Clone)]
struct EngineArgs {
    /// The encryption configuration, as kube-apiserver's flag of the same name takes it [default: the one in the state directory, which
    /// names Dekker's own KMS plugin]
    #[arg(long, value_name = "FILE")]
    encryption_provider_config: Option<PathBuf>,
    /// What new write DEKs are: `counter` for an AES key with counted nonces, `hkdf-seed` for what kube-apiserver writes since 1.29
    #[arg(long, value_enum, default_value_t = DekSourceArg::Counter)]
    dek_source: DekSourceArg,
    /// How long a plugin that calls itself unhealthy may keep its DEK in use: `upstream` as kube-apiserver does
    #[arg(long, value_enum, default_value_t = CoastArg::Strict)]
    kms_coast: CoastArg,
    /// Run this component instead of the one in the binary
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

/// Runs the command that the process' arguments name.
pub fn main() -> ExitCode {
    let Cli { command, log } = Cli::parse();
    if let Err(error) = start_log(&log) {
        eprintln!("dekker: {error:#}");
        return ExitCode::from(2);
    }
    let outcome = match command {
        Command::Serve(args) => block_on(serve::run(args)),
        Command::Encrypt(args) => block_on(value::encrypt(args)),
        Command::Decrypt(args) => block_on(value::decrypt(args)),
        Command::Inspect(args) => inspect::run(&args),
        Command::Config(command) => config::run(command),
        Command::Kms(command) => block_on(kms::run(command)),
    };
    match outcome {
        Ok(code) => code,
        Err(error) => {
            eprintln!("dekker: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn block_on(task: impl Future<Output = anyhow::Result<ExitCode>>) -> anyhow::Result<ExitCode> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .context("cannot start the runtime")?;
    let outcome = runtime.block_on(task);
    // What still runs in the background, such as a read of a file, must not hold up the end.
    runtime.shutdown_background();
    outcome
}

fn start_log(args: &LogArgs) -> anyhow::Result<()> {
    let filter = tracing_subscriber::EnvFilter::try_new(&args.log)
        .with_context(|| format!("--log {:?}", args.log))?;
    let log = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr);
    match args.log_format {
        LogFormat::Text => log
            .with_ansi(std::io::stderr().is_terminal())
            .with_target(false)
            .init(),
        LogFormat::Json => log.json().flatten_event(true).init(),
    }
    Ok(())
}

/// A file, or standard input for `-` and for none, within bounds.
fn read_input(path: Option<&Path>) -> anyhow::Result<Zeroizing<Vec<u8>>> {
    let mut bytes = Zeroizing::new(Vec::new());
    let (read, name) = match path {
        Some(path) if path != Path::new("-") => {
            let name = path.display().to_string();
            let file = std::fs::File::open(path).with_context(|| format!("cannot read {name}"))?;
            (file.take(INPUT_MAX + 1).read_to_end(&mut bytes), name)
        }
        Some(_) | None => (
            std::io::stdin()
                .lock()
                .take(INPUT_MAX + 1)
                .read_to_end(&mut bytes),
            "standard input".to_owned(),
        ),
    };
    read.with_context(|| format!("cannot read {name}"))?;
    anyhow::ensure!(
        bytes.len() as u64 <= INPUT_MAX,
        "{name} is over {INPUT_MAX} bytes long"
    );
    Ok(bytes)
}

/// Writes all of it to standard output.
fn write_output(bytes: &[u8]) -> anyhow::Result<()> {
    let mut out = std::io::stdout().lock();
    out.write_all(bytes)
        .and_then(|()| out.flush())
        .context("cannot write to standard output")
}
