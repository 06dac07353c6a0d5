//! The targets themselves.

use super::Limit::{AtLeast, AtMost};
use super::{Bar, Figures, Floor, Limit, Pair, ratio, work};
use crate::rounds::{Op, Source, Work};
use crate::subjects::names::{
    ACCELERATED, ACCELERATED_BATCH, COPIED, GO, HOST_THREADS, NATIVE, NOBLE, NODE, NPM, RING,
    RING_THREADS, THREADS,
};
use crate::{cached, inspect, many_server, readers, server, sizes, threads, transform};

const OPS: [Op; 2] = [Op::Write, Op::Read];

/// How many times faster than upstream: core natively, up to 8 KiB and above, and the component at every size.
const NATIVE_UP_TO_8_KIB: f64 = 6.0;
const NATIVE_ABOVE: f64 = 4.0;
const ACCELERATED_EVERY_SIZE: f64 = 3.0;

/// The part of ring's speed that the component must reach, by size.
const SINGLY: [(usize, f64); 5] =
    [(1024, 0.20), (4096, 0.40), (8192, 0.55), (65_536, 0.90), (0x10_0000, 0.95)];
const IN_BATCHES: [(usize, f64); 3] = [(1024, 0.35), (4096, 0.60), (8192, 0.75)];

/// How many times faster two threads must be than one.
const TWO_THREADS: f64 = 1.9;

/// Values per second.
const HTTP_MANY: f64 = 300_000.0;

pub(super) fn all(figures: &Figures<'_>, cores: usize) -> Vec<Bar> {
    let mut bars = against_go(figures);
    bars.extend(against_ring(figures));
    bars.extend(two_threads(figures));
    bars.extend(http_many(figures));
    bars.extend(npm(figures));
    bars.extend(many_deks(figures));
    bars.push(many_readers(figures, cores));
    bars.extend(of_sizes(figures));
    bars.push(startup(figures));
    bars.extend(listing(figures));
    bars
}

fn against_go(figures: &Figures<'_>) -> Vec<Bar> {
    let mut bars = Vec::new();
    for subject in [NATIVE, ACCELERATED] {
        for source in [Source::Counter, Source::Seed] {
            for op in OPS {
                for size in transform::SIZES {
                    let work = work(op, source, size);
                    // Core natively can at best be as fast as ring alone, which has no DEK source.
                    let (limit, floor) = if subject == NATIVE {
                        let alone = figures.time(RING, Work { source: Source::Counter, ..work });
                        let limit = if size <= 8192 { NATIVE_UP_TO_8_KIB } else { NATIVE_ABOVE };
                        (AtLeast(limit), alone)
                    } else {
                        (AtLeast(ACCELERATED_EVERY_SIZE), figures.floor(Floor::Single, work))
                    };
                    let go = figures.time(GO, work);
                    let reached = ratio(go, figures.time(subject, work));
                    let what = format!("{subject}: {op}, {source}, compared with Go");
                    let bar = Bar::new(what, limit, "× faster").at(size);
                    bars.push(bar.with(limit, reached, ratio(go, floor)));
                }
            }
        }
    }
    bars
}

fn against_ring(figures: &Figures<'_>) -> Vec<Bar> {
    let mut bars = Vec::new();
    // A subject, its floor, and the target for each size.
    type Way = (&'static str, Floor, &'static [(usize, f64)]);
    let ways: [Way; 2] =
        [(ACCELERATED, Floor::Single, &SINGLY), (ACCELERATED_BATCH, Floor::Batch, &IN_BATCHES)];
    for (subject, floor, limits) in ways {
        for op in OPS {
            for &(size, limit) in limits {
                let (limit, work) = (AtLeast(limit), work(op, Source::Counter, size));
                let ring = figures.time(RING, work);
                let reached = ratio(ring, figures.time(subject, work));
                let floor = ratio(ring, figures.floor(floor, work));
                let what = format!("{subject}: {op}, compared with ring");
                let bar = Bar::new(what, limit, "× the speed").at(size);
                bars.push(bar.with(limit, reached, floor));
            }
        }
    }
    bars
}

/// The floor is ring, whose threads share nothing: more than it gains, the machine does not give.
fn two_threads(figures: &Figures<'_>) -> Vec<Bar> {
    let gain = |subject, op| {
        let of = |count| {
            let work = Work { count, ..work(op, Source::Counter, threads::SIZE) };
            figures.find(threads::NAME, subject, work)
        };
        ratio(of(1), of(2))
    };
    let mut bars = Vec::new();
    for subject in [THREADS, HOST_THREADS] {
        for op in OPS {
            let limit = AtLeast(TWO_THREADS);
            let bar = Bar::new(
                format!("{subject}: {op}, 1 KiB, 2 threads compared with 1"),
                limit,
                "× the speed",
            );
            bars.push(bar.with(limit, gain(subject, op), gain(RING_THREADS, op)));
        }
    }
    bars
}

fn http_many(figures: &Figures<'_>) -> Vec<Bar> {
    let of = |op| figures.find(many_server::NAME, server::DEKKER, many_server::work(op));
    let bar = |op| {
        let what = format!("HTTP, 1 connection: {op}, batches of 256 values of 1 KiB");
        plain(what, AtLeast(HTTP_MANY), " values/s", of(op))
    };
    OPS.map(bar).into()
}

fn npm(figures: &Figures<'_>) -> Vec<Bar> {
    let mut bars = Vec::new();
    for op in OPS {
        for size in [1024, 4096] {
            let work = work(op, Source::Counter, size);
            let limit = AtLeast(5.0);
            let reached = ratio(figures.time(NOBLE, work), figures.time(NPM, work));
            let what = format!("{NPM}: {op}, compared with {NOBLE}");
            bars.push(Bar::new(what, limit, "× faster").at(size).with(limit, reached, None));
        }
    }
    for (op, peer) in [(Op::Write, "createCipheriv"), (Op::Read, "createDecipheriv")] {
        let work = work(op, Source::Counter, 4096);
        let node = figures.time(NODE, work);
        let limit = AtMost(1.5);
        let floor = ratio(figures.time(COPIED, work), node);
        let what = format!("{NPM}: {op}, 4 KiB, compared with {peer}");
        let bar = Bar::new(what, limit, "× the time");
        bars.push(bar.with(limit, ratio(figures.time(NPM, work), node), floor));
    }
    bars
}

fn many_deks(figures: &Figures<'_>) -> Vec<Bar> {
    let bar = |subject| {
        let with = |count| {
            let work = Work { count, ..work(Op::Read, Source::Counter, cached::SIZE) };
            figures.find(cached::NAME, subject, work)
        };
        let what = format!("{subject}: cached read, 100,000 DEKs compared with 1");
        plain(what, AtMost(1.5), "× the time", ratio(with(100_000), with(1)))
    };
    [NATIVE, ACCELERATED].map(bar).into()
}

fn many_readers(figures: &Figures<'_>, cores: usize) -> Bar {
    let p99 = |count| {
        let work = Work { count, ..work(Op::Read, Source::Counter, readers::SIZE) };
        figures.find(readers::NAME, readers::P99, work)
    };
    // With fewer cores than readers, each reader waits for those before it. Scaling by this share removes the waiting time, so that only the overhead
    // of many readers remains.
    let share = cores.min(64) as f64 / 64.0;
    let many = p99(64).map(|(median, best)| (median * share, best * share));
    let what = format!("64 readers compared with 1: p99 of a read, scaled by {}/64", cores.min(64));
    plain(what, AtMost(2.0), "× the time", ratio(many, p99(1)))
}

fn of_sizes(figures: &Figures<'_>) -> Vec<Bar> {
    let bar = |(subject, max)| {
        let size = figures.find(sizes::NAME, subject, work(Op::Read, Source::Counter, 0));
        let size = size.map(|(median, best)| (median / 1e3, best / 1e3));
        plain(format!("size of {subject}"), AtMost(max), " kB", size)
    };
    let all = [
        (sizes::ACCELERATED, 300.0),
        (sizes::COMPONENT, 350.0),
        (sizes::NPM_GZIP, 100.0),
        (sizes::NPM_INSPECT_GZIP, 60.0),
    ];
    all.map(bar).into()
}

fn startup(figures: &Figures<'_>) -> Bar {
    let work = work(Op::Read, Source::Counter, 0);
    let reached = figures.find(server::STARTUP, server::DEKKER, work);
    let what = "dekker serve: from start to the first healthy answer";
    plain(what, AtMost(300.0), " ms", reached)
}

fn listing(figures: &Figures<'_>) -> [Bar; 2] {
    let of = |bench, subject| figures.find(bench, subject, inspect::work(inspect::COUNT));
    let speed = ratio(of(inspect::NAME, inspect::DEKKER), of(inspect::NAME, inspect::SERDE));
    let memory_max = (inspect::MEMORY_MAX >> 20) as f64;
    [
        plain(
            format!(
                "{}: 1 GiB of etcdctl's JSON, compared with {}",
                inspect::DEKKER,
                inspect::SERDE
            ),
            AtLeast(1.0),
            "× the speed",
            speed,
        ),
        plain(
            format!("{}: memory for 1 GiB of etcdctl's JSON", inspect::DEKKER),
            AtMost(memory_max),
            " MiB",
            of(inspect::MEMORY, inspect::DEKKER),
        ),
    ]
}

/// Returns a bar without a floor.
fn plain(what: impl Into<String>, limit: Limit, unit: &'static str, reached: Option<Pair>) -> Bar {
    Bar::new(what, limit, unit).with(limit, reached, None)
}
