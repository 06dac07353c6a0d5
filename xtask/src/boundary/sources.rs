//! The source files of a crate, and which of them uses which.

use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use super::imports::{Import, Imports};

/// The path of a module that has its own file; empty for the crate's root.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Module(pub Vec<String>);

impl Module {
    /// Whether both are files of the same folder.
    pub(super) fn is_sibling(&self, other: &Self) -> bool {
        match (self.0.split_last(), other.0.split_last()) {
            (Some((a, folder)), Some((b, other))) => folder == other && a != b,
            _ => false,
        }
    }
}

impl fmt::Display for Module {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_empty() { "crate" } else { "" })?;
        f.write_str(&self.0.join("::"))
    }
}

/// One use of a module by another.
#[derive(Debug, PartialEq)]
pub(super) struct Use {
    /// The module that uses the other.
    pub from: Module,
    /// The module that is used.
    pub to: Module,
    /// The file and the line, such as `core/src/engine.rs:40`.
    pub place: String,
}

/// The source files of a crate.
#[derive(Default)]
pub(super) struct Sources {
    files: BTreeMap<Module, File>,
}

struct File {
    /// Its path, relative to the workspace.
    path: PathBuf,
    imports: Imports,
}

impl Sources {
    /// Reads all files in a `src` folder of the workspace, except `main.rs`, which is a separate crate.
    ///
    /// # Errors
    /// Returns an error if a file cannot be read.
    pub(super) fn read(root: &Path, src: &str) -> Result<Self> {
        let mut sources = Self::default();
        let mut folders = vec![root.join(src)];
        while let Some(folder) = folders.pop() {
            let entries = fs::read_dir(&folder);
            for entry in entries.with_context(|| format!("cannot read {}", folder.display()))? {
                let path = entry?.path();
                if path.is_dir() {
                    folders.push(path);
                } else if path.extension().is_some_and(|extension| extension == "rs") {
                    let text = fs::read_to_string(&path)
                        .with_context(|| format!("cannot read {}", path.display()))?;
                    sources.add(src, path.strip_prefix(root)?, &text);
                }
            }
        }
        Ok(sources)
    }

    /// Adds a file. `path` is relative to the workspace and below `src`.
    pub(super) fn add(&mut self, src: &str, path: &Path, text: &str) {
        let below = path.strip_prefix(src).unwrap_or(path).with_extension("");
        let names: Vec<_> = below.iter().map(|name| name.to_string_lossy().into_owned()).collect();
        let module = match &*names {
            [root] if root == "lib" => Module(Vec::new()),
            [root] if root == "main" => return,
            _ => Module(names),
        };
        self.files.insert(module, File { path: path.to_owned(), imports: Imports::parse(text) });
    }

    /// Returns each use of a file by another, in the order of files and lines. Files that are only for tests neither use nor are used.
    pub(super) fn uses(&self) -> Vec<Use> {
        let tests = self.tests();
        let is_test = |module: &Module| tests.iter().any(|test| module.0.starts_with(&test.0));
        let mut uses = Vec::new();
        for (module, file) in self.files.iter().filter(|(module, _)| !is_test(module)) {
            for import in &file.imports.all {
                if let Some(to) = self.resolve(module, import)
                    && to != *module
                    && !is_test(&to)
                {
                    let place = format!("{}:{}", file.path.display(), import.line);
                    uses.push(Use { from: module.clone(), to, place });
                }
            }
        }
        // A declaration with braces can name the same module several times.
        uses.dedup();
        uses
    }

    /// Returns the modules that are only for tests.
    fn tests(&self) -> Vec<Module> {
        let mut tests = Vec::new();
        for (module, file) in &self.files {
            if file.imports.is_test {
                tests.push(module.clone());
            }
            for below in &file.imports.test_modules {
                tests.push(Module([&module.0[..], &below[..]].concat()));
            }
        }
        tests
    }

    /// Returns the module with its own file that contains what `import` names. Returns `None` if it is in another crate.
    fn resolve(&self, module: &Module, import: &Import) -> Option<Module> {
        let mut segments = import.path.iter().peekable();
        let mut path = match segments.next()?.as_str() {
            "crate" => Vec::new(),
            "self" => [&module.0[..], &import.within[..]].concat(),
            "super" => {
                let mut path = [&module.0[..], &import.within[..]].concat();
                path.pop();
                while segments.next_if(|segment| *segment == "super").is_some() {
                    path.pop();
                }
                path
            }
            _ => return None,
        };
        path.extend(segments.filter(|segment| *segment != "self").cloned());
        let mut found = Module(path);
        while !found.0.is_empty() && !self.files.contains_key(&found) {
            found.0.pop();
        }
        Some(found)
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// Returns the uses between made-up files in `src`.
    pub(crate) fn uses(files: &[(&str, &str)]) -> Vec<Use> {
        let mut sources = Sources::default();
        for (name, text) in files {
            sources.add("src", &Path::new("src").join(name), text);
        }
        sources.uses()
    }

    fn shown(files: &[(&str, &str)]) -> Vec<String> {
        let shown = |one: &Use| format!("{} {} -> {}", one.place, one.from, one.to);
        uses(files).iter().map(shown).collect()
    }

    #[test]
    fn paths_are_resolved_to_files() {
        let table: &[(&str, &str, &str)] = &[
            ("from the root", "use crate::b::c::D;", "b::c"),
            ("the module itself", "use crate::b::c;", "b::c"),
            ("an item of a module", "use crate::b::D;", "b"),
            ("an item of the root", "use crate::D;", "crate"),
            ("a sibling", "use super::x::Y;", "a::x"),
            ("an item of the parent", "use super::Y;", "a"),
            ("the parent's sibling", "use super::super::b::D;", "b"),
            ("a sibling, from an inline module", "mod m { use super::super::x::Y; }", "a::x"),
            ("a child", "use self::e::F;", "a::d::e"),
            ("with braces", "use crate::{b::c::{self, D, E}};", "b::c"),
        ];
        for (desc, text, expected) in table {
            let all = [
                ("lib.rs", ""),
                ("a.rs", ""),
                ("a/d.rs", *text),
                ("a/d/e.rs", ""),
                ("a/x.rs", ""),
                ("b.rs", ""),
                ("b/c.rs", ""),
            ];
            assert_eq!(shown(&all), [format!("src/a/d.rs:1 a::d -> {expected}")], "{desc}");
        }
    }

    #[test]
    fn files_for_tests_are_left_out() {
        let all = [
            ("lib.rs", "#[cfg(test)]\nmod simulation;"),
            ("a.rs", "#[cfg(test)] mod tests;\nuse crate::simulation::b;"),
            ("a/tests.rs", "use crate::c;"),
            ("a/tests/more.rs", "use crate::c;"),
            ("simulation.rs", "use crate::c;"),
            ("simulation/b.rs", "use crate::c;"),
            ("fuzz.rs", "#![cfg(test)]\nuse crate::c;"),
            ("main.rs", "use crate::c;"),
            ("c.rs", "use std::fmt;"),
        ];
        assert_eq!(shown(&all), Vec::<String>::new());
    }
}
