//! The configurable providers whose values can hold a vector.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use dekker_core::engine::Options;
use dekker_tests::face::Maker;
use dekker_tests::object::{EncryptedObject, Stored};
use dekker_tests::plugin::Plugin;
use dekker_tests::sim::{Harness, file};

use crate::vector::Vector;

/// How a provider holds the key and the value of a vector.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Provider {
    /// The key is in the configuration, named after the vector.
    Local(&'static str),
    /// The key is a DEK. Its ciphertext is the name of the vector, which a plugin decrypts.
    KmsV2,
}

const KMS: &str = "kms";

impl Provider {
    /// Returns the name for reports.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Local(kind) => kind,
            Self::KmsV2 => "kms v2",
        }
    }

    /// Creates an engine that reads the values of these vectors, and writes with the key of the first one.
    pub(crate) fn harness(self, maker: &dyn Maker, vectors: &[Vector]) -> Harness {
        let (provider, plugin) = match self {
            Self::Local(kind) => {
                let keys = vectors.iter().map(|vector| {
                    let secret = STANDARD.encode(&vector.key);
                    format!("{{name: {}, secret: {secret}}}", name(vector))
                });
                let keys: Vec<_> = keys.collect();
                (format!("{kind}: {{keys: [{}]}}", keys.join(", ")), None)
            }
            Self::KmsV2 => {
                let mut plugin = Plugin::new("key-1");
                let deks = vectors.iter();
                let deks = deks.map(|vector| (name(vector).into_bytes(), vector.key.clone()));
                plugin.foreign = deks.collect();
                (file::kms(KMS), Some((KMS, plugin)))
            }
        };
        let file = file::secrets_with(&[provider]);
        Harness::new(maker, &file, &Options::default(), plugin)
    }

    /// Returns a value of this provider, sealed with the key of this vector.
    pub(crate) fn stored(self, vector: &Vector, sealed: &[u8]) -> Vec<u8> {
        let data = [&vector.iv, sealed].concat();
        match self {
            Self::Local(kind) => {
                let prefix = format!("k8s:enc:{kind}:v1:{}:", name(vector));
                [prefix.as_bytes(), &data].concat()
            }
            Self::KmsV2 => {
                let object = EncryptedObject {
                    encrypted_data: data,
                    key_id: "key-1".into(),
                    encrypted_dek_source: name(vector).into_bytes(),
                    ..EncryptedObject::default()
                };
                object.stored(KMS)
            }
        }
    }
}

fn name(vector: &Vector) -> String {
    format!("key{}", vector.id)
}
