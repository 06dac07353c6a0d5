//! `dekker-precompile IN OUT` compiles a component. Without arguments it prints the fingerprint on which the result depends, besides the component.

use std::ffi::OsString;
use std::process::ExitCode;

use wasmtime::{Error, Result};

fn main() -> ExitCode {
    match run(std::env::args_os().skip(1).collect()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(args: Vec<OsString>) -> Result<()> {
    let engine = dekker_compiled::engine()?;
    match args.as_slice() {
        [] => println!("{:016x}", dekker_compiled::fingerprint(&engine)),
        [input, output] => {
            let component = std::fs::read(input)?;
            std::fs::write(output, dekker_compiled::compile(&engine, &component)?)?;
        }
        _ => {
            return Err(Error::msg("expected no arguments, or a component and an output file"));
        }
    }
    Ok(())
}
