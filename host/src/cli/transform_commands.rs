//! `dekker encrypt` and `dekker decrypt`.

use std::process::ExitCode;

use anyhow::Context;
use clap::Args;
use dekker_cli::encrypt_warning::Written;
use dekker_cli::io::read_input;
use dekker_cli::key_help::{KeyHelp, Rules};
use dekker_cli::transform_args::{Place, SealWith, encrypt_with_dek, finish};
use dekker_cli::{Decryptor, Opened, ValueState, decrypt_command};
use tokio::runtime::Handle;
use zeroize::Zeroizing;

use super::EngineArgs;
use super::component_tools::Compiled;
use super::server_connection::ServerConnection;
use super::state_dir::StateDir;
use crate::config_file;
use crate::host::Host;
use crate::http::api::{FROM_STORAGE, TO_STORAGE};
use crate::kms::address::SocketAddress;
use crate::kms::embedded::PrivatePlugin;
use crate::kms::keyring::Keyring;
use crate::model::{Decrypted, ErrorKind, HostError, Location};

#[derive(Args)]
pub(super) struct EncryptArgs {
    #[command(flatten)]
    place: Place,
    #[command(flatten)]
    with: SealWith,
    #[command(flatten)]
    engine: Engine,
}

// The group of the arguments inside has the same name.
#[derive(Args)]
#[group(skip)]
pub(super) struct DecryptArgs {
    #[command(flatten)]
    args: decrypt_command::DecryptArgs,
    #[command(flatten)]
    engine: Engine,
}

/// Where the value is encrypted or decrypted: by a running server, or by an engine in this process.
#[derive(Args)]
struct Engine {
    /// Send the value to a running server instead: unix:///path
    #[arg(long, value_name = "ADDRESS", conflicts_with_all = ["encryption_provider_config", "component", "dek_file"])]
    connect: Option<SocketAddress>,
    #[command(flatten)]
    engine: EngineArgs,
}

pub(super) async fn encrypt(args: EncryptArgs) -> anyhow::Result<ExitCode> {
    let EncryptArgs { place, with, engine } = args;
    if let Some(dek_file) = &with.dek_file {
        let tools = Compiled::from_file(engine.engine.component.as_deref())?;
        return encrypt_with_dek(&tools, &place, dek_file, &with);
    }
    let plaintext = read_input(None)?;
    let at = location(&place);
    let encrypted = match engine.connect {
        Some(address) => {
            let mut connection = ServerConnection::open(address).await?;
            let encrypted = connection.ask(TO_STORAGE, &at, &plaintext).await??;
            let is_plaintext = *encrypted.bytes == *plaintext;
            Written { resource: &place.resource, has_rule: None, is_plaintext }.warn();
            encrypted
        }
        None => {
            let command = OneCommand::start(&engine.engine, Direction::Encrypt)?;
            let encrypted = command.host.to_storage(at.clone(), plaintext).await;
            let encrypted = match encrypted {
                Ok(encrypted) => Ok(encrypted),
                Err(error) => {
                    let help = command.host.help(&error, &at, None).await;
                    Err(decrypt_command::with_help(error.into(), &help))
                }
            };
            command.end().await;
            let encrypted = encrypted?;
            Written {
                resource: &place.resource,
                has_rule: Some(encrypted.has_rule),
                is_plaintext: encrypted.transformer_prefix.is_empty(),
            }
            .warn();
            Opened::without_state(
                Zeroizing::new(encrypted.stored),
                encrypted.key_id_hash.as_deref().map(str::to_owned),
            )
        }
    };
    finish(&encrypted, &mut std::io::stdout().lock())?;
    Ok(ExitCode::SUCCESS)
}

/// Decrypts the values of a file or of standard input, all with one engine or one connection.
pub(super) async fn decrypt(args: DecryptArgs) -> anyhow::Result<ExitCode> {
    let DecryptArgs { args, engine } = args;
    let runtime = Handle::current();
    if args.dek_file.is_some() {
        return blocking(move || {
            let tools = Compiled::from_file(engine.engine.component.as_deref())?;
            decrypt_command::run_with_dek(&tools, &args)
        })
        .await;
    }
    if let Some(address) = engine.connect {
        let connection = ServerConnection::open(address).await?;
        let mut through = ThroughServer { runtime, connection };
        return blocking(move || decrypt_command::run(&mut through, &args)).await;
    }
    let command = OneCommand::start(&engine.engine, Direction::Decrypt)?;
    let mut by_engine = ByEngine {
        runtime,
        host: command.host.clone(),
        has_asked_status: false,
        key_help: KeyHelp::default(),
    };
    let code = blocking(move || decrypt_command::run(&mut by_engine, &args)).await;
    command.end().await;
    code
}

/// Runs a loop that reads and writes files and waits for one value after another.
async fn blocking(
    run: impl FnOnce() -> anyhow::Result<ExitCode> + Send + 'static,
) -> anyhow::Result<ExitCode> {
    tokio::task::spawn_blocking(run).await.context("the command failed")?
}

/// Decrypts with an engine in this process, which decrypts each DEK only once.
struct ByEngine {
    runtime: Handle,
    host: Host,
    /// Whether the plugin's Status was waited for.
    has_asked_status: bool,
    /// The configuration of the command does not change.
    key_help: KeyHelp,
}

impl ByEngine {
    /// Decrypts values, whatever the plugin's Status is.
    ///
    /// Status determines only a value's state. If the plugin has decrypted the DEK before it answered Status, the value is read again after that
    /// answer, with the DEK that is now cached. A bad Status is printed if the state is unknown, and if the plugin's Decrypt fails too; only once for
    /// all values.
    async fn read(
        &mut self,
        values: &[(dekker_cli::Location<'_>, &[u8])],
    ) -> Result<Vec<Result<Decrypted, HostError>>, HostError> {
        let all = values.iter().map(|(at, stored)| (owned(*at), stored.to_vec()));
        let mut read = self.host.from_storage_many(all.collect()).await;
        let depends_on_plugin = read.iter().any(|read| match read {
            Ok(read) => read.state.is_none(),
            Err(HostError::Transform(error)) => error.kind == ErrorKind::Kms,
            Err(HostError::Trapped | HostError::Closed) => false,
        });
        if !depends_on_plugin || std::mem::replace(&mut self.has_asked_status, true) {
            return Ok(read);
        }
        for fault in self.host.health().await?.into_iter().filter_map(|check| check.fault) {
            eprintln!("the KMS plugin's Status, which decryption does not need: {fault}");
        }
        for (read, (at, stored)) in read.iter_mut().zip(values) {
            if read.as_ref().is_ok_and(|read| read.state.is_none()) {
                *read = self.host.from_storage(owned(*at), stored.to_vec()).await;
            }
        }
        Ok(read)
    }
}

impl Decryptor for ByEngine {
    fn decrypt(
        &mut self,
        at: dekker_cli::Location<'_>,
        stored: &[u8],
    ) -> anyhow::Result<anyhow::Result<Opened>> {
        self.decrypt_many(&[(at, stored)])?.pop().context("a value has no outcome")
    }

    fn decrypt_many(
        &mut self,
        values: &[(dekker_cli::Location<'_>, &[u8])],
    ) -> anyhow::Result<Vec<anyhow::Result<Opened>>> {
        let read = self.runtime.clone().block_on(self.read(values))?;
        let opened = |read: Result<Decrypted, HostError>| match read {
            Ok(decrypted) => Ok(Ok(Opened {
                bytes: decrypted.plaintext.into_zeroizing(),
                stale: decrypted.state.map(|_| decrypted.stale),
                state: decrypted.state.and_then(|state| ValueState::of_name(state.as_str())),
                key_id_hash: decrypted.key_id_hash.as_deref().map(str::to_owned),
            })),
            Err(error @ HostError::Closed) => Err(error.into()),
            Err(error) => Ok(Err(error.into())),
        };
        read.into_iter().map(opened).collect()
    }

    fn help(
        &mut self,
        error: &anyhow::Error,
        at: dekker_cli::Location<'_>,
        stored: &[u8],
    ) -> Vec<String> {
        let Some(HostError::Transform(error)) = error.downcast_ref() else {
            return Vec::new();
        };
        let status = || self.runtime.block_on(self.host.status()).ok();
        let rules = || Rules::of_status(&status()?);
        let mut help = self.host.kms_help(error);
        help.extend(self.key_help.of(error.kind.as_str(), at.resource, stored, rules));
        help
    }
}

/// Decrypts with a running server.
struct ThroughServer {
    runtime: Handle,
    connection: ServerConnection,
}

impl Decryptor for ThroughServer {
    fn decrypt(
        &mut self,
        at: dekker_cli::Location<'_>,
        stored: &[u8],
    ) -> anyhow::Result<anyhow::Result<Opened>> {
        self.runtime.block_on(self.connection.ask(FROM_STORAGE, &owned(at), stored))
    }

    fn decrypt_many(
        &mut self,
        values: &[(dekker_cli::Location<'_>, &[u8])],
    ) -> anyhow::Result<Vec<anyhow::Result<Opened>>> {
        if let [(at, stored)] = values {
            return Ok(vec![self.decrypt(*at, stored)?]);
        }
        self.runtime.block_on(self.connection.decrypt_many(values))
    }
}

fn owned(at: dekker_cli::Location<'_>) -> Location {
    Location { resource: at.resource.to_owned(), key: at.key.to_vec() }
}

fn location(place: &Place) -> Location {
    Location { resource: place.resource.clone(), key: place.key().to_vec() }
}

#[derive(Clone, Copy)]
enum Direction {
    Encrypt,
    Decrypt,
}

impl Direction {
    fn is_decrypt(self) -> bool {
        match self {
            Self::Encrypt => false,
            Self::Decrypt => true,
        }
    }
}

/// An engine for one value. If it needs Dekker's own plugin, it runs a private one, and does not touch what a server serves.
struct OneCommand {
    host: Host,
    plugin: Option<PrivatePlugin>,
}

impl OneCommand {
    /// Starts the engine. Decrypting only reads the state directory, so that values can be recovered from a read-only copy of it, and asks a plugin
    /// only for Status and Decrypt.
    fn start(engine: &EngineArgs, direction: Direction) -> anyhow::Result<Self> {
        if let Some(path) = &engine.encryption_provider_config {
            let content = config_file::read(path).map_err(anyhow::Error::msg)?;
            let builder = engine.builder(&content)?.read_only(direction.is_decrypt());
            let host = builder.build().with_context(|| path.display().to_string())?;
            return Ok(Self { host, plugin: None });
        }
        let one_shot = match direction {
            Direction::Encrypt => {
                let state_dir = engine.state_dir()?;
                let one_shot = state_dir.one_shot(Keyring::open_or_create)?;
                state_dir.configuration()?;
                one_shot
            }
            Direction::Decrypt => {
                StateDir::existing(engine.state_dir.as_deref())?.one_shot(Keyring::open)?
            }
        };
        let mut builder = engine.builder(&one_shot.content)?.read_only(direction.is_decrypt());
        if let Some(detour) = one_shot.detour() {
            builder = builder.detour(detour);
        }
        let host = builder.build().with_context(|| one_shot.path.display().to_string())?;
        Ok(Self { host, plugin: one_shot.plugin })
    }

    async fn end(self) {
        let Self { host, plugin } = self;
        host.close().await;
        if let Some(plugin) = plugin {
            plugin.stop().await;
        }
    }
}
