//! One write and one read, of every subject, at every size.

use anyhow::Result;

use crate::rounds::{Op, Plan, Series, Source, Subject, Work, bytes, take_turns};

/// This benchmark's name.
pub const NAME: &str = "transform";

/// From a token to more than etcd takes.
pub const SIZES: [usize; 6] = [64, 1024, 4096, 8192, 65_536, 0x10_0000];

/// Measures all of it.
///
/// # Errors
/// The first fault of a subject.
pub fn measure(subjects: &mut [Box<dyn Subject>], plan: Plan) -> Result<Vec<Series>> {
    let mut all = Vec::new();
    for size in SIZES {
        for source in [Source::Counter, Source::Seed] {
            for op in [Op::Write, Op::Read] {
                eprintln!("{NAME}: {op}, {source}, {}", bytes(size));
                let work = Work {
                    op,
                    source,
                    size,
                    count: 1,
                };
                all.extend(take_turns(NAME, subjects, work, plan)?);
            }
        }
    }
    Ok(all)
}
