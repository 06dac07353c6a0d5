//! Core's keys, with the cipher of the JavaScript environment for values that are long enough.
//!
//! In Node, a call into OpenSSL costs as much as encrypting a few hundred bytes in WebAssembly, and each further kilobyte costs almost nothing.
//! Browsers have no synchronous AES, so there everything stays in the module. The key bytes leave the module as a view, for the time of one call.
//! The other cipher's result is used only if it succeeds; in all other cases the module's own cipher decides.

use std::ops::Range;
use std::sync::Arc;

use dekker_core::crypto::entropy::Entropy;
use dekker_core::crypto::keys::{
    DekSourceType, Envelope, INFO_LEN, KeyError, KeyStore, LocalCipher, LocalKey, NONCE_LEN,
    OpenError, OpeningKey, SealingKey, TAG_LEN,
};
use dekker_core::crypto::rustcrypto::RustCrypto;
use dekker_core::crypto::secret::Secret;
use hkdf::Hkdf;
use sha2::Sha256;
use wasm_bindgen::prelude::wasm_bindgen;
use zeroize::Zeroizing;

/// 256 bytes: the length from which Node's cipher is faster.
const LONG: usize = 256;

#[wasm_bindgen(raw_module = "./cipher.js")]
extern "C" {
    #[wasm_bindgen(js_name = hasCipher)]
    fn has_cipher() -> bool;
    #[wasm_bindgen(js_name = sealGcm)]
    fn seal_gcm(key: &[u8], nonce: &[u8], aad: &[u8], plaintext: &[u8], out: &mut [u8]) -> bool;
    #[wasm_bindgen(js_name = openGcm)]
    fn open_gcm(
        key: &[u8],
        nonce: &[u8],
        aad: &[u8],
        ciphertext: &[u8],
        tag: &[u8],
        out: &mut [u8],
    ) -> bool;
}

/// Returns the fastest key store that the environment has.
pub(crate) fn fastest() -> Box<dyn KeyStore> {
    if has_cipher() { Box::new(JsKeys) } else { Box::new(RustCrypto) }
}

struct JsKeys;

impl KeyStore for JsKeys {
    fn generate(
        &self,
        source_type: DekSourceType,
        entropy: &dyn Entropy,
    ) -> Result<Box<dyn SealingKey>, KeyError> {
        sealing(source_type, RustCrypto.generate(source_type, entropy)?)
    }

    fn local(&self, cipher: LocalCipher, bytes: &[u8]) -> Result<Box<dyn LocalKey>, KeyError> {
        RustCrypto.local(cipher, bytes)
    }

    fn import(
        &self,
        source_type: DekSourceType,
        bytes: &Secret,
    ) -> Result<Arc<dyn OpeningKey>, KeyError> {
        Ok(Arc::new(Opening {
            own: RustCrypto.import(source_type, bytes)?,
            source_type,
            bytes: Secret::new(bytes.expose().to_vec()),
        }))
    }

    fn import_sealing(
        &self,
        source_type: DekSourceType,
        bytes: &Secret,
    ) -> Result<Box<dyn SealingKey>, KeyError> {
        sealing(source_type, RustCrypto.import_sealing(source_type, bytes)?)
    }
}

fn sealing(
    source_type: DekSourceType,
    own: Box<dyn SealingKey>,
) -> Result<Box<dyn SealingKey>, KeyError> {
    let key = Arc::new(Opening { own: own.opening()?, source_type, bytes: own.export()? });
    Ok(Box::new(Sealing { own, key }))
}

/// Assembles a value with `len` zeros in place of the ciphertext and tag, and returns it with the range of the zeros. The value starts as zeroed
/// memory: pushing the zeros one by one would be half of the work.
fn around(envelope: Envelope<'_>, len: usize) -> (Vec<u8>, Range<usize>) {
    let Envelope { prefix, start, header, end } = envelope;
    let before = prefix.len() + start.len() + header.len();
    let mut value = vec![0; before + len + end.len()];
    let mut rest = value.as_mut_slice();
    for (part, gap) in [(prefix, 0), (start, 0), (header, len), (end, 0)] {
        let (room, after) = rest.split_at_mut(part.len());
        room.copy_from_slice(part);
        rest = &mut after[gap..];
    }
    (value, before..before + len)
}

struct Sealing {
    own: Box<dyn SealingKey>,
    key: Arc<Opening>,
}

struct Opening {
    own: Arc<dyn OpeningKey>,
    source_type: DekSourceType,
    bytes: Secret,
}

impl Opening {
    /// Calls `work` with the key of a value and the rest of the value: for a seed, what follows the info. Returns `None` if the value is too short
    /// or the seed cannot be used.
    fn with_key<T>(&self, value: &[u8], work: impl FnOnce(&[u8], &[u8]) -> Option<T>) -> Option<T> {
        match self.source_type {
            DekSourceType::AesGcmKey => work(self.bytes.expose(), value),
            DekSourceType::HkdfSha256XnonceAesGcmSeed => {
                let (info, rest) = value.split_first_chunk::<INFO_LEN>()?;
                let mut key = Zeroizing::new([0; 32]);
                let seed = Hkdf::<Sha256>::from_prk(self.bytes.expose()).ok()?;
                seed.expand(info, key.as_mut()).ok()?;
                work(key.as_ref(), rest)
            }
        }
    }
}

impl SealingKey for Sealing {
    fn seal(
        &self,
        envelope: Envelope<'_>,
        aad: &[u8],
        plaintext: &[u8],
    ) -> Result<Vec<u8>, KeyError> {
        if plaintext.len() >= LONG {
            let sealed = self.key.with_key(envelope.header, |key, nonce| {
                let (mut out, sealed) = around(envelope, plaintext.len() + TAG_LEN);
                let room = out.get_mut(sealed)?;
                (nonce.len() == NONCE_LEN && seal_gcm(key, nonce, aad, plaintext, room))
                    .then_some(out)
            });
            if let Some(value) = sealed {
                return Ok(value);
            }
        }
        // Sealing again under the same header is safe: the key, AAD and plaintext are the same, so the result has the same bytes.
        self.own.seal(envelope, aad, plaintext)
    }

    fn share(&self) -> Result<Box<dyn SealingKey>, KeyError> {
        Ok(Box::new(Self { own: self.own.share()?, key: self.key.clone() }))
    }

    fn export(&self) -> Result<Secret, KeyError> {
        self.own.export()
    }

    fn opening(&self) -> Result<Arc<dyn OpeningKey>, KeyError> {
        Ok(self.key.clone())
    }
}

impl OpeningKey for Opening {
    fn open(&self, aad: &[u8], sealed: &[u8]) -> Result<Secret, OpenError> {
        if sealed.len() >= self.source_type.header_len() + LONG + TAG_LEN {
            let opened = self.with_key(sealed, |key, rest| {
                let (nonce, rest) = rest.split_first_chunk::<NONCE_LEN>()?;
                let (ciphertext, tag) = rest.split_last_chunk::<TAG_LEN>()?;
                let mut out = Zeroizing::new(vec![0; ciphertext.len()]);
                open_gcm(key, nonce, aad, ciphertext, tag, &mut out)
                    .then(|| Secret::new(std::mem::take(&mut *out)))
            });
            if let Some(plaintext) = opened {
                return Ok(plaintext);
            }
        }
        self.own.open(aad, sealed)
    }
}
