//! The sizes of the npm package: what a browser loads for an entry point.

use anyhow::{Context, Result, bail};
use serde_json::Value;

use crate::command;
use crate::setup;
use crate::workspace::Workspace;

/// An entry point of the package.
struct Entry {
    /// The name in `import`.
    name: &'static str,
    /// Its file for browsers.
    file: &'static str,
    /// The limit: what a browser loads must be smaller. It is slightly above the current size, so that the size can only become smaller.
    max_bytes: u64,
    /// The goal: it should be smaller.
    goal_bytes: u64,
}

static ENTRIES: [Entry; 2] = [
    Entry { name: "dekker", file: "index.browser.js", max_bytes: 290_000, goal_bytes: 150_000 },
    Entry {
        name: "dekker/inspect",
        file: "inspect.browser.js",
        max_bytes: 74_000,
        goal_bytes: 60_000,
    },
];

/// What a browser loads, in bytes after gzip.
#[derive(Clone, Copy)]
struct Sizes {
    modules: u64,
    scripts: u64,
}

/// Checks that the package that was built last is under its size limits. Returns a text with the sizes.
///
/// # Errors
/// Returns [`setup::Missing`] if there is no Node. Returns another error if an entry point is too large or a file cannot be read.
pub(crate) fn check(workspace: &Workspace) -> Result<String> {
    let (text, over) = measure(workspace)?;
    if over {
        bail!("{text}");
    }
    Ok(text)
}

/// Returns a text with the sizes.
///
/// # Errors
/// Returns an error if Node cannot be run or a file cannot be read.
pub(super) fn describe(workspace: &Workspace) -> Result<String> {
    measure(workspace).map(|(text, _)| text)
}

/// Returns a text with the sizes, and whether one is over its limit.
fn measure(workspace: &Workspace) -> Result<(String, bool)> {
    setup::node_modules(workspace)?;
    let mut texts = Vec::new();
    let mut over = false;
    for entry in &ENTRIES {
        let sizes = Sizes::of(workspace, entry)?;
        over |= sizes.total() >= entry.max_bytes;
        texts.push(entry.against_bar(sizes));
    }
    Ok((texts.join("; "), over))
}

impl Sizes {
    fn of(workspace: &Workspace, entry: &Entry) -> Result<Self> {
        let file = workspace.npm_dist().join(entry.file);
        let mut script = workspace.command("node");
        let output = command::capture(script.arg("wasm/js/sizes.js").arg(file))?;
        Self::parse(&output).context("the output of sizes.js is not what it should be")
    }

    fn parse(output: &str) -> Option<Self> {
        let sizes: Value = serde_json::from_str(output).ok()?;
        Some(Self {
            modules: sizes.get("modules")?.as_u64()?,
            scripts: sizes.get("scripts")?.as_u64()?,
        })
    }

    fn total(self) -> u64 {
        self.modules + self.scripts
    }
}

impl Entry {
    fn against_bar(&self, sizes: Sizes) -> String {
        let Self { name, max_bytes, goal_bytes, .. } = self;
        let total = sizes.total();
        let large = if total < *max_bytes { "" } else { ": TOO LARGE" };
        let missed = if total < *goal_bytes {
            String::new()
        } else {
            format!(", goal missed: under {}", kilobytes(*goal_bytes))
        };
        format!(
            "{name} {} after gzip, {} of it WebAssembly{large} (limit: under {}{missed})",
            kilobytes(total),
            kilobytes(sizes.modules),
            kilobytes(*max_bytes),
        )
    }
}

fn kilobytes(bytes: u64) -> String {
    format!("{}.{} kB", bytes / 1000, bytes % 1000 / 100)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_compared_with_limit_and_goal() {
        let entry = Entry { name: "e", file: "", max_bytes: 200_000, goal_bytes: 150_000 };
        let table = [
            (149_999, "e 149.9 kB after gzip, 100.0 kB of it WebAssembly (limit: under 200.0 kB)"),
            (
                150_000,
                "e 150.0 kB after gzip, 100.0 kB of it WebAssembly (limit: under 200.0 kB, goal missed: under 150.0 kB)",
            ),
            (
                200_000,
                "e 200.0 kB after gzip, 100.0 kB of it WebAssembly: TOO LARGE (limit: under 200.0 kB, goal missed: under 150.0 kB)",
            ),
        ];
        for (total, expected) in table {
            let sizes = Sizes { modules: 100_000, scripts: total - 100_000 };
            assert_eq!(entry.against_bar(sizes), expected);
        }
    }

    #[test]
    fn the_output_of_the_script_is_parsed() {
        let total = |output| Sizes::parse(output).map(Sizes::total);
        assert_eq!(total("{\"modules\":3,\"scripts\":4}\n"), Some(7));
        assert_eq!(total("{\"modules\":3}"), None);
        assert_eq!(total("Error"), None);
    }
}
