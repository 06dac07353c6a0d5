//! The parts of the `wasmtime` command that run and compile WebAssembly. The commands themselves are those of wasmtime-cli.
//!
//! They are built here because the whole command takes many minutes to build, and may not be installed where the tests run.

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
