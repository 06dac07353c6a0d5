//! Compares `wasmtime run dekker.wasm …` with the native `dekker …`: the same bytes, the same texts and the same exit codes, for every vector.
//!
//! `DEKKER_BIN` names the native binary, and `DEKKER_WASM` names `dekker.wasm`. Without them every test passes and prints a message; in CI it fails.

use std::env;
use std::ffi::{OsStr, OsString};
use std::fs;
use std::io::Write;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::json;

use dekker_tests::cases;
use dekker_tests::interop::{VectorFile, skip};

/// Both commands, and a directory that both may read.
struct Stage {
    dir: tempfile::TempDir,
    native: PathBuf,
    compiled: PathBuf,
}

/// The result of a command.
#[derive(Debug, PartialEq, Eq)]
struct Ran {
    code: Option<i32>,
    stdout: Vec<u8>,
    stderr: String,
}

fn run(mut command: Command, input: &[u8]) -> Ran {
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("an existing command");
    let mut stdin = child.stdin.take().expect("piped");
    let input = input.to_vec();
    // A command may close its input without reading it.
    let writer = std::thread::spawn(move || drop(stdin.write_all(&input)));
    let output = child.wait_with_output().expect("an end");
    writer.join().expect("no panic");
    Ran {
        code: output.status.code(),
        stdout: output.stdout,
        stderr: without_numbers(&String::from_utf8_lossy(&output.stderr)),
    }
}

/// Removes the numbers of file errors, because WASI and Linux differ: ` (os error 2)` on Linux is ` (os error 44)` in WASI.
fn without_numbers(text: &str) -> String {
    let mut parts = text.split(" (os error ");
    let first = parts.next().unwrap_or_default();
    parts.fold(first.to_owned(), |all, part| {
        all + part.trim_start_matches(|c: char| c.is_ascii_digit()).trim_start_matches(')')
    })
}

impl Stage {
    fn set(what: &str) -> Option<Self> {
        let path = |name| env::var_os(name).map(PathBuf::from).filter(|path| path.is_file());
        let (Some(native), Some(wasm)) = (path("DEKKER_BIN"), path("DEKKER_WASM")) else {
            skip(what, "DEKKER_BIN and DEKKER_WASM name no files; build them: cargo xtask build");
            return None;
        };
        let dir = tempfile::tempdir().expect("a directory");
        // Compiled once, because each run would compile it again.
        let compiled = dir.path().join("dekker.cwasm");
        let mut compile = Command::new(env!("CARGO_BIN_EXE_wasmtime"));
        compile.arg("compile").arg(wasm).arg("-o").arg(&compiled);
        let ran = run(compile, b"");
        assert_eq!(ran.code, Some(0), "{}", ran.stderr);
        Some(Self { dir, native, compiled })
    }

    fn file(&self, name: &str, bytes: impl AsRef<[u8]>) {
        fs::write(self.dir.path().join(name), bytes).expect("our own directory");
    }

    /// Runs `wasmtime run … dekker.wasm args < input`.
    fn wasm(&self, args: &[OsString], input: &[u8]) -> Ran {
        let mut command = Command::new(env!("CARGO_BIN_EXE_wasmtime"));
        command
            .args(["run", "--allow-precompiled", "--argv0", "dekker", "--dir", "."])
            .arg(&self.compiled)
            .args(args)
            .current_dir(self.dir.path());
        run(command, input)
    }

    /// Runs `dekker args < input`.
    fn native(&self, args: &[OsString], input: &[u8]) -> Ran {
        let mut command = Command::new(&self.native);
        command.args(args).current_dir(self.dir.path()).env_clear().env("HOME", self.dir.path());
        run(command, input)
    }

    fn both(&self, args: &[OsString], input: &[u8]) -> Ran {
        let (wasm, native) = (self.wasm(args, input), self.native(args, input));
        assert_eq!(wasm, native, "{args:?}");
        wasm
    }
}

fn args<A: AsRef<OsStr>>(args: impl IntoIterator<Item = A>) -> Vec<OsString> {
    args.into_iter().map(|arg| arg.as_ref().to_owned()).collect()
}

const FILES: [&str; 7] =
    ["aesgcm", "aescbc", "secretbox", "identity", "kms-v1", "kms-v2-seed", "kms-v2-key"];

/// All values of a file are inspected as one array, so that the native command compiles its component only once.
#[test]
fn inspect_prints_the_same_for_every_vector() {
    let Some(stage) = Stage::set("inspect under wasmtime") else {
        return;
    };
    let mut count = 0;
    for name in FILES {
        let file = VectorFile::read(name);
        let kvs: Vec<_> = file
            .vectors
            .iter()
            .filter(|vector| !vector.stored().is_empty())
            .map(|vector| json!({"key": STANDARD.encode(vector.key()), "value": STANDARD.encode(vector.stored())}))
            .collect();
        count += kvs.len();
        let input = json!({"header": {}, "kvs": kvs}).to_string();
        for output in ["text", "json", "jsonl", "summary"] {
            let ran = stage.both(&args(["inspect", "-o", output]), input.as_bytes());
            let is_long =
                output == "summary" || ran.stdout.len() + ran.stderr.len() > kvs.len() * 50;
            assert!(is_long, "{name}: {}", ran.stderr);
        }
        // One raw value, from standard input and from a file.
        let stored = file.vectors[0].stored();
        stage.file("value", stored);
        stage.both(&args(["inspect"]), stored);
        stage.both(&args(["inspect", "value"]), b"");
    }
    println!("{count} vectors inspected alike");
    for input in ["", "k8s:enc:kms:v2:", "{}", "k8s:enc:aesgcm:v1:x", "zz"] {
        stage.both(&args(["inspect"]), input.as_bytes());
    }
    stage.both(&args(["inspect", "absent"]), b"");
}

#[test]
fn inspect_takes_the_names_of_a_configuration() {
    let Some(stage) = Stage::set("inspect with a configuration under wasmtime") else {
        return;
    };
    let stored = cases::read("k3s-colon-gcm.bin");
    for (name, code) in [
        ("aesgcmkey-2026-03-09T09:46:54+01:00", 0),
        ("aesgcmkey-2026-03-09T09", 0),
        ("another", 0),
        // Not valid.
        ("", 1),
    ] {
        let keys = json!([{"name": name, "secret": "MDEyMzQ1Njc4OWFiY2RlZg=="}]);
        let rule = json!({"resources": ["secrets"], "providers": [{"aesgcm": {"keys": keys}}]});
        let config = json!({
            "apiVersion": "apiserver.config.k8s.io/v1",
            "kind": "EncryptionConfiguration",
            "resources": [rule],
        });
        stage.file("c.json", config.to_string());
        for output in ["text", "json", "summary"] {
            let with = ["-o", output, "--encryption-provider-config", "c.json"];
            let ran = stage.both(&args([&["inspect"], &with[..]].concat()), &stored);
            assert_eq!(ran.code, Some(code), "{name}: {ran:?}");
            let text = String::from_utf8(ran.stdout).expect("text");
            let is_named = text.contains(&format!("\"{name}\""));
            assert_eq!(is_named, name.starts_with("aesgcmkey"), "{name}: {text}");
        }
    }
}

#[test]
fn every_case_is_inspected_and_decrypted_alike() {
    let Some(stage) = Stage::set("the cases under wasmtime") else {
        return;
    };
    for name in cases::CONFIGURATIONS {
        stage.file(name, cases::read(name));
    }
    for step in cases::steps() {
        let ran = stage.both(&args(&step.args), &step.input);
        step.check(ran.code, &ran.stdout, &ran.stderr);
    }
    let dump = cases::read("dump-many.txt");
    let decrypt = ["decrypt", "--encryption-provider-config", "cfg.yaml", "--output-dir"];
    let into = |dir| args(decrypt.iter().chain([&dir]));
    let (wasm, native) = (stage.wasm(&into("a"), &dump), stage.native(&into("b"), &dump));
    assert_eq!(wasm, native);
    let read = |dir: &str| {
        let name = format!("{dir}/%2Fregistry%2Fsecrets%2Fa%2F1");
        fs::read(stage.dir.path().join(name)).expect("a plaintext")
    };
    assert_eq!(read("a"), read("b"));
}

/// What is not a Kubernetes object below `/registry/` is not a stored value, whatever the configuration says.
fn is_object(stored: &[u8]) -> bool {
    stored.starts_with(b"k8s\0") || stored.starts_with(b"{")
}

fn can_be_an_argument(key: &[u8]) -> bool {
    !key.is_empty()
        && std::str::from_utf8(key).is_ok_and(|key| !key.contains('\0') && !key.starts_with('-'))
}

#[test]
fn decrypt_returns_the_plaintext_of_every_vector_with_an_available_key() {
    let Some(stage) = Stage::set("decrypt under wasmtime") else {
        return;
    };
    let [mut local, mut refused] = [0; 2];
    for name in ["aesgcm", "aescbc", "secretbox", "identity"] {
        let file = VectorFile::read(name);
        let mut beside_native = 0;
        for vector in &file.vectors {
            let key = vector.key();
            if !can_be_an_argument(&key) {
                continue;
            }
            for read in &vector.reads {
                stage.file("c.json", file.readers[&read.reader].config.to_string());
                let mut args = args([
                    "decrypt",
                    "--resource",
                    &*vector.resource,
                    "--encryption-provider-config",
                    "c.json",
                    "--key",
                ]);
                args.push(OsString::from_vec(key.clone()));
                // Only some are compared with the native command, which compiles its component each time.
                let ran = if beside_native < 4 {
                    beside_native += 1;
                    stage.both(&args, vector.stored())
                } else {
                    stage.wasm(&args, vector.stored())
                };
                let what = format!("{name}: {}, by {}: {}", vector.name, read.reader, ran.stderr);
                if name == "identity" && !is_object(vector.stored()) {
                    assert_eq!((ran.code, ran.stdout.len()), (Some(1), 0), "{what}");
                } else if ["ok", "stale"].contains(&&*read.expect) {
                    local += 1;
                    assert!(Some(ran.stdout) == vector.plaintext(), "{what}");
                    assert_eq!(
                        ran.stderr,
                        format!("stale: {}\n", read.expect == "stale"),
                        "{what}"
                    );
                } else {
                    refused += 1;
                    assert_eq!((ran.code, ran.stdout.len()), (Some(1), 0), "{what}");
                }
            }
        }
    }
    stage.file("c.json", VectorFile::read("identity").readers["identity"].config.to_string());
    let object = br#"{"apiVersion":"v1","kind":"Secret"}"#;
    let key = ["--key", "/registry/secrets/a/b", "--encryption-provider-config", "c.json"];
    let ran = stage.both(&args([&["decrypt"][..], &key[..]].concat()), object);
    assert_eq!((&*ran.stdout, &*ran.stderr), (&object[..], "stale: false\n"));
    let mut with_dek = 0;
    for name in ["kms-v1", "kms-v2-seed", "kms-v2-key"] {
        let file = VectorFile::read(name);
        let mut beside_native = 0;
        for (vector, dek) in file.with_deks() {
            let key = vector.key();
            if !can_be_an_argument(&key) {
                continue;
            }
            stage.file("dek", STANDARD.encode(&dek.plaintext));
            let mut args = args(["decrypt", "--dek-file", "dek", "--key"]);
            args.push(OsString::from_vec(key));
            let ran = if beside_native < 4 {
                beside_native += 1;
                stage.both(&args, vector.stored())
            } else {
                stage.wasm(&args, vector.stored())
            };
            with_dek += 1;
            assert!(
                Some(ran.stdout) == vector.plaintext(),
                "{name}: {}: {}",
                vector.name,
                ran.stderr
            );
        }
    }
    println!(
        "{local} vectors decrypted with a configuration, {refused} refused, {with_dek} decrypted with their DEK"
    );
    assert!(local > 100 && refused > 50 && with_dek > 50);
}

#[test]
fn each_command_decrypts_values_of_the_other() {
    let Some(stage) = Stage::set("encrypt under wasmtime") else {
        return;
    };
    let key = "/registry/secrets/default/token";
    for name in ["aesgcm", "aescbc", "secretbox"] {
        let file = VectorFile::read(name);
        stage.file("c.json", file.readers["32-byte key"].config.to_string());
        let args = |command| {
            args([
                command,
                "--resource",
                "secrets",
                "--encryption-provider-config",
                "c.json",
                "--key",
                key,
            ])
        };
        for (encrypt, decrypt) in [
            (Stage::wasm as fn(&_, &_, &_) -> Ran, Stage::native as fn(&_, &_, &_) -> Ran),
            (Stage::native, Stage::wasm),
        ] {
            let stored = encrypt(&stage, &args("encrypt"), b"hello").stdout;
            assert!(stored.starts_with(format!("k8s:enc:{name}:v1:").as_bytes()));
            let ran = decrypt(&stage, &args("decrypt"), &stored);
            assert_eq!((&*ran.stdout, &*ran.stderr), (&b"hello"[..], "stale: false\n"), "{name}");
        }
    }
    for name in ["kms-v2-seed", "kms-v2-key"] {
        let file = VectorFile::read(name);
        let (like, dek) =
            file.with_deks().find(|(vector, _)| vector.key() == key.as_bytes()).expect("one");
        stage.file("like", like.stored());
        stage.file("dek", &dek.plaintext);
        let encrypt = args([
            "encrypt",
            "--dek-file",
            "dek",
            "--like",
            "like",
            "--key",
            "/new",
            "--like-key",
            key,
        ]);
        let decrypt = args(["decrypt", "--dek-file", "dek", "--key", "/new"]);
        for (sealed, opens) in [
            (stage.wasm(&encrypt, b"hello"), Stage::native as fn(&_, &_, &_) -> Ran),
            (stage.native(&encrypt, b"hello"), Stage::wasm),
        ] {
            assert_eq!(sealed.code, Some(0), "{}", sealed.stderr);
            assert_eq!(opens(&stage, &decrypt, &sealed.stdout).stdout, b"hello", "{name}");
        }
    }
}

#[test]
fn config_output_and_errors_are_the_same() {
    let Some(stage) = Stage::set("config under wasmtime") else {
        return;
    };
    let file = VectorFile::read("kms-v1");
    stage.file("kms.json", file.readers["current"].config.to_string());
    stage.file("bad.yaml", "apiVersion: x\nkind: EncryptionConfiguration\nresources: [{resources: [Secrets], providers: [{identity: {}, x: 1}]}]\n");
    stage.file("empty.yaml", "");
    let key = ["--key", "/k", "--resource", "secrets"];
    let with = |rest: &[&str]| args(rest.iter().chain(&key));
    for (desc, args, code) in [
        ("valid", args(["config", "check", "kms.json"]), 0),
        ("shown", args(["config", "show", "kms.json"]), 0),
        ("not valid", args(["config", "check", "bad.yaml"]), 1),
        ("not shown", args(["config", "show", "bad.yaml"]), 1),
        ("empty", args(["config", "check", "empty.yaml"]), 1),
        ("absent", args(["config", "check", "absent.yaml"]), 1),
        (
            "a faulty configuration",
            with(&["decrypt", "--encryption-provider-config", "bad.yaml"]),
            1,
        ),
        ("an invalid DEK", with(&["decrypt", "--dek-file", "bad.yaml"]), 1),
    ] {
        assert_eq!(stage.both(&args, b"k8s:enc:").code, Some(code), "{desc}");
    }
    let ran = stage.wasm(
        &with(&["decrypt", "--encryption-provider-config", "kms.json"]),
        file.vectors[0].stored(),
    );
    assert_eq!((ran.code, ran.stdout.len()), (Some(1), 0));
    assert!(ran.stderr.contains("pass the DEK with --dek-file"), "{}", ran.stderr);
}

/// Runs the component that cargo built, and not only the one that was compiled ahead of time.
#[test]
fn the_component_itself_runs() {
    let Some(stage) = Stage::set("dekker.wasm itself") else {
        return;
    };
    let wasm = env::var_os("DEKKER_WASM").expect("it was there");
    let mut command = Command::new(env!("CARGO_BIN_EXE_wasmtime"));
    command.arg("run").arg(Path::new(&wasm)).arg("inspect").current_dir(stage.dir.path());
    let ran = run(command, br#"{"apiVersion":"v1","kind":"Secret"}"#);
    assert_eq!(ran.code, Some(0), "{}", ran.stderr);
    assert!(String::from_utf8_lossy(&ran.stdout).contains("identity"));
}
