//! KMS v1's framing, `len[2] encryptedDEK[len]`: it reads as written, invalid lengths are errors, and an altered value never opens as a fresh one.

use dekker_core::config::{KmsVersion, SocketAddress};
use dekker_core::crypto::entropy::{Entropy, EntropyError};
use dekker_core::crypto::keys::{DekSourceType, Envelope, KeyStore, LocalCipher};
use dekker_core::crypto::rustcrypto::RustCrypto;
use dekker_core::crypto::secret::{DekBytes, Secret};
use dekker_core::engine::event::{KmsProviderInfo, ProviderId};
use dekker_core::provider::kms::Kms;
use dekker_core::provider::kms::dek_cache::ReadDek;
use dekker_core::provider::kms::step::ReadStep;
use dekker_core::provider::kms::v1::{KmsV1, read_dek};
use dekker_core::provider::stored::Stored;
use dekker_core::{ErrorKind, TransformError};

use crate::bytes::Bytes;

const PREFIX: &str = "k8s:enc:kms:v1:old:";
const AAD: &[u8] = b"/registry/secrets/ns/name";

/// Returns the same bytes each time: nothing here is secret.
struct Fixed;
impl Entropy for Fixed {
    fn fill(&self, bytes: &mut [u8]) -> Result<(), EntropyError> {
        bytes.fill(0x5d);
        Ok(())
    }
}

fn provider() -> KmsV1 {
    let info = KmsProviderInfo {
        id: ProviderId(1),
        name: "old".into(),
        version: KmsVersion::V1,
        endpoint: "unix:///run/old.sock".into(),
        address: SocketAddress::Path("/run/old.sock".into()),
        timeout: std::time::Duration::from_secs(3),
    };
    KmsV1::new(info, 2, &[0; 16])
}

/// The first byte selects the test: arbitrary bytes are read; or a value is written, perhaps altered, and read.
///
/// # Panics
/// Panics if a promise is broken.
pub fn run(input: &[u8]) {
    let mut input = Bytes::new(input);
    let how = input.byte();
    if how & 1 == 0 {
        read_any(input.rest());
    } else {
        write(how, input);
    }
}

fn read_any(stored: &[u8]) {
    let framed = match stored {
        [high, low, rest @ ..] => {
            rest.split_at_checked(usize::from(*high) << 8 | usize::from(*low))
        }
        _ => None,
    };
    let mut provider = provider();
    match (planned(&mut provider, stored, None), framed) {
        (Err(error), None) => assert_eq!(error.kind, ErrorKind::Malformed),
        (Ok(ReadStep::NeedsDek(_, needed)), Some((dek, sealed))) => {
            assert_eq!(needed.request.ciphertext, dek, "the encrypted DEK of the value");
            // Any DEK will do: the read must end, whether it opens the value or not.
            let dek = DekBytes::from(vec![9; [16, 24, 32][dek.len() % 3]]);
            let dek = read_dek(&RustCrypto, &dek).expect("an AES key length");
            match opened(&mut provider, stored, Some(&dek)) {
                Ok((plaintext, _)) => assert!(plaintext.len() <= sealed.len()),
                // A value that is shorter than a nonce is malformed; all other errors are indistinguishable.
                Err(error) if sealed.len() < 12 => assert_eq!(error.kind, ErrorKind::Malformed),
                Err(error) => assert_eq!(error.kind, ErrorKind::DecryptFailed),
            }
        }
        _ => panic!("the framing disagrees with the lengths"),
    }
}

fn write(how: u8, mut input: Bytes<'_>) {
    let encrypted_dek =
        if how & 2 == 0 { input.run().to_vec() } else { vec![how; usize::from(input.short())] };
    let dek = vec![input.byte(); 32];
    let alter = (how & 4 != 0).then(|| (usize::from(input.short()), input.byte().max(1)));
    let plaintext = input.rest();
    let source = DekBytes::from(dek.clone());
    let key = RustCrypto.import_sealing(DekSourceType::AesGcmKey, &Secret::new(dek));
    let key = key.expect("32 bytes");
    let mut provider = Kms::V1(Box::new(provider()));
    let Kms::V1(v1) = &provider else { unreachable!("it was just made") };
    let stored = match v1.seal(PREFIX, key, &encrypted_dek, &RustCrypto) {
        Ok((plan, keep)) => {
            let stored = plan.seal(AAD, plaintext, &Fixed).expect("it seals");
            let (name, dek) = keep.expect("it has a cache");
            provider.keep(name, dek);
            stored
        }
        Err(error) => {
            assert_eq!(error.kind, ErrorKind::Kms);
            assert!(encrypted_dek.is_empty(), "only an empty encrypted DEK is too short");
            return;
        }
    };
    let seen = dekker_core::inspect::inspect(&stored).expect("a written value");
    assert_eq!(seen.encrypted_dek_source_size, Some(encrypted_dek.len()));
    assert_eq!(seen.plaintext_size, plaintext.len());
    let mut value = stored[PREFIX.len()..].to_vec();
    // The DEK is cached, because it has just encrypted a value.
    let Kms::V1(mut provider) = provider else { unreachable!("it is of KMS v1") };
    assert_eq!(opened(&mut provider, &value, None), Ok((plaintext.to_vec(), false)));
    let dek = || read_dek(&RustCrypto, &source).expect("32 bytes");
    if how & 8 != 0 {
        // As Kubernetes wrote before 1.25: AES-CBC, which reads as stale.
        let cbc = RustCrypto.local(LocalCipher::AesCbc, source.expose());
        value.truncate(2 + encrypted_dek.len());
        let envelope = Envelope { prefix: &value, start: &[], header: &[7; 16], end: &[] };
        let sealed = cbc.expect("32 bytes").seal(envelope, AAD, plaintext);
        let value = sealed.expect("it seals");
        let read = opened(&mut self::provider(), &value, Some(&dek()));
        assert_eq!(read, Ok((plaintext.to_vec(), true)));
    } else if let Some((at, with)) = alter {
        let at = 2 + encrypted_dek.len() + at % (value.len() - 2 - encrypted_dek.len());
        value[at] ^= with;
        // AES-CBC has no authentication: the value may open to anything, which is then reported as stale.
        if let Ok((_, stale)) = opened(&mut self::provider(), &value, Some(&dek())) {
            assert!(stale, "an altered value was opened");
        }
    }
}

type Opened = Result<(Vec<u8>, bool), TransformError>;

fn planned(
    provider: &mut KmsV1,
    stored: &[u8],
    dek: Option<&ReadDek>,
) -> Result<ReadStep, TransformError> {
    provider.read(Stored::whole(stored), dek).expect("all bytes are here")
}

fn opened(provider: &mut KmsV1, stored: &[u8], dek: Option<&ReadDek>) -> Opened {
    match planned(provider, stored, dek)? {
        ReadStep::Open(step) => {
            let opened = step.dek.open(AAD, &stored[step.range])?;
            Ok((opened.plaintext.expose().to_vec(), opened.is_cbc))
        }
        ReadStep::Priming | ReadStep::NeedsDek(..) => panic!("its DEK is cached or given"),
    }
}

/// Returns values of every relevant length, intact and altered.
pub fn seeds() -> Vec<Vec<u8>> {
    let framed = |len: u16, rest: usize| [&[0][..], &len.to_be_bytes(), &vec![3; rest]].concat();
    vec![
        framed(0, 28),
        framed(16, 16 + 28),
        framed(16, 16 + 32),
        framed(300, 10),
        vec![0, 1],
        [&[1, 4][..], b"edekXplaintext"].concat(),
        [&[1, 0][..], b"no DEK"].concat(),
        [&[3][..], &u16::MAX.to_le_bytes(), b"Xthe longest DEK"].concat(),
        [&[5, 4][..], b"edekX\x05\x00\x01plaintext"].concat(),
        [&[9, 4][..], b"edekXas it was before 1.25"].concat(),
    ]
}
