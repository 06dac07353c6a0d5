//! A process whose memory and registers are restored never repeats a nonce. Tested with the component as `dekker-host` runs it, and with core in a
//! program.
//!
//! The writer is this executable, started again to run only the test that writes.
#![cfg(all(target_os = "linux", target_arch = "x86_64"))]

use std::io::{Read, Write};
use std::process::Command;
use std::time::{SystemTime, UNIX_EPOCH};

use dekker_core::crypto::keys::DekSourceType;
use dekker_core::engine::event::{Action, EncryptResponse, Event, OpId, StatusResponse};
use dekker_core::engine::{Engine, Options};
use dekker_core::provider::transformer::Location as CoreLocation;
use dekker_core::time::Timestamp;
use dekker_host::instance::{Instance, Plugin};
use dekker_host::{Location, WriteDekSource};
use dekker_ring::{KernelEntropy, Ring};
use dekker_tests::restored::{BATCH, Provider, expect_no_nonce_twice, print_batch};

const KEY: &[u8] = b"/registry/secrets/default/token";
/// `host` or `core`, and a provider's name. If the variable is set, this process is a writer.
const WRITER: &str = "DEKKER_TEST_WRITER";

#[test]
fn component_repeats_no_nonce_after_its_memory_is_restored() {
    for provider in Provider::ALL {
        expect_no_nonce_twice(writer("host", provider), provider);
    }
}

#[test]
fn core_repeats_no_nonce_after_its_memory_is_restored() {
    for provider in Provider::ALL {
        expect_no_nonce_twice(writer("core", provider), provider);
    }
}

fn writer(face: &str, provider: Provider) -> Command {
    let mut command = Command::new(std::env::current_exe().expect("this executable"));
    command
        .args(["--exact", "writes_values_as_a_child_process", "--nocapture", "--test-threads=1"])
        .env(WRITER, format!("{face} {}", provider.name()));
    command
}

#[test]
fn writes_values_as_a_child_process() {
    let Ok(writer) = std::env::var(WRITER) else {
        return;
    };
    let (face, name) = writer.split_once(' ').expect("a face and a provider");
    let provider = Provider::ALL.into_iter().find(|of| of.name() == name);
    let provider = provider.expect("a provider");
    match face {
        "host" => serve(host(provider)),
        "core" => serve(core(provider)),
        _ => panic!("no face {face}"),
    }
}

/// Writes a batch for each byte on standard input.
fn serve(mut write: impl FnMut() -> Vec<u8>) {
    println!("ready");
    let mut byte = [0];
    let mut input = std::io::stdin().lock();
    while input.read(&mut byte).expect("standard input") == 1 {
        let values: Vec<_> = std::iter::repeat_with(&mut write).take(BATCH).collect();
        print_batch(&values).expect("standard output");
    }
    std::io::stdout().flush().expect("standard output");
}

fn host(provider: Provider) -> impl FnMut() -> Vec<u8> {
    struct Turning;
    impl Plugin for Turning {
        fn key_id(&self) -> String {
            "key-1".to_owned()
        }
        fn encrypt(&mut self, dek: &[u8]) -> Vec<u8> {
            dek.iter().map(|byte| !byte).collect()
        }
        fn decrypt(&mut self, ciphertext: &[u8]) -> Option<Vec<u8>> {
            Some(self.encrypt(ciphertext))
        }
    }
    let source = match provider {
        Provider::Seed => WriteDekSource::HkdfSeed,
        _ => WriteDekSource::Counter,
    };
    let mut instance =
        Instance::new(None, &provider.config(), source, None, Turning).expect("an instance");
    let at = Location { resource: "secrets".into(), key: KEY.to_vec() };
    move || instance.to_storage(&at, b"text").expect("a write").stored
}

fn core(provider: Provider) -> impl FnMut() -> Vec<u8> {
    let options = Options {
        dek_source: match provider {
            Provider::Seed => DekSourceType::HkdfSha256XnonceAesGcmSeed,
            _ => DekSourceType::AesGcmKey,
        },
        ..Options::default()
    };
    let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970");
    let now = Timestamp::from_millis(u64::try_from(since_epoch.as_millis()).expect("not yet"));
    let config = provider.config();
    let mut engine =
        Engine::new(config.as_bytes(), options, Box::new(Ring), Box::new(KernelEntropy), now)
            .expect("a configuration");
    let turn = |bytes: &[u8]| bytes.iter().map(|byte| !byte).collect::<Vec<_>>();
    while let Some(action) = engine.poll_action() {
        let event = match action {
            Action::CallStatus { call, .. } => Event::Status {
                call,
                outcome: Ok(StatusResponse {
                    version: "v2".into(),
                    healthz: "ok".into(),
                    key_id: "key-1".into(),
                }),
            },
            Action::CallEncrypt { call, plaintext, .. } => Event::Encrypted {
                call,
                outcome: Ok(EncryptResponse {
                    ciphertext: turn(plaintext.expose()),
                    key_id: "key-1".into(),
                    annotations: [].into(),
                }),
            },
            Action::CallDecrypt { call, request, .. } => {
                Event::Decrypted { call, outcome: Ok(turn(&request.ciphertext).into()) }
            }
            _ => continue,
        };
        engine.handle_event(event, now);
    }
    let at = CoreLocation { resource: "secrets", key: KEY };
    move || {
        let written = engine.to_storage(OpId(1), at, b"text", now);
        written.expect("at once").expect("a write").stored
    }
}
