//! Compares the nonces that a process uses before and after its memory is restored.
//!
//! A *writer* is a process that prints `ready` on a line. For each byte that it reads, it then writes a batch of values, each in hexadecimal on a
//! separate line, and `done`. Everything before `ready` is ignored.

use std::collections::BTreeSet;
use std::io::{self, BufRead, BufReader, Write};
use std::process::{Command, Stdio};

use crate::object::{EncryptedObject, Stored};
use crate::snapshot::Traced;

/// How many values a writer writes in one batch.
pub const BATCH: usize = 1000;

/// The provider that a writer uses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Provider {
    /// A nonce of 12 random bytes.
    AesGcm,
    /// An IV of 16 random bytes.
    AesCbc,
    /// A nonce of 24 random bytes.
    Secretbox,
    /// KMS v2 with a counted nonce.
    Counter,
    /// KMS v2 with an info of 32 random bytes and a nonce of 12 random bytes.
    Seed,
}

impl Provider {
    /// All providers.
    pub const ALL: [Self; 5] =
        [Self::AesGcm, Self::AesCbc, Self::Secretbox, Self::Counter, Self::Seed];

    /// Returns the provider's name, as it is passed to a writer.
    pub fn name(self) -> &'static str {
        match self {
            Self::AesGcm => "aesgcm",
            Self::AesCbc => "aescbc",
            Self::Secretbox => "secretbox",
            Self::Counter => "counter",
            Self::Seed => "seed",
        }
    }

    /// Returns the configuration of a writer.
    pub fn config(self) -> String {
        let provider = match self {
            Self::AesGcm | Self::AesCbc | Self::Secretbox => format!(
                "{}: {{keys: [{{name: a, secret: MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=}}]}}",
                self.name()
            ),
            Self::Counter | Self::Seed => {
                "kms: {apiVersion: v2, name: a, endpoint: 'unix:///run/a.sock'}".to_owned()
            }
        };
        format!(
            "apiVersion: apiserver.config.k8s.io/v1\nkind: EncryptionConfiguration\nresources:\n- resources: [secrets]\n  providers: [{{{provider}}}]\n"
        )
    }

    /// Returns the part of a value that must never be used twice with one key.
    fn nonce(self, stored: &[u8]) -> Vec<u8> {
        let local = |len: usize| {
            let prefix = format!("k8s:enc:{}:v1:a:", self.name());
            let value = stored.strip_prefix(prefix.as_bytes()).expect("the prefix");
            value[..len].to_vec()
        };
        let sealed = |len: usize| {
            let object = EncryptedObject::of("a", stored);
            // Includes the encrypted DEK: a nonce may repeat under another DEK.
            [&object.encrypted_dek_source, &object.encrypted_data[..len]].concat()
        };
        match self {
            Self::AesGcm => local(12),
            Self::AesCbc => local(16),
            Self::Secretbox => local(24),
            Self::Counter => sealed(12),
            Self::Seed => sealed(44),
        }
    }
}

/// The nonces of two batches: one written after the writer was saved, and one written after it was restored to that point.
#[derive(Debug)]
pub struct Batches {
    /// The nonces before the writer was restored.
    pub first: Vec<Vec<u8>>,
    /// The nonces after the writer was restored.
    pub second: Vec<Vec<u8>>,
    /// The size in bytes of the pages that were restored.
    pub altered: usize,
}

impl Batches {
    /// Returns how many nonces of the second batch are also in the first.
    pub fn repeated(&self) -> usize {
        let first: BTreeSet<_> = self.first.iter().collect();
        self.second.iter().filter(|nonce| first.contains(nonce)).count()
    }
}

/// Runs a writer: saves it, lets it write, restores it, and lets it write again. Returns `None` if ptrace is not permitted.
///
/// # Errors
/// Returns an error if the writer does not follow the protocol.
pub fn run(mut writer: Command, provider: Provider) -> io::Result<Option<Batches>> {
    let mut child = writer
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        // Keeps freed memory in the process: memory returned to the system could not be restored.
        .env("MALLOC_TRIM_THRESHOLD_", "1073741824")
        .env("MALLOC_MMAP_THRESHOLD_", "33554432")
        .spawn()?;
    let mut input = child.stdin.take().expect("it is piped");
    let mut output = BufReader::new(child.stdout.take().expect("it is piped"));
    let mut batches = || {
        lines_until(&mut output, "ready")?;
        let mut batch = || {
            input.write_all(b"g")?;
            input.flush()?;
            let lines = lines_until(&mut output, "done")?;
            let values = lines.iter().map(|line| provider.nonce(&unhex(line)));
            Ok::<_, io::Error>(values.collect::<Vec<_>>())
        };
        // The first batch completes all one-time initialization.
        batch()?;
        let mut traced = match Traced::seize(child.id()) {
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => return Ok(None),
            traced => traced?,
        };
        traced.stop()?;
        let snapshot = traced.save()?;
        traced.resume()?;
        let first = batch()?;
        traced.stop()?;
        let altered = traced.restore(&snapshot)?;
        traced.resume()?;
        let second = batch()?;
        Ok(Some(Batches { first, second, altered }))
    };
    let outcome = batches();
    child.kill()?;
    child.wait()?;
    outcome
}

/// Checks that a writer never repeats a nonce.
///
/// # Panics
/// Panics if it repeats one, or does not work; in CI also if ptrace is not permitted.
pub fn expect_no_nonce_twice(writer: Command, provider: Provider) {
    let what = format!("{writer:?}");
    match run(writer, provider) {
        Err(error) => panic!("{what}: {error}"),
        Ok(None) => crate::interop::skip(&what, "ptrace is not permitted here"),
        Ok(Some(batches)) => {
            assert!(batches.altered > 0, "{what}: no memory was restored");
            assert_eq!(batches.first.len(), BATCH);
            assert_eq!(batches.second.len(), BATCH);
            let repeated = batches.repeated();
            assert_eq!(repeated, 0, "{what}: nonces that repeat, of {BATCH}");
        }
    }
}

fn lines_until(output: &mut impl BufRead, end: &str) -> io::Result<Vec<String>> {
    let mut lines = Vec::new();
    loop {
        let mut line = String::new();
        if output.read_line(&mut line)? == 0 {
            return Err(io::Error::other(format!("the writer ended after {lines:?}")));
        }
        // With a writer in Rust, the test harness prints the beginning of the line that ends with `ready`.
        let line = line.trim_end();
        if line == end || line.ends_with(&format!(" {end}")) {
            return Ok(lines);
        }
        lines.push(line.to_owned());
    }
}

fn unhex(line: &str) -> Vec<u8> {
    let digits = line.as_bytes().as_chunks::<2>().0.iter();
    digits
        .map(|pair| {
            let pair = std::str::from_utf8(pair).expect("hexadecimal digits");
            u8::from_str_radix(pair, 16).expect("hexadecimal digits")
        })
        .collect()
}

/// Prints a batch in the writer's format.
///
/// # Errors
/// Returns an error if standard output is closed.
pub fn print_batch(values: &[Vec<u8>]) -> io::Result<()> {
    use std::fmt::Write as _;
    let mut text = String::new();
    for value in values {
        for byte in value {
            let _ = write!(text, "{byte:02x}");
        }
        text.push('\n');
    }
    text.push_str("done\n");
    let mut output = io::stdout().lock();
    output.write_all(text.as_bytes())?;
    output.flush()
}
