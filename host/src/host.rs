//! [`Host`]: a handle to a running engine that any task may use.

mod builder;
mod config;
mod help;
mod many;
mod service;
mod single_flight;

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::sync::{mpsc, oneshot, watch};
use zeroize::Zeroizing;

use self::help::{Explained, LogHelp, beginning};
use self::single_flight::SingleFlight;

pub(crate) use self::builder::WORKERS_MAX;
pub use self::builder::{BuildError, HostBuilder, KmsCoast, WriteDekSource, default_workers};

use crate::driver::{Control, KmsHelp, Opened, Reply, Request};
use crate::guest::Component;
use crate::kms::address::SocketAddress;
use crate::kms::ownership::Standing;
use crate::metrics::{Metrics, TransformationType, add_up};
use crate::model::{Check, Decrypted, Encrypted, HostError, Location, MetricFamily, Plaintext};
use crate::workers::{Attempt, LeasedDek, Workers};

/// The prefix of all stored KMS v2 values.
const KMS_V2: &[u8] = b"k8s:enc:kms:v2:";

/// A running component with one encryption configuration. Clones share the engine, which ends after the last clone is dropped.
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
    kms_help: Arc<KmsHelp>,
    explained: Explained,
    config_file: Mutex<Option<serde_json::Value>>,
    workers: Option<Arc<Workers>>,
    embedded_plugin: OnceLock<(SocketAddress, watch::Receiver<Standing>)>,
    /// For checks of configurations, which run in an instance without an engine.
    component: Component,
    /// Closed when the engine's thread has dropped the engine.
    ended: watch::Receiver<()>,
}

impl Host {
    /// Returns a builder for a host.
    pub fn builder() -> HostBuilder {
        HostBuilder::new()
    }

    /// Encrypts a value for storage. Dropping the future cancels the operation.
    ///
    /// # Errors
    /// Returns an error if the engine cannot encrypt the value, if the component traps, or if the engine has ended.
    pub async fn to_storage(
        &self,
        at: Location,
        plaintext: Zeroizing<Vec<u8>>,
    ) -> Result<Encrypted, HostError> {
        let start = std::time::Instant::now();
        let encrypted = self.write(at, plaintext.into()).await?;
        self.observe_write(&encrypted, start.elapsed(), 1);
        Ok(encrypted)
    }

    /// Decrypts a stored value. Dropping the future cancels the operation.
    ///
    /// # Errors
    /// Returns an error if the engine cannot decrypt the value, if the component traps, or if the engine has ended.
    pub async fn from_storage(
        &self,
        at: Location,
        stored: Vec<u8>,
    ) -> Result<Decrypted, HostError> {
        self.timed_read(at, stored, LogHelp::No).await
    }

    async fn timed_read(
        &self,
        at: Location,
        stored: Vec<u8>,
        log_help: LogHelp,
    ) -> Result<Decrypted, HostError> {
        let start = std::time::Instant::now();
        let decrypted = self.read(at, stored, log_help).await?;
        self.observe_read(&decrypted, start.elapsed(), 1);
        Ok(decrypted)
    }

    /// Ends the engine for every clone of this handle. Waits until the engine has erased its keys and closed its connections to the plugins.
    ///
    /// Pending operations fail with [`HostError::Closed`]. If `close` is not called, the engine ends by itself some time after the last clone is
    /// dropped.
    pub async fn close(self) {
        // If the driver is gone, the engine has already ended.
        let _ = self.0.control.send(Control::Close);
        let mut ended = self.0.ended.clone();
        while ended.changed().await.is_ok() {}
    }

    /// Encrypts the value in a worker if possible, and otherwise in the control instance.
    async fn write(&self, at: Location, plaintext: Plaintext) -> Result<Encrypted, HostError> {
        let workers = self.0.workers.as_deref();
        let mut attempted = None;
        if let Some(workers) = workers {
            match workers.to_storage(self, &at, &plaintext).await? {
                Attempt::Done(encrypted) => return Ok(encrypted),
                Attempt::NotMine(worker) => attempted = Some((workers, worker)),
            }
        }
        let plaintext = plaintext.into_zeroizing();
        let encrypted =
            self.operation(|op, reply| Request::ToStorage { op, at, plaintext, reply }).await?;
        if let (Some((workers, worker)), Some(_)) = (attempted, &encrypted.key_id_hash) {
            workers.renew(worker);
        }
        Ok(encrypted)
    }

    /// Decrypts the value in a worker if possible, and otherwise in the control instance.
    async fn read(
        &self,
        at: Location,
        stored: Vec<u8>,
        log_help: LogHelp,
    ) -> Result<Decrypted, HostError> {
        let Some(workers) = self.0.workers.as_deref() else {
            return self.read_in_control(at, stored, log_help).await.map(|opened| opened.decrypted);
        };
        if let Attempt::Done(decrypted) = workers.from_storage(self, &at, &stored).await? {
            return Ok(decrypted);
        }
        // Other values have no DEK that a worker could learn.
        if !stored.starts_with(KMS_V2) {
            return self.read_in_control(at, stored, log_help).await.map(|opened| opened.decrypted);
        }
        let (seen_at, seen) = (at.clone(), stored.clone());
        let Opened { decrypted, dek } = self.read_in_control(at, stored, log_help).await?;
        if let Some(dek) = dek {
            workers.learn(self, &seen_at, &seen, dek).await;
        }
        Ok(decrypted)
    }

    /// Decrypts the value in the control instance, which also returns every error.
    async fn read_in_control(
        &self,
        at: Location,
        stored: Vec<u8>,
        log_help: LogHelp,
    ) -> Result<Opened, HostError> {
        let seen = match log_help {
            LogHelp::Yes => Some((at.clone(), beginning(&stored).to_vec())),
            LogHelp::No => None,
        };
        let outcome =
            self.operation(|op, reply| Request::FromStorage { op, at, stored, reply }).await;
        if let (Err(error), Some((at, beginning))) = (&outcome, seen) {
            self.log_help(error, &at, &beginning).await;
        }
        outcome
    }

    /// Runs the KMS checks. Waits for the plugin if its last answer is too old. Callers that arrive during a run share its result; the run continues
    /// even if a caller goes away.
    ///
    /// # Errors
    /// Returns an error if the component traps or the engine has ended.
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

    /// Notifies the engine that this process, or its machine, was restored from a snapshot. Each write DEK is replaced before the next write, which
    /// waits for the new DEK. While a plugin is down, writes with that plugin are refused.
    ///
    /// The host also detects restores itself: by the kernel's notice of a new VM generation ID, by a time of day that runs ahead, or by a process
    /// that CRIU restored. This function is for programs that have better information.
    pub fn restored(&self) {
        // If the engine has ended, there is no DEK to replace.
        let _ = self.0.control.send(Control::Restored);
    }

    /// Returns the names of the KMS checks without running them.
    ///
    /// # Errors
    /// Returns an error if the component traps or the engine has ended.
    pub async fn check_names(&self) -> Result<Vec<String>, HostError> {
        self.ask(|reply| Request::CheckNames { reply }).await
    }

    /// Returns the number of workers; 0 with a self-contained component.
    pub fn workers(&self) -> usize {
        self.0.workers.as_ref().map_or(0, |workers| workers.count())
    }

    /// Returns what `/statusz` shows. Contains no secrets and no key IDs. As with [`Self::health`], concurrent callers share one run.
    ///
    /// # Errors
    /// Returns an error if the component traps or the engine has ended.
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
            if let Some(providers) =
                fields.get_mut("kmsProviders").and_then(serde_json::Value::as_array_mut)
            {
                help::add(providers, &self.0.kms_help.all());
            }
            if let Some(mut file) = self.config_file().clone() {
                // Use the hash from the same status, which may be newer than the controller's.
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

    /// Returns the engine's metrics. Contains no secrets and no key IDs. As with [`Self::health`], concurrent callers share one run. A busy worker is
    /// not waited for: what it has counted since its last report is included in a later run.
    ///
    /// # Errors
    /// Returns an error if the component traps or the engine has ended.
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

    /// Records the duration of an operation for the provider's prefix and, as upstream does, also for that of its named key.
    fn observe(
        &self,
        kind: TransformationType,
        provider: &str,
        key: Option<&str>,
        took: Duration,
        times: u64,
    ) {
        for prefix in std::iter::once(provider).chain(key) {
            self.0.metrics.observe_transformations(kind, prefix, took, times);
        }
    }

    /// Sets what `/statusz` reports about Dekker's own plugin, which this process serves or waits to serve. Only the first call has an effect.
    pub(crate) fn set_embedded_plugin(
        &self,
        address: SocketAddress,
        standing: watch::Receiver<Standing>,
    ) {
        // Ignore a second call.
        let _ = self.0.embedded_plugin.set((address, standing));
    }

    async fn operation<T>(
        &self,
        request: impl FnOnce(u64, Reply<T>) -> Request,
    ) -> Result<T, HostError> {
        let op = self.0.next_op.fetch_add(1, Ordering::Relaxed);
        let abandoned = Abandoned { op, control: &self.0.control };
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
    queue.send(request(reply)).await.map_err(|_| HostError::Closed)?;
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
    async fn lease(&self, provider: &str) -> Result<Option<LeasedDek>, HostError> {
        let provider = provider.to_owned();
        self.ask_for_value(|reply| Request::Lease { provider, reply }).await
    }
}

/// Cancels an operation if its caller's future is dropped before the operation ends.
struct Abandoned<'a> {
    op: u64,
    control: &'a mpsc::UnboundedSender<Control>,
}

impl Drop for Abandoned<'_> {
    fn drop(&mut self) {
        // If the driver is gone, there is nothing to cancel.
        let _ = self.control.send(Control::Cancel(self.op));
    }
}
