//! [`HostBuilder`]: collects the options of a [`Host`] and starts it.

use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::sync::{mpsc, watch};
use zeroize::Zeroizing;

use super::help::Explained;
use super::single_flight::SingleFlight;
use super::{Host, Shared};
use crate::driver::{Driver, Kms, KmsHelp, Queues};
use crate::fault::{Fault, ReloadError};
use crate::guest::{Coast, Component, DekSource, MEMORY_MAX, Options};
use crate::kms::address::Detour;
use crate::metrics::Metrics;

/// The capacity of the driver's queue of reads and writes, 1024. When it is full, callers wait to enqueue.
const VALUES_MAX: usize = 1024;
/// The capacity of the driver's queue of other requests, 64.
const OTHERS_MAX: usize = 64;

/// The minimum time between two health runs, 10 milliseconds. The engine itself reuses a plugin's answer for seconds.
const HEALTH_INTERVAL: Duration = Duration::from_millis(10);
/// The minimum time between two metrics runs, and between two status runs: 50 milliseconds.
const FIGURES_INTERVAL: Duration = Duration::from_millis(50);

/// The largest default number of workers, 8. With more, the bottleneck is memory, not the number of workers.
const WORKERS_DEFAULT_MAX: usize = 8;
/// The maximum number of workers, 256.
pub(crate) const WORKERS_MAX: i64 = 256;

/// Returns the number of cores that this process may use, but at most 8. Returns 1 if the number is unknown.
pub fn default_workers() -> usize {
    std::thread::available_parallelism().map_or(1, |cores| cores.get().min(WORKERS_DEFAULT_MAX))
}

/// The kind of new write DEKs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum WriteDekSource {
    /// An AES-256 key, with nonces of 4 random bytes and an 8-byte counter.
    #[default]
    Counter,
    /// A seed from which HKDF-SHA256 derives a key for each write, as in kube-apiserver since 1.29.
    HkdfSeed,
}

/// Whether a plugin that reports itself unhealthy can extend the life of its write DEK.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum KmsCoast {
    /// An unhealthy answer never extends the write DEK's life.
    #[default]
    Strict,
    /// As in kube-apiserver: an unhealthy answer with a valid key ID extends the write DEK's life.
    Upstream,
}

/// Builds a [`Host`]. Returned by [`Host::builder`].
#[derive(Clone)]
pub struct HostBuilder {
    config: Zeroizing<Vec<u8>>,
    component: Option<Vec<u8>>,
    options: Options,
    metrics: Option<Arc<Metrics>>,
    memory_limit: usize,
    workers: usize,
    detour: Option<Detour>,
}

impl HostBuilder {
    pub(super) fn new() -> Self {
        Self {
            config: Zeroizing::default(),
            component: None,
            options: Options {
                reload: false,
                dek_source: DekSource::Counter,
                coast: Coast::Strict,
                dek_cache_capacity: 0,
                apiserver_id: String::new(),
                read_only: false,
            },
            metrics: None,
            memory_limit: MEMORY_MAX,
            workers: default_workers(),
            detour: None,
        }
    }

    /// Sets the encryption configuration: the bytes of the file, YAML or JSON.
    #[must_use]
    pub fn config(mut self, bytes: impl Into<Vec<u8>>) -> Self {
        self.config = Zeroizing::new(bytes.into());
        self
    }

    /// Runs this component instead of the embedded one.
    #[must_use]
    pub fn component(mut self, bytes: impl Into<Vec<u8>>) -> Self {
        self.component = Some(bytes.into());
        self
    }

    /// Sets whether the configuration may be replaced by [`Host::reload`]. If so, the health checks are collapsed into one static check. Off by
    /// default, as in kube-apiserver.
    #[must_use]
    pub fn automatic_reload(mut self, reload: bool) -> Self {
        self.options.reload = reload;
        self
    }

    /// Sets the kind of new write DEKs.
    #[must_use]
    pub fn dek_source(mut self, source: WriteDekSource) -> Self {
        self.options.dek_source = match source {
            WriteDekSource::Counter => DekSource::Counter,
            WriteDekSource::HkdfSeed => DekSource::HkdfSeed,
        };
        self
    }

    /// Sets whether an unhealthy plugin's answers can extend the life of a write DEK.
    #[must_use]
    pub fn kms_coast(mut self, coast: KmsCoast) -> Self {
        self.options.coast = match coast {
            KmsCoast::Strict => Coast::Strict,
            KmsCoast::Upstream => Coast::Upstream,
        };
        self
    }

    /// Sets the maximum number of decrypted DEKs cached per KMS provider. Default: 100 000.
    #[must_use]
    pub fn dek_cache_capacity(mut self, capacity: std::num::NonZeroU32) -> Self {
        self.options.dek_cache_capacity = capacity.get();
        self
    }

    /// Sets the memory limit of each instance of the component, in bytes. Default: 512 MiB. A request that needs more traps: it fails, and a fresh
    /// instance takes over.
    #[must_use]
    pub fn memory_limit(mut self, bytes: usize) -> Self {
        self.memory_limit = bytes;
        self
    }

    /// Sets the number of workers: instances that encrypt and decrypt in parallel, besides the control instance that talks to the plugins and polls
    /// them. Default: [`default_workers`]. Maximum: 256. With 0, or with a self-contained component, the control instance handles all values, one at
    /// a time.
    ///
    /// There is one Status poll and one write DEK per provider, whatever the number of workers. Each worker has its own memory, up to
    /// [`Self::memory_limit`], and uses only as much as it needs.
    #[must_use]
    pub fn workers(mut self, workers: usize) -> Self {
        self.workers = workers.min(WORKERS_MAX as usize);
        self
    }

    /// Sets the API server ID, whose hash identifies this server in metrics. Default: empty.
    #[must_use]
    pub fn apiserver_id(mut self, id: impl Into<String>) -> Self {
        self.options.apiserver_id = id.into();
        self
    }

    /// Sets whether the host only decrypts. It then makes no DEK, never calls Encrypt of a plugin, and refuses writes with
    /// [`ErrorKind::ReadOnly`](crate::ErrorKind::ReadOnly). It still polls Status, for health and for the state of values, but decrypts and reloads
    /// whatever the plugin answers. The health check of a KMS v1 provider, which has no Status, reports the last Decrypt and passes before the first
    /// one. Off by default.
    #[must_use]
    pub fn read_only(mut self, read_only: bool) -> Self {
        self.options.read_only = read_only;
        self
    }

    /// Uses this metrics registry instead of a new one. It must have been created with the same API server ID.
    #[must_use]
    pub fn metrics(mut self, metrics: Arc<Metrics>) -> Self {
        self.metrics = Some(metrics);
        self
    }

    /// Redirects the calls to the KMS plugin at one address to another address.
    #[must_use]
    pub(crate) fn detour(mut self, detour: Detour) -> Self {
        self.detour = Some(detour);
        self
    }

    /// Loads the component and the configuration, and starts the engine's thread. The embedded component is precompiled; any other component is
    /// compiled here. When this returns, the first calls to the KMS plugins are in progress; reads and writes wait for their results.
    ///
    /// # Errors
    /// Returns [`BuildError::Component`] if the component cannot be compiled or run, [`BuildError::Faults`] with all errors in the configuration if
    /// it is invalid, and [`BuildError::Thread`] if the engine's thread cannot be started.
    ///
    /// # Panics
    /// Panics if called outside a tokio runtime.
    pub fn build(self) -> Result<Host, BuildError> {
        let Self { config, component, options, metrics, memory_limit, workers, detour } = self;
        let metrics = metrics.unwrap_or_else(|| Arc::new(Metrics::new(&options.apiserver_id)));
        let component = match component {
            Some(bytes) => Component::compile(&bytes, memory_limit),
            None => embedded(memory_limit),
        }
        .map_err(component_error)?;
        let (values, values_rx) = mpsc::channel(VALUES_MAX);
        let (others, others_rx) = mpsc::channel(OTHERS_MAX);
        let (control, control_rx) = mpsc::unbounded_channel();
        let kms_help = Arc::<KmsHelp>::default();
        let kms = Kms { help: kms_help.clone(), detour };
        let mut driver =
            Driver::new(component.clone(), options, config, metrics.clone(), control.clone(), kms)
                .map_err(component_error)?
                .map_err(|faults| BuildError::Faults(faults.iter().map(Fault::from).collect()))?;
        let workers = driver.start_workers(workers);
        let queues = Queues { values: values_rx, others: others_rx, control: control_rx };
        let ended = start(driver, queues).map_err(BuildError::Thread)?;
        let shared = Shared {
            values,
            others,
            control,
            runtime: Handle::current(),
            health: SingleFlight::new(HEALTH_INTERVAL),
            figures: SingleFlight::new(FIGURES_INTERVAL),
            status: SingleFlight::new(FIGURES_INTERVAL),
            next_op: AtomicU64::new(1),
            metrics,
            kms_help,
            explained: Explained::default(),
            config_file: Mutex::default(),
            workers,
            embedded_plugin: OnceLock::new(),
            component,
            ended,
        };
        Ok(Host(Arc::new(shared)))
    }
}

/// Loads the embedded component.
fn embedded(memory_limit: usize) -> wasmtime::Result<Component> {
    #[cfg(test)]
    if crate::simulation::seams::is_simulated() {
        return crate::simulation::seams::component(memory_limit);
    }
    Component::embedded(memory_limit)
}

/// Runs the driver on a dedicated thread. The returned receiver is closed when the driver and the guest have been dropped.
fn start(driver: Driver, queues: Queues) -> std::io::Result<watch::Receiver<()>> {
    let (ending, ended) = watch::channel(());
    let run = async move {
        driver.run(queues).await;
        drop(ending);
    };
    #[cfg(test)]
    if crate::simulation::seams::is_simulated() {
        crate::simulation::seams::spawn(run);
        return Ok(ended);
    }
    // The thread has its own runtime. With the caller's timers, it would panic if the caller's runtime ended first.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build()?;
    std::thread::Builder::new()
        .name("dekker-engine".to_owned())
        .spawn(move || runtime.block_on(run))?;
    Ok(ended)
}

fn component_error(error: wasmtime::Error) -> BuildError {
    BuildError::Component(format!("{error:#}"))
}

/// Why a [`Host`] could not be built.
#[derive(Debug)]
#[non_exhaustive]
pub enum BuildError {
    /// The component cannot be compiled or run.
    Component(String),
    /// The configuration is invalid; contains all errors.
    Faults(Vec<Fault>),
    /// The engine's thread could not be started.
    Thread(std::io::Error),
}

impl std::fmt::Display for BuildError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Component(error) => write!(f, "the component cannot be run: {error}"),
            Self::Faults(faults) => write!(f, "{}", ReloadError::Faults(faults.clone())),
            // The system's error is the source.
            Self::Thread(_) => f.write_str("the engine's thread cannot be started"),
        }
    }
}

impl std::error::Error for BuildError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Thread(error) => Some(error),
            Self::Component(_) | Self::Faults(_) => None,
        }
    }
}
