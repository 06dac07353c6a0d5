//! What the commands do with the state directory, for a simulation.

use std::path::{Path, PathBuf};

use super::serve::Embedded;
use super::{CoastArg, DekSourceArg, EngineArgs};

/// A process's part in Dekker's own plugin, as far as it has one.
pub(crate) struct Own(Embedded);

/// What a command that runs an engine begins with.
pub(crate) async fn begin(state_dir: &Path) -> anyhow::Result<(PathBuf, Own)> {
    let args = EngineArgs {
        state_dir: Some(state_dir.to_owned()),
        encryption_provider_config: None,
        component: None,
        dek_source: DekSourceArg::Counter,
        kms_coast: CoastArg::Strict,
    };
    let (path, embedded) = args.configuration().await?;
    Ok((path, Own(embedded)))
}

impl Own {
    /// Whether it serves the plugin.
    pub(crate) fn is_owner(&self) -> bool {
        match &self.0 {
            Embedded::Running(_) => true,
            Embedded::NotUsed | Embedded::Elsewhere => false,
        }
    }

    /// The orderly end.
    pub(crate) async fn stop(self) {
        match self.0 {
            Embedded::Running(plugin) => plugin.stop().await,
            Embedded::NotUsed | Embedded::Elsewhere => {}
        }
    }
}
