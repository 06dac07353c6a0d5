//! Caches the results of long steps until their inputs change.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

/// A cached result, in three files: the output, the input, and how the output was made. The input is written last and removed first; while it
/// exists, the other two belong to it.
pub(crate) struct Kept {
    /// The directory of the three files.
    pub directory: PathBuf,
    /// Everything that the result depends on besides the input, such as the tool's version and arguments.
    pub how: String,
}

impl Kept {
    fn file(&self, name: &str) -> PathBuf {
        self.directory.join(name)
    }

    /// Returns the cached result if it was made from this input, in the same way.
    pub(crate) fn find(&self, input: &[u8]) -> Option<Vec<u8>> {
        let is =
            |name, expected: &[u8]| fs::read(self.file(name)).is_ok_and(|found| found == expected);
        if is("input.wasm", input) && is("how", self.how.as_bytes()) {
            fs::read(self.file("output.wasm")).ok()
        } else {
            None
        }
    }

    /// Calls `run` with the path of the file that it must write, caches this file and returns its content.
    ///
    /// # Errors
    /// Returns the error of `run`, or an error if `run` wrote nothing or a file cannot be read, written or removed.
    pub(crate) fn make(
        &self,
        input: &[u8],
        run: impl FnOnce(&Path) -> Result<()>,
    ) -> Result<Vec<u8>> {
        let output = self.file("output.wasm");
        fs::create_dir_all(&self.directory)
            .with_context(|| format!("cannot create {}", self.directory.display()))?;
        for name in ["input.wasm", "output.wasm"] {
            let old = self.file(name);
            if old.exists() {
                fs::remove_file(&old)
                    .with_context(|| format!("cannot remove {}", old.display()))?;
            }
        }
        run(&output)?;
        let made =
            fs::read(&output).with_context(|| format!("cannot read {}", output.display()))?;
        if made.is_empty() {
            bail!("{} is empty", output.display());
        }
        for (name, bytes) in [("how", self.how.as_bytes()), ("input.wasm", input)] {
            let path = self.file(name);
            fs::write(&path, bytes).with_context(|| format!("cannot write {}", path.display()))?;
        }
        Ok(made)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_result_is_reused_only_for_the_same_module_and_optimizer() -> Result<()> {
        let directory =
            std::env::temp_dir().join(format!("dekker xtask kept {}", std::process::id()));
        let kept = |how: &str| Kept { directory: directory.clone(), how: how.into() };
        let write = |bytes: &'static [u8]| {
            move |path: &Path| fs::write(path, bytes).map_err(anyhow::Error::from)
        };
        assert_eq!(kept("1").find(b"in"), None);
        assert_eq!(kept("1").make(b"in", write(b"out"))?, b"out");
        let found = [kept("1").find(b"in"), kept("1").find(b"other"), kept("2").find(b"in")];
        // A run that fails leaves nothing that could be mistaken for its result.
        let failed = kept("1").make(b"new", |path| {
            fs::write(path, b"half")?;
            bail!("no")
        });
        let after = [kept("1").find(b"in"), kept("1").find(b"new")];
        fs::remove_dir_all(&directory)?;
        assert_eq!(found, [Some(b"out".to_vec()), None, None]);
        assert!(failed.is_err());
        assert_eq!(after, [None, None]);
        Ok(())
    }
}
