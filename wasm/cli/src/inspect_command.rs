//! The command `inspect`: describes a stored value, without any key.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;
use clap::{Args, ValueEnum};
use serde::Deserialize;

use crate::Tools;
use crate::io::{read_input, write_output};

/// Its arguments.
#[derive(Args)]
pub struct InspectArgs {
    /// The value: raw bytes, hex, base64, or the output of `etcdctl get -w json` [default: standard input]
    file: Option<PathBuf>,
    /// The output format
    #[arg(short, long, value_enum, default_value_t = Output::Text)]
    output: Output,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Output {
    Text,
    Json,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Inspection {
    key: Option<String>,
    encoding: String,
    error: Option<String>,
    provider: Option<String>,
    api_version: Option<String>,
    provider_name: Option<String>,
    key_name: Option<String>,
    key_id_hash: Option<String>,
    #[serde(rename = "encryptedDEKSourceType")]
    encrypted_dek_source_type: Option<String>,
    #[serde(rename = "encryptedDEKSourceSize")]
    encrypted_dek_source_size: Option<usize>,
    #[serde(default)]
    annotations: Vec<Annotation>,
    content: Option<String>,
    size: Option<usize>,
    plaintext_size: Option<usize>,
    #[serde(default)]
    layout: Vec<Segment>,
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

/// Runs the command. The exit code is 1 if any of the values is damaged.
///
/// # Errors
/// Returns an error if the input contains no value, if the engine fails, or if reading the input or writing the output fails.
pub fn run(tools: &dyn Tools, args: &InspectArgs) -> anyhow::Result<ExitCode> {
    let input = read_input(args.file.as_deref())?;
    let json = tools.inspect_input(&input)?.map_err(anyhow::Error::msg)?;
    let values: Vec<Inspection> =
        serde_json::from_str(&json).context("cannot parse the engine's answer")?;
    match args.output {
        Output::Json => write_output(format!("{json}\n").as_bytes())?,
        Output::Text => {
            let texts: Vec<_> = values.iter().map(text).collect();
            write_output(texts.join("\n").as_bytes())?;
        }
    }
    Ok(if values.iter().any(|value| value.error.is_some()) {
        ExitCode::FAILURE
    } else {
        ExitCode::SUCCESS
    })
}

fn text(value: &Inspection) -> String {
    let mut out = String::new();
    let mut row = |name: &str, text: String| out.push_str(&format!("{name:<12} {text}\n"));
    if let Some(key) = &value.key {
        row("key", printable(key));
    }
    if value.encoding != "raw" {
        row("input", value.encoding.clone());
    }
    if let Some(error) = &value.error {
        row("error", error.clone());
        return out;
    }
    let provider = value.provider.clone().unwrap_or_default();
    let version =
        value.api_version.as_deref().map(|version| format!(" {version}")).unwrap_or_default();
    let name = value
        .provider_name
        .as_deref()
        .map(|name| format!(" \"{}\"", printable(name)))
        .unwrap_or_default();
    row("provider", format!("{provider}{version}{name}"));
    if let Some(name) = &value.key_name {
        row("key name", format!("\"{}\"", printable(name)));
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
    if let (Some(size), Some(plaintext)) = (value.size, value.plaintext_size) {
        let at_most = if provider == "aescbc" { "at most " } else { "" };
        row("size", format!("{size} bytes, of a plaintext of {at_most}{plaintext} bytes"));
    }
    row("layout", "   offset    length  part".to_owned());
    for Segment { name, offset, length } in &value.layout {
        row("", format!("{offset:>9} {length:>9}  {name}"));
    }
    out
}

/// Replaces control characters, because text from storage must not control the terminal.
fn printable(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
}
