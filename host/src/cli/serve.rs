//! `dekker serve`.

use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use clap::{ArgAction, Args, value_parser};
use dekker_cli::Tools;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::access;
use super::banner::Banner;
use super::component_tools::Compiled;
use super::log::Log;
use super::state_dir::StateDir;
use super::{EngineArgs, announce};
use crate::config_file::{self, Content, Controller, PollNow, Timing};
use crate::host::{BuildError, Host, HostBuilder, WORKERS_MAX, default_workers};
use crate::http::listen::{Access, UnixSocket, raise_limit};
use crate::http::peer::PeerPolicy;
use crate::http::{api, health};
use crate::kms::address::SocketAddress;
use crate::kms::ownership::Ownership;
use crate::metrics::Metrics;

#[derive(Args)]
pub(super) struct ServeArgs {
    #[command(flatten)]
    engine: EngineArgs,
    /// Reload the configuration file when it changes
    #[arg(long, default_value_t = false, num_args = 0..=1, require_equals = true, default_missing_value = "true", action = ArgAction::Set)]
    encryption_provider_config_automatic_reload: bool,
    /// How often to poll the configuration file, in addition to watching it, such as 60s, 500ms or 5m
    #[arg(long, value_name = "DURATION", default_value = "60s", value_parser = parse_interval)]
    config_poll_interval: Duration,
    /// How long a changed configuration that can read less than the one in use, and so may be half-written, must stay unchanged before it
    /// takes effect; SIGHUP applies it at once
    #[arg(long, value_name = "DURATION", default_value = "60s", value_parser = parse_interval)]
    config_hold: Duration,
    /// Start even if keys that the state directory once had are missing: every value that needs one of them is lost. Use it for one start
    #[arg(long, conflicts_with = "encryption_provider_config")]
    init_keyring: bool,
    /// Where the transform API listens: unix:///path [default: api.sock in the state directory]
    #[arg(long, value_name = "ADDRESS")]
    listen: Option<SocketAddress>,
    /// A user who may use the transform API, in addition to this user; repeatable. The user must be able to reach the socket
    #[arg(long, value_name = "UID")]
    allow_uid: Vec<u32>,
    /// Who can connect to the API socket: the mode of its file, in octal [default: 0600; 0666 with --allow-uid, because the server checks
    /// each caller's uid; 0660 with --listen-group]
    #[arg(long, value_name = "MODE", value_parser = access::parse_mode)]
    listen_mode: Option<u32>,
    /// The group of the API socket's file
    #[arg(long, value_name = "GID")]
    listen_group: Option<u32>,
    /// The address for health, metrics and status, which show no secrets
    #[arg(long, value_name = "IP:PORT", default_value = "127.0.0.1:8081")]
    health_listen: SocketAddr,
    /// How many instances of the component may read and write at the same time [default: one for each core, at most 8]
    #[arg(long, value_name = "N", value_parser = value_parser!(u16).range(1..=WORKERS_MAX))]
    workers: Option<u16>,
    /// The ID of this server; metrics show its hash
    #[arg(long, value_name = "ID", default_value = "")]
    apiserver_id: String,
}

/// The bounds of an interval. The minimum prevents the file from being read constantly.
const INTERVALS: RangeInclusive<Duration> =
    Duration::from_millis(100)..=Duration::from_secs(24 * 60 * 60);

/// Parses an interval: numbers with units, such as `60s` or `1m 30s`.
fn parse_interval(text: &str) -> Result<Duration, String> {
    // humantime panics if the sum of the parts overflows.
    let is_short = text.len() <= 64;
    let is_small = text.split(|c: char| !c.is_ascii_digit()).all(|digits| digits.len() <= 9);
    let interval = if is_short && is_small {
        humantime::parse_duration(text)
            .map_err(|error| format!("expected a duration such as 60s: {error}"))?
    } else {
        Duration::MAX
    };
    if INTERVALS.contains(&interval) {
        Ok(interval)
    } else {
        Err("must be between 100ms and 24h".to_owned())
    }
}

impl EngineArgs {
    pub(super) fn state_dir(&self) -> anyhow::Result<StateDir> {
        StateDir::open(self.state_dir.as_deref())
    }

    /// Returns a builder with the settings shared by all commands that run an engine.
    pub(super) fn builder(&self, config: &Content) -> anyhow::Result<HostBuilder> {
        let builder = Host::builder()
            .config(config.bytes.as_slice())
            .dek_source(self.dek_source.into())
            .kms_coast(self.kms_coast.into())
            // One value at a time needs no workers. `serve` overrides this.
            .workers(0);
        match &self.component {
            Some(path) => Ok(builder.component(read_component(path)?)),
            None => Ok(builder),
        }
    }
}

pub(super) fn read_component(path: &Path) -> anyhow::Result<Vec<u8>> {
    std::fs::read(path).with_context(|| format!("cannot read the component {}", path.display()))
}

pub(super) async fn run(args: ServeArgs, log: Log) -> anyhow::Result<ExitCode> {
    let mut stopped = pin!(shutdown_signal()?);
    raise_limit();
    let state_dir = args.engine.state_dir()?;
    let socket = args.api_socket(&state_dir)?;
    let Source { path: config_path, plugin } = args.source(&state_dir).await?;
    let content = config_file::read(&config_path).map_err(anyhow::Error::msg)?;
    let metrics =
        Arc::new(Metrics::new(&args.apiserver_id).count_dropped_log_lines(move || log.dropped()));
    let host = args.host_builder(&content, &metrics)?.build();
    if let Err(BuildError::Faults(_)) = &host {
        args.log_warnings(&config_path, &content)?;
    }
    let host = host.with_context(|| config_path.display().to_string())?;
    metrics.config_loaded(&content.hash);
    if let Some(plugin) = &plugin {
        host.set_embedded_plugin(state_dir.kms_address(), plugin.standing());
    }

    let servers = Servers::start(&args, &socket, &host, &metrics).await?;
    let controller = FollowedFile::start(&args, &config_path, &host, &metrics)?;

    let reload = args.encryption_provider_config_automatic_reload;
    let banner = Banner {
        checks: &host.health().await?,
        socket: &socket.path,
        health: servers.health_address,
        state_dir: &state_dir,
        config: &config_path,
        poll_interval: reload.then_some(args.config_poll_interval),
        plugin: plugin.as_ref().map(|plugin| plugin.standing().borrow().clone()),
    };
    tokio::select! {
        () = &mut stopped => {}
        announced = announce(banner.to_string()) => {
            announced?;
            stopped.await;
        }
    }
    tracing::info!("stopping: requests in progress are finished first");
    servers.stop().await;
    controller.stop();
    // The engine ends before the plugin and before the runtime.
    host.close().await;
    if let Some(plugin) = plugin {
        plugin.stop().await;
    }
    Ok(ExitCode::SUCCESS)
}

/// Where the transform API listens, and who can reach its socket.
struct ApiSocket {
    path: PathBuf,
    access: Access,
}

/// The configuration file, and the plugin that it names if that is Dekker's own.
struct Source {
    path: PathBuf,
    plugin: Option<Ownership>,
}

impl ServeArgs {
    fn api_socket(&self, state_dir: &StateDir) -> anyhow::Result<ApiSocket> {
        let path = match &self.listen {
            None => state_dir.api_socket(),
            Some(SocketAddress::Path(path)) => path.clone(),
            Some(SocketAddress::Abstract(_)) => anyhow::bail!(
                "--listen takes unix:///path: an abstract socket has no mode to protect it"
            ),
        };
        let access = access::of(&self.allow_uid, self.listen_mode, self.listen_group)?;
        access::check_way(&path, &self.allow_uid)?;
        Ok(ApiSocket { path, access })
    }

    /// Without a configuration file, serves Dekker's own plugin and uses the configuration in the state directory.
    async fn source(&self, state_dir: &StateDir) -> anyhow::Result<Source> {
        if let Some(path) = &self.engine.encryption_provider_config {
            return Ok(Source { path: path.clone(), plugin: None });
        }
        let plugin = state_dir.serve_plugin(state_dir.kms_address(), self.init_keyring).await?;
        Ok(Source { path: state_dir.configuration()?, plugin: Some(plugin) })
    }

    /// Logs the warnings about a configuration that is not valid, which may name the mistake.
    fn log_warnings(&self, path: &Path, content: &Content) -> anyhow::Result<()> {
        let tools = Compiled::from_file(self.engine.component.as_deref())?;
        let reload = self.encryption_provider_config_automatic_reload;
        let findings = tools.check_config(&content.bytes, reload)?.into_iter();
        let warnings: Vec<_> = findings.filter(|finding| finding.is_warning).collect();
        config_file::log_warnings(path, &warnings);
        Ok(())
    }

    fn host_builder(
        &self,
        content: &Content,
        metrics: &Arc<Metrics>,
    ) -> anyhow::Result<HostBuilder> {
        Ok(self
            .engine
            .builder(content)?
            .automatic_reload(self.encryption_provider_config_automatic_reload)
            .workers(self.workers.map_or_else(default_workers, usize::from))
            .apiserver_id(self.apiserver_id.as_str())
            .metrics(metrics.clone()))
    }
}

/// The servers of the transform API and of health.
struct Servers {
    api: JoinHandle<()>,
    health: JoinHandle<()>,
    health_address: SocketAddr,
    /// Dropping the sender is the signal to stop.
    stop: watch::Sender<()>,
}

impl Servers {
    async fn start(
        args: &ServeArgs,
        socket: &ApiSocket,
        host: &Host,
        metrics: &Arc<Metrics>,
    ) -> anyhow::Result<Self> {
        let api_listener = UnixSocket::bind(&socket.path, socket.access)?;
        let health_listener = TcpListener::bind(args.health_listen).await.with_context(|| {
            format!(
                "cannot listen on {}: name another address with --health-listen",
                args.health_listen
            )
        })?;
        let health_address =
            health_listener.local_addr().context("cannot get the health address")?;
        let (stop, stop_rx) = watch::channel(());
        let until_stop = || {
            let mut stop = stop_rx.clone();
            async move { while stop.changed().await.is_ok() {} }
        };
        let peers = PeerPolicy::same_user_and(args.allow_uid.iter().copied());
        let (api_host, health_host) = (host.clone(), host.clone());
        let api = api::serve(api_listener, api_host, metrics.clone(), peers, until_stop());
        let health = health::serve(health_listener, health_host, metrics.clone(), until_stop());
        Ok(Self { api: tokio::spawn(api), health: tokio::spawn(health), health_address, stop })
    }

    /// Stops both servers after their requests in progress.
    async fn stop(self) {
        let Self { api, health, health_address: _, stop } = self;
        drop(stop);
        for server in [api, health] {
            if let Err(error) = server.await {
                tracing::error!(%error, "a server panicked");
            }
        }
    }
}

/// The tasks that follow the configuration file.
struct FollowedFile {
    /// `None` without automatic reload.
    controller: Option<JoinHandle<()>>,
    hangups: JoinHandle<()>,
}

impl FollowedFile {
    fn start(
        args: &ServeArgs,
        path: &Path,
        host: &Host,
        metrics: &Arc<Metrics>,
    ) -> anyhow::Result<Self> {
        let poll_now = Arc::<PollNow>::default();
        let controller = args.encryption_provider_config_automatic_reload.then(|| {
            let timing = Timing { interval: args.config_poll_interval, hold: args.config_hold };
            let (host, metrics) = (host.clone(), metrics.clone());
            let controller =
                Controller::new(path.to_owned(), timing, host, metrics, poll_now.clone());
            tokio::spawn(controller.run())
        });
        Ok(Self { controller, hangups: tokio::spawn(poll_on_hangup(poll_now)?) })
    }

    fn stop(self) {
        self.hangups.abort();
        if let Some(controller) = self.controller {
            controller.abort();
        }
    }
}

/// On SIGHUP, polls the file at once and confirms that it is complete. Without automatic reload, only logs the signal.
fn poll_on_hangup(poll_now: Arc<PollNow>) -> anyhow::Result<impl Future<Output = ()>> {
    let mut hangups = signal(SignalKind::hangup()).context("cannot listen for SIGHUP")?;
    Ok(async move {
        while hangups.recv().await.is_some() {
            tracing::info!("SIGHUP: checking the configuration file, if automatic reload is on");
            poll_now.confirm();
        }
    })
}

/// Returns a future that ends at SIGINT or SIGTERM. The signals are caught from the time of this call.
pub(super) fn shutdown_signal() -> anyhow::Result<impl Future<Output = ()>> {
    let mut interrupt = signal(SignalKind::interrupt()).context("cannot listen for SIGINT")?;
    let mut terminate = signal(SignalKind::terminate()).context("cannot listen for SIGTERM")?;
    Ok(async move {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn intervals_have_a_unit_and_bounds() {
        let table = [
            ("60s", Some(60_000)),
            ("500ms", Some(500)),
            ("5m", Some(300_000)),
            ("1h", Some(3_600_000)),
            ("100ms", Some(100)),
            ("24h", Some(86_400_000)),
            ("86400000ms", Some(86_400_000)),
            ("0060s", Some(60_000)),
            ("1m 30s", Some(90_000)),
            ("1.5s", Some(1500)),
            ("", None),
            ("60", None),
            ("0", None),
            ("s", None),
            ("60 seconds ago", None),
            ("99ms", None),
            ("86400001ms", None),
            ("25h", None),
            ("-1s", None),
            ("+1s", None),
            ("99999999999999999999s", None),
            ("18446744073709551615s 1000ms", None),
            ("584542046090y 99y", None),
            (&"500000000y ".repeat(100), None),
        ];
        for (text, expected) in table {
            assert_eq!(parse_interval(text).ok(), expected.map(Duration::from_millis), "{text}");
        }
    }
}
