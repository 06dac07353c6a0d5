use super::*;
use crate::subjects::names::{
    ACCELERATED, ACCELERATED_BATCH, GO, NATIVE, RING, RING_THREADS, THREADS,
};
use crate::{many_server, readers, server, threads};

fn series(bench: &'static str, subject: &'static str, work: Work, value: f64) -> Series {
    Series::new(bench, subject, work, "ns", vec![value])
}

/// The time of a write of 1 KiB.
fn write(subject: &'static str, value: f64) -> Series {
    series(transform::NAME, subject, AT, value)
}

const AT: Work = Work { op: Op::Write, source: Source::Counter, size: 1024, count: 1 };

fn bar(series: &[Series], what: &str, size: Option<usize>) -> Bar {
    let all = all(series, 2);
    let mut found = all.into_iter().filter(|bar| bar.what.contains(what) && bar.size == size);
    let bar = found.next().unwrap();
    assert_eq!(found.next(), None, "{what} is not one bar");
    bar
}

#[test]
fn a_bar_compares_the_ratio_of_the_medians() {
    let go = write(GO, 6000.0);
    let what = "native, ring: write, counter, compared with Go";
    for (desc, ours, reached, met) in [
        ("faster", 500.0, Some(12.0), Some(true)),
        ("exactly at the target", 1000.0, Some(6.0), Some(true)),
        ("too slow", 2000.0, Some(3.0), Some(false)),
    ] {
        let bar = bar(&[go.clone(), write(NATIVE, ours)], what, Some(1024));
        assert_eq!((bar.reached, bar.met), (reached, met), "{desc}");
        assert_eq!(bar.margin, reached.map(|reached: f64| reached / 6.0), "{desc}");
    }
    let bar = bar(&[go], what, Some(1024));
    assert_eq!((bar.reached, bar.margin, bar.met), (None, None, None), "not measured");
}

#[test]
fn every_size_and_source_is_compared_with_go() {
    let all = all(&[], 2);
    for (subject, small, large) in [(NATIVE, "6", "4"), (ACCELERATED, "3", "3")] {
        for source in [Source::Counter, Source::Seed] {
            for op in ["write", "read"] {
                let what = format!("{subject}: {op}, {source}, compared with Go");
                let of: Vec<_> = all.iter().filter(|bar| bar.what == what).collect();
                let sizes: Vec<_> = of.iter().filter_map(|bar| bar.size).collect();
                assert_eq!(sizes, transform::SIZES, "{what}");
                for bar in of {
                    let factor = if bar.size <= Some(8192) { small } else { large };
                    assert_eq!(bar.bar, format!("at least {factor}× faster"), "{what}");
                }
            }
        }
    }
}

#[test]
fn the_part_of_rings_speed_depends_on_the_size() {
    let all = all(&[], 2);
    let targets = |subject: &str| {
        let what = format!("{subject}: read, compared with ring");
        let of = all.iter().filter(|bar| bar.what == what);
        of.map(|bar| (bar.size.unwrap(), bar.bar.replace("at least ", ""))).collect::<Vec<_>>()
    };
    let of = |size, part: &str| (size, format!("{part}× the speed"));
    let singly = [
        of(1024, "0.2"),
        of(4096, "0.4"),
        of(8192, "0.55"),
        of(65_536, "0.9"),
        of(1 << 20, "0.95"),
    ];
    assert_eq!(targets(ACCELERATED), singly);
    assert_eq!(targets(ACCELERATED_BATCH), [of(1024, "0.35"), of(4096, "0.6"), of(8192, "0.75")]);
}

#[test]
fn the_floor_is_the_better_of_the_two_ways() {
    let what = "accelerated component: write, compared with ring";
    let measured = [write(ACCELERATED, 1000.0), write(RING, 100.0)];
    let with = |floors: &[(&'static str, f64)]| {
        let floors = floors.iter().map(|(subject, value)| write(subject, *value));
        bar(&measured.iter().cloned().chain(floors).collect::<Vec<_>>(), what, Some(1024))
    };
    for (desc, floors, floor, floor_met) in [
        ("not measured", vec![], None, None),
        ("one way", vec![(HANDLES, 400.0)], Some(0.25), Some(true)),
        ("both ways", vec![(HANDLES, 400.0), (PLANS, 200.0)], Some(0.5), Some(true)),
        ("out of reach", vec![(HANDLES, 800.0), (PLANS, 1000.0)], Some(0.125), Some(false)),
    ] {
        let bar = with(&floors);
        assert_eq!((bar.reached, bar.met), (Some(0.1), Some(false)), "{desc}");
        assert_eq!((bar.floor, bar.floor_met), (floor, floor_met), "{desc}");
    }
}

#[test]
fn each_bar_has_the_floor_of_its_work() {
    let seed = Work { source: Source::Seed, ..AT };
    let all = [
        write(GO, 8000.0),
        series(transform::NAME, GO, seed, 9000.0),
        write(RING, 100.0),
        write(PLANS, 400.0),
        write(PLANS_BATCH, 200.0),
    ];
    for (what, floor) in [
        ("native, ring: write, counter, compared with Go", Some(80.0)),
        ("native, ring: write, seed, compared with Go", Some(90.0)),
        ("accelerated component: write, counter, compared with Go", Some(20.0)),
        ("accelerated component: write, seed, compared with Go", Some(22.5)),
        ("accelerated component: write, compared with ring", Some(0.25)),
        ("accelerated component, batches of 64: write, compared with ring", Some(0.5)),
        ("npm package: write, compared with @noble/ciphers", None),
    ] {
        assert_eq!(bar(&all, what, Some(1024)).floor, floor, "{what}");
    }
}

#[test]
fn two_threads_are_compared_with_one_and_with_ring() {
    let of = |subject, count, value| {
        let work = Work { count, size: threads::SIZE, ..AT };
        series(threads::NAME, subject, work, value)
    };
    let all = [
        of(THREADS, 1, 1000.0),
        of(THREADS, 2, 500.0),
        of(RING_THREADS, 1, 300.0),
        of(RING_THREADS, 2, 200.0),
    ];
    let found = bar(&all, "native over threads: write", None);
    assert_eq!((found.reached, found.met), (Some(2.0), Some(true)));
    assert_eq!((found.floor, found.floor_met), (Some(1.5), Some(false)));
    assert_eq!(bar(&all, "native over threads: read", None).reached, None);
    assert_eq!(bar(&all, "dekker-host over threads: write", None).reached, None);
}

#[test]
fn values_over_http_are_counted() {
    for (rate, met) in [(299_999.0, false), (300_000.0, true)] {
        let work = many_server::work(Op::Read);
        let measured = Series::new(many_server::NAME, server::DEKKER, work, "values/s", vec![rate]);
        let found = bar(&[measured], "HTTP, 1 connection: read", None);
        assert_eq!((found.reached, found.met), (Some(rate), Some(met)));
    }
}

#[test]
fn the_p99_of_readers_is_scaled_by_the_cores() {
    let at = |count| Work { op: Op::Read, count, ..AT };
    let one = series(readers::NAME, readers::P99, at(1), 100.0);
    // On two cores, 64 readers wait 32 times as long; 64 times as long is twice that.
    let many = series(readers::NAME, readers::P99, at(64), 6400.0);
    let found = bar(&[one, many], "64 readers", None);
    assert_eq!((found.reached, found.met, found.margin), (Some(2.0), Some(true), Some(1.0)));
}
