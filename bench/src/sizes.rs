//! How big what is shipped is.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result};

use crate::rounds::{Op, Series, Source, Work};

/// This benchmark's name.
pub const NAME: &str = "sizes";

/// The component that has its own cipher.
pub const COMPONENT: &str = "transformer.wasm";
/// The component whose keys are the host's.
pub const ACCELERATED: &str = "transformer-accelerated.wasm";
/// The module of the npm package.
pub const NPM: &str = "npm module";
/// The same, packed by gzip.
pub const NPM_GZIP: &str = "npm module, gzip";
/// `dekker`, which embeds the accelerated component.
pub const DEKKER: &str = "dekker";
/// The WASI command.
pub const COMMAND: &str = "dekker.wasm";

/// What there is of these files. Packing asks Node.
///
/// # Errors
/// When one that is there cannot be read or packed.
pub fn measure(
    files: &[(&'static str, Option<PathBuf>)],
    node: Option<&str>,
) -> Result<Vec<Series>> {
    let mut all = Vec::new();
    let mut add = |name, bytes: u64| {
        let work = Work {
            op: Op::Read,
            source: Source::Counter,
            size: 0,
            count: 1,
        };
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
            add(
                NPM_GZIP,
                text.trim().parse().context("node printed no number")?,
            );
        }
    }
    Ok(all)
}
