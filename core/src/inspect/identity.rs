//! Values that are not encrypted.

use super::inspection::Inspection;
use super::layout::Layout;
use super::origin::Origin;

pub(super) fn identity(stored: &[u8]) -> Inspection {
    let mut layout = Layout::default();
    layout.push("plaintext", stored.len());
    Inspection {
        content: Some(content(stored)),
        plaintext_size: stored.len(),
        ..Inspection::blank(Origin::of_provider("identity", None), layout, stored.len())
    }
}

/// Returns what a plaintext appears to be, from its first bytes.
fn content(bytes: &[u8]) -> &'static str {
    // The Kubernetes protobuf envelope. Upstream: apimachinery's runtime/serializer/protobuf.
    if bytes.starts_with(b"k8s\0") {
        "kubernetes protobuf"
    } else if bytes.trim_ascii_start().starts_with(b"{") {
        "json"
    } else if core::str::from_utf8(bytes).is_ok() {
        "text"
    } else {
        "binary"
    }
}
