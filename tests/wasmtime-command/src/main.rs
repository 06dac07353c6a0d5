//! The `wasmtime` command, as far as it runs and compiles: the commands themselves are those of wasmtime-cli.
//!
//! Built here because the whole of it takes many minutes, and a machine that tests may have none.

use clap::Parser;
use wasmtime_cli::commands::{CompileCommand, RunCommand};

/// Runs WebAssembly.
#[derive(Parser)]
#[command(name = "wasmtime")]
enum Wasmtime {
    /// Runs a WebAssembly module or component
    Run(RunCommand),
    /// Compiles one ahead of time
    Compile(CompileCommand),
}

fn main() -> wasmtime::Result<()> {
    match Wasmtime::parse() {
        Wasmtime::Run(command) => command.execute(),
        Wasmtime::Compile(command) => command.execute(),
    }
}
