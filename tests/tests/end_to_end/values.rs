//! The transform API: bytes in, bytes out, and the errors.

use dekker_proto::storage::EncryptedObject;
use hyper::Method;
use prost::Message;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;

use crate::http::{Answer, target};
use crate::server::{Server, metric};
use crate::stage::play;

const KEY: &[u8] = b"/registry/secrets/default/token";
const PREFIX: &[u8] = b"k8s:enc:kms:v2:dekker:";
const MIB: usize = 1 << 20;

async fn write(server: &Server, key: &[u8], plaintext: &[u8]) -> Answer {
    let answer = server.connect().await.write(key, plaintext).await;
    answer.expect("an answer")
}

async fn read(server: &Server, key: &[u8], stored: &[u8]) -> Answer {
    let answer = server.connect().await.read(key, stored).await;
    answer.expect("an answer")
}

#[test]
fn written_values_are_read_back() {
    play(async |stage| {
        let server = stage.serve(&[]).await;
        let plaintext = b"{\"kind\":\"Secret\"}\n\0\xff";
        let written = write(&server, KEY, plaintext).await;
        let hash = written.header("dekker-key-id-hash").expect("a hash").to_owned();
        assert_eq!(written.header("content-type"), Some("application/octet-stream"));
        assert_eq!((written.header("dekker-stale"), written.header("dekker-state")), (None, None));
        let stored = written.ok();
        assert!(stored.starts_with(PREFIX));
        assert!(!stored.windows(6).any(|window| window == b"Secret"));
        let back = read(&server, KEY, &stored).await;
        assert_eq!(back.header("dekker-stale"), Some("false"));
        assert_eq!(back.header("dekker-state"), Some("fresh"));
        assert_eq!(back.header("dekker-key-id-hash"), Some(hash.as_str()));
        assert_eq!(back.ok(), plaintext);
    });
}

#[test]
fn values_of_every_size_round_trip_and_one_byte_too_many_is_refused() {
    play(async |stage| {
        let server = stage.serve(&[]).await;
        for size in [0, 1, MIB, 2 * MIB] {
            let plaintext: Vec<u8> = (0..size).map(|at| (at % 251) as u8).collect();
            let stored = write(&server, KEY, &plaintext).await.ok();
            let back = read(&server, KEY, &stored).await.ok();
            assert!(back == plaintext, "{size} bytes");
        }
        // The server answers on the basis of the announced length: no byte of the body is ever sent.
        let mut stream = UnixStream::connect(&server.api).await.expect("it listens");
        let (target, size) = (target("to-storage", "secrets", KEY), 2 * MIB + 1);
        let head =
            format!("POST {target} HTTP/1.1\r\nhost: dekker\r\ncontent-length: {size}\r\n\r\n");
        stream.write_all(head.as_bytes()).await.expect("it reads");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.expect("an answer, and the end");
        assert!(answer.starts_with("HTTP/1.1 413 "), "{answer}");
        for part in ["application/problem+json", "\"kind\":\"too-large\""] {
            assert!(answer.contains(part), "{answer}");
        }
    });
}

#[test]
fn wrong_key_and_altered_bytes_give_the_same_error() {
    play(async |stage| {
        let server = stage.serve(&[]).await;
        let stored = write(&server, KEY, b"hunter2").await.ok();
        let altered = |at: usize| {
            let value = stored.strip_prefix(PREFIX).expect("the prefix");
            let mut object = EncryptedObject::decode(value).expect("an EncryptedObject");
            let at = at.min(object.encrypted_data.len() - 1);
            object.encrypted_data[at] ^= 1;
            [PREFIX, &object.encode_to_vec()].concat()
        };
        let reference = read(&server, b"/registry/secrets/default/other", &stored).await;
        assert_eq!(reference.status, 422);
        assert_eq!(reference.json()["kind"], "decrypt-failed");
        let table = [
            ("a longer key", [KEY, b"2"].concat(), stored.clone()),
            ("a shorter key", KEY[1..].to_vec(), stored.clone()),
            ("the nonce's random part", KEY.to_vec(), altered(0)),
            ("the nonce's counter", KEY.to_vec(), altered(4)),
            ("the ciphertext", KEY.to_vec(), altered(12)),
            ("the tag", KEY.to_vec(), altered(usize::MAX)),
        ];
        for (desc, key, value) in table {
            let answer = read(&server, &key, &value).await;
            let same = (answer.status, &answer.body) == (reference.status, &reference.body);
            assert!(same, "{desc}: {}", answer.text());
        }
        assert_eq!(read(&server, KEY, &stored).await.ok(), b"hunter2");
        let timed = metric(
            &server.metrics().await,
            "apiserver_storage_transformation_duration_seconds_count",
            &[("transformation_type", "from_storage")],
        );
        assert_eq!(timed, 1.0, "only successes are timed");
    });
}

#[test]
fn a_key_may_be_any_bytes() {
    play(async |stage| {
        let server = stage.serve(&[]).await;
        let every: Vec<u8> = (0..=255).collect();
        for key in [&every[..], b"\xff", b"a+b c&d=e%2F/../x", "/registry/schlüssel".as_bytes()] {
            let stored = write(&server, key, b"value").await.ok();
            assert_eq!(read(&server, key, &stored).await.ok(), b"value");
            let other = [key, b"\0"].concat();
            assert_eq!(read(&server, &other, &stored).await.status, 422);
        }
        // A plus sign, escaped or not, is a plus sign and never a space.
        let stored = write(&server, b"a+b", b"value").await.ok();
        let mut connection = server.connect().await;
        for (key, status) in [("a+b", 200), ("a%2Bb", 200), ("a%20b", 422)] {
            let target = format!("/v1/from-storage?key={key}&resource=secrets");
            let answer = connection.send(Method::POST, &target, &stored).await;
            assert_eq!(answer.expect("an answer").status, status, "{key}");
        }
    });
}

#[test]
fn errors_are_problem_documents() {
    play(async |stage| {
        let server = stage.serve(&[]).await;
        let whole = target("to-storage", "secrets", KEY);
        let table = [
            ("no key", Method::POST, "/v1/to-storage?resource=secrets", 400, "bad-request"),
            ("no resource", Method::POST, "/v1/to-storage?key=k", 400, "bad-request"),
            (
                "unknown parameter",
                Method::POST,
                "/v1/to-storage?resource=r&key=k&x=y",
                400,
                "bad-request",
            ),
            ("bad escape", Method::POST, "/v1/to-storage?resource=r&key=%zz", 400, "bad-request"),
            ("wrong method", Method::GET, &whole, 405, "method-not-allowed"),
            ("wrong path", Method::POST, "/v2/to-storage", 404, "not-found"),
        ];
        for (desc, method, target, status, kind) in table {
            let answer = server.connect().await.send(method, target, b"").await;
            let answer = answer.expect("an answer");
            assert_eq!(answer.status, status, "{desc}");
            assert_eq!(answer.header("content-type"), Some("application/problem+json"), "{desc}");
            assert_eq!(answer.json()["kind"], kind, "{desc}");
        }
    });
}

#[test]
fn values_that_no_provider_can_read_are_reported() {
    play(async |stage| {
        let server = stage.serve(&[]).await;
        let stored = write(&server, KEY, b"hunter2").await.ok();
        let table: [(&str, Vec<u8>, u16); 3] = [
            ("plaintext, by identity", b"{\"kind\":\"Secret\"}".to_vec(), 200),
            ("another provider's name", b"k8s:enc:kms:v2:other:x".to_vec(), 422),
            ("cut short", stored[..stored.len() - 3].to_vec(), 422),
        ];
        for (desc, value, status) in table {
            let answer = read(&server, KEY, &value).await;
            assert_eq!(answer.status, status, "{desc}: {}", answer.text());
        }
    });
}
