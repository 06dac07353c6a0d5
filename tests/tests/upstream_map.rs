//! Checks `UPSTREAM.md`: every upstream test has a row, and every Dekker test that it names exists.
//!
//! `upstream_tests.txt` lists upstream's tests; `cargo xtask interop` compares it with upstream's sources.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

/// One row of a table.
struct Row {
    packages: Vec<String>,
    upstream: String,
    ours: String,
}

fn read(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(name);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Parses a heading: `pkg/a/b, c (in words)` is `pkg/a/b` and `pkg/a/c`.
fn packages(heading: &str) -> Vec<String> {
    let names = heading.split(" (").next().expect("a first part");
    let mut names = names.split(", ");
    let first = names.next().expect("a first part");
    let parent = first.rsplit_once('/').expect("a path").0;
    let others = names.map(|name| format!("{parent}/{name}"));
    [first.to_owned()].into_iter().chain(others).collect()
}

fn rows() -> Vec<Row> {
    let mut rows = Vec::new();
    let mut current = Vec::new();
    for line in read("UPSTREAM.md").lines() {
        if let Some(heading) = line.strip_prefix("## ") {
            current = packages(heading);
        }
        let cells = line.strip_prefix("| ").and_then(|l| l.strip_suffix(" |"));
        let Some((upstream, ours)) = cells.and_then(|cells| cells.split_once(" | ")) else {
            continue;
        };
        if (upstream, ours) != ("upstream", "ours") {
            rows.push(Row {
                packages: current.clone(),
                upstream: upstream.into(),
                ours: ours.into(),
            });
        }
    }
    rows
}

fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split(|c: char| !c.is_alphanumeric() && c != '_').filter(|word| !word.is_empty())
}

#[test]
fn every_upstream_test_has_a_row() {
    let list = read("upstream_tests.txt");
    let (version, list) = list.split_once('\n').expect("a first line");
    let head = format!("\n{}. Each row", version);
    assert!(read("UPSTREAM.md").contains(&head), "it is of {version}");
    let listed: BTreeSet<(&str, &str)> =
        list.lines().map(|line| line.split_once(' ').expect("a package and a test")).collect();
    assert!(listed.len() > 100, "{}", listed.len());
    let rows = rows();
    let mapped: BTreeSet<(&str, &str)> = rows
        .iter()
        .flat_map(|row| row.packages.iter().map(move |package| (row, package)))
        .flat_map(|(row, package)| {
            let tests = words(&row.upstream).filter(|word| word.starts_with("Test"));
            tests.map(move |test| (&**package, test))
        })
        .collect();
    let missing: Vec<_> = listed.difference(&mapped).collect();
    assert!(missing.is_empty(), "no row: {missing:?}");
    // Under a heading with two packages, each test name belongs to both.
    for (row, test) in rows.iter().flat_map(|row| {
        words(&row.upstream).filter(|w| w.starts_with("Test")).map(move |t| (row, t))
    }) {
        let known = row.packages.iter().any(|package| listed.contains(&(&**package, test)));
        assert!(known, "upstream has no {test} in {:?}", row.packages);
    }
}

/// The functions of each source file, by its path in the repository.
struct Sources(BTreeMap<String, BTreeSet<String>>);

impl Sources {
    fn read() -> Self {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("a repository");
        let mut sources = Self(BTreeMap::new());
        for folder in [
            "crypto/src",
            "wasm/cli/src",
            "core/src",
            "host/src",
            "tests/src",
            "tests/core/tests",
            "tests/tests",
        ] {
            sources.add(root, &root.join(folder));
        }
        sources
    }

    fn add(&mut self, root: &Path, folder: &Path) {
        for entry in fs::read_dir(folder).expect("a folder of ours") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                self.add(root, &path);
                continue;
            }
            let name = path.strip_prefix(root).expect("below it");
            let name = name.to_str().expect("UTF-8");
            let Some(text) =
                name.ends_with(".rs").then(|| fs::read_to_string(&path).expect("text"))
            else {
                continue;
            };
            let functions = text.split("fn ").skip(1).filter_map(|rest| {
                let end = rest.find(['(', '<'])?;
                Some(rest[..end].to_owned())
            });
            self.0.insert(format!("/{name}"), functions.collect());
        }
    }

    /// Returns the functions of `a/b.rs` and of the files below `a/b`; `None` if there is no such file.
    fn functions(&self, place: &str) -> Option<BTreeSet<&str>> {
        let file = format!("/{place}");
        let below = format!("{}/", file.trim_end_matches(".rs"));
        let found = |path: &str| path.ends_with(&file);
        self.0.keys().find(|path| found(path))?;
        let files = self.0.iter();
        let files = files.filter(|(path, _)| found(path) || path.contains(&below));
        Some(files.flat_map(|(_, functions)| functions.iter().map(String::as_str)).collect())
    }
}

/// Returns every name in a row's second cell with the file that precedes it. A file alone counts as a name too.
fn named<'a>(sources: &Sources, ours: &'a str) -> Vec<(String, Option<&'a str>)> {
    let mut all = Vec::new();
    let mut place = None;
    for (at, part) in ours.split('`').enumerate() {
        if at % 2 == 0 {
            for word in words(part).filter(|word| word.contains('_')) {
                all.push((place.clone().unwrap_or_default(), Some(word)));
            }
        } else if part.ends_with(".rs") {
            place = Some(part.to_owned());
            all.push((part.to_owned(), None));
        } else if part.contains("::") {
            let file = |path: &str| format!("{}.rs", path.replace("::", "/"));
            let whole = file(part);
            if sources.functions(&whole).is_some() {
                place = Some(whole.clone());
                all.push((whole, None));
            } else {
                let (module, name) = part.rsplit_once("::").expect("it has one");
                place = Some(file(module));
                all.push((file(module), Some(name)));
            }
        }
    }
    all
}

#[test]
fn every_named_dekker_test_exists() {
    let sources = Sources::read();
    let mut tests = 0;
    for row in rows() {
        let named = named(&sources, &row.ours);
        for (place, name) in &named {
            let functions = sources.functions(place);
            let functions =
                functions.unwrap_or_else(|| panic!("{}: there is no {place:?}", row.upstream));
            let Some(name) = name else { continue };
            tests += 1;
            assert!(functions.contains(name), "{}: there is no {name} in {place}", row.upstream);
        }
        assert!(
            !named.is_empty() || row.ours.starts_with("not ours: "),
            "{}: neither a test nor a reason: {}",
            row.upstream,
            row.ours
        );
    }
    assert!(tests > 100, "{tests} names were found");
}

#[test]
fn every_named_recording_exists() {
    for row in rows() {
        let named = row.ours.split('`').skip(1).step_by(2);
        for name in named.filter(|name| name.ends_with(".json")) {
            read(name);
        }
    }
}
