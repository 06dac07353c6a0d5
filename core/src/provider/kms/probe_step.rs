//! The steps of a probe, which are the same for both versions of KMS.

use alloc::string::String;

use super::call::DecryptRequest;
use crate::crypto::secret::DekBytes;

/// A call of a probe. A provider's probe makes one call at a time.
#[derive(Debug)]
pub enum Request {
    /// Call Status.
    Status,
    /// Encrypt a new DEK, or the test value of a KMS v1 health check.
    Encrypt {
        /// Identifies the rotation in the logs of both sides; empty for KMS v1.
        uid: String,
        /// The bytes to encrypt.
        plaintext: DekBytes,
    },
    /// Decrypt what the plugin has just encrypted.
    Decrypt {
        /// Identifies the rotation in the logs of both sides; empty for KMS v1.
        uid: String,
        /// What to decrypt.
        request: DecryptRequest,
    },
}

/// The next step of a probe after an answer.
#[derive(Debug)]
pub enum Step {
    /// The probe continues with this call.
    Call(Request),
    /// The probe has ended.
    Done(Outcome),
}

/// The outcome of a probe.
#[derive(Debug)]
pub struct Outcome {
    /// The error in upstream's wording, or `None` if the plugin is healthy.
    pub fault: Option<String>,
    /// A description of the change for the log, if a new DEK is in use.
    pub rotated: Option<String>,
    /// Whether a new DEK was due but could not be generated.
    pub generation_failed: bool,
}
