use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};

use dekker_proto::kms::v2::key_management_service_server::KeyManagementService;
use dekker_proto::kms::v2::{DecryptResponse, EncryptResponse, StatusResponse};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::Notify;
use tonic::metadata::MetadataMap;

use super::*;
use crate::kms::tests::{PATIENCE, Running, new_plugin, socket};

mod sockets;

/// A short deadline, for tests in which it must pass.
const SHORT: Duration = Duration::from_millis(50);

fn secret(bytes: &[u8]) -> Zeroizing<Vec<u8>> {
    Zeroizing::new(bytes.to_vec())
}

/// Returns the text of an exceeded deadline, without the cause that the connection adds.
fn deadline_text<T: fmt::Debug>(outcome: Result<T, CallError>) -> String {
    let error = outcome.expect_err("the deadline passes");
    assert_eq!(error.code, Code::DeadlineExceeded as u32, "{error}");
    error.message
}

/// The texts of an exceeded deadline. The first also contains the cause.
const NOT_CONNECTED: &str = "latest balancer error: connection error: desc = ";
const NOT_READY: &str = "context deadline exceeded while waiting for connections to become ready";
const NOT_ANSWERED: &str = "context deadline exceeded";

async fn round_trip(client: &KmsClient) {
    let status = client.status().await.unwrap();
    assert_eq!((&*status.version, &*status.healthz), ("v2", "ok"));
    let encrypted = client.encrypt("1".into(), secret(b"seed")).await.unwrap();
    assert_eq!(encrypted.key_id, status.key_id);
    let Encrypted { ciphertext, key_id, annotations } = encrypted;
    let decrypted = client.decrypt("2".into(), ciphertext, key_id, annotations).await.unwrap();
    assert_eq!(*decrypted, b"seed");
}

#[tokio::test]
async fn encrypt_and_decrypt_work_over_both_kinds_of_socket() {
    let dir = tempfile::tempdir().unwrap();
    let name = format!("dekker-client-{}", std::process::id());
    for address in [socket(dir.path()), SocketAddress::Abstract(name)] {
        let running = Running::plugin(new_plugin(dir.path()), address.bind().unwrap());
        let client = Arc::new(KmsClient::v2(address, PATIENCE));
        // Spawned, so that compilation fails if a call cannot be sent between threads.
        let calls = Arc::clone(&client);
        tokio::spawn(async move { round_trip(&calls).await }).await.unwrap();
        running.stop().await;
    }
}

#[tokio::test]
async fn a_call_waits_for_a_socket_that_appears_later() {
    let dir = tempfile::tempdir().unwrap();
    let address = socket(dir.path());
    let client = KmsClient::v2(address.clone(), PATIENCE);
    let started = async {
        // The call is polled first and finds no socket.
        tokio::task::yield_now().await;
        Running::plugin(new_plugin(dir.path()), address.bind().unwrap())
    };
    let (status, _running) = tokio::join!(biased; client.status(), started);
    assert_eq!(status.unwrap().healthz, "ok");
}

#[tokio::test]
async fn a_hundred_calls_at_once_each_have_their_own_answer() {
    let dir = tempfile::tempdir().unwrap();
    let address = socket(dir.path());
    let _running = Running::plugin(new_plugin(dir.path()), address.bind().unwrap());
    let client = Arc::new(KmsClient::v2(address, PATIENCE));
    let calls = (0..100u8).map(|n| {
        let client = Arc::clone(&client);
        tokio::spawn(async move {
            let encrypted = client.encrypt("1".into(), secret(&[n; 32])).await.unwrap();
            let Encrypted { ciphertext, key_id, annotations } = encrypted;
            let decrypted = client.decrypt("2".into(), ciphertext, key_id, annotations);
            assert_eq!(*decrypted.await.unwrap(), [n; 32]);
        })
    });
    for call in calls.collect::<Vec<_>>() {
        call.await.unwrap();
    }
}

#[tokio::test]
async fn a_call_without_a_socket_ends_at_its_deadline_and_the_next_call_connects() {
    let dir = tempfile::tempdir().unwrap();
    let address = socket(dir.path());
    let mut client = KmsClient::v2(address.clone(), SHORT);
    assert!(deadline_text(client.status().await).starts_with(NOT_CONNECTED));
    // The call is gone, but its attempt to connect still exists.
    client.timeout = PATIENCE;
    let _running = Running::plugin(new_plugin(dir.path()), address.bind().unwrap());
    round_trip(&client).await;
}

#[tokio::test]
async fn a_connection_that_was_never_accepted_is_made_again() {
    let dir = tempfile::tempdir().unwrap();
    let address = socket(dir.path());
    let dying = address.bind().unwrap();
    let mut client = KmsClient::v2(address.clone(), SHORT);
    assert_eq!(deadline_text(client.status().await), NOT_READY);
    drop(dying);
    std::fs::remove_file(dir.path().join("kms.sock")).unwrap();
    client.timeout = PATIENCE;
    let _running = Running::plugin(new_plugin(dir.path()), address.bind().unwrap());
    round_trip(&client).await;
}

#[tokio::test]
async fn the_next_call_reconnects_after_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let address = socket(dir.path());
    let client = KmsClient::v2(address.clone(), PATIENCE);
    for _ in 0..3 {
        let running = Running::plugin(new_plugin(dir.path()), address.bind().unwrap());
        round_trip(&client).await;
        running.stop().await;
        std::fs::remove_file(dir.path().join("kms.sock")).unwrap();
    }
}

#[tokio::test]
async fn a_call_cancelled_while_the_plugin_is_down_does_not_spoil_the_next() {
    let dir = tempfile::tempdir().unwrap();
    let address = socket(dir.path());
    let mut client = KmsClient::v2(address.clone(), PATIENCE);
    for _ in 0..2 {
        let running = Running::plugin(new_plugin(dir.path()), address.bind().unwrap());
        client.timeout = PATIENCE;
        round_trip(&client).await;
        running.stop().await;
        std::fs::remove_file(dir.path().join("kms.sock")).unwrap();
        client.timeout = SHORT;
        assert!(deadline_text(client.status().await).starts_with(NOT_CONNECTED));
    }
}

#[tokio::test]
async fn retries_end_if_a_plugin_disconnects_on_every_call() {
    let dir = tempfile::tempdir().unwrap();
    let address = socket(dir.path());
    let listener = address.bind().unwrap();
    let client = KmsClient::v2(address, PATIENCE);
    let hang_up = async {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            // A part of the call has arrived.
            stream.read_u8().await.unwrap();
        }
    };
    tokio::select! {
        status = client.status() => {
            let error = status.unwrap_err();
            assert_eq!(error.code, Code::Unavailable as u32, "{error}");
            assert!(error.message.contains("was lost"), "{error}");
        }
        () = hang_up => {}
    }
}

#[tokio::test]
async fn dropping_the_client_closes_the_connection() {
    let dir = tempfile::tempdir().unwrap();
    let address = socket(dir.path());
    let listener = address.bind().unwrap();
    let client = KmsClient::v2(address, SHORT);
    assert_eq!(deadline_text(client.status().await), NOT_READY);
    let (mut stream, _) = listener.accept().await.unwrap();
    drop(client);
    // Returns only when the other side has closed.
    stream.read_to_end(&mut Vec::new()).await.unwrap();
}

/// Answers as configured, and keeps the metadata of the last call.
#[derive(Clone, Default)]
struct Rogue {
    ciphertext: Vec<u8>,
    error: Option<(Code, String)>,
    hangs: bool,
    metadata: Arc<Mutex<MetadataMap>>,
    reached: Arc<Notify>,
    calls: Arc<AtomicU32>,
}

impl Rogue {
    async fn answer<T>(
        &self,
        request: Request<impl Sized>,
        answer: T,
    ) -> Result<Response<T>, tonic::Status> {
        *self.metadata.lock().unwrap() = request.metadata().clone();
        self.calls.fetch_add(1, Ordering::Relaxed);
        self.reached.notify_one();
        if self.hangs {
            std::future::pending::<()>().await;
        }
        match &self.error {
            Some((code, message)) => Err(tonic::Status::new(*code, message)),
            None => Ok(Response::new(answer)),
        }
    }
}

#[tonic::async_trait]
impl KeyManagementService for Rogue {
    async fn status(
        &self,
        request: Request<StatusRequest>,
    ) -> Result<Response<StatusResponse>, tonic::Status> {
        self.answer(request, StatusResponse::default()).await
    }

    async fn encrypt(
        &self,
        request: Request<EncryptRequest>,
    ) -> Result<Response<EncryptResponse>, tonic::Status> {
        let answer = EncryptResponse { ciphertext: self.ciphertext.clone(), ..Default::default() };
        self.answer(request, answer).await
    }

    async fn decrypt(
        &self,
        request: Request<DecryptRequest>,
    ) -> Result<Response<DecryptResponse>, tonic::Status> {
        self.answer(request, DecryptResponse::default()).await
    }
}

fn rogue(dir: &tempfile::TempDir, rogue: &Rogue, timeout: Duration) -> (KmsClient, Running) {
    let address = socket(dir.path());
    let running = Running::other(rogue.clone(), address.bind().unwrap());
    (KmsClient::v2(address, timeout), running)
}

#[tokio::test]
async fn an_answer_over_the_bound_is_an_error_and_the_next_call_works() {
    let dir = tempfile::tempdir().unwrap();
    // grpc-go allows this length, although KMS v2 has no use for it.
    let mut service = Rogue { ciphertext: vec![0; MAX_MESSAGE - 100], ..Default::default() };
    let (client, running) = rogue(&dir, &service, PATIENCE);
    let encrypted = client.encrypt("1".into(), secret(b"x")).await.unwrap();
    assert_eq!(encrypted.ciphertext.len(), MAX_MESSAGE - 100);
    running.stop().await;
    std::fs::remove_file(dir.path().join("kms.sock")).unwrap();

    service.ciphertext = vec![0; MAX_MESSAGE];
    let (client, _running) = rogue(&dir, &service, PATIENCE);
    let error = client.encrypt("1".into(), secret(b"x")).await.unwrap_err();
    assert_eq!(error.code, Code::ResourceExhausted as u32);
    assert_eq!(error.message, "grpc: received message larger than max (4194309 vs. 4194304)");
    client.status().await.unwrap();
}

#[tokio::test]
async fn a_request_over_the_bound_is_refused_by_the_plugin() {
    let dir = tempfile::tempdir().unwrap();
    let address = socket(dir.path());
    let _running = Running::plugin(new_plugin(dir.path()), address.bind().unwrap());
    let client = KmsClient::v2(address, PATIENCE);
    let large = secret(&vec![0; MAX_MESSAGE - 100]);
    let error = client.encrypt("1".into(), large).await.unwrap_err();
    assert_eq!(error.code, Code::InvalidArgument as u32, "{error}");
    let long = secret(&vec![0; MAX_MESSAGE]);
    let error = client.encrypt("1".into(), long).await.unwrap_err();
    assert_eq!(error.code, Code::ResourceExhausted as u32);
    assert_eq!(error.message, "grpc: received message larger than max (4194312 vs. 4194304)");
    client.status().await.unwrap();
}

#[tokio::test]
async fn large_answers_to_many_calls_do_not_block_later_calls() {
    let dir = tempfile::tempdir().unwrap();
    let service = Rogue { ciphertext: vec![7; 1 << 20], ..Default::default() };
    let (client, _running) = rogue(&dir, &service, PATIENCE);
    let client = Arc::new(client);
    let calls = (0..32).map(|_| {
        let client = Arc::clone(&client);
        tokio::spawn(async move { client.encrypt("1".into(), secret(b"x")).await })
    });
    let mut come = 0;
    for call in calls.collect::<Vec<_>>() {
        match call.await.unwrap() {
            Ok(encrypted) => {
                assert_eq!(encrypted.ciphertext.len(), 1 << 20);
                come += 1;
            }
            Err(error) => assert_eq!(error.code, Code::ResourceExhausted as u32, "{error}"),
        }
    }
    assert!(come >= 4, "{come}");
    client.status().await.unwrap();
}

#[tokio::test]
async fn a_call_to_a_plugin_that_hangs_ends_at_its_deadline() {
    let dir = tempfile::tempdir().unwrap();
    let service = Rogue { hangs: true, ..Default::default() };
    // Long enough for the plugin to answer HTTP/2's preface.
    let (mut client, _running) = rogue(&dir, &service, Duration::from_millis(500));
    assert_eq!(deadline_text(client.status().await), NOT_ANSWERED);
    // The same holds for a plugin that had time to see the call.
    client.timeout = PATIENCE;
    tokio::select! {
        _ = client.status() => panic!("it hangs"),
        () = service.reached.notified() => {}
    }
    assert!(service.metadata.lock().unwrap().contains_key("grpc-timeout"));
}

#[tokio::test]
async fn a_plugins_error_is_returned_without_a_retry() {
    let dir = tempfile::tempdir().unwrap();
    // A lost connection has the same code.
    let service =
        Rogue { error: Some((Code::Unavailable, "the HSM is away".into())), ..Default::default() };
    let (client, _running) = rogue(&dir, &service, PATIENCE);
    let error = client.status().await.unwrap_err();
    assert_eq!(error.to_string(), "rpc error: code = Unavailable desc = the HSM is away");
}

#[tokio::test]
async fn a_plugins_long_error_is_returned_without_a_retry() {
    let dir = tempfile::tempdir().unwrap();
    let service =
        Rogue { error: Some((Code::Internal, "pkcs11: ".repeat(100 << 10))), ..Default::default() };
    let (client, _running) = rogue(&dir, &service, PATIENCE);
    let client = Arc::new(client);
    let calls = (0..32).map(|_| {
        let client = Arc::clone(&client);
        tokio::spawn(async move { client.status().await })
    });
    for call in calls.collect::<Vec<_>>() {
        let error = call.await.unwrap().unwrap_err();
        assert_eq!(error.code, Code::Internal as u32, "{error}");
        assert_eq!(error.message, "pkcs11: ".repeat(512));
    }
    assert_eq!(service.calls.load(Ordering::Relaxed), 32);
}

/// The server answers in HTTP/1 and closes the connection.
#[tokio::test]
async fn an_http_1_server_is_reported_as_the_cause() {
    let dir = tempfile::tempdir().unwrap();
    let address = socket(dir.path());
    let listener = address.bind().unwrap();
    let client = KmsClient::v2(address, PATIENCE);
    let serve = async {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            stream.read_u8().await.unwrap();
            // Fails if the client is gone.
            let _ =
                stream.write_all(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n").await;
        }
    };
    tokio::select! {
        status = client.status() => {
            let error = status.unwrap_err();
            assert_eq!(error.code, Code::Unavailable as u32, "{error}");
            assert!(error.message.contains("does not speak gRPC"), "{error}");
        }
        () = serve => {}
    }
}

#[test]
fn errors_print_as_in_go() {
    for (code, want) in [(1, "Canceled"), (4, "DeadlineExceeded"), (99, "Unknown")] {
        let message = "m".to_owned();
        let shown = CallError { code, message, help: None }.to_string();
        assert_eq!(shown, format!("rpc error: code = {want} desc = m"));
    }
}

#[test]
fn debug_shows_no_key_id() {
    let status = Status { version: "v2".into(), healthz: "ok".into(), key_id: "SECRET".into() };
    let encrypted =
        Encrypted { ciphertext: vec![1], key_id: "SECRET".into(), annotations: BTreeMap::new() };
    let shown = format!("{status:?} {encrypted:?}");
    assert!(!shown.contains("SECRET") && shown.contains("sha256:"), "{shown}");
}
