//! Tests threads that share an engine.

use std::collections::{BTreeMap, HashSet};
use std::sync::atomic::{AtomicU64, Ordering};

use dekker_core::crypto::entropy::{Entropy, EntropyError};
use dekker_core::crypto::keys::DekSourceType;
use dekker_core::engine::event::{Action, EncryptResponse, Event, OpId, StatusResponse};
use dekker_core::engine::{Engine, Options};
use dekker_core::provider::kms::v2::envelope::EncryptedObject;
use dekker_core::time::Timestamp;
use dekker_core::{Encrypted, ErrorKind, Location, TransformError, ValueState};
use dekker_ring::Ring;
use dekker_shared::{Control, Parts, SharedEngine};

const PREFIX: &str = "k8s:enc:kms:v2:a:";
const AT: Location<'static> = Location { resource: "secrets", key: b"/k" };
const START: u64 = 1_000_000;

fn file(timeout: u32) -> Vec<u8> {
    format!(
        "
apiVersion: apiserver.config.k8s.io/v1
kind: EncryptionConfiguration
resources:
- resources: [secrets]
  providers: [{{kms: {{apiVersion: v2, name: a, endpoint: 'unix:///run/a.sock', timeout: {timeout}s}}}}]
"
    )
    .into_bytes()
}

fn at(millis: u64) -> Timestamp {
    Timestamp::from_millis(START + millis)
}

/// Makes the random part of every nonce zero, so that only the counter makes nonces differ. Every DEK is different.
struct Counting;
impl Entropy for Counting {
    fn fill(&self, bytes: &mut [u8]) -> Result<(), EntropyError> {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        bytes.fill(0);
        if bytes.len() >= 32 {
            let number = NEXT.fetch_add(1, Ordering::Relaxed);
            bytes[..8].copy_from_slice(&number.to_le_bytes());
        }
        Ok(())
    }
}

type Written = Result<Encrypted, TransformError>;

/// A plugin that inverts every bit.
#[derive(Default)]
struct Plugin {
    key_id: &'static str,
    calls: BTreeMap<&'static str, usize>,
}

impl Plugin {
    fn count(&mut self, call: &'static str) {
        *self.calls.entry(call).or_default() += 1;
    }

    /// Answers all calls of the control engine. Returns the writes that this completes.
    fn answer(&mut self, control: &mut Control<'_>, now: Timestamp) -> Vec<(OpId, Written)> {
        let mut done = Vec::new();
        let turn = |bytes: &[u8]| bytes.iter().map(|byte| !byte).collect::<Vec<_>>();
        while let Some(action) = control.poll_action() {
            let event = match action {
                Action::CallStatus { call, .. } => {
                    self.count("status");
                    let outcome = Ok(StatusResponse {
                        version: "v2".into(),
                        healthz: "ok".into(),
                        key_id: self.key_id.into(),
                    });
                    Event::Status { call, outcome }
                }
                Action::CallEncrypt { call, plaintext, .. } => {
                    self.count("encrypt");
                    let outcome = Ok(EncryptResponse {
                        ciphertext: turn(plaintext.expose()),
                        key_id: self.key_id.into(),
                        annotations: [].into(),
                    });
                    Event::Encrypted { call, outcome }
                }
                Action::CallDecrypt { call, request, .. } => {
                    self.count("decrypt");
                    let outcome = Ok(turn(&request.ciphertext).into());
                    Event::Decrypted { call, outcome }
                }
                Action::ToStorageDone { op, outcome } => {
                    done.push((op, outcome));
                    continue;
                }
                _ => continue,
            };
            control.handle_event(event, now);
        }
        done
    }
}

fn engine(dek_source: DekSourceType) -> (SharedEngine, Plugin) {
    with(Options { dek_source, reload: true, ..Options::default() })
}

fn with(options: Options) -> (SharedEngine, Plugin) {
    let parts = Parts { keys: || Box::new(Ring), entropy: || Box::new(Counting) };
    let engine = SharedEngine::new(&file(3), options, parts, at(0)).unwrap();
    let mut plugin = Plugin { key_id: "key-1", ..Plugin::default() };
    plugin.answer(&mut engine.control(), at(0));
    (engine, plugin)
}

/// Returns the encrypted DEK source and the counter of the nonce.
fn nonce(stored: &[u8]) -> (Vec<u8>, [u8; 8]) {
    let object = EncryptedObject::decode(&stored[PREFIX.len()..]).unwrap();
    let counter = *object.encrypted_data[4..].first_chunk().unwrap();
    (object.encrypted_dek_source.to_vec(), counter)
}

/// Returns the counter of the nonce, without decoding the rest. The envelope's first field is the encrypted data, and a short one's length is one byte.
fn nonce_of(stored: &[u8]) -> [u8; 8] {
    let rest = stored.strip_prefix(PREFIX.as_bytes()).unwrap();
    let [0x0a, 0..0x80, _, _, _, _, counter @ ..] = rest else {
        panic!("another envelope");
    };
    *counter.first_chunk().unwrap()
}

const SOURCES: [DekSourceType; 2] =
    [DekSourceType::AesGcmKey, DekSourceType::HkdfSha256XnonceAesGcmSeed];

#[test]
fn eight_threads_write_and_read_without_the_lock() {
    for source in SOURCES {
        let (engine, plugin) = engine(source);
        let ready = std::sync::Barrier::new(9);
        let nonces: Vec<_> = std::thread::scope(|scope| {
            let work = || {
                // The first value takes the lock to get a lease.
                let first = engine.to_storage(AT, b"first", at(0)).unwrap().stored;
                ready.wait();
                ready.wait();
                let mut nonces = vec![nonce(&first)];
                for n in 0..5000u32 {
                    let text = n.to_le_bytes();
                    let stored = engine.to_storage(AT, &text, at(0)).unwrap().stored;
                    let read = engine.from_storage(AT, &stored, at(0)).unwrap();
                    assert_eq!((read.plaintext.expose(), read.is_stale()), (&text[..], false));
                    nonces.push(nonce(&stored));
                }
                nonces
            };
            let threads: Vec<_> = (0..8).map(|_| scope.spawn(work)).collect();
            ready.wait();
            // Held until all threads are done: a thread that needed the lock would never finish.
            let control = engine.control();
            ready.wait();
            let nonces = threads.into_iter().flat_map(|thread| thread.join().unwrap());
            let nonces = nonces.collect();
            drop(control);
            nonces
        });
        assert_eq!(nonces.len(), 8 * 5001);
        if source == DekSourceType::AesGcmKey {
            let unique: HashSet<_> = nonces.iter().collect();
            assert_eq!(unique.len(), nonces.len(), "every nonce is unique");
        }
        let expected = [("decrypt", 1), ("encrypt", 1), ("status", 1)];
        assert_eq!(plugin.calls, expected.into(), "one DEK, which the plugin decrypted once");
    }
}

#[test]
fn many_values_are_what_each_alone_is() {
    let (engine, mut plugin) = engine(DekSourceType::AesGcmKey);
    let plaintexts: Vec<_> = (0..1000u32).map(u32::to_le_bytes).collect();
    let other = Location { resource: "configmaps", key: b"/k" };
    let mut values: Vec<(Location<'_>, &[u8])> =
        plaintexts.iter().map(|text| (AT, &text[..])).collect();
    values.insert(500, (other, b"no rule"));
    let written = engine.to_storage_many(values.iter().copied(), at(0));
    let written: Vec<_> = written.into_iter().map(|one| one.unwrap().stored).collect();
    assert_eq!(written[500], b"no rule");

    let mut stored: Vec<_> =
        values.iter().zip(&written).map(|((at, _), stored)| (*at, &stored[..])).collect();
    // No provider can read it; only the control engine says why.
    stored.insert(3, (AT, b"k8s:enc:unknown:v1:x"));
    let mut read = engine.from_storage_many(stored, at(0));
    assert!(read.remove(3).is_none());
    for (read, (_, plaintext)) in read.iter().zip(&values) {
        assert_eq!(read.as_ref().unwrap().plaintext.expose(), *plaintext);
    }

    let sealed = written.iter().filter(|stored| stored.starts_with(PREFIX.as_bytes()));
    let counters: Vec<_> = sealed.map(|stored| u64::from_le_bytes(nonce(stored).1)).collect();
    let expected: Vec<_> = (counters[0]..counters[0] + 1000).collect();
    assert_eq!(counters, expected, "one counter value for each");

    // A DEK that is replaced in the meantime is used from the next batch on.
    plugin.key_id = "key-2";
    let mut control = engine.control();
    control.handle_timeout(at(60_000));
    plugin.answer(&mut control, at(60_000));
    drop(control);
    let new = engine.to_storage_many([(AT, &b"new"[..])], at(60_000));
    assert_ne!(nonce(&new[0].as_ref().unwrap().stored).0, nonce(&written[0]).0);
    let old = engine.from_storage_many([(AT, &written[0][..])], at(60_000));
    assert!(old[0].as_ref().unwrap().is_stale());
}

/// The number of values in [`nonces_of_batches_never_repeat`]. `cargo xtask nonces` sets more.
fn nonces() -> u64 {
    match std::env::var("DEKKER_NONCES") {
        Ok(number) => number.parse().expect("DEKKER_NONCES is a number"),
        Err(_) => 200_000,
    }
}

#[test]
fn nonces_of_batches_never_repeat() {
    let (engine, _) = engine(DekSourceType::AesGcmKey);
    let each = nonces() / 2;
    // Each thread's counter values, as runs of consecutive ones.
    let write = || {
        let mut runs: Vec<(u64, u64)> = Vec::new();
        let mut left = each;
        while left > 0 {
            let len = left.min(64);
            left -= len;
            let batch = (0..len).map(|_| (AT, &b"value"[..]));
            for (n, written) in engine.to_storage_many(batch, at(0)).into_iter().enumerate() {
                let stored = match written {
                    Some(written) => written.stored,
                    // The lease is used up. The control engine writes this value, and the next one gets a lease.
                    None => {
                        let mut control = engine.control();
                        control
                            .to_storage(OpId(n as u64), AT, b"value", at(0))
                            .unwrap()
                            .unwrap()
                            .stored
                    }
                };
                let counter = u64::from_le_bytes(nonce_of(&stored));
                match runs.last_mut() {
                    Some((_, end)) if *end == counter => *end += 1,
                    _ => runs.push((counter, counter + 1)),
                }
            }
        }
        runs
    };
    let mut runs: Vec<_> = std::thread::scope(|scope| {
        let threads = [(); 2].map(|()| scope.spawn(write));
        threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
    });
    runs.sort_unstable();
    let seen: u64 = runs.iter().map(|(start, end)| end - start).sum();
    assert_eq!(seen, 2 * each);
    assert!(
        runs.windows(2).all(|pair| pair[0].1 <= pair[1].0),
        "a counter value came twice: {runs:?}"
    );
    println!(
        "{seen} nonces of batches, all different, in {} runs of consecutive values",
        runs.len()
    );
}

#[test]
fn a_new_dek_a_new_file_and_the_expiry_reach_the_threads() {
    for source in SOURCES {
        let (engine, mut plugin) = engine(source);
        let old = engine.to_storage(AT, b"old", at(0)).unwrap().stored;

        plugin.key_id = "key-2";
        let mut control = engine.control();
        control.handle_timeout(at(60_000));
        plugin.answer(&mut control, at(60_000));
        drop(control);
        let new = engine.to_storage(AT, b"new", at(60_000)).unwrap().stored;
        assert_ne!(nonce(&new).0, nonce(&old).0);
        assert!(engine.from_storage(AT, &old, at(60_000)).unwrap().is_stale());
        assert!(!engine.from_storage(AT, &new, at(60_000)).unwrap().is_stale());

        // A different timeout makes it a different provider.
        let mut control = engine.control();
        control.reload(&file(4), at(61_000)).unwrap();
        plugin.answer(&mut control, at(61_000));
        control.handle_timeout(at(61_500));
        plugin.answer(&mut control, at(61_500));
        assert_eq!(control.running_config().unwrap().expose(), file(4));
        drop(control);
        let newest = engine.to_storage(AT, b"x", at(62_000)).unwrap().stored;
        assert_ne!(nonce(&newest).0, nonce(&new).0);

        // Neither engine has this DEK: the control engine asks the plugin, then this thread learns the DEK.
        assert!(engine.from_storage(AT, &old, at(62_000)).is_none());
        let mut control = engine.control();
        assert!(control.from_storage(OpId(1), AT, &old, at(62_000)).is_none());
        plugin.answer(&mut control, at(62_000));
        drop(control);
        assert!(engine.from_storage(AT, &old, at(62_000)).is_none());
        engine.learn(AT, &old, at(62_000));
        assert!(engine.from_storage(AT, &old, at(62_000)).unwrap().is_stale());

        // There was no poll since: the lease expires with its DEK.
        assert!(engine.to_storage(AT, b"x", at(300_000)).is_none());
        let mut control = engine.control();
        // The poll that would have renewed the DEK is overdue: it starts now, and the write waits for it.
        assert!(control.to_storage(OpId(2), AT, b"x", at(300_000)).is_none());
        let done = plugin.answer(&mut control, at(300_000));
        let [(OpId(2), Ok(_))] = &done[..] else {
            panic!("one write is done");
        };
        drop(control);
        assert!(engine.to_storage(AT, b"x", at(300_000)).is_some());
    }
}

#[test]
fn a_value_has_the_same_state_on_a_thread_and_in_the_control_engine() {
    let (seeds, _) = engine(DekSourceType::HkdfSha256XnonceAesGcmSeed);
    let seed = seeds.to_storage(AT, b"x", at(0)).unwrap().stored;
    let (engine, mut plugin) = engine(DekSourceType::AesGcmKey);
    let own = engine.to_storage(AT, b"x", at(0)).unwrap().stored;
    let mut control = engine.control();
    assert!(control.from_storage(OpId(1), AT, &seed, at(0)).is_none());
    plugin.answer(&mut control, at(0));
    drop(control);
    engine.learn(AT, &seed, at(0));
    for (stored, expected) in [(own, ValueState::Fresh), (seed, ValueState::OtherSource)] {
        assert_eq!(engine.from_storage(AT, &stored, at(0)).unwrap().state, Some(expected));
        let read = engine.control().from_storage(OpId(2), AT, &stored, at(0));
        assert_eq!(read.unwrap().unwrap().state, Some(expected));
    }
}

#[test]
fn threads_of_a_read_only_engine_leave_kms_values_and_writes_to_the_control_engine() {
    let stored = engine(DekSourceType::AesGcmKey).0.to_storage(AT, b"x", at(0)).unwrap().stored;
    let (engine, mut plugin) = with(Options { read_only: true, ..Options::default() });
    for round in 0..2 {
        assert!(engine.to_storage(AT, b"x", at(0)).is_none());
        assert!(engine.from_storage(AT, &stored, at(0)).is_none());
        let mut control = engine.control();
        let refused = control.to_storage(OpId(1), AT, b"x", at(0));
        assert_eq!(refused.unwrap().unwrap_err().kind, ErrorKind::ReadOnly);
        let read = control.from_storage(OpId(2), AT, &stored, at(0));
        assert_eq!(read.is_some(), round == 1, "the second time, its DEK is cached");
        plugin.answer(&mut control, at(0));
        drop(control);
        engine.learn(AT, &stored, at(0));
    }
    assert_eq!(plugin.calls, [("decrypt", 1), ("status", 1)].into());
}

#[test]
fn threads_follow_what_the_engine_runs_and_not_what_was_offered_last() {
    let local = b"
apiVersion: apiserver.config.k8s.io/v1
kind: EncryptionConfiguration
resources:
- resources: [secrets]
  providers: [{secretbox: {keys: [{name: b, secret: MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=}]}}]";
    for through_the_engine in [false, true] {
        let (engine, _) = engine(DekSourceType::AesGcmKey);
        let first = engine.to_storage(AT, b"x", at(0)).unwrap().stored;
        assert!(first.starts_with(PREFIX.as_bytes()));

        // One file comes into use. Before the guard is dropped, another one is offered, whose plugin does not answer.
        let mut control = engine.control();
        for file in [&local[..], &file(5)] {
            if through_the_engine {
                let engine: &mut Engine = &mut control;
                engine.reload(file, at(1000)).unwrap();
            } else {
                control.reload(file, at(1000)).unwrap();
            }
        }
        assert_eq!(control.running_config().unwrap().expose(), local);
        drop(control);

        let second = engine.to_storage(AT, b"x", at(2000)).unwrap().stored;
        assert!(second.starts_with(b"k8s:enc:secretbox:v1:b:"));
        let read = engine.control().from_storage(OpId(1), AT, &second, at(2000));
        let read = read.expect("its key is in the file").expect("a read");
        assert_eq!((read.plaintext.expose(), read.is_stale()), (&b"x"[..], false));
    }
}

#[test]
fn metrics_include_the_counts_of_all_threads() {
    let (mut engine, _) = engine(DekSourceType::AesGcmKey);
    std::thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| {
                for _ in 0..10 {
                    assert!(engine.to_storage(AT, b"x", at(0)).is_some());
                }
            });
        }
    });
    let counted = engine.metrics().into_iter().flatten();
    let writes: f64 = counted
        .filter(|family| family.name == "apiserver_storage_transformation_operations_total")
        .flat_map(|family| family.samples)
        .map(|sample| sample.value)
        .sum();
    assert!((writes - 30.0).abs() < f64::EPSILON, "{writes}");
}
