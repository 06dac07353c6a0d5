//! The KMS plugin services and the stored `EncryptedObject`: `.proto` files in `proto/`, generated Rust here.
//!
//! Wire names and numbers are upstream's (`k8s.io/kms`, `k8s.io/apiserver`). Maps are `BTreeMap`, so what is encoded is
//! sorted by key and the same message always gives the same bytes; `bytes` fields are `Vec<u8>`.
//!
//! Messages that carry a plaintext wipe it when they are dropped, and no message prints a plaintext, a ciphertext or a key
//! ID when it is formatted. What tonic, hyper and the kernel buffer on the way is theirs and is not wiped.
//!
//! ```
//! use dekker_proto::kms::v2::EncryptRequest;
//!
//! let request = EncryptRequest { plaintext: b"a secret".to_vec(), uid: "1".into() };
//! assert_eq!(format!("{request:?}"), r#"EncryptRequest { plaintext: [8 bytes], uid: "1" }"#);
//! ```

mod redact;
mod wipe;

/// What kube-apiserver and a KMS plugin say to each other.
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

/// What a KMS v2 value is in storage.
pub mod storage {
    #![allow(missing_docs, unused_qualifications, clippy::all)]
    tonic::include_proto!("dekker.storage");
}

/// What Dekker's own plugin tells of itself, beside KMS v2.
pub mod plugin {
    #![allow(missing_docs, unused_qualifications, clippy::all)]
    tonic::include_proto!("dekker.plugin.v1");
}

#[cfg(test)]
mod tests;
