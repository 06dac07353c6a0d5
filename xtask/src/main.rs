//! Dekker's build tool. `cargo xtask help` lists its commands.

mod bench;
mod biome;
mod boundary;
mod cli;
mod clients;
mod command;
mod component;
mod crash;
mod etcd;
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
mod short_names;
mod simulate;
mod test;
mod wasi_command;
mod workspace;

use std::process::ExitCode;

use anyhow::Result;

use cli::{Product, Task};
use workspace::Workspace;

/// The exit code if a command or a check failed. An invalid command line gives 2, as clap chooses.
const FAULT: u8 = 1;

fn main() -> ExitCode {
    let task = match cli::parse(std::env::args_os().skip(1)) {
        Ok(task) => task,
        // A request for help also ends here, with exit code 0.
        Err(fault) => fault.exit(),
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

/// Runs a task. Returns `false` if it ran to the end but something in it failed.
fn perform(task: Task) -> Result<bool> {
    match task {
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
                        ("the npm package and the Inspector", build_inspector(&workspace)),
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
            match biome::format(&workspace) {
                Err(fault) if fault.is::<setup::Missing>() && !workspace.is_ci() => {
                    eprintln!("SKIP JavaScript, JSON and CSS: {fault:#}");
                }
                result => result?,
            }
        }
        Task::Pictures => {
            let workspace = Workspace::find()?;
            build_inspector(&workspace)?;
            inspector::take_pictures(&workspace)?;
        }
        Task::Crash { kills } => crash::by_hand(&Workspace::find()?, kills)?,
        Task::Nonces { values } => {
            let workspace = Workspace::find()?;
            let mut test = workspace.cargo();
            test.args(["test", "--release", "-p", "dekker-shared", "--test", "threads"])
                .args(["--", "--nocapture", "--exact", "nonces_of_batches_never_repeat"])
                .env("DEKKER_NONCES", values.to_string());
            command::run(&mut test)?;
        }
        Task::Fuzz(fuzzing) => fuzz::run(&Workspace::find()?, &fuzzing)?,
        Task::Miri => miri::run(&Workspace::find()?)?,
        Task::Mutants { args } => mutants::run(&Workspace::find()?, args)?,
        Task::Bench { args } => bench::run(&Workspace::find()?, args)?,
    }
    Ok(true)
}

/// Builds the npm package, and then the Inspector page, which contains it.
fn build_inspector(workspace: &Workspace) -> Result<()> {
    npm::build(workspace)?;
    inspector::build(workspace)
}

/// Builds the components. In CI, a component over its size limit is an error.
fn build_component(workspace: &Workspace) -> Result<()> {
    component::build(workspace)?;
    if workspace.is_ci() {
        component::check_size(workspace)?;
    }
    Ok(())
}
