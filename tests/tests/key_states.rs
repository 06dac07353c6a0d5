//! The key state machine: histories recorded with upstream's own code, replayed step by step on every face.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use dekker_core::crypto::keys::DekSourceType;
use dekker_core::engine::Options;
use dekker_core::provider::kms::v2::key_state::Coast;
use dekker_tests::face::Maker;
use dekker_tests::interop::{self, Comparison, on_every_face};
use dekker_tests::object::{EncryptedObject, Stored, sha256_text};
use dekker_tests::plugin::{Plugin, Reply};
use dekker_tests::sim::{Harness, START, file};
use serde::Deserialize;

/// The recording. The file describes its own fields.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct File {
    format: u32,
    start_ms: u64,
    scripts: Vec<Script>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Script {
    name: String,
    dek_source: String,
    #[serde(default)]
    unhealthy_with_key_id: bool,
    steps: Vec<Step>,
}

#[derive(Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Mood {
    version: String,
    healthz: String,
    key_id: String,
    encrypt_key_id: String,
    status_fails: String,
    encrypt_fails: String,
    ciphertext: i64,
    annotation: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Step {
    advance_ms: u64,
    plugin: Mood,
    #[serde(flatten)]
    then: Then,
}

/// The result of a step.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Then {
    health: String,
    status_calls: usize,
    encrypt_calls: usize,
    key_id_hash: String,
    dek: usize,
    write_error: String,
    read: String,
}

/// Expands a key ID such as `k*1025` to 1025 times `k`.
fn long(key_id: &str) -> String {
    match key_id.strip_prefix("k*").map(str::parse) {
        Some(Ok(times)) => "k".repeat(times),
        Some(Err(_)) | None => key_id.to_owned(),
    }
}

/// Parses a failure such as `14 out of reach`. Returns `None` if the call does not fail.
fn failure(text: &str) -> Option<(u32, &'static str)> {
    let (code, message) = text.split_once(' ')?;
    Some((code.parse().expect("a code"), message.to_owned().leak()))
}

/// Replaces the parts of a text that need not agree: `uid="…"` is random.
fn comparable(text: &str) -> String {
    replaced(text, "uid=\"", "\"", "UID")
}

/// Replaces what is between the first `from` and the next `to` with `with`.
fn replaced(text: &str, from: &str, to: &str, with: &str) -> String {
    let parts = text.split_once(from);
    match parts.and_then(|(before, rest)| Some((before, rest.split_once(to)?.1))) {
        Some((before, after)) => format!("{before}{from}{with}{to}{after}"),
        None => text.to_owned(),
    }
}

const NO_STATUS_YET: &str = "KMS provider a has had no successful Status yet: ";

/// The ciphertexts, in the order of the Encrypt calls.
type Sealed = Rc<RefCell<Vec<Vec<u8>>>>;

fn turn(plugin: &mut Plugin, mood: &Mood, sealed: &Sealed) {
    let encrypt_key_id = match &*mood.encrypt_key_id {
        "" => &mood.key_id,
        other => other,
    };
    plugin.key_id = long(encrypt_key_id);
    plugin.version = mood.version.clone();
    plugin.healthz = mood.healthz.clone();
    // As upstream's plugin does: a DEK that was encrypted with annotations still decrypts with them. Only the verification of a new DEK asks the
    // plugin here, and does so at once.
    plugin.annotations = match &*mood.annotation {
        "" => [].into(),
        name => [(name.to_owned(), b"x".to_vec())].into(),
    };
    let (key_id, fails) = (long(&mood.key_id), failure(&mood.status_fails));
    plugin.on_status(move |mut answer| {
        answer.key_id = key_id.clone();
        match fails {
            Some((code, message)) => Reply::Fail(code, message),
            None => Reply::Answer(answer),
        }
    });
    let (len, fails, sealed) =
        (usize::try_from(mood.ciphertext).ok(), failure(&mood.encrypt_fails), sealed.clone());
    plugin.on_encrypt(move |mut answer| {
        if let Some(len) = len {
            answer.ciphertext = vec![0; len];
        }
        sealed.borrow_mut().push(answer.ciphertext.clone());
        match fails {
            Some((code, message)) => Reply::Fail(code, message),
            None => Reply::Answer(answer),
        }
    });
}

/// Replays a history and compares each step.
fn play(maker: &dyn Maker, script: &Script, coast: Coast, comparison: &mut Comparison) {
    let options = Options {
        coast,
        dek_source: match &*script.dek_source {
            "seed" => DekSourceType::HkdfSha256XnonceAesGcmSeed,
            _ => DekSourceType::AesGcmKey,
        },
        ..Options::default()
    };
    let sealed = Sealed::default();
    let mut plugin = Plugin::new("");
    turn(&mut plugin, &script.steps[0].plugin, &sealed);
    let mut h = Harness::new(maker, &file::secrets(), &options, [("a", plugin)]);
    let mut first = None;
    for (at, step) in script.steps.iter().enumerate() {
        // Not `advance`: as in the recording, only the health check may probe.
        h.now = h.now + Duration::from_millis(step.advance_ms);
        turn(h.plugin("a"), &step.plugin, &sealed);
        let mut then =
            Then { health: comparable(&h.fault().unwrap_or_default()), ..Then::default() };
        let calls = h.plugin("a").calls;
        (then.status_calls, then.encrypt_calls) = (calls.status, calls.encrypt);
        match h.try_write("secrets", "/k", b"hunter2") {
            Ok(stored) => {
                let object = EncryptedObject::of("a", &stored);
                then.key_id_hash = sha256_text(&object.key_id);
                let sealed = sealed.borrow();
                let made_by = sealed.iter().position(|by| *by == object.encrypted_dek_source);
                then.dek = made_by.map_or(0, |at| at + 1);
                first.get_or_insert(stored);
            }
            // Before the first success upstream only reports that it has no transformer; Dekker reports the reason.
            Err(error) if error.message.starts_with(NO_STATUS_YET) => {
                then.write_error = "got unexpected nil transformer".into();
            }
            Err(error) => then.write_error = comparable(&error.message),
        }
        if let Some(first) = &first {
            then.read = match h.try_read("secrets", "/k", first) {
                Ok(read) if read.stale => "stale".into(),
                Ok(_) => "ok".into(),
                Err(error) => error.message,
            };
        }
        let what = format!("{} ({}, {coast:?}), step {}", script.name, script.dek_source, at + 1);
        let upstream = Then { health: comparable(&step.then.health), ..step.then.clone() };
        comparison.equal(&what, &then, &upstream);
    }
}

fn recorded() -> Vec<Script> {
    let file: File = serde_json::from_str(&interop::text("vectors/key-states.json")).expect("JSON");
    assert_eq!((file.format, file.start_ms), (1, START.as_millis()));
    assert!(file.scripts.len() > 100);
    file.scripts
}

#[test]
fn key_states_match_upstream_when_coasting_as_upstream() {
    let scripts = recorded();
    on_every_face("key-state steps, --kms-coast=upstream", |maker| {
        let mut comparison = Comparison::default();
        for script in &scripts {
            play(maker, script, Coast::Upstream, &mut comparison);
        }
        comparison
    });
}

#[test]
fn key_states_match_upstream_if_no_unhealthy_answer_has_a_key_id() {
    let scripts = recorded();
    on_every_face("key-state steps, strict", |maker| {
        let mut comparison = Comparison::default();
        for script in scripts.iter().filter(|script| !script.unhealthy_with_key_id) {
            play(maker, script, Coast::Strict, &mut comparison);
        }
        comparison
    });
}
