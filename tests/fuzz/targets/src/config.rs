//! The encryption configuration: it loads or is rejected with a position, the output of `show` loads again, and no text contains a secret.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use dekker_core::config::{Config, NamedKey, Provider, check, show};
use dekker_core::crypto::rustcrypto::RustCrypto;
use dekker_core::engine::{Engine, Options};
use dekker_core::time::Timestamp;

use crate::engine::Counting;

/// Treats any bytes as the file.
///
/// # Panics
/// Panics if a promise is broken.
pub fn run(input: &[u8]) {
    let [plain, reloading] = [false, true].map(|reload| loaded(input, reload));
    assert!(reloading.is_none() || plain.is_some(), "valid with reload, but not without");
    match (show(input), plain) {
        (Ok(text), Some(config)) => shown(&text, &config),
        (Err(_), None) => {}
        _ => panic!("the shown and the loaded configuration disagree"),
    }
}

fn loaded(input: &[u8], reload: bool) -> Option<Config> {
    let report = check(input, reload);
    let lines: Vec<&[u8]> = input.split(|byte| *byte == b'\n').collect();
    for finding in report.faults.iter().chain(&report.warnings) {
        assert!(!finding.message.is_empty(), "a finding has a message");
        let Some(at) = finding.position else {
            assert!(finding.path.is_empty(), "a field has a position: {finding}");
            continue;
        };
        assert!(at.line >= 1 && at.column >= 1, "positions count from 1");
        // A lone CR also ends a line.
        let ends = input.iter().filter(|byte| matches!(byte, b'\r' | b'\n'));
        let line = at.line as usize;
        assert!(line <= ends.count() + 2, "a line past the end: {finding}");
        if let Some(text) = lines.get(line - 1)
            && !input.contains(&b'\r')
        {
            assert!(at.column as usize <= text.len() + 2, "{at}: {finding}");
        }
    }
    let config = match Config::load(input, reload) {
        Ok(config) => config,
        Err(faults) => {
            assert_eq!(faults.into_vec(), report.faults, "the verdicts differ");
            return None;
        }
    };
    assert!(report.faults.is_empty(), "loaded despite errors");
    assert!(!config.rules.is_empty(), "no rule");
    for rule in &config.rules {
        assert!(!rule.resources.is_empty() && !rule.providers.is_empty());
    }
    let options = Options { reload, ..Options::default() };
    let now = Timestamp::from_millis(1_767_323_045_000);
    let engine =
        Engine::new(input, options, Box::new(RustCrypto), Box::new(Counting::default()), now);
    let mut engine = engine.expect("a loaded configuration builds an engine");
    let lost = engine.unreadable_after(input);
    assert_eq!(lost.expect("valid"), [] as [String; 0], "it reads its own values");
    let status: serde_json::Value = serde_json::from_str(&engine.status(now)).expect("JSON");
    assert!(status.is_object());
    Some(config)
}

fn keys(config: &Config) -> impl Iterator<Item = &NamedKey> {
    let providers = config.rules.iter().flat_map(|rule| &rule.providers);
    providers.flat_map(|provider| match provider {
        Provider::AesGcm(keys) | Provider::AesCbc(keys) | Provider::Secretbox(keys) => &keys[..],
        Provider::Kms(_) | Provider::Identity => &[],
    })
}

fn shown(text: &str, config: &Config) {
    const REDACTED: &str = "        secret: REDACTED";
    const KEY: &str = "        secret: MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=";
    for key in keys(config) {
        assert!([16, 24, 32].contains(&key.secret.len()), "not a key length");
        let secret = STANDARD.encode(&*key.secret);
        assert!(!text.contains(&secret), "a secret is shown");
    }
    let lines = text.lines().filter(|line| *line == REDACTED).count();
    assert_eq!(lines, keys(config).count(), "one redacted secret for each key");
    // A name that contains a secret is redacted too. The shown text is then another configuration.
    if text.matches("REDACTED").count() == lines {
        let whole = text.replace(&format!("{REDACTED}\n"), &format!("{KEY}\n"));
        let again = show(whole.as_bytes());
        assert_eq!(again.as_deref(), Ok(text), "it does not load again");
    }
}

/// Returns files with every provider, every kind of scalar and collection, aliases, JSON, and every kind of error.
pub fn seeds() -> Vec<Vec<u8>> {
    const HEAD: &str =
        "apiVersion: apiserver.config.k8s.io/v1\nkind: EncryptionConfiguration\nresources:\n";
    let file = |rules: &str| format!("{HEAD}{rules}");
    let texts = [
        file(
            "- resources: [secrets, configmaps.apps]\n  providers:\n  - kms: {apiVersion: v2, name: a, endpoint: 'unix:///run/a.sock', timeout: 3s}\n  - identity: {}\n",
        ),
        file(
            "- resources:\n  - '*.*'\n  - \"*.apps\"\n  providers:\n  - kms:\n      name: old\n      endpoint: unix:///@abstract\n      cachesize: -1\n      timeout: 1m2.5s\n  - aesgcm:\n      keys:\n      - name: k1\n        secret: MDEyMzQ1Njc4OWFiY2RlZg==\n",
        ),
        file(
            "- resources: [secrets]\n  providers:\n  - aescbc: {keys: &k [{name: x, secret: MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=}]}\n  - secretbox: {keys: *k}\n  - identity: {}\n",
        ),
        file(
            "- resources: [secrets, secrets]\n  providers:\n  - kms: {name: 'a:b', endpoint: 'http://x', timeout: -1s}\n  - aesgcm: {keys: [{name: '', secret: '!'}]}\n  unknown: 1\n",
        ),
        format!("%YAML 1.1\n---\n{}...\n---\nsecond: 1\n", file("- resources: []\n  providers: []\n")),
        "{\"apiVersion\":\"apiserver.config.k8s.io/v1\",\"kind\":\"EncryptionConfiguration\",\"resources\":[{\"resources\":[\"secrets\"],\"providers\":[{\"identity\":{}}]}]}".into(),
        "# comment\na: &a [|\n  block\n , >-\n  folded\n]\nb: *a\n? complex\n: !!str 1\n".into(),
        "a: {<<: {b: 1}, c: 0x1F, d: 1e3, e: .inf, f: ~, g: yes}\r\n".into(),
        "\u{feff}a: [\u{e9}, \"\\u00e9\\x41\\n\"]\n".into(),
    ];
    texts.map(String::into_bytes).into()
}
