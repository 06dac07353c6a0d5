//! The functions of `dekker:crypto/keys`. They are written by hand, because `bindgen!` would copy each parameter out of the component.

use std::sync::Arc;

use dekker_crypto::gcm::{SealError, TAG_LEN};
use dekker_crypto::{CbcKey, GcmKey, SecretboxKey};
use wasmtime::component::{ComponentType, Lift, Linker, Lower, Resource, ResourceType, WasmList};
use wasmtime::{Result, StoreContextMut};
use zeroize::Zeroizing;

use crate::{Keys, LocalKey, OpeningKey, SealingKey, View};

const INTERFACE: &str = "dekker:crypto/keys@0.1.0";

/// 32 bytes: the length of a new DEK or seed.
const DEK_SOURCE_LEN: usize = 32;

/// The type of a DEK source, the enum `dek-source-type`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ComponentType, Lift, Lower)]
#[component(enum)]
#[repr(u8)]
pub enum DekSourceType {
    /// An AES key.
    #[component(name = "aes-gcm-key")]
    AesGcmKey,
    /// A seed.
    #[component(name = "hkdf-sha256-xnonce-aes-gcm-seed")]
    HkdfSha256XnonceAesGcmSeed,
}

impl DekSourceType {
    fn key(self, bytes: &[u8]) -> Option<GcmKey> {
        match self {
            Self::AesGcmKey => GcmKey::aes(bytes),
            Self::HkdfSha256XnonceAesGcmSeed => GcmKey::seed(bytes),
        }
    }
}

#[derive(ComponentType, Lift)]
#[component(enum)]
#[repr(u8)]
#[expect(dead_code, reason = "constructed only from the component's numbers")]
enum LocalCipher {
    #[component(name = "aes-gcm")]
    AesGcm,
    #[component(name = "aes-cbc")]
    AesCbc,
    #[component(name = "secretbox")]
    Secretbox,
}

#[derive(Clone, Copy, ComponentType, Lower)]
#[component(enum)]
#[repr(u8)]
enum OpenError {
    #[component(name = "too-short")]
    TooShort,
    #[component(name = "failed")]
    Failed,
}

impl From<dekker_crypto::OpenError> for OpenError {
    fn from(error: dekker_crypto::OpenError) -> Self {
        match error {
            dekker_crypto::OpenError::TooShort => Self::TooShort,
            dekker_crypto::OpenError::Failed => Self::Failed,
        }
    }
}

/// Bytes in the component's memory.
type Bytes = WasmList<u8>;
/// A result for the component.
type Lent = Arc<Vec<u8>>;
/// The key; prefix, start, header and end; AAD and plaintext.
type SealParams = (Resource<SealingKey>, Bytes, Bytes, Bytes, Bytes, Bytes, Bytes);

/// Adds the interface to a linker. Each store has its own keys.
///
/// # Errors
/// Returns an error if the linker already has this interface.
pub fn add_to_linker<T: View>(linker: &mut Linker<T>) -> Result<()> {
    let mut keys = linker.instance(INTERFACE)?;

    let ty = ResourceType::host::<OpeningKey>();
    keys.resource("opening-key", ty, |mut store, rep| {
        store.data_mut().keys().drop_key::<OpeningKey>(rep)
    })?;
    keys.func_wrap("[static]opening-key.import", opening_import)?;
    keys.func_wrap("[method]opening-key.share", opening_share)?;
    keys.func_wrap("[method]opening-key.open", opening_open)?;

    let ty = ResourceType::host::<SealingKey>();
    keys.resource("sealing-key", ty, |mut store, rep| {
        store.data_mut().keys().drop_key::<SealingKey>(rep)
    })?;
    keys.func_wrap("[static]sealing-key.generate", sealing_generate)?;
    keys.func_wrap("[static]sealing-key.import", sealing_import)?;
    keys.func_wrap("[method]sealing-key.export", sealing_export)?;
    keys.func_wrap("[method]sealing-key.opening", sealing_opening)?;
    keys.func_wrap("[method]sealing-key.share", sealing_share)?;
    keys.func_wrap("[method]sealing-key.seal", sealing_seal)?;

    let ty = ResourceType::host::<Arc<LocalKey>>();
    keys.resource("local-key", ty, |mut store, rep| {
        store.data_mut().keys().drop_key::<Arc<LocalKey>>(rep)
    })?;
    keys.func_wrap("[static]local-key.import", local_import)?;
    keys.func_wrap("[method]local-key.seal", local_seal)?;
    keys.func_wrap("[method]local-key.open", local_open)?;
    Ok(())
}

fn opening_import<T: View>(
    mut store: StoreContextMut<'_, T>,
    (source_type, bytes): (DekSourceType, Bytes),
) -> Result<(Option<Resource<OpeningKey>>,)> {
    let key = source_type.key(bytes.as_le_slice(&store));
    let keys = store.data_mut().keys();
    let key = key.map(|key| keys.push(OpeningKey(Arc::new(key))));
    Ok((key.transpose()?,))
}

fn opening_share<T: View>(
    mut store: StoreContextMut<'_, T>,
    (key,): (Resource<OpeningKey>,),
) -> Result<(Resource<OpeningKey>,)> {
    let keys = store.data_mut().keys();
    let key = keys.table.get(&key)?.0.clone();
    Ok((keys.push(OpeningKey(key))?,))
}

fn opening_open<T: View>(
    mut store: StoreContextMut<'_, T>,
    (key, aad, sealed): (Resource<OpeningKey>, Bytes, Bytes),
) -> Result<(Result<Lent, OpenError>,)> {
    let key = store.data_mut().keys().table.get(&key)?.0.clone();
    let mut out = store.data_mut().keys().take_buffer();
    let opened = key.open(aad.as_le_slice(&store), sealed.as_le_slice(&store), &mut out);
    let lent = store.data_mut().keys().lend(out);
    Ok((opened.map(|()| lent).map_err(Into::into),))
}

fn sealing(
    keys: &mut Keys,
    source_type: DekSourceType,
    bytes: Zeroizing<Vec<u8>>,
) -> Result<Option<Resource<SealingKey>>> {
    let Some(key) = source_type.key(&bytes).map(Arc::new) else {
        return Ok(None);
    };
    keys.push(SealingKey { bytes, key }).map(Some)
}

fn sealing_generate<T: View>(
    mut store: StoreContextMut<'_, T>,
    (source_type,): (DekSourceType,),
) -> Result<(Resource<SealingKey>,)> {
    let mut bytes = Zeroizing::new(vec![0; DEK_SOURCE_LEN]);
    store.data_mut().random(&mut bytes)?;
    let key = sealing(store.data_mut().keys(), source_type, bytes)?;
    // Both types accept a key of this length.
    let key = key.ok_or_else(|| wasmtime::Error::msg("cannot create a key from 32 bytes"))?;
    Ok((key,))
}

fn sealing_import<T: View>(
    mut store: StoreContextMut<'_, T>,
    (source_type, bytes): (DekSourceType, Bytes),
) -> Result<(Option<Resource<SealingKey>>,)> {
    let bytes = Zeroizing::new(bytes.as_le_slice(&store).to_vec());
    Ok((sealing(store.data_mut().keys(), source_type, bytes)?,))
}

fn sealing_export<T: View>(
    mut store: StoreContextMut<'_, T>,
    (key,): (Resource<SealingKey>,),
) -> Result<(Lent,)> {
    let keys = store.data_mut().keys();
    let mut out = keys.take_buffer();
    out.extend_from_slice(&keys.table.get(&key)?.bytes);
    Ok((keys.lend(out),))
}

fn sealing_opening<T: View>(
    mut store: StoreContextMut<'_, T>,
    (key,): (Resource<SealingKey>,),
) -> Result<(Resource<OpeningKey>,)> {
    let keys = store.data_mut().keys();
    let key = keys.table.get(&key)?.key.clone();
    Ok((keys.push(OpeningKey(key))?,))
}

fn sealing_share<T: View>(
    mut store: StoreContextMut<'_, T>,
    (key,): (Resource<SealingKey>,),
) -> Result<(Resource<SealingKey>,)> {
    let keys = store.data_mut().keys();
    let key = keys.table.get(&key)?.share();
    Ok((keys.push(key)?,))
}

fn sealing_seal<T: View>(
    mut store: StoreContextMut<'_, T>,
    (key, prefix, start, header, end, aad, plaintext): SealParams,
) -> Result<(Option<Lent>,)> {
    let key = store.data_mut().keys().table.get(&key)?.key.clone();
    let mut out = store.data_mut().keys().take_buffer();
    let of = |bytes: &Bytes| bytes.as_le_slice(&store).len();
    // Reserve everything at once: if the buffer grew later, it would leave a copy of the plaintext behind.
    out.reserve(of(&prefix) + of(&start) + of(&header) + of(&plaintext) + TAG_LEN + of(&end));
    for before in [&prefix, &start, &header] {
        out.extend_from_slice(before.as_le_slice(&store));
    }
    let sealed = key.seal(
        header.as_le_slice(&store),
        aad.as_le_slice(&store),
        plaintext.as_le_slice(&store),
        &mut out,
    );
    Ok((match sealed {
        Ok(()) => {
            out.extend_from_slice(end.as_le_slice(&store));
            Some(store.data_mut().keys().lend_sealed(out))
        }
        Err(SealError) => None,
    },))
}

fn local_import<T: View>(
    mut store: StoreContextMut<'_, T>,
    (cipher, bytes): (LocalCipher, Bytes),
) -> Result<(Option<Resource<Arc<LocalKey>>>,)> {
    let bytes = bytes.as_le_slice(&store);
    let key = match cipher {
        LocalCipher::AesGcm => GcmKey::aes(bytes).map(LocalKey::AesGcm),
        LocalCipher::AesCbc => CbcKey::new(bytes).map(LocalKey::AesCbc),
        LocalCipher::Secretbox => SecretboxKey::new(bytes).map(LocalKey::Secretbox),
    };
    let keys = store.data_mut().keys();
    let key = key.map(|key| keys.push(Arc::new(key)));
    Ok((key.transpose()?,))
}

fn local_seal<T: View>(
    mut store: StoreContextMut<'_, T>,
    (key, nonce, aad, plaintext): (Resource<Arc<LocalKey>>, Bytes, Bytes, Bytes),
) -> Result<(Option<Lent>,)> {
    let key = store.data_mut().keys().table.get(&key)?.clone();
    let buffer = store.data_mut().keys().take_buffer();
    let nonce = nonce.as_le_slice(&store);
    let aad = aad.as_le_slice(&store);
    let sealed = key.seal(nonce, aad, plaintext.as_le_slice(&store), buffer);
    let keys = store.data_mut().keys();
    Ok((sealed.map(|sealed| keys.lend(sealed)),))
}

fn local_open<T: View>(
    mut store: StoreContextMut<'_, T>,
    (key, aad, sealed): (Resource<Arc<LocalKey>>, Bytes, Bytes),
) -> Result<(Result<Lent, OpenError>,)> {
    let key = store.data_mut().keys().table.get(&key)?.clone();
    let buffer = store.data_mut().keys().take_buffer();
    let opened = key.open(aad.as_le_slice(&store), sealed.as_le_slice(&store), buffer);
    let keys = store.data_mut().keys();
    Ok((opened.map(|plaintext| keys.lend(plaintext)),))
}

impl LocalKey {
    /// Encrypts a whole value. `buffer` must be empty; its memory is reused if possible.
    fn seal(
        &self,
        nonce: &[u8],
        aad: &[u8],
        plaintext: &[u8],
        mut buffer: Zeroizing<Vec<u8>>,
    ) -> Option<Zeroizing<Vec<u8>>> {
        match self {
            Self::AesGcm(key) => {
                buffer.extend_from_slice(nonce);
                key.seal(nonce, aad, plaintext, &mut buffer).ok()?;
            }
            Self::AesCbc(key) => *buffer = key.seal(nonce.try_into().ok()?, plaintext),
            Self::Secretbox(key) => *buffer = key.seal(nonce.try_into().ok()?, plaintext)?,
        }
        Some(buffer)
    }

    fn open(
        &self,
        aad: &[u8],
        sealed: &[u8],
        mut buffer: Zeroizing<Vec<u8>>,
    ) -> Result<Zeroizing<Vec<u8>>, OpenError> {
        match self {
            Self::AesGcm(key) => {
                key.open(aad, sealed, &mut buffer)?;
                Ok(buffer)
            }
            Self::AesCbc(key) => Ok(key.open(sealed)?),
            Self::Secretbox(key) => Ok(key.open(sealed)?),
        }
    }
}
