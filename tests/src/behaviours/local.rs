//! aesgcm, aescbc and secretbox: keys from the configuration file.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use dekker_core::ErrorKind;
use dekker_core::engine::Options;

use serde_json::Value;

use crate::face::Maker;
use crate::plugin::Plugin;
use crate::recorded::hex;
use crate::sim::{Harness, file};

const PROVIDERS: [&str; 3] = ["aesgcm", "aescbc", "secretbox"];
const OPERATIONS: &str = "apiserver_storage_transformation_operations_total";
/// The name that k3s and RKE2 give to a key when they rotate it.
const K3S: &str = "aescbckey-2026-03-09T09:46:54+01:00";

/// A provider with these keys. Each key is a name and the byte that its 32 bytes repeat.
fn provider(kind: &str, keys: &[(&str, u8)]) -> String {
    let keys: Vec<_> = keys
        .iter()
        .map(|(name, byte)| format!("{{name: {name}, secret: {}}}", STANDARD.encode([*byte; 32])))
        .collect();
    format!("{kind}: {{keys: [{}]}}", keys.join(", "))
}

fn harness(maker: &dyn Maker, providers: &[String]) -> Harness {
    let file = file::secrets_with(providers);
    Harness::new(maker, &file, &Options::default(), [])
}

pub(super) fn local_providers_write_their_own_layout(maker: &dyn Maker) {
    // For a plaintext of 20 bytes: nonce and tag; IV and padding to whole blocks; nonce and tag.
    let table = [("aesgcm", 12 + 20 + 16), ("aescbc", 16 + 32), ("secretbox", 24 + 16 + 20)];
    for (kind, len) in table {
        let stored = harness(maker, &[provider(kind, &[("key1", 1)])]).write("/k", &[9; 20]);
        let prefix = format!("k8s:enc:{kind}:v1:key1:");
        assert!(stored.starts_with(prefix.as_bytes()), "{kind}");
        assert_eq!(stored.len(), prefix.len() + len, "{kind}");
    }
}

pub(super) fn local_values_of_every_size_round_trip(maker: &dyn Maker) {
    for kind in PROVIDERS {
        let mut h = harness(maker, &[provider(kind, &[("key1", 1)])]);
        for len in [0, 1, 15, 16, 17, 100, 4096, 1 << 20] {
            let plaintext = vec![b'p'; len];
            let stored = h.write("/k", &plaintext);
            let read = h.read("/k", &stored);
            assert_eq!((read.plaintext, read.stale), (plaintext, false), "{kind}, {len} bytes");
        }
    }
}

pub(super) fn first_local_key_writes_and_later_ones_read_stale(maker: &dyn Maker) {
    for kind in PROVIDERS {
        let old = harness(maker, &[provider(kind, &[("old", 1)])]).write("/k", b"x");
        let mut h = harness(maker, &[provider(kind, &[("new", 2), ("old", 1)])]);
        assert!(h.read("/k", &old).stale, "{kind}");
        let new = h.write("/k", b"x");
        assert!(new.starts_with(format!("k8s:enc:{kind}:v1:new:").as_bytes()));
        assert!(!h.read("/k", &new).stale, "{kind}");
        let mut h = harness(maker, &[file::identity(), provider(kind, &[("new", 2)])]);
        assert!(h.read("/k", &new).stale, "{kind}: not the first provider");
        assert_eq!(h.write("/k", b"x"), b"x");
    }
}

pub(super) fn providers_that_share_a_prefix_are_all_tried(maker: &dyn Maker) {
    for kind in PROVIDERS {
        let value = harness(maker, &[provider(kind, &[("a", 1)])]).write("/k", b"x");
        // The same name with another key, in the same provider and in an earlier one; and a name that the earlier provider does not have.
        let lists = [
            vec![provider(kind, &[("a", 2), ("a", 1)])],
            vec![provider(kind, &[("a", 2)]), provider(kind, &[("a", 1)])],
            vec![provider(kind, &[("b", 2)]), provider(kind, &[("a", 1)])],
        ];
        for list in lists {
            let read = harness(maker, &list).read("/k", &value);
            assert_eq!((&*read.plaintext, read.stale), (&b"x"[..], true), "{list:?}");
        }
        let mut none = harness(maker, &[provider(kind, &[("b", 2)]), provider(kind, &[("c", 3)])]);
        let error = none.try_read("secrets", "/k", &value).unwrap_err();
        let name = if kind == "secretbox" { "Secretbox" } else { "AES" };
        assert_eq!(
            error.message,
            format!("no matching key was found for the provided {name} transformer")
        );
    }
}

pub(super) fn only_aesgcm_binds_a_value_to_its_key(maker: &dyn Maker) {
    for (kind, bound) in [("aesgcm", true), ("aescbc", false), ("secretbox", false)] {
        let mut h = harness(maker, &[provider(kind, &[("key1", 1)])]);
        let stored = h.write("/a", b"x");
        assert_eq!(h.try_read("secrets", "/b", &stored).is_err(), bound, "{kind}");
    }
}

pub(super) fn altered_local_value_is_one_opaque_error(maker: &dyn Maker) {
    for kind in PROVIDERS {
        let mut h = harness(maker, &[provider(kind, &[("key1", 1)])]);
        let stored = h.write("/k", &[7; 20]);
        let start = format!("k8s:enc:{kind}:v1:key1:").len();
        let mut texts = Vec::new();
        for at in start..stored.len() {
            let mut altered = stored.clone();
            altered[at] ^= 0x80;
            match h.try_read("secrets", "/k", &altered) {
                Ok(read) => {
                    assert!(kind == "aescbc" && read.plaintext != [7; 20], "{kind}, byte {at}")
                }
                Err(error) => {
                    assert_eq!(error.kind, ErrorKind::DecryptFailed, "{kind}, byte {at}");
                    texts.push(error.message);
                }
            }
        }
        texts.dedup();
        assert_eq!(texts.len(), 1, "{kind}: {texts:?}");
    }
}

pub(super) fn short_local_value_is_a_clean_error(maker: &dyn Maker) {
    for kind in PROVIDERS {
        let mut h = harness(maker, &[provider(kind, &[("key1", 1)])]);
        let stored = h.write("/k", b"");
        let start = format!("k8s:enc:{kind}:v1:key1:").len();
        for end in start..stored.len() {
            assert!(h.try_read("secrets", "/k", &stored[..end]).is_err(), "{kind}, {end}");
        }
    }
}

pub(super) fn local_nonces_are_random(maker: &dyn Maker) {
    for kind in PROVIDERS {
        let mut h = harness(maker, &[provider(kind, &[("key1", 1)])]);
        let mut seen = std::collections::BTreeSet::new();
        for _ in 0..1000 {
            let stored = h.write("/k", b"x");
            let start = format!("k8s:enc:{kind}:v1:key1:").len();
            assert!(seen.insert(stored[start..start + 12].to_vec()), "{kind}");
        }
    }
}

pub(super) fn local_providers_serve_beside_a_plugin(maker: &dyn Maker) {
    let mut providers = vec![file::kms("a")];
    providers.extend(PROVIDERS.map(|kind| provider(kind, &[("key1", 1)])));
    providers.push(file::identity());
    let values: Vec<_> = PROVIDERS
        .iter()
        .map(|kind| harness(maker, &[provider(kind, &[("key1", 1)])]).write("/k", kind.as_bytes()))
        .collect();
    let mut down = Plugin::new("key-1");
    down.down();
    let file = file::secrets_with(&providers);
    let mut h = Harness::new(maker, &file, &Options::default(), [("a", down)]);
    for (kind, value) in PROVIDERS.iter().zip(&values) {
        let read = h.read("/k", value);
        assert_eq!((&*read.plaintext, read.stale), (kind.as_bytes(), true), "no plugin is needed");
    }
    h.plugin("a").up();
    h.advance_secs(10);
    let stored = h.write("/k", b"x");
    assert!(stored.starts_with(b"k8s:enc:kms:v2:a:"));
}

pub(super) fn key_names_with_colons_are_whole(maker: &dyn Maker) {
    for kind in PROVIDERS {
        let mut h = harness(maker, &[provider(kind, &[(K3S, 1), ("aescbckey", 2)])]);
        let stored = h.write("/k", &[7; 40]);
        assert!(stored.starts_with(format!("k8s:enc:{kind}:v1:{K3S}:").as_bytes()), "{kind}");
        let read = h.read("/k", &stored);
        assert_eq!((read.plaintext, read.stale), (vec![7; 40], false), "{kind}");
        for direction in ["to_storage", "from_storage"] {
            let labels = [
                ("transformation_type", direction),
                ("transformer_prefix", &*format!("{K3S}:")),
                ("status", "OK"),
            ];
            assert_eq!(h.metric(OPERATIONS, &labels), 1.0, "{kind}: {labels:?}");
        }
        let seen = maker.inspect(&stored).expect("a value");
        let seen: Value = serde_json::from_str(&seen).expect("JSON");
        assert_eq!((&seen["provider"], &seen["keyName"]), (&kind.into(), &K3S.into()));
        // Only whole blocks prove where the name ends.
        let is_guessed = kind != "aescbc";
        assert_eq!(seen["keyNameGuessed"].as_bool(), is_guessed.then_some(true), "{kind}");
        // A file that lacks the key loses its values, which are named by the whole name.
        let other = file::secrets_with(&[provider(kind, &[("aescbckey", 2)])]);
        let lost = h.face.unreadable_after(other.as_bytes()).expect("a valid file");
        let expected = format!("secrets: values that begin with \"k8s:enc:{kind}:v1:{K3S}:\"");
        assert_eq!(lost, [expected]);
    }
}

/// A value that another implementation wrote under a name of k3s, with the configuration of k3s, in which an older key is the beginning of the name.
pub(super) fn recorded_value_of_k3s_is_readable(maker: &dyn Maker) {
    let stored = hex("\
        6b38733a656e633a6165736362633a76313a6165736362636b65792d323032362d30332d30395430393a34363a35342b30313a30303a9a894f3d84e513030e2b\
        aa2f41d7a37780ec6e77c01042f3c0c774e6073a8dde7d6dd36b9ff03cb5a322bd925edcda99061f0839e5b8318bdf74b58f0743297b94990d85da420dc11850\
        a14f78986854f49f55766bcc69f04139730f0fb0df7d");
    let secret = STANDARD.encode("0123456789abcdef0123456789abcdef");
    let keys =
        [K3S, "aescbckey"].map(|name| format!(r#"{{"name": "{name}", "secret": "{secret}"}}"#));
    let file = format!(
        r#"{{"kind": "EncryptionConfiguration", "apiVersion": "apiserver.config.k8s.io/v1", "resources": [{{"resources": ["secrets"], "providers": [{{"aescbc": {{"keys": [{}]}}}}, {{"identity": {{}}}}]}}]}}"#,
        keys.join(", ")
    );
    let mut h = Harness::new(maker, &file, &Options::default(), []);
    let read = h.read("/registry/secrets/default/token", &stored);
    assert!(!read.stale, "the first key wrote it");
    assert!(!read.plaintext.is_empty() && read.plaintext.len() < 80, "{}", read.plaintext.len());
    assert!(read.plaintext.starts_with(b"k8s\0"), "{:?}", read.plaintext.get(..8));
}

/// Names of which one is the beginning of the other, up to a colon: both keys match the value, and upstream tries them in order.
pub(super) fn earlier_key_whose_name_begins_alike_does_not_stop_the_read(maker: &dyn Maker) {
    for kind in PROVIDERS {
        let value = harness(maker, &[provider(kind, &[("a:b", 1)])]).write("/k", b"x");
        let mut h = harness(maker, &[provider(kind, &[("a", 2), ("a:b", 1)])]);
        let read = h.read("/k", &value);
        assert_eq!((&*read.plaintext, read.stale), (&b"x"[..], true), "{kind}");
        for (prefix, status) in [("a:", "unknown-non-grpc"), ("a:b:", "OK")] {
            let labels = [("transformer_prefix", prefix), ("status", status)];
            assert_eq!(h.metric(OPERATIONS, &labels), 1.0, "{kind}: {labels:?}");
        }
    }
}
