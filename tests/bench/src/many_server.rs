//! Measures `dekker serve` with many values in each request, over one connection.
//!
//! The connection is HTTP/2, and two requests are under way at any time, so that the server need not wait for the client. Only `body` and `values` know
//! the format.

use std::path::Path;
use std::time::Instant;

use anyhow::{Result, bail, ensure};
use dekker_proto::values::{Outcome, Value};
use http_body_util::{BodyExt, Full};
use hyper::body::Bytes;
use hyper::client::conn::http2::{Builder, SendRequest};
use hyper::header::CONTENT_TYPE;
use hyper::{Method, Request};
use hyper_util::rt::{TokioExecutor, TokioIo};
use prost::Message;
use tokio::net::UnixStream;

use crate::rounds::{Op, Plan, Series, Source, Work};
use crate::server::{DEKKER, Server};
use crate::subjects::plaintext;
use crate::vault::{KEY, RESOURCE};

/// This benchmark's name.
pub const NAME: &str = "http-many";
/// The size of the plaintext in bytes, common for a Secret.
pub const SIZE: usize = 1024;
/// The number of values in each request.
pub const BATCH: usize = 256;

/// How many requests are under way at the same time.
const AT_ONCE: usize = 2;
/// 4 MiB: how much of the answers the server may send before the client has taken it.
const WINDOW: u32 = 4 << 20;

/// The content type of a batch, in both directions.
const VALUES: &str = "application/x-protobuf";

/// Returns the work of this benchmark.
pub const fn work(op: Op) -> Work {
    Work { op, source: Source::Counter, size: SIZE, count: BATCH }
}

/// Measures the values per second.
///
/// The bodies of the requests are made before; the time includes reading the answers.
///
/// # Errors
/// Returns an error if the server does not become healthy, or if a value cannot be written or read.
pub fn measure(dekker: &Path, plan: Plan) -> Result<Vec<Series>> {
    let server = Server::start(dekker)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        let connection = connect(&server.api).await?;
        let text = plaintext(SIZE);
        let texts = body((0..BATCH).map(|_| &*text));
        let written = send(&connection, Op::Write, &texts).await?;
        let stored = values(written)?;
        ensure!(stored.iter().all(|stored| stored.len() > SIZE), "a value was not encrypted");
        let stored = body(stored.iter().map(Vec::as_slice));
        let read = send(&connection, Op::Read, &stored).await?;
        ensure!(values(read)?.iter().all(|read| **read == *text), "a value was not read");

        let requests = if plan.quick { 2 } else { 24 };
        let mut all = Vec::new();
        for (op, body) in [(Op::Write, texts), (Op::Read, stored)] {
            eprintln!("{NAME}: {op}");
            let mut rates = Vec::with_capacity(plan.rounds);
            for round in 0..=plan.rounds {
                let start = Instant::now();
                let mut tasks = Vec::with_capacity(AT_ONCE);
                for _ in 0..AT_ONCE {
                    let (connection, body) = (connection.clone(), body.clone());
                    tasks.push(tokio::spawn(async move {
                        for _ in 0..requests / AT_ONCE {
                            values(send(&connection, op, &body).await?)?;
                        }
                        anyhow::Ok(())
                    }));
                }
                for task in tasks {
                    task.await??;
                }
                // The first round is a warm-up.
                if round > 0 {
                    rates.push((requests * BATCH) as f64 / start.elapsed().as_secs_f64());
                }
            }
            all.push(Series::new(NAME, DEKKER, work(op), "values/s", rates));
        }
        Ok(all)
    })
}

async fn connect(api: &Path) -> Result<SendRequest<Full<Bytes>>> {
    let stream = UnixStream::connect(api).await?;
    let mut builder = Builder::new(TokioExecutor::new());
    builder.initial_stream_window_size(WINDOW).initial_connection_window_size(WINDOW);
    let (sender, connection) = builder.handshake(TokioIo::new(stream)).await?;
    // An error of the connection reaches the request that waits for its answer.
    tokio::spawn(async move { drop(connection.await) });
    Ok(sender)
}

/// Sends a batch. Returns the body of the answer.
async fn send(connection: &SendRequest<Full<Bytes>>, op: Op, body: &Bytes) -> Result<Bytes> {
    let target = match op {
        Op::Write => "/v1/to-storage-many",
        Op::Read => "/v1/from-storage-many",
    };
    let request = Request::builder()
        .method(Method::POST)
        .uri(format!("http://dekker{target}"))
        .header(CONTENT_TYPE, VALUES)
        .body(Full::new(body.clone()))?;
    let response = connection.clone().send_request(request).await?;
    ensure!(response.status() == 200, "{target}: the server returned {}", response.status());
    Ok(response.into_body().collect().await?.to_bytes())
}

/// Returns the body of a request.
fn body<'v>(values: impl IntoIterator<Item = &'v [u8]>) -> Bytes {
    let message = |value: &[u8]| Value {
        resource: RESOURCE.to_owned(),
        key: Bytes::from_static(KEY),
        value: Bytes::copy_from_slice(value),
    };
    let messages = values.into_iter().flat_map(|v| message(v).encode_length_delimited_to_vec());
    messages.collect::<Vec<_>>().into()
}

/// Returns the values of an answer, all of which must be done.
fn values(mut body: Bytes) -> Result<Vec<Vec<u8>>> {
    let mut values = Vec::with_capacity(BATCH);
    while !body.is_empty() {
        let mut outcome = Outcome::decode_length_delimited(&mut body)?;
        if let Some(problem) = &outcome.problem {
            bail!("the server could not do a value: {}", problem.detail);
        }
        values.push(std::mem::take(&mut outcome.value));
    }
    ensure!(values.len() == BATCH, "{} outcomes for {BATCH} values", values.len());
    Ok(values)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_must_have_a_value_for_each() {
        let one =
            Outcome { value: b"abc".to_vec(), key_id_hash: String::new(), state: 0, problem: None };
        let one = one.encode_length_delimited_to_vec();
        assert_eq!(values(one.repeat(BATCH).into()).unwrap(), vec![b"abc"; BATCH]);
        let few = values(one.repeat(BATCH - 1).into()).unwrap_err();
        assert_eq!(few.to_string(), "255 outcomes for 256 values");
        assert!(values(Bytes::copy_from_slice(&one[1..])).is_err(), "cut off");
    }
}
