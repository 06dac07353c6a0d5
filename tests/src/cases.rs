//! The values of `vectors/cases` as runs of `dekker inspect` and `dekker decrypt`: inputs as people hold them, and what is right.

use std::fs;
use std::path::{Path, PathBuf};

use dekker_core::Location;
use dekker_core::engine::Options;

use crate::face::{Maker, NativeMaker};
use crate::sim::START;

/// One run of the command, and what it must print.
#[derive(Clone, Debug)]
pub struct Step {
    /// The arguments.
    pub args: Vec<&'static str>,
    /// Standard input.
    pub input: Vec<u8>,
    /// The file whose content `input` is.
    file: &'static str,
    code: i32,
    /// Parts of standard output or standard error.
    parts: Vec<&'static str>,
    /// Words that must occur nowhere.
    never: &'static [&'static str],
    /// The whole standard output.
    stdout: Option<Vec<u8>>,
}

/// The configurations that the steps name. They must be in the command's directory.
pub const CONFIGURATIONS: [&str; 4] =
    ["cfg.yaml", "cfg-key2.yaml", "cfg-otherkey.yaml", "k3s-config.json"];

const KEY: &str = "/registry/secrets/default/token";
const GCM: &[&str] = &["\"aesgcm\"", "\"key1\"", "\"size\":121,"];
const CBC: &[&str] = &["\"aescbc\"", "\"key1\"", "\"size\":119,"];
const TWO: &[&str] = &["\"aesgcm\"", "\"aescbc\"", "\"size\":121,", "\"size\":119,"];
const K3S: &str = "key-2026-03-09T09:46:54+01:00\"";

/// The file, the exit code of `inspect`, and parts of what `inspect -o json` prints.
const INSPECTED: [(&str, i32, &[&str]); 34] = [
    ("gcm.bin", 0, GCM),
    ("cbc.bin", 0, CBC),
    ("k3s-colon.bin", 0, &["\"aescbc\"", "\"aescbc", K3S]),
    ("k3s-colon-gcm.bin", 0, &["\"aesgcm\"", "\"aesgcm", K3S, "\"plaintextSize\":70,"]),
    ("value-only.txt", 0, &["\"aesgcm\"", "\"key1\"", "\"size\":121,", "was removed"]),
    ("value-only-cbc.txt", 0, &["\"aescbc\"", "\"key1\"", "\"size\":119,", "was removed"]),
    ("plain-simple.txt", 0, GCM),
    ("plain-simple-cbc.txt", 0, CBC),
    ("dump-many.txt", 0, &["\"key1\"", "\"key2\"", "\"identity\""]),
    ("w-json.txt", 0, GCM),
    ("w-json-two.txt", 0, GCM),
    ("w-json-bom.txt", 0, GCM),
    ("w-fields.txt", 0, GCM),
    ("jq-values.txt", 0, TWO),
    ("jq-value-quoted.txt", 0, GCM),
    ("b64-nopad.txt", 0, &["\"aesgcm\"", "\"key1\"", "\"size\":122,"]),
    ("b64url.txt", 0, GCM),
    ("xxd-p.txt", 0, GCM),
    ("xxd.txt", 0, GCM),
    ("hexdump-C.txt", 0, GCM),
    ("hexdump-C-indent.txt", 0, GCM),
    ("hexdump-C-valueonly.txt", 0, &["\"aesgcm\"", "\"key1\"", "\"size\":121,", "was removed"]),
    ("hexdump-C-head.txt", 1, &["aesgcm", "cut short"]),
    ("pg-bytea.txt", 0, GCM),
    ("double.bin", 0, &["\"aesgcm\"", "\"key1\""]),
    ("cbc-trunc.bin", 1, &["aescbc"]),
    ("trunc20.bin", 1, &["kms"]),
    ("trunc40.bin", 1, &["aescbc"]),
    ("typo-prefix.bin", 1, &["did you mean aesgcm"]),
    ("utf8-mangled.bin", 1, &["Latin-1", "etcdctl get <key> -w json"]),
    ("replacement.bin", 1, &["lost", "etcdctl get <key> -w json"]),
    ("json-obj.bin", 0, &["\"identity\"", "\"json\""]),
    ("gz.bin", 1, &["gzip"]),
    ("snapshot-like.db", 1, &["etcd database"]),
];

/// The inputs whose value has its key, and those that need `--key`; each with the plain file of the same value.
const DECRYPTED: [(&str, bool, &str); 18] = [
    ("gcm.bin", false, "gcm.bin"),
    ("cbc.bin", false, "cbc.bin"),
    ("value-only.txt", false, "gcm.bin"),
    ("value-only-cbc.txt", false, "cbc.bin"),
    ("plain-simple.txt", true, "gcm.bin"),
    ("plain-simple-cbc.txt", true, "cbc.bin"),
    ("w-json.txt", true, "gcm.bin"),
    ("w-json-bom.txt", true, "gcm.bin"),
    ("w-fields.txt", true, "gcm.bin"),
    ("jq-value-quoted.txt", false, "gcm.bin"),
    ("b64url.txt", false, "gcm.bin"),
    ("xxd-p.txt", false, "gcm.bin"),
    ("xxd.txt", true, "gcm.bin"),
    ("hexdump-C.txt", true, "gcm.bin"),
    ("hexdump-C-indent.txt", true, "gcm.bin"),
    ("hexdump-C-valueonly.txt", false, "gcm.bin"),
    ("pg-bytea.txt", false, "gcm.bin"),
    ("k3s-colon.bin", false, "k3s-colon.bin"),
];

/// The configuration, the file, and parts of the error.
const REFUSED: [(&str, &str, &[&str]); 13] = [
    ("cfg-key2.yaml", "cbc.bin", &["no matching key"]),
    ("cfg-otherkey.yaml", "cbc.bin", &[]),
    ("cfg.yaml", "cbc-trunc.bin", &[]),
    ("cfg.yaml", "hexdump-C-head.txt", &[]),
    ("cfg.yaml", "trunc20.bin", &["no matching prefix"]),
    ("cfg.yaml", "trunc40.bin", &[]),
    ("cfg.yaml", "typo-prefix.bin", &["no matching prefix"]),
    ("cfg.yaml", "utf8-mangled.bin", &["Latin-1"]),
    ("cfg.yaml", "replacement.bin", &["lost"]),
    ("cfg.yaml", "gz.bin", &["gzip"]),
    ("cfg.yaml", "snapshot-like.db", &["etcd database"]),
    ("cfg.yaml", "dump-many.txt", &["-o jsonl", "--output-dir"]),
    ("cfg.yaml", "jq-values.txt", &["-o jsonl", "--output-dir"]),
];

/// Returns the path of a case.
pub fn path(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("vectors/cases/values").join(name)
}

/// Reads a case.
///
/// # Panics
/// Panics if there is no such file.
pub fn read(name: &str) -> Vec<u8> {
    let path = path(name);
    fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Decrypts a case that is a value as etcd stores it, with the engine itself.
fn plaintext(config: &str, stored: &str) -> Vec<u8> {
    let created = NativeMaker::RUST_CRYPTO.create(&read(config), &Options::default(), 1, START);
    let Ok(mut engine) = created else { panic!("{config} is not valid") };
    let at = Location { resource: "secrets", key: KEY.as_bytes() };
    let read = engine.from_storage(1, at, &read(stored), START);
    read.expect("a local provider").expect("its key").plaintext.into_exposed()
}

/// Returns every step.
///
/// # Panics
/// Panics if the list of cases has a row that no step concerns.
pub fn steps() -> Vec<Step> {
    let mut steps = Vec::new();
    for (file, code, parts) in INSPECTED {
        for output in ["json", "jsonl", "text", "summary"] {
            let is_json = output.starts_with("json");
            let never: &[&str] = if code == 1 { &["identity"] } else { &[] };
            let parts = if is_json { parts.to_vec() } else { vec![] };
            let args = vec!["inspect", "-", "-o", output];
            steps.push(Step { args, code, parts, never, ..Step::new(file) });
        }
    }
    for (file, has_key, plain) in DECRYPTED {
        let config = if file.starts_with("k3s") { "k3s-config.json" } else { "cfg.yaml" };
        let mut args = vec!["decrypt", "--encryption-provider-config", config];
        if !has_key {
            args.extend(["--key", KEY]);
        }
        let parts = vec!["k8s\0", "stale: "];
        let stdout = Some(plaintext(config, plain));
        steps.push(Step { args, parts, stdout, ..Step::new(file) });
    }
    for (config, file, parts) in REFUSED {
        let args = vec!["decrypt", "--encryption-provider-config", config, "--key", KEY];
        // aescbc has no authentication.
        let never: &[&str] = if file.starts_with("cbc") { &["authentication"] } else { &[] };
        let (parts, stdout) = (parts.to_vec(), Some(vec![]));
        steps.push(Step { args, code: 1, parts, never, stdout, ..Step::new(file) });
    }
    let many = |file, code, parts: &[&'static str]| Step {
        args: vec![
            "decrypt",
            "--encryption-provider-config",
            "cfg.yaml",
            "--key",
            KEY,
            "-o",
            "jsonl",
        ],
        code,
        parts: parts.to_vec(),
        ..Step::new(file)
    };
    steps.extend([
        many(
            "dump-many.txt",
            1,
            &["/registry/secrets/a/1", "no matching key", "2 decrypted, 1 failed"],
        ),
        many("w-json-two.txt", 0, &["\"plaintext\":", "2 decrypted, 0 failed"]),
        many("jq-values.txt", 0, &["\"plaintext\":", "2 decrypted, 0 failed"]),
        many("b64-nopad.txt", 1, &["authentication"]),
        many("k3s-colon-gcm.bin", 1, &["no matching key"]),
        many("double.bin", 0, &["encrypted twice"]),
        many("json-obj.bin", 0, &["\"plaintext\":"]),
    ]);
    let table = fs::read_to_string(path("../cases.tsv")).expect("the list of cases");
    for line in table.lines().skip(1) {
        let Some(file) = line.split('\t').next().and_then(|file| file.strip_prefix("values/"))
        else {
            continue;
        };
        let concerned = |step: &&Step| step.file == file || step.args.contains(&file);
        let least = if CONFIGURATIONS.contains(&file) { 1 } else { 5 };
        assert!(steps.iter().filter(concerned).count() >= least, "{file} is not decrypted");
    }
    steps
}

impl Step {
    fn new(file: &'static str) -> Self {
        Self {
            args: vec![],
            input: read(file),
            file,
            code: 0,
            parts: vec![],
            never: &[],
            stdout: None,
        }
    }

    /// Checks the exit code and the output.
    ///
    /// # Panics
    /// Panics if anything is wrong.
    pub fn check(&self, code: Option<i32>, stdout: &[u8], stderr: &str) {
        let Self { args, input: _, file, code: expected, parts, never, stdout: whole } = self;
        let text = format!("{}{stderr}", String::from_utf8_lossy(stdout));
        let what = format!("{file}: {args:?}: {text}");
        assert_eq!(code, Some(*expected), "{what}");
        for part in parts {
            assert!(text.contains(part), "{part:?} is missing: {what}");
        }
        for word in *never {
            assert!(!text.contains(word), "{word:?}: {what}");
        }
        if let Some(whole) = whole {
            assert!(stdout == whole, "other bytes: {what}");
        }
    }
}
