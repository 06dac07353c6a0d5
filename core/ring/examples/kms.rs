//! dekker-core in a program that does everything else itself: it passes the time, and answers the engine's KMS calls. Here the KMS plugin is in the
//! same program; a real one is called through its socket.

use std::error::Error;
use std::time::{SystemTime, UNIX_EPOCH};

use dekker_core::crypto::entropy::Entropy as _;
use dekker_core::crypto::secret::DekBytes;
use dekker_core::engine::event::{CallError, EncryptResponse, StatusResponse};
use dekker_core::{Action, Encrypted, Engine, Event, Location, OpId, Options, Timestamp};
use dekker_crypto::{SecretboxKey, secretbox};
use dekker_ring::{KernelEntropy, Ring};

const CONFIG: &[u8] = br#"
apiVersion: apiserver.config.k8s.io/v1
kind: EncryptionConfiguration
resources:
- resources: [secrets]
  providers: [{kms: {apiVersion: v2, name: my-kms, endpoint: "unix:///run/my-kms.sock"}}]
"#;

fn main() -> Result<(), Box<dyn Error>> {
    let plugin = Plugin::new()?;
    let mut engine =
        Engine::new(CONFIG, Options::default(), Box::new(Ring), Box::new(KernelEntropy), now())?;
    let at = Location { resource: "secrets", key: b"/registry/secrets/default/token" };

    // The first write is parked until the plugin has encrypted a DEK. The next ones need no call.
    for op in [1, 2] {
        println!("write {op}");
        let written = match engine.to_storage(OpId(op), at, b"hunter2", now()) {
            Some(outcome) => outcome,
            None => drive(&mut engine, &plugin).ok_or("the write is still parked")?,
        }?;
        println!("  {} bytes, prefix {}", written.stored.len(), written.transformer_prefix);
        let read = engine.from_storage(OpId(op + 2), at, &written.stored, now());
        let read = read.ok_or("the DEK is cached")??;
        println!("  read back: {:?}", str::from_utf8(read.plaintext.expose())?);
    }
    Ok(())
}

/// Carries out the engine's actions until none is left. Returns the result of a parked write.
fn drive(
    engine: &mut Engine,
    plugin: &Plugin,
) -> Option<Result<Encrypted, dekker_core::TransformError>> {
    let mut written = None;
    while let Some(action) = engine.poll_action() {
        let event = match action {
            Action::CallStatus { call, .. } => {
                println!("  Status");
                Event::Status { call, outcome: Ok(plugin.status()) }
            }
            Action::CallEncrypt { call, plaintext, .. } => {
                println!("  Encrypt");
                Event::Encrypted { call, outcome: plugin.encrypt(plaintext.expose()) }
            }
            Action::CallDecrypt { call, request, .. } => {
                println!("  Decrypt");
                Event::Decrypted { call, outcome: plugin.decrypt(&request.ciphertext) }
            }
            Action::ToStorageDone { outcome, .. } => {
                written = Some(outcome);
                continue;
            }
            // A log line, or the result of an operation that this program does not park.
            _ => continue,
        };
        engine.handle_event(event, now());
    }
    written
}

/// A KMS plugin with one key encryption key.
struct Plugin(SecretboxKey);

impl Plugin {
    fn new() -> Result<Self, Box<dyn Error>> {
        let mut key = [0; 32];
        KernelEntropy.fill(&mut key)?;
        Ok(Self(SecretboxKey::new(&key).ok_or("32 bytes are a key")?))
    }

    fn status(&self) -> StatusResponse {
        StatusResponse { version: "v2".into(), healthz: "ok".into(), key_id: "key-1".into() }
    }

    fn encrypt(&self, dek: &[u8]) -> Result<EncryptResponse, CallError> {
        let internal = |message: &str| CallError { code: 13, message: message.into() };
        let mut nonce = [0; secretbox::NONCE_LEN];
        KernelEntropy.fill(&mut nonce).map_err(|error| internal(&error.to_string()))?;
        let mut ciphertext = nonce.to_vec();
        self.0.seal(&nonce, dek, &mut ciphertext).ok_or_else(|| internal("cannot encrypt"))?;
        Ok(EncryptResponse { ciphertext, key_id: "key-1".into(), annotations: Default::default() })
    }

    fn decrypt(&self, ciphertext: &[u8]) -> Result<DekBytes, CallError> {
        let opened = self.0.open(ciphertext);
        let mut dek = opened.map_err(|error| CallError { code: 3, message: error.to_string() })?;
        Ok(std::mem::take(&mut *dek).into())
    }
}

/// Milliseconds since the Unix epoch. A long-running program must make sure that they never go back.
fn now() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp::from_millis(since.as_millis() as u64)
}
