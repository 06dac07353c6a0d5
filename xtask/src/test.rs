//! `cargo xtask test`: runs parts in order, continues after a failure, and prints a report at the end.

use std::time::Instant;

use crate::parts::{self, Done, Needs, Part};
use crate::report::{Counts, PartReport, Report, Verdict};
use crate::setup::Missing;
use crate::workspace::Workspace;

/// Runs the parts, after the build that they need. Returns `false` if a part failed.
pub(crate) fn run(workspace: &Workspace, parts: &[&'static Part]) -> bool {
    let mut report = Report::default();
    let mut build = None;
    for part in with_build(parts) {
        println!("\n== {}: {}", part.name, part.about);
        let ended = match (part.needs, &build) {
            (Needs::Component | Needs::Binary, Some(verdict)) => without_build(part, verdict),
            (Needs::Component | Needs::Binary, None) | (Needs::Nothing, _) => None,
        };
        let ended = ended.unwrap_or_else(|| run_part(workspace, part));
        match &ended.verdict {
            Verdict::Passed { .. } => {}
            Verdict::Failed { reason } => println!("FAIL {}: {reason}", part.name),
            Verdict::Skipped { reason } => println!("SKIP {}: {reason}", part.name),
        }
        if part.name == parts::BUILD.name {
            build = Some(match ended.verdict {
                Verdict::Passed { .. } => Verdict::Passed { note: None },
                Verdict::Failed { .. } => {
                    Verdict::Failed { reason: "not run: the build failed".into() }
                }
                Verdict::Skipped { .. } => {
                    Verdict::Skipped { reason: "not run: the build was skipped".into() }
                }
            });
        }
        report.add(ended);
    }
    print!("\n{}", report.render());
    report.is_good()
}

/// Prepends the smallest build that the parts need, unless the parts include [`parts::BUILD`].
fn with_build(parts: &[&'static Part]) -> Vec<&'static Part> {
    let needs = parts.iter().map(|part| part.needs).max().unwrap_or(Needs::Nothing);
    let build = match needs {
        _ if parts.contains(&&parts::BUILD) => None,
        Needs::Nothing => None,
        Needs::Component => Some(&parts::BUILD_COMPONENT),
        Needs::Binary => Some(&parts::BUILD),
    };
    build.into_iter().chain(parts.iter().copied()).collect()
}

/// Returns the report of a part whose build failed or was skipped: the part ends like the build. Returns `None` if the build passed.
fn without_build(part: &Part, build: &Verdict) -> Option<PartReport> {
    let verdict = match build {
        Verdict::Passed { .. } => return None,
        Verdict::Failed { reason } => Verdict::Failed { reason: reason.clone() },
        Verdict::Skipped { reason } => Verdict::Skipped { reason: reason.clone() },
    };
    Some(PartReport {
        name: part.name,
        verdict,
        counts: Counts::default(),
        elapsed: std::time::Duration::ZERO,
    })
}

fn run_part(workspace: &Workspace, part: &Part) -> PartReport {
    let start = Instant::now();
    let mut counts = Counts::default();
    let verdict = match (part.run)(workspace, &mut counts) {
        Ok(Done::Passed) => Verdict::Passed { note: None },
        Ok(Done::PassedWith(note)) => Verdict::Passed { note: Some(note) },
        Err(fault) if fault.is::<Missing>() && !workspace.is_ci() => {
            Verdict::Skipped { reason: format!("{fault:#}") }
        }
        Err(fault) => Verdict::Failed { reason: format!("{fault:#}") },
    };
    PartReport { name: part.name, verdict, counts, elapsed: start.elapsed() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn build_for(names: &[&str]) -> Vec<&'static str> {
        let parts: Vec<&Part> =
            parts::PARTS.iter().copied().filter(|part| names.contains(&part.name)).collect();
        with_build(&parts).iter().map(|part| part.about).collect()
    }

    #[test]
    fn parts_get_the_smallest_build_that_they_need() {
        let table: &[(&str, &[&str], Option<&Part>)] = &[
            ("no build", &["fmt", "targets"], None),
            ("the component", &["fmt", "clippy"], Some(&parts::BUILD_COMPONENT)),
            ("the binary", &["clippy", "end-to-end"], Some(&parts::BUILD)),
        ];
        for (desc, names, build) in table {
            let order = build_for(names);
            assert_eq!(order.len(), names.len() + usize::from(build.is_some()), "{desc}");
            if let Some(build) = build {
                assert_eq!(order.first(), Some(&build.about), "{desc}");
            }
        }
    }

    #[test]
    fn a_requested_build_is_not_added_again() {
        let order = build_for(&["fmt", "build", "native"]);
        assert_eq!(order.len(), 3);
        assert_eq!(order.get(1), Some(&parts::BUILD.about));
    }

    #[test]
    fn a_part_has_the_verdict_of_its_missing_build() {
        let ended = |build| without_build(&parts::DOC, &build).map(|report| report.verdict);
        let failed = || Verdict::Failed { reason: "f".into() };
        let skipped = || Verdict::Skipped { reason: "s".into() };
        assert_eq!(ended(Verdict::Passed { note: None }), None);
        assert_eq!(ended(failed()), Some(failed()));
        assert_eq!(ended(skipped()), Some(skipped()));
    }
}
