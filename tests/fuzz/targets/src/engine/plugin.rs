//! The plugins: what each has encrypted, and the ways in which an answer may be wrong.

use std::collections::{BTreeMap, BTreeSet};

use dekker_core::engine::event::{
    CallError, CallId, DecryptRequest, EncryptResponse, Event, StatusResponse,
};
use dekker_core::time::Timestamp;

use crate::bytes::Bytes;

/// A call that waits for its answer.
pub(super) struct Call {
    pub(super) id: CallId,
    pub(super) provider: String,
    pub(super) placed: Timestamp,
    pub(super) asked: Asked,
}

/// The request of a call.
pub(super) enum Asked {
    Status,
    Encrypt(Vec<u8>),
    Decrypt(DecryptRequest),
}

/// All plugins in one: each decrypts what any of them has encrypted.
pub(super) struct Plugins {
    /// What was encrypted truthfully: ciphertext → plaintext, and the whole answer.
    truth: BTreeMap<Vec<u8>, (Vec<u8>, EncryptResponse)>,
    /// Ciphertexts in wrong answers.
    lies: BTreeSet<Vec<u8>>,
    kek: u8,
    is_v2: bool,
    /// When the last Status call was sent that a plugin answered well, by provider and key ID.
    pub(super) well: BTreeMap<(String, String), Timestamp>,
}

impl Plugins {
    pub(super) fn new() -> Self {
        Self {
            truth: BTreeMap::new(),
            lies: BTreeSet::new(),
            kek: 0,
            is_v2: true,
            well: BTreeMap::new(),
        }
    }

    /// Rotates the KEKs to one of a few, and may change the version.
    pub(super) fn turn(&mut self, to: u8, may_change_version: bool) {
        self.kek = to % 4;
        self.is_v2 = !may_change_version || to & 64 == 0;
    }

    fn key_id(&self) -> String {
        format!("needle-{}", self.kek)
    }

    fn version(&self) -> String {
        if self.is_v2 { "v2" } else { "v2beta1" }.into()
    }

    /// Returns whether a plugin made this ciphertext truthfully from a DEK.
    pub(super) fn knows(&self, ciphertext: &[u8]) -> bool {
        self.truth.contains_key(ciphertext) && !self.lies.contains(ciphertext)
    }

    /// Returns the right answer to a call.
    pub(super) fn answer(&mut self, call: &Call) -> Event {
        let id = call.id;
        match &call.asked {
            Asked::Status => {
                let who = (call.provider.clone(), self.key_id());
                let well = self.well.entry(who).or_insert(call.placed);
                *well = (*well).max(call.placed);
                let outcome = Ok(StatusResponse {
                    version: self.version(),
                    healthz: "ok".into(),
                    key_id: self.key_id(),
                });
                Event::Status { call: id, outcome }
            }
            Asked::Encrypt(plaintext) => {
                let answer = EncryptResponse {
                    ciphertext: self.wrap(plaintext),
                    key_id: self.key_id(),
                    annotations: [("kek.example.com".to_owned(), vec![self.kek])].into(),
                };
                let truth = (plaintext.clone(), answer.clone());
                self.truth.insert(answer.ciphertext.clone(), truth);
                let outcome = Ok(answer);
                Event::Encrypted { call: id, outcome }
            }
            Asked::Decrypt(request) => {
                let known = self.truth.get(&request.ciphertext);
                // With KMS v1 the plugin only receives the ciphertext.
                let known = known.filter(|(_, answer)| {
                    request.key_id.is_empty()
                        || request.key_id == answer.key_id
                            && request.annotations == answer.annotations
                });
                let outcome =
                    known.map(|(plaintext, _)| plaintext.clone().into()).ok_or_else(|| error(5));
                Event::Decrypted { call: id, outcome }
            }
        }
    }

    fn wrap(&self, plaintext: &[u8]) -> Vec<u8> {
        let turned = plaintext.iter().map(|byte| byte ^ 0xa5);
        [b'k', self.kek].into_iter().chain(turned).collect()
    }

    fn lie(&mut self, ciphertext: Vec<u8>) -> Vec<u8> {
        self.lies.insert(ciphertext.clone());
        ciphertext
    }

    /// Returns an answer that is wrong in one of many ways.
    pub(super) fn wrong(&mut self, call: &Call, input: &mut Bytes<'_>) -> Event {
        let (id, how) = (call.id, input.byte());
        let well = self.well.clone();
        let mut event = self.answer(call);
        self.well = well;
        match &mut event {
            Event::Status { outcome, .. } => {
                *outcome = match how % 6 {
                    0 => Err(error(how / 6)),
                    1 => Ok(StatusResponse {
                        version: text(input) + "?",
                        healthz: "ok".into(),
                        key_id: self.key_id(),
                    }),
                    2 => Ok(StatusResponse {
                        version: self.version(),
                        healthz: format!("{} is tired", self.key_id()),
                        key_id: self.key_id(),
                    }),
                    3 => Ok(StatusResponse {
                        version: self.version(),
                        healthz: text(input) + "?",
                        key_id: "k".repeat(usize::from(input.short() % 1100)),
                    }),
                    4 => {
                        return Event::Encrypted { call: id, outcome: Err(error(how)) };
                    }
                    _ => {
                        return Event::Decrypted { call: id, outcome: Ok(vec![how].into()) };
                    }
                };
            }
            Event::Encrypted { outcome, .. } => {
                let Ok(answer) = outcome else {
                    return event;
                };
                match how % 6 {
                    0 => *outcome = Err(error(how / 6)),
                    1 => answer.key_id = "needle-9".into(),
                    2 => answer.ciphertext = self.lie(input.run().to_vec()),
                    3 => answer.ciphertext = self.lie(vec![how; usize::from(input.short())]),
                    4 => {
                        answer.annotations.insert(text(input), input.run().to_vec());
                    }
                    _ => {
                        return Event::Status { call: id, outcome: Err(error(how)) };
                    }
                }
            }
            Event::Decrypted { outcome, .. } => {
                *outcome = match how % 3 {
                    0 => Err(error(how / 3)),
                    // Never the encrypted plaintext: no DEK has this length, or these bytes.
                    1 => Ok(vec![0xee; usize::from(input.byte())].into()),
                    _ => Ok(input.take(16).to_vec().into()),
                };
            }
            Event::Restored => {}
        }
        event
    }
}

fn error(code: u8) -> CallError {
    CallError {
        code: u32::from(code % 20),
        message: ["down", "", "a\u{7}\nb", "longer than it should be"][usize::from(code % 4)]
            .repeat(1 + usize::from(code) * 2),
    }
}

fn text(input: &mut Bytes<'_>) -> String {
    String::from_utf8_lossy(input.run()).replace("needle", "noodle")
}
