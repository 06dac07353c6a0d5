//! What the commands do with the state directory, for simulations.

use std::path::{Path, PathBuf};

use super::state_dir::StateDir;
use crate::config_file::Content;
use crate::kms::address::Detour;
use crate::kms::embedded::PrivatePlugin;
use crate::kms::keyring::Keyring;
use crate::kms::ownership::{Ownership, Standing};

/// A simulated server's ownership of Dekker's own plugin.
pub(crate) struct Own(Ownership);

/// Does what `dekker serve` does first with the state directory.
pub(crate) async fn serve(state_dir: &Path) -> anyhow::Result<(PathBuf, Own)> {
    let state_dir = StateDir::open(Some(state_dir))?;
    let plugin = state_dir.serve_plugin(state_dir.kms_address(), false);
    let own = Own(plugin.await?);
    match state_dir.configuration() {
        Ok(path) => Ok((path, own)),
        Err(error) => {
            own.stop().await;
            Err(error)
        }
    }
}

impl Own {
    /// Returns whether this server serves the plugin.
    pub(crate) fn is_owner(&self) -> bool {
        match &*self.0.standing().borrow() {
            Standing::Serving => true,
            Standing::Elsewhere | Standing::Failed(_) => false,
        }
    }

    /// Stops in an orderly way.
    pub(crate) async fn stop(self) {
        self.0.stop().await;
    }

    /// Ends as with `kill -9`.
    pub(crate) async fn kill(self) {
        self.0.kill().await;
    }
}

/// The configuration and the plugin of a command for one value.
pub(crate) struct OneShot {
    pub(crate) content: Content,
    pub(crate) detour: Option<Detour>,
    pub(crate) plugin: Option<PrivatePlugin>,
}

/// Does what `dekker encrypt` does first with the state directory.
pub(crate) fn one_shot(state_dir: &Path) -> anyhow::Result<OneShot> {
    let state_dir = StateDir::open(Some(state_dir))?;
    let one_shot = state_dir.one_shot(Keyring::open_or_create)?;
    state_dir.configuration()?;
    Ok(OneShot { detour: one_shot.detour(), content: one_shot.content, plugin: one_shot.plugin })
}
