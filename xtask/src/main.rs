//! Dekker's one build tool: `cargo xtask help` says what it does.

mod bench;
mod cli;
mod clients;
mod command;
mod component;
mod crash;
mod fuzz;
mod host;
mod hosts;
mod inspector;
mod interop;
mod kept;
mod miri;
mod mutants;
mod npm;
mod optimize;
mod parts;
mod report;
mod setup;
mod simulate;
mod test;
mod wasi_command;
mod workspace;

use std::process::ExitCode;

use anyhow::Result;

use cli::{Product, Task};
use workspace::Workspace;

/// Something failed; the words for it are on standard error.
const FAULT: u8 = 1;
/// The command line makes no sense.
const USAGE: u8 = 2;

fn main() -> ExitCode {
    let task = match cli::parse(std::env::args_os().skip(1)) {
        Ok(task) => task,
        Err(fault) => {
            eprintln!("error: {fault}\n\n{}", cli::usage());
            return ExitCode::from(USAGE);
        }
    };
    match perform(task) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(FAULT),
        Err(fault) => {
            eprintln!("error: {fault:#}");
            ExitCode::from(FAULT)
        }
    }
}

/// Does what was asked; `false` when it ran to its end and found faults.
fn perform(task: Task) -> Result<bool> {
    match task {
        Task::Help => print!("{}", cli::usage()),
        Task::Setup => return Ok(setup::everything(&Workspace::find()?)),
        Task::Build { only } => {
            let workspace = Workspace::find()?;
            match only {
                Some(Product::Component) => build_component(&workspace)?,
                Some(Product::Npm) => npm::build(&workspace)?,
                Some(Product::Inspector) => build_inspector(&workspace)?,
                None => {
                    build_component(&workspace)?;
                    host::build(&workspace)?;
                    for (what, built) in [
                        ("dekker.wasm", wasi_command::build(&workspace)),
                        (
                            "the npm package and the Inspector",
                            build_inspector(&workspace),
                        ),
                    ] {
                        match built {
                            Err(fault) if fault.is::<setup::Missing>() && !workspace.is_ci() => {
                                eprintln!("SKIP {what}: {fault:#}");
                            }
                            result => result?,
                        }
                    }
                }
            }
        }
        Task::Serve { args } => {
            let workspace = Workspace::find()?;
            component::build(&workspace)?;
            host::build(&workspace)?;
            host::serve(&workspace, args)?;
        }
        Task::Simulate(simulation) => simulate::run(&Workspace::find()?, &simulation)?,
        Task::Test { parts } => return Ok(test::run(&Workspace::find()?, &parts)),
        Task::Fmt => {
            let workspace = Workspace::find()?;
            setup::rustfmt(&workspace)?;
            command::run(workspace.cargo().args(["fmt", "--all"]))?;
        }
        Task::Pictures => {
            let workspace = Workspace::find()?;
            build_inspector(&workspace)?;
            inspector::take_pictures(&workspace)?;
        }
        Task::Crash { kills } => crash::by_hand(&Workspace::find()?, kills)?,
        Task::Fuzz(fuzzing) => fuzz::run(&Workspace::find()?, &fuzzing)?,
        Task::Miri => miri::run(&Workspace::find()?)?,
        Task::Mutants { args } => mutants::run(&Workspace::find()?, args)?,
        Task::Bench { args } => bench::run(&Workspace::find()?, args)?,
    }
    Ok(true)
}

/// Builds the npm package, and the page that has it inside.
fn build_inspector(workspace: &Workspace) -> Result<()> {
    npm::build(workspace)?;
    inspector::build(workspace)
}

/// Builds the component. In CI one that is too big is a fault.
fn build_component(workspace: &Workspace) -> Result<()> {
    component::build(workspace)?;
    if workspace.is_ci() {
        component::check_size(workspace)?;
    }
    Ok(())
}
