//! The KMS plugin services and the stored `EncryptedObject`: `.proto` files in `proto/`, generated Rust here.
//!
//! Names and numbers on the wire are upstream's (`k8s.io/kms`, `k8s.io/apiserver`). Maps are `BTreeMap`s, so entries are encoded in the order of
//! their keys and the same message always has the same encoding. `bytes` fields are `Vec<u8>`, but those of [`values::Value`] are `Bytes`.
//!
//! Messages that carry a plaintext wipe it when they are dropped. No message's `Debug` output contains a plaintext, a ciphertext or a key ID. The
//! buffers of tonic, hyper and the kernel are not wiped.
//!
//! ```
//! use dekker_proto::kms::v2::EncryptRequest;
//!
//! let request = EncryptRequest { plaintext: b"a secret".to_vec(), uid: "1".into() };
//! assert_eq!(format!("{request:?}"), r#"EncryptRequest { plaintext: [8 bytes], uid: "1" }"#);
//! ```

mod redact;
mod wipe;

/// The services between kube-apiserver and a KMS plugin.
pub mod kms {
    /// KMS v2: `v2.KeyManagementService` (Status, Decrypt, Encrypt).
    pub mod v2 {
        #![allow(missing_docs, unused_qualifications, clippy::all)]
        tonic::include_proto!("v2");
    }

    /// KMS v1: `v1beta1.KeyManagementService` (Version, Decrypt, Encrypt).
    pub mod v1beta1 {
        #![allow(missing_docs, unused_qualifications, clippy::all)]
        tonic::include_proto!("v1beta1");
    }
}

/// The stored form of a KMS v2 value.
pub mod storage {
    #![allow(missing_docs, unused_qualifications, clippy::all)]
    tonic::include_proto!("dekker.storage");
}

/// The service through which Dekker's own plugin reports on itself, in addition to KMS v2.
pub mod plugin {
    #![allow(missing_docs, unused_qualifications, clippy::all)]
    tonic::include_proto!("dekker.plugin.v1");
}

/// The bodies of the transform API's requests for many values.
///
/// A [`Value`](values::Value) shares its bytes with the buffer that it was decoded from, which must erase itself.
pub mod values {
    #![allow(missing_docs, unused_qualifications, clippy::all)]
    tonic::include_proto!("dekker.v1");
}

#[cfg(test)]
mod tests;
