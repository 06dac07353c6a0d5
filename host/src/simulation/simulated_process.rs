//! A simulated process: a host and the controller of its file.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::task::AbortHandle;

use super::seams;
use crate::cli::simulated::{self, OneShot, Own};
use crate::config_file::{self, Controller, PollNow, Timing};
use crate::host::{Host, HostBuilder, KmsCoast, WriteDekSource};
use crate::metrics::Metrics;

/// The options of a history's processes.
#[derive(Clone, Debug)]
pub(super) struct Options {
    pub(super) dek_source: WriteDekSource,
    pub(super) coast: KmsCoast,
    pub(super) workers: usize,
    pub(super) reload: bool,
    pub(super) interval: Duration,
    pub(super) hold: Duration,
    pub(super) memory_limit: usize,
    pub(super) file: PathBuf,
    /// The state directory, if the plugin is Dekker's own.
    pub(super) own: Option<PathBuf>,
}

/// A running `dekker serve`, without its sockets.
pub(super) struct Server {
    pub(super) name: String,
    pub(super) host: Host,
    /// The hash of the file that it started with.
    pub(super) began_with: String,
    pub(super) reloads: bool,
    poll_now: Arc<PollNow>,
    tasks: Vec<AbortHandle>,
    own: Option<Own>,
    state_dir: Option<PathBuf>,
}

impl Server {
    /// Starts a server.
    ///
    /// # Errors
    /// Returns an error in the same cases as the command.
    pub(super) async fn start(name: String, options: &Options) -> Result<Self, String> {
        let (path, own) = begin(options).await?;
        let metrics = Arc::new(Metrics::new(""));
        let built = config_file::read(&path).and_then(|content| {
            let host = builder(options, &content.bytes)
                .metrics(metrics.clone())
                .automatic_reload(options.reload)
                .workers(options.workers)
                .build();
            Ok((content, host.map_err(|error| error.to_string())?))
        });
        let (content, host) = match built {
            Ok(built) => built,
            Err(error) => {
                end_own(own, options).await;
                return Err(error);
            }
        };
        let mut tasks = seams::spawned();
        let poll_now = Arc::<PollNow>::default();
        if options.reload {
            let controller = Controller::new(
                path,
                Timing { interval: options.interval, hold: options.hold },
                host.clone(),
                metrics,
                poll_now.clone(),
            );
            tasks.push(tokio::spawn(controller.run()).abort_handle());
        }
        Ok(Self {
            name,
            host,
            began_with: content.hash,
            reloads: options.reload,
            poll_now,
            tasks,
            own,
            state_dir: options.own.clone(),
        })
    }

    /// Hints that the file may have changed, as the watcher does.
    pub(super) fn hint(&self) {
        self.poll_now.hint();
    }

    /// Acts as on SIGHUP.
    pub(super) fn hang_up(&self) {
        self.poll_now.confirm();
    }

    /// Ends the server as with `kill -9`.
    pub(super) async fn kill(self) {
        for task in &self.tasks {
            task.abort();
        }
        drop(self.host);
        if let (Some(own), Some(state_dir)) = (self.own, &self.state_dir) {
            kill_own(own, state_dir).await;
        }
    }

    /// Stops the server as on SIGTERM.
    pub(super) async fn stop(self) {
        let Self { host, tasks, own, .. } = self;
        // The first task is the driver. Abort the other one, the controller.
        for task in tasks.iter().skip(1) {
            task.abort();
        }
        host.close().await;
        if let Some(own) = own {
            own.stop().await;
        }
    }
}

/// Ends the ownership of the plugin as with `kill -9`: its connections are closed and its lock is released, but the file of its socket remains.
async fn kill_own(own: Own, state_dir: &Path) {
    let served = own.is_owner();
    own.kill().await;
    if !served {
        return;
    }
    let socket = state_dir.join("kms.sock");
    seams::cut(&socket);
    yields().await;
    if !socket.exists() {
        // Leave the file of a socket on which no process listens. If another process has taken over in the meantime, its socket is already there.
        drop(std::os::unix::net::UnixListener::bind(socket));
    }
}

/// Ends a process that failed to start.
async fn end_own(own: Option<Own>, options: &Options) {
    if let (Some(own), Some(state_dir)) = (own, &options.own) {
        kill_own(own, state_dir).await;
    }
}

/// Lets all tasks run as far as they can without the time advancing.
pub(super) async fn yields() {
    for _ in 0..50 {
        tokio::task::yield_now().await;
    }
}

/// Runs a command that does one thing and ends.
pub(super) async fn one_shot<T>(
    options: &Options,
    work: impl AsyncFnOnce(&Host) -> T,
) -> Result<T, String> {
    let OneShot { content, detour, plugin } = match &options.own {
        None => OneShot { content: config_file::read(&options.file)?, detour: None, plugin: None },
        Some(state_dir) => simulated::one_shot(state_dir).map_err(|error| format!("{error:#}"))?,
    };
    let mut builder = builder(options, &content.bytes).workers(0);
    if let Some(detour) = detour {
        builder = builder.detour(detour);
    }
    let done = match builder.build() {
        Ok(host) => {
            seams::spawned();
            let done = work(&host).await;
            host.close().await;
            Ok(done)
        }
        Err(error) => Err(error.to_string()),
    };
    if let Some(plugin) = plugin {
        plugin.stop().await;
    }
    done
}

async fn begin(options: &Options) -> Result<(PathBuf, Option<Own>), String> {
    match &options.own {
        None => Ok((options.file.clone(), None)),
        Some(state_dir) => {
            let begun = simulated::serve(state_dir).await;
            let (path, own) = begun.map_err(|error| format!("{error:#}"))?;
            Ok((path, Some(own)))
        }
    }
}

fn builder(options: &Options, config: &[u8]) -> HostBuilder {
    Host::builder()
        .config(config)
        .dek_source(options.dek_source)
        .kms_coast(options.coast)
        .memory_limit(options.memory_limit)
}
