//! Parses the command line.

use std::ffi::OsString;
use std::fmt::Write as _;
use std::num::NonZeroU32;

use clap::builder::{PossibleValue, PossibleValuesParser};
use clap::{Args, Parser};

use crate::fuzz::{self, Fuzzing};
use crate::parts::{self, Part};
use crate::simulate::{HISTORIES, Simulation};

/// A task that the command line asks for.
#[derive(Debug, PartialEq)]
pub(crate) enum Task {
    /// Install what building and testing need.
    Setup,
    /// Build everything that is shipped, or one product.
    Build {
        /// The product, or `None` for everything.
        only: Option<Product>,
    },
    /// Build, then replace this process with `dekker serve`.
    Serve {
        /// Passed to `dekker serve` unchanged.
        args: Vec<OsString>,
    },
    /// Run parts of the test suite.
    Test {
        /// The parts, in the order of [`parts::PARTS`]; never empty.
        parts: Vec<&'static Part>,
    },
    /// Run the host in simulated time.
    Simulate(Simulation),
    /// Run the fuzz targets, which pass arbitrary bytes to the parsers and the engine.
    Fuzz(Fuzzing),
    /// Run tests of core, the ciphers and the unsafe code under Miri.
    Miri,
    /// Change the code in small ways, and check that the tests fail.
    Mutants {
        /// Passed to cargo-mutants unchanged.
        args: Vec<OsString>,
    },
    /// Format all code.
    Fmt,
    /// Take the screenshots that docs/javascript.md shows.
    Pictures,
    /// Build, then run the crash tests.
    Crash {
        /// The number of kills at random moments, or `None` for as many as in CI.
        kills: Option<NonZeroU32>,
    },
    /// Encrypt many values in batches, and check that no nonce repeats.
    Nonces {
        /// The number of values.
        values: u64,
    },
    /// Build, then measure.
    Bench {
        /// Passed to `dekker-bench`: options and the names of benchmarks.
        args: Vec<OsString>,
    },
}

/// A product that can be built alone.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Product {
    /// The component.
    Component,
    /// The npm package.
    Npm,
    /// The Inspector, and the npm package, which it contains.
    Inspector,
}

/// `cargo xtask`, as clap parses it. The doc comments of the commands and their arguments are the texts of the help.
#[derive(Parser)]
#[command(
    bin_name = "cargo xtask",
    about = "Dekker's build tool",
    override_usage = "cargo xtask <COMMAND>",
    after_help = after_help(),
    args_override_self = true
)]
enum Command {
    /// Install what building and testing need: Rust targets and components, a C compiler, npm packages
    Setup,
    /// Build the component, the `dekker` binary that embeds it, the npm package and the Inspector (--component-only, --npm-only, --inspector-only)
    Build(Only),
    /// Build, then run `dekker serve ARGS...` with automatic reload enabled
    // `serve --help` is for `dekker serve`.
    #[command(disable_help_flag = true)]
    Serve {
        /// The arguments of `dekker serve`
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        args: Vec<OsString>,
    },
    /// Run all parts of the test suite, or only these (PARTS)
    Test {
        /// The parts to run, in the order of this list
        #[arg(value_parser = part_names())]
        parts: Vec<String>,
    },
    /// Play random histories of the host in simulated time (--histories N, --without FIX), or every fault in every phase (--matrix)
    Simulate {
        /// The number of histories
        #[arg(long, value_name = "N", default_value_t = HISTORIES)]
        histories: u64,
        /// Check that the histories fail in a copy of the tree without this fix of tests/without (`all`: each in turn)
        #[arg(long, value_name = "FIX")]
        without: Option<String>,
        /// Play every fault in every phase, and update docs/fault-matrix.md
        #[arg(long, conflicts_with_all = ["histories", "without"])]
        matrix: bool,
    },
    /// Format Rust, and JavaScript, JSON and CSS with Biome
    Fmt,
    /// The same as `test clippy`
    Lint,
    /// The same as `test doc`
    Doc,
    /// Build the Inspector, and take its screenshots for docs/
    Pictures,
    /// The same as `test interop`
    Interop,
    /// Compare the speed with kube-apiserver's and other ciphers' (--quick, NAMES), or also update docs/PERFORMANCE.md (--write-docs)
    #[command(
        override_usage = "cargo xtask bench [--quick] [NAMES]...\n       cargo xtask bench --write-docs"
    )]
    Bench {
        /// `--quick` checks that everything runs; its figures are not meaningful. NAMES are of benchmarks: transform, cached-deks, readers,
        /// threads, heap, http, http-many, inspect, startup, sizes. `--write-docs` runs all benchmarks in full, and updates docs/PERFORMANCE.md
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        args: Vec<OsString>,
    },
    /// Build, then run the part `crash`, with N kills at random moments (--kills N)
    Crash {
        /// The number of kills, 200 by default
        #[arg(long, value_name = "N")]
        kills: Option<NonZeroU32>,
    },
    /// Encrypt N values in batches on two threads, and check that no nonce repeats (--values N)
    Nonces {
        /// The number of values; the default is more than 4 billion
        #[arg(long, value_name = "N", default_value_t = 1 << 32)]
        values: u64,
    },
    /// Run this target of tests/fuzz, or each in turn, for N minutes (TARGET, --minutes N, --keep)
    Fuzz {
        /// The only target to run
        #[arg(value_parser = PossibleValuesParser::new(fuzz::TARGETS))]
        target: Option<String>,
        /// How long each target runs, in minutes
        #[arg(long, value_name = "N", default_value_t = fuzz::MINUTES)]
        minutes: NonZeroU32,
        /// Update the corpus of each target that runs
        #[arg(long)]
        keep: bool,
    },
    /// Run tests of core, the ciphers and the unsafe code under Miri
    Miri,
    /// Change core's crypto, KMS and engine in small ways, and check that the tests fail (ARGS)
    Mutants {
        /// The arguments of cargo-mutants
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        args: Vec<OsString>,
    },
}

/// The options of `build`, of which at most one is given.
#[derive(Args)]
#[group(multiple = false)]
struct Only {
    /// Build only the component
    #[arg(long)]
    component_only: bool,
    /// Build only the npm package
    #[arg(long)]
    npm_only: bool,
    /// Build only the npm package, and the Inspector, which contains it
    #[arg(long)]
    inspector_only: bool,
}

impl From<Only> for Option<Product> {
    fn from(only: Only) -> Self {
        let Only { component_only, npm_only, inspector_only } = only;
        let chosen = [
            (component_only, Product::Component),
            (npm_only, Product::Npm),
            (inspector_only, Product::Inspector),
        ];
        chosen.into_iter().find_map(|(is_chosen, product)| is_chosen.then_some(product))
    }
}

impl From<Command> for Task {
    fn from(command: Command) -> Self {
        match command {
            Command::Setup => Self::Setup,
            Command::Build(only) => Self::Build { only: only.into() },
            Command::Serve { args } => Self::Serve { args },
            Command::Test { parts } => Self::Test { parts: in_order(&parts) },
            Command::Simulate { matrix: true, .. } => Self::Simulate(Simulation::Matrix),
            Command::Simulate { histories, without, matrix: false } => {
                Self::Simulate(match without {
                    Some(fix) => Simulation::Without { fix, histories },
                    None => Simulation::Histories(histories),
                })
            }
            Command::Fmt => Self::Fmt,
            Command::Lint => Self::Test { parts: vec![&parts::CLIPPY] },
            Command::Doc => Self::Test { parts: vec![&parts::DOC] },
            Command::Pictures => Self::Pictures,
            Command::Interop => Self::Test { parts: vec![&parts::INTEROP] },
            Command::Bench { args } => Self::Bench { args },
            Command::Crash { kills } => Self::Crash { kills },
            Command::Nonces { values } => Self::Nonces { values },
            Command::Fuzz { target, minutes, keep } => {
                let target = fuzz::TARGETS.into_iter().find(|name| target.as_deref() == Some(name));
                Self::Fuzz(Fuzzing { target, minutes, keep })
            }
            Command::Miri => Self::Miri,
            Command::Mutants { args } => Self::Mutants { args },
        }
    }
}

/// Parses the words after `cargo xtask`.
///
/// # Errors
/// Returns an error if a word is invalid or missing, and also if help is requested: the error then contains the help.
pub(crate) fn parse(words: impl IntoIterator<Item = OsString>) -> Result<Task, clap::Error> {
    let mut words: Vec<OsString> = words.into_iter().collect();
    // clap removes the first `--`. A command that passes its arguments on, unchanged, gets another one to be removed.
    if let [command, first, ..] = &*words
        && first == "--"
        && ["serve", "bench", "mutants"].iter().any(|passing| command == passing)
    {
        words.insert(1, "--".into());
    }
    let words = std::iter::once("cargo xtask".into()).chain(words);
    Command::try_parse_from(words).map(Task::from)
}

/// Returns the end of the help: what applies to all commands, and the parts of `test`.
fn after_help() -> String {
    let mut text = String::from(
        "\
`cargo xtask help COMMAND` describes the arguments of a command. Each command installs what it needs. Parts of `test`:

",
    );
    for part in parts::PARTS {
        // Writing to a String cannot fail.
        let _ = writeln!(text, "  {:<24}  {}", part.name, part.about);
    }
    text.push_str(
        "
A part whose prerequisites are missing is skipped, and the reason is printed; with CI=true in the environment it fails.
Exit codes: 0 success, 1 failure, 2 invalid command line.",
    );
    text
}

fn part_names() -> PossibleValuesParser {
    let names = parts::PARTS.iter().map(|part| PossibleValue::new(part.name).help(part.about));
    PossibleValuesParser::new(names)
}

/// Returns the named parts, or all parts if no name is given. Each part runs once, in the order of [`parts::PARTS`], no matter in which order or
/// how often `names` lists it.
fn in_order(names: &[String]) -> Vec<&'static Part> {
    let parts = parts::PARTS.iter().copied();
    parts.filter(|part| names.is_empty() || names.iter().any(|name| name == part.name)).collect()
}

#[cfg(test)]
mod tests;
