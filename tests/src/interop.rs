//! What upstream's own code wrote and reported. The Go program in `tests/interop` recorded it; the recording is committed and read here without Go.
//!
//! Every test that compares with upstream reads either the committed recording or the fresh one that `cargo xtask interop` has just made and names in
//! `DEKKER_INTEROP_FRESH`. Each ends with one machine-readable line: see [`Comparison::report`].

use std::collections::BTreeMap;
use std::io::Write;
use std::ops::AddAssign;
use std::path::{Path, PathBuf};
use std::{env, fs};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use dekker_core::crypto::keys::DekSourceType;
use dekker_core::engine::Options;
use dekker_core::engine::event::DecryptRequest;
use serde::{Deserialize, Deserializer};

#[cfg(feature = "host")]
use crate::face::HostMaker;
#[cfg(feature = "component")]
use crate::face::{ComponentMaker, JavaScriptMaker, Missing};
use crate::face::{Maker, NativeMaker};
use crate::object::{EncryptedObject, Stored};
use crate::plugin::Plugin;
use crate::sim::Harness;

/// Returns the path of a recording: the fresh one if there is one, otherwise the committed one.
pub fn recording(name: &str) -> PathBuf {
    match env::var_os("DEKKER_INTEROP_FRESH") {
        Some(folder) => Path::new(&folder).join(name),
        None => Path::new(env!("CARGO_MANIFEST_DIR")).join(name),
    }
}

/// Reads the text of a recording.
///
/// # Panics
/// Panics if the file cannot be read.
pub fn text(name: &str) -> String {
    let path = recording(name);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The faces on which a comparison runs.
#[derive(Clone, Copy, Debug)]
pub enum Faces {
    /// Native code: RustCrypto and ring.
    Native,
    /// Native code, both components, and the accelerated one with the host's half; or, if `DEKKER_FACE` is `node` or `browser`, the npm package there.
    #[cfg(feature = "component")]
    Every,
}

impl Faces {
    /// Runs `compare` on each face. It returns how much was compared, and every mismatch. Both are printed in one line for each face, which
    /// `cargo xtask interop` reads: `INTEROP <what> (<face>): <compared> compared, <mismatches> mismatches`.
    ///
    /// # Panics
    /// Panics if there is any mismatch. In CI also panics if a component is missing.
    pub fn compare(self, what: &str, compare: impl Fn(&dyn Maker) -> Comparison) {
        let on = |maker: &dyn Maker, face| compare(maker).report(&format!("{what} ({face})"));
        let native = || {
            let mut faults = on(&NativeMaker::RUST_CRYPTO, "native");
            faults.extend(on(&NativeMaker::RING, "native, ring"));
            faults
        };
        let faults = match self {
            Self::Native => native(),
            #[cfg(feature = "component")]
            Self::Every => match env::var("DEKKER_FACE").as_deref() {
                Ok(face @ "node") => on(&JavaScriptMaker::node(), face),
                Ok(face @ "browser") => on(&JavaScriptMaker::browser(), face),
                _ => {
                    let mut faults = native();
                    for (name, maker) in components() {
                        match maker {
                            Ok(maker) => faults.extend(on(&*maker, name)),
                            Err(missing) => skip(what, &missing.to_string()),
                        }
                    }
                    faults
                }
            },
        };
        assert!(faults.is_empty(), "{} mismatches", faults.len());
    }
}

#[cfg(feature = "component")]
type Found = Result<Box<dyn Maker>, Missing>;

/// Returns every face of the component, with its name.
#[cfg(feature = "component")]
fn components() -> Vec<(&'static str, Found)> {
    fn boxed<M: Maker + 'static>(found: Result<M, Missing>) -> Found {
        found.map(|maker| Box::new(maker) as Box<dyn Maker>)
    }
    vec![
        ("component", boxed(ComponentMaker::find())),
        ("accelerated component", boxed(ComponentMaker::find_accelerated())),
        #[cfg(feature = "host")]
        ("host", boxed(HostMaker::find())),
        #[cfg(feature = "host")]
        ("host, batches", boxed(HostMaker::find_in_batches())),
    ]
}

/// Runs `compare` on every face, as [`Faces::compare`] does.
///
/// # Panics
/// Panics as [`Faces::compare`] does.
#[cfg(feature = "component")]
pub fn on_every_face(what: &str, compare: impl Fn(&dyn Maker) -> Comparison) {
    Faces::Every.compare(what, compare);
}

/// Prints figures to the terminal, bypassing the capture of the test harness, because they are the purpose of the test.
pub fn print_figures(figures: &str) {
    // One write, so that lines of other tests do not come between.
    let _ = std::io::stdout().write_all(format!("FIGURES {figures}\n").as_bytes());
}

/// Reports on the terminal, bypassing the capture of the test harness, that a test was skipped.
///
/// # Panics
/// Panics in CI, where no test may be skipped.
pub fn skip(what: &str, why: &str) {
    let in_ci = env::var_os("CI").is_some_and(|ci| ci == "true");
    assert!(!in_ci, "nothing is skipped in CI: {what}: {why}");
    let _ = writeln!(std::io::stderr(), "SKIPPED {what}: {why}");
}

/// Prints the first 20 mismatches in full; more would rarely help.
const SHOWN_MAX: usize = 20;

/// The number of comparisons, and the mismatches found.
#[derive(Default)]
pub struct Comparison {
    compared: usize,
    mismatches: Vec<String>,
}

impl Comparison {
    /// Counts one comparison. `mismatch` describes the difference, if there is one.
    pub fn add(&mut self, mismatch: Option<String>) {
        self.compared += 1;
        self.mismatches.extend(mismatch);
    }

    /// Compares two values that must be equal.
    pub fn equal<T: PartialEq + std::fmt::Debug>(&mut self, what: &str, ours: &T, upstream: &T) {
        let differ = ours != upstream;
        self.add(differ.then(|| format!("{what}:\n      ours {ours:?}\n  upstream {upstream:?}")));
    }

    /// Prints the result, bypassing the capture of the test harness, and returns the mismatches.
    #[must_use]
    pub fn report(self, what: &str) -> Vec<String> {
        let mut text = String::new();
        for mismatch in self.mismatches.iter().take(SHOWN_MAX) {
            text += &format!("MISMATCH {what}: {mismatch}\n");
        }
        text += &format!(
            "INTEROP {what}: {} compared, {} mismatches\n",
            self.compared,
            self.mismatches.len()
        );
        let _ = std::io::stdout().write_all(text.as_bytes());
        self.mismatches
    }
}

impl AddAssign for Comparison {
    fn add_assign(&mut self, other: Self) {
        self.compared += other.compared;
        self.mismatches.extend(other.mismatches);
    }
}

/// A parsed file of vectors.
#[derive(Deserialize)]
pub struct VectorFile {
    /// The format version: 1.
    pub format: u32,
    /// The program whose code wrote the file.
    pub producer: String,
    /// The version of that program.
    pub version: String,
    /// The readers, by name.
    pub readers: BTreeMap<String, Reader>,
    /// The DEKs that the plugins decrypt; they must refuse all others.
    #[serde(default)]
    pub deks: Vec<Dek>,
    /// The stored values.
    pub vectors: Vec<Vector>,
}

/// A configuration and its plugins.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Reader {
    /// The configuration, in JSON.
    pub config: serde_json::Value,
    /// The DEK source with which KMS v2 would write: `key` or `seed`; empty without KMS.
    #[serde(default)]
    pub dek_source: String,
    /// The key ID in the plugin's Status, by provider.
    #[serde(default)]
    pub key_ids: BTreeMap<String, String>,
}

/// An encrypted DEK source and its plaintext.
#[derive(Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Dek {
    /// The provider whose plugin encrypted it.
    pub provider: String,
    /// The ciphertext as stored.
    #[serde(deserialize_with = "base64")]
    pub ciphertext: Vec<u8>,
    /// The key ID; KMS v2 only.
    #[serde(default)]
    pub key_id: String,
    /// The annotations, in base64; KMS v2 only.
    #[serde(default)]
    pub annotations: BTreeMap<String, Base64>,
    /// The decrypted DEK or seed.
    #[serde(deserialize_with = "base64")]
    pub plaintext: Vec<u8>,
}

/// Bytes, encoded as base64.
#[derive(Clone, Deserialize)]
pub struct Base64(#[serde(deserialize_with = "base64")] pub Vec<u8>);

/// One stored value, and the expected result of reading it.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Vector {
    /// A description.
    pub name: String,
    /// The resource that it is a value of.
    pub resource: String,
    /// The storage key, in hex.
    key: String,
    #[serde(default, deserialize_with = "base64")]
    stored: Vec<u8>,
    #[serde(default)]
    stored_file: String,
    plaintext: Option<PlaintextNote>,
    /// The results with some of the readers.
    pub reads: Vec<Read>,
}

#[derive(Deserialize)]
struct PlaintextNote {
    len: usize,
    sha256: String,
}

/// The expected result of reading a vector with one reader.
#[derive(Deserialize)]
pub struct Read {
    /// The reader's name.
    pub reader: String,
    /// `ok`, `stale`, or the kind of error.
    pub expect: String,
    /// Upstream's error text.
    #[serde(default)]
    pub error: String,
    /// The reason why Dekker may not behave as upstream does.
    #[serde(default)]
    pub differs: String,
}

fn base64<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<u8>, D::Error> {
    let text = String::deserialize(from)?;
    STANDARD.decode(text).map_err(serde::de::Error::custom)
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

impl VectorFile {
    /// Reads `vectors/<name>.json`.
    ///
    /// # Panics
    /// Panics if the file cannot be read or is malformed.
    pub fn read(name: &str) -> Self {
        let text = text(&format!("vectors/{name}.json"));
        let mut file: Self =
            serde_json::from_str(&text).unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_eq!(file.format, 1, "{name}");
        assert!(!file.producer.is_empty() && file.version.starts_with('v'));
        for vector in &mut file.vectors {
            if !vector.stored_file.is_empty() {
                let path = recording("vectors").join(&vector.stored_file);
                vector.stored = fs::read(path).expect("the file that the vector names");
            }
        }
        file
    }

    /// Creates an engine with this reader's configuration, and plugins that decrypt the recorded DEKs.
    ///
    /// # Panics
    /// Panics if there is no such reader, or its configuration is invalid.
    pub fn harness(&self, maker: &dyn Maker, reader: &str) -> Harness {
        let reader = &self.readers[reader];
        let options = Options {
            dek_source: match &*reader.dek_source {
                "seed" => DekSourceType::HkdfSha256XnonceAesGcmSeed,
                _ => DekSourceType::AesGcmKey,
            },
            ..Options::default()
        };
        let plugins = reader.key_ids.iter().map(|(name, key_id)| {
            let mut plugin = Plugin::new(key_id);
            let own = self.deks.iter().filter(|dek| dek.provider == *name);
            plugin.recorded = own.map(Dek::as_recorded).collect();
            (&*name.clone().leak(), plugin)
        });
        let plugins: Vec<_> = plugins.collect();
        Harness::new(maker, &reader.config.to_string(), &options, plugins)
    }
}

impl VectorFile {
    /// Returns the KMS values that some reader can read, each with its DEK.
    pub fn with_deks(&self) -> impl Iterator<Item = (&Vector, &Dek)> {
        let is_read = |vector: &&Vector| {
            let mut expected = vector.reads.iter().map(|read| &*read.expect);
            expected.any(|expect| matches!(expect, "ok" | "stale"))
        };
        let values = self.vectors.iter().filter(is_read);
        values.filter_map(|vector| Some((vector, self.dek(vector.stored())?)))
    }

    fn dek(&self, stored: &[u8]) -> Option<&Dek> {
        if let Some(value) = stored.strip_prefix(b"k8s:enc:kms:v1:") {
            let name = value.iter().position(|byte| *byte == b':')?;
            let (len, rest) = value[name + 1..].split_first_chunk::<2>()?;
            let encrypted = rest.get(..usize::from(u16::from_be_bytes(*len)))?;
            return self.deks.iter().find(|dek| dek.ciphertext == encrypted);
        }
        let object = EncryptedObject::find(stored)?;
        self.deks.iter().find(|dek| {
            let annotations = dek.annotations.iter().map(|(name, value)| (name, &value.0));
            (&dek.ciphertext, &dek.key_id) == (&object.encrypted_dek_source, &object.key_id)
                && annotations.eq(&object.annotations)
        })
    }
}

impl Dek {
    fn as_recorded(&self) -> (DecryptRequest, Vec<u8>) {
        let annotations = self.annotations.iter();
        let request = DecryptRequest {
            ciphertext: self.ciphertext.clone(),
            key_id: self.key_id.clone(),
            annotations: annotations.map(|(name, value)| (name.clone(), value.0.clone())).collect(),
        };
        (request, self.plaintext.clone())
    }
}

impl Vector {
    /// Returns the storage key.
    ///
    /// # Panics
    /// Panics if the field is not hex.
    pub fn key(&self) -> Vec<u8> {
        let digits = self.key.as_bytes().chunks(2);
        let byte = |pair| {
            let pair = std::str::from_utf8(pair).expect("ASCII");
            u8::from_str_radix(pair, 16).expect("hex")
        };
        digits.map(byte).collect()
    }

    /// Returns the stored bytes.
    pub fn stored(&self) -> &[u8] {
        &self.stored
    }

    /// Returns the plaintext, made from its length and checked against its hash; `None` if no reader can read it.
    ///
    /// # Panics
    /// Panics if the length and the hash disagree.
    pub fn plaintext(&self) -> Option<Vec<u8>> {
        use sha2::{Digest, Sha256};
        let note = self.plaintext.as_ref()?;
        let byte = |i| u8::try_from((7 * i + note.len) % 251).expect("below 251");
        let plaintext: Vec<u8> = (0..note.len).map(byte).collect();
        assert_eq!(hex(&Sha256::digest(&plaintext)), note.sha256, "{}", self.name);
        Some(plaintext)
    }
}
