//! A KMS v1 plugin in a peer process. Upstream's KMS v1 client sends the socket's path as `:authority`, which a plain tonic server rejects.

use std::path::{Path, PathBuf};

use serde::Serialize;

use crate::peer::Peer;

/// The plugin. It decrypts only what it encrypted, and serves until it is dropped.
pub(crate) struct PluginV1 {
    peer: Peer,
    socket: PathBuf,
}

/// The plugin's answers.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Mood {
    pub version: &'static str,
    /// A gRPC code and a message, such as `13 no key`; empty for success.
    pub encrypt_fails: &'static str,
    pub decrypt_fails: &'static str,
}

impl Default for Mood {
    fn default() -> Self {
        Self { version: "v1beta1", encrypt_fails: "", decrypt_fails: "" }
    }
}

impl PluginV1 {
    /// Serves on `socket` as a healthy plugin.
    pub(crate) fn serve(socket: &Path) -> Self {
        let mut plugin = Self { peer: Peer::start(), socket: socket.to_owned() };
        plugin.set(Mood::default());
        plugin
    }

    /// Sets the answers from now on.
    pub(crate) fn set(&mut self, mood: Mood) {
        self.peer.plugin(&self.socket, mood);
    }
}
