//! A running engine behind a handle that any task may use.

mod builder;
mod single_flight;

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::sync::{mpsc, oneshot, watch};
use zeroize::Zeroizing;

use self::single_flight::SingleFlight;

pub(crate) use self::builder::WORKERS_MAX;
pub use self::builder::{BuildError, HostBuilder, KmsCoast, WriteDekSource, default_workers};

use crate::driver::{ConfigsInUse, Control, Fault, Judged, ReloadError, Reply, Request};
use crate::guest::Lease;
use crate::http::Service;
use crate::kms::address::SocketAddress;
use crate::kms::ownership::Standing;
use crate::metrics::{Metrics, TransformationType, add_up};
use crate::model::{Check, Decrypted, Encrypted, HostError, Location, MetricFamily};
use crate::workers::{Attempt, DekId, Workers};

/// What the values of KMS v2 begin with.
const KMS_V2: &[u8] = b"k8s:enc:kms:v2:";

/// One encryption configuration at work in a component. Clones share it; it ends with the last of them.
///
/// ```
/// # tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap().block_on(async {
/// use dekker_host::{Host, Location};
///
/// let config = "
/// apiVersion: apiserver.config.k8s.io/v1
/// kind: EncryptionConfiguration
/// resources: [{resources: [secrets], providers: [{identity: {}}]}]";
/// let host = Host::builder().config(config).build()?;
/// let at = Location { resource: "secrets".into(), key: b"/registry/secrets/default/token".to_vec() };
/// let stored = host.to_storage(at.clone(), b"hunter2".to_vec().into()).await?.stored;
/// let read = host.from_storage(at, stored).await?;
/// assert_eq!((read.plaintext.as_slice(), read.stale), (b"hunter2".as_slice(), false));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// # }).unwrap();
/// ```
#[derive(Clone)]
pub struct Host(Arc<Shared>);

struct Shared {
    values: mpsc::Sender<Request>,
    others: mpsc::Sender<Request>,
    runtime: Handle,
    health: SingleFlight<Result<Vec<Check>, HostError>>,
    figures: SingleFlight<Result<Vec<MetricFamily>, HostError>>,
    status: SingleFlight<Result<serde_json::Value, HostError>>,
    control: mpsc::UnboundedSender<Control>,
    next_op: AtomicU64,
    metrics: Arc<Metrics>,
    config_file: Mutex<Option<serde_json::Value>>,
    workers: Option<Arc<Workers>>,
    embedded_plugin: OnceLock<(SocketAddress, watch::Receiver<Standing>)>,
    /// Closed when the engine's thread has dropped the engine.
    ended: watch::Receiver<()>,
}

impl Host {
    /// Builds a host.
    pub fn builder() -> HostBuilder {
        HostBuilder::new()
    }

    /// Encrypts a value for storage. A future that is dropped gives the operation up.
    ///
    /// # Errors
    /// What the engine found, or that it is not there.
    pub async fn to_storage(
        &self,
        at: Location,
        plaintext: Zeroizing<Vec<u8>>,
    ) -> Result<Encrypted, HostError> {
        let start = std::time::Instant::now();
        let encrypted = self.write(at, plaintext).await?;
        if encrypted.has_rule {
            let prefixes = (
                &*encrypted.transformer_prefix,
                encrypted.key_prefix.as_deref(),
            );
            self.observe(TransformationType::ToStorage, prefixes, start.elapsed());
        }
        Ok(encrypted)
    }

    /// Decrypts a stored value. A future that is dropped gives the operation up.
    ///
    /// # Errors
    /// What the engine found, or that it is not there.
    pub async fn from_storage(
        &self,
        at: Location,
        stored: Vec<u8>,
    ) -> Result<Decrypted, HostError> {
        let start = std::time::Instant::now();
        let decrypted = self.read(at, stored).await?;
        if decrypted.has_rule {
            let prefix = match &*decrypted.transformer_prefix {
                // Upstream has no name for it where it writes.
                "" => "identity",
                prefix => prefix,
            };
            let prefixes = (prefix, decrypted.key_prefix.as_deref());
            self.observe(TransformationType::FromStorage, prefixes, start.elapsed());
        }
        Ok(decrypted)
    }

    /// Ends the engine for every clone of this handle, and waits until it has erased its keys and closed its connections to the plugins.
    ///
    /// What is under way fails with [`HostError::Closed`]. Without it the engine ends by itself some time after the last clone is dropped.
    pub async fn close(self) {
        // Without a driver there is nothing to end.
        let _ = self.0.control.send(Control::Close);
        let mut ended = self.0.ended.clone();
        while ended.changed().await.is_ok() {}
    }

    /// By a worker, or as ever.
    async fn write(
        &self,
        at: Location,
        plaintext: Zeroizing<Vec<u8>>,
    ) -> Result<Encrypted, HostError> {
        let workers = self.0.workers.as_deref();
        let mut attempted = None;
        if let Some(workers) = workers {
            match workers.to_storage(self, &at, &plaintext).await? {
                Attempt::Done(encrypted) => return Ok(encrypted),
                Attempt::NotMine(worker) => attempted = Some((workers, worker)),
            }
        }
        let encrypted = self
            .operation(|op, reply| Request::ToStorage {
                op,
                at,
                plaintext,
                reply,
            })
            .await?;
        if let (Some((workers, worker)), Some(_)) = (attempted, &encrypted.key_id_hash) {
            workers.renew(worker);
        }
        Ok(encrypted)
    }

    /// By a worker, or as ever.
    async fn read(&self, at: Location, stored: Vec<u8>) -> Result<Decrypted, HostError> {
        let Some(workers) = self.0.workers.as_deref() else {
            return self.read_as_ever(at, stored).await;
        };
        if let Attempt::Done(decrypted) = workers.from_storage(self, &at, &stored).await? {
            return Ok(decrypted);
        }
        // Of the others there is nothing to learn.
        if !stored.starts_with(KMS_V2) {
            return self.read_as_ever(at, stored).await;
        }
        let (seen_at, seen) = (at.clone(), stored.clone());
        let decrypted = self.read_as_ever(at, stored).await?;
        let (at, stored) = (seen_at.clone(), seen.clone());
        let dek = self.ask_for_value(|reply| Request::KnownDek { at, stored, reply });
        if let Ok(Some(dek)) = dek.await {
            workers.learn(self, &seen_at, &seen, dek).await;
        }
        Ok(decrypted)
    }

    async fn read_as_ever(&self, at: Location, stored: Vec<u8>) -> Result<Decrypted, HostError> {
        self.operation(|op, reply| Request::FromStorage {
            op,
            at,
            stored,
            reply,
        })
        .await
    }

    /// Runs the KMS checks; waits for the plugin when its last answer is too old. All who ask while they run get what comes of that one run,
    /// whoever goes away meanwhile.
    ///
    /// # Errors
    /// When the engine is not there.
    pub async fn health(&self) -> Result<Vec<Check>, HostError> {
        let run = || {
            let host = self.clone();
            async move {
                let op = host.0.next_op.fetch_add(1, Ordering::Relaxed);
                host.ask(|reply| Request::Health { op, reply }).await
            }
        };
        let checks = self.0.health.join(&self.0.runtime, run).await;
        checks.unwrap_or(Err(HostError::Closed))
    }

    /// Says that this process, or the machine that it runs on, was restored from a snapshot: each write DEK is replaced before the next write,
    /// which waits for it; while a plugin is down, writes with it are refused. For a program that knows better than what the host sees itself:
    /// the kernel's word of a new VM generation ID, a time of day that runs ahead, or a process that CRIU made anew.
    pub fn restored(&self) {
        // Without an engine there is nothing to replace.
        let _ = self.0.control.send(Control::Restored);
    }

    /// The names of the KMS checks, without running them.
    ///
    /// # Errors
    /// When the engine is not there.
    pub async fn check_names(&self) -> Result<Vec<String>, HostError> {
        self.ask(|reply| Request::CheckNames { reply }).await
    }

    /// How many workers help. None with a self-contained component.
    pub fn workers(&self) -> usize {
        self.0.workers.as_ref().map_or(0, |workers| workers.count())
    }

    /// What `/statusz` shows. No secrets, no key IDs. As with [`Self::health`], one run is for all who ask meanwhile.
    ///
    /// # Errors
    /// When the engine is not there.
    pub async fn status(&self) -> Result<serde_json::Value, HostError> {
        let run = || {
            let host = self.clone();
            async move { host.status_now().await }
        };
        let status = self.0.status.join(&self.0.runtime, run).await;
        status.unwrap_or(Err(HostError::Closed))
    }

    async fn status_now(&self) -> Result<serde_json::Value, HostError> {
        let text = self.ask(|reply| Request::Status { reply }).await?;
        let mut status: serde_json::Value =
            serde_json::from_str(&text).map_err(|_| HostError::Trapped)?;
        if let Some(fields) = status.as_object_mut() {
            fields.insert("workers".to_owned(), self.workers().into());
            if let Some(mut file) = self.config_file().clone() {
                // Of the same moment as all else here, whatever the controller has heard of.
                file["loadedHash"] = fields.get("configHash").cloned().unwrap_or_default();
                fields.insert("configFile".to_owned(), file);
            }
            if let Some((address, standing)) = self.0.embedded_plugin.get() {
                let plugin = embedded_plugin(address, &standing.borrow());
                fields.insert("embeddedPlugin".to_owned(), plugin);
            }
        }
        Ok(status)
    }

    /// What the engine counts. No secrets, no key IDs. As with [`Self::health`], one run is for all who ask meanwhile. A worker at work is not
    /// waited for: what it counts since it was asked last comes with the next run.
    ///
    /// # Errors
    /// When the engine is not there.
    pub async fn metrics(&self) -> Result<Vec<MetricFamily>, HostError> {
        let run = || {
            let host = self.clone();
            async move { host.metrics_now().await }
        };
        let figures = self.0.figures.join(&self.0.runtime, run).await;
        figures.unwrap_or(Err(HostError::Closed))
    }

    async fn metrics_now(&self) -> Result<Vec<MetricFamily>, HostError> {
        let mut families = self.ask(|reply| Request::Metrics { reply }).await?;
        if let Some(workers) = &self.0.workers {
            add_up(&mut families, workers.metrics());
        }
        Ok(families)
    }

    /// Offers the bytes of a changed configuration, and waits until they are in use or refused. Requests go on meanwhile; after a refusal
    /// the old configuration serves on.
    ///
    /// # Errors
    /// The outer error when the engine is not there; the inner one says why the configuration was refused.
    pub async fn reload(
        &self,
        config: Zeroizing<Vec<u8>>,
    ) -> Result<Result<(), ReloadError>, HostError> {
        self.reload_over(config, None).await
    }

    /// The same, if the configuration in use is still the one of this hash; otherwise [`ReloadError::Overtaken`].
    pub(crate) async fn reload_over(
        &self,
        config: Zeroizing<Vec<u8>>,
        over: Option<Arc<str>>,
    ) -> Result<Result<(), ReloadError>, HostError> {
        self.ask(|reply| Request::Reload {
            config,
            over,
            reply,
        })
        .await
    }

    /// What the engine runs and looks at now.
    pub(crate) async fn configs_in_use(&self) -> Result<ConfigsInUse, HostError> {
        self.ask(|reply| Request::ConfigsInUse { reply }).await
    }

    /// Times an operation for the provider and, as upstream does, for its named key as well.
    fn observe(
        &self,
        kind: TransformationType,
        (provider, key): (&str, Option<&str>),
        took: Duration,
    ) {
        for prefix in std::iter::once(provider).chain(key) {
            self.0.metrics.observe_transformation(kind, prefix, took);
        }
    }

    /// What the running configuration reads and this one would not, a phrase each, such as
    /// `secrets: values that begin with "k8s:enc:aescbc:v1:key1:"`. Empty when nothing is lost.
    ///
    /// A file that is still being written may be valid, with its last keys, providers or rules missing. `dekker serve` lets such a file prove
    /// by its age that it is whole; a program that watches files of its own does well to ask as well.
    ///
    /// # Errors
    /// The outer error when the engine is not there; the inner one is every fault of the configuration.
    pub async fn unreadable_after(
        &self,
        config: Zeroizing<Vec<u8>>,
    ) -> Result<Result<Vec<String>, Vec<Fault>>, HostError> {
        Ok(self.judge(config).await?.outcome)
    }

    /// The same, and what it was compared with.
    pub(crate) async fn judge(&self, config: Zeroizing<Vec<u8>>) -> Result<Judged, HostError> {
        self.ask(|reply| Request::UnreadableAfter { config, reply })
            .await
    }

    /// What `/statusz` says of Dekker's own plugin, which this process serves or wants to serve. Once.
    pub(crate) fn set_embedded_plugin(
        &self,
        address: SocketAddress,
        standing: watch::Receiver<Standing>,
    ) {
        // A second one is not for this host.
        let _ = self.0.embedded_plugin.set((address, standing));
    }

    /// What `/statusz` says of the configuration file itself.
    pub(crate) fn set_config_file(&self, status: serde_json::Value) {
        *self.config_file() = Some(status);
    }

    fn config_file(&self) -> std::sync::MutexGuard<'_, Option<serde_json::Value>> {
        // A value is replaced whole, so what a panic left behind is whole as well.
        self.0
            .config_file
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    async fn operation<T>(
        &self,
        request: impl FnOnce(u64, Reply<T>) -> Request,
    ) -> Result<T, HostError> {
        let op = self.0.next_op.fetch_add(1, Ordering::Relaxed);
        let abandoned = Abandoned {
            op,
            control: &self.0.control,
        };
        let outcome = self.ask_for_value(|reply| request(op, reply)).await;
        std::mem::forget(abandoned);
        outcome
    }

    async fn ask<T>(&self, request: impl FnOnce(Reply<T>) -> Request) -> Result<T, HostError> {
        ask(&self.0.others, request).await
    }

    async fn ask_for_value<T>(
        &self,
        request: impl FnOnce(Reply<T>) -> Request,
    ) -> Result<T, HostError> {
        ask(&self.0.values, request).await
    }
}

async fn ask<T>(
    queue: &mpsc::Sender<Request>,
    request: impl FnOnce(Reply<T>) -> Request,
) -> Result<T, HostError> {
    let (reply, answer) = oneshot::channel();
    queue
        .send(request(reply))
        .await
        .map_err(|_| HostError::Closed)?;
    answer.await.map_err(|_| HostError::Closed)?
}

fn embedded_plugin(address: &SocketAddress, standing: &Standing) -> serde_json::Value {
    let (standing, fault) = match standing {
        Standing::Serving => ("serving", None),
        Standing::Elsewhere => ("elsewhere", None),
        Standing::Failed(fault) => ("failed", Some(fault)),
    };
    serde_json::json!({"address": address.to_string(), "standing": standing, "fault": fault})
}

impl crate::workers::Control for Host {
    async fn lease(&self, provider: &str) -> Result<Option<(DekId, Lease)>, HostError> {
        let provider = provider.to_owned();
        self.ask_for_value(|reply| Request::Lease { provider, reply })
            .await
    }
}

/// Gives an operation up when its caller's future is dropped before the end.
struct Abandoned<'a> {
    op: u64,
    control: &'a mpsc::UnboundedSender<Control>,
}

impl Drop for Abandoned<'_> {
    fn drop(&mut self) {
        // Without a driver there is nothing to give up.
        let _ = self.control.send(Control::Cancel(self.op));
    }
}

impl Service for Host {
    async fn to_storage(
        &self,
        at: Location,
        plaintext: Zeroizing<Vec<u8>>,
    ) -> Result<Encrypted, HostError> {
        Host::to_storage(self, at, plaintext).await
    }

    async fn from_storage(&self, at: Location, stored: Vec<u8>) -> Result<Decrypted, HostError> {
        Host::from_storage(self, at, stored).await
    }

    async fn health(&self) -> Result<Vec<Check>, HostError> {
        Host::health(self).await
    }

    async fn check_names(&self) -> Result<Vec<String>, HostError> {
        Host::check_names(self).await
    }

    async fn status(&self) -> Result<serde_json::Value, HostError> {
        Host::status(self).await
    }

    async fn metrics(&self) -> Result<Vec<MetricFamily>, HostError> {
        Host::metrics(self).await
    }
}
