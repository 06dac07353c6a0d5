//! A scriptable KMS v2 plugin: real AES-GCM under named KEKs, and every way to misbehave.

use std::collections::BTreeMap;
use std::time::Duration;

use aes_gcm::aead::Aead;
use aes_gcm::{Aes256Gcm, KeyInit};
use dekker_core::engine::event::{CallError, DecryptRequest, EncryptResponse, StatusResponse};
use dekker_core::provider::kms::annotations::Annotations;
use sha2::{Digest, Sha256};

/// The outcome of a call.
pub enum Reply<T> {
    /// An answer, right or wrong.
    Answer(T),
    /// A gRPC status code and message.
    Fail(u32, &'static str),
    /// No answer: only the deadline ends the call.
    Never,
}

impl<T> Reply<T> {
    fn into_outcome(self) -> Option<Result<T, CallError>> {
        match self {
            Self::Answer(answer) => Some(Ok(answer)),
            Self::Fail(code, message) => Some(Err(CallError { code, message: message.into() })),
            Self::Never => None,
        }
    }
}

type Hook<T> = Box<dyn FnMut(T) -> Reply<T>>;

/// How many calls the plugin has received.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Calls {
    /// Status calls.
    pub status: usize,
    /// Encrypt calls.
    pub encrypt: usize,
    /// Decrypt calls.
    pub decrypt: usize,
}

/// A scripted plugin. Two plugins with the same key ID have the same KEK, like two replicas of one plugin.
pub struct Plugin {
    /// The key ID that it encrypts with, and that its Status reports.
    pub key_id: String,
    /// The version in Status; by default `v2`.
    pub version: String,
    /// The `healthz` field of Status; by default `ok`.
    pub healthz: String,
    /// The annotations that Encrypt adds and Decrypt requires.
    pub annotations: Annotations,
    /// How long each answer takes.
    pub delay: Duration,
    /// How many calls it has received.
    pub calls: Calls,
    /// Every DEK and seed that it was asked to encrypt, for tests that look for leaks.
    pub seen: Vec<Vec<u8>>,
    /// DEKs that did not come from its Encrypt: ciphertext → plaintext.
    pub foreign: BTreeMap<Vec<u8>, Vec<u8>>,
    /// DEKs that another plugin encrypted, each with the request that it decrypts.
    pub recorded: Vec<(DecryptRequest, Vec<u8>)>,
    on_status: Option<Hook<StatusResponse>>,
    on_encrypt: Option<Hook<EncryptResponse>>,
    on_decrypt: Option<Hook<Vec<u8>>>,
}

impl Plugin {
    /// Creates a healthy plugin with this key ID.
    pub fn new(key_id: &str) -> Self {
        Self {
            key_id: key_id.into(),
            version: "v2".into(),
            healthz: "ok".into(),
            annotations: Annotations::default(),
            delay: Duration::ZERO,
            calls: Calls::default(),
            seen: Vec::new(),
            foreign: BTreeMap::new(),
            recorded: Vec::new(),
            on_status: None,
            on_encrypt: None,
            on_decrypt: None,
        }
    }

    /// Sets a hook that changes or replaces every later Status answer.
    pub fn on_status(
        &mut self,
        hook: impl FnMut(StatusResponse) -> Reply<StatusResponse> + 'static,
    ) {
        self.on_status = Some(Box::new(hook));
    }

    /// Sets a hook that changes or replaces every later Encrypt answer.
    pub fn on_encrypt(
        &mut self,
        hook: impl FnMut(EncryptResponse) -> Reply<EncryptResponse> + 'static,
    ) {
        self.on_encrypt = Some(Box::new(hook));
    }

    /// Sets a hook that changes or replaces every later Decrypt answer.
    pub fn on_decrypt(&mut self, hook: impl FnMut(Vec<u8>) -> Reply<Vec<u8>> + 'static) {
        self.on_decrypt = Some(Box::new(hook));
    }

    /// Makes the plugin unreachable: every call fails as gRPC fails without a socket.
    pub fn down(&mut self) {
        self.on_status(|_| Reply::Fail(14, "connection refused"));
        self.on_encrypt(|_| Reply::Fail(14, "connection refused"));
        self.on_decrypt(|_| Reply::Fail(14, "connection refused"));
    }

    /// Makes the plugin reachable but silent.
    pub fn hang(&mut self) {
        self.on_status(|_| Reply::Never);
        self.on_encrypt(|_| Reply::Never);
        self.on_decrypt(|_| Reply::Never);
    }

    /// Makes the plugin answer normally again. Other settings stay.
    pub fn up(&mut self) {
        self.on_status = None;
        self.on_encrypt = None;
        self.on_decrypt = None;
    }

    pub(crate) fn status(&mut self) -> Option<Result<StatusResponse, CallError>> {
        self.calls.status += 1;
        let answer = StatusResponse {
            version: self.version.clone(),
            healthz: self.healthz.clone(),
            key_id: self.key_id.clone(),
        };
        hooked(&mut self.on_status, answer).into_outcome()
    }

    pub(crate) fn encrypt(&mut self, dek: &[u8]) -> Option<Result<EncryptResponse, CallError>> {
        self.calls.encrypt += 1;
        self.seen.push(dek.to_vec());
        let answer = EncryptResponse {
            ciphertext: self.wrap(dek),
            key_id: self.key_id.clone(),
            annotations: self.annotations.clone(),
        };
        hooked(&mut self.on_encrypt, answer).into_outcome()
    }

    pub(crate) fn decrypt(
        &mut self,
        request: &DecryptRequest,
    ) -> Option<Result<Vec<u8>, CallError>> {
        self.calls.decrypt += 1;
        let recorded = self.recorded.iter().find(|(known, _)| known == request);
        let known = recorded.map(|(_, dek)| dek);
        let dek = match known.or_else(|| self.foreign.get(&request.ciphertext)) {
            Some(dek) => Some(dek.clone()),
            None if request.annotations != self.annotations => None,
            // KMS v1 has no key IDs: the plugin uses its own key.
            None if request.key_id.is_empty() => unwrap(&self.key_id, &request.ciphertext),
            None => unwrap(&request.key_id, &request.ciphertext),
        };
        let is_known = dek.is_some();
        match hooked(&mut self.on_decrypt, dek.unwrap_or_default()) {
            Reply::Answer(_) if !is_known => Reply::Fail(3, "no such DEK"),
            reply => reply,
        }
        .into_outcome()
    }

    /// Returns `nonce[12] ‖ ciphertext ‖ tag[16]` under the KEK of the key ID. The nonce begins with the number of calls.
    fn wrap(&self, dek: &[u8]) -> Vec<u8> {
        let mut nonce = [0; 12];
        nonce[..8].copy_from_slice(&(self.calls.encrypt as u64).to_le_bytes());
        // Part of the hash of the DEK, so that two plugins with one KEK do not reuse a nonce.
        nonce[8..].copy_from_slice(&Sha256::digest(dek)[..4]);
        let sealed = kek(&self.key_id).encrypt((&nonce).into(), dek).expect("a short text");
        [&nonce[..], &sealed].concat()
    }
}

fn hooked<T>(hook: &mut Option<Hook<T>>, answer: T) -> Reply<T> {
    match hook {
        Some(hook) => hook(answer),
        None => Reply::Answer(answer),
    }
}

fn kek(key_id: &str) -> Aes256Gcm {
    Aes256Gcm::new(&Sha256::digest(key_id))
}

fn unwrap(key_id: &str, ciphertext: &[u8]) -> Option<Vec<u8>> {
    let (nonce, sealed) = ciphertext.split_first_chunk::<12>()?;
    kek(key_id).decrypt(nonce.into(), sealed).ok()
}
