//! Encryption configurations inside the file of a platform: Rancher's and Talos' configurations, Secrets and others.

use super::super::base64;
use super::super::fault::{Finding, element, field};
use super::super::field_name::shown_in_path;
use super::super::tree::{Entry, Node, Value};
use alloc::format;

const PART: &str = "save this part alone as a file";
const PART_WITHOUT_KIND: &str = "save this part alone as a file, with apiVersion: apiserver.config.k8s.io/v1 and kind: EncryptionConfiguration";
const TEXT: &str = "save this text as a file";
const BASE64: &str = "decode this text with base64 -d, and save it as a file";
const TALOS: &str = "Talos generates the encryption configuration from this key: see /system/secrets/kubernetes/kube-apiserver/encryptionconfig.yaml on a node";

/// Returns a hint at the configuration that is the node or inside it. The root is at the path "".
pub(super) fn find(node: &Node, path: &str) -> Option<Finding> {
    let inside = |how| {
        let message = format!("the encryption configuration is inside this file, here: {how}");
        Some(Finding::new(path, message, node.at))
    };
    match &node.value {
        Value::String(text) => {
            if is_config(text.as_bytes()) {
                inside(TEXT)
            } else if base64::decode(text).is_some_and(|bytes| is_config(&bytes)) {
                inside(BASE64)
            } else {
                None
            }
        }
        Value::List(items) => {
            items.iter().enumerate().find_map(|(i, item)| find(item, &element(path, i)))
        }
        Value::Mapping(entries) if !path.is_empty() && has_kind(entries) => inside(PART),
        Value::Mapping(entries) if !path.is_empty() && has_rules(entries) => {
            inside(PART_WITHOUT_KIND)
        }
        Value::Mapping(entries) => entries.iter().find_map(|Entry { key, at: _, value }| {
            let path = || field(path, shown_in_path(key));
            match key.as_str() {
                // Its annotations may repeat the whole object.
                "metadata" => None,
                "aescbcEncryptionSecret" | "secretboxEncryptionSecret" => {
                    Some(Finding::new(path(), TALOS, value.at))
                }
                _ => find(value, &path()),
            }
        }),
        Value::Null | Value::Bool | Value::Number(_) => None,
    }
}

/// Whether a text is a configuration: it names the kind, and is not just the name.
fn is_config(text: &[u8]) -> bool {
    let contains = |part: &[u8]| text.windows(part.len()).any(|window| window == part);
    contains(b"EncryptionConfig") && contains(b"kind")
}

fn has_kind(entries: &[Entry]) -> bool {
    entries.iter().any(|Entry { key, at: _, value }| {
        let is_known = |text: &str| matches!(text, "EncryptionConfiguration" | "EncryptionConfig");
        key.as_str() == "kind" && matches!(&value.value, Value::String(text) if is_known(text))
    })
}

/// Whether the mapping has the list of a configuration: `resources`, whose elements have `providers`.
fn has_rules(entries: &[Entry]) -> bool {
    let is_provider = |entry: &Entry| entry.key.as_str() == "providers";
    let is_rule = |item: &Node| matches!(&item.value, Value::Mapping(entries) if entries.iter().any(is_provider));
    entries.iter().any(|Entry { key, at: _, value }| {
        key.as_str() == "resources"
            && matches!(&value.value, Value::List(items) if items.iter().any(|item| is_rule(item)))
    })
}
