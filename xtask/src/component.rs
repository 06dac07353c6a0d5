//! Builds components from the guest crates.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use wit_component::{ComponentEncoder, DecodedWasm};

use crate::command;
use crate::optimize;
use crate::setup::{self, Missing};
use crate::short_names;
use crate::workspace::Workspace;

/// A component that is built from a guest crate.
struct Component {
    /// The name in messages, and of the directory in which the optimizer caches the module.
    name: &'static str,
    package: &'static str,
    /// The only interfaces that the component may import.
    imports: &'static [&'static str],
    /// The limit: the component must be smaller.
    max_bytes: usize,
    /// The goal: the component should be smaller.
    goal_bytes: usize,
    path: fn(&Workspace) -> PathBuf,
}

const RANDOM: &str = "wasi:random/random";
const KEYS: &str = "dekker:crypto/keys";

static COMPONENTS: [Component; 2] = [
    Component {
        name: "component",
        package: "dekker-component",
        imports: &[RANDOM],
        // Slightly above its current size. The hints of `config check`, the names of resources and plans took it over its goal.
        max_bytes: 420_000,
        goal_bytes: 400_000,
        path: Workspace::component,
    },
    Component {
        name: "accelerated component",
        package: "dekker-accelerated",
        imports: &[RANDOM, KEYS],
        // Slightly above its current size, so that the component can only become smaller.
        max_bytes: 418_000,
        goal_bytes: 300_000,
        path: Workspace::accelerated,
    },
];

/// Builds the guest crates, optimizes them and encodes them as components. A file is written only if its content changed, so that cargo does not
/// rebuild the host. Without wasm-opt, a component is larger but otherwise the same.
///
/// # Errors
/// Returns [`setup::Missing`] if the target (or, in CI, wasm-opt) is not available. Returns another error if a guest crate does not compile, or if
/// a component imports more than it may.
pub(crate) fn build(workspace: &Workspace) -> Result<()> {
    setup::c_compiler(workspace);
    COMPONENTS.iter().try_for_each(|component| component.build(workspace))
}

/// Checks that the components that were built last import only what they may.
///
/// # Errors
/// Returns an error if a component imports more, or cannot be read.
pub(crate) fn check_built(workspace: &Workspace) -> Result<()> {
    COMPONENTS
        .iter()
        .try_for_each(|component| component.check_imports(&component.built(workspace)?))
}

/// Checks that the components that were built last are under their size limits. Returns a text with the sizes.
///
/// # Errors
/// Returns [`Missing`] if there is no wasm-opt, because the components are then not optimized and their sizes mean nothing. Returns another error if
/// a component is too large or cannot be read.
pub(crate) fn check_size(workspace: &Workspace) -> Result<String> {
    setup::wasm_opt(workspace)?;
    let mut all = Vec::new();
    let mut over = false;
    for component in &COMPONENTS {
        let size = component.built(workspace)?.len();
        over |= size >= component.max_bytes;
        all.push(component.size(size));
    }
    let all = all.join("; ");
    if over {
        bail!("{all}");
    }
    Ok(all)
}

impl Component {
    fn build(&self, workspace: &Workspace) -> Result<()> {
        let toolchain = setup::target(workspace, setup::WASM)?;
        let mut cargo = toolchain.cargo(workspace, "build", setup::WASM);
        command::run(cargo.args(["--profile", "guest", "-p", self.package]))?;

        let module_path = workspace.guest_module(self.package);
        let optimized = match optimize::optimize(workspace, self.name, &module_path) {
            Ok(optimized) => Some(optimized),
            Err(fault) if fault.is::<Missing>() && !workspace.is_ci() => {
                eprintln!(
                    "SKIP: the {} is NOT optimized, and larger than necessary: {fault}",
                    self.name
                );
                None
            }
            Err(fault) => return Err(fault),
        };
        let module = fs::read(&module_path)
            .with_context(|| format!("cannot read {}", module_path.display()))?;
        let component = encode(optimized.as_ref().unwrap_or(&module))?;
        self.check_imports(&component)?;

        let path = (self.path)(workspace);
        let changed = write_if_changed(&path, &component)?;
        eprintln!("{} ({})", path.display(), if changed { "written" } else { "unchanged" });
        eprintln!(
            "  core module {}, {}, {}",
            kilobytes(module.len()),
            optimized.map_or_else(
                || "not optimized".into(),
                |optimized| format!("optimized {}", kilobytes(optimized.len()))
            ),
            self.size(component.len())
        );
        Ok(())
    }

    fn size(&self, bytes: usize) -> String {
        let missed = if bytes >= self.goal_bytes && self.goal_bytes < self.max_bytes {
            format!(", goal missed: under {}", kilobytes(self.goal_bytes))
        } else {
            String::new()
        };
        let shown = size_against_bar(bytes, self.max_bytes);
        format!("{} {shown}{missed}", self.name)
    }

    fn built(&self, workspace: &Workspace) -> Result<Vec<u8>> {
        let path = (self.path)(workspace);
        fs::read(&path).with_context(|| format!("cannot read {}", path.display()))
    }

    fn check_imports(&self, component: &[u8]) -> Result<()> {
        let others: Vec<String> = working_imports(component)?
            .into_iter()
            .filter(|name| !self.imports.contains(&without_version(name)))
            .collect();
        if !others.is_empty() {
            bail!(
                "the {} may import only {}, but it also imports {}",
                self.name,
                self.imports.join(", "),
                others.join(", ")
            );
        }
        Ok(())
    }
}

fn encode(module: &[u8]) -> Result<Vec<u8>> {
    let component = ComponentEncoder::default()
        .module(module)?
        .validate(true)
        .encode()
        .context("cannot make a component of the guest module")?;
    short_names::shorten(&component)
}

/// Returns the imports that a host has to provide. A component also imports interfaces that contain only plain types, if its exported functions use
/// these types; a host has nothing to provide for such an interface.
fn working_imports(component: &[u8]) -> Result<Vec<String>> {
    let DecodedWasm::Component(resolve, world) =
        wit_component::decode(component).context("cannot decode the component")?
    else {
        bail!("the file is a WIT package, not a component");
    };
    let names = resolve.worlds[world].imports.keys().map(|key| resolve.name_world_key(key));
    Ok(names
        .filter(|name| {
            let interface =
                resolve.interfaces.iter().find(|(id, _)| resolve.id_of(*id).as_ref() == Some(name));
            // An import that is not an interface is a function or a type of the world itself, and is always reported.
            interface.is_none_or(|(_, interface)| {
                let has_resource = interface
                    .types
                    .values()
                    .any(|id| resolve.types[*id].kind.as_str() == "resource");
                has_resource || !interface.functions.is_empty()
            })
        })
        .collect())
}

fn without_version(name: &str) -> &str {
    name.split_once('@').map_or(name, |(name, _)| name)
}

fn write_if_changed(path: &Path, bytes: &[u8]) -> Result<bool> {
    if fs::read(path).is_ok_and(|old| old == bytes) {
        return Ok(false);
    }
    if let Some(directory) = path.parent() {
        fs::create_dir_all(directory)
            .with_context(|| format!("cannot create {}", directory.display()))?;
    }
    fs::write(path, bytes).with_context(|| format!("cannot write {}", path.display()))?;
    Ok(true)
}

fn size_against_bar(bytes: usize, max_bytes: usize) -> String {
    let bar = kilobytes(max_bytes);
    if bytes < max_bytes {
        format!("{} (limit: under {bar})", kilobytes(bytes))
    } else {
        format!("{}: TOO LARGE (limit: under {bar})", kilobytes(bytes))
    }
}

fn kilobytes(bytes: usize) -> String {
    format!("{}.{} kB", bytes / 1000, bytes % 1000 / 100)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_compared_with_the_limit() {
        assert_eq!(size_against_bar(399_999, 400_000), "399.9 kB (limit: under 400.0 kB)");
        assert_eq!(
            size_against_bar(400_000, 400_000),
            "400.0 kB: TOO LARGE (limit: under 400.0 kB)"
        );
    }

    #[test]
    fn versions_are_removed() {
        assert_eq!(without_version("wasi:random/random@0.2.0"), RANDOM);
        assert_eq!(without_version("wasi:random/random"), RANDOM);
    }

    #[test]
    fn a_file_that_is_not_a_component_is_rejected() {
        assert!(encode(b"\0asm\x01\0\0\0 and then some").is_err());
        assert!(COMPONENTS[0].check_imports(b"").is_err());
    }

    #[test]
    fn a_component_without_imports_passes() {
        // The smallest component: magic, version 13, layer 1.
        assert_eq!(working_imports(b"\0asm\x0d\0\x01\0").ok(), Some(vec![]));
    }

    #[test]
    fn a_file_is_written_only_when_it_changed() -> Result<()> {
        let directory = std::env::temp_dir().join(format!("dekker xtask {}", std::process::id()));
        let path = directory.join("a/b.wasm");
        let results =
            [&b"one"[..], b"one", b"two"].map(|bytes| write_if_changed(&path, bytes).ok());
        fs::remove_dir_all(&directory)?;
        assert_eq!(results, [Some(true), Some(false), Some(true)]);
        Ok(())
    }
}
