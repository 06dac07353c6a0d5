//! A configuration file that is refused.

use std::fmt;
use std::path::Path;

use zeroize::Zeroizing;

/// Why a file is refused.
pub(super) struct Refusal {
    pub(super) reason: String,
    /// The file, if it could be read. It may have warnings that name the mistake.
    pub(super) config: Option<Zeroizing<Vec<u8>>>,
}

impl From<String> for Refusal {
    fn from(reason: String) -> Self {
        Self { reason, config: None }
    }
}

/// 10: how many warnings of one file are logged.
const LOGGED: usize = 10;

/// Logs the warnings about a file that is refused: what was probably meant where it has an error, and settings that are probably unintended.
pub(crate) fn log_warnings(path: &Path, warnings: &[impl fmt::Display]) {
    let path = path.display();
    for warning in warnings.iter().take(LOGGED) {
        tracing::warn!(%path, "a warning about the refused configuration: {warning}");
    }
    let more = warnings.len().saturating_sub(LOGGED);
    if more > 0 {
        tracing::warn!(%path, "the refused configuration has {more} more warnings: run `dekker config check`");
    }
}
