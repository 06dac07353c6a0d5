//! Configurations that people hold, and the findings of each: `vectors/cases/configurations` and `vectors/config-findings.tsv`.

use std::fs;
use std::path::{Path, PathBuf};

use crate::face::Finding;

/// A file and all of its findings.
#[derive(Debug)]
pub struct ConfigCase {
    /// The name of the file in `vectors/cases/configurations`.
    pub file: String,
    /// Its content.
    pub content: String,
    /// The errors in order, then the warnings.
    pub findings: Vec<Finding>,
}

impl ConfigCase {
    /// Reads every case of `vectors/cases/cases.tsv` about a configuration.
    ///
    /// # Panics
    /// Panics if a file cannot be read, or if the recorded findings are malformed.
    pub fn all() -> Vec<Self> {
        let recorded = read("config-findings.tsv");
        let cases = read("cases/cases.tsv");
        let first = |line: &'_ str| line.split('\t').next().map(str::to_owned);
        let names = cases.lines().filter_map(first);
        let cases: Vec<Self> = names
            .filter_map(|name| Some(name.strip_prefix("configurations/")?.to_owned()))
            .map(|file| {
                let of_file = |line: &&str| first(line).as_ref() == Some(&file);
                Self {
                    content: read(&format!("cases/configurations/{file}")),
                    findings: recorded.lines().filter(of_file).map(finding).collect(),
                    file,
                }
            })
            .collect();
        assert!(cases.len() >= 16, "{} cases", cases.len());
        cases
    }
}

fn read(name: &str) -> String {
    let path: PathBuf = Path::new(env!("CARGO_MANIFEST_DIR")).join("vectors").join(name);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Parses `file TAB severity TAB line:column TAB path TAB message`.
fn finding(line: &str) -> Finding {
    let fields: Vec<&str> = line.split('\t').collect();
    let [_, severity, place, path, message] = fields.as_slice() else {
        panic!("not five fields: {line}");
    };
    let number = |text: &str| text.parse().expect("a number");
    Finding {
        is_fault: *severity == "error",
        path: (*path).to_owned(),
        message: (*message).to_owned(),
        position: place.split_once(':').map(|(line, column)| (number(line), number(column))),
    }
}
