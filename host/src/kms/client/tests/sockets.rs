//! The errors of calls whose socket is unusable, against those that kube-apiserver's clients report: `tests/vectors/kms-sockets.json`.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use dekker_proto::kms::v1beta1;
use dekker_proto::kms::v1beta1::key_management_service_server::{
    KeyManagementService as KeyManagementServiceV1, KeyManagementServiceServer,
};
use serde::Deserialize;
use tokio::net::UnixListener;
use tokio_stream::wrappers::UnixListenerStream;
use tonic::transport::Server;

use super::*;
use crate::kms::tests::become_a_stranger;

const RECORDING: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/vectors/kms-sockets.json");

/// Far longer than an attempt to connect takes.
const TIMEOUT: Duration = Duration::from_millis(500);

/// The recording. The file describes its fields.
#[derive(Deserialize)]
struct File {
    format: u32,
    rows: Vec<Row>,
}

#[derive(Clone, Debug, Deserialize)]
struct Row {
    state: String,
    api: String,
    connected: bool,
    #[serde(default)]
    status: String,
    encrypt: String,
    decrypt: String,
}

fn rows() -> Vec<Row> {
    let file: File = serde_json::from_slice(&std::fs::read(RECORDING).unwrap()).unwrap();
    assert_eq!(file.format, 1);
    file.rows
}

/// A KMS v1 plugin that returns what it gets.
struct Echo;

#[tonic::async_trait]
impl KeyManagementServiceV1 for Echo {
    async fn version(
        &self,
        _: Request<v1beta1::VersionRequest>,
    ) -> Result<Response<v1beta1::VersionResponse>, tonic::Status> {
        let version = "v1beta1".to_owned();
        Ok(Response::new(v1beta1::VersionResponse { version, ..Default::default() }))
    }

    async fn encrypt(
        &self,
        request: Request<v1beta1::EncryptRequest>,
    ) -> Result<Response<v1beta1::EncryptResponse>, tonic::Status> {
        Ok(Response::new(v1beta1::EncryptResponse { cipher: request.get_ref().plain.clone() }))
    }

    async fn decrypt(
        &self,
        request: Request<v1beta1::DecryptRequest>,
    ) -> Result<Response<v1beta1::DecryptResponse>, tonic::Status> {
        Ok(Response::new(v1beta1::DecryptResponse { plain: request.get_ref().cipher.clone() }))
    }
}

/// Serves a plugin of this API until it has answered one call, and ends it together with its connections. The socket's file stays.
async fn serve_one_call(api: &str, address: &SocketAddress, client: &KmsClient) {
    let incoming = UnixListenerStream::new(address.bind().unwrap());
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let stopped = async { stopped.await.unwrap_or(()) };
    let mut server = Server::builder();
    let router = if api == "v1" {
        server.add_service(KeyManagementServiceServer::new(Echo))
    } else {
        server.add_service(
            dekker_proto::kms::v2::key_management_service_server::KeyManagementServiceServer::new(
                Rogue::default(),
            ),
        )
    };
    let serve = tokio::spawn(router.serve_with_incoming_shutdown(incoming, stopped));
    client.encrypt("1".into(), secret(b"x")).await.unwrap();
    stop.send(()).unwrap();
    serve.await.unwrap().unwrap();
}

/// Puts a state at the path. A listener in the result must be kept.
fn make(state: &str, path: &Path) -> Option<UnixListener> {
    let address = SocketAddress::Path(path.to_owned());
    match state {
        // The file of a killed plugin's socket is already there.
        "missing" | "killed" => None,
        "refused" => {
            drop(address.bind().unwrap());
            None
        }
        "directory" => {
            std::fs::create_dir(path).unwrap();
            None
        }
        "plain file" => {
            std::fs::write(path, b"").unwrap();
            None
        }
        "not permitted" => {
            let listener = address.bind().unwrap();
            std::fs::set_permissions(path, PermissionsExt::from_mode(0o0)).unwrap();
            Some(listener)
        }
        "never accepted" => Some(address.bind().unwrap()),
        other => panic!("an unknown state: {other}"),
    }
}

struct Said {
    status: Option<CallError>,
    encrypt: CallError,
    decrypt: CallError,
}

/// Makes each call once.
async fn calls(client: &KmsClient, api: &str) -> Said {
    let none = BTreeMap::new();
    let (status, encrypt, decrypt) = tokio::join!(
        client.status(),
        client.encrypt("1".into(), secret(b"x")),
        client.decrypt("1".into(), b"x".to_vec(), "kek-1".into(), none),
    );
    Said {
        status: (api == "v2").then(|| status.unwrap_err()),
        encrypt: encrypt.unwrap_err(),
        decrypt: decrypt.unwrap_err(),
    }
}

/// Runs a test in a thread, which may lose its permissions, with a runtime in this thread alone.
fn in_a_thread<T: Send + 'static>(
    test: impl AsyncFnOnce() -> T + Send + 'static,
) -> std::thread::JoinHandle<T> {
    std::thread::spawn(move || {
        let mut runtime = tokio::runtime::Builder::new_current_thread();
        runtime.enable_all().build().unwrap().block_on(test())
    })
}

fn client(api: &str, address: &SocketAddress, timeout: Duration) -> KmsClient {
    let new = if api == "v1" { KmsClient::v1 } else { KmsClient::v2 };
    new(address.clone(), timeout)
}

/// Plays a recorded row and returns the errors, with `SOCKET` for the socket's path.
async fn play(row: Row, path: std::path::PathBuf) -> (Row, Vec<(String, String, Option<String>)>) {
    let address = SocketAddress::Path(path.clone());
    let mut client = client(&row.api, &address, PATIENCE);
    if row.connected {
        serve_one_call(&row.api, &address, &client).await;
        if row.state != "killed" {
            std::fs::remove_file(&path).unwrap();
        }
    }
    client.timeout = TIMEOUT;
    let _listener = make(&row.state, &path);
    if row.state == "not permitted" {
        become_a_stranger();
    }
    let said = calls(&client, &row.api).await;
    let path = path.display().to_string();
    let expected = [
        said.status.map(|error| (row.status.clone(), error)),
        Some((row.encrypt.clone(), said.encrypt)),
        Some((row.decrypt.clone(), said.decrypt)),
    ];
    let compared = expected.into_iter().flatten().map(|(expected, error)| {
        (expected, error.to_string().replace(&path, "SOCKET"), error.help)
    });
    let compared = compared.collect();
    (row, compared)
}

#[test]
fn every_unusable_socket_has_upstreams_error() {
    let mut plays = Vec::new();
    for row in rows().into_iter().filter(|row| row.state != "killed during a call") {
        let dir = tempfile::tempdir().unwrap();
        // Others may look into the directory, so that only the socket is not permitted.
        std::fs::set_permissions(dir.path(), PermissionsExt::from_mode(0o755)).unwrap();
        let path = dir.path().join("kms.sock");
        plays.push((dir, in_a_thread(async move || play(row, path).await)));
    }
    assert_eq!(plays.len(), 26);
    for (_dir, play) in plays {
        let (row, compared) = play.join().unwrap();
        for (expected, said, help) in compared {
            assert_eq!(said, expected, "{row:?}");
            let help = help.unwrap_or_else(|| panic!("no help: {row:?}"));
            let cause = match &*row.state {
                "missing" => "no KMS plugin listens on unix:///",
                "refused" | "killed" => "left over from a process that has ended",
                "directory" => "is a directory, not a socket",
                "plain file" => "is a file, not a socket",
                "not permitted" => "no permission to connect",
                "never accepted" => "does not answer",
                other => panic!("an unknown state: {other}"),
            };
            assert!(help.contains(cause), "{row:?}: {help}");
            let absent = help.contains("no KMS plugin listens");
            assert!(!absent || row.state != "not permitted", "{help}");
        }
    }
}

/// Upstream's call fails at once. Ours is repeated, because a plugin that restarts is normal, and then has the error of the socket that it finds.
#[test]
fn a_call_whose_plugin_is_killed_is_repeated() {
    for row in rows().into_iter().filter(|row| row.state == "killed during a call") {
        assert_eq!(
            row.encrypt,
            "rpc error: code = Unavailable desc = error reading from server: EOF"
        );
        let dir = tempfile::tempdir().unwrap();
        let api = row.api;
        let address = socket(dir.path());
        let error = in_a_thread(async move || {
            let listener = address.bind().unwrap();
            let client = client(&api, &address, TIMEOUT);
            let killed = async {
                let (mut stream, _) = listener.accept().await.unwrap();
                // An empty SETTINGS frame, the beginning of a server's HTTP/2.
                stream.write_all(&[0, 0, 0, 4, 0, 0, 0, 0, 0]).await.unwrap();
                // The preface and SETTINGS have fewer bytes, so this is a part of the call.
                let mut came = [0; 128];
                stream.read_exact(&mut came).await.unwrap();
                drop((stream, listener));
            };
            let (encrypted, ()) = tokio::join!(client.encrypt("1".into(), secret(b"x")), killed);
            encrypted.unwrap_err()
        });
        let error = error.join().unwrap();
        let text = error.to_string();
        assert!(text.contains("DeadlineExceeded desc = latest balancer error: "), "{text}");
        assert!(text.contains("connect: connection refused"), "{text}");
    }
}

#[tokio::test]
async fn a_plugin_of_the_other_api_has_a_help() {
    for (api, served, help) in [
        ("v1", "v2", "if it is a KMS v2 plugin, set `apiVersion: v2` for this provider"),
        ("v2", "v1", "if it is a KMS v1 plugin, set `apiVersion: v1` for this provider"),
    ] {
        let dir = tempfile::tempdir().unwrap();
        let address = socket(dir.path());
        let incoming = UnixListenerStream::new(address.bind().unwrap());
        let router = if served == "v1" {
            Server::builder().add_service(KeyManagementServiceServer::new(Echo))
        } else {
            let plugin = Rogue::default();
            Server::builder().add_service(
                dekker_proto::kms::v2::key_management_service_server::KeyManagementServiceServer::new(
                    plugin,
                ),
            )
        };
        let serve = tokio::spawn(router.serve_with_incoming(incoming));
        let client = client(api, &address, PATIENCE);
        let said = calls(&client, api).await;
        for error in said.status.into_iter().chain([said.encrypt, said.decrypt]) {
            let given = error.help.clone().unwrap_or_default();
            assert!(given.contains(help), "{api}: {error}: {given}");
            assert!(!error.to_string().contains("apiVersion"), "{error}");
        }
        serve.abort();
    }
}
