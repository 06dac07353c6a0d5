//! `cargo bench -p dekker-bench`: measures a write and a read in core and in the component, each separately. Use it to compare with the last run;
//! `cargo xtask bench` compares with other implementations.
// The items that `criterion_group` generates have no docs.
#![allow(missing_docs)]

use std::time::Duration;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use dekker_bench::rounds::{Op, Source, Subject, Work, bytes};
use dekker_bench::subjects::{Batches, Ours, RingAlone};

fn transform(criterion: &mut Criterion) {
    let mut subjects: Vec<Box<dyn Subject>> = vec![
        Box::new(Ours::native().expect("an engine")),
        Box::new(Ours::portable().expect("an engine")),
        Box::new(Ours::accelerated().expect("an engine")),
        Box::new(Batches::new().expect("an engine")),
        Box::new(RingAlone::new().expect("a key")),
    ];
    for source in [Source::Counter, Source::Seed] {
        for op in [Op::Write, Op::Read] {
            let mut group = criterion.benchmark_group(format!("{op} {source}"));
            for size in [64, 1024, 4096, 8192] {
                group.throughput(Throughput::Bytes(size as u64));
                let work = Work { op, source, size, count: 1 };
                for subject in &mut subjects {
                    if !subject.can(&work) {
                        continue;
                    }
                    let id = BenchmarkId::new(subject.name(), bytes(size));
                    group.bench_function(id, |bencher| {
                        bencher.iter_custom(|n| subject.run(&work, n).expect("the work succeeds"));
                    });
                }
            }
            group.finish();
        }
    }
}

criterion_group! {
    name = benches;
    config = Criterion::default().sample_size(20).measurement_time(Duration::from_secs(1)).warm_up_time(Duration::from_millis(200));
    targets = transform
}
criterion_main!(benches);
