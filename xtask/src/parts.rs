//! The parts of `cargo xtask test`. To add a part, add an entry to [`PARTS`], and a function to `checks` or `suites`.

mod checks;
mod suites;

use anyhow::{Result, bail};

use crate::report::Counts;
use crate::setup::Missing;
use crate::workspace::Workspace;

/// What must be built before a part runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Needs {
    /// Nothing.
    Nothing,
    /// The components, one of which every build of dekker-host embeds.
    Component,
    /// The components and the `dekker` binary.
    Binary,
}

/// How a part ended if it did not fail.
pub(crate) enum Done {
    /// All checks passed.
    Passed,
    /// All checks passed, and the report shows this note.
    PassedWith(String),
}

/// A part of `cargo xtask test`.
#[derive(Debug)]
pub(crate) struct Part {
    /// Its name on the command line.
    pub name: &'static str,
    /// What the part checks, in a few words.
    pub about: &'static str,
    /// What must be built before it runs.
    pub needs: Needs,
    /// Runs the part, and counts its tests if it has any. The error [`Missing`] means that the part is skipped, except in CI.
    pub run: fn(&Workspace, &mut Counts) -> Result<Done>,
}

impl PartialEq for Part {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name
    }
}

/// All parts, in the order in which they run: those that fail soonest come first.
pub(crate) static PARTS: &[&Part] = &[
    &Part { name: "fmt", about: "all code is formatted", needs: Needs::Nothing, run: checks::fmt },
    &BUILD,
    &CLIPPY,
    &Part {
        name: "targets",
        about: "dekker-core compiles for WebAssembly and for a target without an operating system",
        needs: Needs::Nothing,
        run: checks::targets,
    },
    &Part {
        name: "boundary",
        about: "core's floors, circles between files, dependencies between crates, and what the host and the components may use",
        needs: Needs::Component,
        run: checks::boundary,
    },
    &Part {
        name: "size",
        about: "the components are within their size limits",
        needs: Needs::Component,
        run: checks::size,
    },
    &Part {
        name: "native",
        about: "tests of core, its backends, the host and xtask, doctests included",
        needs: Needs::Binary,
        run: suites::native,
    },
    &Part {
        name: "end-to-end",
        about: "the component under wasmtime, and the dekker binary from end to end",
        needs: Needs::Binary,
        run: suites::end_to_end,
    },
    &Part {
        name: "simulation",
        about: "random histories of the whole host in simulated time: no nonce is repeated, no value is lost",
        needs: Needs::Component,
        run: suites::simulation,
    },
    &Part {
        name: "crash",
        about: "the dekker binary under kill -9, many concurrent starts and stops, full disks, few descriptors and little memory",
        needs: Needs::Binary,
        run: suites::crash,
    },
    &Part {
        name: "wasmtime",
        about: "dekker.wasm under the wasmtime command, compared with the native command",
        needs: Needs::Binary,
        run: suites::wasmtime,
    },
    &Part {
        name: "hosts",
        about: "the component in the example hosts of docs/plugin-hosts.md: Rust, wasmtime, Python and Node",
        needs: Needs::Component,
        run: suites::hosts,
    },
    &INTEROP,
    &Part {
        name: "etcd",
        about: "a real etcd 3.5, 3.6 and 3.7: every output of etcdctl and of the gateway is read back, by the commands too",
        needs: Needs::Binary,
        run: suites::etcd,
    },
    &Part {
        name: "clients",
        about: "KMS clients against dekker kms serve: kube-apiserver 1.31 and 1.37, gRPC for Python and for Node",
        needs: Needs::Binary,
        run: suites::clients,
    },
    &Part {
        name: "node",
        about: "the npm package in Node: its tests, types and packed files, and the behaviour suite",
        needs: Needs::Binary,
        run: suites::node,
    },
    &Part {
        name: "browser",
        about: "the npm package and the Inspector in Chromium: their tests, and the behaviour suite",
        needs: Needs::Component,
        run: suites::browser,
    },
    &DOC,
    &Part {
        name: "deny",
        about: "licences, bans, sources and advisories of all dependencies; only CI installs cargo-deny",
        needs: Needs::Nothing,
        run: checks::deny,
    },
];

/// Builds everything that is shipped.
pub(crate) static BUILD: Part = Part {
    name: "build",
    about: "the component and the dekker binary build",
    needs: Needs::Nothing,
    run: checks::build,
};

/// Replaces [`BUILD`] if no part needs the binary.
pub(crate) static BUILD_COMPONENT: Part = Part {
    name: "build",
    about: "the component builds",
    needs: Needs::Nothing,
    run: checks::build_component,
};

/// The part `interop`, which is also the command `interop`.
pub(crate) static INTEROP: Part = Part {
    name: "interop",
    about: "comparison with kube-apiserver's own Go code: vectors, live values, configurations, health, key states",
    needs: Needs::Binary,
    run: suites::interop,
};

/// The part `clippy`, which is also the command `lint`. It also runs the linter of JavaScript and CSS.
pub(crate) static CLIPPY: Part = Part {
    name: "clippy",
    about: "no warnings from clippy, on any target, or from Biome in JavaScript and CSS",
    needs: Needs::Component,
    run: checks::clippy,
};

/// The part `doc`, which is also the command `doc`.
pub(crate) static DOC: Part = Part {
    name: "doc",
    about: "the documentation builds without warnings",
    needs: Needs::Component,
    run: checks::doc,
};

/// Combines the errors into one. A single error is returned unchanged, and several that are all [`Missing`] become one `Missing`, so that the caller
/// can recognize it. Otherwise the messages are joined.
fn all<const N: usize>(results: [Result<()>; N]) -> Result<()> {
    let mut faults: Vec<anyhow::Error> = results.into_iter().filter_map(Result::err).collect();
    if faults.len() < 2 {
        return faults.pop().map_or(Ok(()), Err);
    }
    let missing: Vec<&Missing> = faults.iter().filter_map(|fault| fault.downcast_ref()).collect();
    if missing.len() == faults.len() {
        return Err(Missing::join(&missing).into());
    }
    let lines: Vec<String> = faults.iter().map(|fault| format!("{fault:#}")).collect();
    bail!(lines.join("; "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique_and_one_word() {
        for (at, part) in PARTS.iter().enumerate() {
            assert!(!part.name.contains(char::is_whitespace), "{}", part.name);
            assert!(
                PARTS.iter().skip(at + 1).all(|other| other.name != part.name),
                "{}",
                part.name
            );
        }
    }

    #[test]
    fn all_errors_are_reported() {
        assert!(all([Ok(()), Ok(())]).is_ok());
        let fault = all([Err(anyhow::anyhow!("one")), Ok(()), Err(anyhow::anyhow!("two"))]);
        assert!(fault.is_err_and(|fault| fault.to_string() == "one; two"));
    }
}
