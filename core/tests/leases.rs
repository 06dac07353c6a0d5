//! Tests a control engine together with its workers.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use dekker_core::crypto::entropy::{Entropy, EntropyError};
use dekker_core::crypto::keys::DekSourceType;
use dekker_core::crypto::nonce::{CounterNonces, CounterRange, Exhausted};
use dekker_core::crypto::rustcrypto::RustCrypto;
use dekker_core::engine::event::{Action, EncryptResponse, Event, OpId, StatusResponse};
use dekker_core::engine::lease::LEASE_LEN;
use dekker_core::engine::{Engine, Options};
use dekker_core::provider::kms::v2::envelope::EncryptedObject;
use dekker_core::provider::stored::Stored;
use dekker_core::time::Timestamp;
use dekker_core::{Decrypted, Encrypted, Location, TransformError};

const FILE: &[u8] = b"
apiVersion: apiserver.config.k8s.io/v1
kind: EncryptionConfiguration
resources:
- resources: [secrets]
  providers:
  - kms: {apiVersion: v2, name: a, endpoint: 'unix:///run/a.sock'}
  - identity: {}
- resources: [configmaps]
  providers:
  - aesgcm: {keys: [{name: p, secret: MDEyMzQ1Njc4OWFiY2RlZg==}, {name: q, secret: MTEyMzQ1Njc4OWFiY2RlZg==}]}
- resources: [pods]
  providers:
  - kms: {apiVersion: v1, name: old, endpoint: 'unix:///run/old.sock'}
  - identity: {}
";
/// The aesgcm key `p` of [`FILE`], after another key with the same name.
const TWICE: &str = "aesgcm: {keys: [{name: p, secret: MjEyMzQ1Njc4OWFiY2RlZg==}, {name: p, secret: MDEyMzQ1Njc4OWFiY2RlZg==}]}";
const START: u64 = 1_000_000;
const PREFIX: &str = "k8s:enc:kms:v2:a:";

/// Makes the random part of every nonce the same, so that only the counter makes nonces differ.
struct Zeros;
impl Entropy for Zeros {
    fn fill(&self, bytes: &mut [u8]) -> Result<(), EntropyError> {
        bytes.fill(0);
        Ok(())
    }
}

struct Counting(AtomicU64);
impl Entropy for Counting {
    fn fill(&self, bytes: &mut [u8]) -> Result<(), EntropyError> {
        for chunk in bytes.chunks_mut(8) {
            let number = self.0.fetch_add(1, Ordering::Relaxed);
            chunk.copy_from_slice(&number.to_le_bytes()[..chunk.len()]);
        }
        Ok(())
    }
}

fn options(dek_source: DekSourceType) -> Options {
    Options { dek_source, ..Options::default() }
}

fn at(resource: &str) -> Location<'_> {
    Location { resource, key: b"/k" }
}

/// A control engine and its plugin, which inverts every bit.
struct Control {
    engine: Engine,
    key_id: &'static str,
    now: Timestamp,
    calls: BTreeMap<&'static str, usize>,
    done: Vec<(OpId, Result<Vec<u8>, TransformError>)>,
}

impl Control {
    fn new(dek_source: DekSourceType) -> Self {
        let now = Timestamp::from_millis(START);
        let entropy = Box::new(Counting(AtomicU64::new(1)));
        let engine = Engine::new(FILE, options(dek_source), Box::new(RustCrypto), entropy, now);
        let mut control = Self {
            engine: engine.unwrap(),
            key_id: "key-1",
            now,
            calls: BTreeMap::new(),
            done: Vec::new(),
        };
        control.answer();
        control
    }

    fn answer(&mut self) {
        let turn = |bytes: &[u8]| bytes.iter().map(|byte| !byte).collect::<Vec<_>>();
        while let Some(action) = self.engine.poll_action() {
            let event = match action {
                Action::CallStatus { call, .. } => {
                    *self.calls.entry("status").or_default() += 1;
                    let status = StatusResponse {
                        version: "v2".into(),
                        healthz: "ok".into(),
                        key_id: self.key_id.into(),
                    };
                    let outcome = Ok(status);
                    Event::Status { call, outcome }
                }
                Action::CallEncrypt { call, plaintext, .. } => {
                    *self.calls.entry("encrypt").or_default() += 1;
                    let answer = EncryptResponse {
                        ciphertext: turn(plaintext.expose()),
                        key_id: self.key_id.into(),
                        annotations: [].into(),
                    };
                    let outcome = Ok(answer);
                    Event::Encrypted { call, outcome }
                }
                Action::CallDecrypt { call, request, .. } => {
                    *self.calls.entry("decrypt").or_default() += 1;
                    let outcome = Ok(turn(&request.ciphertext).into());
                    Event::Decrypted { call, outcome }
                }
                Action::FromStorageDone { op, outcome } => {
                    let outcome = outcome.map(|read| read.plaintext.expose().to_vec());
                    self.done.push((op, outcome));
                    continue;
                }
                _ => continue,
            };
            self.engine.handle_event(event, self.now);
        }
    }

    /// Changes the plugin's key ID, and lets the next poll discover it.
    fn rotate(&mut self, key_id: &'static str) {
        self.key_id = key_id;
        self.pass(60_000);
    }

    fn pass(&mut self, millis: u64) {
        self.now = Timestamp::from_millis(self.now.as_millis() + millis);
        self.engine.handle_timeout(self.now);
        self.answer();
    }

    fn write(&mut self, resource: &str, plaintext: &[u8]) -> Vec<u8> {
        let outcome = self.engine.to_storage(OpId(1), at(resource), plaintext, self.now);
        outcome.unwrap().unwrap().stored
    }

    fn read(&mut self, resource: &str, stored: &[u8]) -> Option<Result<Decrypted, TransformError>> {
        self.engine.from_storage(OpId(1), at(resource), stored, self.now)
    }

    fn calls(&self) -> (usize, usize, usize) {
        let of = |name| self.calls.get(name).copied().unwrap_or_default();
        (of("status"), of("encrypt"), of("decrypt"))
    }
}

struct Worker {
    engine: Engine,
}

impl Worker {
    fn new(dek_source: DekSourceType) -> Self {
        Self::of(FILE, dek_source)
    }

    fn of(file: &[u8], dek_source: DekSourceType) -> Self {
        let now = Timestamp::from_millis(START);
        let options = options(dek_source);
        let entropy = Box::new(Zeros);
        let engine = Engine::worker(file, options, Box::new(RustCrypto), entropy, now);
        Self { engine: engine.unwrap() }
    }

    fn leased(control: &mut Control, dek_source: DekSourceType) -> Self {
        let mut worker = Self::new(dek_source);
        assert!(worker.engine.adopt(control.engine.lease("a").unwrap()));
        worker
    }

    fn write(&mut self, resource: &str, plaintext: &[u8], now: Timestamp) -> Option<Encrypted> {
        self.engine.try_to_storage(at(resource), plaintext, now)
    }

    fn read(&mut self, resource: &str, stored: &[u8], now: Timestamp) -> Option<Decrypted> {
        self.engine.try_from_storage(at(resource), stored, now)
    }

    /// Asserts that the worker has requested no action.
    fn assert_silent(&mut self) {
        assert!(self.engine.poll_action().is_none());
    }
}

fn counted(engine: &Engine) -> String {
    format!("{:?}", engine.metrics())
}

const SOURCES: [DekSourceType; 2] =
    [DekSourceType::AesGcmKey, DekSourceType::HkdfSha256XnonceAesGcmSeed];

#[test]
fn workers_and_their_control_engine_read_each_others_values() {
    for source in SOURCES {
        let mut control = Control::new(source);
        let now = control.now;
        let mut workers = [(); 2].map(|()| Worker::leased(&mut control, source));
        let calls = control.calls();
        let own = control.write("secrets", b"control's");
        for (worker, text) in [(0, b"first".as_slice()), (1, b"second")] {
            let written = workers[worker].write("secrets", text, now).unwrap();
            assert_eq!(&*written.transformer_prefix, PREFIX);
            assert!(written.has_rule && written.key_id_hash.is_some());
            for reader in &mut workers {
                let read = reader.read("secrets", &written.stored, now).unwrap();
                assert_eq!((read.plaintext.expose(), read.is_stale()), (text, false));
                assert_eq!(read.key_id_hash, written.key_id_hash);
                let read = reader.read("secrets", &own, now).unwrap();
                assert_eq!(read.plaintext.expose(), b"control's");
            }
            let read = control.read("secrets", &written.stored).unwrap().unwrap();
            assert_eq!((read.plaintext.expose(), read.is_stale()), (text, false));
        }
        for (resource, text) in [("configmaps", b"local".as_slice()), ("nodes", b"no rule")] {
            let written = workers[0].write(resource, text, now).unwrap();
            let read = workers[1].read(resource, &written.stored, now).unwrap();
            assert_eq!((read.plaintext.expose(), read.is_stale()), (text, false));
        }
        assert_eq!(control.calls(), calls, "the plugin was not called");
        workers.iter_mut().for_each(Worker::assert_silent);
    }
}

#[test]
fn no_two_workers_make_the_same_nonce() {
    let source = DekSourceType::AesGcmKey;
    let mut control = Control::new(source);
    let mut seen = BTreeSet::new();
    let mut expect_new = |stored: &[u8]| {
        let object = EncryptedObject::decode(&stored[PREFIX.len()..]).unwrap();
        // Compares only the counter, without the random part.
        assert!(seen.insert(object.encrypted_data[4..12].to_vec()));
    };
    for round in 0..20 {
        let mut workers = [(); 4].map(|()| Worker::leased(&mut control, source));
        for _ in 0..10 {
            expect_new(&control.write("secrets", b"x"));
            for worker in &mut workers {
                expect_new(&worker.write("secrets", b"x", control.now).unwrap().stored);
            }
        }
        // A worker that adopts a new lease continues with different counter values.
        let [worker, ..] = &mut workers;
        assert!(worker.engine.adopt(control.engine.lease("a").unwrap()), "{round}");
        expect_new(&worker.write("secrets", b"x", control.now).unwrap().stored);
    }
}

#[test]
fn without_a_lease_a_worker_writes_nothing() {
    for source in SOURCES {
        let mut control = Control::new(source);
        let mut worker = Worker::new(source);
        let before = counted(&worker.engine);
        let stored = control.write("secrets", b"x");
        assert!(worker.write("secrets", b"x", control.now).is_none());
        assert!(worker.read("secrets", &stored, control.now).is_none());
        assert_eq!(counted(&worker.engine), before);
        worker.assert_silent();
        assert!(control.engine.lease("no such provider").is_none());
        assert!(control.engine.lease("old").is_none(), "KMS v1 has a DEK for each value");
    }
}

#[test]
fn a_worker_reports_a_lease_that_is_used_up() {
    let source = DekSourceType::AesGcmKey;
    let mut control = Control::new(source);
    let mut worker = Worker::new(source);
    assert!(!worker.engine.has_used_up("a"), "there is no lease");
    let mut lease = control.engine.lease("a").unwrap();
    lease.range.end = lease.range.start + 2;
    assert!(worker.engine.adopt(lease));
    for _ in 0..2 {
        assert!(!worker.engine.has_used_up("a"));
        assert!(worker.write("secrets", b"x", control.now).is_some());
    }
    assert!(worker.engine.has_used_up("a"));
    for other in ["old", "no such provider"] {
        assert!(!worker.engine.has_used_up(other), "{other}");
    }
    assert!(worker.write("secrets", b"x", control.now).is_none());
    assert!(worker.engine.adopt(control.engine.lease("a").unwrap()));
    assert!(!worker.engine.has_used_up("a"));
    assert!(worker.write("secrets", b"x", control.now).is_some());

    let seed = DekSourceType::HkdfSha256XnonceAesGcmSeed;
    let mut control = Control::new(seed);
    let mut worker = Worker::leased(&mut control, seed);
    assert!(worker.write("secrets", b"x", control.now).is_some());
    assert!(!worker.engine.has_used_up("a"), "a seed has no counter");
}

#[test]
fn a_lease_ends_with_a_restore() {
    for source in SOURCES {
        let mut control = Control::new(source);
        let mut worker = Worker::leased(&mut control, source);
        let before = worker.write("secrets", b"x", control.now).unwrap().stored;
        control.engine.handle_event(Event::Restored, control.now);
        // The plugin has not answered anything yet: the expiry that the control engine reports to its workers ends the lease.
        let state = control.engine.write_states().next().unwrap();
        worker.engine.extend("a", state.expiry);
        assert!(worker.write("secrets", b"x", control.now).is_none());
        assert!(worker.read("secrets", &before, control.now).is_some());
        // A new lease of the old DEK cannot write either.
        let lease = control.engine.lease("a").unwrap();
        assert!(worker.engine.adopt(lease));
        assert!(worker.write("secrets", b"x", control.now).is_none());
        control.answer();
        let renewed = control.engine.write_states().next().unwrap();
        assert_ne!(renewed.serial, state.serial);
        assert!(worker.engine.adopt(control.engine.lease("a").unwrap()));
        let after = worker.write("secrets", b"x", control.now).unwrap().stored;
        let source_of = |stored: &[u8]| {
            let object = EncryptedObject::decode(&stored[PREFIX.len()..]).unwrap();
            object.encrypted_dek_source.to_vec()
        };
        assert_ne!(source_of(&before), source_of(&after));
    }
}

#[test]
fn a_lease_ends_with_its_dek() {
    for source in SOURCES {
        let mut control = Control::new(source);
        let mut worker = Worker::leased(&mut control, source);
        let stored = worker.write("secrets", b"x", control.now).unwrap().stored;
        let state = control.engine.write_states().next().unwrap();
        let after = Timestamp::from_millis(state.expiry.as_millis() + 1);
        assert!(worker.write("secrets", b"x", state.expiry).is_some());
        let before = counted(&worker.engine);
        assert!(worker.write("secrets", b"x", after).is_none());
        assert_eq!(counted(&worker.engine), before);
        let read = worker.read("secrets", &stored, after).unwrap();
        assert_eq!((read.plaintext.expose(), read.is_stale()), (b"x".as_slice(), false));

        // A good answer of the plugin extends the expiry; the DEK stays the same.
        control.pass(60_000);
        let later = control.engine.write_states().next().unwrap();
        assert_eq!(later.serial, state.serial);
        assert!(later.expiry > state.expiry);
        worker.engine.extend("a", later.expiry);
        assert!(worker.write("secrets", b"x", after).is_some());
        // An expiry of zero is enough to revoke a lease.
        worker.engine.extend("a", Timestamp::from_millis(0));
        assert!(worker.write("secrets", b"x", control.now).is_none());
    }
}

#[test]
fn workers_learn_a_replaced_dek_without_the_plugin() {
    for source in SOURCES {
        let mut control = Control::new(source);
        let (mut first, mut second) =
            (Worker::leased(&mut control, source), Worker::leased(&mut control, source));
        // The control engine itself has written nothing with this DEK.
        let old = first.write("secrets", b"old", control.now).unwrap().stored;
        let serial = control.engine.write_states().next().unwrap().serial;
        control.rotate("key-2");
        assert_ne!(control.engine.write_states().next().unwrap().serial, serial);
        let calls = control.calls();
        for worker in [&mut first, &mut second] {
            assert!(worker.engine.adopt(control.engine.lease("a").unwrap()));
        }
        // The worker that wrote with the DEK still has it.
        let read = first.read("secrets", &old, control.now).unwrap();
        assert_eq!((read.plaintext.expose(), read.is_stale()), (b"old".as_slice(), true));
        let before = counted(&second.engine);
        assert!(second.read("secrets", &old, control.now).is_none());
        assert_eq!(counted(&second.engine), before);
        let read = control.read("secrets", &old).unwrap().unwrap();
        assert!(read.is_stale());
        let dek = control.engine.known_dek("secrets", &old).unwrap();
        second.engine.learn("secrets", Stored::whole(&old), dek).unwrap();
        let read = second.read("secrets", &old, control.now).unwrap();
        assert_eq!((read.plaintext.expose(), read.is_stale()), (b"old".as_slice(), true));
        let new = second.write("secrets", b"new", control.now).unwrap();
        let read = control.read("secrets", &new.stored).unwrap().unwrap();
        assert!(!read.is_stale());
        assert_eq!(control.calls(), calls);
    }
}

#[test]
fn a_recreated_provider_has_new_serials() {
    let mut control = Control::new(DekSourceType::AesGcmKey);
    let mut seen = BTreeSet::new();
    for timeout in ["4s", "5s", "6s"] {
        let state = control.engine.write_states().next().unwrap();
        assert!(seen.insert(state.serial), "{seen:?}");
        let file = String::from_utf8(FILE.to_vec()).unwrap();
        let other = format!("unix:///run/a.sock', timeout: {timeout}");
        let file = file.replace("unix:///run/a.sock'", &other);
        control.engine.reload(file.as_bytes(), control.now).unwrap();
        control.answer();
        control.pass(1000);
        assert_eq!(control.engine.running_config().unwrap().expose(), file.as_bytes());
    }
}

#[test]
fn every_failed_read_is_left_to_the_control_engine() {
    let source = DekSourceType::AesGcmKey;
    let mut control = Control::new(source);
    let now = control.now;
    let mut worker = Worker::leased(&mut control, source);
    let good = worker.write("secrets", b"x", now).unwrap().stored;
    let local = worker.write("configmaps", b"x", now).unwrap().stored;
    let mut altered = good.clone();
    *altered.last_mut().unwrap() ^= 1;
    let mut tag = good.clone();
    tag[PREFIX.len() + 20] ^= 1;
    let mut broken = local.clone();
    *broken.last_mut().unwrap() ^= 1;
    let before = counted(&worker.engine);
    let table: &[(&str, &str, &[u8])] = &[
        ("altered tag", "secrets", &tag),
        ("altered envelope", "secrets", &altered),
        ("no envelope", "secrets", PREFIX.as_bytes()),
        ("another provider's value", "secrets", b"k8s:enc:kms:v2:b:x"),
        ("altered local value", "configmaps", &broken),
        ("unknown key", "configmaps", b"k8s:enc:aesgcm:v1:z:x"),
        ("plaintext, but no identity provider", "configmaps", b"x"),
        ("KMS v1", "pods", b"k8s:enc:kms:v1:old:\0\x01xy"),
        ("encrypted, but no rule", "nodes", &good),
    ];
    for (desc, resource, stored) in table {
        assert!(worker.read(resource, stored, now).is_none(), "{desc}");
    }
    assert!(worker.write("pods", b"x", now).is_none(), "KMS v1");
    assert_eq!(counted(&worker.engine), before, "nothing was counted");
    worker.assert_silent();
    // A later success is counted as usual.
    assert!(worker.read("secrets", &good, now).is_some());
    assert_ne!(counted(&worker.engine), before);
}

#[test]
fn a_read_that_needs_a_second_key_is_left_to_the_control_engine() {
    let file = String::from_utf8(FILE.to_vec()).unwrap();
    let file = file.replace(
        file.lines().find(|line| line.contains("aesgcm")).unwrap(),
        &format!("  - {TWICE}"),
    );
    let source = DekSourceType::AesGcmKey;
    let mut control = Control::new(source);
    let stored = control.write("configmaps", b"x");
    let mut worker = Worker::of(file.as_bytes(), source);
    let before = counted(&worker.engine);
    assert!(worker.read("configmaps", &stored, control.now).is_none());
    assert_eq!(counted(&worker.engine), before);
    // The worker could decrypt the value with its second key, but the control engine must also count the attempt that failed.
    let read = worker.engine.from_storage(OpId(1), at("configmaps"), &stored, control.now);
    assert!(read.unwrap().unwrap().is_stale());
}

#[test]
fn a_worker_never_probes() {
    let source = DekSourceType::AesGcmKey;
    let mut control = Control::new(source);
    let mut worker = Worker::leased(&mut control, source);
    for seconds in [0, 60, 600] {
        let now = Timestamp::from_millis(control.now.as_millis() + seconds * 1000);
        assert_eq!(worker.engine.poll_timeout(), None);
        worker.engine.handle_timeout(now);
        let _ = worker.engine.health(OpId(1), now);
        let _ = worker.engine.to_storage(OpId(2), at("secrets"), b"x", now);
        worker.assert_silent();
    }
}

#[test]
fn a_counter_with_too_few_values_is_not_leased() {
    let nonces =
        CounterNonces::new(CounterRange { start: u64::MAX - 2 * LEASE_LEN, end: u64::MAX });
    let first = nonces.cut(LEASE_LEN).unwrap();
    let second = nonces.cut(LEASE_LEN).unwrap();
    assert_eq!((first.end, second.end), (second.start, u64::MAX));
    assert_eq!(nonces.cut(LEASE_LEN), None);
    assert_eq!(nonces.next(), Err(Exhausted));
}

/// 8 threads draw 2³² values from 16 leases of one counter.
#[test]
fn eight_threads_draw_four_billion_distinct_values_from_sixteen_leases() {
    const LEASES: u64 = 16;
    const EACH: u64 = (1 << 32) / LEASES;
    let whole = CounterNonces::new(CounterRange::WHOLE);
    let leases = Mutex::new(Vec::new());
    let drawn = AtomicU64::new(0);
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                for _ in 0..LEASES / 8 {
                    let range = whole.cut(EACH).unwrap();
                    leases.lock().unwrap().push(range);
                    let nonces = CounterNonces::new(range);
                    let mut expected = range.start;
                    // The values are consecutive and each is drawn once, so there is no duplicate within a lease.
                    while let Ok(nonce) = nonces.next() {
                        let counter = nonce.counter().unwrap();
                        assert_eq!(counter, expected);
                        expected += 1;
                    }
                    assert_eq!(expected, range.end);
                    drawn.fetch_add(expected - range.start, Ordering::Relaxed);
                }
            });
        }
    });
    // There is none between leases either, nor with the control engine's own values.
    let mut leases = leases.into_inner().unwrap();
    leases.sort_unstable_by_key(|range| range.start);
    assert_eq!(leases[0].start, CounterRange::WHOLE.start);
    assert!(leases.array_windows().all(|[a, b]| a.end == b.start));
    let own = whole.next().unwrap();
    let own = own.counter().unwrap();
    assert_eq!(own, leases.last().unwrap().end);
    let drawn = drawn.into_inner();
    assert_eq!(drawn, 1 << 32);
    println!(
        "FIGURES {drawn} counter values over 8 threads and {} leases: no duplicate",
        leases.len()
    );
}
