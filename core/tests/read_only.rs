//! Tests a read-only control engine together with its workers: it has no DEK to lease, and its workers leave KMS values to it.

use dekker_core::crypto::entropy::{Entropy, EntropyError};
use dekker_core::crypto::rustcrypto::RustCrypto;
use dekker_core::engine::event::{Action, EncryptResponse, Event, OpId, StatusResponse};
use dekker_core::engine::{Engine, Options};
use dekker_core::time::Timestamp;
use dekker_core::{ErrorKind, Location, ValueState};

const FILE: &[u8] = b"
apiVersion: apiserver.config.k8s.io/v1
kind: EncryptionConfiguration
resources:
- resources: [secrets]
  providers: [{kms: {apiVersion: v2, name: a, endpoint: 'unix:///run/a.sock'}}]
- resources: [configmaps]
  providers: [{aesgcm: {keys: [{name: p, secret: MDEyMzQ1Njc4OWFiY2RlZg==}]}}]
";
const NOW: Timestamp = Timestamp::from_millis(1_000_000);

struct Sevens;
impl Entropy for Sevens {
    fn fill(&self, bytes: &mut [u8]) -> Result<(), EntropyError> {
        bytes.fill(7);
        Ok(())
    }
}

type Create = fn(
    &[u8],
    Options,
    Box<dyn dekker_core::KeyStore>,
    Box<dyn Entropy>,
    Timestamp,
) -> Result<Engine, dekker_core::Faults>;

fn create(create: Create, read_only: bool) -> Engine {
    let options = Options { read_only, ..Options::default() };
    create(FILE, options, Box::new(RustCrypto), Box::new(Sevens), NOW).expect("a valid file")
}

fn at(resource: &str) -> Location<'_> {
    Location { resource, key: b"/k" }
}

/// Answers the engine's calls as a plugin that inverts every bit. Returns the values that were read, and the number of Encrypt calls.
fn answer(engine: &mut Engine) -> (Vec<Vec<u8>>, usize) {
    let turn = |bytes: &[u8]| bytes.iter().map(|byte| !byte).collect::<Vec<_>>();
    let key_id = || "key-1".to_string();
    let (mut reads, mut encrypts) = (Vec::new(), 0);
    while let Some(action) = engine.poll_action() {
        let event = match action {
            Action::CallStatus { call, .. } => {
                let (version, healthz) = ("v2".into(), "ok".into());
                let outcome = Ok(StatusResponse { version, healthz, key_id: key_id() });
                Event::Status { call, outcome }
            }
            Action::CallEncrypt { call, plaintext, .. } => {
                encrypts += 1;
                let ciphertext = turn(plaintext.expose());
                let annotations = [].into();
                let outcome = Ok(EncryptResponse { ciphertext, key_id: key_id(), annotations });
                Event::Encrypted { call, outcome }
            }
            Action::CallDecrypt { call, request, .. } => {
                Event::Decrypted { call, outcome: Ok(turn(&request.ciphertext).into()) }
            }
            Action::FromStorageDone { outcome, .. } => {
                reads.push(outcome.expect("a read").plaintext.expose().to_vec());
                continue;
            }
            _ => continue,
        };
        engine.handle_event(event, NOW);
    }
    (reads, encrypts)
}

#[test]
fn a_read_only_engine_gives_no_lease_and_its_workers_leave_kms_values_to_it() {
    let mut writer = create(Engine::new, false);
    assert_eq!(answer(&mut writer).1, 1);
    let mut write = |resource: &str| {
        let written = writer.to_storage(OpId(1), at(resource), b"plaintext", NOW);
        written.expect("no plugin is needed").expect("a write").stored
    };
    let (by_kms, local) = (write("secrets"), write("configmaps"));

    let mut control = create(Engine::new, true);
    let mut worker = create(Engine::worker, true);
    assert!(worker.try_from_storage(at("secrets"), &by_kms, NOW).is_none());
    assert!(control.from_storage(OpId(1), at("secrets"), &by_kms, NOW).is_none());
    assert_eq!(answer(&mut control), (vec![b"plaintext".to_vec()], 0));

    assert_eq!(control.write_states().count(), 0);
    assert!(control.lease("a").is_none());
    assert!(control.known_dek("secrets", &by_kms).is_none(), "no worker could use it");
    assert!(worker.try_from_storage(at("secrets"), &by_kms, NOW).is_none());
    for engine in [&mut control, &mut worker] {
        for resource in ["secrets", "configmaps", "nodes"] {
            assert!(engine.try_to_storage(at(resource), b"x", NOW).is_none(), "{resource}");
        }
    }
    let refused = control.to_storage(OpId(2), at("configmaps"), b"x", NOW);
    assert_eq!(refused.expect("at once").unwrap_err().kind, ErrorKind::ReadOnly);
    let read = worker.try_from_storage(at("configmaps"), &local, NOW).expect("a local value");
    assert_eq!((read.plaintext.expose(), read.state), (&b"plaintext"[..], Some(ValueState::Fresh)));
    assert!(worker.poll_action().is_none() && worker.poll_timeout().is_none());
}
