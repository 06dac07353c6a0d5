//! A partly written file is often a valid configuration. A caller that first asks what would become unreadable loses nothing.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use dekker_core::engine::Options;

use crate::face::Maker;
use crate::plugin::Plugin;
use crate::sim::{Harness, file};

const KEY: &str = "/registry/x/default/token";

fn harness(maker: &dyn Maker, file: &str) -> Harness {
    let options = Options { reload: true, ..Options::default() };
    Harness::new(maker, file, &options, [("a", Plugin::new("key-a"))])
}

/// A local provider as people write it. Each key is a name and the byte that its secret repeats.
fn local(kind: &str, keys: &[(&str, u8)]) -> String {
    let mut text = format!("  - {kind}:\n      keys:\n");
    for (name, byte) in keys {
        let secret = STANDARD.encode([*byte; 32]);
        text += &format!("      - name: {name}\n        secret: {secret}\n");
    }
    text
}

const KMS: &str = "  - kms:\n      apiVersion: v2\n      name: a\n      endpoint: unix:///run/a.sock\n      timeout: 3s\n";
const IDENTITY: &str = "  - identity: {}\n";

fn config(rules: &[(&[&str], &[String])]) -> String {
    let mut file = file::config(&[]);
    for (resources, providers) in rules {
        file += "- resources:\n";
        for resource in *resources {
            file += &format!("  - '{resource}'\n");
        }
        file += "  providers:\n";
        file.extend(providers.iter().map(String::as_str));
    }
    file
}

/// A stored value and its resource.
struct Stored {
    resource: &'static str,
    value: Vec<u8>,
}

/// Returns the values that each of these writers stores for a resource.
fn stored(maker: &dyn Maker, resource: &'static str, writers: &[String]) -> Vec<Stored> {
    let write = |writer: &String| Stored {
        resource,
        value: harness(maker, &config(&[(&[resource], std::slice::from_ref(writer))]))
            .try_write(resource, KEY, b"hello")
            .expect("a write"),
    };
    writers.iter().map(write).collect()
}

/// Returns how many of the values cannot be read.
fn unreadable(h: &mut Harness, values: &[Stored]) -> usize {
    let lost = |stored: &&Stored| h.try_read(stored.resource, KEY, &stored.value).is_err();
    values.iter().filter(lost).count()
}

/// Every writer in this file, each alone.
fn writers() -> [String; 6] {
    [
        KMS.to_owned(),
        local("aesgcm", &[("new", 1)]),
        local("aesgcm", &[("old", 2)]),
        local("aescbc", &[("key1", 3)]),
        local("secretbox", &[("key1", 4)]),
        IDENTITY.to_owned(),
    ]
}

fn whole_file() -> String {
    let list = [
        KMS.to_owned(),
        local("aesgcm", &[("new", 1), ("old", 2)]),
        local("aescbc", &[("key1", 3)]),
        local("secretbox", &[("key1", 4)]),
        IDENTITY.to_owned(),
    ];
    config(&[
        (&["secrets", "configmaps"], &list),
        (&["*.apps"], &[local("aescbc", &[("key1", 5)]), IDENTITY.to_owned()]),
        (&["*.*"], &[local("secretbox", &[("key1", 6)]), IDENTITY.to_owned()]),
    ])
}

fn values(maker: &dyn Maker) -> Vec<Stored> {
    let mut values = stored(maker, "secrets", &writers());
    values.extend(stored(maker, "configmaps", &writers()));
    let apps = [local("aescbc", &[("key1", 5)]), IDENTITY.to_owned()];
    values.extend(stored(maker, "deployments.apps", &apps));
    let all = [local("secretbox", &[("key1", 6)]), IDENTITY.to_owned()];
    values.extend(stored(maker, "pods", &all));
    values
}

/// Loads each prefix of `file` over a running configuration that reads all of `values`. Each prefix must be refused, lose nothing, or be reported as
/// losing something. Returns how many prefixes there were of each kind.
fn cut_everywhere(maker: &dyn Maker, running: &str, file: &str, values: &[Stored]) -> [usize; 3] {
    let mut h = harness(maker, running);
    assert_eq!(unreadable(&mut h, values), 0, "all values are readable at first");
    let [mut refused, mut harmless, mut losing] = [0; 3];
    for end in 0..file.len() {
        let cut = &file[..end];
        let loses = h.unreadable_after(cut).is_ok_and(|lost| !lost.is_empty());
        if loses {
            losing += 1;
            // The reported loss is real: without the check, values become unreadable.
            let mut careless = harness(maker, running);
            careless.reload(cut).expect("a file that loses something is valid");
            careless.advance_secs(1);
            assert_ne!(
                unreadable(&mut careless, values),
                0,
                "reported, but nothing is lost:\n{cut}"
            );
            continue;
        }
        match h.reload(cut) {
            Err(_) => refused += 1,
            Ok(()) => {
                harmless += 1;
                h.advance_secs(1);
                assert_eq!(h.reloads.last(), Some(&Ok(())), "{cut}");
            }
        }
        assert_eq!(unreadable(&mut h, values), 0, "after {end} bytes:\n{cut}");
        h.reload(running).expect("valid");
        h.advance_secs(1);
    }
    [refused, harmless, losing]
}

pub(super) fn truncated_file_is_refused_or_its_losses_are_reported(maker: &dyn Maker) {
    let file = whole_file();
    let values = values(maker);
    let [refused, harmless, losing] = cut_everywhere(maker, &file, &file, &values);
    assert_eq!(refused + harmless + losing, file.len());
    // The file without its last line break is valid; a cut inside `{}` never is.
    assert!(harmless >= 1, "{harmless}");
    assert!(refused > 500 && losing > 20, "{refused} {losing}");
}

pub(super) fn half_written_rotation_is_refused_or_its_losses_are_reported(maker: &dyn Maker) {
    let old = config(&[(&["secrets"], &[local("aescbc", &[("old", 2)]), IDENTITY.to_owned()])]);
    // The new key comes first, so the file is already valid before the old key is written.
    let new = config(&[(
        &["secrets"],
        &[local("aescbc", &[("new", 1), ("old", 2)]), IDENTITY.to_owned()],
    )]);
    let writers = [local("aescbc", &[("old", 2)]), IDENTITY.to_owned()];
    let values = stored(maker, "secrets", &writers);
    let [refused, harmless, losing] = cut_everywhere(maker, &old, &new, &values);
    assert!(refused > 0 && harmless > 0 && losing > 0, "{refused} {harmless} {losing}");
}

pub(super) fn unreadable_values_are_reported_by_their_prefix(maker: &dyn Maker) {
    let mut h = harness(maker, &whole_file());
    let end = whole_file().find("      - name: old").expect("it is there");
    let losses = h.unreadable_after(&whole_file()[..end]).expect("valid");
    let expected = |resource: &str| {
        [
            "values that begin with \"k8s:enc:aesgcm:v1:old:\"",
            "values that begin with \"k8s:enc:aescbc:v1:key1:\"",
            "values that begin with \"k8s:enc:secretbox:v1:key1:\"",
            "values stored as plaintext",
        ]
        .map(|what| format!("{resource}: {what}"))
    };
    assert_eq!(losses[2..6], expected("configmaps"));
    assert_eq!(losses[6..], expected("secrets"));
    assert_eq!(
        losses[..2],
        [
            "*.*: values that begin with \"k8s:enc:secretbox:v1:key1:\"",
            "*.apps: values that begin with \"k8s:enc:aescbc:v1:key1:\"",
        ]
    );
    h.unreadable_after("%%%").expect_err("faulty");
}
