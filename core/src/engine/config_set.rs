//! What the engine builds from one configuration file.

use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;
use core::time::Duration;

use super::coverage::Coverage;
use super::event::Generation;
use super::rule_names::RuleNames;
use crate::config::Config;
use crate::crypto::secret::Secret;
use crate::provider::kms::call::ProviderId;
use crate::provider::routing::Routing;
use crate::sha256;

/// The state built from one file. The engine owns the KMS providers that the file names, so that two sets may share one.
pub(super) struct ConfigSet {
    pub(super) generation: Generation,
    pub(super) file: File,
    pub(super) routing: Routing,
    /// In the order of the file.
    pub(super) kms: Vec<ProviderId>,
    /// Whether there is one check named `kms-providers` rather than one for each provider.
    pub(super) collapsed: bool,
    /// The sum of the KMS timeouts. A KMS v1 provider counts twice, because its health check makes two calls.
    pub(super) timeouts: Duration,
    pub(super) coverage: Coverage,
    /// The names in the file, in its order.
    pub(super) names: Vec<RuleNames>,
}

impl ConfigSet {
    /// Returns the state of an engine that has no configuration yet.
    pub(super) fn empty() -> Self {
        Self {
            generation: Generation(0),
            file: File::new(&[], false),
            routing: Routing::new([]),
            kms: Vec::new(),
            collapsed: false,
            timeouts: Duration::ZERO,
            coverage: Coverage::default(),
            names: Vec::new(),
        }
    }

    /// Returns twice the sum of the KMS timeouts. Upstream: encryptionconfig/config.go, KMSCloseGracePeriod.
    pub(super) fn grace(&self) -> Duration {
        self.timeouts.saturating_mul(2)
    }
}

/// A configuration file as the engine received it.
pub(super) struct File {
    /// The content, which includes the keys of local providers, if it is kept.
    pub(super) bytes: Option<Secret>,
    /// `sha256:<hex>` of the bytes.
    pub(super) hash: String,
}

impl File {
    pub(super) fn new(bytes: &[u8], keep: bool) -> Self {
        let hash = sha256::text(bytes);
        Self { bytes: keep.then(|| Secret::new(bytes.to_vec())), hash }
    }
}

/// A configuration file that [`Engine::parse`](super::Engine::parse) has found valid. It holds the keys of its local providers.
pub struct ParsedFile {
    pub(super) file: File,
    pub(super) config: Config,
}

impl fmt::Debug for ParsedFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ParsedFile").field("hash", &self.file.hash).finish_non_exhaustive()
    }
}
