//! `dekker.wasm`: the commands of `dekker` that need neither a plugin nor a server, for `wasmtime run` and every other WASI host.
//!
//! Arguments, input and output are the same as those of the native binary ([`dekker_cli`]); dekker-core itself is the engine. Files must be in
//! directories that the host grants with `--dir`.

mod core_tools;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;
use clap::{Args, Parser, Subcommand};
use dekker_cli::transform_args::{Place, SealWith, encrypt_with_dek, finish};
use dekker_cli::{config_command, decrypt_command, inspect_command, io};
use dekker_core::engine::Engine;

use crate::core_tools::{ByEngine, Core};

/// Kubernetes' encryption at rest, without a KMS plugin.
#[derive(Parser)]
#[command(name = "dekker", version, about, max_term_width = 100)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Encrypt standard input as kube-apiserver would store it
    Encrypt(EncryptArgs),
    /// Decrypt stored values, in any form that `inspect` reads
    Decrypt(DecryptArgs),
    /// Describe stored values in any form, without any key
    Inspect(inspect_command::InspectArgs),
    /// Check or show an encryption configuration
    #[command(subcommand)]
    Config(config_command::ConfigCommand),
}

#[derive(Args)]
struct EncryptArgs {
    #[command(flatten)]
    place: Place,
    #[command(flatten)]
    with: SealWith,
    #[command(flatten)]
    engine: EngineArgs,
}

// The group of the arguments inside has the same name.
#[derive(Args)]
#[group(skip)]
struct DecryptArgs {
    #[command(flatten)]
    args: decrypt_command::DecryptArgs,
    #[command(flatten)]
    engine: EngineArgs,
}

#[derive(Args)]
struct EngineArgs {
    /// The encryption configuration file, as for kube-apiserver's flag of the same name
    #[arg(
        long,
        value_name = "FILE",
        required_unless_present = "dek_file",
        conflicts_with = "dek_file"
    )]
    encryption_provider_config: Option<PathBuf>,
}

impl EngineArgs {
    /// Creates the engine for the configuration.
    fn engine(&self) -> anyhow::Result<Engine> {
        let path = self
            .encryption_provider_config
            .as_deref()
            .context("--encryption-provider-config or --dek-file is required")?;
        let config = io::read_config(path).map_err(anyhow::Error::msg)?;
        core_tools::engine(&config).with_context(|| path.display().to_string())
    }
}

fn main() -> ExitCode {
    match run(Cli::parse().command) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("dekker: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(command: Command) -> anyhow::Result<ExitCode> {
    match command {
        Command::Encrypt(EncryptArgs { place, with, engine }) => match &with.dek_file {
            Some(dek_file) => encrypt_with_dek(&Core, &place, dek_file, &with),
            None => {
                let engine = engine.engine()?;
                let plaintext = io::read_input(None)?;
                let encrypted = core_tools::encrypt(engine, &place, &plaintext)?;
                finish(&encrypted, &mut std::io::stdout().lock())?;
                Ok(ExitCode::SUCCESS)
            }
        },
        Command::Decrypt(DecryptArgs { args, engine }) => match &args.dek_file {
            Some(_) => decrypt_command::run_with_dek(&Core, &args),
            None => decrypt_command::run(&mut ByEngine::new(engine.engine()?), &args),
        },
        Command::Inspect(args) => inspect_command::run(&Core, &args),
        Command::Config(command) => config_command::run(&Core, command),
    }
}
