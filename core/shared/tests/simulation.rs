//! Random histories of a shared engine, with threads, a plugin, files and time. The seed determines everything that happens.
//!
//! Every history must keep these promises:
//! - No nonce is used twice with one key.
//! - Every value is written by the first provider of the file that the control engine runs, and is readable by that engine and by a fresh engine with
//!   that file.
//! - Nothing is written later than three minutes after the last good Status.
//! - Every operation ends.
//!
//! `DEKKER_SEED=N` plays the history of seed `N`; `DEKKER_HISTORIES=N` plays `N` histories.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;

use dekker_core::Location;
use dekker_core::crypto::entropy::{Entropy, EntropyError};
use dekker_core::crypto::keys::DekSourceType;
use dekker_core::engine::event::{Action, CallError, EncryptResponse, Event, OpId, StatusResponse};
use dekker_core::engine::{Engine, Options};
use dekker_core::provider::kms::v2::envelope::EncryptedObject;
use dekker_core::time::Timestamp;
use dekker_ring::Ring;
use sha2::{Digest, Sha256};

use dekker_shared::{Control, Parts, SharedEngine};

/// The number of histories that a test run plays by default.
const HISTORIES: u64 = 300;
/// How long a write DEK may encrypt after the last good Status: 3 minutes.
const TTL: Duration = Duration::from_secs(180);
/// The maximum duration of an operation, 30 seconds. The plugin's three calls take nine of them.
const OPERATION_MAX: Duration = Duration::from_secs(30);
const AT: Location<'static> = Location { resource: "secrets", key: b"/registry/secrets/n/a" };
const KMS: &str = "k8s:enc:kms:v2:a:";

/// Different bytes each time. No check depends on their values.
struct Random;

impl Entropy for Random {
    fn fill(&self, bytes: &mut [u8]) -> Result<(), EntropyError> {
        fastrand::fill(bytes);
        Ok(())
    }
}

const PARTS: Parts = Parts { keys: || Box::new(Ring), entropy: || Box::new(Random) };

#[derive(Clone, PartialEq)]
struct File {
    text: Vec<u8>,
    /// The SHA-256 of `text`, in hexadecimal digits.
    hash: String,
    writes: String,
    reads: BTreeSet<String>,
}

impl File {
    /// Generates a file that can read values with any of the prefixes in `used`.
    fn random(random: &mut fastrand::Rng, used: &BTreeSet<String>) -> Self {
        let mut providers: Vec<(String, Vec<String>)> = Vec::new();
        if used.contains(KMS) || random.u8(..3) > 0 {
            let timeout = random.u8(3..5);
            let text = format!(
                "kms: {{apiVersion: v2, name: a, endpoint: 'unix:///a.sock', timeout: {timeout}s}}"
            );
            providers.push((text, vec![KMS.to_owned()]));
        }
        for (cipher, fill) in [
            ("aesgcm", "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZW"),
            ("secretbox", "YWFhYWFhYWFhYWFhYWFhYWFhYWFhYWFhYWFhYWFhYW"),
        ] {
            let prefix = |key: u8| format!("k8s:enc:{cipher}:v1:k{key}:");
            let mut keys: Vec<u8> = (0..3).filter(|key| used.contains(&prefix(*key))).collect();
            let another = random.u8(..3);
            if random.bool() && !keys.contains(&another) {
                keys.push(another);
            }
            random.shuffle(&mut keys);
            if keys.is_empty() {
                continue;
            }
            // Only the upper four bits of a key's last character are significant.
            let key = |key: &u8| {
                format!("{{name: k{key}, secret: {fill}{}=}}", ["E", "I", "M"][usize::from(*key)])
            };
            let listed: Vec<_> = keys.iter().map(key).collect();
            let text = format!("{cipher}: {{keys: [{}]}}", listed.join(", "));
            providers.push((text, keys.into_iter().map(prefix).collect()));
        }
        if providers.is_empty() {
            return Self::random(random, used);
        }
        random.shuffle(&mut providers);
        let list: Vec<_> = providers.iter().map(|(text, _)| format!("{{{text}}}")).collect();
        let text = format!(
            "apiVersion: apiserver.config.k8s.io/v1\nkind: EncryptionConfiguration\nresources:\n- resources: [secrets]\n  providers: [{}]\n",
            list.join(", ")
        );
        Self {
            hash: Sha256::digest(&text).iter().map(|byte| format!("{byte:02x}")).collect(),
            text: text.into_bytes(),
            writes: providers[0].1[0].clone(),
            reads: providers.into_iter().flat_map(|(_, reads)| reads).collect(),
        }
    }
}

/// A request to a thread.
enum Ask {
    Write(Vec<u8>, Timestamp),
    Read(Vec<u8>, Timestamp),
    Learn(Vec<u8>, Timestamp),
}

/// Handles the requests to one thread, one after another.
fn work(engine: &SharedEngine, asked: &Receiver<Ask>, answers: &Sender<Option<Vec<u8>>>) {
    for ask in asked {
        let answer = match ask {
            Ask::Write(plaintext, now) => {
                let written = engine.to_storage(AT, &plaintext, now);
                written.map(|written| written.stored.to_vec())
            }
            Ask::Read(stored, now) => {
                let read = engine.from_storage(AT, &stored, now);
                read.map(|read| read.plaintext.expose().to_vec())
            }
            Ask::Learn(stored, now) => {
                engine.learn(AT, &stored, now);
                None
            }
        };
        if answers.send(answer).is_err() {
            return;
        }
    }
}

struct Worker {
    ask: Sender<Ask>,
    answers: Receiver<Option<Vec<u8>>>,
}

impl Worker {
    fn ask(&self, ask: Ask) -> Option<Vec<u8>> {
        self.ask.send(ask).unwrap();
        self.answers.recv().unwrap()
    }
}

#[derive(Clone, Copy)]
enum Mood {
    Well,
    Down,
    Silent,
    Unhealthy,
    Slow(u64),
}

/// The plugin and the clock, as the control engine sees them.
struct Outside {
    now: Timestamp,
    mood: Mood,
    key: u32,
    on_their_way: BTreeMap<(Timestamp, u64), Event>,
    sent: u64,
    /// For each key ID, the time of the last Status call made while the plugin was healthy with that key ID.
    good: BTreeMap<String, Timestamp>,
    wrote: BTreeMap<u64, Result<Vec<u8>, String>>,
    read: BTreeMap<u64, Result<Vec<u8>, String>>,
}

fn turned(bytes: &[u8]) -> Vec<u8> {
    bytes.iter().map(|byte| !byte).collect()
}

impl Outside {
    /// Plays everything that is due within `time`.
    fn advance(&mut self, control: &mut Engine, time: Duration) {
        let end = self.now + time;
        loop {
            self.act(control);
            let event = self.on_their_way.keys().next().map(|(at, _)| *at);
            let timeout = control.poll_timeout();
            let next = event.into_iter().chain(timeout).min();
            match next.filter(|next| *next <= end) {
                Some(next) => self.now = self.now.max(next),
                None => break,
            }
            if event.is_some_and(|event| event <= self.now)
                && let Some((_, event)) = self.on_their_way.pop_first()
            {
                control.handle_event(event, self.now);
            } else {
                control.handle_timeout(self.now);
            }
        }
        self.now = end;
    }

    fn act(&mut self, control: &mut Engine) {
        while let Some(action) = control.poll_action() {
            let failed = || CallError { code: 14, message: "down".into() };
            let is_down = matches!(self.mood, Mood::Down);
            let event = match action {
                Action::CallStatus { call, .. } => {
                    let key_id = format!("key-{}", self.key);
                    let is_well = !matches!(self.mood, Mood::Unhealthy);
                    if is_well && !is_down {
                        self.good.insert(key_id.clone(), self.now);
                    }
                    let healthz = if is_well { "ok" } else { "tired" }.to_owned();
                    let outcome = match is_down {
                        true => Err(failed()),
                        false => Ok(StatusResponse { version: "v2".into(), healthz, key_id }),
                    };
                    Event::Status { call, outcome }
                }
                Action::CallEncrypt { call, plaintext, .. } => {
                    let outcome = match is_down {
                        true => Err(failed()),
                        false => Ok(EncryptResponse {
                            ciphertext: turned(plaintext.expose()),
                            key_id: format!("key-{}", self.key),
                            annotations: [].into(),
                        }),
                    };
                    Event::Encrypted { call, outcome }
                }
                Action::CallDecrypt { call, request, .. } => {
                    let outcome = match is_down {
                        true => Err(failed()),
                        false => Ok(turned(&request.ciphertext).into()),
                    };
                    Event::Decrypted { call, outcome }
                }
                Action::ToStorageDone { op, outcome } => {
                    let outcome = outcome.map(|done| done.stored.to_vec());
                    self.wrote.insert(op.0, outcome.map_err(|error| error.to_string()));
                    continue;
                }
                Action::FromStorageDone { op, outcome } => {
                    let outcome = outcome.map(|done| done.plaintext.expose().to_vec());
                    self.read.insert(op.0, outcome.map_err(|error| error.to_string()));
                    continue;
                }
                _ => continue,
            };
            self.sent += 1;
            let delay = match self.mood {
                Mood::Silent => continue,
                Mood::Slow(millis) => Duration::from_millis(millis),
                Mood::Well | Mood::Down | Mood::Unhealthy => Duration::ZERO,
            };
            self.on_their_way.insert((self.now + delay, self.sent), event);
        }
    }
}

struct History<'e> {
    random: fastrand::Rng,
    engine: &'e SharedEngine,
    workers: Vec<Worker>,
    outside: Outside,
    files: Vec<File>,
    written: Vec<(Vec<u8>, Vec<u8>)>,
    used: BTreeSet<String>,
    nonces: HashSet<(Vec<u8>, Vec<u8>)>,
    op: u64,
}

impl History<'_> {
    fn play(&mut self) -> Result<(), String> {
        for _ in 0..self.random.u32(5..50) {
            match self.random.u8(..12) {
                0..4 => self.write()?,
                4..6 => self.read(self.random.clone())?,
                6..8 => self.reload(),
                8 => self.outside.key = self.random.u32(..4),
                9 => self.turn(),
                _ => {
                    let time = [1000, 20_000, 100_000][self.random.usize(..3)];
                    let time = Duration::from_millis(self.random.u64(..time));
                    self.outside.advance(&mut self.engine.control(), time);
                }
            }
        }
        self.outside.mood = Mood::Well;
        self.outside.advance(&mut self.engine.control(), Duration::from_secs(60));
        self.end()
    }

    fn turn(&mut self) {
        self.outside.mood = match self.random.u8(..8) {
            0 => Mood::Down,
            1 => Mood::Silent,
            2 => Mood::Unhealthy,
            3 | 4 => Mood::Slow(self.random.u64(1..4000)),
            _ => Mood::Well,
        };
    }

    /// Offers one to three files. Each may come into use before the next one is offered. The guard is usually held throughout, so no worker catches
    /// up in between.
    fn reload(&mut self) {
        let mut control = self.engine.control();
        for _ in 0..self.random.u8(1..4) {
            let again = self.random.u8(..3) == 0;
            let file = match again {
                true => self.files[self.random.usize(..self.files.len())].clone(),
                false => File::random(&mut self.random, &self.used),
            };
            if !self.used.is_subset(&file.reads) {
                continue;
            }
            control.reload(&file.text, self.outside.now).unwrap();
            self.files.push(file);
            if self.random.bool() {
                let time = Duration::from_millis(self.random.u64(..2000));
                self.outside.advance(&mut control, time);
            }
            if self.random.u8(..4) == 0 {
                drop(control);
                control = self.engine.control();
            }
        }
        self.outside.act(&mut control);
    }

    fn running(&self, control: &mut Control<'_>) -> File {
        // The status names the file in use before the candidate.
        let status = control.status(self.outside.now);
        let (status, _) = status.split_once("candidateConfigHash").unwrap();
        let mut files = self.files.iter();
        files.find(|file| status.contains(&file.hash)).unwrap().clone()
    }

    fn write(&mut self) -> Result<(), String> {
        let plaintext: Vec<u8> = (0..self.random.usize(..20)).map(|_| self.random.u8(..)).collect();
        let worker = self.random.usize(..self.workers.len());
        let now = self.outside.now;
        let mut file = self.running(&mut self.engine.control());
        let by_worker = self.workers[worker].ask(Ask::Write(plaintext.clone(), now));
        let (stored, by, slack) = match by_worker {
            Some(stored) => (stored, "a worker", Duration::ZERO),
            None => {
                let mut control = self.engine.control();
                self.op += 1;
                let op = self.op;
                let written = match control.to_storage(OpId(op), AT, &plaintext, now) {
                    Some(written) => written
                        .map(|written| written.stored.to_vec())
                        .map_err(|error| error.to_string()),
                    None => {
                        self.outside.advance(&mut control, OPERATION_MAX);
                        self.outside.wrote.remove(&op).ok_or("a write did not end")?
                    }
                };
                // The file may have changed while the write waited, so either file may have written the value.
                let after = self.running(&mut control);
                let Ok(stored) = written else {
                    return Ok(());
                };
                if !stored.starts_with(file.writes.as_bytes()) {
                    file = after;
                }
                (stored, "the control engine", OPERATION_MAX)
            }
        };
        if !stored.starts_with(file.writes.as_bytes()) {
            let prefix = String::from_utf8_lossy(&stored[..20]).into_owned();
            return Err(format!(
                "{by} wrote with {prefix}, but the file in use writes with {}",
                file.writes
            ));
        }
        self.acknowledge(&file.writes, plaintext, stored, slack)
    }

    fn acknowledge(
        &mut self,
        prefix: &str,
        plaintext: Vec<u8>,
        stored: Vec<u8>,
        slack: Duration,
    ) -> Result<(), String> {
        let rest = &stored[prefix.len()..];
        let (key, nonce) = match prefix == KMS {
            true => {
                let object = EncryptedObject::decode(rest)
                    .map_err(|_| "the stored value is not an EncryptedObject")?;
                let data = &object.encrypted_data;
                // The key is derived from the seed and the info, which precedes the nonce.
                let len = if object.source_type == DekSourceType::AesGcmKey { 12 } else { 44 };
                let key_id = object.key_id.to_string();
                let last = self.outside.good.get(&key_id).copied();
                if last.is_none_or(|last| self.outside.now > last + TTL + slack) {
                    return Err("a write after the expiry of its DEK".into());
                }
                (object.encrypted_dek_source.to_vec(), data[..len].to_vec())
            }
            false => {
                let len = if prefix.contains("aesgcm") { 12 } else { 24 };
                (prefix.as_bytes().to_vec(), rest[..len].to_vec())
            }
        };
        if !self.nonces.insert((key, nonce)) {
            return Err(format!("a nonce twice: {prefix}"));
        }
        self.used.insert(prefix.to_owned());
        self.written.push((plaintext, stored));
        Ok(())
    }

    fn read(&mut self, mut random: fastrand::Rng) -> Result<(), String> {
        self.random.u8(..);
        if self.written.is_empty() {
            return Ok(());
        }
        let (plaintext, stored) = self.written[random.usize(..self.written.len())].clone();
        let worker = random.usize(..self.workers.len());
        let read = self.workers[worker].ask(Ask::Read(stored.clone(), self.outside.now));
        if let Some(read) = read {
            return if read == plaintext {
                Ok(())
            } else {
                Err("a worker decrypted a value to different bytes".into())
            };
        }
        if self.control_reads(&stored)?.is_ok_and(|read| read != plaintext) {
            return Err("the control engine decrypted a value to different bytes".into());
        }
        self.workers[worker].ask(Ask::Learn(stored, self.outside.now));
        Ok(())
    }

    fn control_reads(&mut self, stored: &[u8]) -> Result<Result<Vec<u8>, String>, String> {
        let mut control = self.engine.control();
        self.op += 1;
        let op = self.op;
        match control.from_storage(OpId(op), AT, stored, self.outside.now) {
            Some(read) => Ok(read
                .map(|read| read.plaintext.expose().to_vec())
                .map_err(|error| error.to_string())),
            None => {
                self.outside.advance(&mut control, OPERATION_MAX);
                self.outside.read.remove(&op).ok_or_else(|| "a read did not end".to_owned())
            }
        }
    }

    /// With a healthy plugin, every acknowledged value must be readable by the control engine and by a fresh engine.
    fn end(&mut self) -> Result<(), String> {
        self.write()?;
        let file = self.running(&mut self.engine.control());
        let fresh = SharedEngine::new(&file.text, Options::default(), PARTS, self.outside.now);
        let fresh = fresh.map_err(|faults| faults.to_string())?;
        self.outside.advance(&mut fresh.control(), Duration::from_secs(10));
        // Values that the file in use has no key for are skipped: the operator removed the key.
        let is_read = |stored: &[u8]| {
            let mut reads = file.reads.iter();
            reads.any(|prefix| stored.starts_with(prefix.as_bytes()))
        };
        let mut written = self.written.clone();
        written.retain(|(_, stored)| is_read(stored));
        for (plaintext, stored) in written {
            match self.control_reads(&stored)? {
                Ok(read) if read == plaintext => {}
                Ok(_) => {
                    return Err("the control engine decrypted a value to different bytes".into());
                }
                Err(error) => return Err(format!("the control engine cannot read: {error}")),
            }
            self.op += 1;
            let op = self.op;
            let mut control = fresh.control();
            let read = control.from_storage(OpId(op), AT, &stored, self.outside.now);
            let read = match read {
                Some(read) => read
                    .map(|read| read.plaintext.expose().to_vec())
                    .map_err(|error| error.to_string()),
                None => {
                    self.outside.advance(&mut control, OPERATION_MAX);
                    self.outside.read.remove(&op).ok_or("a read did not end")?
                }
            };
            match read {
                Ok(read) if read == plaintext => {}
                Ok(_) => return Err("a fresh engine decrypted a value to different bytes".into()),
                Err(error) => return Err(format!("a fresh engine cannot read: {error}")),
            }
        }
        Ok(())
    }
}

fn play(seed: u64) -> Result<usize, String> {
    let mut random = fastrand::Rng::with_seed(seed);
    let first = File::random(&mut random, &BTreeSet::new());
    let options = Options {
        reload: true,
        dek_source: match random.bool() {
            true => DekSourceType::AesGcmKey,
            false => DekSourceType::HkdfSha256XnonceAesGcmSeed,
        },
        ..Options::default()
    };
    let now = Timestamp::from_millis(1_767_323_045_000);
    let engine = SharedEngine::new(&first.text, options, PARTS, now);
    let engine = engine.map_err(|faults| faults.to_string())?;
    std::thread::scope(|scope| {
        let workers = (0..random.u8(1..4)).map(|_| {
            let (ask, asked) = channel();
            let (answer, answers) = channel();
            let engine = &engine;
            scope.spawn(move || work(engine, &asked, &answer));
            Worker { ask, answers }
        });
        let workers = workers.collect();
        let mut history = History {
            random,
            engine: &engine,
            workers,
            outside: Outside {
                now,
                mood: Mood::Well,
                key: 0,
                on_their_way: BTreeMap::new(),
                sent: 0,
                good: BTreeMap::new(),
                wrote: BTreeMap::new(),
                read: BTreeMap::new(),
            },
            files: vec![first],
            written: Vec::new(),
            used: BTreeSet::new(),
            nonces: HashSet::new(),
            op: 0,
        };
        history.play().map(|()| history.written.len())
    })
}

fn number(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{name}={text} is not a number")))
}

/// SplitMix64's step, which turns neighbouring numbers into unrelated seeds.
fn mixed(number: u64) -> u64 {
    let mut mixed = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

#[test]
fn histories_keep_every_promise() {
    if let Some(seed) = number("DEKKER_SEED") {
        play(seed).unwrap_or_else(|fault| panic!("DEKKER_SEED={seed}: {fault}"));
        return;
    }
    let first = number("DEKKER_FIRST_SEED").unwrap_or_else(|| fastrand::u64(..));
    let histories = number("DEKKER_HISTORIES").unwrap_or(HISTORIES);
    eprintln!("simulation: {histories} histories from DEKKER_FIRST_SEED={first}");
    let began = std::time::Instant::now();
    let mut writes = 0;
    for number in 0..histories {
        let seed = mixed(first.wrapping_add(number));
        match play(seed) {
            Ok(written) => writes += written,
            Err(fault) => panic!("after {} histories, DEKKER_SEED={seed}: {fault}", number + 1),
        }
    }
    let took = began.elapsed().as_secs_f64();
    eprintln!(
        "simulation: {histories} histories in {took:.1} s, {:.0} a second; {writes} acknowledged writes",
        histories as f64 / took
    );
}

#[test]
fn histories_that_once_broke_a_promise_keep_it() {
    // A worker continued with a file that had been replaced under the same guard.
    for seed in [6348298239648197933, 3300041140308929973, 9374818170643882753] {
        play(seed).unwrap_or_else(|fault| panic!("DEKKER_SEED={seed}: {fault}"));
    }
}
