//! `dekker-bench`, the program that `cargo xtask bench` builds and runs. xtask passes the paths of what is measured in environment variables.

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::{env, fs};

use anyhow::{Context, Result};
use clap::Parser;
use clap::builder::PossibleValuesParser;
use dekker_bench::heap::{self, History};
use dekker_bench::load::Load;
use dekker_bench::report::Report;
use dekker_bench::rounds::{Plan, Subject};
use dekker_bench::subjects::{Batches, Boundary, Floor, Ours, Peer, RandomBytes, RingAlone};
use dekker_bench::{
    bars, cached, docs, inspect, many_server, plots, readers, server, sizes, threads, transform,
};

/// All benchmarks, in the order in which they run.
const NAMES: [&str; 10] = [
    sizes::NAME,
    server::STARTUP,
    transform::NAME,
    cached::NAME,
    readers::NAME,
    threads::NAME,
    heap::NAME,
    server::HTTP,
    many_server::NAME,
    inspect::NAME,
];

fn main() -> ExitCode {
    let asked = match Asked::try_parse() {
        Ok(asked) => asked,
        Err(fault) => {
            // If the message cannot be printed, the exit code still says whether this is an error.
            let _ = fault.print();
            return if fault.use_stderr() { ExitCode::FAILURE } else { ExitCode::SUCCESS };
        }
    };
    let done = match asked.heap {
        Some(history) => heap::answer(history),
        None => run(&asked),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(fault) => {
            eprintln!("error: {fault:#}");
            ExitCode::FAILURE
        }
    }
}

/// Compares Dekker's speed with kube-apiserver's and other ciphers'. `cargo xtask bench` builds what is measured, and runs this program.
#[derive(Parser)]
#[command(name = "dekker-bench", args_override_self = true)]
struct Asked {
    /// Only check that everything runs; the figures are not meaningful
    #[arg(long)]
    quick: bool,
    /// Renew PERFORMANCE.md and performance/ in this directory; needs a full run
    #[arg(long, value_name = "DIR", conflicts_with_all = ["quick", "names"])]
    write_docs: Option<PathBuf>,
    /// Write all figures to this file, as JSON
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// For the benchmark of heaps: measure values after this history, as asked on standard input
    #[arg(long, hide = true, value_parser = history)]
    heap: Option<History>,
    /// The benchmarks to run, or all of them
    #[arg(value_parser = PossibleValuesParser::new(NAMES))]
    names: Vec<String>,
}

fn history(word: &str) -> Result<History> {
    History::ALL.into_iter().find(|history| history.word() == word).context("an unknown history")
}

/// Returns the path of a file or program that xtask passes in an environment variable. Returns `None` if the variable is not set.
fn named(variable: &str) -> Option<PathBuf> {
    env::var_os(variable).map(PathBuf::from)
}

/// Returns the path of `dekker`.
fn program(dekker: &Option<PathBuf>) -> Result<&Path> {
    dekker.as_deref().context("DEKKER_BIN is not set; run `cargo xtask bench`")
}

fn run(asked: &Asked) -> Result<()> {
    let plan = if asked.quick { Plan::QUICK } else { Plan::FULL };
    let before = Load::now();
    let is_asked = |name: &str| asked.names.is_empty() || asked.names.iter().any(|n| n == name);
    let mut report = Report {
        format: 2,
        quick: asked.quick,
        cores: std::thread::available_parallelism()?.get(),
        architecture: env::consts::ARCH,
        others: None,
        versions: vec![format!("Dekker {}", env!("CARGO_PKG_VERSION"))],
        skipped: Vec::new(),
        bars: Vec::new(),
        series: Vec::new(),
    };
    let node = named("DEKKER_BENCH_NODE");
    let dekker = named("DEKKER_BIN");
    if is_asked(sizes::NAME) {
        let files = [
            (sizes::ACCELERATED, named("DEKKER_COMPONENT_ACCELERATED")),
            (sizes::COMPONENT, named("DEKKER_COMPONENT")),
            (sizes::COMMAND, named("DEKKER_WASM")),
            (sizes::NPM, named("DEKKER_NPM_MODULE")),
            (sizes::NPM_INSPECT, named("DEKKER_NPM_INSPECT_MODULE")),
            (sizes::DEKKER, dekker.clone()),
        ];
        let packer = node.as_ref().map(|_| "node");
        report.series.extend(sizes::measure(&files, packer)?);
    }
    if is_asked(server::STARTUP) {
        report.series.extend(server::measure_startup(program(&dekker)?, plan)?);
    }
    if is_asked(transform::NAME) {
        let mut subjects = subjects(&mut report, node.as_deref())?;
        report.series.extend(transform::measure(&mut subjects, plan)?);
    }
    if is_asked(cached::NAME) {
        report.series.extend(cached::measure(plan)?);
    }
    if is_asked(readers::NAME) {
        report.series.extend(readers::measure(plan)?);
    }
    if is_asked(threads::NAME) {
        report.series.extend(threads::measure(plan)?);
    }
    if is_asked(heap::NAME) {
        report.series.extend(heap::measure(&env::current_exe()?, plan)?);
    }
    if is_asked(server::HTTP) {
        report.series.extend(server::measure_http(program(&dekker)?, plan)?);
    }
    if is_asked(many_server::NAME) {
        report.series.extend(many_server::measure(program(&dekker)?, plan)?);
    }
    if is_asked(inspect::NAME) {
        report.series.extend(inspect::measure(program(&dekker)?, plan)?);
    }
    // Every peer and server has ended, so their time is ours.
    if let (Ok(before), Ok(after)) = (before, Load::now()) {
        report.others = after.of_others_since(&before);
    }
    report.bars = bars::all(&report.series, report.cores);
    if !asked.names.is_empty() {
        report.bars.retain(|bar| bar.reached.is_some());
    }
    print!("{}", report.text());
    if let Some(path) = &asked.json {
        write(path, &(serde_json::to_string_pretty(&report)? + "\n"))?;
    }
    if let Some(folder) = &asked.write_docs {
        write_docs(folder, &report)?;
    }
    Ok(())
}

/// Returns Dekker's subjects and all peers that xtask passes. The report lists the others; xtask has already printed why they are missing.
fn subjects(report: &mut Report, node: Option<&Path>) -> Result<Vec<Box<dyn Subject>>> {
    let mut all: Vec<Box<dyn Subject>> = vec![
        Box::new(Ours::native()?),
        Box::new(Ours::portable()?),
        Box::new(Ours::accelerated()?),
        Box::new(Batches::new()?),
    ];
    match named("DEKKER_COMPONENT") {
        Some(path) => {
            let component = fs::read(&path).with_context(|| path.display().to_string())?;
            all.push(Box::new(Ours::self_contained(&component)?));
        }
        None => report.skipped.push("self-contained component: not built".into()),
    }
    all.push(Box::new(Boundary::new()?));
    all.extend(Floor::all()?);
    all.push(Box::new(RingAlone::new()?));
    all.push(Box::new(RandomBytes));
    let go = named("DEKKER_INTEROP_PEER").map(|program| Peer::go(Command::new(program)));
    let node = node.map(|script| {
        let mut command = Command::new("node");
        command.arg(script);
        Peer::node(command)
    });
    for (what, peer) in [("Go", go), ("Node", node)] {
        match peer {
            Some(peer) => {
                let (subjects, about) = peer?;
                all.extend(subjects);
                report.versions.push(about);
            }
            None => report.skipped.push(format!("{what}: not available")),
        }
    }
    Ok(all)
}

fn write_docs(folder: &Path, report: &Report) -> Result<()> {
    let path = folder.join("PERFORMANCE.md");
    let document = fs::read_to_string(&path).with_context(|| path.display().to_string())?;
    write(&path, &docs::renew(&document, &report.markdown())?)?;
    for (file, plot) in plots::all(report)? {
        write(&folder.join("performance").join(file), &plot)?;
    }
    Ok(())
}

fn write(path: &Path, text: &str) -> Result<()> {
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder)?;
    }
    fs::write(path, text).with_context(|| path.display().to_string())?;
    eprintln!("wrote {}", path.display());
    Ok(())
}
