//! Measures one to 64 concurrent readers of one [`Host`]. Each reads again as soon as its last read has ended.

use std::time::Instant;

use anyhow::{Context, Result};
use dekker_host::Host;

use crate::hosted::Hosted;
use crate::rounds::{Op, Plan, Series, Source, Work, quantile};
use crate::subjects::{location, plaintext};

/// This benchmark's name.
pub const NAME: &str = "readers";
/// The size of the plaintext in bytes, common for a Secret.
pub const SIZE: usize = 1024;
/// The numbers of readers.
pub const COUNTS: [usize; 7] = [1, 2, 4, 8, 16, 32, 64];

/// The median time of a read.
pub const P50: &str = "p50";
/// The 99th percentile of the time of a read.
pub const P99: &str = "p99";
/// The time of a whole round divided by the number of its reads.
pub const EACH: &str = "each";

/// Measures every number of readers.
///
/// # Errors
/// Returns an error if the plugin or the host cannot be started, or if a read fails.
pub fn measure(plan: Plan) -> Result<Vec<Series>> {
    let hosted = Hosted::new(None)?;
    hosted.block_on(measure_host(hosted.host(), plan))
}

async fn measure_host(host: &Host, plan: Plan) -> Result<Vec<Series>> {
    let written = host.to_storage(location(), plaintext(SIZE).into()).await?;
    let mut times: Vec<[Vec<f64>; 3]> = vec![<[Vec<f64>; 3]>::default(); COUNTS.len()];
    // Enough reads that several of them lie above the 99th percentile.
    let reads = if plan.quick { 640 } else { 6400 };
    for round in 0..=plan.rounds {
        eprintln!("{NAME}: round {round} of {}", plan.rounds);
        for (count, [p50, p99, each]) in COUNTS.iter().zip(&mut times) {
            let (mut taken, whole) = read(host, &written.stored, *count, reads / count).await?;
            // The first round is a warm-up.
            if round > 0 {
                taken.sort_by(f64::total_cmp);
                p50.push(quantile(&taken, 0.5));
                p99.push(quantile(&taken, 0.99));
                each.push(whole / taken.len() as f64);
            }
        }
    }
    let series = COUNTS.iter().zip(times).flat_map(|(&count, times)| {
        let work = Work { op: Op::Read, source: Source::Counter, size: SIZE, count };
        let named = [P50, P99, EACH].into_iter().zip(times);
        named.map(move |(subject, values)| Series::new(NAME, subject, work, "ns", values))
    });
    Ok(series.collect())
}

/// Has each of `readers` tasks read `reads` times. Returns the time of each read and the time of the whole round, in nanoseconds.
async fn read(host: &Host, stored: &[u8], readers: usize, reads: usize) -> Result<(Vec<f64>, f64)> {
    let start = Instant::now();
    let mut tasks = Vec::with_capacity(readers);
    for _ in 0..readers {
        let (host, stored) = (host.clone(), stored.to_vec());
        tasks.push(tokio::spawn(async move {
            let mut taken = Vec::with_capacity(reads);
            for _ in 0..reads {
                let start = Instant::now();
                host.from_storage(location(), stored.clone()).await?;
                taken.push(start.elapsed().as_nanos() as f64);
            }
            anyhow::Ok(taken)
        }));
    }
    let mut all = Vec::with_capacity(readers * reads);
    for task in tasks {
        all.extend(task.await.context("a reader's task failed")??);
    }
    Ok((all, start.elapsed().as_nanos() as f64))
}
