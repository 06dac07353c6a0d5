//! `cargo xtask test etcd`: what a real etcd and its etcdctl print of stored values, in several versions.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use crate::command;
use crate::report::Counts;
use crate::setup::{self, Missing};
use crate::workspace::Workspace;

/// The module files in `tests/etcd`. Each pins a version of etcd and etcdctl.
const MODULES: [&str; 3] = ["etcd-3.5.mod", "go.mod", "etcd-3.7.mod"];

/// The programs, and the packages of which they are built.
const PROGRAMS: [(&str, &str); 2] = [("etcd", SERVER), ("etcdctl", "go.etcd.io/etcd/etcdctl/v3")];
const SERVER: &str = "go.etcd.io/etcd/server/v3";

/// Builds etcd in the pinned versions, and runs the tests with them and with Debian's, if it is installed. If no version can be built, Debian's is
/// installed. Returns the figures of the tests, and which versions are missing.
///
/// # Errors
/// Returns [`Missing`] if there is no etcd, or an error if a build or a test fails.
pub(crate) fn run(workspace: &Workspace, counts: &mut Counts) -> Result<String> {
    let source = workspace.root().join("tests/etcd");
    let mut directories = Vec::new();
    let mut missing = Vec::new();
    for modules in MODULES {
        match build(workspace, &source, modules) {
            Ok(directory) => directories.push(directory),
            Err(fault) => missing.push(fault.downcast::<Missing>()?),
        }
    }
    match setup::debian_etcd(workspace, directories.is_empty()) {
        Ok(directory) => directories.extend(directory),
        Err(fault) => {
            missing.push(fault);
            bail!(Missing::join(&missing.iter().collect::<Vec<_>>()));
        }
    }
    let mut tests = workspace.cargo();
    tests
        .args(["test", "--release", "-p", "dekker-forms", "--test", "etcd"])
        .env("DEKKER_ETCD", std::env::join_paths(&directories)?)
        .env("DEKKER_BIN", workspace.binary())
        .args(["--", "--nocapture"]);
    let mut figures = Vec::new();
    command::run_tests_seeing(&mut tests, counts, |line| figures.extend(figure(line)))?;
    figures.extend(missing.iter().map(|missing| format!("NOT run: {missing}")));
    Ok(figures.join("; "))
}

/// Builds the programs that a module file pins, unless they are there. Returns their directory.
fn build(workspace: &Workspace, source: &Path, modules: &str) -> Result<PathBuf> {
    let path = source.join(modules);
    let text =
        fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
    let version = version(&text).with_context(|| format!("{modules} requires no {SERVER}"))?;
    let directory = workspace.etcd().join(version);
    if PROGRAMS.iter().all(|(name, _)| directory.join(name).exists()) {
        return Ok(directory);
    }
    setup::go_packages(workspace, source, &["-modfile", modules, "tool"])?;
    // A directory with the final name is complete.
    let new = workspace.etcd().join(format!("{version}.new"));
    for (name, package) in PROGRAMS {
        let mut go = workspace.command("go");
        go.current_dir(source)
            .env("CGO_ENABLED", "0")
            .env("GOTOOLCHAIN", "local")
            .args(["build", "-modfile", modules, "-trimpath", "-ldflags", "-s -w", "-o"])
            .arg(new.join(name))
            .arg(package);
        command::run(&mut go)?;
    }
    if directory.exists() {
        fs::remove_dir_all(&directory)
            .with_context(|| format!("cannot remove {}", directory.display()))?;
    }
    fs::rename(&new, &directory).with_context(|| format!("cannot rename {}", new.display()))?;
    Ok(directory)
}

/// Returns the version of etcd that a module file requires.
fn version(modules: &str) -> Option<&str> {
    modules.lines().find_map(|line| {
        let mut words = line.trim_start_matches("require").split_whitespace();
        (words.next() == Some(SERVER)).then(|| words.next())?
    })
}

/// Returns what follows `ETCD ` in a line. The test harness prints its own text before it on the same line.
fn figure(line: &str) -> Option<String> {
    let (_, figure) = line.split_once("ETCD ")?;
    Some(figure.trim_end().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_version_is_read_from_the_module_file() {
        let table = [
            ("alone", "require go.etcd.io/etcd/server/v3 v3.6.16\n", Some("v3.6.16")),
            (
                "in a block",
                "require (\n\tgo.etcd.io/etcd/server/v3 v3.5.35 // indirect\n)\n",
                Some("v3.5.35"),
            ),
            ("only as a tool", "tool (\n\tgo.etcd.io/etcd/server/v3\n)\n", None),
        ];
        for (desc, text, expected) in table {
            assert_eq!(version(text), expected, "{desc}");
        }
    }

    #[test]
    fn every_module_file_pins_both_programs_in_one_version() {
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/etcd");
        for modules in MODULES {
            let text = fs::read_to_string(source.join(modules)).expect("a module file");
            let version = version(&text).expect("a version");
            for (_, package) in PROGRAMS {
                assert!(text.contains(&format!("{package} {version}")), "{modules}: {package}");
            }
        }
    }

    #[test]
    fn figures_are_parsed_from_the_output_of_tests() {
        let line = "test x ... ETCD 3.6.16: 150 outputs, 9 values read back\n";
        assert_eq!(figure(line).as_deref(), Some("3.6.16: 150 outputs, 9 values read back"));
        assert_eq!(figure("test etcd ... ok\n"), None);
    }
}
