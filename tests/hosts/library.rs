//! Dekker in a Rust program: `host-library`.
//!
//! `dekker-host` includes the component and drives it. It handles parked operations, calls to the KMS plugin, time and randomness. The program only
//! awaits the results.

use dekker_host::kms::keyring::Keyring;
use dekker_host::kms::plugin::{self, Plugin};
use dekker_host::{ErrorKind, Host, HostError, Location};
use tokio::net::UnixListener;

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    // Any KMS v2 plugin will do. This is Dekker's own, with its keys in a file.
    let directory = tempfile::tempdir()?;
    let socket = directory.path().join("kms.sock");
    let plugin = Plugin::new(Keyring::open_or_create(&directory.path().join("keys"))?);
    let listener = UnixListener::bind(&socket)?;
    let serving = tokio::spawn(plugin::serve(plugin.clone(), listener, std::future::pending()));

    let config = format!(
        r#"
apiVersion: apiserver.config.k8s.io/v1
kind: EncryptionConfiguration
resources:
- resources: [secrets]
  providers: [{{kms: {{apiVersion: v2, name: my-kms, endpoint: "unix://{}"}}}}]
"#,
        socket.display()
    );
    // Clones are cheap and share one engine. Any task may use one.
    let host = Host::builder().config(config).build()?;
    let at = |name| Location {
        resource: "secrets".into(),
        key: format!("/registry/secrets/default/{name}").into_bytes(),
    };

    // The first write waits until the plugin has encrypted a DEK. The second makes no call.
    println!("write");
    let first = host.to_storage(at("a"), b"hunter2".to_vec().into()).await?.stored;
    println!("  {} bytes; {:?}", first.len(), plugin.counts());
    println!("write another");
    let second = host.to_storage(at("b"), b"hunter2".to_vec().into()).await?.stored;
    println!("  {} bytes; {:?}", second.len(), plugin.counts());

    println!("read");
    let read = host.from_storage(at("a"), first.clone()).await?;
    let text = std::str::from_utf8(&read.plaintext)?;
    println!("  {text}, stale: {}", read.stale);
    assert_eq!((text, read.stale), ("hunter2", false));
    // A value is bound to its storage key.
    println!("read it with the other storage key");
    let Err(HostError::Transform(fault)) = host.from_storage(at("b"), first).await else {
        return Err("it was read".into());
    };
    println!("  {:?}", fault.kind);
    assert_eq!(fault.kind, ErrorKind::DecryptFailed);

    assert_eq!(plugin.counts().encrypt, 1);
    println!("two writes, one Encrypt");
    // The plaintext erases itself when it is dropped; the keys are erased with the last clone of the host.
    serving.abort();
    Ok(())
}
