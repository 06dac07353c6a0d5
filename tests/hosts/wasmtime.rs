//! Dekker's component in a Rust program with wasmtime: `host-wasmtime transformer.wasm`.
//!
//! The engine in the component does no I/O and reads no clock. Its host (this program) reports what happened and when, and executes the actions that
//! the engine returns. `dekker-host` is a complete host; this one only needs Dekker's component and its WIT.

use std::fs::File;
use std::io::Read;
use std::time::{SystemTime, UNIX_EPOCH};

use wasmtime::component::{Component, HasSelf, Linker, ResourceAny};
use wasmtime::{Engine, Result, Store, bail};
use zeroize::Zeroize;

use self::bindings::Transformer;
use self::bindings::dekker::transformer::types::{Decrypted, Encrypted, Location, TransformError};
use self::bindings::exports::dekker::transformer::engine as face;
use self::bindings::wasi::random::random;
use self::face::{Action, Event};

#[allow(missing_docs)]
mod bindings {
    wasmtime::component::bindgen!({ path: "../wasm/wit", world: "transformer", imports: { default: trappable } });
}

const CONFIG: &[u8] = br#"
apiVersion: apiserver.config.k8s.io/v1
kind: EncryptionConfiguration
resources:
- resources: [secrets]
  providers: [{kms: {apiVersion: v2, name: my-kms, endpoint: "unix:///run/my-kms.sock"}}]
"#;

/// The component's only import. Keys and nonces are made from these bytes, so they must come from the kernel each time: bytes from a buffer or a
/// generator in this process would repeat after a snapshot of the process was restored.
struct Random(File);

impl random::Host for Random {
    fn get_random_bytes(&mut self, len: u64) -> Result<Vec<u8>> {
        let mut bytes = vec![0; usize::try_from(len)?];
        self.0.read_exact(&mut bytes)?;
        Ok(bytes)
    }

    fn get_random_u64(&mut self) -> Result<u64> {
        let mut bytes = [0; 8];
        self.0.read_exact(&mut bytes)?;
        Ok(u64::from_le_bytes(bytes))
    }
}

/// A stand-in for a KMS plugin: it keeps a DEK and returns it. A real host calls `v2.KeyManagementService` by gRPC, at the `address` that
/// `kms-providers` returns. A failed call has the outcome `Err(CallError { code: 14, message })`.
#[derive(Default)]
struct Kms {
    asked: Vec<&'static str>,
    dek: Vec<u8>,
}

impl Kms {
    fn ask(&mut self, call: &'static str) {
        println!("  KMS: {call}");
        self.asked.push(call);
    }

    fn status(&mut self) -> face::StatusResponse {
        self.ask("call-status");
        face::StatusResponse { version: "v2".into(), healthz: "ok".into(), key_id: "key-1".into() }
    }

    fn encrypt(&mut self, dek: Vec<u8>) -> face::EncryptResponse {
        self.ask("call-encrypt");
        self.dek = dek;
        face::EncryptResponse {
            ciphertext: b"dek 1".into(),
            key_id: "key-1".into(),
            annotations: vec![],
        }
    }

    fn decrypt(&mut self) -> Vec<u8> {
        self.ask("call-decrypt");
        self.dek.clone()
    }
}

/// One engine in one instance.
struct Host {
    store: Store<Random>,
    bindings: Transformer,
    engine: ResourceAny,
    kms: Kms,
    /// Milliseconds since 1970, which must never go back.
    now: u64,
}

/// The engine's result. The outer `Result` has wasmtime's errors.
type Outcome<T> = Result<T, TransformError>;

/// Calls a function of the engine.
macro_rules! call {
    ($host:ident.$function:ident($($argument:expr),*)) => {
        $host.bindings.dekker_transformer_engine().engine().$function(&mut $host.store, $host.engine, $($argument),*)
    };
}

impl Host {
    fn new(path: &str) -> Result<Self> {
        let wasmtime = Engine::default();
        let mut linker = Linker::new(&wasmtime);
        random::add_to_linker::<_, HasSelf<_>>(&mut linker, |random| random)?;
        let mut store = Store::new(&wasmtime, Random(File::open("/dev/urandom")?));
        let component = Component::from_file(&wasmtime, path)?;
        let bindings = Transformer::instantiate(&mut store, &component, &linker)?;
        let options = face::Options {
            reload: false,
            dek_source: face::DekSource::Counter,
            coast: face::Coast::Strict,
            dek_cache_capacity: 0,
            apiserver_id: String::new(),
            read_only: false,
        };
        let now = u64::try_from(SystemTime::now().duration_since(UNIX_EPOCH)?.as_millis())?;
        let engines = bindings.dekker_transformer_engine().engine();
        let created = engines.call_create(&mut store, CONFIG, &options, now)?;
        let Ok(engine) = created.map_err(|faults| eprintln!("{faults:?}")) else {
            bail!("the configuration has errors");
        };
        let kms = Kms::default();
        Ok(Self { store, bindings, engine, kms, now })
    }

    /// Encrypts a value. An operation that cannot complete at once is parked under `op`; an action delivers its result later.
    fn to_storage(&mut self, op: u64, at: &Location, value: &[u8]) -> Result<Outcome<Encrypted>> {
        if let Some(outcome) = call!(self.call_to_storage(op, at, value, self.now))? {
            return Ok(outcome);
        }
        println!("  parked");
        match self.settle()?.pop() {
            Some(Action::ToStorageDone(done)) if done.op == op => Ok(done.outcome),
            _ => bail!("the write is still parked"),
        }
    }

    /// Decrypts a value in the same way. A read parks if the DEK that it needs must be decrypted first.
    fn from_storage(
        &mut self,
        op: u64,
        at: &Location,
        stored: &[u8],
    ) -> Result<Outcome<Decrypted>> {
        if let Some(outcome) = call!(self.call_from_storage(op, at, stored, self.now))? {
            return Ok(outcome);
        }
        println!("  parked");
        match self.settle()?.pop() {
            Some(Action::FromStorageDone(done)) if done.op == op => Ok(done.outcome),
            _ => bail!("the read is still parked"),
        }
    }

    /// Executes the engine's actions until there are no more, and returns the completed operations. (A busier host does not wait for the KMS here:
    /// the engine can process other operations until the event arrives.)
    fn settle(&mut self) -> Result<Vec<Action>> {
        let mut done = Vec::new();
        loop {
            let actions = call!(self.call_poll_actions())?;
            if actions.is_empty() {
                return Ok(done);
            }
            for action in actions {
                let event = match action {
                    Action::CallStatus(face::StatusCall { call, .. }) => {
                        let outcome = Ok(self.kms.status());
                        Event::Status(face::StatusEvent { call, outcome })
                    }
                    Action::CallEncrypt(face::EncryptCall { call, plaintext, .. }) => {
                        let outcome = Ok(self.kms.encrypt(plaintext));
                        Event::Encrypted(face::EncryptedEvent { call, outcome })
                    }
                    Action::CallDecrypt(face::DecryptCall { call, .. }) => {
                        let outcome = Ok(self.kms.decrypt());
                        Event::Decrypted(face::DecryptedEvent { call, outcome })
                    }
                    Action::Log(line) => {
                        eprintln!("{}", line.message);
                        continue;
                    }
                    action => {
                        done.push(action);
                        continue;
                    }
                };
                call!(self.call_handle_event(&event, self.now))?;
                if let Event::Decrypted(face::DecryptedEvent { outcome: Ok(mut dek), .. }) = event {
                    dek.zeroize();
                }
            }
        }
    }
}

fn main() -> Result<()> {
    let Some(path) = std::env::args().nth(1) else {
        bail!("usage: host-wasmtime transformer.wasm");
    };
    let mut host = Host::new(&path)?;
    let [a, b] = ["a", "b"].map(|name| Location {
        resource: "secrets".into(),
        key: format!("/registry/secrets/default/{name}").into_bytes(),
    });
    println!("write");
    let first = host.to_storage(1, &a, b"hunter2")??.stored;
    println!("  {} bytes", first.len());
    println!("write another");
    let second = host.to_storage(2, &b, b"hunter2")??.stored;
    println!("  {} bytes", second.len());
    println!("read");
    let mut read = host.from_storage(3, &a, &first)??;
    let text = std::str::from_utf8(&read.plaintext)?;
    println!("  {text}, stale: {}", read.stale);
    assert_eq!((text, read.stale), ("hunter2", false));
    read.plaintext.zeroize();
    println!("read it with the other storage key");
    let Err(moved) = host.from_storage(4, &b, &first)? else {
        bail!("it was read");
    };
    println!("  {:?}", moved.kind);

    // The host determines the time. A real host waits until `due`; this one assumes that it has come.
    let Some(due) = call!(host.call_poll_timeout())? else {
        bail!("the engine waits for no time to pass");
    };
    println!("{} s later", (due - host.now) / 1000);
    host.now = due;
    call!(host.call_handle_timeout(host.now))?;
    host.settle()?;
    // Erases every key in the component's memory.
    host.engine.resource_drop(&mut host.store)?;

    let calls = ["call-status", "call-encrypt", "call-decrypt", "call-status"];
    assert_eq!(host.kms.asked, calls);
    println!("two writes, one Encrypt");
    Ok(())
}
