//! A KMS v1 plugin on a real socket.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use dekker_host::{ErrorKind, Host};
use dekker_proto::kms::v1beta1::key_management_service_server::{
    KeyManagementService, KeyManagementServiceServer,
};
use dekker_proto::kms::v1beta1::{
    DecryptRequest, DecryptResponse, EncryptRequest, EncryptResponse, VersionRequest,
    VersionResponse,
};
use tokio::net::UnixListener;
use tokio_stream::wrappers::UnixListenerStream;
use tonic::transport::Server;
use tonic::{Request, Response, Status};

use crate::room::{at, read, write};

/// A plugin that reverses DEKs and counts the calls.
#[derive(Clone, Default)]
struct Mirror {
    encrypts: Arc<AtomicU32>,
    decrypts: Arc<AtomicU32>,
}

fn mirrored(bytes: &[u8]) -> Vec<u8> {
    bytes.iter().rev().copied().collect()
}

#[tonic::async_trait]
impl KeyManagementService for Mirror {
    async fn version(
        &self,
        _: Request<VersionRequest>,
    ) -> Result<Response<VersionResponse>, Status> {
        Ok(Response::new(VersionResponse {
            version: "v1beta1".into(),
            ..VersionResponse::default()
        }))
    }

    async fn encrypt(
        &self,
        request: Request<EncryptRequest>,
    ) -> Result<Response<EncryptResponse>, Status> {
        self.encrypts.fetch_add(1, Ordering::Relaxed);
        let cipher = mirrored(&request.get_ref().plain);
        Ok(Response::new(EncryptResponse { cipher }))
    }

    async fn decrypt(
        &self,
        request: Request<DecryptRequest>,
    ) -> Result<Response<DecryptResponse>, Status> {
        self.decrypts.fetch_add(1, Ordering::Relaxed);
        let plain = mirrored(&request.get_ref().cipher);
        Ok(Response::new(DecryptResponse { plain }))
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn kms_v1_writes_with_a_dek_each_and_reads_from_its_cache() {
    let dir = tempfile::tempdir().expect("a directory");
    let socket = dir.path().join("v1.sock");
    let mirror = Mirror::default();
    let incoming = UnixListenerStream::new(UnixListener::bind(&socket).expect("a socket"));
    let server = Server::builder()
        .add_service(KeyManagementServiceServer::new(mirror.clone()))
        .serve_with_incoming(incoming);
    let server = tokio::spawn(server);
    let config = format!(
        "apiVersion: apiserver.config.k8s.io/v1\nkind: EncryptionConfiguration\nresources:\n- resources: [secrets]\n  providers:\n  \
         - kms: {{name: old, endpoint: 'unix://{}', timeout: 2s}}\n",
        socket.display()
    );
    let host = || Host::builder().config(config.as_str()).build().expect("a host");
    let first = host();
    let mut values = Vec::new();
    for n in 0..5u8 {
        let stored = write(&first, "/k", &[n; 3]).await;
        assert!(stored.starts_with(b"k8s:enc:kms:v1:old:"));
        values.push(stored);
    }
    assert_eq!(mirror.encrypts.load(Ordering::Relaxed), 5);
    let second = host();
    for (host, decrypts) in [(&first, 0), (&second, 5), (&second, 5)] {
        for (n, stored) in (0..5u8).zip(&values) {
            assert_eq!(read(host, "/k", stored).await.plaintext.as_slice(), [n; 3]);
        }
        assert_eq!(mirror.decrypts.load(Ordering::Relaxed), decrypts);
    }
    let checks = first.health().await.expect("checks");
    assert_eq!((&*checks[0].name, &checks[0].fault), ("kms-provider-0", &None));
    server.abort();
    let _ = server.await;
    let third = host();
    let error = third.from_storage(at("/k"), values[0].clone()).await.unwrap_err();
    let dekker_host::HostError::Transform(error) = error else {
        panic!("{error}");
    };
    assert_eq!((error.kind, error.grpc_code), (ErrorKind::Kms, None));
}
