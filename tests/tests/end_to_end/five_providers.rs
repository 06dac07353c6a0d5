//! One configuration with every provider that encrypts. The commands decrypt what upstream's own transformers wrote with each of them.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use dekker_proto::kms::{v1beta1, v2};
use serde_json::{Value, json};
use tokio::net::UnixListener;
use tokio_stream::wrappers::UnixListenerStream;
use tonic::transport::Server;
use tonic::{Request, Response, Status};

use dekker_tests::interop::{self, Vector, VectorFile};

use crate::process::Process;
use crate::stage::{Stage, play};

/// Each file of vectors, and the reader in it that has only this provider.
const FILES: [(&str, &str); 4] = [
    ("kms-v1", "current"),
    ("aesgcm", "32-byte key"),
    ("aescbc", "32-byte key"),
    ("secretbox", "32-byte key"),
];

/// A plugin for both versions. It decrypts the recorded DEKs and those that it encrypted itself.
#[derive(Clone, Default)]
struct Recorded {
    key_id: String,
    deks: Arc<Mutex<BTreeMap<Vec<u8>, Dek>>>,
}

struct Dek {
    key_id: String,
    annotations: BTreeMap<String, Vec<u8>>,
    plaintext: Vec<u8>,
}

const UNKNOWN: &str = "this plugin encrypted no such thing";

#[tonic::async_trait]
impl v2::key_management_service_server::KeyManagementService for Recorded {
    async fn status(
        &self,
        _: Request<v2::StatusRequest>,
    ) -> Result<Response<v2::StatusResponse>, Status> {
        Ok(Response::new(v2::StatusResponse {
            version: "v2".to_owned(),
            healthz: "ok".to_owned(),
            key_id: self.key_id.clone(),
        }))
    }

    async fn encrypt(
        &self,
        request: Request<v2::EncryptRequest>,
    ) -> Result<Response<v2::EncryptResponse>, Status> {
        Ok(Response::new(v2::EncryptResponse {
            ciphertext: self.encrypted(&request.get_ref().plaintext),
            key_id: self.key_id.clone(),
            annotations: BTreeMap::new(),
        }))
    }

    async fn decrypt(
        &self,
        request: Request<v2::DecryptRequest>,
    ) -> Result<Response<v2::DecryptResponse>, Status> {
        let request = request.into_inner();
        match self.deks().get(&request.ciphertext) {
            Some(dek)
                if (&dek.key_id, &dek.annotations) == (&request.key_id, &request.annotations) =>
            {
                let plaintext = dek.plaintext.clone();
                Ok(Response::new(v2::DecryptResponse { plaintext }))
            }
            Some(_) | None => Err(Status::not_found(UNKNOWN)),
        }
    }
}

#[tonic::async_trait]
impl v1beta1::key_management_service_server::KeyManagementService for Recorded {
    async fn version(
        &self,
        _: Request<v1beta1::VersionRequest>,
    ) -> Result<Response<v1beta1::VersionResponse>, Status> {
        Ok(Response::new(v1beta1::VersionResponse {
            version: "v1beta1".to_owned(),
            ..v1beta1::VersionResponse::default()
        }))
    }

    async fn encrypt(
        &self,
        request: Request<v1beta1::EncryptRequest>,
    ) -> Result<Response<v1beta1::EncryptResponse>, Status> {
        let cipher = self.encrypted(&request.get_ref().plain);
        Ok(Response::new(v1beta1::EncryptResponse { cipher }))
    }

    async fn decrypt(
        &self,
        request: Request<v1beta1::DecryptRequest>,
    ) -> Result<Response<v1beta1::DecryptResponse>, Status> {
        let deks = self.deks();
        let dek = deks.get(&request.get_ref().cipher);
        let plain = dek.ok_or_else(|| Status::not_found(UNKNOWN))?.plaintext.clone();
        Ok(Response::new(v1beta1::DecryptResponse { plain }))
    }
}

impl Recorded {
    fn deks(&self) -> MutexGuard<'_, BTreeMap<Vec<u8>, Dek>> {
        self.deks.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn encrypted(&self, plaintext: &[u8]) -> Vec<u8> {
        let mut deks = self.deks();
        let ciphertext = format!("sealed DEK {}", deks.len()).into_bytes();
        let dek = Dek {
            key_id: self.key_id.clone(),
            annotations: BTreeMap::new(),
            plaintext: plaintext.to_vec(),
        };
        deks.insert(ciphertext.clone(), dek);
        ciphertext
    }

    fn serve(self, socket: &Path) {
        let incoming = UnixListenerStream::new(UnixListener::bind(socket).expect("a free socket"));
        let server = Server::builder()
            .add_service(v2::key_management_service_server::KeyManagementServiceServer::new(
                self.clone(),
            ))
            .add_service(v1beta1::key_management_service_server::KeyManagementServiceServer::new(
                self,
            ))
            .serve_with_incoming(incoming);
        tokio::spawn(server);
    }
}

/// Returns a configuration with the provider of each reader, once. Every KMS provider has `socket` as its endpoint.
fn configuration(files: &[(VectorFile, &str)], socket: &Path) -> String {
    let mut providers: Vec<Value> = Vec::new();
    for (file, reader) in files {
        let mut provider = file.readers[*reader].config["resources"][0]["providers"][0].clone();
        if let Some(kms) = provider.get_mut("kms") {
            kms["endpoint"] = format!("unix://{}", socket.display()).into();
        }
        providers.push(provider);
    }
    assert_eq!(providers.len(), 5);
    json!({
        "apiVersion": "apiserver.config.k8s.io/v1",
        "kind": "EncryptionConfiguration",
        "resources": [{"resources": ["secrets"], "providers": providers}],
    })
    .to_string()
}

fn plugin(files: &[(VectorFile, &str)]) -> Recorded {
    let mut recorded = Recorded::default();
    let mut deks = BTreeMap::new();
    for (file, reader) in files {
        for dek in &file.deks {
            let annotations = dek.annotations.iter();
            let known = Dek {
                key_id: dek.key_id.clone(),
                annotations: annotations
                    .map(|(name, value)| (name.clone(), value.0.clone()))
                    .collect(),
                plaintext: dek.plaintext.clone(),
            };
            deks.insert(dek.ciphertext.clone(), known);
        }
        if let Some(key_id) = file.readers[*reader].key_ids.get("vault") {
            recorded.key_id.clone_from(key_id);
        }
    }
    recorded.deks = Arc::new(Mutex::new(deks));
    recorded
}

async fn decrypt(stage: &Stage, how: &[&str], key: Vec<u8>, stored: &[u8]) -> Vec<u8> {
    let mut args: Vec<OsString> = ["decrypt", "--resource", "secrets"].map(OsString::from).into();
    args.extend(how.iter().map(OsString::from));
    args.extend([OsString::from("--key"), OsString::from_vec(key)]);
    let finished = Process::start(stage.command(args), stored).finished().await;
    assert_eq!(finished.code, Some(0), "{}", finished.stderr);
    finished.stdout
}

#[test]
fn one_configuration_of_five_providers_reads_upstreams_values_of_each() {
    read_with_five_providers("kms-v2-key");
}

#[test]
fn one_configuration_of_five_providers_reads_the_other_dek_source_too() {
    read_with_five_providers("kms-v2-seed");
}

fn read_with_five_providers(kms_v2: &'static str) {
    play(async |stage| {
        let names: Vec<_> = std::iter::once((kms_v2, "current")).chain(FILES).collect();
        let files: Vec<_> =
            names.iter().map(|(name, reader)| (VectorFile::read(name), *reader)).collect();
        let socket = stage.path("kms.sock");
        plugin(&files).serve(&socket);
        let path = stage.file("five.json", configuration(&files, &socket));
        let path = path.to_str().expect("a path of ours");
        let with_config = ["--encryption-provider-config", path];
        let server = stage.serve(&with_config).await;
        let api = format!("unix://{}", server.api.display());
        let mut read = Vec::new();
        for ((file, reader), (name, _)) in files.iter().zip(&names) {
            let mut count = 0;
            for vector in readable(file, reader) {
                // The first two are decrypted without a server, the others by the server: each command without one compiles the component again.
                let how: &[&str] = if count < 2 { &with_config } else { &["--connect", &api] };
                let plaintext = decrypt(&stage, how, vector.key(), vector.stored()).await;
                assert!(Some(plaintext) == vector.plaintext(), "{name}: {}", vector.name);
                count += 1;
            }
            assert!(count >= 8, "{name}: {count}");
            read.push(format!("{name} {count}"));
        }
        interop::print_figures(&format!(
            "vectors that `dekker decrypt` read with one configuration: {}",
            read.join(", ")
        ));
    });
}

/// Returns the vectors that this reader can read and that the command accepts. The key is an argument, so it must not be empty or contain a NUL.
fn readable<'a>(file: &'a VectorFile, reader: &'a str) -> impl Iterator<Item = &'a Vector> {
    file.vectors.iter().filter(move |vector| {
        let key = vector.key();
        let read = vector.reads.iter().find(|read| read.reader == reader);
        read.is_some_and(|read| ["ok", "stale"].contains(&&*read.expect))
            && vector.resource == "secrets"
            && !key.is_empty()
            && !key.contains(&0)
    })
}
