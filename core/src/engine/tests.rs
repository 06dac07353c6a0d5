//! Tests of states that cannot be reached or seen through the public interface, such as a DEK with few nonces.

use alloc::boxed::Box;
use alloc::string::ToString;
use alloc::vec;
use alloc::vec::Vec;
use core::time::Duration;

use super::event::{Action, Event, Generation, OpId};
use super::pending::PARKED_BYTES_MAX;
use super::{Engine, Options};
use crate::crypto::entropy::{Entropy, EntropyError};
use crate::crypto::keys::DekSourceType;
use crate::crypto::nonce::CounterRange;
use crate::crypto::rustcrypto::RustCrypto;
use crate::provider::error::{ErrorKind, TransformError};
use crate::provider::kms::Kms;
use crate::provider::kms::call::{EncryptResponse, ProviderId, StatusResponse};
use crate::provider::kms::v2::key_state::{Coast, KeyState};
use crate::provider::value::{Encrypted, Location};
use crate::time::Timestamp;

const FILE: &[u8] = b"
apiVersion: apiserver.config.k8s.io/v1
kind: EncryptionConfiguration
resources:
- resources: [secrets]
  providers: [{kms: {apiVersion: v2, name: a, endpoint: 'unix:///run/a.sock'}}]
";

const MS: Duration = Duration::from_millis(1);

struct Sevens;
impl Entropy for Sevens {
    fn fill(&self, bytes: &mut [u8]) -> Result<(), EntropyError> {
        bytes.fill(7);
        Ok(())
    }
}

/// An engine whose DEKs have `nonces` nonces each, with a plugin whose Status and Encrypt calls are counted.
struct Short {
    engine: Engine,
    plugin_works: bool,
    statuses: usize,
    encrypts: usize,
    now: Timestamp,
}

impl Short {
    fn new(nonces: u64) -> Self {
        let now = Timestamp::from_millis(1_000_000);
        let engine =
            Engine::new(FILE, Options::default(), Box::new(RustCrypto), Box::new(Sevens), now);
        let mut engine = engine.unwrap();
        let range = CounterRange { start: u64::MAX - nonces, end: u64::MAX };
        engine.calls.retain(|_, _| false);
        engine.actions.clear();
        let Some(Kms::V2(provider)) = engine.providers.get_mut(&ProviderId(1)) else {
            panic!("a KMS v2 provider");
        };
        provider.state =
            KeyState::new("a".into(), DekSourceType::AesGcmKey, Coast::Strict, range, now);
        let mut short = Self { engine, plugin_works: true, statuses: 0, encrypts: 0, now };
        short.engine.handle_timeout(now);
        short.answer();
        short
    }

    /// Answers the engine's calls, as a plugin that does not really encrypt: a ciphertext is the DEK and the number of Encrypt calls so far.
    fn answer(&mut self) {
        while let Some(action) = self.engine.poll_action() {
            let event = match action {
                Action::CallStatus { call, provider: _ } => {
                    self.statuses += 1;
                    let status = StatusResponse {
                        version: "v2".to_string(),
                        healthz: if self.plugin_works { "ok" } else { "no" }.to_string(),
                        key_id: "key-1".to_string(),
                    };
                    Event::Status { call, outcome: Ok(status) }
                }
                Action::CallEncrypt { call, plaintext, .. } => {
                    self.encrypts += 1;
                    let mut ciphertext = plaintext.into_exposed();
                    ciphertext.push(self.encrypts as u8);
                    let answer = EncryptResponse {
                        ciphertext,
                        key_id: "key-1".to_string(),
                        annotations: [].into(),
                    };
                    Event::Encrypted { call, outcome: Ok(answer) }
                }
                Action::CallDecrypt { call, request, .. } => {
                    let dek = request.ciphertext[..32].to_vec();
                    Event::Decrypted { call, outcome: Ok(dek.into()) }
                }
                _ => continue,
            };
            self.engine.handle_event(event, self.now);
        }
    }

    fn write(&mut self) -> Result<Encrypted, TransformError> {
        let at = Location { resource: "secrets", key: b"/k" };
        let outcome = self.engine.to_storage(OpId(1), at, b"x", self.now).unwrap();
        self.answer();
        outcome
    }
}

#[test]
fn exhausted_dek_fails_one_write_and_is_replaced() {
    let mut short = Short::new(3);
    let outcomes: Vec<_> =
        (0..8).map(|_| short.write().map_err(|error| error.kind).err()).collect();
    let none = Some(ErrorKind::NoncesExhausted);
    // Each DEK allows three writes; the fourth write finds it used up. It is then replaced by a new DEK with the same key ID.
    assert_eq!(outcomes, vec![None, None, None, none, None, None, None, none]);
    assert_eq!(short.encrypts, 3);
}

#[test]
fn exhausted_dek_does_not_ask_a_failing_plugin_for_every_write() {
    let mut short = Short::new(1);
    short.write().unwrap();
    short.plugin_works = false;
    let before = short.statuses;
    for _ in 0..100 {
        assert_eq!(short.write().unwrap_err().kind, ErrorKind::NoncesExhausted);
    }
    assert_eq!(short.statuses, before + 1, "one Status at once, the next ones with the polls");
    short.plugin_works = true;
    short.now = short.engine.poll_timeout().unwrap();
    short.engine.handle_timeout(short.now);
    short.answer();
    short.write().unwrap();
}

#[test]
fn a_parked_operation_takes_the_room_of_its_location_and_its_value() {
    let mut short = Short::new(10);
    let key = b"/registry/secrets/default/token";
    let at = Location { resource: "secrets", key };
    let outcome = short.engine.to_storage(OpId(1), at, b"hunter2", short.now);
    let stored = outcome.unwrap().unwrap().stored;
    for (more, fits) in [(0, true), (1, false)] {
        // No plugin has answered these engines yet, so every operation waits.
        let new = || {
            let keys = Box::new(RustCrypto);
            Engine::new(FILE, Options::default(), keys, Box::new(Sevens), short.now).unwrap()
        };
        let key =
            |value: &[u8]| vec![b'k'; PARKED_BYTES_MAX - "secrets".len() - value.len() + more];
        let wrote = {
            let key = key(b"hunter2");
            let at = Location { resource: "secrets", key: &key };
            new().to_storage(OpId(1), at, b"hunter2", short.now).map(|done| done.unwrap_err().kind)
        };
        let read = {
            let key = key(&stored);
            let at = Location { resource: "secrets", key: &key };
            new().from_storage(OpId(1), at, &stored, short.now).map(|done| done.unwrap_err().kind)
        };
        let expected = (!fits).then_some(ErrorKind::Overloaded);
        assert_eq!((wrote, read), (expected, expected), "{more} bytes too many");
    }
}

struct Fails;
impl Entropy for Fails {
    fn fill(&self, _: &mut [u8]) -> Result<(), EntropyError> {
        Err(EntropyError)
    }
}

#[test]
fn a_dek_that_cannot_be_generated_is_counted() {
    let now = Timestamp::from_millis(1_000_000);
    let engine = Engine::new(FILE, Options::default(), Box::new(RustCrypto), Box::new(Fails), now);
    let engine = engine.unwrap();
    let mut short = Short { engine, plugin_works: true, statuses: 0, encrypts: 0, now };
    short.answer();
    assert_eq!((short.statuses, short.encrypts), (1, 0));
    assert_eq!(short.engine.counts.data_key_failures, 1);
}

#[test]
fn a_dek_encrypts_up_to_the_millisecond_of_its_expiry() {
    let expiry = Duration::from_secs(180);
    for (late, next_poll) in [(Duration::ZERO, Duration::from_secs(60)), (MS, Duration::ZERO)] {
        let mut short = Short::new(10);
        short.now = short.now + Duration::from_secs(60);
        short.engine.handle_timeout(short.now);
        // The expiry counts from when the Status call was sent.
        short.now = short.now + expiry + late;
        short.answer();
        assert_eq!(short.engine.poll_timeout(), Some(short.now + next_poll), "{late:?}");
        let at = Location { resource: "secrets", key: b"/k" };
        let written = short.engine.to_storage(OpId(1), at, b"x", short.now);
        assert_eq!(written.is_some_and(|written| written.is_ok()), late == Duration::ZERO);
    }
}

#[test]
fn a_local_write_that_fails_is_counted_for_its_key_and_for_its_provider() {
    let file = b"
apiVersion: apiserver.config.k8s.io/v1
kind: EncryptionConfiguration
resources:
- resources: [secrets]
  providers: [{aesgcm: {keys: [{name: key1, secret: MDEyMzQ1Njc4OWFiY2RlZg==}]}}]
";
    let now = Timestamp::from_millis(1_000_000);
    let engine = Engine::new(file, Options::default(), Box::new(RustCrypto), Box::new(Fails), now);
    let mut engine = engine.unwrap();
    let at = Location { resource: "secrets", key: b"/k" };
    let error = engine.to_storage(OpId(1), at, b"x", now).unwrap().unwrap_err();
    assert_eq!(error.kind, ErrorKind::Internal);
    let counted = engine.counts.transformations();
    let counted: Vec<_> =
        counted.map(|(labels, count)| (labels.prefix.to_string(), count)).collect();
    assert_eq!(counted, [("k8s:enc:aesgcm:v1:".to_string(), 1), ("key1:".to_string(), 1)]);
}

#[test]
fn the_names_of_the_checks_are_known_without_calling_a_plugin() {
    assert_eq!(Short::new(1).engine.check_names(), ["kms-providers"]);
}

#[test]
fn a_decrypt_that_has_ended_leaves_nothing() {
    let mut other = Short::new(1);
    other.write().unwrap();
    other.write().unwrap_err();
    let by_the_second_dek = other.write().unwrap().stored;
    let mut short = Short::new(10);
    let in_flight = |short: &mut Short| {
        short.engine.providers.get_mut(&ProviderId(1)).unwrap().in_flight().len()
    };
    let at = Location { resource: "secrets", key: b"/k" };
    let read = short.engine.from_storage(OpId(1), at, &by_the_second_dek, short.now);
    assert!(read.is_none(), "parked");
    assert_eq!(in_flight(&mut short), 1);
    short.answer();
    assert_eq!(in_flight(&mut short), 0);
}

#[test]
fn each_replaced_configuration_keeps_its_own_deadline() {
    let mut short = Short::new(10);
    let later = short.now + Duration::from_secs(5);
    short.engine.retired = vec![(Generation(0), short.now), (Generation(1), later)];
    short.engine.handle_timeout(short.now);
    assert_eq!(short.engine.retired, [(Generation(1), later)]);
}

#[test]
fn a_parsed_file_shows_its_hash_and_no_secret() {
    let file = b"
apiVersion: apiserver.config.k8s.io/v1
kind: EncryptionConfiguration
resources:
- resources: [secrets]
  providers: [{aescbc: {keys: [{name: k, secret: MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=}]}}]
";
    let short = Short::new(10);
    let shown = alloc::format!("{:?}", short.engine.parse(file).unwrap());
    let hash = crate::sha256::text(file);
    assert_eq!(shown, alloc::format!("ParsedFile {{ hash: {hash:?}, .. }}"));
}

#[test]
fn a_value_whose_sealed_bytes_come_twice_is_read_each_time() {
    let mut short = Short::new(10);
    let stored = short.write().unwrap().stored;
    let prefix = b"k8s:enc:kms:v2:a:";
    // As in Go, the last of several fields counts. Here a field of three other bytes comes before the real one.
    let twice = [&prefix[..], &[10, 3, 1, 2, 3], &stored[prefix.len()..]].concat();
    let at = Location { resource: "secrets", key: b"/k" };
    for op in 100..103 {
        let read = short.engine.from_storage(OpId(op), at, &twice, short.now);
        assert!(read.unwrap().is_ok(), "read {op}");
    }
}
