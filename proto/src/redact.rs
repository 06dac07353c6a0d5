//! `Debug` implementations that show the lengths of bytes and key IDs, never their content.

use core::fmt;
use std::collections::BTreeMap;

use crate::kms::{v1beta1, v2};
use crate::storage::EncryptedObject;
use crate::values;

/// Prints `[n bytes]`.
struct Len(usize);

impl fmt::Debug for Len {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "[{} bytes]", self.0)
    }
}

/// Prints the name of each annotation and the length of its value.
struct Names<'a>(&'a BTreeMap<String, Vec<u8>>);

impl fmt::Debug for Names<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.0.iter().map(|(name, value)| (name, Len(value.len())))).finish()
    }
}

/// Implements `Debug` field by field. It destructures the message, so a new field breaks the build here.
macro_rules! redacted_debug {
    ($($message:ident in $module:ident { $($field:ident: $shown:expr),* $(,)? })*) => {$(
        impl fmt::Debug for $module::$message {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                let Self { $($field),* } = self;
                f.debug_struct(stringify!($message))
                    $(.field(stringify!($field), &$shown($field)))*
                    .finish()
            }
        }
    )*};
}

fn len(bytes: &impl AsRef<[u8]>) -> Len {
    Len(bytes.as_ref().len())
}

fn clear<T>(field: &T) -> &T {
    field
}

redacted_debug! {
    StatusResponse in v2 { version: clear, healthz: clear, key_id: len }
    DecryptRequest in v2 { ciphertext: len, uid: clear, key_id: len, annotations: Names }
    DecryptResponse in v2 { plaintext: len }
    EncryptRequest in v2 { plaintext: len, uid: clear }
    EncryptResponse in v2 { ciphertext: len, key_id: len, annotations: Names }
    DecryptRequest in v1beta1 { version: clear, cipher: len }
    DecryptResponse in v1beta1 { plain: len }
    EncryptRequest in v1beta1 { version: clear, plain: len }
    EncryptResponse in v1beta1 { cipher: len }
    Value in values { resource: clear, key: len, value: len }
    Outcome in values { value: len, key_id_hash: clear, state: clear, problem: clear }
}

impl fmt::Debug for EncryptedObject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            encrypted_data,
            key_id,
            encrypted_dek_source,
            annotations,
            encrypted_dek_source_type,
        } = self;
        f.debug_struct("EncryptedObject")
            .field("encrypted_data", &len(encrypted_data))
            .field("key_id", &len(key_id))
            .field("encrypted_dek_source", &len(encrypted_dek_source))
            .field("annotations", &Names(annotations))
            .field("encrypted_dek_source_type", encrypted_dek_source_type)
            .finish()
    }
}
