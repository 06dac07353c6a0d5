//! The engine's words as plain Rust types, one to one with `wasm/wit/transformer.wit`.
//!
//! What serves HTTP and keeps metrics depends on these and not on what wasmtime generates, so it can be tested without a component.

use std::fmt;

use zeroize::Zeroizing;

/// Where a value is stored.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Location {
    /// `secrets`, `deployments.apps`: the resource, then its group.
    pub resource: String,
    /// The full storage key, such as `/registry/secrets/default/token`: the AAD of every provider that has one. Any bytes.
    pub key: Vec<u8>,
}

/// What a write gives.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Encrypted {
    /// The bytes to store.
    pub stored: Vec<u8>,
    /// The prefix of the transformer that wrote it, such as `k8s:enc:kms:v2:my-kms:`; empty for identity.
    pub transformer_prefix: String,
    /// What follows it for the key at work: the key's name and `:`; aesgcm, aescbc and secretbox only.
    pub key_prefix: Option<String>,
    /// A rule of the configuration covers the resource. Without one it is plaintext, and as in upstream neither counted nor timed.
    pub has_rule: bool,
    /// `sha256:<hex>` of the key ID; KMS v2 only.
    pub key_id_hash: Option<String>,
}

/// The bytes of a secret, erased when dropped: at once, where a `Zeroizing<Vec<u8>>` goes byte by byte. Prints as `Plaintext(..)`.
#[derive(Default)]
pub struct Plaintext(Zeroizing<Vec<u8>>);

impl Plaintext {
    /// Gives the bytes away.
    #[must_use]
    pub fn into_zeroizing(mut self) -> Zeroizing<Vec<u8>> {
        std::mem::take(&mut self.0)
    }
}

impl Drop for Plaintext {
    fn drop(&mut self) {
        // What follows the last element is erased as one block, all of it.
        self.0.clear();
    }
}

impl std::ops::Deref for Plaintext {
    type Target = Vec<u8>;

    fn deref(&self) -> &Vec<u8> {
        &self.0
    }
}

impl AsRef<[u8]> for Plaintext {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

impl From<Vec<u8>> for Plaintext {
    fn from(bytes: Vec<u8>) -> Self {
        Self(Zeroizing::new(bytes))
    }
}

impl fmt::Debug for Plaintext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Plaintext(..)")
    }
}

/// What a read gives.
pub struct Decrypted {
    /// The plaintext: a secret.
    pub plaintext: Plaintext,
    /// The value should be rewritten: it is not what a write would produce now.
    pub stale: bool,
    /// The prefix of the transformer that read it; empty for identity.
    pub transformer_prefix: String,
    /// What follows it for the key at work: the key's name and `:`; aesgcm, aescbc and secretbox only.
    pub key_prefix: Option<String>,
    /// A rule of the configuration covers the resource. Without one it is plaintext, and as in upstream neither counted nor timed.
    pub has_rule: bool,
    /// `sha256:<hex>` of the key ID; KMS v2 only.
    pub key_id_hash: Option<String>,
}

/// Prints the plaintext's length, never the plaintext.
impl fmt::Debug for Decrypted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            plaintext,
            stale,
            transformer_prefix,
            key_prefix,
            has_rule,
            key_id_hash,
        } = self;
        f.debug_struct("Decrypted")
            .field("plaintext", &format_args!("{} bytes", plaintext.len()))
            .field("stale", stale)
            .field("transformer_prefix", transformer_prefix)
            .field("key_prefix", key_prefix)
            .field("has_rule", has_rule)
            .field("key_id_hash", key_id_hash)
            .finish()
    }
}

/// What kind of fault stopped an operation.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum ErrorKind {
    /// No provider's prefix matches.
    NoMatchingPrefix,
    /// The value is encrypted, and no rule says how this resource is read.
    EncryptedData,
    /// Wrong key, wrong location, or altered bytes: deliberately not told apart.
    DecryptFailed,
    /// The stored bytes are not a well-formed value of their provider.
    Malformed,
    /// The plugin refused, failed or ran out of time.
    Kms,
    /// The write DEK has expired, or there is none yet.
    NotReady,
    /// The write DEK's nonces are used up; a rotation is under way.
    NoncesExhausted,
    /// Too many operations wait for the plugin; try again.
    Overloaded,
    /// A cipher or the source of randomness failed.
    Internal,
}

impl ErrorKind {
    /// All of them, in the contract's order.
    pub const ALL: [Self; 9] = [
        Self::NoMatchingPrefix,
        Self::EncryptedData,
        Self::DecryptFailed,
        Self::Malformed,
        Self::Kms,
        Self::NotReady,
        Self::NoncesExhausted,
        Self::Overloaded,
        Self::Internal,
    ];

    /// Its name in the contract: `no-matching-prefix`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::NoMatchingPrefix => "no-matching-prefix",
            Self::EncryptedData => "encrypted-data",
            Self::DecryptFailed => "decrypt-failed",
            Self::Malformed => "malformed",
            Self::Kms => "kms",
            Self::NotReady => "not-ready",
            Self::NoncesExhausted => "nonces-exhausted",
            Self::Overloaded => "overloaded",
            Self::Internal => "internal",
        }
    }
}

/// Why an operation failed. Never holds a secret or a key ID.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct TransformError {
    /// What kind of fault it is; when several providers were tried, that of the one most likely to pass later.
    pub kind: ErrorKind,
    /// For a person; when several providers were tried, all their faults.
    pub message: String,
    /// The gRPC code, where a plugin's answer caused it.
    pub grpc_code: Option<u32>,
}

impl fmt::Display for TransformError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for TransformError {}

/// Why a call on the host gave no result from the engine.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum HostError {
    /// The engine answered with a fault.
    Transform(TransformError),
    /// The component trapped on this request; a fresh instance has taken over.
    Trapped,
    /// The host is shutting down.
    Closed,
}

impl fmt::Display for HostError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Transform(error) => error.fmt(f),
            Self::Trapped => {
                f.write_str("the component failed on this request; a fresh instance has taken over")
            }
            Self::Closed => f.write_str("the server is shutting down"),
        }
    }
}

impl std::error::Error for HostError {}

/// One named check, as `/healthz` shows it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Check {
    /// `kms-providers`, or `kms-provider-0` and so on.
    pub name: String,
    /// Absent when the check passes.
    pub fault: Option<String>,
}

/// How a metric's values behave.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum MetricKind {
    /// Only grows, until the engine is made anew.
    Counter,
    /// Goes up and down.
    Gauge,
    /// The samples with a label `le` are cumulative buckets, the last of which is `+Inf`; the one without it is the sum.
    Histogram,
}

/// One value of a metric.
#[derive(Clone, Debug, PartialEq)]
pub struct Sample {
    /// Names and values, in upstream's order.
    pub labels: Vec<(String, String)>,
    /// The value.
    pub value: f64,
}

/// A metric and all its values.
#[derive(Clone, Debug, PartialEq)]
pub struct MetricFamily {
    /// The full name, as Prometheus shows it.
    pub name: String,
    /// One sentence.
    pub help: String,
    /// How its values behave.
    pub kind: MetricKind,
    /// In the order of their labels.
    pub samples: Vec<Sample>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_of_a_read_shows_no_plaintext() {
        let read = Decrypted {
            plaintext: b"hunter2".to_vec().into(),
            stale: true,
            transformer_prefix: "k8s:enc:aesgcm:v1:".to_owned(),
            key_prefix: Some("key1:".to_owned()),
            has_rule: true,
            key_id_hash: None,
        };
        assert_eq!(
            format!("{read:?}"),
            "Decrypted { plaintext: 7 bytes, stale: true, transformer_prefix: \"k8s:enc:aesgcm:v1:\", key_prefix: Some(\"key1:\"), has_rule: true, key_id_hash: None }"
        );
    }
}
