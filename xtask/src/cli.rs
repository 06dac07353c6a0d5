//! Parses the command line.

use std::ffi::OsString;
use std::fmt::{self, Write as _};
use std::num::NonZeroU32;

use crate::fuzz::{self, Fuzzing};
use crate::parts::{self, Part};
use crate::simulate::{HISTORIES, Simulation};

/// A task that the command line asks for.
#[derive(Debug, PartialEq)]
pub enum Task {
    /// Print the usage.
    Help,
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

/// Why a command line is invalid.
#[derive(Debug, PartialEq)]
pub enum UsageError {
    /// There is no command.
    NoCommand,
    /// The first word is not a command.
    UnknownCommand(OsString),
    /// The command does not take this argument.
    UnexpectedArgument {
        /// The command.
        command: &'static str,
        /// The argument.
        argument: OsString,
    },
    /// `test` has no part of this name.
    UnknownPart(OsString),
}

impl fmt::Display for UsageError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoCommand => write!(f, "no command given"),
            Self::UnknownCommand(word) => write!(f, "unknown command `{}`", word.display()),
            Self::UnexpectedArgument { command, argument } => {
                write!(f, "`{command}` does not take `{}`", argument.display())
            }
            Self::UnknownPart(word) => write!(f, "`test` has no part `{}`", word.display()),
        }
    }
}

impl std::error::Error for UsageError {}

/// Parses the words after `cargo xtask`.
///
/// # Errors
/// Returns a [`UsageError`] if a word is invalid or missing.
pub fn parse(words: impl IntoIterator<Item = OsString>) -> Result<Task, UsageError> {
    let mut words = words.into_iter();
    let command = words.next().ok_or(UsageError::NoCommand)?;
    let args: Vec<OsString> = words.collect();
    // `serve --help` is for `dekker serve`.
    if command != "serve" && args.iter().any(|arg| arg == "--help" || arg == "-h") {
        return Ok(Task::Help);
    }
    match command.to_str() {
        Some("help" | "--help" | "-h") => Ok(Task::Help),
        Some("setup") => without_arguments("setup", args, Task::Setup),
        Some("build") => build(args),
        Some("serve") => Ok(Task::Serve { args }),
        Some("test") => test(&args),
        Some("simulate") => simulate(args),
        Some("fmt") => without_arguments("fmt", args, Task::Fmt),
        Some("lint") => without_arguments("lint", args, Task::Test { parts: vec![&parts::CLIPPY] }),
        Some("interop") => {
            without_arguments("interop", args, Task::Test { parts: vec![&parts::INTEROP] })
        }
        Some("doc") => without_arguments("doc", args, Task::Test { parts: vec![&parts::DOC] }),
        Some("pictures") => without_arguments("pictures", args, Task::Pictures),
        Some("bench") => Ok(Task::Bench { args }),
        Some("crash") => crash(args),
        Some("fuzz") => fuzz(args),
        Some("miri") => without_arguments("miri", args, Task::Miri),
        Some("mutants") => Ok(Task::Mutants { args }),
        Some(_) | None => Err(UsageError::UnknownCommand(command)),
    }
}

/// Returns the text that `help` prints.
pub fn usage() -> String {
    let mut text = String::from(
        "\
usage: cargo xtask <command>

  setup                     install what building and testing need: Rust targets and components, a C compiler, npm packages
  build                     build the component, the `dekker` binary that embeds it, the npm package and the Inspector
  build --component-only    build only the component
  build --npm-only          build only the npm package
  build --inspector-only    build only the npm package, and the Inspector, which contains it
  serve [ARGS...]           build, then run `dekker serve ARGS...` with automatic reload enabled
  test [PARTS...]           run all parts of the test suite, or only these
  simulate [--histories N]  play N random histories of the host in simulated time (default 10000)
  simulate --without FIX [--histories N]
                            check that the histories fail in a copy of the tree without this fix of tests/without (`all`: each in turn)
  simulate --matrix         play every fault in every phase, and update docs/fault-matrix.md
  fmt                       format Rust, and JavaScript, JSON and CSS with Biome
  lint                      the same as `test clippy`
  doc                       the same as `test doc`
  pictures                  build the Inspector, and take its screenshots for docs/
  interop                   the same as `test interop`
  bench [--quick] [NAMES...]
                            compare the speed with kube-apiserver's and other ciphers'; NAMES: transform, cached-deks, readers, http, startup, sizes
  bench --write-docs        run all benchmarks in full, and update docs/PERFORMANCE.md
  crash [--kills N]         build, then run the part `crash` with N kills at random moments (default 200)
  fuzz [TARGET] [--minutes N] [--keep]
                            run this target of tests/fuzz, or each in turn, for N minutes (default 10); `--keep` updates its corpus
  miri                      run tests of core, the ciphers and the unsafe code under Miri
  mutants [ARGS...]         change core's crypto, KMS and engine in small ways, and check that the tests fail; ARGS are passed to cargo-mutants
  help                      print this help

Each command installs what it needs. Parts of `test`:

",
    );
    for part in parts::PARTS {
        // Writing to a String cannot fail.
        let _ = writeln!(text, "  {:<24}  {}", part.name, part.about);
    }
    text.push_str(
        "
A part whose prerequisites are missing is skipped, and the reason is printed; with CI=true in the environment it fails.
Exit codes: 0 success, 1 failure, 2 invalid command line.
",
    );
    text
}

fn without_arguments(
    command: &'static str,
    args: Vec<OsString>,
    task: Task,
) -> Result<Task, UsageError> {
    match args.into_iter().next() {
        None => Ok(task),
        Some(argument) => Err(UsageError::UnexpectedArgument { command, argument }),
    }
}

fn build(args: Vec<OsString>) -> Result<Task, UsageError> {
    let mut only = None;
    for argument in args {
        let product = match argument.to_str() {
            Some("--component-only") => Some(Product::Component),
            Some("--npm-only") => Some(Product::Npm),
            Some("--inspector-only") => Some(Product::Inspector),
            Some(_) | None => None,
        };
        if product.is_none() || only.is_some_and(|only| product != Some(only)) {
            return Err(UsageError::UnexpectedArgument { command: "build", argument });
        }
        only = product;
    }
    Ok(Task::Build { only })
}

fn simulate(args: Vec<OsString>) -> Result<Task, UsageError> {
    let unexpected =
        |argument: OsString| UsageError::UnexpectedArgument { command: "simulate", argument };
    let (mut fix, mut histories, mut matrix) = (None, None, false);
    let mut args = args.into_iter();
    while let Some(flag) = args.next() {
        let value = match flag.to_str() {
            Some("--matrix") => {
                matrix = true;
                continue;
            }
            Some("--histories" | "--without") => args.next(),
            Some(_) | None => None,
        };
        let Some(value) = value.as_ref().and_then(|value| value.to_str()) else {
            return Err(unexpected(flag));
        };
        if flag == "--without" {
            fix = Some(value.to_owned());
        } else {
            let Ok(number) = value.parse() else {
                return Err(unexpected(value.into()));
            };
            histories = Some(number);
        }
    }
    if matrix && (fix.is_some() || histories.is_some()) {
        return Err(unexpected("--matrix".into()));
    }
    let histories = histories.unwrap_or(HISTORIES);
    Ok(Task::Simulate(match fix {
        _ if matrix => Simulation::Matrix,
        Some(fix) => Simulation::Without { fix, histories },
        None => Simulation::Histories(histories),
    }))
}

fn crash(args: Vec<OsString>) -> Result<Task, UsageError> {
    let mut args = args.into_iter();
    let Some(flag) = args.next() else {
        return Ok(Task::Crash { kills: None });
    };
    let unexpected = |argument| UsageError::UnexpectedArgument { command: "crash", argument };
    if flag != "--kills" {
        return Err(unexpected(flag));
    }
    let count = args.next().ok_or_else(|| unexpected(flag))?;
    let Some(kills) = count.to_str().and_then(|count| count.parse().ok()) else {
        return Err(unexpected(count));
    };
    match args.next() {
        None => Ok(Task::Crash { kills: Some(kills) }),
        Some(argument) => Err(unexpected(argument)),
    }
}

fn fuzz(args: Vec<OsString>) -> Result<Task, UsageError> {
    let unexpected =
        |argument: OsString| UsageError::UnexpectedArgument { command: "fuzz", argument };
    let mut fuzzing = Fuzzing { target: None, minutes: fuzz::MINUTES, keep: false };
    let mut args = args.into_iter();
    while let Some(argument) = args.next() {
        if argument == "--keep" {
            fuzzing.keep = true;
        } else if argument == "--minutes" {
            let minutes = args.next().ok_or_else(|| unexpected(argument))?;
            match minutes.to_str().and_then(|minutes| minutes.parse().ok()) {
                Some(number) => fuzzing.minutes = number,
                None => return Err(unexpected(minutes)),
            }
        } else {
            let target = fuzz::TARGETS.into_iter().find(|name| argument == *name);
            if target.is_none() || fuzzing.target.is_some() {
                return Err(unexpected(argument));
            }
            fuzzing.target = target;
        }
    }
    Ok(Task::Fuzz(fuzzing))
}

/// Returns a test task. Each part runs once, in the order of [`parts::PARTS`], no matter in which order or how often `names` lists it.
fn test(names: &[OsString]) -> Result<Task, UsageError> {
    if let Some(unknown) =
        names.iter().find(|name| !parts::PARTS.iter().any(|part| **name == part.name))
    {
        return Err(UsageError::UnknownPart(unknown.clone()));
    }
    let parts = parts::PARTS
        .iter()
        .copied()
        .filter(|part| names.is_empty() || names.iter().any(|name| name == part.name))
        .collect();
    Ok(Task::Test { parts })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse_words(words: &[&str]) -> Result<Task, UsageError> {
        parse(words.iter().map(OsString::from))
    }

    fn part_names(words: &[&str]) -> Vec<&'static str> {
        match parse_words(words) {
            Ok(Task::Test { parts }) => parts.iter().map(|part| part.name).collect(),
            other => panic!("not a test: {other:?}"),
        }
    }

    #[test]
    fn commands_are_parsed() {
        let table: &[(&str, &[&str], Task)] = &[
            ("help", &["help"], Task::Help),
            ("help as a flag", &["--help"], Task::Help),
            ("help after a command", &["test", "--help"], Task::Help),
            ("setup", &["setup"], Task::Setup),
            ("build", &["build"], Task::Build { only: None }),
            (
                "build of the component",
                &["build", "--component-only"],
                Task::Build { only: Some(Product::Component) },
            ),
            (
                "build of the npm package",
                &["build", "--npm-only"],
                Task::Build { only: Some(Product::Npm) },
            ),
            (
                "build of the Inspector",
                &["build", "--inspector-only"],
                Task::Build { only: Some(Product::Inspector) },
            ),
            ("serve", &["serve"], Task::Serve { args: vec![] }),
            (
                "serve passes all arguments on",
                &["serve", "--help", "a b"],
                Task::Serve { args: vec!["--help".into(), "a b".into()] },
            ),
            ("simulate", &["simulate"], Task::Simulate(Simulation::Histories(10_000))),
            (
                "simulate without a fix",
                &["simulate", "--without", "all", "--histories", "7"],
                Task::Simulate(Simulation::Without { fix: "all".into(), histories: 7 }),
            ),
            (
                "simulate with the matrix",
                &["simulate", "--matrix"],
                Task::Simulate(Simulation::Matrix),
            ),
            ("fmt", &["fmt"], Task::Fmt),
            ("crash", &["crash"], Task::Crash { kills: None }),
            (
                "crash with a number of kills",
                &["crash", "--kills", "5000"],
                Task::Crash { kills: NonZeroU32::new(5000) },
            ),
            (
                "fuzz",
                &["fuzz"],
                Task::Fuzz(Fuzzing { target: None, minutes: fuzz::MINUTES, keep: false }),
            ),
            (
                "fuzz of one target",
                &["fuzz", "--minutes", "2", "json", "--keep"],
                Task::Fuzz(Fuzzing {
                    target: Some("json"),
                    minutes: NonZeroU32::MIN.saturating_add(1),
                    keep: true,
                }),
            ),
            ("miri", &["miri"], Task::Miri),
            (
                "mutants passes all arguments on",
                &["mutants", "--file", "core/src/map.rs"],
                Task::Mutants { args: vec!["--file".into(), "core/src/map.rs".into()] },
            ),
            ("pictures", &["pictures"], Task::Pictures),
            ("bench", &["bench", "--quick"], Task::Bench { args: vec!["--quick".into()] }),
        ];
        for (desc, words, expected) in table {
            assert_eq!(parse_words(words).as_ref(), Ok(expected), "{desc}");
        }
    }

    #[test]
    fn invalid_command_lines_are_rejected() {
        let unexpected = |command, argument: &str| UsageError::UnexpectedArgument {
            command,
            argument: argument.into(),
        };
        let table: &[(&str, &[&str], UsageError)] = &[
            ("nothing", &[], UsageError::NoCommand),
            ("unknown command", &["biuld"], UsageError::UnknownCommand("biuld".into())),
            ("unknown flag", &["build", "--all"], unexpected("build", "--all")),
            (
                "two products",
                &["build", "--npm-only", "--component-only"],
                unexpected("build", "--component-only"),
            ),
            ("too many arguments", &["fmt", "core"], unexpected("fmt", "core")),
            (
                "a flag without its value",
                &["simulate", "--histories"],
                unexpected("simulate", "--histories"),
            ),
            ("not a number", &["simulate", "--histories", "many"], unexpected("simulate", "many")),
            ("kills without a number", &["crash", "--kills"], unexpected("crash", "--kills")),
            ("unknown target", &["fuzz", "jsno"], unexpected("fuzz", "jsno")),
            ("two targets", &["fuzz", "json", "config"], unexpected("fuzz", "config")),
            ("zero minutes", &["fuzz", "--minutes", "0"], unexpected("fuzz", "0")),
            ("an argument to miri", &["miri", "core"], unexpected("miri", "core")),
            ("zero kills", &["crash", "--kills", "0"], unexpected("crash", "0")),
            ("unknown part", &["test", "fmt", "nativ"], UsageError::UnknownPart("nativ".into())),
        ];
        for (desc, words, expected) in table {
            assert_eq!(parse_words(words).as_ref(), Err(expected), "{desc}");
        }
    }

    #[test]
    fn parts_run_once_in_the_order_of_the_table() {
        let all: Vec<&str> = parts::PARTS.iter().map(|part| part.name).collect();
        assert_eq!(part_names(&["test"]), all);
        assert_eq!(part_names(&["test", "native", "fmt", "native"]), ["fmt", "native"]);
        assert_eq!(part_names(&["lint"]), ["clippy"]);
        assert_eq!(part_names(&["doc"]), ["doc"]);
        assert_eq!(part_names(&["interop"]), ["interop"]);
    }

    #[test]
    fn usage_names_every_part() {
        let usage = usage();
        for part in parts::PARTS {
            assert!(usage.contains(&format!("\n  {} ", part.name)), "{}", part.name);
        }
    }
}
