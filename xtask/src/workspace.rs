//! The paths of the workspace and of everything that is built in it.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};
use serde_json::Value;

use crate::command;

/// The checked-out tree and its target directory.
pub(crate) struct Workspace {
    root: PathBuf,
    target: PathBuf,
    ci: bool,
}

impl Workspace {
    /// Finds the workspace, and asks cargo for its target directory.
    ///
    /// # Errors
    /// Returns an error if cargo cannot read the workspace.
    pub(crate) fn find() -> Result<Self> {
        // `cargo run` sets the variable. The compiled-in path is for an xtask that was started without cargo.
        let manifest_dir = std::env::var_os("CARGO_MANIFEST_DIR")
            .map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")), PathBuf::from);
        let root = manifest_dir.parent().context("xtask is not in a workspace")?.to_owned();
        let metadata = command::capture(cargo(&root).args([
            "metadata",
            "--no-deps",
            "--format-version",
            "1",
        ]))?;
        let metadata: Value = serde_json::from_str(&metadata)
            .context("the output of `cargo metadata` is not JSON")?;
        let target = metadata
            .get("target_directory")
            .and_then(Value::as_str)
            .context("the output of `cargo metadata` has no target_directory")?
            .into();
        let ci = std::env::var_os("CI").is_some_and(|value| value == "true");
        Ok(Self { root, target, ci })
    }

    /// Returns the workspace of a copy of the tree in `root`, with its target directory inside the copy.
    pub(crate) fn at(&self, root: PathBuf) -> Self {
        Self { target: root.join("target"), root, ci: self.ci }
    }

    /// The target directory.
    pub(crate) fn target(&self) -> &Path {
        &self.target
    }

    /// The directory of the copy of the tree from which fixes are removed.
    pub(crate) fn without(&self) -> PathBuf {
        self.target.join("without")
    }

    /// The directory of the workspace's Cargo.toml.
    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    /// Whether `CI=true` is set. In CI, a missing prerequisite is an error.
    pub(crate) fn is_ci(&self) -> bool {
        self.ci
    }

    /// Returns a cargo command that runs in the root, without the variables in which `cargo run` describes xtask.
    pub(crate) fn cargo(&self) -> Command {
        self.targeted(cargo(&self.root))
    }

    /// Returns a command for another program, with the same directory and environment as [`Self::cargo`].
    pub(crate) fn command(&self, program: &str) -> Command {
        self.targeted(clean(Command::new(program), &self.root))
    }

    /// A target directory in the environment is that of this tree, and would be used for a copy too.
    fn targeted(&self, mut command: Command) -> Command {
        if std::env::var_os("CARGO_TARGET_DIR").is_some() {
            command.env("CARGO_TARGET_DIR", &self.target);
        }
        command
    }

    /// The core module that rustc compiles from a guest crate.
    pub(crate) fn guest_module(&self, package: &str) -> PathBuf {
        let file = format!("{}.wasm", package.replace('-', "_"));
        self.target.join("wasm32-unknown-unknown/guest").join(file)
    }

    /// The self-contained component.
    pub(crate) fn component(&self) -> PathBuf {
        self.target.join("dekker/transformer.wasm")
    }

    /// The accelerated component. `host/build.rs` looks for it here.
    pub(crate) fn accelerated(&self) -> PathBuf {
        self.target.join("dekker/transformer-accelerated.wasm")
    }

    /// The directory of the accelerated component's code, compiled ahead of time. `host/build.rs` looks for it here.
    pub(crate) fn compiled(&self) -> PathBuf {
        self.target.join("dekker/compiled")
    }

    /// The program that compiles the accelerated component ahead of time.
    pub(crate) fn precompiler(&self) -> PathBuf {
        self.target.join("release/dekker-precompile")
    }

    /// The component that cargo builds from the WASI command crate.
    pub(crate) fn wasi_module(&self) -> PathBuf {
        self.target.join("wasm32-wasip2/guest/dekker-wasm.wasm")
    }

    /// `dekker.wasm`.
    pub(crate) fn wasi_command(&self) -> PathBuf {
        self.target.join("dekker/dekker.wasm")
    }

    /// The directory of wasm-bindgen's output for the modules of the npm package.
    pub(crate) fn npm_bindings(&self) -> PathBuf {
        self.target.join("dekker/npm")
    }

    /// The directory of the npm package's files. It is inside the tree, because `package.json` cannot name files elsewhere.
    pub(crate) fn npm_dist(&self) -> PathBuf {
        self.root.join("dist")
    }

    /// The Inspector's page.
    pub(crate) fn inspector(&self) -> PathBuf {
        self.target.join("dekker/inspector/index.html")
    }

    /// The directory that caches a module's optimized form, together with the module.
    pub(crate) fn optimized(&self, name: &str) -> PathBuf {
        self.target.join("dekker/optimized").join(name)
    }

    /// The directory of the interoperability tests' program and recordings.
    pub(crate) fn interop(&self) -> PathBuf {
        self.target.join("interop")
    }

    /// The Python virtual environment for the hosts in `tests/hosts`.
    pub(crate) fn python(&self) -> PathBuf {
        self.target.join("dekker/python")
    }

    /// The Python virtual environment for the gRPC clients in `tests/clients`.
    pub(crate) fn grpc_python(&self) -> PathBuf {
        self.target.join("dekker/grpc-python")
    }

    /// The directory of the compiled KMS clients.
    pub(crate) fn clients(&self) -> PathBuf {
        self.target.join("dekker/clients")
    }

    /// The directory of the compiled etcds, one directory for each version.
    pub(crate) fn etcd(&self) -> PathBuf {
        self.target.join("dekker/etcd")
    }

    /// The benchmark program.
    pub(crate) fn bench(&self) -> PathBuf {
        self.target.join("release/dekker-bench")
    }

    /// The benchmark's figures, as JSON.
    pub(crate) fn bench_json(&self) -> PathBuf {
        self.target.join("dekker/bench.json")
    }

    /// The directory in which fuzz targets are built and write their corpora and findings.
    pub(crate) fn fuzz(&self) -> PathBuf {
        self.target.join("fuzz")
    }

    /// The directory in which cargo subcommands that are not part of a toolchain are installed.
    pub(crate) fn tools(&self) -> PathBuf {
        self.target.join("dekker/tools")
    }

    /// The `dekker` binary.
    pub(crate) fn binary(&self) -> PathBuf {
        self.target.join("release/dekker")
    }
}

fn cargo(root: &Path) -> Command {
    let program = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    clean(Command::new(program), root)
}

/// Sets the directory of a command, and removes variables that would disturb builds. `cargo run` describes xtask in variables that the build
/// scripts of other crates watch (`CARGO_MANIFEST_DIR`, `CARGO_PKG_NAME` and others); if they were passed on, cargo would rebuild those crates.
/// `CARGO_BUILD_TARGET` would move the host's binary to another directory.
fn clean(mut command: Command, root: &Path) -> Command {
    for (name, _) in std::env::vars_os() {
        let text = name.to_string_lossy();
        if text.starts_with("CARGO_PKG_")
            || text.starts_with("CARGO_MANIFEST_")
            || matches!(
                &*text,
                "CARGO_BIN_NAME"
                    | "CARGO_CRATE_NAME"
                    | "CARGO_PRIMARY_PACKAGE"
                    | "CARGO_BUILD_TARGET"
                    | "OUT_DIR"
            )
        {
            command.env_remove(&name);
        }
    }
    command.current_dir(root);
    command
}
