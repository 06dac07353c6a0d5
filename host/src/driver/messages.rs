//! The messages that a driver receives.

use std::sync::Arc;

use dekker_keys::OpeningKey;
use tokio::sync::{mpsc, oneshot};
use zeroize::Zeroizing;

use crate::fault::{Fault, ReloadError};
use crate::guest::Event;
use crate::model::{Check, Decrypted, Encrypted, HostError, Location, MetricFamily};
use crate::workers::LeasedDek;

/// The channel on which the caller receives the result.
pub(crate) type Reply<T> = oneshot::Sender<Result<T, HostError>>;

/// A request from a [`Host`](crate::Host) handle to the driver. Requests for values and all other requests have separate queues, which take turns, so
/// at most one health, status or metrics request delays a value.
pub(crate) enum Request {
    ToStorage {
        op: u64,
        at: Location,
        plaintext: Zeroizing<Vec<u8>>,
        reply: Reply<Encrypted>,
    },
    FromStorage {
        op: u64,
        at: Location,
        stored: Vec<u8>,
        reply: Reply<Opened>,
    },
    Health {
        op: u64,
        reply: Reply<Vec<Check>>,
    },
    CheckNames {
        reply: Reply<Vec<String>>,
    },
    Status {
        reply: Reply<String>,
    },
    Metrics {
        reply: Reply<Vec<MetricFamily>>,
    },
    UnreadableAfter {
        config: Zeroizing<Vec<u8>>,
        reply: Reply<Judged>,
    },
    Reload {
        config: Zeroizing<Vec<u8>>,
        /// The hash of the configuration that must be in use for the offer to be accepted. `None` accepts any.
        over: Option<Arc<str>>,
        reply: Reply<Result<(), ReloadError>>,
    },
    ConfigsInUse {
        reply: Reply<ConfigsInUse>,
    },
    /// Requests a lease of a provider's write DEK for a worker.
    Lease {
        provider: String,
        reply: Reply<Option<LeasedDek>>,
    },
}

/// The result of a read.
pub(crate) struct Opened {
    pub(crate) decrypted: Decrypted,
    /// The DEK that opened the value, for a worker. Only for KMS.
    pub(crate) dek: Option<OpeningKey>,
}

/// A message that takes precedence over requests.
pub(crate) enum Control {
    /// A KMS call has ended. Results for earlier instances are ignored.
    Answer { incarnation: u64, event: Event },
    /// The caller has stopped waiting for this operation.
    Cancel(u64),
    /// The process or its machine was restored from a snapshot, or may have been.
    Restored,
    /// End the engine, even if other handles remain.
    Close,
}

/// The driver's ends of its queues.
pub(crate) struct Queues {
    /// Requests for values.
    pub(crate) values: mpsc::Receiver<Request>,
    /// All other requests.
    pub(crate) others: mpsc::Receiver<Request>,
    pub(crate) control: mpsc::UnboundedReceiver<Control>,
}

/// The hashes of the running configuration file and of the candidate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ConfigsInUse {
    pub(crate) running: Arc<str>,
    pub(crate) candidate: Option<Arc<str>>,
}

/// Which values a configuration file would make unreadable.
pub(crate) struct Judged {
    /// The hash of the configuration that the file was compared with.
    pub(crate) over: Arc<str>,
    pub(crate) outcome: Result<Vec<String>, Vec<Fault>>,
}
