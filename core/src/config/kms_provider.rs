//! What the configuration says about a KMS plugin.

use alloc::string::String;
use core::time::Duration;

/// The configuration of a KMS plugin, with defaults filled in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KmsProvider {
    /// The version of the plugin's API; v1 by default.
    pub version: KmsVersion,
    /// The provider's name, which is stored before each value. Not empty; for v2 also unique and without `:`.
    pub name: String,
    /// The endpoint, as written in the file.
    pub endpoint: String,
    /// The address of the socket that `endpoint` names.
    pub address: SocketAddress,
    /// The deadline of one call. Greater than zero; 3 s by default.
    pub timeout: Duration,
    /// The number of DEKs to cache; v1 only. Not zero; a negative number disables the cache; 1000 by default.
    pub cache_size: Option<i32>,
}

/// The version of a KMS plugin's API.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum KmsVersion {
    /// `v1beta1.KeyManagementService`.
    V1,
    /// `v2.KeyManagementService`.
    V2,
}

impl KmsVersion {
    /// Returns the version as it appears in the file and in stored values: `v1` or `v2`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::V1 => "v1",
            Self::V2 => "v2",
        }
    }
}

/// The address of a unix socket: 1 to 107 bytes, without NUL.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum SocketAddress {
    /// A path in the file system.
    Path(String),
    /// A name in Linux' abstract namespace, without the `@` that the file writes before it.
    Abstract(String),
}
