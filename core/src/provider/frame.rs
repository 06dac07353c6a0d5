//! What surrounds the ciphertext in all stored values that one key seals.

use alloc::string::String;
use alloc::vec::Vec;

use dekker_crypto::layout::{FIELD_START_MAX, field_start};

use crate::crypto::keys::Envelope;

/// The bytes around the header and the ciphertext in the values of one key: `prefix ‖ start ‖ header ‖ sealed ‖ end`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    /// The prefix of the transformer, such as `k8s:enc:kms:v2:my-kms:`.
    pub prefix: String,
    /// What precedes the header.
    pub start: Start,
    /// What follows the sealed bytes.
    pub end: Vec<u8>,
}

/// The bytes between the prefix and the header.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Start {
    /// The same bytes in every value.
    Fixed(Vec<u8>),
    /// The start of a protobuf field: its tag, and the length of header and sealed bytes as a varint.
    Field(u8),
}

impl Frame {
    /// Calls `seal` with the envelope of a value. `body_len` is the number of bytes that follow the header.
    pub fn around<T>(
        &self,
        header: &[u8],
        body_len: usize,
        seal: impl FnOnce(Envelope<'_>) -> T,
    ) -> T {
        let mut field = [0; FIELD_START_MAX];
        let start = match &self.start {
            Start::Fixed(bytes) => bytes,
            Start::Field(tag) => field_start(&mut field, *tag, (header.len() + body_len) as u64),
        };
        seal(Envelope { prefix: self.prefix.as_bytes(), start, header, end: &self.end })
    }
}
