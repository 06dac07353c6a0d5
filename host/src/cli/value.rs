//! `dekker encrypt` and `dekker decrypt`.

use std::process::ExitCode;

use anyhow::Context;
use clap::Args;
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Bytes;
use hyper::header::HOST;
use hyper_util::rt::TokioIo;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_encode};
use zeroize::Zeroizing;

use super::serve::Embedded;
use super::{EngineArgs, INPUT_MAX, read_input, write_output};
use crate::config_file;
use crate::http::api::{FROM_STORAGE, KEY_ID_HASH, STALE, TO_STORAGE};
use crate::kms::address::SocketAddress;
use crate::model::Location;

#[derive(Args)]
pub(super) struct ValueArgs {
    /// The resource, then its group: `secrets`, `deployments.apps`
    #[arg(long)]
    resource: String,
    /// The full storage key, such as `/registry/secrets/default/token`; the value is bound to it
    #[arg(long)]
    key: std::ffi::OsString,
    /// Ask a running server instead: unix:///path
    #[arg(long, value_name = "ADDRESS", conflicts_with_all = ["encryption_provider_config", "component"])]
    connect: Option<SocketAddress>,
    #[command(flatten)]
    engine: EngineArgs,
}

/// What a path or a query may hold unescaped.
const ESCAPED: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'/')
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~');

/// What either direction gives, beside the bytes.
struct Notes {
    stale: Option<bool>,
    key_id_hash: Option<String>,
}

pub(super) async fn encrypt(args: ValueArgs) -> anyhow::Result<ExitCode> {
    let plaintext = read_input(None)?;
    let at = args.location();
    let (stored, notes) = match &args.connect {
        Some(address) => ask(address, TO_STORAGE, &at, &plaintext).await?,
        None => {
            let (host, embedded) = args.host().await?;
            let encrypted = host.to_storage(at, plaintext).await?;
            end(host, embedded).await;
            (
                Zeroizing::new(encrypted.stored),
                Notes {
                    stale: None,
                    key_id_hash: encrypted.key_id_hash,
                },
            )
        }
    };
    finish(&stored, &notes)
}

pub(super) async fn decrypt(args: ValueArgs) -> anyhow::Result<ExitCode> {
    let stored = read_input(None)?;
    let at = args.location();
    let (plaintext, notes) = match &args.connect {
        Some(address) => ask(address, FROM_STORAGE, &at, &stored).await?,
        None => {
            let (host, embedded) = args.host().await?;
            let decrypted = host.from_storage(at, stored.to_vec()).await?;
            end(host, embedded).await;
            (
                decrypted.plaintext,
                Notes {
                    stale: Some(decrypted.stale),
                    key_id_hash: decrypted.key_id_hash,
                },
            )
        }
    };
    finish(&plaintext, &notes)
}

impl ValueArgs {
    fn location(&self) -> Location {
        use std::os::unix::ffi::OsStrExt;
        Location {
            resource: self.resource.clone(),
            key: self.key.as_bytes().to_vec(),
        }
    }

    async fn host(&self) -> anyhow::Result<(crate::host::Host, Embedded)> {
        let (path, embedded) = self.engine.configuration().await?;
        let content = config_file::read(&path).map_err(anyhow::Error::msg)?;
        let host = self
            .engine
            .builder(&content)?
            .build()
            .with_context(|| path.display().to_string())?;
        Ok((host, embedded))
    }
}

async fn end(host: crate::host::Host, embedded: Embedded) {
    drop(host);
    match embedded {
        Embedded::Running(plugin) => plugin.stop().await,
        Embedded::NotUsed | Embedded::Elsewhere => {}
    }
}

fn finish(bytes: &[u8], notes: &Notes) -> anyhow::Result<ExitCode> {
    write_output(bytes)?;
    let Notes { stale, key_id_hash } = notes;
    if let Some(stale) = stale {
        eprintln!("stale: {stale}");
    }
    if let Some(hash) = key_id_hash {
        eprintln!("key ID hash: {hash}");
    }
    Ok(ExitCode::SUCCESS)
}

/// One request to a running server.
async fn ask(
    address: &SocketAddress,
    path: &str,
    at: &Location,
    body: &[u8],
) -> anyhow::Result<(Zeroizing<Vec<u8>>, Notes)> {
    let stream = address.connect().await.with_context(|| {
        format!("cannot reach a server at {address}; is `dekker serve` running?")
    })?;
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
        .await
        .context("the server")?;
    let connection = tokio::spawn(connection);
    let resource = percent_encode(at.resource.as_bytes(), ESCAPED);
    let key = percent_encode(&at.key, ESCAPED);
    let request = hyper::Request::post(format!("{path}?resource={resource}&key={key}"))
        .header(HOST, "dekker")
        .body(Full::new(Bytes::copy_from_slice(body)))
        .context("the request")?;
    let response = sender
        .send_request(request)
        .await
        .context("the server gave no answer")?;
    let (head, body) = response.into_parts();
    let limit = usize::try_from(INPUT_MAX).unwrap_or(usize::MAX);
    let body = Limited::new(body, limit)
        .collect()
        .await
        .map_err(|error| anyhow::anyhow!("the server's answer: {error}"))?;
    let bytes = Zeroizing::new(Vec::from(body.to_bytes()));
    connection.abort();
    if !head.status.is_success() {
        let problem: Option<serde_json::Value> = serde_json::from_slice(&bytes).ok();
        let detail = problem
            .as_ref()
            .and_then(|problem| problem.get("detail"))
            .and_then(serde_json::Value::as_str);
        anyhow::bail!(
            "the server answered {}: {}",
            head.status,
            detail.unwrap_or("no detail")
        );
    }
    let header = |name| head.headers.get(name).and_then(|value| value.to_str().ok());
    let notes = Notes {
        stale: header(STALE).map(|stale| stale == "true"),
        key_id_hash: header(KEY_ID_HASH).map(str::to_owned),
    };
    Ok((bytes, notes))
}
