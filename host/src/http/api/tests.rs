mod budgets;
mod connections;
mod harness;
mod many;
mod refusals;

use axum::http::{Method, StatusCode};
use serde_json::json;

use super::*;
use crate::model::{ErrorKind, HostError, TransformError};
use harness::Server;

const TARGET: &str = "/v1/to-storage?resource=secrets&key=/registry/secrets/ns/a";

#[tokio::test]
async fn values_round_trip_over_both_http_versions() {
    let server = Server::start(Limits::default());
    for (desc, mut client) in [("HTTP/1.1", server.http1().await), ("HTTP/2", server.http2().await)]
    {
        let written = client.post(TARGET, b"\0hunter2").await;
        assert_eq!(written.status, 200, "{desc}");
        assert_eq!(written.body, b"2retnuh\0", "{desc}");
        assert_eq!(written.header(CONTENT_TYPE), Some("application/octet-stream"), "{desc}");
        assert_eq!(written.header(KEY_ID_HASH), Some("sha256:aa"), "{desc}");
        assert_eq!((written.header(STALE), written.header(STATE)), (None, None), "{desc}");

        let target = "/v1/from-storage?key=/registry/secrets/ns/a&resource=secrets";
        let read = client.post(target, &written.body).await;
        assert_eq!(
            (read.status, read.body.as_slice()),
            (StatusCode::OK, &b"\0hunter2"[..]),
            "{desc}"
        );
        assert_eq!(read.header(STALE), Some("false"), "{desc}");
        assert_eq!(read.header(KEY_ID_HASH), Some("sha256:aa"), "{desc}");

        let stale = client.post(target, b"!yes").await;
        assert_eq!(
            (stale.header(STALE), stale.header(KEY_ID_HASH)),
            (Some("true"), None),
            "{desc}"
        );
        let states = [
            (b"yes", "false", Some("fresh")),
            (b"~ye", "true", Some("other-source")),
            (b"!ye", "true", Some("stale")),
            (b"?ye", "false", None),
        ];
        for (stored, stale, state) in states {
            let read = client.post(target, stored).await;
            assert_eq!((read.header(STALE), read.header(STATE)), (Some(stale), state), "{desc}");
        }

        let empty = client.post(TARGET, b"").await;
        assert_eq!((empty.status, empty.body.as_slice()), (StatusCode::OK, &b""[..]), "{desc}");
    }
    let text = server.metrics.render(&[]);
    let line = "dekker_http_requests_total{path=\"/v1/to-storage\",class=\"2xx\"} 4";
    assert!(text.lines().any(|l| l == line), "{line}\nnot in\n{text}");
}

#[tokio::test]
async fn key_is_any_bytes_and_plus_is_literal() {
    let server = Server::start(Limits::default());
    let mut client = server.http1().await;
    let answer = client.post("/v1/to-storage?resource=secrets&key=/a+b%20c%ff%00", b"x").await;
    assert_eq!(answer.status, 200);
    let expected = Location { resource: "secrets".to_owned(), key: b"/a+b c\xff\0".to_vec() };
    assert_eq!(server.fake.last_seen(), Some(expected));
}

#[tokio::test]
async fn engine_errors_are_problem_documents() {
    let transform = |kind, message: &str, grpc_code| {
        HostError::Transform(TransformError { kind, message: message.to_owned(), grpc_code })
    };
    let opaque = "the value cannot be decrypted: wrong key, wrong location, or altered bytes";
    let trapped = HostError::Trapped.to_string();
    let table = [
        (
            transform(ErrorKind::NoMatchingPrefix, "no matching prefix found", None),
            422,
            "no-matching-prefix",
            "no matching prefix found",
        ),
        (transform(ErrorKind::EncryptedData, "identity", None), 422, "encrypted-data", "identity"),
        (
            transform(ErrorKind::DecryptFailed, "key1: bad padding", None),
            422,
            "decrypt-failed",
            opaque,
        ),
        (transform(ErrorKind::Malformed, "too short", None), 422, "malformed", "too short"),
        (transform(ErrorKind::Kms, "plugin is away", Some(14)), 502, "kms", "plugin is away"),
        (transform(ErrorKind::NotReady, "expired", None), 503, "not-ready", "expired"),
        (
            transform(ErrorKind::NoncesExhausted, "used up", None),
            503,
            "nonces-exhausted",
            "used up",
        ),
        (transform(ErrorKind::Overloaded, "too many", None), 503, "overloaded", "too many"),
        (transform(ErrorKind::ReadOnly, "read-only", None), 403, "read-only", "read-only"),
        (transform(ErrorKind::Internal, "rng", None), 500, "internal", "rng"),
        (HostError::Trapped, 500, "trapped", trapped.as_str()),
        (HostError::Closed, 503, "closed", "the server is shutting down"),
    ];
    let server = Server::start(Limits::default());
    let mut client = server.http1().await;
    for (fault, status, kind, detail) in table {
        server.fake.fail(fault.clone());
        for target in [TARGET, "/v1/from-storage?resource=s&key=k"] {
            let answer = client.post(target, b"x").await;
            assert_eq!(answer.status, status, "{fault:?}");
            let mut expected = json!({
                "type": "about:blank", "title": answer.status.canonical_reason().unwrap(),
                "status": status, "detail": detail, "kind": kind,
            });
            if kind == "kms" {
                expected["grpc-code"] = 14.into();
            }
            assert_eq!(answer.problem(), expected, "{fault:?}");
            let retry = match kind {
                "not-ready" => Some("10"),
                "overloaded" => Some("1"),
                _ => None,
            };
            assert_eq!(answer.header("retry-after"), retry, "{fault:?}");
        }
    }
}

#[tokio::test]
async fn bad_requests_are_problem_documents() {
    let table = [
        (
            Method::POST,
            "/v1/to-storage?resource=s&key=k&x=1",
            400,
            "bad-request",
            "unknown parameter \"x\"; expected resource and key",
        ),
        (
            Method::POST,
            "/v1/to-storage?resource=s&key=k&key=k",
            400,
            "bad-request",
            "parameter \"key\" is given more than once",
        ),
        (
            Method::POST,
            "/v1/from-storage",
            400,
            "bad-request",
            "parameter \"resource\" is required and must not be empty",
        ),
        (
            Method::POST,
            "/v1/from-storage?resource=s&key=%f",
            400,
            "bad-request",
            "parameter \"key\" has a bad percent escape",
        ),
        (Method::POST, "/", 404, "not-found", "no such path"),
        (Method::GET, "/v1/to-storage/", 404, "not-found", "no such path"),
        (
            Method::GET,
            "/v1/to-storage?resource=s&key=k",
            405,
            "method-not-allowed",
            "this path answers POST only",
        ),
        (
            Method::PUT,
            "/v1/from-storage?resource=s&key=k",
            405,
            "method-not-allowed",
            "this path answers POST only",
        ),
    ];
    let server = Server::start(Limits::default());
    for (method, target, status, kind, detail) in table {
        for mut client in [server.http1().await, server.http2().await] {
            let answer = client.send(method.clone(), target, b"").await.unwrap();
            assert_eq!(answer.status, status, "{method} {target}");
            let problem = answer.problem();
            assert_eq!(
                (&problem["kind"], &problem["detail"]),
                (&kind.into(), &detail.into()),
                "{target}"
            );
            let allow: Vec<_> = answer.headers.get_all("allow").iter().collect();
            let expected = if status == 405 { vec!["POST"] } else { Vec::new() };
            assert_eq!(allow, expected, "{method} {target}");
        }
    }
    assert_eq!(server.fake.last_seen(), None);
}

#[tokio::test]
async fn body_over_two_mib_is_refused_before_it_is_read_whole() {
    let server = Server::start(Limits::default());
    let head = format!("POST {TARGET} HTTP/1.1\r\nhost: x\r\n");

    // The body is never sent.
    let answer =
        server.raw_answer(format!("{head}content-length: 2097153\r\n\r\n").as_bytes()).await;
    assert!(answer.starts_with("HTTP/1.1 413 "), "announced: {answer}");
    assert!(answer.contains("\"kind\":\"too-large\""), "announced: {answer}");

    // The end of the body is never sent.
    let mut request = format!("{head}transfer-encoding: chunked\r\n\r\n200000\r\n").into_bytes();
    request.resize(request.len() + body::LIMIT, b'x');
    request.extend_from_slice(b"\r\n1\r\nx\r\n");
    let answer = server.raw_answer(&request).await;
    assert!(answer.starts_with("HTTP/1.1 413 "), "chunked: {answer}");

    let mut client = server.http2().await;
    let answer = client.post(TARGET, &vec![b'x'; body::LIMIT + 1]).await;
    assert_eq!(
        (answer.status, answer.problem()["kind"].as_str()),
        (StatusCode::PAYLOAD_TOO_LARGE, Some("too-large"))
    );

    assert_eq!(server.fake.last_seen(), None);
    let answer = server.http1().await.post(TARGET, &vec![b'x'; body::LIMIT]).await;
    assert_eq!((answer.status, answer.body.len()), (StatusCode::OK, body::LIMIT));
}
