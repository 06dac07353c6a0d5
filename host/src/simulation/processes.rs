//! Runs histories on all cores, with one process per core. They are separate processes because a history may fork its process, and the copy would
//! inherit the file descriptors of all histories in it.

use std::io::Read;
use std::ops::AddAssign;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::Mutex;

use super::{history, mixed};

/// The totals of several histories.
#[derive(Clone, Copy, Default)]
pub(super) struct Figures {
    pub(super) histories: u64,
    /// The number of acknowledged writes.
    pub(super) writes: u64,
    /// The number of failed operations. Operations may fail while there are faults.
    pub(super) failures: u64,
    /// The simulated seconds.
    pub(super) seconds: u64,
}

impl AddAssign for Figures {
    fn add_assign(&mut self, other: Self) {
        self.histories += other.histories;
        self.writes += other.writes;
        self.failures += other.failures;
        self.seconds += other.seconds;
    }
}

/// The beginning of the line with a share's totals.
const FIGURES: &str = "figures of a share:";

impl Figures {
    fn print(self) {
        let Self { histories, writes, failures, seconds } = self;
        println!("{FIGURES} {histories} {writes} {failures} {seconds}");
    }

    fn parse(text: &str) -> Option<Self> {
        let line = text.lines().find_map(|line| line.split_once(FIGURES))?.1;
        let mut numbers = line.split_whitespace().map(str::parse);
        let mut next = || numbers.next()?.ok();
        Some(Self { histories: next()?, writes: next()?, failures: next()?, seconds: next()? })
    }
}

/// The histories that one process plays: every `of`th, beginning with `number`.
pub(super) struct Share {
    number: u64,
    of: u64,
}

const SHARE: &str = "DEKKER_SHARE";

impl Share {
    /// Returns the share of this process. Returns `None` in the process that starts the others.
    pub(super) fn of_this_process() -> Option<Self> {
        let text = std::env::var(SHARE).ok()?;
        let (number, of) = text.split_once('/').expect("number/of");
        Some(Self { number: number.parse().expect("a number"), of: of.parse().expect("a number") })
    }

    /// Plays the histories of this share until one breaks a promise.
    ///
    /// # Panics
    /// Panics if a history breaks a promise. Prints its trace, because a replay may differ in what the seed does not determine, such as the order of
    /// two threads.
    pub(super) fn play(&self, first: u64, histories: u64) {
        let mut figures = Figures::default();
        let mut broken = None;
        let mut number = self.number;
        while number < histories && broken.is_none() {
            let seed = mixed(first.wrapping_add(number));
            let report = history::play(seed);
            figures += Figures {
                histories: 1,
                writes: report.writes as u64,
                failures: u64::from(report.failures),
                seconds: report.time.as_secs(),
            };
            broken = report.broken.map(|fault| {
                let trace = report.trace.join("\n");
                format!("after some {number} histories, DEKKER_SEED={seed}: {fault}\n{trace}")
            });
            number += self.of;
        }
        figures.print();
        if let Some(broken) = broken {
            panic!("{broken}");
        }
    }
}

/// Plays all histories. Returns the totals, and whether every promise was kept. When a promise is broken, the other processes are killed.
pub(super) fn play(first: u64, histories: u64) -> (Figures, bool) {
    let of = std::thread::available_parallelism().map_or(1, usize::from);
    let exe = std::env::current_exe().expect("a program");
    let start = |number| {
        let mut command = Command::new(&exe);
        let test = "simulation::histories_keep_every_promise";
        command
            .args(["--exact", test, "--nocapture"])
            .env(SHARE, format!("{number}/{of}"))
            .env("DEKKER_FIRST_SEED", first.to_string())
            .env("DEKKER_HISTORIES", histories.to_string())
            .stdout(Stdio::piped());
        command.spawn().expect("this program once more")
    };
    let mut children: Vec<Child> = (0..of).map(start).collect();
    let outputs: Vec<ChildStdout> =
        { children.iter_mut() }.map(|child| child.stdout.take().expect("piped")).collect();
    let children = Mutex::new(children);
    let wait = |number: usize, mut output: ChildStdout| {
        let mut printed = String::new();
        // The pipe is closed when the child ends.
        output.read_to_string(&mut printed).expect("text");
        let mut children = children.lock().expect("no panic");
        let is_whole = children[number].wait().is_ok_and(|status| status.success());
        if !is_whole {
            for child in children.iter_mut() {
                // The child may already have ended.
                let _ = child.kill();
            }
        }
        (Figures::parse(&printed).unwrap_or_default(), is_whole)
    };
    let wait = &wait;
    let outcomes: Vec<(Figures, bool)> = std::thread::scope(|scope| {
        let waiting: Vec<_> = { outputs.into_iter().enumerate() }
            .map(|(number, output)| scope.spawn(move || wait(number, output)))
            .collect();
        let ended = waiting.into_iter();
        ended.map(|child| child.join().expect("no panic")).collect()
    });
    let mut all = (Figures::default(), true);
    for (figures, is_whole) in outcomes {
        all.0 += figures;
        all.1 &= is_whole;
    }
    all
}
