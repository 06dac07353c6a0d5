//! The environment of each test: a separate directory, the binary, and a runtime.

use std::ffi::OsStr;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs, thread};

use tempfile::TempDir;

use crate::process::{Finished, Process};

pub(crate) struct Stage {
    dir: TempDir,
    binary: PathBuf,
}

/// Runs a test. Without a binary the test is skipped with a message, and fails in CI.
pub(crate) fn play(test: impl AsyncFnOnce(Stage)) {
    let Some(binary) = binary() else {
        skip("there is no dekker binary; build it: cargo xtask build");
        assert_ne!(env::var("CI").as_deref(), Ok("true"), "no test is skipped in CI");
        return;
    };
    // In /tmp regardless of TMPDIR, because a unix socket's path is limited to 107 bytes.
    let dir =
        tempfile::Builder::new().prefix("dk").tempdir_in("/tmp").expect("a temporary directory");
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .expect("a runtime");
    runtime.block_on(test(Stage { dir, binary }));
    runtime.shutdown_background();
}

/// Reports on the terminal, bypassing the capture of the test harness, that this test was skipped.
pub(crate) fn skip(why: &str) {
    let name = thread::current().name().unwrap_or("end to end").to_owned();
    let _ = writeln!(std::io::stderr(), "SKIPPED {name}: {why}");
}

fn binary() -> Option<PathBuf> {
    if let Some(named) = env::var_os("DEKKER_BIN") {
        let named = fs::canonicalize(&named);
        return Some(named.expect("DEKKER_BIN names a file"));
    }
    let own = env::current_exe().expect("this test's executable");
    own.ancestors().skip(1).map(|dir| dir.join("dekker")).find(|path| path.is_file())
}

impl Stage {
    /// Returns a path in this test's directory.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Returns the state directory that [`Stage::serve`] uses.
    pub(crate) fn state(&self) -> PathBuf {
        self.path("state")
    }

    pub(crate) fn binary(&self) -> &Path {
        &self.binary
    }

    /// Writes a file in this test's directory and returns its path.
    pub(crate) fn file(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path(name);
        fs::write(&path, content).expect("a file in our own directory");
        path
    }

    /// Returns a `dekker` command that runs in this test's directory.
    pub(crate) fn command<A: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = A>) -> Command {
        let mut command = Command::new(&self.binary);
        command.args(args).current_dir(self.dir.path());
        // A test that names no directory must not use those of the system.
        command.env_clear().env("HOME", self.path("home")).env("XDG_STATE_HOME", self.path("home"));
        command
    }

    /// Runs `dekker` to its end.
    pub(crate) async fn run(&self, args: &[&str], input: &[u8]) -> Finished {
        Process::start(self.command(args), input).finished().await
    }
}

/// Returns a configuration file with one rule for secrets: these KMS v2 providers, the first of which writes, and then `identity`.
pub(crate) fn kms_config(providers: &[(&str, &Path)]) -> String {
    let kms = providers.iter().map(|(name, socket)| {
        let endpoint = format!("unix://{}", socket.display());
        format!(
            "  - kms: {{apiVersion: v2, name: {name}, endpoint: \"{endpoint}\", timeout: 2s}}\n"
        )
    });
    let kms: String = kms.collect();
    format!(
        "apiVersion: apiserver.config.k8s.io/v1\nkind: EncryptionConfiguration\nresources:\n- resources: [secrets]\n  providers:\n{kms}  - identity: {{}}\n"
    )
}

/// Returns a configuration file without KMS providers.
pub(crate) fn plain_config() -> String {
    kms_config(&[])
}
