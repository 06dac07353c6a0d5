//! Measures a write and a read, for every subject and every size.

use anyhow::Result;

use crate::rounds::{Op, Plan, Series, Source, Subject, Work, bytes, take_turns};

/// This benchmark's name.
pub const NAME: &str = "transform";

/// The sizes of the plaintext in bytes: from a token up to 1 MiB.
pub const SIZES: [usize; 6] = [64, 1024, 4096, 8192, 65_536, 0x10_0000];

/// Measures every combination of size, DEK source and operation.
///
/// # Errors
/// Returns the first error of a subject.
pub fn measure(subjects: &mut [Box<dyn Subject>], plan: Plan) -> Result<Vec<Series>> {
    let mut all = Vec::new();
    for size in SIZES {
        for source in [Source::Counter, Source::Seed] {
            for op in [Op::Write, Op::Read] {
                eprintln!("{NAME}: {op}, {source}, {}", bytes(size));
                let work = Work { op, source, size, count: 1 };
                all.extend(take_turns(NAME, subjects, work, plan)?);
            }
        }
    }
    Ok(all)
}
