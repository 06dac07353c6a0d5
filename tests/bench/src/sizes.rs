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
/// The npm package's module.
pub const NPM: &str = "npm module";
/// The npm package's module, compressed with gzip.
pub const NPM_GZIP: &str = "npm module, gzip";
/// `dekker`, which embeds the accelerated component.
pub const DEKKER: &str = "dekker";
/// The WASI command.
pub const COMMAND: &str = "dekker.wasm";

/// Returns the sizes of those of the files that exist. Node compresses the npm module, if there is Node.
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
        if let (NPM, Some(node)) = (*name, node) {
            let script = "const fs = require('fs'), zlib = require('zlib');
                console.log(zlib.gzipSync(fs.readFileSync(process.argv[1]), { level: 9 }).length)";
            let output = Command::new(node).args(["-e", script]).arg(path).output()?;
            let text = String::from_utf8(output.stdout)?;
            add(NPM_GZIP, text.trim().parse().context("the output of node is not a number")?);
        }
    }
    Ok(all)
}
