//! Components and configurations from which no host can be built, and the errors.

use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};

use dekker_host::{BuildError, Fault, Host, WriteDekSource};

use crate::room::{Room, read, write};

const PLAIN: &str = "apiVersion: apiserver.config.k8s.io/v1\nkind: EncryptionConfiguration\nresources: [{resources: [secrets], providers: [{identity: {}}]}]\n";

/// `\0asm`, then the version and the layer of a component.
const COMPONENT: &[u8] = b"\0asm\x0d\0\x01\0";

fn component_error(component: &[u8]) -> String {
    match Host::builder().config(PLAIN).component(component).build() {
        Err(error @ BuildError::Component(_)) => error.to_string(),
        Err(other) => panic!("{other}"),
        Ok(_) => panic!("it was taken"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_invalid_component_is_refused() {
    // A component that imports a function `x` without parameters and results.
    let imports = [COMPONENT, b"\x07\x05\x01\x40\0\x01\0", b"\x0a\x06\x01\0\x01x\x01\0"].concat();
    let table: [(&str, Vec<u8>, &str); 6] = [
        ("no bytes", vec![], ""),
        ("not wasm", b"#!/bin/sh\necho hello\n".to_vec(), ""),
        ("a core module", b"\0asm\x01\0\0\0".to_vec(), ""),
        ("cut short", COMPONENT[..6].to_vec(), ""),
        ("another import", imports, "x"),
        ("no exports", COMPONENT.to_vec(), "dekker:transformer"),
    ];
    for (desc, component, names) in table {
        let error = component_error(&component);
        assert!(error.starts_with("the component cannot be run: "), "{desc}: {error}");
        assert!(error.contains(names), "{desc}: {error}");
        assert!(error.len() > "the component cannot be run: ".len() + 10, "{desc}: {error}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_guest_with_too_little_memory_to_start_is_refused() {
    for limit in [0, 64 * 1024] {
        match Host::builder().config(PLAIN).memory_limit(limit).build() {
            Err(BuildError::Component(error)) => assert!(error.contains("memory"), "{error}"),
            Err(other) => panic!("{other}"),
            Ok(_) => panic!("it started in {limit} bytes"),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_error_of_a_configuration_is_reported() {
    let config = PLAIN.replace("secrets", "Secrets").replace("identity", "idendity");
    let Err(BuildError::Faults(faults)) = Host::builder().config(config).build() else {
        panic!("it was taken");
    };
    assert!(!faults.is_empty());
    for Fault { path, message, position } in &faults {
        assert!(!message.is_empty(), "{path}");
        assert!(position.is_some_and(|(line, _)| line == 3), "{path}: {position:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_is_ready_when_its_plugin_has_answered() {
    let room = Room::new();
    let host = room.host();
    // Waits for the first Status by itself.
    let stored = write(&host, "/k", b"hunter2").await;
    let back = read(&host, "/k", &stored).await;
    assert_eq!((back.plaintext.as_slice(), back.stale), (&b"hunter2"[..], false));
    assert_eq!(&*back.transformer_prefix, "k8s:enc:kms:v2:a:");
    let calls = room.plugin.calls();
    assert_eq!((calls.status, calls.encrypt, calls.decrypt), (1, 1, 1));
    let checks = host.health().await.expect("an engine");
    assert_eq!(checks.len(), 1);
    assert_eq!((checks[0].name.as_str(), &checks[0].fault), ("kms-providers", &None));
}

#[test]
fn an_engine_ends_without_a_panic_if_its_callers_runtime_ends_first() {
    static PANICS: AtomicUsize = AtomicUsize::new(0);
    let hook = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        let is_engine = std::thread::current().name() == Some("dekker-engine");
        PANICS.fetch_add(usize::from(is_engine), Ordering::Relaxed);
        hook(info);
    }));
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let host = runtime.block_on(async {
        let room = Room::new();
        let host = room.host();
        // From now on the engine waits for the next poll.
        write(&host, "/k", b"hunter2").await;
        host
    });
    drop(runtime);
    let other = tokio::runtime::Builder::new_current_thread().build();
    other.expect("a runtime").block_on(host.close());
    assert_eq!(PANICS.load(Ordering::Relaxed), 0, "the engine panicked");
}

/// Returns a built component: the one that the variable names, or the one in the target directory.
fn built(variable: &str, file: &str) -> Option<Vec<u8>> {
    let path = std::env::var_os(variable).map(PathBuf::from);
    let path = path.or_else(|| {
        let target = std::env::var_os("CARGO_TARGET_DIR")?;
        Some(PathBuf::from(target).join("dekker").join(file))
    });
    let bytes = path.and_then(|path| std::fs::read(path).ok());
    if bytes.is_none() {
        dekker_tests::interop::skip(file, "cargo xtask test sets its path");
    }
    bytes
}

#[tokio::test(flavor = "multi_thread")]
async fn both_kinds_of_component_read_values_of_the_embedded_one() {
    let files = [
        ("DEKKER_COMPONENT", "transformer.wasm"),
        ("DEKKER_COMPONENT_ACCELERATED", "transformer-accelerated.wasm"),
    ];
    for (variable, file) in files {
        let Some(component) = built(variable, file) else {
            continue;
        };
        for source in [WriteDekSource::Counter, WriteDekSource::HkdfSeed] {
            let room = Room::new();
            let builder = room.builder("1m").dek_source(source);
            let embedded = builder.clone().build().expect("a valid configuration");
            let given = builder.component(component.clone()).build();
            let given = given.expect("a component");
            let first = write(&embedded, "/k", b"hunter2").await;
            assert_eq!(read(&given, "/k", &first).await.plaintext.as_slice(), b"hunter2");
            let second = write(&given, "/k", b"hunter3").await;
            assert_eq!(read(&embedded, "/k", &second).await.plaintext.as_slice(), b"hunter3");
        }
    }
}
