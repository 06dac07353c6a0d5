//! Measures values of 1 MiB in processes whose heaps have another history.
//!
//! glibc returns freed memory to the kernel, and the kernel must map and zero each page of it again when the next value needs it. How much free memory
//! glibc keeps depends on the largest block that was ever freed: after a block of n bytes, it keeps up to twice as much at the end of the heap. So the
//! same program can be several times slower for large values only because it never freed a larger block before. Each history is a process, because
//! what a process has once freed cannot be taken back.

use std::fs;
use std::hint::black_box;
use std::io::{self, BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::Instant;

use anyhow::{Context, Result, bail, ensure};
use dekker_host::instance::keep_freed_memory;

use crate::hosted::Hosted;
use crate::rounds::{Op, Plan, Series, Source, Work};
use crate::subjects::{location, plaintext};

/// This benchmark's name.
pub const NAME: &str = "heap";
/// The size of the plaintext in bytes: 1 MiB. etcd accepts requests of up to 1.5 MiB by default.
pub const SIZE: usize = 0x10_0000;

/// 31 MiB. glibc learns nothing from blocks of more than 32 MiB.
const LARGEST: usize = 31 << 20;

/// 4 KiB: the smallest page that a kernel has.
const PAGE: usize = 4096;
/// How many processes are started for one history at most.
const STARTS_MAX: usize = 20;

/// What a process has allocated and freed before it is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum History {
    /// A block that is far larger than a value. From then on, glibc keeps enough memory for many values.
    Friendly,
    /// No large block. A value with its copy is more than glibc keeps, so the kernel gets the memory back after every value.
    Unfriendly,
    /// No large block either, but glibc has the limits with which `dekker` starts.
    Limited,
}

impl History {
    /// All histories.
    pub const ALL: [Self; 3] = [Self::Friendly, Self::Unfriendly, Self::Limited];

    /// Its name in tables.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Friendly => "a larger block was freed",
            Self::Unfriendly => "no larger block was freed",
            Self::Limited => "none was freed, with dekker's limits",
        }
    }

    /// Its name as an argument of the process.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Friendly => "friendly",
            Self::Unfriendly => "unfriendly",
            Self::Limited => "limited",
        }
    }

    /// Whether these are the costs of a value after this history. Half of the pages of a value are far more than other causes have.
    fn has_effect(self, cost: Cost) -> bool {
        let is_mapped_anew = cost.faults > (SIZE / PAGE / 2) as f64;
        is_mapped_anew == (self == Self::Unfriendly)
    }

    fn happen(self) {
        match self {
            Self::Friendly => drop(black_box(Vec::<u8>::with_capacity(LARGEST))),
            Self::Unfriendly => {}
            Self::Limited => keep_freed_memory(),
        }
    }
}

/// The figures of one value: its time in microseconds, and the pages that the kernel had to provide.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Cost {
    micros: f64,
    faults: f64,
}

/// Measures the histories in turns. `program` is this program: [`answer`] runs in it.
///
/// # Errors
/// Returns an error if a process does not run.
pub fn measure(program: &Path, plan: Plan) -> Result<Vec<Series>> {
    let mut processes = Vec::new();
    for history in History::ALL {
        processes.push(Process::with_effect(program, history)?);
    }
    // 1 MiB takes about 300 µs in the better case.
    let n = if plan.quick { 4 } else { 64 };
    let mut all = Vec::new();
    for op in [Op::Write, Op::Read] {
        eprintln!("{NAME}: {op}");
        let mut costs = History::ALL.map(|_| Vec::with_capacity(plan.rounds));
        for round in 0..=plan.rounds {
            for turn in 0..processes.len() {
                let who = (round + turn) % processes.len();
                let cost = processes[who].ask(op, n)?;
                // The first round is a warm-up.
                if round > 0 {
                    costs[who].push(cost);
                }
            }
        }
        all.extend(series(op, costs));
    }
    Ok(all)
}

/// Returns the figures of each history, and the times of the others as a ratio to that of the first one.
fn series(op: Op, costs: [Vec<Cost>; 3]) -> Vec<Series> {
    let work = Work { op, source: Source::Counter, size: SIZE, count: 1 };
    let of = |history: History, unit, values: Vec<f64>| {
        Series::new(NAME, history.name(), work, unit, values)
    };
    let mut all = Vec::new();
    let mut times = Vec::new();
    for (history, costs) in History::ALL.into_iter().zip(costs) {
        let time = of(history, "µs", costs.iter().map(|cost| cost.micros).collect());
        times.push(time.clone());
        all.push(time);
        all.push(of(history, "page faults", costs.iter().map(|cost| cost.faults).collect()));
    }
    if let [first, others @ ..] = times.as_slice() {
        all.extend(others.iter().map(|other| Series {
            unit: "times as long",
            median: other.median / first.median,
            best: other.best / first.best,
            ..other.clone()
        }));
    }
    all
}

/// The process of a history, killed when dropped.
struct Process {
    child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
}

impl Process {
    /// Starts processes until the history has its effect on one. By chance a small block that is in use can lie behind the value, so that its memory
    /// is not at the end of the heap and glibc keeps it.
    ///
    /// # Errors
    /// Returns an error if a process does not run, or if the history has no effect on any of them.
    fn with_effect(program: &Path, history: History) -> Result<Self> {
        for _ in 0..STARTS_MAX {
            let mut process = Self::start(program, history)?;
            // The first values fill caches and get the first memory.
            process.ask(Op::Write, 4)?;
            let cost = process.ask(Op::Write, 4)?;
            if history.has_effect(cost) {
                return Ok(process);
            }
        }
        bail!("{}: the allocator of this system behaves in another way", history.name())
    }

    fn start(program: &Path, history: History) -> Result<Self> {
        let mut child = Command::new(program)
            .args(["--heap", history.word()])
            // These variables would decide what glibc keeps.
            .env_remove("GLIBC_TUNABLES")
            .env_remove("MALLOC_MMAP_THRESHOLD_")
            .env_remove("MALLOC_TOP_PAD_")
            .env_remove("MALLOC_TRIM_THRESHOLD_")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .context("cannot run this program again")?;
        let (input, output) = (child.stdin.take(), child.stdout.take());
        Ok(Self {
            child,
            input: input.context("no pipe")?,
            output: BufReader::new(output.context("no pipe")?),
        })
    }

    fn ask(&mut self, op: Op, n: u64) -> Result<Cost> {
        writeln!(self.input, "{op} {n}")?;
        let mut line = String::new();
        self.output.read_line(&mut line)?;
        parse(&line).with_context(|| format!("the process of a history answered {line:?}"))
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // The process may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Parses `<microseconds> <page faults>`.
fn parse(line: &str) -> Option<Cost> {
    let (micros, faults) = line.trim_end().split_once(' ')?;
    Some(Cost { micros: micros.parse().ok()?, faults: faults.parse().ok()? })
}

/// Measures values in this process after a history, as long as there are lines `<op> <n>` on standard input. For each, prints a line with what one
/// value cost.
///
/// # Errors
/// Returns an error if the host cannot be started, or if a value cannot be written or read.
pub fn answer(history: History) -> Result<()> {
    let hosted = Hosted::new(Some(1))?;
    let text = plaintext(SIZE);
    let written = hosted.host().to_storage(location(), text.clone().into());
    let stored = hosted.block_on(written)?.stored;
    history.happen();
    for line in io::stdin().lock().lines() {
        let line = line?;
        let (op, n) = line.split_once(' ').context("not an operation and a number")?;
        let n: u32 = n.parse()?;
        let before = faults()?;
        let start = Instant::now();
        for _ in 0..n {
            match op {
                "write" => {
                    let owned = black_box(&text).clone();
                    let written = hosted.host().to_storage(location(), owned.into());
                    black_box(hosted.block_on(written)?);
                }
                _ => {
                    let owned = black_box(&stored).clone();
                    let read = hosted.block_on(hosted.host().from_storage(location(), owned))?;
                    ensure!(read.plaintext.len() == SIZE, "the plaintext has the wrong length");
                    black_box(read);
                }
            }
        }
        let micros = start.elapsed().as_secs_f64() * 1e6 / f64::from(n);
        let faults = (faults()? - before) as f64 / f64::from(n);
        println!("{micros} {faults}");
    }
    Ok(())
}

/// Returns the minor page faults of this thread so far, those of getrusage's `ru_minflt`: pages that the kernel had to provide.
fn faults() -> Result<u64> {
    let status = fs::read_to_string("/proc/thread-self/stat")?;
    minor_faults(&status).context("unknown numbers in /proc/thread-self/stat")
}

fn minor_faults(status: &str) -> Option<u64> {
    // The name of the program, in parentheses, may contain spaces. minflt is field 10; the first one after the name is field 3.
    let (_, fields) = status.rsplit_once(')')?;
    fields.split_whitespace().nth(7)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_other_histories_are_compared_with_the_first() {
        let cost = |micros, faults| Cost { micros, faults };
        let friendly = vec![cost(300.0, 0.0), cost(200.0, 0.0), cost(400.0, 3.0)];
        let unfriendly = vec![cost(900.0, 512.0), cost(1000.0, 514.0), cost(1200.0, 513.0)];
        let limited = vec![cost(330.0, 1.0); 3];
        let all = series(Op::Read, [friendly, unfriendly, limited]);
        let shown: Vec<_> = all.iter().map(|s| (s.subject, s.unit, s.median, s.best)).collect();
        let [one, other, third] = History::ALL.map(History::name);
        let expected = [
            (one, "µs", 300.0, 200.0),
            (one, "page faults", 0.0, 0.0),
            (other, "µs", 1000.0, 900.0),
            (other, "page faults", 513.0, 512.0),
            (third, "µs", 330.0, 330.0),
            (third, "page faults", 1.0, 1.0),
            (other, "times as long", 1000.0 / 300.0, 4.5),
            (third, "times as long", 330.0 / 300.0, 330.0 / 200.0),
        ];
        assert_eq!(shown, expected);
    }

    #[test]
    fn a_history_without_its_page_faults_has_no_effect() {
        for (faults, unfriendly) in [(0.0, false), (32.0, false), (257.0, true), (514.0, true)] {
            let cost = Cost { micros: 300.0, faults };
            assert_eq!(History::Unfriendly.has_effect(cost), unfriendly, "{faults}");
            assert_eq!(History::Friendly.has_effect(cost), !unfriendly, "{faults}");
        }
    }

    #[test]
    fn answers_have_a_time_and_faults() {
        assert_eq!(parse("12.5 3\n"), Some(Cost { micros: 12.5, faults: 3.0 }));
        for line in ["", "12.5", "a b\n"] {
            assert_eq!(parse(line), None, "{line:?}");
        }
    }

    #[test]
    fn page_faults_are_those_of_this_thread() {
        let status = "812 (a name) with) R 1 2 3 4 5 6 77 8 9 10 60 5 4 3 20 0 1 0 99 1 2 3\n";
        assert_eq!(minor_faults(status), Some(77));
        assert_eq!(minor_faults("812 (x) R 1"), None);
        let before = faults().unwrap();
        // Pages that this process has not had yet.
        let pages = black_box(vec![1_u8; 64 << 20]);
        assert!(faults().unwrap() > before, "{}", pages.len());
    }
}
