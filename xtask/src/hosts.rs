//! `cargo xtask test hosts`: runs the examples and the programs in `tests/hosts`, and compares their output with the documentation.

use std::fs;
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::command;
use crate::report::Counts;
use crate::setup;
use crate::workspace::Workspace;

/// The pages that show runs of the programs: the first two explain them, the last shows some of them again.
const PAGES: [&str; 3] = ["docs/plugin-hosts.md", "docs/rust.md", "README.md"];

/// A program that hosts the engine.
struct Host {
    /// A text that the command that runs the program contains in `PAGES`, and no other command there.
    name: &'static str,
    /// Builds the program or installs its packages. Returns the command that runs it.
    prepare: fn(&Workspace) -> Result<Command>,
}

const HOSTS: [Host; 6] = [
    Host {
        name: "-p dekker-ring --example kms",
        prepare: |workspace| example(workspace, "dekker-ring", "kms"),
    },
    Host {
        name: "-p dekker-shared --example threads",
        prepare: |workspace| example(workspace, "dekker-shared", "threads"),
    },
    Host {
        name: "host-library",
        prepare: |workspace| example(workspace, "dekker-tests", "host-library"),
    },
    Host {
        name: "host-wasmtime",
        prepare: |workspace| {
            let mut run = example(workspace, "dekker-tests", "host-wasmtime")?;
            run.arg("--").arg(workspace.component());
            Ok(run)
        },
    },
    Host { name: "tests/hosts/python/host.py", prepare: python },
    Host { name: "tests/hosts/jco/host.js", prepare: jco },
];

/// Runs all programs. Returns a result for each, in the order of `HOSTS`.
///
/// # Errors
/// Returns an error if a page cannot be read. A program's result is [`setup::Missing`] if a prerequisite is missing, or an error if the program
/// fails or prints something other than the pages show.
pub(crate) fn run(workspace: &Workspace, counts: &mut Counts) -> Result<[Result<()>; HOSTS.len()]> {
    let mut pages = Vec::new();
    for name in PAGES {
        let text = fs::read_to_string(workspace.root().join(name));
        pages.push((name, text.with_context(|| format!("cannot read {name}"))?));
    }
    Ok(HOSTS.map(|host| {
        let result =
            (host.prepare)(workspace).and_then(|command| check(command, &pages, host.name));
        match &result {
            Ok(()) => counts.passed += 1,
            // The report counts the part itself: as skipped, or in CI as failed.
            Err(fault) if fault.is::<setup::Missing>() => {}
            Err(_) => counts.failed += 1,
        }
        result.map_err(|fault| match fault.downcast::<setup::Missing>() {
            Ok(missing) => missing.into(),
            Err(fault) => fault.context(host.name),
        })
    }))
}

fn check(mut command: Command, pages: &[(&str, String)], name: &str) -> Result<()> {
    eprintln!("$ {}", command::describe(&command));
    let printed = command::capture(&mut command)?;
    print!("{printed}");
    let shown = pages.iter().filter_map(|(page, text)| Some((page, transcript(text, name)?)));
    let mut times = 0;
    for (page, shown) in shown {
        times += 1;
        if shown != printed {
            bail!("the output differs from the one in {page}:\n{shown}");
        }
    }
    if times == 0 {
        bail!("no page shows its output");
    }
    Ok(())
}

/// Returns the output that the page shows after the command `$ … name …`, up to the next command or the end of the block.
fn transcript(page: &str, name: &str) -> Option<String> {
    let mut lines = page.lines();
    lines.find(|line| line.starts_with("$ ") && line.contains(name))?;
    let shown = lines.take_while(|line| !line.starts_with("```") && !line.starts_with("$ "));
    Some(shown.map(|line| format!("{line}\n")).collect())
}

/// Builds an example, and returns the command that runs it. The examples of dekker-host are in dekker-tests: there, the dependencies have the same
/// features as in the other parts and are not compiled again.
fn example(workspace: &Workspace, package: &str, name: &str) -> Result<Command> {
    let words = ["--release", "-p", package, "--example", name];
    command::run(workspace.cargo().arg("build").args(words))?;
    let mut run = workspace.cargo();
    run.args(["run", "--quiet"]).args(words);
    Ok(run)
}

fn python(workspace: &Workspace) -> Result<Command> {
    let folder = workspace.root().join("tests/hosts/python");
    let python =
        setup::python_packages(workspace, &workspace.python(), &folder.join("requirements.txt"))?;
    let mut run = workspace.command(&python.to_string_lossy());
    run.arg("tests/hosts/python/host.py").arg(workspace.component());
    Ok(run)
}

fn jco(workspace: &Workspace) -> Result<Command> {
    let folder = workspace.root().join("tests/hosts/jco");
    setup::node_packages(workspace, &folder)?;
    command::run(
        workspace.command("node").arg("tests/hosts/jco/transpile.js").arg(workspace.component()),
    )?;
    let mut run = workspace.command("node");
    run.arg("tests/hosts/jco/host.js");
    Ok(run)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_transcript_ends_with_its_block_or_the_next_command() {
        let page = "text\n```\n$ one a.py\n1\n  2\n$ two b.py\n3\n```\n4\n";
        let table = [
            ("the next command", "a.py", Some("1\n  2\n")),
            ("the block", "b.py", Some("3\n")),
            ("not on the page", "c.py", None),
        ];
        for (desc, name, expected) in table {
            assert_eq!(transcript(page, name).as_deref(), expected, "{desc}");
        }
    }
}
