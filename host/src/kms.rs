//! KMS over gRPC: the client that asks a plugin, and the plugin that Dekker brings along.
//!
//! [`client`] speaks to any KMS plugin on a unix socket. [`plugin`] is one, with its key-encryption keys in a file
//! ([`keyring`]); kube-apiserver can use it too. [`claim`] takes a socket path without stealing it from a living server, and [`ownership`] sees
//! to it that of several processes one always serves it.

pub mod address;
mod bounds;
pub mod claim;
pub mod client;
pub(crate) mod embedded;
pub mod keyring;
pub mod ownership;
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

/// 3 seconds: upstream's default timeout of a KMS provider (apiserver/v1 `defaultTimeout`), long for a local socket.
const STATUS_TIMEOUT: Duration = Duration::from_secs(3);

/// What [`plugin_status`] found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PluginStatus {
    /// The API's version, as the plugin gave it.
    pub version: String,
    /// `ok`, or the plugin's reason.
    pub healthz: String,
    /// `sha256:<hex>` of the current key ID.
    pub key_id_hash: String,
    /// What the plugin counted; `None` when it is not Dekker's.
    pub counts: Option<Counts>,
}

/// What [`rotate`] did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rotated {
    /// `sha256:<hex>` of the new current key ID.
    pub key_id_hash: String,
    /// How many keys the keyring holds now, the new one included.
    pub keys: usize,
}

/// Asks the plugin at `address` for its state, once.
///
/// # Errors
/// When nothing listens there, or what listens does not answer Status in three seconds.
pub async fn plugin_status(address: &SocketAddress) -> anyhow::Result<PluginStatus> {
    // Without this look, a missing plugin would only be a deadline that passed.
    address.connect().await.with_context(|| {
        format!("no KMS plugin listens on {address}: start one, or name the socket it listens on")
    })?;
    let client = KmsClient::v2(address.clone(), STATUS_TIMEOUT);
    let status = client
        .status()
        .await
        .with_context(|| format!("the KMS plugin on {address} did not answer Status"))?;
    let introspection = IntrospectionClient::new(client.plugin());
    let counts = client.attempt(CountsRequest {}, |request| {
        let mut introspection = introspection.clone();
        async move { introspection.counts(request).await }
    });
    let counts = match counts.await {
        Ok(counts) => Some(Counts {
            status: counts.status,
            encrypt: counts.encrypt,
            decrypt: counts.decrypt,
        }),
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

/// Adds a key to the keyring in `state_dir` and makes it current. A running plugin takes it up at its next Status.
///
/// # Errors
/// When there is no keyring there, or it cannot be read or written safely.
pub fn rotate(state_dir: &Path) -> anyhow::Result<Rotated> {
    let mut keyring = Keyring::open(state_dir)?;
    keyring.rotate()?;
    Ok(Rotated {
        key_id_hash: keyring.current().id().hash(),
        keys: keyring.keys().len(),
    })
}

/// `sha256:<hex>`, lowercase: the only form in which a key ID may be logged or shown. Upstream: kmsv2 `getHash`.
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
