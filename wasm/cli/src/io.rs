//! Bounded input, and output.

use std::io::{Read, Write};
use std::path::Path;

use anyhow::Context;
use zeroize::Zeroizing;

/// 64 MiB: the maximum length of standard input or of a file that a command reads.
pub const INPUT_MAX: u64 = 64 * 1024 * 1024;

/// 1 MiB: the maximum length of a configuration file. The engine also refuses longer ones.
pub const CONFIG_MAX: u64 = 1024 * 1024;

/// Reads a file, or standard input if `path` is `-` or `None`.
///
/// # Errors
/// Returns an error if the input cannot be read or is longer than [`INPUT_MAX`].
pub fn read_input(path: Option<&Path>) -> anyhow::Result<Zeroizing<Vec<u8>>> {
    let mut bytes = Zeroizing::new(Vec::new());
    let (read, name) = match path {
        Some(path) if path != Path::new("-") => {
            let name = path.display().to_string();
            let file = std::fs::File::open(path).with_context(|| format!("cannot read {name}"))?;
            (file.take(INPUT_MAX + 1).read_to_end(&mut bytes), name)
        }
        Some(_) | None => (
            std::io::stdin().lock().take(INPUT_MAX + 1).read_to_end(&mut bytes),
            "standard input".to_owned(),
        ),
    };
    read.with_context(|| format!("cannot read {name}"))?;
    anyhow::ensure!(bytes.len() as u64 <= INPUT_MAX, "{name} is over {INPUT_MAX} bytes long");
    Ok(bytes)
}

/// Reads a configuration file once, through a single descriptor.
///
/// # Errors
/// Returns a message that names the file if the file cannot be read, is empty, or is longer than [`CONFIG_MAX`].
pub fn read_config(path: &Path) -> Result<Zeroizing<Vec<u8>>, String> {
    let cannot = |error: std::io::Error| {
        format!("cannot read the encryption configuration {}: {error}", path.display())
    };
    let file = std::fs::File::open(path).map_err(cannot)?;
    // Allocated at full size: a buffer that grows would leave copies of secrets in freed memory.
    let mut bytes = Zeroizing::new(Vec::with_capacity(CONFIG_MAX as usize + 1));
    file.take(CONFIG_MAX + 1).read_to_end(&mut bytes).map_err(cannot)?;
    if bytes.is_empty() {
        return Err(format!("the encryption configuration {} is empty", path.display()));
    }
    if bytes.len() as u64 > CONFIG_MAX {
        return Err(format!(
            "the encryption configuration {} is over {CONFIG_MAX} bytes long",
            path.display()
        ));
    }
    Ok(bytes)
}

/// Writes all bytes to standard output.
///
/// # Errors
/// Returns an error if the output cannot be written.
pub fn write_output(bytes: &[u8]) -> anyhow::Result<()> {
    let mut out = std::io::stdout().lock();
    out.write_all(bytes).and_then(|()| out.flush()).context("cannot write to standard output")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_configuration_is_read_within_bounds() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("c.yaml");
        assert!(read_config(&path).err().unwrap().contains("cannot read"));
        std::fs::write(&path, b"").unwrap();
        assert!(read_config(&path).err().unwrap().contains("is empty"));
        std::fs::write(&path, vec![b'#'; CONFIG_MAX as usize + 1]).unwrap();
        assert!(read_config(&path).err().unwrap().contains("is over"));
        std::fs::write(&path, b"abc").unwrap();
        assert_eq!(*read_config(&path).unwrap(), b"abc");
    }
}
