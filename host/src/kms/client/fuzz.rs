//! A fuzz target for a plugin's answer to Status, from its headers to its trailers.

use std::collections::VecDeque;
use std::pin::Pin;
use std::task::{Context, Poll};

use axum::body::Bytes;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Request, Response, StatusCode};
use dekker_proto::kms::v2::key_management_service_client::KeyManagementServiceClient;
use dekker_proto::kms::v2::{StatusRequest, StatusResponse};
use prost::Message;
use tonic::body::Body;
use tower::{BoxError, Service};

use super::answer::{AnswerBody, MAX_TEXT, begin};
use crate::fuzz::{Frames, block_on};
use crate::kms::bounds::{LargeMessages, MAX_MESSAGE};

/// Longer than any error text: the part of the plugin's text that is kept, possibly quoted, and our own text.
const TEXT_MAX: usize = 4 * MAX_TEXT;

/// Reads an answer whose HTTP status, headers, frames and trailers come from the input.
///
/// # Panics
/// Panics if a property does not hold.
pub(crate) fn run(input: &[u8]) {
    let answer = Answer::of(input);
    let expected = answer.message();
    let mut client = KeyManagementServiceClient::new(Answering(Some(answer)))
        .max_decoding_message_size(MAX_MESSAGE);
    match (block_on(client.status(StatusRequest {})), expected) {
        (Ok(response), Some(expected)) => {
            assert_eq!(*response.get_ref(), expected, "another message");
        }
        (Ok(_), None) => panic!("an invalid answer was accepted"),
        (Err(status), expected) => {
            assert!(expected.is_none(), "a good answer was refused: {status}");
            assert!((1..=16).contains(&(status.code() as i32)), "no code");
            assert!(status.message().len() <= TEXT_MAX, "a long text");
        }
    }
}

struct Answer {
    http: StatusCode,
    headers: HeaderMap,
    frames: VecDeque<Bytes>,
    trailers: Option<HeaderMap>,
}

impl Answer {
    /// Builds an answer. One byte decides which parts have their usual values and which come from the input.
    fn of(mut input: &[u8]) -> Self {
        let mut next = |most: usize| {
            let len = usize::from(input.first().copied().unwrap_or(0)).min(most);
            let rest = input.get(1..).unwrap_or_default();
            let (taken, rest) = rest.split_at(len.min(rest.len()));
            input = rest;
            taken
        };
        let how = next(1).first().copied().unwrap_or(0);
        let mut headers = HeaderMap::new();
        if how & 1 == 0 {
            let grpc = HeaderValue::from_static("application/grpc");
            headers.insert("content-type", grpc);
        } else {
            put(&mut headers, "content-type", next(255));
        }
        if how & 2 != 0 {
            put(&mut headers, "grpc-encoding", next(255));
        }
        if how & 4 != 0 {
            put(&mut headers, "grpc-status", next(255));
            put(&mut headers, "grpc-message", next(255));
        }
        let code = u16::from(next(1).first().copied().unwrap_or(0)) + 100;
        let http = if how & 8 == 0 { 200 } else { code };
        let trailers = match how & 0x30 {
            0 => Some(HeaderMap::from_iter([(
                HeaderName::from_static("grpc-status"),
                HeaderValue::from_static("0"),
            )])),
            0x10 => None,
            _ => {
                let mut trailers = HeaderMap::new();
                put(&mut trailers, "grpc-status", next(255));
                put(&mut trailers, "grpc-message", next(255));
                put(&mut trailers, "grpc-status-details-bin", next(255));
                Some(trailers)
            }
        };
        let mut frames = VecDeque::new();
        while frames.len() < 16 {
            let frame = next(255);
            if frame.is_empty() {
                break;
            }
            frames.push_back(Bytes::copy_from_slice(frame));
        }
        Self {
            http: StatusCode::from_u16(http).unwrap_or(StatusCode::OK),
            headers,
            frames,
            trailers,
        }
    }

    /// Returns the expected message if the answer is valid gRPC: one message, not compressed, and the status OK.
    fn message(&self) -> Option<StatusResponse> {
        let kind = self.headers.get("content-type")?.as_bytes();
        let kind = kind.to_ascii_lowercase();
        let subtype = kind.strip_prefix(b"application/grpc")?;
        if !matches!(subtype.first(), None | Some(b'+' | b';')) || str::from_utf8(&kind).is_err() {
            return None;
        }
        let code = self.trailers.as_ref()?.get("grpc-status")?.to_str().ok()?;
        if code.parse() != Ok(0) || self.frames.is_empty() {
            return None;
        }
        let body: Vec<u8> = self.frames.iter().flatten().copied().collect();
        let [0, a, b, c, d, message @ ..] = &body[..] else {
            return None;
        };
        let len = u32::from_be_bytes([*a, *b, *c, *d]) as usize;
        let whole = len == message.len() && len <= MAX_MESSAGE;
        StatusResponse::decode(message).ok().filter(|_| whole)
    }
}

fn put(headers: &mut HeaderMap, name: &'static str, value: &[u8]) {
    if let Ok(value) = HeaderValue::from_bytes(value) {
        headers.insert(name, value);
    }
}

/// A service that gives its answer to the first request.
struct Answering(Option<Answer>);

impl Service<Request<Body>> for Answering {
    type Response = Response<AnswerBody>;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<Response<AnswerBody>, BoxError>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Request<Body>) -> Self::Future {
        let answer = self.0.take();
        Box::pin(async move {
            let Answer { http, headers, frames, trailers } = answer.ok_or("asked twice")?;
            let mut response =
                Response::new(Body::new(Frames { data: frames, announced: None, trailers }));
            *response.status_mut() = http;
            *response.headers_mut() = headers;
            Ok(begin(response, LargeMessages::default()).await?)
        })
    }
}

/// Seeds: a good answer in one frame and in several, and every way to end without one.
pub(crate) fn seeds() -> Vec<Vec<u8>> {
    let message =
        StatusResponse { version: "v2".into(), healthz: "ok".into(), key_id: "key-1".into() }
            .encode_to_vec();
    let framed = |flag: u8| {
        let len = u32::try_from(message.len()).expect("it is short");
        [&[flag][..], &len.to_be_bytes(), &message].concat()
    };
    let answer = |how: u8, parts: &[&[u8]], frames: &[&[u8]]| {
        let mut input = vec![1, how];
        for part in parts.iter().chain(frames) {
            input.push(u8::try_from(part.len()).expect("it is short"));
            input.extend_from_slice(part);
        }
        input
    };
    let (good, packed) = (framed(0), framed(1));
    vec![
        answer(0, &[b""], &[&good]),
        answer(0, &[b""], &[&good[..3], &good[3..9], &good[9..]]),
        answer(0, &[b""], &[&good, &good]),
        answer(0, &[b""], &[&good[..9]]),
        answer(2, &[b"gzip", b""], &[&packed]),
        answer(0x10, &[b""], &[&good]),
        answer(0x20, &[b"", b"14", b"no%20key%ff%2", b"!"], &[]),
        answer(0x20, &[b"", b"-1x", b"", b""], &[&good]),
        answer(4, &[b"5", b"not found", b""], &[]),
        answer(9, &[b"text/html", b"\xff"], &[b"<html>"]),
        answer(1, &[b"Application/GRPC+proto", b""], &[&good]),
    ]
}
