//! Measures the sizes of the files that are shipped.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result};

use crate::rounds::{Op, Series, Source, Work};

/// This benchmark's name.
pub const NAME: &str = "sizes";

/// The component that contains its own ciphers.
pub const COMPONENT: &str = "transformer.wasm";
/// The component that uses the host's keys and ciphers.
pub const ACCELERATED: &str = "transformer-accelerated.wasm";
/// The engine's module of the npm package.
pub const NPM: &str = "npm module";
/// The engine's module of the npm package, compressed with gzip.
pub const NPM_GZIP: &str = "npm module, gzip";
/// The module of `dekker/inspect`.
pub const NPM_INSPECT: &str = "npm module for inspection";
/// The module of `dekker/inspect`, compressed with gzip.
pub const NPM_INSPECT_GZIP: &str = "npm module for inspection, gzip";
/// `dekker`, which embeds the accelerated component.
pub const DEKKER: &str = "dekker";
/// The WASI command.
pub const COMMAND: &str = "dekker.wasm";

/// Returns the sizes of those of the files that exist. Node compresses the npm modules, if there is Node.
///
/// # Errors
/// Returns an error if a file that exists cannot be read or compressed.
pub fn measure(
    files: &[(&'static str, Option<PathBuf>)],
    node: Option<&str>,
) -> Result<Vec<Series>> {
    let mut all = Vec::new();
    let mut add = |name, bytes: u64| {
        let work = Work { op: Op::Read, source: Source::Counter, size: 0, count: 1 };
        all.push(Series::new(NAME, name, work, "bytes", vec![bytes as f64]));
    };
    for (name, path) in files {
        let Some(path) = path.as_ref().filter(|path| path.is_file()) else {
            eprintln!("SKIP {NAME}: {name} is not built");
            continue;
        };
        add(name, fs::metadata(path)?.len());
        let gzip = match *name {
            NPM => Some(NPM_GZIP),
            NPM_INSPECT => Some(NPM_INSPECT_GZIP),
            _ => None,
        };
        if let (Some(gzip), Some(node)) = (gzip, node) {
            let script = "const fs = require('fs'), zlib = require('zlib');
                console.log(zlib.gzipSync(fs.readFileSync(process.argv[1]), { level: 9 }).length)";
            let output = Command::new(node).args(["-e", script]).arg(path).output()?;
            let text = String::from_utf8(output.stdout)?;
            add(gzip, text.trim().parse().context("the output of node is not a number")?);
        }
    }
    Ok(all)
}
