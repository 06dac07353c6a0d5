//! What `dekker serve` prints when it is ready.

use std::fmt;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use super::state_dir::StateDir;
use crate::kms::ownership::Standing;
use crate::model::Check;

/// Where everything is, and a command to try.
pub(super) struct Banner<'a> {
    pub(super) checks: &'a [Check],
    pub(super) socket: &'a Path,
    pub(super) health: SocketAddr,
    pub(super) state_dir: &'a StateDir,
    pub(super) config: &'a Path,
    /// `None` without automatic reload.
    pub(super) poll_interval: Option<Duration>,
    /// `None` without Dekker's own plugin.
    pub(super) plugin: Option<Standing>,
}

impl fmt::Display for Banner<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { checks, socket, health, state_dir, config, poll_interval, plugin } = self;
        let kms = kms_state(checks);
        let reload = match poll_interval {
            Some(interval) => format!("reloaded when it changes, polled every {interval:?}"),
            None => "read once".to_owned(),
        };
        let plugin_line = plugin.as_ref().map(|standing| plugin_line(state_dir, standing));
        write!(
            f,
            "dekker {} is ready; KMS: {kms}\n  \
             API socket       unix://{}\n  \
             health           http://{health}/readyz, also /livez, /healthz, /metrics, /statusz\n  \
             state directory  {}\n  \
             configuration    {}, {reload}\n{}\
             Try:\n  \
             printf hello | curl -sS --unix-socket {} --data-binary @- \\\n    \
             'http://dekker/v1/to-storage?resource=secrets&key=/registry/secrets/default/token' | dekker inspect\n",
            env!("CARGO_PKG_VERSION"),
            socket.display(),
            state_dir.path().display(),
            config.display(),
            plugin_line.unwrap_or_default(),
            quoted(socket),
        )
    }
}

fn kms_state(checks: &[Check]) -> String {
    match checks.iter().find_map(|check| check.fault.as_deref()) {
        Some(fault) => format!("not healthy yet: {fault}"),
        None => "healthy".to_owned(),
    }
}

fn plugin_line(state_dir: &StateDir, standing: &Standing) -> String {
    let served = match standing {
        Standing::Serving => "Dekker's own, in this process",
        Standing::Elsewhere => "served by another process; this one takes over when the other ends",
        Standing::Failed(_) => "Dekker's own, not served: see the log",
    };
    format!("  KMS plugin       {} ({served})\n", state_dir.kms_address())
}

/// Quotes a path for a shell.
fn quoted(path: &Path) -> String {
    let text = path.display().to_string();
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-+".contains(c);
    if text.chars().all(plain) { text } else { format!("'{}'", text.replace('\'', "'\\''")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_quoted_for_a_shell() {
        assert_eq!(quoted(Path::new("/run/a.sock")), "/run/a.sock");
        assert_eq!(quoted(Path::new("/run/it's")), r"'/run/it'\''s'");
    }
}
