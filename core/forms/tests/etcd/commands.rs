//! The commands `dekker inspect` and `dekker decrypt`, which get the same outputs through a pipe.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;

use super::outputs::{Output, Pair};
use super::sealed::{DEK, K3S, KEY, Provider};
use super::server::read_until;

/// The `dekker` binary, and the files with the keys of the values.
pub(crate) struct Commands {
    binary: PathBuf,
    config: PathBuf,
    dek: PathBuf,
}

/// What opens the values.
#[derive(Clone, Copy, PartialEq, Eq)]
enum By {
    /// The keys in a configuration.
    Config,
    /// The DEK of the KMS values.
    Dek,
}

impl Commands {
    pub(crate) fn new(binary: PathBuf) -> Self {
        let directory = Path::new(env!("CARGO_TARGET_TMPDIR"));
        let named = |name: &str, content: &[u8]| {
            let path = directory.join(format!("etcd-{}-{name}", std::process::id()));
            fs::write(&path, content).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
            path
        };
        let config = named("config.yaml", configuration().as_bytes());
        Self { binary, config, dek: named("dek", &DEK) }
    }

    /// Compares what `inspect` prints with what is in the output.
    pub(crate) fn inspect(&self, output: &Output) -> Result<(), String> {
        let lines = self.lines(&["inspect", "-o", "jsonl"], output)?;
        for (line, pair) in lines.iter().zip(&output.pairs) {
            // The form states where the value ends.
            let is_exact = output.keeps_revision;
            let is_right = has_place(line, pair, output.keeps_key, output.keeps_revision)
                && line.get("error").is_none()
                && line["provider"] == pair.provider.name()
                && (!is_exact || line["size"] == pair.value.len());
            if !is_right {
                return Err(format!("{}, revision {}: {line}", pair.key, pair.revision));
            }
        }
        Ok(())
    }

    /// Compares what `decrypt` prints with what was encrypted: once with the configuration, once with the DEK of the KMS values. Each value opens in
    /// one of them. Returns how many values were decrypted.
    pub(crate) fn decrypt(&self, output: &Output) -> Result<usize, String> {
        Ok(self.decrypt_by(By::Config, output)? + self.decrypt_by(By::Dek, output)?)
    }

    /// Pipes a running watch into `inspect`, which must print the value with this key although the watch does not end.
    pub(crate) fn inspect_live(&self, mut watch: Child, last: &str) -> Result<(), String> {
        let events = watch.stdout.take().expect("a pipe");
        let mut inspect = Command::new(&self.binary)
            .args(["inspect", "-o", "jsonl"])
            .stdin(events)
            .stdout(Stdio::piped())
            .spawn()
            .map_err(|error| format!("{}: {error}", self.binary.display()))?;
        let has_last = |printed: &[u8]| {
            printed.ends_with(b"\n") && printed.windows(last.len()).any(|at| at == last.as_bytes())
        };
        let printed = read_until(inspect.stdout.take().expect("a pipe"), &has_last);
        for child in [&mut watch, &mut inspect] {
            let _ = child.kill();
            let _ = child.wait();
        }
        if has_last(&printed) {
            return Ok(());
        }
        Err(format!("{last} is not among the {} bytes that inspect printed", printed.len()))
    }

    fn decrypt_by(&self, by: By, output: &Output) -> Result<usize, String> {
        let (option, file) = match by {
            By::Config => ("--encryption-provider-config", &self.config),
            By::Dek => ("--dek-file", &self.dek),
        };
        let mut arguments = vec!["decrypt", "-o", "jsonl", option];
        arguments.push(file.to_str().expect("a path in UTF-8"));
        // What the output does not say, the arguments do, as far as they can.
        match output.pairs.as_slice() {
            [pair] if !output.keeps_key => arguments.extend(["--key", &pair.key]),
            [_, ..] if !output.keeps_key => arguments.extend(["--resource", "secrets"]),
            _ => {}
        }
        let is_alone = output.pairs.len() == 1;
        let mut decrypted = 0;
        for (line, pair) in self.lines(&arguments, output)?.iter().zip(&output.pairs) {
            let is_wrong = |why: &str| {
                Err(format!("{option}: {}, revision {}: {why}: {line}", pair.key, pair.revision))
            };
            let is_missing_key = !output.keeps_key && !is_alone && pair.provider.is_bound_to_key();
            if is_missing_key || (by == By::Dek) != pair.provider.is_kms() {
                let Some(error) = line["error"].as_str() else { return is_wrong("no error") };
                if is_missing_key && by == By::Config && !error.contains("pass --key") {
                    return is_wrong("the error does not name --key");
                }
                continue;
            }
            let Some(text) = line["plaintext"].as_str() else { return is_wrong("no plaintext") };
            let plaintext = STANDARD.decode(text).unwrap_or_default();
            // A value that is not encrypted is taken as it is. Without its key, etcdctl's line end may belong to it.
            let may_end_later = !output.keeps_key && pair.provider == Provider::Identity;
            let is_right = plaintext == pair.plaintext
                || may_end_later && plaintext.strip_suffix(b"\n") == Some(&pair.plaintext);
            if !is_right {
                return is_wrong("another plaintext");
            }
            // An argument states the key too.
            let keeps_key = output.keeps_key || is_alone;
            if !has_place(line, pair, keeps_key, output.keeps_revision) {
                return is_wrong("another place");
            }
            decrypted += 1;
        }
        Ok(decrypted)
    }

    /// Pipes the output into a command. Returns the lines that it prints, after checking their number: one for each value, or only faults. The exit
    /// code must be 1 if a line is a fault.
    fn lines(&self, arguments: &[&str], output: &Output) -> Result<Vec<Value>, String> {
        let mut child = Command::new(&self.binary)
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(|error| format!("{}: {error}", self.binary.display()))?;
        let mut input = child.stdin.take().expect("a pipe");
        let done = std::thread::scope(|scope| {
            // The command writes before it has read everything. If it ends early, its error says why.
            scope.spawn(move || input.write_all(&output.bytes));
            child.wait_with_output()
        });
        let done = done.map_err(|error| error.to_string())?;
        let printed = String::from_utf8_lossy(&done.stdout);
        let lines: Result<Vec<Value>, _> = printed.lines().map(serde_json::from_str).collect();
        let stderr = String::from_utf8_lossy(&done.stderr);
        let context = |why: String| format!("{}: {why}: {stderr}", arguments[0]);
        let lines = lines.map_err(|error| context(error.to_string()))?;
        let faults = lines.iter().filter(|line| line.get("error").is_some()).count();
        if done.status.code() != Some(i32::from(faults > 0)) {
            return Err(context(format!("{} with {faults} faults", done.status)));
        }
        let is_right = if output.pairs.is_empty() {
            faults > 0 && faults == lines.len()
        } else {
            lines.len() == output.pairs.len()
        };
        if !is_right {
            let wanted = output.pairs.len();
            return Err(context(format!("{} lines, not {wanted}", lines.len())));
        }
        Ok(lines)
    }
}

impl Drop for Commands {
    fn drop(&mut self) {
        for path in [&self.config, &self.dek] {
            let _ = fs::remove_file(path);
        }
    }
}

/// Whether the line has the pair's key and revision, as far as they are known.
fn has_place(line: &Value, pair: &Pair, keeps_key: bool, keeps_revision: bool) -> bool {
    let key = line.get("key").and_then(Value::as_str);
    let revision = line.get("revision").and_then(Value::as_u64);
    key == keeps_key.then_some(pair.key.as_str())
        && revision == keeps_revision.then_some(pair.revision)
}

/// Every local provider, and plaintext.
fn configuration() -> String {
    let secret = STANDARD.encode(KEY);
    let key = |name: &str| format!("{{name: \"{name}\", secret: {secret}}}");
    let (key1, k3s) = (key("key1"), key(K3S));
    format!(
        "apiVersion: apiserver.config.k8s.io/v1
kind: EncryptionConfiguration
resources:
- resources: [secrets]
  providers:
  - aesgcm: {{keys: [{key1}]}}
  - aescbc: {{keys: [{key1}, {k3s}]}}
  - secretbox: {{keys: [{key1}]}}
  - identity: {{}}
"
    )
}
