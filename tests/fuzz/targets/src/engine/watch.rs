//! Keys that detect a repeated nonce, and randomness that does not hide one.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use dekker_core::crypto::entropy::{Entropy, EntropyError};
use dekker_core::crypto::keys::{
    DekSourceType, Envelope, KeyError, KeyStore, LocalCipher, LocalKey, OpenError, OpeningKey,
    SealingKey,
};
use dekker_core::crypto::rustcrypto::RustCrypto;
use dekker_core::crypto::secret::Secret;

/// Numbers that never repeat. The four random bytes of a counted nonce are always zero, so that only the counter keeps nonces distinct.
#[derive(Clone, Debug, Default)]
pub struct Counting {
    next: Arc<AtomicU64>,
    is_broken: Arc<AtomicBool>,
}

impl Counting {
    /// Makes the source fail from now on, or work again.
    pub(super) fn fail(&self, fail: bool) {
        self.is_broken.store(fail, Ordering::Relaxed);
    }

    pub(super) fn is_failing(&self) -> bool {
        self.is_broken.load(Ordering::Relaxed)
    }
}

impl Entropy for Counting {
    fn fill(&self, bytes: &mut [u8]) -> Result<(), EntropyError> {
        if self.is_broken.load(Ordering::Relaxed) {
            return Err(EntropyError);
        }
        bytes.fill(0);
        if bytes.len() >= 8 {
            let number = self.next.fetch_add(1, Ordering::Relaxed) + 1;
            bytes[..8].copy_from_slice(&number.to_le_bytes());
        }
        Ok(())
    }
}

/// What the keys of a history were used for.
#[derive(Clone, Default)]
pub(super) struct Watch(Arc<Mutex<Seen>>);

#[derive(Default)]
struct Seen {
    nonces: BTreeSet<(Vec<u8>, Vec<u8>)>,
    /// The epoch in which each DEK was made. Each restored snapshot begins a new epoch.
    made: BTreeMap<Vec<u8>, u64>,
    epoch: u64,
}

impl Watch {
    fn lock(&self) -> MutexGuard<'_, Seen> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Records that a snapshot was restored. DEKs made before it must not encrypt any more.
    pub(super) fn restored(&self) {
        self.lock().epoch += 1;
    }

    fn used(&self, key: &[u8], nonce: &[u8]) {
        let use_of_it = (key.to_vec(), nonce.to_vec());
        assert!(self.lock().nonces.insert(use_of_it), "a nonce came twice");
    }

    fn watched(
        &self,
        inner: Box<dyn SealingKey>,
        source_type: DekSourceType,
    ) -> Result<Box<dyn SealingKey>, KeyError> {
        let bytes = inner.export()?.into_exposed();
        let watch = self.clone();
        Ok(Box::new(Watched { inner, bytes, source_type, watch }))
    }
}

impl KeyStore for Watch {
    fn generate(
        &self,
        source_type: DekSourceType,
        entropy: &dyn Entropy,
    ) -> Result<Box<dyn SealingKey>, KeyError> {
        let key = RustCrypto.generate(source_type, entropy)?;
        let bytes = key.export()?.into_exposed();
        let mut seen = self.lock();
        let epoch = seen.epoch;
        assert_eq!(seen.made.insert(bytes, epoch), None, "a DEK came twice");
        drop(seen);
        self.watched(key, source_type)
    }

    fn local(&self, cipher: LocalCipher, bytes: &[u8]) -> Result<Box<dyn LocalKey>, KeyError> {
        Ok(Box::new(WatchedLocal {
            inner: RustCrypto.local(cipher, bytes)?,
            bytes: bytes.to_vec(),
            watch: self.clone(),
        }))
    }

    fn import(
        &self,
        source_type: DekSourceType,
        bytes: &Secret,
    ) -> Result<Arc<dyn OpeningKey>, KeyError> {
        RustCrypto.import(source_type, bytes)
    }

    fn import_sealing(
        &self,
        source_type: DekSourceType,
        bytes: &Secret,
    ) -> Result<Box<dyn SealingKey>, KeyError> {
        self.watched(RustCrypto.import_sealing(source_type, bytes)?, source_type)
    }
}

struct Watched {
    inner: Box<dyn SealingKey>,
    bytes: Vec<u8>,
    source_type: DekSourceType,
    watch: Watch,
}

impl SealingKey for Watched {
    fn seal(
        &self,
        envelope: Envelope<'_>,
        aad: &[u8],
        plaintext: &[u8],
    ) -> Result<Vec<u8>, KeyError> {
        self.watch.used(&self.bytes, envelope.header);
        // A DEK of KMS v1 is used for one value, and its nonce is fresh.
        if envelope.prefix.starts_with(b"k8s:enc:kms:v2:") {
            let seen = self.watch.lock();
            let made = seen.made.get(&self.bytes);
            assert_eq!(made, Some(&seen.epoch), "a DEK from before the restore");
        }
        self.inner.seal(envelope, aad, plaintext)
    }

    fn share(&self) -> Result<Box<dyn SealingKey>, KeyError> {
        self.watch.watched(self.inner.share()?, self.source_type)
    }

    fn export(&self) -> Result<Secret, KeyError> {
        self.inner.export()
    }

    fn opening(&self) -> Result<Arc<dyn OpeningKey>, KeyError> {
        self.inner.opening()
    }
}

struct WatchedLocal {
    inner: Box<dyn LocalKey>,
    bytes: Vec<u8>,
    watch: Watch,
}

impl LocalKey for WatchedLocal {
    fn seal(
        &self,
        envelope: Envelope<'_>,
        aad: &[u8],
        plaintext: &[u8],
    ) -> Result<Vec<u8>, KeyError> {
        self.watch.used(&self.bytes, envelope.header);
        self.inner.seal(envelope, aad, plaintext)
    }

    fn open(&self, aad: &[u8], sealed: &[u8]) -> Result<Secret, OpenError> {
        self.inner.open(aad, sealed)
    }
}
