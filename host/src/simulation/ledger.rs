//! Records what happens and checks it against the promises.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::faulty_plugin::FaultyPlugin;
use super::seams;
use super::stored::Stored;
use crate::model::Location;

/// How long a write DEK may be used after the last good Status request was sent, 3 minutes. Separate from core's constant, so that a change of that
/// one is detected.
const WRITE_DEK_TTL: Duration = Duration::from_secs(180);

/// The promises.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Promise {
    /// No nonce is used twice with one key.
    NonceOnce,
    /// Every acknowledged write can be read.
    Readable,
    /// No value is encrypted after the expiry of its DEK.
    NotExpired,
    /// Every operation ends.
    Ends,
    /// The status reports the configuration that is in use.
    InUse,
    /// After all faults have ended, the system recovers.
    Recovers,
}

/// A broken promise.
#[derive(Clone, Debug)]
pub(super) struct Broken {
    pub(super) promise: Promise,
    pub(super) text: String,
}

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}: {}", self.promise, self.text)
    }
}

/// An acknowledged write.
#[derive(Clone, Debug)]
pub(super) struct Written {
    pub(super) at: Location,
    pub(super) plaintext: Vec<u8>,
    pub(super) stored: Vec<u8>,
    /// The prefix of the stored value.
    pub(super) prefix: String,
}

/// The records of one history.
#[derive(Clone)]
pub(super) struct Ledger(Arc<Mutex<State>>);

struct State {
    plugins: BTreeMap<String, FaultyPlugin>,
    /// Whether an unhealthy Status extends a DEK's life.
    coasts: bool,
    written: Vec<Written>,
    /// Pairs of key and nonce.
    nonces: HashSet<(Vec<u8>, Vec<u8>)>,
    /// The prefixes of acknowledged writes.
    used: BTreeSet<String>,
    broken: Option<Broken>,
    trace: Vec<String>,
    failed: u32,
}

impl Ledger {
    pub(super) fn new(plugins: BTreeMap<String, FaultyPlugin>, coasts: bool) -> Self {
        Self(Arc::new(Mutex::new(State {
            plugins,
            coasts,
            written: Vec::new(),
            nonces: HashSet::new(),
            used: BTreeSet::new(),
            broken: None,
            trace: Vec::new(),
            failed: 0,
        })))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds a line to the trace. It must not depend on anything random except what the seed determines.
    pub(super) fn note(&self, text: impl fmt::Display) {
        let at = seams::boot_time().unwrap_or_default();
        let mut state = self.state();
        state.trace.push(format!("{:>9.3} {text}", at.as_secs_f64() - 3600.0));
    }

    pub(super) fn breaks(&self, promise: Promise, text: impl Into<String>) {
        let text = text.into();
        self.note(format_args!("BROKEN {promise:?}: {text}"));
        self.state().broken.get_or_insert(Broken { promise, text });
    }

    /// Returns the first broken promise.
    pub(super) fn broken(&self) -> Option<Broken> {
        self.state().broken.clone()
    }

    pub(super) fn trace(&self) -> Vec<String> {
        self.state().trace.clone()
    }

    pub(super) fn written(&self) -> Vec<Written> {
        self.state().written.clone()
    }

    pub(super) fn writes(&self) -> usize {
        self.state().written.len()
    }

    /// Returns the prefixes of acknowledged writes.
    pub(super) fn used(&self) -> BTreeSet<String> {
        self.state().used.clone()
    }

    pub(super) fn failed(&self) {
        self.state().failed += 1;
    }

    pub(super) fn failures(&self) -> u32 {
        self.state().failed
    }

    /// Records that a write that began at `begun` has just been acknowledged. Returns the prefix of the stored value.
    pub(super) fn acknowledge(
        &self,
        begun: Duration,
        at: &Location,
        plaintext: &[u8],
        stored: Vec<u8>,
    ) -> String {
        let Some(parsed) = Stored::parse(&stored) else {
            self.breaks(Promise::Readable, "a write returned something that is not a stored value");
            return String::new();
        };
        self.sees(&parsed);
        if let Some(late) = self.after_expiry(begun, &parsed) {
            self.breaks(
                Promise::NotExpired,
                format!("a write {late:?} after the expiry of its DEK"),
            );
        }
        let mut state = self.state();
        state.used.insert(parsed.prefix.clone());
        state.written.push(Written {
            at: at.clone(),
            plaintext: plaintext.to_vec(),
            stored,
            prefix: parsed.prefix.clone(),
        });
        parsed.prefix
    }

    /// Records that a value exists, acknowledged or not. Checks that its nonce is new.
    pub(super) fn sees(&self, value: &Stored) {
        let mut state = self.state();
        let key = match &value.kms {
            None => value.prefix.clone().into_bytes(),
            Some(kms) => {
                let plugin = kms_name(&value.prefix).and_then(|name| state.plugins.get(name));
                let dek = plugin.and_then(|plugin| plugin.dek(&kms.encrypted_dek_source));
                dek.map_or_else(|| kms.encrypted_dek_source.clone(), |dek| dek.to_vec())
            }
        };
        let is_new = state.nonces.insert((key, value.nonce.clone()));
        drop(state);
        if !is_new {
            let prefix = &value.prefix;
            self.breaks(Promise::NonceOnce, format!("a nonce was used twice: {prefix}"));
        }
    }

    /// Returns how long the DEK had expired when the write ended, according to the plugin's own record of its Status calls. Returns `None` if it had
    /// not expired.
    fn after_expiry(&self, begun: Duration, value: &Stored) -> Option<Duration> {
        let kms = value.kms.as_ref()?;
        let state = self.state();
        let plugin = state.plugins.get(kms_name(&value.prefix)?)?;
        let last = plugin.last_status(&kms.key_id, !state.coasts);
        let expiry = last.unwrap_or_default() + WRITE_DEK_TTL;
        let now = seams::earliest_end(begun)?;
        // The host's clock has a resolution of 1 ms.
        (now > expiry + Duration::from_millis(1)).then(|| now - expiry)
    }
}

fn kms_name(prefix: &str) -> Option<&str> {
    prefix.strip_prefix("k8s:enc:kms:v2:")?.strip_suffix(':')
}
