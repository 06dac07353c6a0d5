//! The npm package's WebAssembly module in Node or in a browser. A process answers each line of JSON with another line.

mod convert;

use std::cell::OnceCell;
use std::collections::BTreeMap;
use std::env;
use std::ffi::OsString;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use dekker_core::crypto::keys::DekSourceType;
use dekker_core::engine::Options;
use dekker_core::engine::event::{Action, Check, Event, Generation, KmsProviderInfo};
use dekker_core::provider::kms::v2::key_state::Coast;
use dekker_core::time::Timestamp;
use dekker_core::{Decrypted, Encrypted, Location, TransformError};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use self::convert::base64;
use super::{Face, Finding, Maker, Sample};

/// Creates engines in a child process.
#[derive(Debug)]
pub struct JavaScriptMaker {
    script: PathBuf,
    /// One process for all threads, if it is expensive to start; otherwise each thread starts its own.
    shared: Option<OnceLock<Shared>>,
}

type Shared = Arc<Mutex<Process>>;

impl JavaScriptMaker {
    /// Runs the package in Node. The package must have been built.
    pub fn node() -> Self {
        Self::new("node/face-node.js", None)
    }

    /// Runs the package in a browser, which Node controls. The package must have been built.
    pub fn browser() -> Self {
        Self::new("browser/face-browser.js", Some(OnceLock::new()))
    }

    fn new(script: &str, shared: Option<OnceLock<Shared>>) -> Self {
        Self { script: Path::new(env!("CARGO_MANIFEST_DIR")).join(script), shared }
    }

    fn process(&self) -> Shared {
        thread_local! {
            static OWN: OnceCell<Shared> = const { OnceCell::new() };
        }
        let start = || Arc::new(Mutex::new(Process::start(&self.script)));
        match &self.shared {
            Some(shared) => shared.get_or_init(start).clone(),
            None => OWN.with(|own| own.get_or_init(start).clone()),
        }
    }

    fn ask(&self, request: &Value) -> Answer {
        ask(&self.process(), request)
    }
}

/// Sends a request and reads the answer. A poisoned lock is ignored: a test fails only after it has read its answer, so others can still use the
/// process.
fn ask(process: &Mutex<Process>, request: &Value) -> Answer {
    let mut process = process.lock().unwrap_or_else(PoisonError::into_inner);
    process.ask(request)
}

/// The outcome of a call, and what the engine wants next.
#[derive(Deserialize)]
struct Answer {
    #[serde(flatten)]
    outcome: Outcome,
    #[serde(flatten)]
    wanted: Wanted,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
enum Outcome {
    Ok(Value),
    Faults(Value),
    Text(String),
    Trap(String),
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Wanted {
    actions: Vec<convert::Action>,
    due: Option<u64>,
}

impl Outcome {
    fn ok<T: DeserializeOwned>(self) -> T {
        match self {
            Self::Ok(value) => serde_json::from_value(value).expect("what the face says"),
            Self::Faults(faults) => panic!("unexpected errors: {faults}"),
            Self::Text(text) => panic!("unexpected error: {text}"),
            Self::Trap(trap) => panic!("{trap}"),
        }
    }
}

#[derive(Debug)]
struct Process {
    child: Child,
    requests: Option<ChildStdin>,
    answers: BufReader<ChildStdout>,
}

impl Process {
    fn start(script: &Path) -> Self {
        let node = env::var_os("DEKKER_NODE").unwrap_or_else(|| OsString::from("node"));
        let mut child = Command::new(node)
            .arg(script)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("node");
        Self {
            requests: child.stdin.take(),
            answers: BufReader::new(child.stdout.take().expect("piped")),
            child,
        }
    }

    fn ask(&mut self, request: &Value) -> Answer {
        let mut line = serde_json::to_vec(request).expect("JSON");
        line.push(b'\n');
        let requests = self.requests.as_mut().expect("open until the end");
        requests.write_all(&line).expect("a process that reads");
        let mut answer = String::new();
        self.answers.read_line(&mut answer).expect("an answer");
        serde_json::from_str(&answer).expect("one answer for each request")
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // The process exits at the end of its input.
        self.requests = None;
        let _ = self.child.wait();
    }
}

impl Maker for JavaScriptMaker {
    fn create(
        &self,
        config: &[u8],
        options: &Options,
        seed: u64,
        now: Timestamp,
    ) -> Result<Box<dyn Face>, Vec<Finding>> {
        let Options {
            reload, dek_source, coast, dek_cache_capacity, apiserver_id, read_only, ..
        } = options;
        let is_seed = *dek_source == DekSourceType::HkdfSha256XnonceAesGcmSeed;
        let answer = self.ask(&json!({
            "do": "create",
            "config": base64(config),
            "options": {
                "automaticReload": reload,
                "dekSource": if is_seed { "hkdf-seed" } else { "counter" },
                "coast": if *coast == Coast::Upstream { "upstream" } else { "strict" },
                "dekCacheCapacity": dek_cache_capacity,
                "apiserverId": apiserver_id,
                "readOnly": read_only,
            },
            // As text, because a JavaScript number may not hold it.
            "seed": seed.to_string(),
            "now": now.as_millis(),
        }));
        match answer.outcome {
            Outcome::Faults(faults) => Err(convert::findings(faults)),
            outcome => {
                let Created { engine, wanted } = outcome.ok();
                Ok(Box::new(JavaScript { process: self.process(), engine, wanted }))
            }
        }
    }

    fn inspect(&self, stored: &[u8]) -> Result<String, String> {
        let answer = self.ask(&json!({ "do": "inspect", "stored": base64(stored) }));
        match answer.outcome {
            Outcome::Text(fault) => Err(fault),
            outcome => Ok(outcome.ok()),
        }
    }

    fn open_with_dek(
        &self,
        stored: &[u8],
        key: &[u8],
        dek: &[u8],
    ) -> Result<Decrypted, TransformError> {
        let answer = self.ask(&json!({
            "do": "openWithDek",
            "stored": base64(stored),
            "key": base64(key),
            "dek": base64(dek),
        }));
        convert::decrypted(answer.outcome.ok())
    }

    fn seal_with_dek(
        &self,
        plaintext: &[u8],
        key: &[u8],
        like: (&[u8], &[u8]),
        dek: &[u8],
    ) -> Result<Encrypted, TransformError> {
        let answer = self.ask(&json!({
            "do": "sealWithDek",
            "plaintext": base64(plaintext),
            "key": base64(key),
            "like": base64(like.0),
            "likeKey": base64(like.1),
            "dek": base64(dek),
        }));
        convert::encrypted(answer.outcome.ok())
    }

    fn check_config(&self, config: &[u8], reload: bool) -> Vec<Finding> {
        let request = json!({ "do": "checkConfig", "config": base64(config), "reload": reload });
        convert::findings(self.ask(&request).outcome.ok())
    }
}

#[derive(Deserialize)]
struct Created {
    engine: u64,
    #[serde(flatten)]
    wanted: Wanted,
}

struct JavaScript {
    process: Shared,
    engine: u64,
    wanted: Wanted,
}

impl JavaScript {
    fn ask(&mut self, method: &str, mut request: Value) -> Outcome {
        request["do"] = method.into();
        request["engine"] = self.engine.into();
        let Answer { outcome, wanted } = ask(&self.process, &request);
        let Wanted { actions, due } = wanted;
        self.wanted.actions.extend(actions);
        self.wanted.due = due;
        outcome
    }
}

impl Drop for JavaScript {
    fn drop(&mut self) {
        // A failed test may have ended the process.
        if !std::thread::panicking() {
            self.ask("drop", json!({})).ok()
        }
    }
}

impl Face for JavaScript {
    fn to_storage(
        &mut self,
        op: u64,
        at: Location<'_>,
        plaintext: &[u8],
        now: Timestamp,
    ) -> Option<Result<Encrypted, TransformError>> {
        let request = json!({
            "op": op,
            "resource": at.resource,
            "key": base64(at.key),
            "plaintext": base64(plaintext),
            "now": now.as_millis(),
        });
        let outcome: Option<convert::Outcome<_>> = self.ask("toStorage", request).ok();
        outcome.map(convert::encrypted)
    }

    fn from_storage(
        &mut self,
        op: u64,
        at: Location<'_>,
        stored: &[u8],
        now: Timestamp,
    ) -> Option<Result<Decrypted, TransformError>> {
        let request = json!({
            "op": op,
            "resource": at.resource,
            "key": base64(at.key),
            "stored": base64(stored),
            "now": now.as_millis(),
        });
        let outcome: Option<convert::Outcome<_>> = self.ask("fromStorage", request).ok();
        outcome.map(convert::decrypted)
    }

    fn health(&mut self, op: u64, now: Timestamp) -> Option<Vec<Check>> {
        let request = json!({ "op": op, "now": now.as_millis() });
        let checks: Option<Vec<_>> = self.ask("health", request).ok();
        checks.map(|checks| checks.into_iter().map(convert::check).collect())
    }

    fn cancel(&mut self, op: u64) {
        self.ask("cancel", json!({ "op": op })).ok()
    }

    fn reload(&mut self, config: &[u8], now: Timestamp) -> Result<Generation, Vec<Finding>> {
        let request = json!({ "config": base64(config), "now": now.as_millis() });
        match self.ask("reload", request) {
            Outcome::Faults(faults) => Err(convert::findings(faults)),
            outcome => Ok(Generation(outcome.ok())),
        }
    }

    fn unreadable_after(&mut self, config: &[u8]) -> Result<Vec<String>, Vec<Finding>> {
        match self.ask("unreadableAfter", json!({ "config": base64(config) })) {
            Outcome::Faults(faults) => Err(convert::findings(faults)),
            outcome => Ok(outcome.ok()),
        }
    }

    fn handle_event(&mut self, event: Event, now: Timestamp) {
        let (method, mut request) = convert::event(event);
        request["now"] = now.as_millis().into();
        self.ask(method, request).ok()
    }

    fn handle_timeout(&mut self, now: Timestamp) {
        self.ask("advance", json!({ "now": now.as_millis() })).ok()
    }

    fn poll_actions(&mut self) -> Vec<Action> {
        let actions = std::mem::take(&mut self.wanted.actions).into_iter();
        actions.map(convert::action).collect()
    }

    fn poll_timeout(&mut self) -> Option<Timestamp> {
        self.wanted.due.map(Timestamp::from_millis)
    }

    fn kms_providers(&mut self) -> Vec<KmsProviderInfo> {
        let providers: Vec<_> = self.ask("kmsProviders", json!({})).ok();
        providers.into_iter().map(convert::kms_provider).collect()
    }

    fn status(&mut self, now: Timestamp) -> String {
        self.ask("status", json!({ "now": now.as_millis() })).ok()
    }

    fn choose_random(&mut self, bytes: &[u8]) {
        let request = json!({ "bytes": base64(bytes) });
        self.ask("chooseRandom", request).ok()
    }

    fn metrics(&mut self) -> BTreeMap<String, Vec<Sample>> {
        let families: Vec<convert::Family> = self.ask("metrics", json!({})).ok();
        families.into_iter().map(convert::family).collect()
    }
}
