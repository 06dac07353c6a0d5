//! Tests the command line.

use clap::CommandFactory;
use clap::error::ErrorKind;

use super::*;

fn parse_words(words: &[&str]) -> Result<Task, clap::Error> {
    parse(words.iter().map(OsString::from))
}

#[test]
fn definition_is_consistent() {
    Command::command().debug_assert();
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
        (
            "serve passes short flags on",
            &["serve", "-h", "--", "-h"],
            Task::Serve { args: vec!["-h".into(), "--".into(), "-h".into()] },
        ),
        ("simulate", &["simulate"], Task::Simulate(Simulation::Histories(10_000))),
        (
            "simulate without a fix",
            &["simulate", "--without", "all", "--histories", "7"],
            Task::Simulate(Simulation::Without { fix: "all".into(), histories: 7 }),
        ),
        ("simulate with the matrix", &["simulate", "--matrix"], Task::Simulate(Simulation::Matrix)),
        ("fmt", &["fmt"], Task::Fmt),
        ("crash", &["crash"], Task::Crash { kills: None }),
        ("nonces", &["nonces"], Task::Nonces { values: 1 << 32 }),
        ("fewer nonces", &["nonces", "--values", "9"], Task::Nonces { values: 9 }),
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
        (
            "mutants passes a first `--` on",
            &["mutants", "--", "--lib"],
            Task::Mutants { args: vec!["--".into(), "--lib".into()] },
        ),
        ("pictures", &["pictures"], Task::Pictures),
        ("bench", &["bench", "--quick"], Task::Bench { args: vec!["--quick".into()] }),
    ];
    for (desc, words, expected) in table {
        match parse_words(words) {
            Ok(task) => assert_eq!(task, *expected, "{desc}"),
            Err(fault) => panic!("{desc}: {fault}"),
        }
    }
}

#[test]
fn invalid_command_lines_are_rejected() {
    let table: &[(&str, &[&str], ErrorKind, &str)] = &[
        ("nothing", &[], ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand, "setup"),
        ("unknown command", &["biuld"], ErrorKind::InvalidSubcommand, "biuld"),
        ("unknown flag", &["build", "--all"], ErrorKind::UnknownArgument, "--all"),
        (
            "two products",
            &["build", "--npm-only", "--component-only"],
            ErrorKind::ArgumentConflict,
            "--component-only",
        ),
        ("too many arguments", &["fmt", "core"], ErrorKind::UnknownArgument, "core"),
        (
            "a flag without its value",
            &["simulate", "--histories"],
            ErrorKind::InvalidValue,
            "--histories",
        ),
        ("not a number", &["simulate", "--histories", "many"], ErrorKind::ValueValidation, "many"),
        (
            "the matrix with a number of histories",
            &["simulate", "--matrix", "--histories", "7"],
            ErrorKind::ArgumentConflict,
            "--matrix",
        ),
        ("kills without a number", &["crash", "--kills"], ErrorKind::InvalidValue, "--kills"),
        ("unknown target", &["fuzz", "jsno"], ErrorKind::InvalidValue, "jsno"),
        ("two targets", &["fuzz", "json", "config"], ErrorKind::UnknownArgument, "config"),
        ("zero minutes", &["fuzz", "--minutes", "0"], ErrorKind::ValueValidation, "0"),
        ("an argument to miri", &["miri", "core"], ErrorKind::UnknownArgument, "core"),
        ("zero kills", &["crash", "--kills", "0"], ErrorKind::ValueValidation, "0"),
        ("unknown part", &["test", "fmt", "nativ"], ErrorKind::InvalidValue, "nativ"),
    ];
    for (desc, words, kind, named) in table {
        match parse_words(words) {
            Ok(task) => panic!("{desc}: {task:?}"),
            Err(fault) => {
                assert_eq!(fault.kind(), *kind, "{desc}");
                assert_eq!(fault.exit_code(), 2, "{desc}");
                assert!(fault.to_string().contains(named), "{desc}: {fault}");
            }
        }
    }
}

#[test]
fn help_is_requested_by_command_or_flag() {
    let table: &[(&str, &[&str], &str)] = &[
        ("help", &["help"], "Parts of `test`"),
        ("help as a flag", &["--help"], "Parts of `test`"),
        ("help as a short flag", &["-h"], "Parts of `test`"),
        ("help after a command", &["test", "--help"], "native"),
        ("help of a command", &["help", "build"], "--npm-only"),
        ("help before arguments that are passed on", &["mutants", "--help"], "cargo-mutants"),
    ];
    for (desc, words, named) in table {
        match parse_words(words) {
            Ok(task) => panic!("{desc}: {task:?}"),
            Err(fault) => {
                assert_eq!(fault.exit_code(), 0, "{desc}");
                assert!(fault.to_string().contains(named), "{desc}: {fault}");
            }
        }
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
fn help_names_every_part() {
    for help in [&["help"][..], &["help", "test"]] {
        let help = parse_words(help).expect_err("help").to_string();
        for part in parts::PARTS {
            let is_listed = |line: &str| {
                let line = line.trim_start().trim_start_matches("- ");
                line.starts_with(part.name) && line.ends_with(part.about)
            };
            assert!(help.lines().any(is_listed), "{}: {help}", part.name);
        }
    }
}
