//! Histories of random steps, with checks after each step.

use std::collections::BTreeSet;
use std::time::Duration;

use dekker_core::crypto::keys::DekSourceType;
use dekker_core::engine::Options;
use dekker_core::provider::kms::v2::key_state::Coast;

use crate::entropy::Seeded;
use crate::face::Maker;
use crate::object::{EncryptedObject, Stored, sha256_text};
use crate::plugin::{Plugin, Reply};
use crate::sim::{Harness, file};

/// Three minutes: how long a write DEK may be used after the last good Status.
const TTL: Duration = Duration::from_secs(180);

/// How a plugin behaves.
#[derive(Clone, Copy, Debug)]
pub enum Mood {
    /// Works normally.
    Well,
    /// Every call fails.
    Down,
    /// No call is answered.
    Silent,
    /// `healthz` is not `ok`.
    Unhealthy,
    /// Encrypt returns a key ID that differs from the one in Status.
    Ahead,
    /// Decrypt fails, because Encrypt returns corrupted ciphertexts.
    Garbled,
    /// Decrypt returns another DEK than the one encrypted.
    Lying,
    /// Every answer takes this many milliseconds.
    Slow(u16),
}

/// One step of a history.
#[derive(Clone, Copy, Debug)]
pub enum Step {
    /// Writes a value: the first number selects one of a few storage keys, the second is the length in bytes.
    Write(u8, u8),
    /// Reads a value that was written earlier.
    Read(u16),
    /// Runs a health check.
    Health,
    /// Lets time pass, in milliseconds.
    Wait(u32),
    /// Lets time pass, in milliseconds, without calling the engine: the machine sleeps.
    Sleep(u32),
    /// Replaces a plugin (`false`: `a`; `true`: `b`) by one that reports version `v2` (`true`) or `v2beta1` (`false`).
    Replace(bool, bool),
    /// Changes how a plugin (`a` or `b`) behaves.
    Turn(bool, Mood),
    /// Rotates the KEK of a plugin (`a` or `b`) to one of a few.
    Rotate(bool, u8),
    /// Reloads one of the files that `files` lists.
    Reload(u8),
}

/// The files that a history may reload.
fn files() -> Vec<String> {
    let (a, b, plain) = (file::kms("a"), file::kms("b"), file::identity());
    let elsewhere = file::kms_at("a", "unix:///run/elsewhere.sock", "7s");
    vec![
        file::secrets(),
        file::secrets_with(&[a.clone(), b.clone(), plain.clone()]),
        file::secrets_with(&[b.clone(), a.clone()]),
        file::secrets_with(&[plain, a, b.clone()]),
        file::secrets_with(&[elsewhere, b]),
        "%%%".to_string(),
    ]
}

struct Written {
    key: String,
    plaintext: Vec<u8>,
    stored: Vec<u8>,
}

/// A running history: an engine with the plugins `a` and `b`.
pub struct History<'a> {
    maker: &'a dyn Maker,
    options: Options,
    h: Harness,
    seeded: Seeded,
    /// The acknowledged writes.
    written: Vec<Written>,
    headers: BTreeSet<(Vec<u8>, Vec<u8>)>,
    writes: Vec<(u64, String, Vec<u8>)>,
    reads: Vec<(u64, usize)>,
    checks: Vec<u64>,
}

const SLOWEST: Duration = Duration::from_secs(600);

impl<'a> History<'a> {
    /// Starts a history with both plugins healthy and the first file.
    pub fn new(maker: &'a dyn Maker, options: &Options) -> Self {
        let plugins = [("a", Plugin::new("needle-0")), ("b", Plugin::new("needle-0"))];
        Self {
            maker,
            options: options.clone(),
            h: Harness::new(maker, &files()[0], options, plugins),
            seeded: Seeded::new(7),
            written: Vec::new(),
            headers: BTreeSet::new(),
            writes: Vec::new(),
            reads: Vec::new(),
            checks: Vec::new(),
        }
    }

    /// Runs one step and checks the results.
    ///
    /// # Panics
    /// Panics if a promise is broken.
    pub fn play(&mut self, step: &Step) {
        match *step {
            Step::Write(key, len) => {
                let key = format!("/registry/secrets/n/{}", key % 3);
                let mut plaintext = vec![0; usize::from(len)];
                self.seeded.bytes(&mut plaintext);
                let op = self.h.begin_write("secrets", &key, &plaintext);
                self.writes.push((op, key, plaintext));
                self.collect(true);
            }
            Step::Read(which) if !self.written.is_empty() => {
                let which = usize::from(which) % self.written.len();
                let Written { key, stored, .. } = &self.written[which];
                let op = self.h.begin_read("secrets", key, stored);
                self.reads.push((op, which));
            }
            Step::Read(_) => {}
            Step::Health => self.checks.push(self.h.begin_health()),
            Step::Wait(millis) => self.h.advance(Duration::from_millis(millis.into())),
            Step::Sleep(millis) => self.h.now = self.h.now + Duration::from_millis(millis.into()),
            // Upstream rejects a changed version for the life of the process.
            Step::Replace(..) if self.options.coast == Coast::Upstream => {}
            Step::Replace(is_b, is_v2) => {
                self.plugin(is_b).version = if is_v2 { "v2" } else { "v2beta1" }.into();
            }
            Step::Turn(is_b, mood) => self.turn(is_b, mood),
            Step::Rotate(is_b, kek) => self.plugin(is_b).key_id = format!("needle-{}", kek % 4),
            Step::Reload(which) => {
                let files = files();
                let which = usize::from(which) % files.len();
                assert_eq!(self.h.reload(&files[which]).is_ok(), which != 5);
            }
        }
        self.collect(false);
    }

    fn plugin(&mut self, is_b: bool) -> &mut Plugin {
        self.h.plugin(if is_b { "b" } else { "a" })
    }

    fn turn(&mut self, is_b: bool, mood: Mood) {
        let plugin = self.plugin(is_b);
        plugin.up();
        plugin.healthz = "ok".into();
        plugin.delay = Duration::ZERO;
        match mood {
            Mood::Well => {}
            Mood::Down => plugin.down(),
            Mood::Silent => plugin.hang(),
            Mood::Unhealthy => plugin.healthz = "tired".into(),
            Mood::Ahead => plugin.on_encrypt(|mut answer| {
                answer.key_id = "needle-9".into();
                Reply::Answer(answer)
            }),
            Mood::Garbled => plugin.on_encrypt(|mut answer| {
                answer.ciphertext[15] ^= 1;
                Reply::Answer(answer)
            }),
            Mood::Lying => plugin.on_decrypt(|mut dek| {
                dek[0] ^= 1;
                Reply::Answer(dek)
            }),
            Mood::Slow(millis) => plugin.delay = Duration::from_millis(millis.into()),
        }
    }

    fn collect(&mut self, at_once: bool) {
        for (op, key, plaintext) in std::mem::take(&mut self.writes) {
            match self.h.written(op) {
                None => self.writes.push((op, key, plaintext)),
                Some(Err(_)) => {}
                Some(Ok(encrypted)) => {
                    self.check_write(&encrypted.stored, at_once);
                    let stored = encrypted.stored;
                    self.written.push(Written { key, plaintext, stored });
                }
            }
        }
        for (op, which) in std::mem::take(&mut self.reads) {
            match self.h.was_read(op) {
                None => self.reads.push((op, which)),
                Some(Err(_)) => {}
                Some(Ok(read)) => assert!(read.plaintext == self.written[which].plaintext),
            }
        }
        self.checks.retain(|op| self.h.checked(*op).is_none());
    }

    /// Checks the promises about an acknowledged write.
    fn check_write(&mut self, stored: &[u8], at_once: bool) {
        let Some((provider, object)) = parse(stored) else {
            return;
        };
        let nonce_len = match object.encrypted_dek_source_type {
            // Only the counter is guaranteed to keep nonces distinct.
            0 => 4..12,
            _ => 0..44,
        };
        let header = object.encrypted_data[nonce_len].to_vec();
        assert!(self.headers.insert((object.encrypted_dek_source, header)), "a nonce came twice");
        if at_once && self.options.coast == Coast::Strict {
            let who = (provider.to_string(), object.key_id);
            let last = self.h.good_status.get(&who).expect("a Status named its key ID");
            assert!(
                self.h.now.since(*last) <= TTL,
                "written {:?} after it",
                self.h.now.since(*last)
            );
        }
    }

    /// Ends all pending operations, then reads every acknowledged write again, here and in a new process.
    ///
    /// # Panics
    /// Panics if a promise is broken.
    pub fn end(mut self) {
        self.h.advance(SLOWEST);
        self.collect(false);
        assert!(
            self.writes.is_empty() && self.reads.is_empty() && self.checks.is_empty(),
            "all ends"
        );
        self.turn(false, Mood::Well);
        self.turn(true, Mood::Well);
        self.h.advance_secs(60);
        let all = &files()[1];
        self.h.reload(all).expect("valid");
        self.h.advance_secs(5);
        self.read_all();
        let plugins = std::mem::take(&mut self.h.plugins);
        let texts = self.h.texts.join("\n");
        assert!(!texts.contains("needle"), "a key ID in the clear");
        let mut next = Harness::seeded(self.maker, all, &self.options, [], 99);
        next.plugins = plugins;
        std::mem::swap(&mut self.h, &mut next);
        self.h.advance_secs(60);
        self.read_all();
    }

    fn read_all(&mut self) {
        let status = self.h.status();
        let current = |name: &str| {
            let providers = status["kmsProviders"].as_array().expect("a list");
            let one = providers.iter().find(|one| one["name"] == name && one["inUse"] == true);
            one.expect("in use")["writeDek"]["keyIdHash"].clone()
        };
        for Written { key, plaintext, stored } in &self.written {
            let read = self.h.try_read("secrets", key, stored).expect("an acknowledged write");
            assert!(read.plaintext == *plaintext, "it reads back");
            let stale = match parse(stored) {
                Some(("a", object)) => {
                    let type_now = match self.options.dek_source {
                        DekSourceType::AesGcmKey => 0,
                        DekSourceType::HkdfSha256XnonceAesGcmSeed => 1,
                    };
                    current("a") != sha256_text(object.key_id)
                        || object.encrypted_dek_source_type != type_now
                }
                Some(_) | None => true,
            };
            assert_eq!(read.stale, stale, "the right flag");
        }
    }
}

/// Returns the provider's name and the object; `None` for plaintext.
fn parse(stored: &[u8]) -> Option<(&'static str, EncryptedObject)> {
    ["a", "b"].into_iter().find_map(|name| {
        let prefix = format!("k8s:enc:kms:v2:{name}:");
        stored.starts_with(prefix.as_bytes()).then(|| (name, EncryptedObject::of(name, stored)))
    })
}
