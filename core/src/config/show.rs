//! Formats a configuration as YAML, with defaults filled in and secrets redacted.

use super::duration;
use super::render::json;
use super::scalar::{Kind, resolve};
use super::secret::REDACTED;
use crate::config::kms_provider::KmsProvider;
use crate::config::rule::{Config, NamedKey, Provider};
use alloc::borrow::ToOwned;
use alloc::string::{String, ToString};
use core::fmt::{self, Write as _};

/// Returns `config` as YAML.
pub(super) fn show(config: &Config) -> String {
    let mut out = String::from(
        "apiVersion: apiserver.config.k8s.io/v1\nkind: EncryptionConfiguration\nresources:\n",
    );
    for rule in &config.rules {
        out.push_str("- resources:\n");
        for resource in &rule.resources {
            line(&mut out, format_args!("  - {}", text(&resource.to_string())));
        }
        out.push_str("  providers:\n");
        for provider in &rule.providers {
            match provider {
                Provider::Kms(kms) => show_kms(&mut out, kms),
                Provider::AesGcm(keys) => show_keys(&mut out, "aesgcm", keys),
                Provider::AesCbc(keys) => show_keys(&mut out, "aescbc", keys),
                Provider::Secretbox(keys) => show_keys(&mut out, "secretbox", keys),
                Provider::Identity => out.push_str("  - identity: {}\n"),
            }
        }
    }
    out
}

fn show_kms(out: &mut String, kms: &KmsProvider) {
    let KmsProvider { version, name, endpoint, address: _, timeout, cache_size } = kms;
    let version = version.name();
    line(out, format_args!("  - kms:\n      apiVersion: {version}\n      name: {}", text(name)));
    line(out, format_args!("      endpoint: {}", text(endpoint)));
    let nanoseconds = i64::try_from(timeout.as_nanos()).unwrap_or(i64::MAX);
    line(out, format_args!("      timeout: {}", text(&duration::show(nanoseconds))));
    if let Some(size) = cache_size {
        line(out, format_args!("      cachesize: {size}"));
    }
}

fn show_keys(out: &mut String, provider: &str, keys: &[NamedKey]) {
    line(out, format_args!("  - {provider}:\n      keys:"));
    for NamedKey { name, secret: _ } in keys {
        line(out, format_args!("      - name: {}\n        secret: {REDACTED}", text(name)));
    }
}

fn line(out: &mut String, text: fmt::Arguments<'_>) {
    // Writing to a String cannot fail.
    let _ = writeln!(out, "{text}");
}

/// Writes the string as a plain scalar if it is read back as the same string, and quoted otherwise.
fn text(value: &str) -> String {
    let starts = value.starts_with(|c: char| c.is_ascii_alphanumeric());
    let plain = value.chars().all(|c| c.is_ascii_alphanumeric() || "-_./".contains(c));
    if starts && plain && resolve(value) == Kind::String { value.to_owned() } else { json(value) }
}
