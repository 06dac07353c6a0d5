//! Where things are.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};
use serde_json::Value;

use crate::command;

/// The checked-out tree and what is built in it.
pub struct Workspace {
    root: PathBuf,
    target: PathBuf,
    ci: bool,
}

impl Workspace {
    /// Asks cargo for the target directory.
    ///
    /// # Errors
    /// cargo cannot read the workspace.
    pub fn find() -> Result<Self> {
        // Set by `cargo run`; the other is for an xtask that was started by hand.
        let manifest_dir = std::env::var_os("CARGO_MANIFEST_DIR")
            .map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")), PathBuf::from);
        let root = manifest_dir
            .parent()
            .context("xtask stands in no workspace")?
            .to_owned();
        let metadata = command::capture(cargo(&root).args([
            "metadata",
            "--no-deps",
            "--format-version",
            "1",
        ]))?;
        let metadata: Value = serde_json::from_str(&metadata)
            .context("cargo metadata printed something else than JSON")?;
        let target = metadata
            .get("target_directory")
            .and_then(Value::as_str)
            .context("cargo metadata named no target_directory")?
            .into();
        let ci = std::env::var_os("CI").is_some_and(|value| value == "true");
        Ok(Self { root, target, ci })
    }

    /// A copy of the tree in another place, with a target directory in it.
    pub fn at(&self, root: PathBuf) -> Self {
        Self {
            target: root.join("target"),
            root,
            ci: self.ci,
        }
    }

    /// Where cargo builds.
    pub fn target(&self) -> &Path {
        &self.target
    }

    /// Where the tree is copied to, to take a fix out.
    pub fn without(&self) -> PathBuf {
        self.target.join("without")
    }

    /// The directory of the workspace's Cargo.toml.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// A prerequisite that is missing is a fault.
    pub fn is_ci(&self) -> bool {
        self.ci
    }

    /// cargo, in the root and without what `cargo run` told xtask about itself.
    pub fn cargo(&self) -> Command {
        cargo(&self.root)
    }

    /// Any program, in the same surroundings as [`Self::cargo`].
    pub fn command(&self, program: &str) -> Command {
        clean(Command::new(program), &self.root)
    }

    /// What rustc makes of a guest crate.
    pub fn guest_module(&self, package: &str) -> PathBuf {
        let file = format!("{}.wasm", package.replace('-', "_"));
        self.target.join("wasm32-unknown-unknown/guest").join(file)
    }

    /// The self-contained component.
    pub fn component(&self) -> PathBuf {
        self.target.join("dekker/transformer.wasm")
    }

    /// The accelerated component. `host/build.rs` looks for it here.
    pub fn accelerated(&self) -> PathBuf {
        self.target.join("dekker/transformer-accelerated.wasm")
    }

    /// What was compiled ahead of time of the accelerated component. `host/build.rs` looks for it here.
    pub fn compiled(&self) -> PathBuf {
        self.target.join("dekker/compiled")
    }

    /// What compiles it.
    pub fn precompiler(&self) -> PathBuf {
        self.target.join("release/dekker-precompile")
    }

    /// What cargo makes of the command crate.
    pub fn wasi_module(&self) -> PathBuf {
        self.target.join("wasm32-wasip2/guest/dekker-wasm.wasm")
    }

    /// `dekker.wasm`.
    pub fn wasi_command(&self) -> PathBuf {
        self.target.join("dekker/dekker.wasm")
    }

    /// What rustc makes of the crate for JavaScript.
    pub fn npm_module(&self) -> PathBuf {
        self.target
            .join("wasm32-unknown-unknown/guest/dekker_js.wasm")
    }

    /// What wasm-bindgen makes of it.
    pub fn npm_bindings(&self) -> PathBuf {
        self.target.join("dekker/npm")
    }

    /// The files of the npm package: in the tree, for `package.json` can name no other place.
    pub fn npm_dist(&self) -> PathBuf {
        self.root.join("dist")
    }

    /// The Inspector's page.
    pub fn inspector(&self) -> PathBuf {
        self.target.join("dekker/inspector/index.html")
    }

    /// What the optimizer made of a module, and of which.
    pub fn optimized(&self, name: &str) -> PathBuf {
        self.target.join("dekker/optimized").join(name)
    }

    /// Where the interoperability harness builds and records.
    pub fn interop(&self) -> PathBuf {
        self.target.join("interop")
    }

    /// A virtual environment of Python, for the hosts in it.
    pub fn python(&self) -> PathBuf {
        self.target.join("dekker/python")
    }

    /// The same for gRPC.
    pub fn grpc_python(&self) -> PathBuf {
        self.target.join("dekker/grpc-python")
    }

    /// Programs that are KMS clients.
    pub fn clients(&self) -> PathBuf {
        self.target.join("dekker/clients")
    }

    /// What measures.
    pub fn bench(&self) -> PathBuf {
        self.target.join("release/dekker-bench")
    }

    /// What it found.
    pub fn bench_json(&self) -> PathBuf {
        self.target.join("dekker/bench.json")
    }

    /// Where fuzzers build, and what they leave behind.
    pub fn fuzz(&self) -> PathBuf {
        self.target.join("fuzz")
    }

    /// Where tools of cargo's are installed that are no part of a toolchain.
    pub fn tools(&self) -> PathBuf {
        self.target.join("dekker/tools")
    }

    /// The `dekker` binary.
    pub fn binary(&self) -> PathBuf {
        self.target.join("release/dekker")
    }
}

fn cargo(root: &Path) -> Command {
    let program = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    clean(Command::new(program), root)
}

/// `cargo run` describes xtask to xtask in variables that build scripts of other crates watch (`CARGO_MANIFEST_DIR`,
/// `CARGO_PKG_NAME`…): handed on, they would make cargo build those crates anew. A target for everything (`CARGO_BUILD_TARGET`)
/// would move the host's binary elsewhere.
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
