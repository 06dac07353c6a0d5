//! Requests with many values.

use dekker_proto::values::{Outcome, Problem as ProtoProblem, State as ProtoState, Value};
use prost::Message;

use super::harness::Server;
use super::*;
use crate::model::{ErrorKind, HostError, TransformError};

fn value(key: &str, bytes: &[u8]) -> Value {
    Value { resource: "secrets".into(), key: key.to_owned().into(), value: bytes.to_vec().into() }
}

fn body(values: &[Value]) -> Vec<u8> {
    values.iter().flat_map(Message::encode_length_delimited_to_vec).collect()
}

fn outcomes(mut body: &[u8]) -> Vec<Outcome> {
    let mut outcomes = Vec::new();
    while !body.is_empty() {
        outcomes.push(Outcome::decode_length_delimited(&mut body).expect("an outcome"));
    }
    outcomes
}

#[tokio::test]
async fn each_value_has_an_outcome_in_its_place() {
    let server = Server::start(Limits::default());
    let refused = [
        ("no resource", Value { resource: String::new(), ..value("/a", b"x") }, 400),
        ("no key", value("", b"x"), 400),
        ("too long", value("/a", &vec![b'x'; body::LIMIT + 1]), 413),
    ];
    for (desc, mut client) in [("HTTP/1.1", server.http1().await), ("HTTP/2", server.http2().await)]
    {
        let empty = client.post(TO_STORAGE_MANY, b"").await;
        assert_eq!((empty.status.as_u16(), empty.body.len()), (200, 0), "{desc}: no values");

        for (what, bad, status) in &refused {
            let values = [value("/a", b"\0hunter2"), bad.clone(), value("/b", b"")];
            let written = client.post(TO_STORAGE_MANY, &body(&values)).await;
            assert_eq!(written.status, 200, "{desc}, {what}");
            assert_eq!(written.header(CONTENT_TYPE), Some("application/x-protobuf"));
            assert_eq!(written.header(CACHE_CONTROL), Some("no-store"));
            let [first, second, third] = &outcomes(&written.body)[..] else {
                panic!("{desc}, {what}: not three outcomes");
            };
            assert_eq!((&*first.value, &*first.key_id_hash), (&b"2retnuh\0"[..], "sha256:aa"));
            assert_eq!(first.state(), ProtoState::Unspecified, "{desc}, {what}");
            let problem = second.problem.as_ref().expect("a problem");
            assert_eq!(problem.status, *status, "{desc}, {what}: {problem:?}");
            assert!(second.value.is_empty() && third.value.is_empty() && third.problem.is_none());
        }

        let stored: Vec<Value> =
            [&b"yes"[..], b"~ye", b"!ye", b"?ye"].map(|stored| value("/a", stored)).into();
        let read = client.post(FROM_STORAGE_MANY, &body(&stored)).await;
        let seen: Vec<_> = outcomes(&read.body)
            .iter()
            .map(|outcome| (outcome.value.clone(), outcome.state(), outcome.key_id_hash.is_empty()))
            .collect();
        let expected = [
            (b"sey".to_vec(), ProtoState::Fresh, false),
            (b"ey~".to_vec(), ProtoState::OtherSource, false),
            (b"ey!".to_vec(), ProtoState::Stale, true),
            (b"ey?".to_vec(), ProtoState::Unspecified, false),
        ];
        assert_eq!(seen, expected, "{desc}");
    }
}

#[tokio::test]
async fn a_problem_is_that_of_the_value_alone() {
    let server = Server::start(Limits::default());
    let mut client = server.http1().await;
    let error = TransformError {
        kind: ErrorKind::Kms,
        message: "plugin is away".to_owned(),
        grpc_code: Some(14),
    };
    server.fake.fail(HostError::Transform(error));
    for path in [TO_STORAGE_MANY, FROM_STORAGE_MANY] {
        let answer = client.post(path, &body(&[value("/a", b"x")])).await;
        let expected = ProtoProblem {
            status: 502,
            kind: "kms".to_owned(),
            detail: "plugin is away".to_owned(),
            grpc_code: 14,
            retry_after: 0,
        };
        assert_eq!(answer.status, 200, "{path}");
        assert_eq!(outcomes(&answer.body)[0].problem, Some(expected), "{path}");
    }
}

#[tokio::test]
async fn a_body_that_cannot_be_read_is_refused_before_anything_is_done() {
    let server = Server::start(Limits::default());
    let good = body(&[value("/a", b"x")]);
    let cut = &good[..good.len() - 1];
    let too_many = body(&vec![Value::default(); 65_537]);
    let table = [
        ("not protobuf", "", [&good[..], b"\x03abc"].concat(), 400, "value 2 of the body"),
        ("cut short", "", [&good[..], cut].concat(), 400, "value 2 of the body"),
        ("a length without an end", "", vec![0xff; 11], 400, "value 1 of the body"),
        ("too many", "", too_many, 413, "65536 values"),
        ("too long", "", vec![0; (8 << 20) + 1], 413, "8388608 bytes"),
        ("a parameter", "?resource=secrets", good.clone(), 400, "no parameters"),
    ];
    for (desc, query, body, status, detail) in table {
        for path in [TO_STORAGE_MANY, FROM_STORAGE_MANY] {
            // The server ends a connection whose body it did not read.
            let mut client = server.http1().await;
            let answer = client.post(&format!("{path}{query}"), &body).await;
            assert_eq!(answer.status, status, "{desc}");
            let problem = answer.problem();
            assert!(problem["detail"].as_str().unwrap().contains(detail), "{desc}: {problem}");
        }
    }
    assert_eq!(server.fake.groups(), [0; 0], "nothing was handled");
}

#[tokio::test]
async fn a_client_may_send_everything_before_it_reads() {
    let server = Server::start(Limits::default());
    let values: Vec<Value> = (0..4000).map(|n| value(&format!("/{n}"), &[7; 2000])).collect();
    let body = body(&values);
    assert!(body.len() > (7 << 20), "near the limit");
    let head = format!(
        "POST {TO_STORAGE_MANY} HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    let answer = server.raw_bytes(&[head.as_bytes(), &body].concat()).await;
    let head = String::from_utf8_lossy(&answer[..200]).to_lowercase();
    assert!(head.starts_with("http/1.1 200 ok\r\n"), "{head}");
    assert!(head.contains("transfer-encoding: chunked"), "{head}");
    assert!(answer.len() > 4000 * 2000, "all of it: {}", answer.len());
    let groups = server.fake.groups();
    assert_eq!(groups.iter().sum::<usize>(), 4000);
    assert!(groups.iter().all(|len| *len <= 256), "{groups:?}");
}

#[tokio::test]
async fn a_group_has_about_a_mebibyte() {
    let server = Server::start(Limits::default());
    let mut client = server.http2().await;
    let long = value("/a", &vec![7; 900 << 10]);
    let values = [&vec![value("/a", b"x"); 300][..], &vec![long; 5]].concat();
    let answer = client.post(TO_STORAGE_MANY, &body(&values)).await;
    assert_eq!(outcomes(&answer.body).len(), 305);
    assert_eq!(server.fake.groups(), [256, 44 + 2, 2, 1]);
}

#[tokio::test]
async fn a_client_that_hangs_up_ends_the_rest_of_its_values() {
    let server = Server::start(Limits::default());
    let gate = server.fake.gate();
    let values: Vec<Value> = (0..600).map(|n| value(&format!("/{n}"), b"x")).collect();
    let mut client = server.http1().await;
    let body = body(&values);
    let request =
        tokio::spawn(async move { drop(client.send(Method::POST, TO_STORAGE_MANY, &body).await) });
    gate.arrived.acquire().await.unwrap().forget();
    request.abort();
    // The value at work is dropped, and the next groups are never begun.
    gate.gone.acquire().await.unwrap().forget();
    assert_eq!(server.fake.groups(), [256]);
}

#[tokio::test]
async fn memory_of_decoded_values_is_counted() {
    let limits = Limits::default();
    let admission = Admission::new(&limits, Registry::new(&limits));
    let short = body(&vec![Value::default(); 65_536]);
    let mut held = Vec::new();
    let refused = loop {
        let mut place = admission.request().await.expect("a place");
        match super::super::many::decode(short.clone().into(), &mut place) {
            Ok(values) => held.push((values, place)),
            Err(problem) => break problem.into_message(),
        }
        assert!(held.len() < 64, "64 MiB are not enough for so many");
    };
    assert_eq!((refused.status, &*refused.kind), (503, "overloaded"));
    assert!(!held.is_empty());
}
