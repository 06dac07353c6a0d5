//! `cargo xtask test hosts`: the programs in `tests/hosts`, each a host of the component, and what the documentation says that they print.

use std::fs;
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::command;
use crate::report::Counts;
use crate::setup;
use crate::workspace::Workspace;

/// Where the programs are explained, with what each printed when it ran; and where some are shown once more.
const PAGES: [&str; 2] = ["docs/plugin-hosts.md", "README.md"];

/// One program.
struct Host {
    /// In `PAGES`, the command that runs it contains this, and no other command does.
    name: &'static str,
    /// Makes it ready and gives the command that runs it.
    prepare: fn(&Workspace) -> Result<Command>,
}

const HOSTS: [Host; 4] = [
    Host {
        name: "host-library",
        prepare: |workspace| example(workspace, "host-library"),
    },
    Host {
        name: "host-wasmtime",
        prepare: |workspace| {
            let mut run = example(workspace, "host-wasmtime")?;
            run.arg("--").arg(workspace.component());
            Ok(run)
        },
    },
    Host {
        name: "tests/hosts/python/host.py",
        prepare: python,
    },
    Host {
        name: "tests/hosts/jco/host.js",
        prepare: jco,
    },
];

/// Runs them all.
///
/// # Errors
/// A result for each program, in their order: [`setup::Missing`] when it cannot be made ready; it fails; or it prints something else than the
/// page says.
pub fn run(workspace: &Workspace, counts: &mut Counts) -> Result<[Result<()>; HOSTS.len()]> {
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
            // Counted as the part is: skipped, or in CI failed.
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
    let shown = pages
        .iter()
        .filter_map(|(page, text)| Some((page, transcript(text, name)?)));
    let mut times = 0;
    for (page, shown) in shown {
        times += 1;
        if shown != printed {
            bail!("{page} shows something else than it printed:\n{shown}");
        }
    }
    if times == 0 {
        bail!("no page shows a run of it");
    }
    Ok(())
}

/// What stands in the page after `$ … name …`, to the end of the block.
fn transcript(page: &str, name: &str) -> Option<String> {
    let mut lines = page.lines();
    lines.find(|line| line.starts_with("$ ") && line.contains(name))?;
    let shown = lines.take_while(|line| !line.starts_with("```") && !line.starts_with("$ "));
    Some(shown.map(|line| format!("{line}\n")).collect())
}

/// With the features that the tests' packages have in each part, so that nothing is compiled a second time.
fn example(workspace: &Workspace, name: &str) -> Result<Command> {
    let words = ["--release", "-p", "dekker-tests", "--example", name];
    command::run(workspace.cargo().arg("build").args(words))?;
    let mut run = workspace.cargo();
    run.args(["run", "--quiet"]).args(words);
    Ok(run)
}

fn python(workspace: &Workspace) -> Result<Command> {
    let folder = workspace.root().join("tests/hosts/python");
    let python = setup::python_packages(
        workspace,
        &workspace.python(),
        &folder.join("requirements.txt"),
    )?;
    let mut run = workspace.command(&python.to_string_lossy());
    run.arg("tests/hosts/python/host.py")
        .arg(workspace.component());
    Ok(run)
}

fn jco(workspace: &Workspace) -> Result<Command> {
    let folder = workspace.root().join("tests/hosts/jco");
    setup::node_packages(workspace, &folder)?;
    command::run(
        workspace
            .command("node")
            .arg("tests/hosts/jco/transpile.js")
            .arg(workspace.component()),
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
            ("none", "c.py", None),
        ];
        for (desc, name, expected) in table {
            assert_eq!(transcript(page, name).as_deref(), expected, "{desc}");
        }
    }
}
