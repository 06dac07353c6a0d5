//! `dekker kms`.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;
use clap::Subcommand;
use tokio::sync::watch;

use super::serve::shutdown_signal;
use super::state_dir::StateDir;
use super::{announce, write_output};
use crate::kms::address::SocketAddress;
use crate::kms::ownership::Standing;
use crate::kms::{self, PluginStatus};

#[derive(Subcommand)]
pub(super) enum KmsCommand {
    /// Serve the plugin alone; kube-apiserver can use it too
    Serve {
        /// Where to listen: unix:///path or unix:///@name [default: kms.sock in the state directory]
        #[arg(long, value_name = "ADDRESS")]
        listen: Option<SocketAddress>,
        /// The directory for the plugin's keys
        #[arg(long, value_name = "DIR")]
        state_dir: Option<PathBuf>,
        /// Start even if keys that the state directory once had are missing: every value that needs one of them is lost. Use it for one start
        #[arg(long)]
        init_keyring: bool,
    },
    /// Create a new key-encryption key; the old ones still decrypt
    Rotate {
        /// The directory with the plugin's keys
        #[arg(long, value_name = "DIR")]
        state_dir: Option<PathBuf>,
    },
    /// Ask a plugin for its Status; Dekker's own also reports how often it was called
    Status {
        /// The plugin's address: unix:///path or unix:///@name [default: kms.sock in the state directory]
        #[arg(long, value_name = "ADDRESS")]
        endpoint: Option<SocketAddress>,
        /// The directory in which to look for kms.sock
        #[arg(long, value_name = "DIR")]
        state_dir: Option<PathBuf>,
    },
}

pub(super) async fn run(command: KmsCommand) -> anyhow::Result<ExitCode> {
    match command {
        KmsCommand::Serve { listen, state_dir, init_keyring } => {
            let state_dir = StateDir::open(state_dir.as_deref())?;
            let address = listen.unwrap_or_else(|| state_dir.kms_address());
            let stopped = shutdown_signal()?;
            let plugin = state_dir.serve_plugin(address.clone(), init_keyring).await?;
            tokio::select! {
                () = stopped => {}
                failed = print_standing(plugin.standing(), &address, &state_dir) => failed?,
            }
            plugin.stop().await;
        }
        KmsCommand::Rotate { state_dir } => {
            let state_dir = StateDir::open(state_dir.as_deref())?;
            let rotated = kms::rotate(state_dir.path())?;
            write_output(
                format!("new key ID hash {}, {} keys in all\n", rotated.key_id_hash, rotated.keys)
                    .as_bytes(),
            )?;
        }
        KmsCommand::Status { endpoint, state_dir } => {
            let address = match endpoint {
                Some(address) => address,
                None => StateDir::plugin_address(state_dir.as_deref())?,
            };
            let PluginStatus { version, healthz, key_id_hash, counts } =
                kms::plugin_status(&address)
                    .await
                    .with_context(|| format!("the plugin at {address}"))?;
            let mut text = format!(
                "version      {version}\nhealthz      {healthz}\nkey ID hash  {key_id_hash}\n"
            );
            if let Some(counts) = counts {
                text.push_str(&format!(
                    "calls        Status {}, Encrypt {}, Decrypt {}\n",
                    counts.status, counts.encrypt, counts.decrypt
                ));
            }
            write_output(text.as_bytes())?;
            return Ok(if healthz == "ok" { ExitCode::SUCCESS } else { ExitCode::FAILURE });
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// Prints who serves the plugin, and again after each change. Returns only if printing fails.
async fn print_standing(
    mut standing: watch::Receiver<Standing>,
    address: &SocketAddress,
    state_dir: &StateDir,
) -> anyhow::Result<()> {
    loop {
        let text = match &*standing.borrow_and_update() {
            Standing::Serving => {
                format!("KMS v2 plugin at {address}, keys in {}\n", state_dir.path().display())
            }
            Standing::Elsewhere => {
                format!(
                    "another process serves {address}; this one takes over when the other ends\n"
                )
            }
            Standing::Failed(fault) => format!("the plugin at {address} is not served: {fault}\n"),
        };
        announce(text).await?;
        if standing.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}
