//! An engine, its plugins, its workers and the time.

pub(super) mod step;

use std::collections::BTreeMap;
use std::num::NonZeroUsize;
use std::time::Duration;

use dekker_core::crypto::keys::DekSourceType;
use dekker_core::engine::event::{Action, Check, Event, Generation, OpId, ProviderId};
use dekker_core::engine::{Engine, Options};
use dekker_core::provider::kms::v2::envelope::EncryptedObject;
use dekker_core::provider::kms::v2::key_state::{Coast, WRITE_DEK_MAX_TTL};
use dekker_core::time::Timestamp;
use dekker_core::{Decrypted, Encrypted, Location, TransformError};

use super::files;
use super::plugin::{Asked, Call, Plugins};
use super::watch::{Counting, Watch};
use super::worker::Worker;
use crate::bytes::Bytes;

/// 2026-01-02T03:04:05Z.
const START: Timestamp = Timestamp::from_millis(1_767_323_045_000);
/// Longer than any operation may wait: consecutive timeouts, and the grace period of replaced configurations.
const LONGEST: Duration = Duration::from_secs(700);

/// A resource and a storage key.
type At = (&'static str, [u8; 2]);

/// An acknowledged write.
struct Written {
    resource: &'static str,
    key: [u8; 2],
    plaintext: Vec<u8>,
    stored: Vec<u8>,
}

/// The kind of an open operation.
enum Open {
    Write { resource: &'static str, key: [u8; 2], plaintext: Vec<u8> },
    Read(Expected),
    Health,
}

/// The result that a read must have.
enum Expected {
    /// This plaintext, and no error.
    Plaintext(Vec<u8>),
    /// This plaintext or an error: a plugin may fail, and a file may lack the provider.
    Perhaps(Vec<u8>),
    /// Any result: the value was altered, or was never written.
    Anything,
}

pub(super) struct World {
    options: Options,
    engine: Engine,
    workers: [Option<Worker>; 2],
    watch: Watch,
    entropy: Counting,
    plugins: Plugins,
    now: Timestamp,
    names: BTreeMap<ProviderId, String>,
    calls: Vec<Call>,
    open: BTreeMap<u64, Open>,
    next_op: u64,
    written: Vec<Written>,
    /// The files that were offered and are neither in use nor rejected yet.
    undecided: Vec<Generation>,
    running: Generation,
}

impl World {
    pub(super) fn new(input: &mut Bytes<'_>) -> Self {
        let how = input.byte();
        let options = Options {
            reload: how & 4 != 0,
            dek_source: match how & 1 {
                0 => DekSourceType::AesGcmKey,
                _ => DekSourceType::HkdfSha256XnonceAesGcmSeed,
            },
            coast: match how & 2 {
                0 => Coast::Strict,
                _ => Coast::Upstream,
            },
            dek_cache_capacity: NonZeroUsize::MIN.saturating_add(usize::from(how >> 3)),
            apiserver_id: String::new(),
            read_only: false,
            keep_file: true,
        };
        let (watch, entropy) = (Watch::default(), Counting::default());
        let some = files::some();
        let file = &some[usize::from(input.byte()) % (some.len() - 1)];
        let engine = engine(file, &options, &watch, &entropy, START);
        let mut world = Self {
            options,
            engine,
            workers: [None, None],
            watch,
            entropy,
            plugins: Plugins::new(),
            now: START,
            names: BTreeMap::new(),
            calls: Vec::new(),
            open: BTreeMap::new(),
            next_op: 1,
            written: Vec::new(),
            undecided: Vec::new(),
            running: Generation(0),
        };
        world.drain();
        if input.byte() != 0 {
            world.settle();
        }
        world
    }

    /// Takes the engine's actions, without answering any call.
    fn drain(&mut self) {
        let known = self.engine.kms_providers();
        self.names.extend(known.map(|info| (info.id, info.name.to_string())));
        while let Some(action) = self.engine.poll_action() {
            self.act(action);
        }
        let running = self.engine.running_generation();
        assert!(running >= self.running, "an older file is in use again");
        self.running = running;
    }

    fn act(&mut self, action: Action) {
        let (id, provider, asked) = match action {
            Action::CallStatus { call, provider } => (call, provider, Asked::Status),
            Action::CallEncrypt { call, provider, plaintext, .. } => {
                (call, provider, Asked::Encrypt(plaintext.into_exposed()))
            }
            Action::CallDecrypt { call, provider, request, .. } => {
                (call, provider, Asked::Decrypt(request))
            }
            Action::ToStorageDone { op, outcome } => {
                return match self.open.remove(&op.0) {
                    Some(Open::Write { resource, key, plaintext }) => {
                        self.wrote(resource, key, plaintext, outcome)
                    }
                    _ => panic!("no such write is open"),
                };
            }
            Action::FromStorageDone { op, outcome } => {
                return match self.open.remove(&op.0) {
                    Some(Open::Read(expected)) => check_read(&expected, &outcome),
                    _ => panic!("no such read is open"),
                };
            }
            Action::HealthDone { op, checks } => {
                let open = self.open.remove(&op.0);
                assert!(matches!(open, Some(Open::Health)), "no such check is open");
                return check_health(&checks);
            }
            Action::ReloadDone { generation, outcome } => {
                let at = self.undecided.iter().position(|of| *of == generation);
                self.undecided.remove(at.expect("it was offered and is undecided"));
                let running = self.engine.running_generation();
                assert_eq!(outcome.is_ok(), running == generation, "the running file is known");
                return no_key_id(outcome.err().as_deref().unwrap_or_default());
            }
            Action::Ready { op } => panic!("{op:?} was not planned"),
            Action::CloseProvider { provider } => {
                let mut in_use = self.engine.kms_providers();
                assert!(!in_use.any(|info| info.id == provider), "it is in use");
                return;
            }
            Action::Log(line) => return no_key_id(&line.message),
        };
        let provider = self.names.get(&provider).expect("a provider in use");
        self.calls.push(Call { id, provider: provider.clone(), placed: self.now, asked });
    }

    fn report(&mut self, event: Event) {
        self.engine.handle_event(event, self.now);
        self.drain();
    }

    /// Answers every call correctly, until there are no more.
    fn settle(&mut self) {
        for _ in 0..200 {
            if self.calls.is_empty() {
                return;
            }
            let call = self.calls.remove(0);
            let event = self.plugins.answer(&call);
            self.report(event);
        }
        panic!("the engine requests calls endlessly");
    }

    /// Lets time pass and does what is due.
    fn advance(&mut self, by: Duration, settle: bool) {
        let end = self.now + by;
        let mut rounds = 0;
        while let Some(due) = self.engine.poll_timeout().filter(|due| *due <= end) {
            rounds = if due <= self.now { rounds + 1 } else { 0 };
            assert!(rounds < 20, "the engine spins");
            self.now = self.now.max(due);
            self.engine.handle_timeout(self.now);
            self.drain();
            if settle {
                self.settle();
            }
        }
        self.now = end;
    }

    fn begin(&mut self, open: Open, stored: &[u8], at: At) {
        let op = self.next_op;
        self.next_op += 1;
        let (resource, key) = at;
        let at = Location { resource, key: &key };
        match &open {
            Open::Write { plaintext, .. } => {
                let done = self.engine.to_storage(OpId(op), at, plaintext, self.now);
                match (done, open) {
                    (Some(done), Open::Write { plaintext, .. }) => {
                        self.wrote(resource, key, plaintext, done);
                    }
                    (_, open) => drop(self.open.insert(op, open)),
                }
            }
            Open::Read(expected) => {
                match self.engine.from_storage(OpId(op), at, stored, self.now) {
                    Some(done) => check_read(expected, &done),
                    None => drop(self.open.insert(op, open)),
                }
            }
            Open::Health => match self.engine.health(OpId(op), self.now) {
                Some(checks) => check_health(&checks),
                None => drop(self.open.insert(op, open)),
            },
        }
        self.drain();
    }

    /// Checks the promises about a write at the moment when it is acknowledged.
    fn wrote(
        &mut self,
        resource: &'static str,
        key: [u8; 2],
        plaintext: Vec<u8>,
        outcome: Result<Encrypted, TransformError>,
    ) {
        let stored = match outcome {
            Ok(encrypted) => encrypted.stored,
            Err(error) => return no_key_id(&error.message),
        };
        if let Some((provider, object)) = kms_v2(&stored)
            && self.options.coast == Coast::Strict
        {
            let who = (provider.to_owned(), object.key_id.to_owned());
            let well = self.plugins.well.get(&who);
            let well = well.expect("a good Status named its key ID");
            let age = self.now.since(*well);
            assert!(age <= WRITE_DEK_MAX_TTL, "written {age:?} after it");
        }
        self.written.push(Written { resource, key, plaintext, stored });
    }

    /// Ends all open operations, then reads every acknowledged write once more, here and in a new process.
    pub(super) fn end(mut self) {
        self.calls.clear();
        self.advance(LONGEST, false);
        assert!(self.open.is_empty(), "an operation does not end");
        assert_eq!(self.undecided, [], "a file is neither in use nor refused");
        self.entropy.fail(false);
        self.calls.clear();
        let all = files::all();
        let offered = self.engine.reload(all.as_bytes(), self.now);
        self.undecided.push(offered.expect("it is valid"));
        self.drain();
        // All pending operations end, and the candidate's plugins are asked.
        self.advance(Duration::from_secs(120), true);
        assert_eq!(self.undecided, [], "it is in use");
        self.read_all();
        no_key_id(&self.engine.status(self.now));
        let metrics = format!("{:?}", self.engine.metrics());
        no_key_id(&metrics);
        let now = self.now;
        self.engine = engine(&all, &self.options, &self.watch, &self.entropy, now);
        self.running = Generation(0);
        self.names.clear();
        self.calls.clear();
        self.drain();
        self.settle();
        self.read_all();
    }

    fn read_all(&mut self) {
        for written in std::mem::take(&mut self.written) {
            // KMS v1 does not check whether the plugin can decrypt what it encrypted.
            let lied = kms_v1_dek(&written.stored).is_some_and(|dek| !self.plugins.knows(dek));
            let expected = if lied { Expected::Perhaps } else { Expected::Plaintext };
            let read = Open::Read(expected(written.plaintext.clone()));
            self.begin(read, &written.stored, (written.resource, written.key));
            self.settle();
            assert!(self.open.is_empty(), "a read does not end");
            self.written.push(written);
        }
    }
}

fn engine(
    file: &str,
    options: &Options,
    watch: &Watch,
    entropy: &Counting,
    now: Timestamp,
) -> Engine {
    let (watch, entropy) = (watch.clone(), entropy.clone());
    let made =
        Engine::new(file.as_bytes(), options.clone(), Box::new(watch), Box::new(entropy), now);
    made.expect("a valid file")
}

fn check_read(expected: &Expected, outcome: &Result<Decrypted, TransformError>) {
    match (outcome, expected) {
        (Ok(read), Expected::Plaintext(expected) | Expected::Perhaps(expected)) => {
            assert_eq!(read.plaintext.expose(), expected, "another plaintext");
        }
        (Ok(_), Expected::Anything) => {}
        (Err(error), Expected::Plaintext(_)) => panic!("an acknowledged write: {error}"),
        (Err(error), Expected::Perhaps(_) | Expected::Anything) => no_key_id(&error.message),
    }
}

fn check_health(checks: &[Check]) {
    for check in checks {
        no_key_id(check.fault.as_deref().unwrap_or_default());
    }
}

/// Every key ID of the plugins contains this text.
fn no_key_id(text: &str) {
    assert!(!text.contains("needle"), "a key ID in the clear: {text}");
}

/// Returns the provider's name and the envelope.
fn kms_v2(stored: &[u8]) -> Option<(&str, EncryptedObject<'_>)> {
    let (name, rest) = named(stored, b"k8s:enc:kms:v2:")?;
    Some((name, EncryptedObject::decode(rest).expect("an envelope")))
}

fn kms_v1_dek(stored: &[u8]) -> Option<&[u8]> {
    let (_, rest) = named(stored, b"k8s:enc:kms:v1:")?;
    let (len, rest) = rest.split_first_chunk::<2>()?;
    rest.get(..usize::from(u16::from_be_bytes(*len)))
}

fn named<'s>(stored: &'s [u8], prefix: &[u8]) -> Option<(&'s str, &'s [u8])> {
    let rest = stored.strip_prefix(prefix)?;
    let colon = rest.iter().position(|byte| *byte == b':')?;
    Some((str::from_utf8(&rest[..colon]).ok()?, &rest[colon + 1..]))
}
