//! Repeats one subject's work, for a profiler: `hot accelerated write 1024 [counter|seed] [rounds]`.

use anyhow::{Context, Result, bail};
use dekker_bench::rounds::{Op, Source, Subject, Work};
use dekker_bench::subjects::{Batches, Boundary, Floor, Ours, RingAlone, names};

fn main() -> Result<()> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let word = |at: usize| words.get(at).map(String::as_str);
    let mut subject: Box<dyn Subject> = match word(0) {
        Some("native") => Box::new(Ours::native()?),
        Some("accelerated") => Box::new(Ours::accelerated()?),
        Some("batches") => Box::new(Batches::new()?),
        Some("handles") => floor(names::HANDLES)?,
        Some("plans") => floor(names::PLANS)?,
        Some("boundary") => Box::new(Boundary::new()?),
        Some("ring") => Box::new(RingAlone::new()?),
        _ => bail!(
            "the first argument must be native, accelerated, batches, handles, plans, boundary or ring"
        ),
    };
    let work = Work {
        op: match word(1) {
            Some("read") => Op::Read,
            _ => Op::Write,
        },
        size: word(2).context("the size is missing")?.parse()?,
        source: match word(3) {
            Some("seed") => Source::Seed,
            _ => Source::Counter,
        },
        count: 1,
    };
    let rounds: u64 = word(4).unwrap_or("1000000").parse()?;
    let took = subject.run(&work, rounds)?;
    println!("{:.3} µs", took.as_secs_f64() * 1e6 / rounds as f64);
    Ok(())
}

fn floor(name: &str) -> Result<Box<dyn Subject>> {
    let mut all = Floor::all()?.into_iter();
    all.find(|subject| subject.name() == name).context("no such subject")
}
