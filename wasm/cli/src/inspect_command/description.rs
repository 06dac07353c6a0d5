//! The engine's description of a value, and its text for people.

use anyhow::Context;
use serde::Deserialize;

use super::Found;
use crate::found::{forms, is_bare, place, printable, printable_key};

/// What `dekker_core::inspect` reports, parsed from its JSON.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Description {
    pub(super) provider: String,
    pub(super) api_version: Option<String>,
    pub(super) provider_name: Option<String>,
    pub(super) key_name: Option<String>,
    pub(super) key_id_hash: Option<String>,
    #[serde(rename = "encryptedDEKSourceType")]
    encrypted_dek_source_type: Option<String>,
    #[serde(rename = "encryptedDEKSourceSize")]
    encrypted_dek_source_size: Option<usize>,
    #[serde(default)]
    annotations: Vec<Annotation>,
    pub(super) content: Option<String>,
    size: usize,
    plaintext_size: usize,
    #[serde(default)]
    layout: Vec<Segment>,
}

/// What `dekker_core::inspect` reports of a damaged value, parsed from its JSON.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Damage {
    pub(super) error: String,
    provider: Option<String>,
    api_version: Option<String>,
    provider_name: Option<String>,
    key_name: Option<String>,
}

#[derive(Deserialize)]
struct Annotation {
    name: String,
    size: usize,
}

#[derive(Deserialize)]
struct Segment {
    name: String,
    offset: usize,
    length: usize,
}

impl Description {
    pub(super) fn parse(json: &str) -> anyhow::Result<Self> {
        serde_json::from_str(json).context("cannot parse the engine's answer")
    }

    /// `kms v2 "vault"`
    pub(super) fn provider(&self) -> String {
        let Self { provider, api_version, provider_name, .. } = self;
        provider_text(provider, api_version.as_deref(), provider_name.as_deref())
    }
}

impl Damage {
    pub(super) fn parse(json: &str) -> anyhow::Result<Self> {
        serde_json::from_str(json).context("cannot parse the engine's answer")
    }
}

fn provider_text(provider: &str, version: Option<&str>, name: Option<&str>) -> String {
    let version = version.map(|version| format!(" {version}")).unwrap_or_default();
    let name = name.map(|name| format!(" {}", quoted(name))).unwrap_or_default();
    format!("{provider}{version}{name}")
}

/// A name in quotes.
pub(super) fn quoted(name: &str) -> String {
    format!("\"{}\"", printable(name))
}

/// Describes a value in lines, each with a name and its text.
pub(super) fn text(found: &Found<'_>) -> anyhow::Result<String> {
    let mut out = String::new();
    let mut row = |name: &str, text: String| out.push_str(&format!("{name:<12} {text}\n"));
    let entry = found.entry;
    if let Some(key) = &entry.key {
        row("key", printable_key(key));
    }
    if let Some(revision) = entry.revision {
        row("revision", revision.to_string());
    }
    if !is_bare(entry) {
        row("input", format!("{}, {}", forms(entry), place(entry.place)));
    }
    for note in &found.notes {
        row("note", note.clone());
    }
    let value = match &found.outcome {
        Ok(json) => Description::parse(json)?,
        Err(json) => {
            let Damage { error, provider, api_version, provider_name, key_name } =
                Damage::parse(json)?;
            row("error", printable(&error));
            if let Some(provider) = provider {
                let (version, name) = (api_version.as_deref(), provider_name.as_deref());
                row("provider", provider_text(&provider, version, name));
            }
            if let Some(name) = key_name {
                row("key name", quoted(&name));
            }
            return Ok(out);
        }
    };
    row("provider", value.provider());
    if let Some(name) = &value.key_name {
        row("key name", quoted(name));
    }
    if let Some(hash) = &value.key_id_hash {
        row("key ID hash", hash.clone());
    }
    if let (source, Some(size)) =
        (&value.encrypted_dek_source_type, value.encrypted_dek_source_size)
    {
        let source = source.as_deref().map(|source| format!("{source}, ")).unwrap_or_default();
        row("DEK source", format!("{source}{size} bytes encrypted"));
    }
    if let Some(content) = &value.content {
        row("content", content.clone());
    }
    for Annotation { name, size } in &value.annotations {
        row("annotation", format!("{} ({size} bytes)", printable(name)));
    }
    let at_most = if value.provider == "aescbc" { "at most " } else { "" };
    row(
        "size",
        format!("{} bytes, of a plaintext of {at_most}{} bytes", value.size, value.plaintext_size),
    );
    row("layout", "   offset    length  part".to_owned());
    for Segment { name, offset, length } in &value.layout {
        row("", format!("{offset:>9} {length:>9}  {name}"));
    }
    Ok(out)
}
