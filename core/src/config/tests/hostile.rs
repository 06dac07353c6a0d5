//! Malicious and damaged files.

use super::{HEAD, KEY16, KEY32, faults, provider, valid};
use crate::config::{Config, check, show};
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec;
use proptest::prelude::*;

#[test]
fn files_over_a_budget_are_refused() {
    let bomb = (1..20).fold("a0: &a0 [x, x, x, x, x, x, x, x, x]\n".to_string(), |text, i| {
        let refs = vec![format!("*a{}", i - 1); 9].join(", ");
        format!("{text}a{i}: &a{i} [{refs}]\n")
    });
    let long = format!("a: &a {}\nb: [{}]\n", "x".repeat(500_000), vec!["*a"; 1000].join(", "));
    let nested = |n: usize| format!("a: {}{}\n", "[".repeat(n), "]".repeat(n));
    let blocks = (0..200).fold(String::new(), |text, i| format!("{text}{}a:\n", " ".repeat(i)));
    let chain = (1..60).fold("a0: &a0 [x]\n".to_string(), |text, i| {
        format!("{text}a{i}: &a{i} [[[*a{}]]]\n", i - 1)
    });
    let table = [
        (
            "bytes",
            "#".repeat((1 << 20) + 1),
            "the file has 1048577 bytes, more than the 1048576 allowed",
        ),
        ("nodes by alias", bomb, "the file has more than 100000 nodes, counting expanded aliases"),
        (
            "text by alias",
            long,
            "the file has more than 4194304 bytes of text, counting expanded aliases",
        ),
        (
            "flow depth, met by the scanner",
            nested(500),
            "lists and mappings are nested more than 64 deep",
        ),
        ("flow depth", nested(64), "lists and mappings are nested more than 64 deep"),
        ("block depth", blocks, "lists and mappings are nested more than 64 deep"),
        ("depth by alias", chain, "lists and mappings are nested more than 64 deep"),
        ("a loop", "a: &a [*a]\n".to_string(), "yaml: an anchor's value contains itself"),
    ];
    for (desc, text, want) in table {
        assert_eq!(faults(&text, false), [want], "{desc}");
    }
    assert!(!faults(&nested(63), false)[0].contains("nested"));
}

fn nothing_leaks(bytes: &[u8]) {
    let report = check(bytes, true);
    let mut said = format!("{report:?}");
    match Config::load(bytes, true) {
        Ok(config) => said.push_str(&format!("{:?}", config.rules.len())),
        Err(faults) => said.push_str(&format!("{faults} {faults:?}")),
    }
    if let Ok(shown) = show(bytes) {
        said.push_str(&shown);
    }
    assert!(!said.contains(KEY16) && !said.contains(KEY32), "{said}");
}

#[test]
fn a_secret_in_the_wrong_place_is_not_repeated() {
    let table = [
        ("as a field's name", format!("aescbc: {{keys: [{{name: a, secret, {KEY16}: }}]}}")),
        ("swallowed by a quote", format!("kms: {{name: \"a, secret: {KEY16}\"}}")),
        ("as a value of the wrong type", format!("aescbc: {{keys: {KEY16}}}")),
        (
            "as a name by alias",
            format!(
                "aescbc: {{keys: [{{secret: &s {KEY16}, name: a}}]}}\n  - kms: {{apiVersion: v2, name: *s}}\n  - kms: {{apiVersion: v2, name: *s}}"
            ),
        ),
    ];
    for (desc, text) in table {
        let text = provider(&text);
        assert!(!check(text.as_bytes(), false).faults.is_empty(), "{desc}");
        nothing_leaks(text.as_bytes());
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn any_bytes_are_read_without_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        nothing_leaks(&bytes);
    }

    #[test]
    fn text_of_yaml_syntax_characters_is_read_without_panic(text in "[-\\[\\]{}:,&*!|>'\"%@#?<~a0-9. \n\t]{0,200}") {
        nothing_leaks(text.as_bytes());
        nothing_leaks(format!("{HEAD}resources: {text}").as_bytes());
    }

    #[test]
    fn a_damaged_file_never_leaks_its_secrets(
        edits in proptest::collection::vec((any::<prop::sample::Index>(), 0..3u8, "[-\\[\\]{}:,&*!'\"#\n a-z0-9]"), 1..6)
    ) {
        let mut bytes = valid().into_bytes();
        for (index, kind, with) in edits {
            let at = index.index(bytes.len());
            let with = with.as_bytes()[0];
            match kind {
                0 => bytes[at] = with,
                1 => bytes.insert(at, with),
                _ => { bytes.remove(at); }
            }
        }
        nothing_leaks(&bytes);
    }
}
