//! KMS over gRPC: the client of KMS plugins, and Dekker's own plugin.
//!
//! [`client`] talks to any KMS plugin on a unix socket. [`plugin`] is Dekker's own, with its key-encryption keys in a file ([`keyring`]);
//! kube-apiserver can use it too. `claim` claims a socket path without taking it from a running server. `ownership` ensures that, of several
//! processes, one always serves it.

pub mod address;
mod bounds;
pub(crate) mod claim;
pub mod client;
pub(crate) mod dial;
pub(crate) mod embedded;
pub mod keyring;
pub(crate) mod ownership;
pub mod plugin;

use std::path::Path;
use std::time::Duration;

use anyhow::Context;
use dekker_proto::plugin::CountsRequest;
use dekker_proto::plugin::introspection_client::IntrospectionClient;
use tonic::Code;

use address::SocketAddress;
use client::KmsClient;
use keyring::Keyring;
use plugin::Counts;

/// 3 seconds: upstream's default timeout of a KMS provider (apiserver/v1 `defaultTimeout`), which is long for a local socket.
const STATUS_TIMEOUT: Duration = Duration::from_secs(3);

/// The result of [`plugin_status`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PluginStatus {
    /// The API version that the plugin reports.
    pub version: String,
    /// `ok`, or the reason that the plugin reports.
    pub healthz: String,
    /// `sha256:<hex>` of the current key ID.
    pub key_id_hash: String,
    /// The plugin's call counts; `None` if it is not Dekker's plugin.
    pub counts: Option<Counts>,
}

/// The result of [`rotate`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rotated {
    /// `sha256:<hex>` of the new current key ID.
    pub key_id_hash: String,
    /// The number of keys in the keyring, including the new one.
    pub keys: usize,
}

/// Queries the state of the plugin at `address`, once.
///
/// # Errors
/// Returns an error if this process cannot connect to it, if the plugin does not answer Status within three seconds, or if Dekker's own plugin does not
/// answer Counts within three seconds.
pub async fn plugin_status(address: &SocketAddress) -> anyhow::Result<PluginStatus> {
    // Without this check, a missing plugin would only be reported after the deadline.
    address.dial().await?;
    let client = KmsClient::v2(address.clone(), STATUS_TIMEOUT);
    let status = client.status().await.map_err(|error| {
        let cause = if error.code == Code::Unimplemented as u32 {
            "does not offer KMS v2, the only version that has a Status"
        } else {
            "did not answer Status"
        };
        anyhow::Error::new(error).context(format!("the KMS plugin on {address} {cause}"))
    })?;
    let introspection = IntrospectionClient::new(client.plugin());
    let counts = client.attempt(CountsRequest {}, |request| {
        let mut introspection = introspection.clone();
        async move { introspection.counts(request).await }
    });
    let counts = match counts.await {
        Ok(counts) => {
            Some(Counts { status: counts.status, encrypt: counts.encrypt, decrypt: counts.decrypt })
        }
        Err(error) if error.code == Code::Unimplemented as u32 => None,
        Err(error) => {
            return Err(error)
                .with_context(|| format!("the KMS plugin on {address} did not answer Counts"));
        }
    };
    Ok(PluginStatus {
        version: status.version,
        healthz: status.healthz,
        key_id_hash: key_id_hash(&status.key_id),
        counts,
    })
}

/// Adds a key to the keyring in `state_dir` and makes it current. A running plugin loads it at its next Status.
///
/// # Errors
/// Returns an error if there is no keyring, or if it cannot be read or written safely.
pub fn rotate(state_dir: &Path) -> anyhow::Result<Rotated> {
    let mut keyring = Keyring::open(state_dir)?;
    keyring.rotate()?;
    Ok(Rotated { key_id_hash: keyring.current().id().hash(), keys: keyring.keys().len() })
}

/// Returns `sha256:<hex>` in lowercase, the only form in which a key ID may be logged or shown. Upstream: kmsv2 `getHash`.
pub fn key_id_hash(key_id: &str) -> String {
    crate::sha256::text(key_id.as_bytes())
}

fn push_hex(out: &mut String, bytes: &[u8]) {
    for byte in bytes {
        for nibble in [byte >> 4, byte & 15] {
            out.push(char::from_digit(nibble.into(), 16).unwrap_or('?'));
        }
    }
}

#[cfg(test)]
mod tests;
