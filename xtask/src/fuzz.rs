//! `cargo xtask fuzz`: runs the targets of `tests/fuzz` under libFuzzer, which needs a nightly toolchain and cargo-fuzz.

use std::fs;
use std::num::NonZeroU32;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::command;
use crate::setup;
use crate::workspace::Workspace;

/// The fuzz targets, as `tests/fuzz/Cargo.toml` names them.
pub(crate) const TARGETS: [&str; 11] = [
    "config",
    "engine",
    "envelope",
    "forms",
    "http_body",
    "http_query",
    "inspect",
    "json",
    "keyring",
    "kms_v1",
    "plugin_answer",
];

/// How long each target is fuzzed by default: ten minutes.
pub(crate) const MINUTES: NonZeroU32 = NonZeroU32::new(10).unwrap();

/// 1 GiB. The limit of a target's resident memory, including its corpus and the sanitizer's shadow memory.
const MEMORY: &str = "-rss_limit_mb=1024";
/// 64 MiB. The limit of a single allocation.
const ALLOCATION: &str = "-malloc_limit_mb=64";
/// 10 seconds. An input that takes longer is a finding.
const TIMEOUT: &str = "-timeout=10";
/// 4 KiB. Longer inputs find no more, and make the corpus large.
const LONGEST: &str = "-max_len=4096";

/// Which targets to fuzz, and how.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Fuzzing {
    /// One of [`TARGETS`], or `None` for all of them.
    pub target: Option<&'static str>,
    /// How long each target is fuzzed.
    pub minutes: NonZeroU32,
    /// Whether to renew the corpus in the tree with the inputs of this run, minimized.
    pub keep: bool,
}

/// Runs the targets one after the other. All of them run, even if one finds something.
///
/// # Errors
/// Returns an error if the nightly toolchain or cargo-fuzz is not available, or if a target found something; the input is then in
/// `target/fuzz/found`.
pub(crate) fn run(workspace: &Workspace, fuzzing: &Fuzzing) -> Result<()> {
    setup::nightly(workspace, &[])?;
    let tool = setup::tool(workspace, "cargo-fuzz", "0.13.2")?;
    let fuzzer = Fuzzer { workspace, tool };
    let mut found = Vec::new();
    let mut figures = Vec::new();
    for target in TARGETS {
        if fuzzing.target.is_some_and(|only| only != target) {
            continue;
        }
        eprintln!("\n== {target}");
        let (figure, outcome) = fuzzer.fuzz(target, fuzzing.minutes)?;
        if let Err(fault) = outcome {
            eprintln!("FOUND {target}: {fault:#}");
            found.push(target);
        } else if fuzzing.keep {
            fuzzer.keep(target)?;
        }
        figures.push(format!("{target:<14}  {figure}"));
    }
    println!("\n{}", figures.join("\n"));
    if !found.is_empty() {
        bail!(
            "failures in {}; the inputs are in {}",
            found.join(", "),
            fuzzer.folder("found").display()
        );
    }
    Ok(())
}

struct Fuzzer<'w> {
    workspace: &'w Workspace,
    tool: PathBuf,
}

impl Fuzzer<'_> {
    /// A directory in which fuzzing reads or writes files.
    fn folder(&self, name: &str) -> PathBuf {
        self.workspace.fuzz().join(name)
    }

    fn corpus(&self, target: &str) -> PathBuf {
        let corpora = self.workspace.root().join("tests/fuzz/corpus");
        corpora.join(target)
    }

    /// Returns the command `cargo +nightly fuzz run`, which builds in the target directory.
    fn command(&self, target: &str) -> Command {
        let mut command = self.workspace.command("cargo");
        // cargo sets these for xtask; they would override `+nightly`.
        command.env_remove("RUSTUP_TOOLCHAIN").env_remove("RUSTC");
        let path = std::env::var("PATH").unwrap_or_default();
        let tools = self.tool.parent().unwrap_or(Path::new("")).display();
        command
            .env("PATH", format!("{tools}:{path}"))
            .env("DEKKER_FUZZ_SEEDS", self.folder("seeds").join(target))
            .args(["+nightly", "fuzz", "run"])
            .arg("--fuzz-dir")
            .arg(self.workspace.root().join("tests/fuzz"))
            .arg("--target-dir")
            .arg(self.folder("build"))
            .arg(target);
        command
    }

    /// Fuzzes one target. Returns the figures of the run, and its result.
    fn fuzz(&self, target: &str, minutes: NonZeroU32) -> Result<(String, Result<()>)> {
        let work = self.folder("corpus").join(target);
        let found = self.folder("found").join(target);
        let seeds = self.folder("seeds").join(target);
        for folder in [&work, &found, &seeds] {
            make(folder)?;
        }
        let stats = self.folder("corpus").join(format!("{target}.log"));
        let mut command = self.command(target);
        command
            .args([&work, &self.corpus(target), &seeds])
            .arg("--")
            .arg(format!("-max_total_time={}", minutes.get() * 60))
            .arg(format!("-artifact_prefix={}/", found.display()))
            .args([MEMORY, ALLOCATION, TIMEOUT, LONGEST])
            .args(["-print_final_stats=1", "-verbosity=1"]);
        let log = fs::File::create(&stats)
            .with_context(|| format!("cannot write {}", stats.display()))?;
        command.stderr(log);
        let outcome = command::run(&mut command);
        let said = fs::read_to_string(&stats).unwrap_or_default();
        if outcome.is_err() {
            eprintln!("{said}");
        }
        Ok((figures(&said), outcome))
    }

    /// Renews the target's corpus in the tree with the smallest set of inputs that keeps the coverage of all. Files named `bug-…` are kept.
    fn keep(&self, target: &str) -> Result<()> {
        let least = self.folder("least").join(target);
        if least.exists() {
            fs::remove_dir_all(&least)
                .with_context(|| format!("cannot remove {}", least.display()))?;
        }
        make(&least)?;
        let kept = self.corpus(target);
        let mut merge = self.command(target);
        merge
            .args([&least, &kept, &self.folder("corpus").join(target)])
            // Count only which code is reached, not how often: this keeps a tenth of the files.
            .args(["--", "-set_cover_merge=1", "-use_counters=0", LONGEST])
            .stderr(std::process::Stdio::null());
        command::run(&mut merge)?;
        make(&kept)?;
        for entry in fs::read_dir(&kept)? {
            let path = entry?.path();
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            if !name.starts_with("bug-") {
                fs::remove_file(&path)?;
            }
        }
        for entry in fs::read_dir(&least)? {
            let from = entry?.path();
            let name = from.file_name().unwrap_or_default().to_string_lossy();
            // The name is a hash of the content; the first half is enough to distinguish the files.
            let name = name.get(..16).unwrap_or(&name);
            fs::copy(&from, kept.join(name))?;
        }
        Ok(())
    }
}

fn make(folder: &Path) -> Result<()> {
    fs::create_dir_all(folder).with_context(|| format!("cannot create {}", folder.display()))
}

/// Summarizes the statistics that libFuzzer prints at the end of a run.
fn figures(said: &str) -> String {
    let stat = |name: &str| {
        let line = said.lines().rev().find(|line| line.starts_with(&format!("stat::{name}:")));
        line.and_then(|line| line.split_whitespace().last()).unwrap_or("?").to_owned()
    };
    let coverage =
        said.lines().rev().find_map(|line| line.split_once(" cov: ")?.1.split_whitespace().next());
    format!(
        "{} executions, {} a second, coverage {}, peak {} MB",
        stat("number_of_executed_units"),
        stat("average_exec_per_sec"),
        coverage.unwrap_or("?"),
        stat("peak_rss_mb"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_parsed_from_the_output_of_libfuzzer() {
        let said = "\
#2\tINITED cov: 10 ft: 11 corp: 1/1b exec/s: 0 rss: 40Mb
#9\tDONE   cov: 12 ft: 13 corp: 2/2b lim: 4 exec/s: 9 rss: 41Mb
stat::number_of_executed_units: 1234
stat::average_exec_per_sec:     56
stat::new_units_added:          7
stat::peak_rss_mb:              41
";
        assert_eq!(figures(said), "1234 executions, 56 a second, coverage 12, peak 41 MB");
        assert_eq!(figures(""), "? executions, ? a second, coverage ?, peak ? MB");
    }

    #[test]
    fn targets_match_the_manifest() {
        let manifest = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/fuzz/Cargo.toml");
        let manifest = fs::read_to_string(manifest).expect("a manifest");
        let (_, bins) = manifest.split_once("[[bin]]").expect("targets");
        let mut names: Vec<&str> = bins
            .lines()
            .filter_map(|line| line.strip_prefix("name = \"")?.strip_suffix('"'))
            .collect();
        names.sort_unstable();
        assert_eq!(names, TARGETS);
    }
}
