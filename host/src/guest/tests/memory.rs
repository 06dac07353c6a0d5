//! Neither plaintexts nor keys are in an instance's memory.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use wasmtime::{Config, LinearMemory, MemoryCreator, MemoryType};

use super::super::*;
use super::{at, options};
use crate::model::Location;

/// Creates memories that the test can read.
struct Readable(Arc<Mutex<Vec<Region>>>);

/// The address and the size of a memory in use.
#[derive(Clone, Copy)]
struct Region {
    start: usize,
    len: usize,
}

/// A memory of fixed capacity.
struct Memory {
    bytes: Box<[u8]>,
    len: usize,
    number: usize,
    regions: Arc<Mutex<Vec<Region>>>,
}

/// 64 MiB.
const CAPACITY: usize = 64 << 20;

fn regions(of: &Mutex<Vec<Region>>) -> std::sync::MutexGuard<'_, Vec<Region>> {
    of.lock().unwrap_or_else(PoisonError::into_inner)
}

// SAFETY: each memory owns its bytes, which never move.
#[allow(unsafe_code)]
unsafe impl MemoryCreator for Readable {
    fn new_memory(
        &self,
        _ty: MemoryType,
        minimum: usize,
        _maximum: Option<usize>,
        _reserved: Option<usize>,
        _guard: usize,
    ) -> Result<Box<dyn LinearMemory>, String> {
        let bytes = vec![0; CAPACITY].into_boxed_slice();
        let mut regions = regions(&self.0);
        let number = regions.len();
        regions.push(Region { start: bytes.as_ptr() as usize, len: minimum });
        Ok(Box::new(Memory { bytes, len: minimum, number, regions: self.0.clone() }))
    }
}

// SAFETY: as above.
#[allow(unsafe_code)]
unsafe impl LinearMemory for Memory {
    fn byte_size(&self) -> usize {
        self.len
    }

    fn byte_capacity(&self) -> usize {
        CAPACITY
    }

    fn grow_to(&mut self, new_size: usize) -> wasmtime::Result<()> {
        if new_size > CAPACITY {
            return Err(wasmtime::Error::msg("too much memory for this test"));
        }
        self.len = new_size;
        if let Some(region) = regions(&self.regions).get_mut(self.number) {
            region.len = new_size;
        }
        Ok(())
    }

    fn as_ptr(&self) -> *mut u8 {
        self.bytes.as_ptr().cast_mut()
    }
}

/// The bytes that must not be found.
struct Canaries {
    regions: Arc<Mutex<Vec<Region>>>,
    /// Every aligned part of eight bytes of each secret, and what it is.
    all: HashMap<[u8; 8], &'static str>,
}

impl Canaries {
    fn add(&mut self, secret: &[u8], what: &'static str) {
        for chunk in secret.as_chunks::<8>().0 {
            self.all.insert(*chunk, what);
        }
    }

    /// Searches the memories of all instances.
    fn assert_absent(&self, when: &str) {
        for (number, Region { start, len }) in regions(&self.regions).iter().enumerate() {
            // SAFETY: the instances live as long as the test, and none runs now.
            #[allow(unsafe_code)]
            let bytes = unsafe { std::slice::from_raw_parts(*start as *const u8, *len) };
            for window in bytes.array_windows::<8>() {
                // Most of a heap that is wiped is zero.
                if *window != [0; 8]
                    && let Some(what) = self.all.get(window)
                {
                    panic!("{what} in memory {number}, {when}");
                }
            }
        }
    }
}

fn random<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    dekker_crypto::random::fill(&mut bytes).unwrap();
    bytes
}

/// Answers everything that an engine asks, and adds each DEK to `deks`. A ciphertext is the DEK with its bits turned over, so that it is no canary.
pub(super) fn settle(guest: &mut Guest, deks: &mut Vec<Vec<u8>>, now: u64) -> Vec<Polled> {
    let mut done = Vec::new();
    loop {
        let actions = guest.poll_actions().unwrap();
        if actions.is_empty() {
            return done;
        }
        for polled in actions {
            let event = match polled {
                Polled::Action(Action::CallStatus(call)) => Event::Status(StatusEvent {
                    call: call.call,
                    outcome: Ok(StatusResponse {
                        version: "v2".to_owned(),
                        healthz: "ok".to_owned(),
                        key_id: "key-1".to_owned(),
                    }),
                }),
                Polled::Action(Action::CallEncrypt(call)) => {
                    if call.plaintext != b"ping" {
                        deks.push(call.plaintext.clone());
                    }
                    Event::Encrypted(EncryptedEvent {
                        call: call.call,
                        outcome: Ok(EncryptResponse {
                            ciphertext: call.plaintext.iter().map(|byte| !byte).collect(),
                            key_id: "key-1".to_owned(),
                            annotations: Vec::new(),
                        }),
                    })
                }
                Polled::Action(Action::CallDecrypt(call)) => {
                    let dek: Vec<u8> = call.ciphertext.iter().map(|byte| !byte).collect();
                    deks.push(dek.clone());
                    Event::Decrypted(DecryptedEvent { call: call.call, outcome: Ok(dek) })
                }
                Polled::Action(_) => continue,
                ended => {
                    done.push(ended);
                    continue;
                }
            };
            guest.handle_event(&event, now).unwrap();
        }
    }
}

#[test]
fn no_plaintext_and_no_key_is_in_the_memory_of_an_instance() {
    use base64::Engine as _;
    use base64::prelude::BASE64_STANDARD;

    let memories = Arc::new(Mutex::new(Vec::new()));
    let mut config = Config::new();
    config.epoch_interruption(true);
    config.memory_reservation(0).memory_guard_size(0).memory_init_cow(false);
    config.with_host_memory(Arc::new(Readable(memories.clone())));
    let engine = Engine::new(&config).unwrap();
    let component = wasmtime::component::Component::new(&engine, EMBEDDED).unwrap();
    let component = Component::new(engine, &component, CAPACITY).unwrap();
    let mut canaries = Canaries { regions: memories, all: HashMap::new() };

    let local: [[u8; 32]; 3] = std::array::from_fn(|_| random());
    let [gcm, cbc, secretbox] = local.map(|key| BASE64_STANDARD.encode(key));
    let file = format!(
        "
apiVersion: apiserver.config.k8s.io/v1
kind: EncryptionConfiguration
resources:
- resources: [secrets]
  providers: [{{kms: {{apiVersion: v2, name: a, endpoint: 'unix:///run/a.sock'}}}}, {{identity: {{}}}}]
- resources: [configmaps]
  providers: [{{aesgcm: {{keys: [{{name: a, secret: '{gcm}'}}]}}}}]
- resources: [pods]
  providers: [{{aescbc: {{keys: [{{name: a, secret: '{cbc}'}}]}}}}]
- resources: [events]
  providers: [{{secretbox: {{keys: [{{name: a, secret: '{secretbox}'}}]}}}}]
- resources: [old]
  providers: [{{kms: {{apiVersion: v1, name: b, endpoint: 'unix:///run/b.sock'}}}}]
"
    );
    let mut now = 1_000_000;
    let mut guest = component.load(file.as_bytes(), &options(), now).unwrap().unwrap();
    for (key, text) in local.iter().zip([&gcm, &cbc, &secretbox]) {
        canaries.add(key, "a key of the configuration");
        canaries.add(text.as_bytes(), "the text of a key");
    }
    canaries.assert_absent("after the configuration was read");
    let mut deks = Vec::new();
    settle(&mut guest, &mut deks, now);

    let resources = ["secrets", "configmaps", "pods", "events", "old", "others"];
    for op in 0..1000u64 {
        now += 10;
        let plaintext: [u8; 96] = random();
        canaries.add(&plaintext[..16], "a plaintext");
        canaries.add(&plaintext[80..], "the end of a plaintext");
        let at: Location = at(resources[op as usize % resources.len()], "/registry/key");
        let written = match guest.to_storage(2 * op, &at, &plaintext, now).unwrap() {
            Some(outcome) => outcome,
            None => match settle(&mut guest, &mut deks, now).pop() {
                Some(Polled::Encrypted { outcome, .. }) => outcome,
                _ => panic!("the write has not ended"),
            },
        };
        deks.drain(..).for_each(|dek| canaries.add(&dek, "a DEK"));
        // A search takes as long as many operations.
        let is_searched = op % 10 == 0 || op > 990;
        if is_searched {
            canaries.assert_absent("after a write");
        }
        let stored = written.unwrap().stored;
        let read = match guest.from_storage(2 * op + 1, &at, &stored, now).unwrap() {
            Some(outcome) => outcome,
            None => match settle(&mut guest, &mut deks, now).pop() {
                Some(Polled::Decrypted { outcome, .. }) => outcome,
                _ => panic!("the read has not ended"),
            },
        };
        deks.drain(..).for_each(|dek| canaries.add(&dek, "a DEK"));
        if is_searched {
            canaries.assert_absent("after a read");
        }
        assert_eq!(**read.unwrap().plaintext, plaintext);
    }
    // The memory is really searched: the key ID is in it.
    canaries.all = HashMap::from([(*b"k8s:enc:", "a prefix")]);
    let found = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        canaries.assert_absent("at the end");
    }));
    assert!(found.is_err(), "the prefix of every value is in the memory");
}
