//! `dekker encrypt` and `dekker decrypt`.

use std::process::ExitCode;

use anyhow::Context;
use clap::Args;
use dekker_cli::transform_args::{
    OpenWith, Place, SealWith, decrypt_with_dek, encrypt_with_dek, finish,
};
use dekker_cli::{Opened, ValueState};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Bytes;
use hyper::header::HOST;
use hyper_util::rt::TokioIo;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_encode};
use zeroize::Zeroizing;

use super::component_tools::Compiled;
use super::state_dir::StateDir;
use super::{EngineArgs, INPUT_MAX, read_input};
use crate::config_file;
use crate::host::Host;
use crate::http::api::{FROM_STORAGE, KEY_ID_HASH, STALE, STATE, TO_STORAGE};
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

#[derive(Args)]
pub(super) struct DecryptArgs {
    #[command(flatten)]
    place: Place,
    #[command(flatten)]
    with: OpenWith,
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

/// The characters that are percent-encoded in a query.
const ESCAPED: &AsciiSet =
    &NON_ALPHANUMERIC.remove(b'/').remove(b'-').remove(b'.').remove(b'_').remove(b'~');

pub(super) async fn encrypt(args: EncryptArgs) -> anyhow::Result<ExitCode> {
    let EncryptArgs { place, with, engine } = args;
    if let Some(dek_file) = &with.dek_file {
        let tools = Compiled::from_file(engine.engine.component.as_deref())?;
        return encrypt_with_dek(&tools, &place, dek_file, &with);
    }
    let plaintext = read_input(None)?;
    let at = location(&place);
    let encrypted = match &engine.connect {
        Some(address) => ask(address, TO_STORAGE, &at, &plaintext).await?,
        None => {
            let command = OneCommand::start(&engine.engine, Direction::Encrypt)?;
            let encrypted = command.host.to_storage(at, plaintext).await;
            command.end().await;
            let encrypted = encrypted?;
            Opened {
                bytes: Zeroizing::new(encrypted.stored),
                stale: None,
                state: None,
                key_id_hash: encrypted.key_id_hash,
            }
        }
    };
    finish(&encrypted)
}

pub(super) async fn decrypt(args: DecryptArgs) -> anyhow::Result<ExitCode> {
    let DecryptArgs { place, with, engine } = args;
    if let Some(dek_file) = &with.dek_file {
        let tools = Compiled::from_file(engine.engine.component.as_deref())?;
        return decrypt_with_dek(&tools, &place, dek_file);
    }
    let stored = read_input(None)?;
    let at = location(&place);
    let decrypted = match &engine.connect {
        Some(address) => ask(address, FROM_STORAGE, &at, &stored).await?,
        None => {
            let command = OneCommand::start(&engine.engine, Direction::Decrypt)?;
            let decrypted = command.decrypt(at, &stored).await;
            command.end().await;
            let decrypted = decrypted?;
            Opened {
                bytes: decrypted.plaintext.into_zeroizing(),
                stale: decrypted.state.map(|_| decrypted.stale),
                state: decrypted.state.and_then(|state| ValueState::of_name(state.as_str())),
                key_id_hash: decrypted.key_id_hash,
            }
        }
    };
    finish(&decrypted)
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

    /// Decrypts a value, whatever the plugin's Status is.
    ///
    /// Status determines only the value's state. If the plugin has decrypted the DEK before it answered Status, the value is read again after that
    /// answer, with the DEK that is now cached. A bad Status is printed if the state is unknown, and if the plugin's Decrypt fails too.
    async fn decrypt(&self, at: Location, stored: &[u8]) -> Result<Decrypted, HostError> {
        let read = self.host.from_storage(at.clone(), stored.to_vec()).await;
        let depends_on_plugin = match &read {
            Ok(read) => read.state.is_none(),
            Err(HostError::Transform(error)) => error.kind == ErrorKind::Kms,
            Err(HostError::Trapped | HostError::Closed) => false,
        };
        if !depends_on_plugin {
            return read;
        }
        for fault in self.host.health().await?.into_iter().filter_map(|check| check.fault) {
            eprintln!("the KMS plugin's Status, which decryption does not need: {fault}");
        }
        read?;
        self.host.from_storage(at, stored.to_vec()).await
    }

    async fn end(self) {
        let Self { host, plugin } = self;
        host.close().await;
        if let Some(plugin) = plugin {
            plugin.stop().await;
        }
    }
}

/// Sends one request to a running server.
async fn ask(
    address: &SocketAddress,
    path: &str,
    at: &Location,
    body: &[u8],
) -> anyhow::Result<Opened> {
    let stream = address.connect().await.with_context(|| {
        format!("cannot reach a server at {address}; is `dekker serve` running?")
    })?;
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
        .await
        .context("cannot speak HTTP with the server")?;
    let connection = tokio::spawn(connection);
    let resource = percent_encode(at.resource.as_bytes(), ESCAPED);
    let key = percent_encode(&at.key, ESCAPED);
    let request = hyper::Request::post(format!("{path}?resource={resource}&key={key}"))
        .header(HOST, "dekker")
        .body(Full::new(Bytes::copy_from_slice(body)))
        .context("cannot build the request")?;
    let response = sender.send_request(request).await.context("the server did not answer")?;
    let (head, body) = response.into_parts();
    let limit = usize::try_from(INPUT_MAX).unwrap_or(usize::MAX);
    let body = Limited::new(body, limit)
        .collect()
        .await
        .map_err(|error| anyhow::anyhow!("cannot read the server's answer: {error}"))?;
    let bytes = Zeroizing::new(Vec::from(body.to_bytes()));
    connection.abort();
    if !head.status.is_success() {
        let problem: Option<serde_json::Value> = serde_json::from_slice(&bytes).ok();
        let detail = problem
            .as_ref()
            .and_then(|problem| problem.get("detail"))
            .and_then(serde_json::Value::as_str);
        anyhow::bail!("the server answered {}: {}", head.status, detail.unwrap_or("no detail"));
    }
    let header = |name| head.headers.get(name).and_then(|value| value.to_str().ok());
    Ok(Opened {
        stale: header(STALE).map(|stale| stale == "true"),
        state: header(STATE).and_then(ValueState::of_name),
        key_id_hash: header(KEY_ID_HASH).map(str::to_owned),
        bytes,
    })
}
