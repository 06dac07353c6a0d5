//! Measures `dekker serve` with many values in each request, over one connection.
//!
//! [`body`] and [`Answer`] are the only code here that knows the format.

use std::path::Path;
use std::time::Instant;

use anyhow::{Context, Result, bail, ensure};
use http_body_util::Full;
use hyper::body::Bytes;
use hyper::header::{CONTENT_TYPE, HOST};
use hyper::{Method, Request};

use crate::rounds::{Op, Plan, Series, Source, Work};
use crate::server::{Connection, DEKKER, Server};
use crate::subjects::plaintext;
use crate::vault::{KEY, RESOURCE};

/// This benchmark's name.
pub const NAME: &str = "http-many";
/// The size of the plaintext in bytes, common for a Secret.
pub const SIZE: usize = 1024;
/// The number of values in each request.
pub const BATCH: usize = 256;

/// The content type of a batch, in both directions.
const VALUES: &str = "application/vnd.dekker.values";

/// Returns the work of this benchmark.
pub const fn work(op: Op) -> Work {
    Work { op, source: Source::Counter, size: SIZE, count: BATCH }
}

/// Measures the values per second. Returns `None` if the server has no batches.
///
/// The bodies of the requests are made before; the time includes reading the answers.
///
/// # Errors
/// Returns an error if the server does not become healthy, or if a value cannot be written or read.
pub fn measure(dekker: &Path, plan: Plan) -> Result<Option<Vec<Series>>> {
    let server = Server::start(dekker)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        let mut connection = Connection::unix(&server.api).await?;
        let text = plaintext(SIZE);
        let texts = body((0..BATCH).map(|_| &*text))?;
        let Some(written) = send(&mut connection, Op::Write, &texts).await? else {
            return Ok(None);
        };
        let stored = values(&written)?;
        ensure!(stored.iter().all(|stored| stored.len() > SIZE), "a value was not encrypted");
        let stored = body(stored)?;
        let read = send(&mut connection, Op::Read, &stored).await?.context("there are no reads")?;
        ensure!(values(&read)?.iter().all(|read| **read == *text), "a value was not read");

        let requests = if plan.quick { 2 } else { 24 };
        let mut all = Vec::new();
        for (op, body) in [(Op::Write, texts), (Op::Read, stored)] {
            eprintln!("{NAME}: {op}");
            let mut rates = Vec::with_capacity(plan.rounds);
            for round in 0..=plan.rounds {
                let start = Instant::now();
                for _ in 0..requests {
                    let answer = send(&mut connection, op, &body).await?;
                    values(&answer.context("the server no longer has batches")?)?;
                }
                // The first round is a warm-up.
                if round > 0 {
                    rates.push((requests * BATCH) as f64 / start.elapsed().as_secs_f64());
                }
            }
            all.push(Series::new(NAME, DEKKER, work(op), "values/s", rates));
        }
        Ok(Some(all))
    })
}

/// Sends a batch. Returns the body of the answer, or `None` if the server has no batches.
async fn send(connection: &mut Connection, op: Op, body: &Bytes) -> Result<Option<Bytes>> {
    let target = match op {
        Op::Write => "/v1/to-storage-many",
        Op::Read => "/v1/from-storage-many",
    };
    let request = Request::builder()
        .method(Method::POST)
        .uri(target)
        .header(HOST, "dekker")
        .header(CONTENT_TYPE, VALUES)
        .body(Full::new(body.clone()))?;
    let (status, answer) = connection.send_request(request).await?;
    if status == 404 {
        return Ok(None);
    }
    ensure!(status == 200, "{target}: the server returned status {status}");
    Ok(Some(answer))
}

/// Returns the body of a request: for each value `resource length[2] resource key length[4] key value length[4] value`, big-endian.
fn body<'v>(values: impl IntoIterator<Item = &'v [u8]>) -> Result<Bytes> {
    let mut body = Vec::new();
    for value in values {
        body.extend_from_slice(&u16::try_from(RESOURCE.len())?.to_be_bytes());
        body.extend_from_slice(RESOURCE.as_bytes());
        for bytes in [KEY, value] {
            body.extend_from_slice(&u32::try_from(bytes.len())?.to_be_bytes());
            body.extend_from_slice(bytes);
        }
    }
    Ok(body.into())
}

/// The answer for one value.
#[derive(Debug, PartialEq)]
struct Answer<'a> {
    is_done: bool,
    /// JSON.
    head: &'a [u8],
    value: &'a [u8],
}

impl<'a> Answer<'a> {
    /// Splits the first answer off a body: `outcome[1] head length[4] head value length[4] value`, big-endian. The outcome is 0 if the value was
    /// written or read.
    fn split(body: &'a [u8]) -> Option<(Self, &'a [u8])> {
        let (outcome, body) = body.split_first()?;
        let (head, body) = field(body)?;
        let (value, body) = field(body)?;
        Some((Self { is_done: *outcome == 0, head, value }, body))
    }
}

/// Splits `length[4] bytes` off a body.
fn field(body: &[u8]) -> Option<(&[u8], &[u8])> {
    let (len, body) = body.split_first_chunk()?;
    body.split_at_checked(u32::from_be_bytes(*len) as usize)
}

/// Returns the values of an answer, all of which must be done.
fn values(mut body: &[u8]) -> Result<Vec<&[u8]>> {
    let mut values = Vec::with_capacity(BATCH);
    while !body.is_empty() {
        let (answer, rest) = Answer::split(body).context("an answer is cut off")?;
        if !answer.is_done {
            bail!("the server could not do a value: {}", String::from_utf8_lossy(answer.head));
        }
        values.push(answer.value);
        body = rest;
    }
    ensure!(values.len() == BATCH, "{} answers for {BATCH} values", values.len());
    Ok(values)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_has_a_record_for_each_value() {
        let body = body([b"ab".as_slice(), b""]).unwrap();
        let key = [0, 0, 0, 31].iter().chain(KEY);
        let mut expected: Vec<u8> = b"\0\x07secrets".iter().chain(key).copied().collect();
        let start = expected.clone();
        expected.extend(b"\0\0\0\x02ab");
        expected.extend(start);
        expected.extend(b"\0\0\0\0");
        assert_eq!(body, expected);
    }

    #[test]
    fn an_answer_has_a_record_for_each_value() {
        let one = b"\0\0\0\0\x02{}\0\0\0\x03abc";
        let whole = one.repeat(BATCH);
        assert_eq!(values(&whole).unwrap(), vec![b"abc"; BATCH]);
        for (desc, body, fault) in [
            ("too few", one.repeat(BATCH - 1), "255 answers for 256 values"),
            ("cut off", whole[..whole.len() - 1].to_vec(), "an answer is cut off"),
            ("no length", b"\0\0\0".to_vec(), "an answer is cut off"),
            (
                "an error",
                [b"\x01\0\0\0\x02{}\0\0\0\0".as_slice(), &whole].concat(),
                "the server could not do a value: {}",
            ),
        ] {
            assert_eq!(values(&body).unwrap_err().to_string(), fault, "{desc}");
        }
    }
}
