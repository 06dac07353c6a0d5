//! `SharedEngine`: threads write while the control engine rotates its DEK, is restored from a snapshot and loads another file.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicU64, Ordering};

use dekker_core::Location;
use dekker_core::crypto::entropy::{Entropy, EntropyError};
use dekker_core::crypto::rustcrypto::RustCrypto;
use dekker_core::engine::event::{Action, EncryptResponse, Event, StatusResponse};
use dekker_core::engine::{Engine, Options};
use dekker_core::provider::kms::v2::envelope::EncryptedObject;
use dekker_core::time::Timestamp;
use shuttle::sync::{Arc, Mutex};
use shuttle::thread;

use super::{in_many_orders, is_seen};

const PREFIX: &str = "k8s:enc:kms:v2:a:";
const AT: Location<'static> = Location { resource: "secrets", key: b"/k" };

fn file(providers: &str) -> Vec<u8> {
    format!(
        "
apiVersion: apiserver.config.k8s.io/v1
kind: EncryptionConfiguration
resources:
- resources: [secrets]
  providers: [{providers}]
"
    )
    .into_bytes()
}

const KMS: &str = "{kms: {apiVersion: v2, name: a, endpoint: 'unix:///run/a.sock'}}";
const KEY: &str =
    "{secretbox: {keys: [{name: k, secret: MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=}]}}";

/// The random part of a nonce is always zero, so that only the counter keeps nonces distinct. Every DEK differs.
struct Counting;
impl Entropy for Counting {
    fn fill(&self, bytes: &mut [u8]) -> Result<(), EntropyError> {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        bytes.fill(0);
        if bytes.len() > 8 {
            let number = NEXT.fetch_add(1, Ordering::Relaxed);
            bytes[..8].copy_from_slice(&number.to_le_bytes());
        }
        Ok(())
    }
}

fn now() -> Timestamp {
    Timestamp::from_millis(1_000_000)
}

/// A plugin that inverts bytes, and numbers the DEKs in the order in which it saw them.
#[derive(Default)]
struct Plugin {
    deks: BTreeMap<Vec<u8>, u64>,
}

impl Plugin {
    fn answer(&mut self, engine: &mut Engine) {
        let turn = |bytes: &[u8]| bytes.iter().map(|byte| !byte).collect::<Vec<_>>();
        while let Some(action) = engine.poll_action() {
            let event = match action {
                Action::CallStatus { call, .. } => {
                    let outcome = Ok(StatusResponse {
                        version: "v2".into(),
                        healthz: "ok".into(),
                        key_id: "key-1".into(),
                    });
                    Event::Status { call, outcome }
                }
                Action::CallEncrypt { call, plaintext, .. } => {
                    let ciphertext = turn(plaintext.expose());
                    let number = self.deks.len() as u64 + 1;
                    self.deks.insert(ciphertext.clone(), number);
                    let outcome = Ok(EncryptResponse {
                        ciphertext,
                        key_id: "key-1".into(),
                        annotations: [].into(),
                    });
                    Event::Encrypted { call, outcome }
                }
                Action::CallDecrypt { call, request, .. } => {
                    let outcome = Ok(turn(&request.ciphertext).into());
                    Event::Decrypted { call, outcome }
                }
                _ => continue,
            };
            engine.handle_event(event, now());
        }
    }
}

/// What was in use when a write began: the number of DEKs so far, and whether the file had a local key.
#[derive(Clone, Copy, Default)]
struct InUse {
    dek: u64,
    local: bool,
}

macro_rules! model {
    ($variant:ident) => {
        || {
            use dekker_concurrency::$variant::{Parts, SharedEngine};
            let parts = Parts { keys: || Box::new(RustCrypto), entropy: || Box::new(Counting) };
            let options = Options { reload: true, ..Options::default() };
            let engine = SharedEngine::new(&file(KMS), options, parts, now());
            let engine = Arc::new(engine.expect("a valid file"));
            let mut plugin = Plugin::default();
            plugin.answer(&mut engine.control());
            let in_use = Arc::new(Mutex::new(InUse { dek: 1, local: false }));
            let writers: Vec<_> = (0..2)
                .map(|_| {
                    let (engine, in_use) = (engine.clone(), in_use.clone());
                    thread::spawn(move || {
                        let mut written = Vec::new();
                        for _ in 0..3 {
                            let before = *in_use.lock().expect("no panic");
                            if let Some(done) = engine.to_storage(AT, b"value", now()) {
                                written.push((before, done.stored));
                            }
                        }
                        written
                    })
                })
                .collect();
            // A snapshot is restored: no value that begins later uses an old DEK.
            let mut control = engine.control();
            control.handle_event(Event::Restored, now());
            drop(control);
            // Until the plugin has answered, no KMS value may be written.
            in_use.lock().expect("no panic").dek = 2;
            plugin.answer(&mut engine.control());
            // Another file is in use: no value that begins later is written under the old one.
            let mut control = engine.control();
            let both = file(&format!("{KEY}, {KMS}"));
            control.reload(&both, now()).expect("a valid file");
            plugin.answer(&mut control);
            drop(control);
            in_use.lock().expect("no panic").local = true;
            let mut nonces = BTreeSet::new();
            for writer in writers {
                for (before, stored) in writer.join().expect("no panic") {
                    let Some(object) = stored.strip_prefix(PREFIX.as_bytes()) else {
                        assert!(stored.starts_with(b"k8s:enc:secretbox:v1:k:"));
                        continue;
                    };
                    assert!(!before.local, "the file before it");
                    let object = EncryptedObject::decode(object).expect("an envelope");
                    let dek = plugin.deks.get(object.encrypted_dek_source);
                    let dek = *dek.expect("a DEK of the plugin's");
                    assert!(dek >= before.dek, "a DEK from before the restore");
                    let counter = object.encrypted_data[4..12].to_vec();
                    assert!(nonces.insert((dek, counter)), "a nonce came twice");
                }
            }
        }
    };
}

#[test]
fn threads_write_with_the_state_in_use_and_repeat_no_nonce() {
    in_many_orders("shared engine, 2 writers", model!(shared));
}

#[test]
fn mistakes_are_detected() {
    is_seen("the version is read late", model!(shared_version_read_late));
    is_seen("a file is not published", model!(shared_unpublished_file));
    is_seen("an old lease is kept", model!(shared_lease_kept));
}
