//! The functions of `dekker:crypto/keys`. They are written by hand, because `bindgen!` would copy each parameter out of the component.

use std::sync::Arc;

use dekker_crypto::gcm::{SealError, TAG_LEN};
use dekker_crypto::{CbcKey, GcmKey, SecretboxKey};
use wasmtime::component::{
    ComponentType, Lift, Linker, Lower, Resource, ResourceType, WasmList, WasmStr,
};
use wasmtime::{Result, StoreContextMut};
use zeroize::Zeroizing;

use crate::sealer::{Key, Sealer, Start};
use crate::{Keys, LocalKey, OpeningKey, SealingKey, Secret, View};

const INTERFACE: &str = "dekker:crypto/keys@0.2.0";

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

/// Why a value could not be opened, the enum `open-error`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ComponentType, Lower)]
#[component(enum)]
#[repr(u8)]
pub enum OpenError {
    /// The value is too short to contain a header.
    #[component(name = "too-short")]
    TooShort,
    /// Every other cause.
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

    let ty = ResourceType::host::<Secret>();
    keys.resource("secret", ty, |mut store, rep| store.data_mut().keys().drop_key::<Secret>(rep))?;
    keys.func_wrap("[method]secret.length", secret_length)?;
    keys.func_wrap("[method]secret.bytes", secret_bytes)?;

    let ty = ResourceType::host::<Sealer>();
    keys.resource("sealer", ty, |mut store, rep| store.data_mut().keys().drop_key::<Sealer>(rep))?;
    keys.func_wrap("[method]sealer.number", number::<T, Sealer>)?;

    let ty = ResourceType::host::<OpeningKey>();
    keys.resource("opening-key", ty, |mut store, rep| {
        store.data_mut().keys().drop_key::<OpeningKey>(rep)
    })?;
    keys.func_wrap("[static]opening-key.import", opening_import)?;
    keys.func_wrap("[static]opening-key.import-secret", opening_import_secret)?;
    keys.func_wrap("[method]opening-key.number", number::<T, OpeningKey>)?;
    keys.func_wrap("[method]opening-key.share", opening_share)?;
    keys.func_wrap("[method]opening-key.open", opening_open)?;

    let ty = ResourceType::host::<SealingKey>();
    keys.resource("sealing-key", ty, |mut store, rep| {
        store.data_mut().keys().drop_key::<SealingKey>(rep)
    })?;
    keys.func_wrap("[static]sealing-key.generate", sealing_generate)?;
    keys.func_wrap("[static]sealing-key.import", sealing_import)?;
    keys.func_wrap("[method]sealing-key.export", sealing_export)?;
    keys.func_wrap("[method]sealing-key.is", sealing_is)?;
    keys.func_wrap("[method]sealing-key.sealer", sealing_sealer)?;
    keys.func_wrap("[method]sealing-key.opening", sealing_opening)?;
    keys.func_wrap("[method]sealing-key.share", sealing_share)?;
    keys.func_wrap("[method]sealing-key.seal", sealing_seal)?;

    let ty = ResourceType::host::<Arc<LocalKey>>();
    keys.resource("local-key", ty, |mut store, rep| {
        store.data_mut().keys().drop_key::<Arc<LocalKey>>(rep)
    })?;
    keys.func_wrap("[static]local-key.import", local_import)?;
    keys.func_wrap("[static]local-key.import-secret", local_import_secret)?;
    keys.func_wrap("[method]local-key.number", number::<T, Arc<LocalKey>>)?;
    keys.func_wrap("[method]local-key.sealer", local_sealer)?;
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

/// The WIT record `frame`.
#[derive(ComponentType, Lift)]
#[component(record)]
struct Frame {
    prefix: WasmStr,
    start: FrameStart,
    end: Bytes,
}

#[derive(ComponentType, Lift)]
#[component(variant)]
enum FrameStart {
    #[component(name = "fixed")]
    Fixed(Bytes),
    #[component(name = "field")]
    Field(u8),
}

impl Frame {
    fn sealer<T: View>(&self, key: Key, store: &StoreContextMut<'_, T>) -> Result<Sealer> {
        Ok(Sealer {
            key,
            prefix: self.prefix.to_str(store)?.as_bytes().to_vec(),
            start: match &self.start {
                FrameStart::Fixed(bytes) => Start::Fixed(bytes.as_le_slice(store).to_vec()),
                FrameStart::Field(tag) => Start::Field(*tag),
            },
            end: self.end.as_le_slice(store).to_vec(),
        })
    }
}

/// Returns the number that names a key or sealer in plans: its place in the table.
fn number<T: View, K: 'static>(
    mut store: StoreContextMut<'_, T>,
    (key,): (Resource<K>,),
) -> Result<(u32,)> {
    // Only what is in the table has a number.
    store.data_mut().keys().table.get(&key)?;
    Ok((key.rep(),))
}

fn secret_length<T: View>(
    mut store: StoreContextMut<'_, T>,
    (secret,): (Resource<Secret>,),
) -> Result<(u32,)> {
    let len = store.data_mut().keys().table.get(&secret)?.0.len();
    Ok((u32::try_from(len)?,))
}

fn secret_bytes<T: View>(
    mut store: StoreContextMut<'_, T>,
    (secret,): (Resource<Secret>,),
) -> Result<(Lent,)> {
    let keys = store.data_mut().keys();
    let mut out = keys.take_buffer();
    out.extend_from_slice(&keys.table.get(&secret)?.0);
    Ok((keys.lend(out),))
}

fn opening_import_secret<T: View>(
    mut store: StoreContextMut<'_, T>,
    (source_type, secret): (DekSourceType, Resource<Secret>),
) -> Result<(Option<Resource<OpeningKey>>,)> {
    let keys = store.data_mut().keys();
    let key = source_type.key(&keys.table.get(&secret)?.0);
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
) -> Result<(Resource<Secret>,)> {
    let keys = store.data_mut().keys();
    let bytes = keys.table.get(&key)?.bytes.clone();
    Ok((keys.push(Secret(bytes))?,))
}

fn sealing_is<T: View>(
    mut store: StoreContextMut<'_, T>,
    (key, secret): (Resource<SealingKey>, Resource<Secret>),
) -> Result<(bool,)> {
    let keys = store.data_mut().keys();
    Ok((keys.table.get(&secret)?.is(&keys.table.get(&key)?.bytes),))
}

fn sealing_sealer<T: View>(
    mut store: StoreContextMut<'_, T>,
    (key, frame): (Resource<SealingKey>, Frame),
) -> Result<(Resource<Sealer>,)> {
    let key = store.data_mut().keys().table.get(&key)?.key.clone();
    let sealer = frame.sealer(Key::Dek(key), &store)?;
    Ok((store.data_mut().keys().push(sealer)?,))
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

fn local_key(cipher: &LocalCipher, bytes: &[u8]) -> Option<LocalKey> {
    match cipher {
        LocalCipher::AesGcm => GcmKey::aes(bytes).map(LocalKey::AesGcm),
        LocalCipher::AesCbc => CbcKey::new(bytes).map(LocalKey::AesCbc),
        LocalCipher::Secretbox => SecretboxKey::new(bytes).map(LocalKey::Secretbox),
    }
}

fn local_import<T: View>(
    mut store: StoreContextMut<'_, T>,
    (cipher, bytes): (LocalCipher, Bytes),
) -> Result<(Option<Resource<Arc<LocalKey>>>,)> {
    let key = local_key(&cipher, bytes.as_le_slice(&store));
    let keys = store.data_mut().keys();
    let key = key.map(|key| keys.push(Arc::new(key)));
    Ok((key.transpose()?,))
}

fn local_import_secret<T: View>(
    mut store: StoreContextMut<'_, T>,
    (cipher, secret): (LocalCipher, Resource<Secret>),
) -> Result<(Option<Resource<Arc<LocalKey>>>,)> {
    let keys = store.data_mut().keys();
    let key = local_key(&cipher, &keys.table.get(&secret)?.0);
    let key = key.map(|key| keys.push(Arc::new(key)));
    Ok((key.transpose()?,))
}

fn local_sealer<T: View>(
    mut store: StoreContextMut<'_, T>,
    (key, frame): (Resource<Arc<LocalKey>>, Frame),
) -> Result<(Resource<Sealer>,)> {
    let key = store.data_mut().keys().table.get(&key)?.clone();
    let sealer = frame.sealer(Key::Local(key), &store)?;
    Ok((store.data_mut().keys().push(sealer)?,))
}

/// The key; prefix, start, header and end; AAD and plaintext.
type LocalSealParams = (Resource<Arc<LocalKey>>, Bytes, Bytes, Bytes, Bytes, Bytes, Bytes);

fn local_seal<T: View>(
    mut store: StoreContextMut<'_, T>,
    (key, prefix, start, header, end, aad, plaintext): LocalSealParams,
) -> Result<(Option<Lent>,)> {
    let key = store.data_mut().keys().table.get(&key)?.clone();
    let mut out = store.data_mut().keys().take_buffer();
    let of = |bytes: &Bytes| bytes.as_le_slice(&store).len();
    let around = of(&prefix) + of(&start) + of(&header) + of(&end);
    out.reserve(around + key.sealed_len(of(&plaintext)));
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
        Some(()) => {
            out.extend_from_slice(end.as_le_slice(&store));
            Some(store.data_mut().keys().lend_sealed(out))
        }
        None => None,
    },))
}

fn local_open<T: View>(
    mut store: StoreContextMut<'_, T>,
    (key, aad, sealed): (Resource<Arc<LocalKey>>, Bytes, Bytes),
) -> Result<(Result<Lent, OpenError>,)> {
    let key = store.data_mut().keys().table.get(&key)?.clone();
    let mut out = store.data_mut().keys().take_buffer();
    let opened = key.open(aad.as_le_slice(&store), sealed.as_le_slice(&store), &mut out);
    let keys = store.data_mut().keys();
    Ok((opened.map(|()| keys.lend(out)).map_err(Into::into),))
}
