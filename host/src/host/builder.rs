//! What a [`Host`] is made of, and how it starts.

use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::sync::{mpsc, watch};
use zeroize::Zeroizing;

use super::single_flight::SingleFlight;
use super::{Host, Shared};
use crate::driver::{Control, Driver, Fault, ReloadError, Request};
use crate::guest::{Coast, Component, DekSource, MEMORY_MAX, Options};
use crate::kms::address::Detour;
use crate::metrics::Metrics;

/// 1024: reads and writes that may wait for the driver; more wait in their callers.
const VALUES_MAX: usize = 1024;
/// 64: other requests that may.
const OTHERS_MAX: usize = 64;

/// 10 milliseconds: health is asked for no more often. The engine itself uses a plugin's answer for seconds.
const HEALTH_INTERVAL: Duration = Duration::from_millis(10);
/// 50 milliseconds: what is counted, and what `/statusz` shows, is asked for no more often.
const FIGURES_INTERVAL: Duration = Duration::from_millis(50);

/// 8: more workers than that wait for the same memory rather than for each other.
const WORKERS_DEFAULT_MAX: usize = 8;
/// 256: the most workers.
pub(crate) const WORKERS_MAX: i64 = 256;

/// One worker for each core that this process may use, at most 8.
pub fn default_workers() -> usize {
    std::thread::available_parallelism().map_or(1, |cores| cores.get().min(WORKERS_DEFAULT_MAX))
}

/// What a new write DEK is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum WriteDekSource {
    /// An AES-256 key, with nonces of 4 random bytes and an 8-byte counter.
    #[default]
    Counter,
    /// A seed from which a key is derived for each write, as kube-apiserver writes since 1.29.
    HkdfSeed,
}

/// How long a plugin that answers unhealthy may keep its DEK in use.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum KmsCoast {
    /// An unhealthy answer never extends the write DEK's life.
    #[default]
    Strict,
    /// As kube-apiserver does: an unhealthy answer with a valid key ID extends it.
    Upstream,
}

/// Builds a [`Host`]; [`Host::builder`] makes one.
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
            },
            metrics: None,
            memory_limit: MEMORY_MAX,
            workers: default_workers(),
            detour: None,
        }
    }

    /// The encryption configuration: the bytes of the file, YAML or JSON.
    #[must_use]
    pub fn config(mut self, bytes: impl Into<Vec<u8>>) -> Self {
        self.config = Zeroizing::new(bytes.into());
        self
    }

    /// Runs this component instead of the one that is part of this crate.
    #[must_use]
    pub fn component(mut self, bytes: impl Into<Vec<u8>>) -> Self {
        self.component = Some(bytes.into());
        self
    }

    /// The configuration may be replaced by [`Host::reload`]: health collapses to one static check. Off by default, as in kube-apiserver.
    #[must_use]
    pub fn automatic_reload(mut self, reload: bool) -> Self {
        self.options.reload = reload;
        self
    }

    /// What new write DEKs are.
    #[must_use]
    pub fn dek_source(mut self, source: WriteDekSource) -> Self {
        self.options.dek_source = match source {
            WriteDekSource::Counter => DekSource::Counter,
            WriteDekSource::HkdfSeed => DekSource::HkdfSeed,
        };
        self
    }

    /// How an unhealthy plugin's answers count.
    #[must_use]
    pub fn kms_coast(mut self, coast: KmsCoast) -> Self {
        self.options.coast = match coast {
            KmsCoast::Strict => Coast::Strict,
            KmsCoast::Upstream => Coast::Upstream,
        };
        self
    }

    /// Most decrypted DEKs kept per KMS provider; 100 000 unless set.
    #[must_use]
    pub fn dek_cache_capacity(mut self, capacity: std::num::NonZeroU32) -> Self {
        self.options.dek_cache_capacity = capacity.get();
        self
    }

    /// The most memory, in bytes, that the component may have; 512 MiB unless set. A request that needs more traps: it fails, and a fresh
    /// instance takes over.
    #[must_use]
    pub fn memory_limit(mut self, bytes: usize) -> Self {
        self.memory_limit = bytes;
        self
    }

    /// How many instances may read and write at the same time, beside the one that has the plugins and the polls; [`default_workers`] unless
    /// set. With 0, and with a self-contained component, that one does everything, a value at a time.
    ///
    /// Whatever they are in number, there is one Status poll and one DEK for each provider. Each has the memory that
    /// [`Self::memory_limit`] says, as far as it needs it.
    #[must_use]
    pub fn workers(mut self, workers: usize) -> Self {
        self.workers = workers.min(WORKERS_MAX as usize);
        self
    }

    /// Names this server in metrics, hashed. Empty unless set.
    #[must_use]
    pub fn apiserver_id(mut self, id: impl Into<String>) -> Self {
        self.options.apiserver_id = id.into();
        self
    }

    /// Counts in this registry instead of one of its own. It must have been made with the same API server id.
    #[must_use]
    pub fn metrics(mut self, metrics: Arc<Metrics>) -> Self {
        self.metrics = Some(metrics);
        self
    }

    /// Whatever KMS plugin the configuration has at one address is asked at another.
    #[must_use]
    pub(crate) fn detour(mut self, detour: Detour) -> Self {
        self.detour = Some(detour);
        self
    }

    /// Loads the component, which is compiled unless it is the embedded one, and the configuration, and starts the engine's thread. Its first calls to the KMS plugins are under way when
    /// this returns; reads and writes wait for their end.
    ///
    /// # Errors
    /// [`BuildError::Component`] when the component cannot be compiled or run; [`BuildError::Faults`] with every fault of the configuration.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    pub fn build(self) -> Result<Host, BuildError> {
        let Self {
            config,
            component,
            options,
            metrics,
            memory_limit,
            workers,
            detour,
        } = self;
        let metrics = metrics.unwrap_or_else(|| Arc::new(Metrics::new(&options.apiserver_id)));
        let component = match component {
            Some(bytes) => Component::compile(&bytes, memory_limit),
            None => embedded(memory_limit),
        }
        .map_err(component_error)?;
        let (values, values_rx) = mpsc::channel(VALUES_MAX);
        let (others, others_rx) = mpsc::channel(OTHERS_MAX);
        let (control, control_rx) = mpsc::unbounded_channel();
        let mut driver = Driver::new(
            component,
            options,
            config,
            metrics.clone(),
            control.clone(),
            detour,
        )
        .map_err(component_error)?
        .map_err(|faults| BuildError::Faults(faults.iter().map(Fault::from).collect()))?;
        let workers = driver.start_workers(workers);
        let ended =
            start(driver, [values_rx, others_rx], control_rx).map_err(BuildError::Thread)?;
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
            config_file: Mutex::default(),
            workers,
            embedded_plugin: OnceLock::new(),
            ended,
        };
        Ok(Host(Arc::new(shared)))
    }
}

/// The component that is part of this crate.
fn embedded(memory_limit: usize) -> wasmtime::Result<Component> {
    #[cfg(test)]
    if crate::simulation::seams::is_simulated() {
        return crate::simulation::seams::component(memory_limit);
    }
    Component::embedded(memory_limit)
}

/// Runs the driver on a thread of its own. What it returns is closed when driver and guest are gone.
fn start(
    driver: Driver,
    requests: [mpsc::Receiver<Request>; 2],
    control: mpsc::UnboundedReceiver<Control>,
) -> std::io::Result<watch::Receiver<()>> {
    let (ending, ended) = watch::channel(());
    let run = async move {
        driver.run(requests, control).await;
        drop(ending);
    };
    #[cfg(test)]
    if crate::simulation::seams::is_simulated() {
        crate::simulation::seams::spawn(run);
        return Ok(ended);
    }
    // A runtime of its own: with the timers of the caller's it would panic when that runtime ends first.
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()?;
    std::thread::Builder::new()
        .name("dekker-engine".to_owned())
        .spawn(move || runtime.block_on(run))?;
    Ok(ended)
}

fn component_error(error: wasmtime::Error) -> BuildError {
    BuildError::Component(format!("{error:#}"))
}

/// Why there is no [`Host`].
#[derive(Debug)]
#[non_exhaustive]
pub enum BuildError {
    /// The component cannot be compiled or run.
    Component(String),
    /// Every fault of the configuration.
    Faults(Vec<Fault>),
    /// No thread could be started.
    Thread(std::io::Error),
}

impl std::fmt::Display for BuildError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Component(error) => write!(f, "the component cannot be run: {error}"),
            Self::Faults(faults) => write!(f, "{}", ReloadError::Faults(faults.clone())),
            Self::Thread(error) => write!(f, "the engine's thread cannot be started: {error}"),
        }
    }
}

impl std::error::Error for BuildError {}
