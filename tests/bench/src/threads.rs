//! Measures threads that write or read at the same time. Each begins its next value as soon as its last one has ended.
//!
//! With a core for each thread, two threads can halve the time. What the machine itself gives, ring shows, whose threads share nothing: it is less if
//! two cores share one's units or its clock, or if other programs use a core.

mod crowds;

use std::panic::resume_unwind;
use std::sync::Barrier;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use crate::rounds::{Op, Plan, Series, Source, Subject, Work, take_turns};
use crate::subjects::names;

use crowds::{HostThreads, NativeThreads, RingThreads};

/// This benchmark's name.
pub const NAME: &str = "threads";
/// The size of the plaintext in bytes, common for a Secret.
pub const SIZE: usize = 1024;
/// The numbers of threads.
pub const COUNTS: [usize; 2] = [1, 2];

/// Measures writes and reads with every number of threads, in turns. The figures are the time of a whole round divided by the number of its values.
///
/// # Errors
/// Returns an error if an engine refuses its configuration, or if a thread cannot write or read a value.
pub fn measure(plan: Plan) -> Result<Vec<Series>> {
    let mut subjects: Vec<Box<dyn Subject>> = Vec::new();
    for count in COUNTS {
        subjects.push(Box::new(Threads { crowd: NativeThreads::new()?, count }));
        subjects.push(Box::new(Threads { crowd: HostThreads::new(count)?, count }));
        subjects.push(Box::new(Threads { crowd: RingThreads, count }));
    }
    let counts = COUNTS.into_iter().flat_map(|count| [count; 3]);
    let mut all = Vec::new();
    for op in [Op::Write, Op::Read] {
        eprintln!("{NAME}: {op}");
        let work = Work { op, source: Source::Counter, size: SIZE, count: 1 };
        let series = take_turns(NAME, &mut subjects, work, plan)?;
        all.extend(series.into_iter().zip(counts.clone()).map(|(series, count)| {
            let work = Work { count, ..work };
            Series { work, ..series }
        }));
    }
    Ok(all)
}

/// What several threads can use at the same time.
trait Crowd: Sync {
    /// Its name in tables.
    const NAME: &'static str;

    /// Does what is due. Not timed.
    ///
    /// # Errors
    /// Returns an error if that fails.
    fn refresh(&mut self) -> Result<()> {
        Ok(())
    }

    /// Returns what one thread works with, ready for its first value.
    ///
    /// # Errors
    /// Returns an error if there is none, or if it cannot write or read a value.
    fn worker(&self) -> Result<impl Worker>;
}

/// What one thread works with.
trait Worker {
    /// Writes or reads `n` values.
    ///
    /// # Errors
    /// Returns an error if a value cannot be written or read.
    fn work(&mut self, op: Op, n: u64) -> Result<()>;
}

/// A number of threads.
struct Threads<C> {
    crowd: C,
    count: usize,
}

impl<C: Crowd> Subject for Threads<C> {
    fn name(&self) -> &'static str {
        C::NAME
    }

    fn can(&self, work: &Work) -> bool {
        work.source == Source::Counter && work.size == SIZE
    }

    fn run(&mut self, work: &Work, n: u64) -> Result<Duration> {
        self.crowd.refresh()?;
        let each = n.div_ceil(self.count as u64);
        let ready = Barrier::new(self.count);
        let crowd = &self.crowd;
        let spans = thread::scope(|scope| {
            let alone = || {
                let worker = crowd.worker();
                // A thread that has failed does not let the others wait.
                ready.wait();
                let mut worker = worker?;
                let start = Instant::now();
                worker.work(work.op, each)?;
                anyhow::Ok((start, Instant::now()))
            };
            let threads: Vec<_> = (0..self.count).map(|_| scope.spawn(alone)).collect();
            let ended = threads.into_iter().map(thread::ScopedJoinHandle::join);
            let ended = ended.map(|ended| ended.unwrap_or_else(|panic| resume_unwind(panic)));
            ended.collect::<Result<Vec<_>>>()
        })?;
        // Every thread does the same number of values, which can be more than `n` together.
        Ok(whole(&spans)?.mul_f64(n as f64 / (each * self.count as u64) as f64))
    }
}

/// Returns the time from the first beginning to the last end. Each thread takes its own times: another one, which only waits for them, could miss the
/// beginning if all cores are in use.
fn whole(spans: &[(Instant, Instant)]) -> Result<Duration> {
    let start = spans.iter().map(|(start, _)| *start).min();
    let end = spans.iter().map(|(_, end)| *end).max();
    let (start, end) = start.zip(end).context("no threads")?;
    Ok(end - start)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn works<C: Crowd>(crowd: impl Fn(usize) -> C) {
        for count in COUNTS {
            let mut threads = Threads { crowd: crowd(count), count };
            for op in [Op::Write, Op::Read] {
                let work = Work { op, source: Source::Counter, size: SIZE, count: 1 };
                assert!(threads.can(&work));
                threads.run(&work, 71).unwrap();
            }
        }
    }

    #[test]
    fn threads_write_and_read_at_the_same_time() {
        works(|_| NativeThreads::new().unwrap());
        works(|count| HostThreads::new(count).unwrap());
        works(|_| RingThreads);
    }

    #[test]
    fn a_thread_that_fails_is_an_error_and_does_not_block_the_others() {
        struct Failing;
        impl Crowd for Failing {
            const NAME: &'static str = "failing";

            fn worker(&self) -> Result<impl Worker> {
                Err::<crowds::RingWorker, _>(anyhow::anyhow!("no worker"))
            }
        }
        let work = Work { op: Op::Write, source: Source::Counter, size: SIZE, count: 1 };
        let fault = Threads { crowd: Failing, count: 2 }.run(&work, 10).unwrap_err();
        assert_eq!(fault.to_string(), "no worker");
    }

    #[test]
    fn the_whole_lasts_from_the_first_beginning_to_the_last_end() {
        let start = Instant::now();
        let at = |millis| start + Duration::from_millis(millis);
        let table = [
            ("one thread", vec![(at(1), at(5))], 4),
            ("one after the other", vec![(at(6), at(9)), (at(1), at(5))], 8),
            ("one inside the other", vec![(at(1), at(9)), (at(2), at(3))], 8),
        ];
        for (desc, spans, millis) in table {
            assert_eq!(whole(&spans).unwrap(), Duration::from_millis(millis), "{desc}");
        }
        assert!(whole(&[]).is_err());
    }
}
