//! Many values in one request.
//!
//! The body is read as a whole, so a client may send all of it before it reads the answer. The answer is made group by group, when the connection can
//! take more of it, so it takes no more memory than one group.

use std::convert::Infallible;
use std::future::Future;
use std::marker::PhantomData;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use axum::body::{Body, Bytes, HttpBody};
use axum::extract::{Request, State};
use axum::response::Response;
use dekker_proto::values::{Outcome, State as ProtoState, Value};
use hyper::body::Frame;
use prost::Message;
use zeroize::Zeroizing;

use super::{Api, answer};
use crate::http::Service;
use crate::http::admission::Place;
use crate::http::body;
use crate::http::problem::Problem;
use crate::http::query::QueryError;
use crate::model::{Decrypted, Encrypted, HostError, Location, Plaintext, ValueState};

/// The path that encrypts many plaintexts.
pub(crate) const TO_STORAGE_MANY: &str = "/v1/to-storage-many";

/// The path that decrypts many stored values.
pub(crate) const FROM_STORAGE_MANY: &str = "/v1/from-storage-many";

/// 8 MiB: the longest body. A single value of the greatest length fits.
const LIMIT: usize = 8 * 1024 * 1024;

/// 65536: the number of values in a body. It bounds what the server holds beside the body.
const VALUES: usize = 65_536;

/// 1024: for how many values at a time memory is reserved.
const STEP: usize = 1024;

/// 256: the number of values in a group, as many as a worker handles in one call.
const GROUP: usize = 256;

/// 1 MiB: a group of this length is full.
const GROUP_BYTES: usize = 1024 * 1024;

pub(super) async fn to_storage_many<S: Service>(
    State(api): State<Arc<Api<S>>>,
    request: Request,
) -> Result<Response, Problem> {
    many::<S, Writes>(api, request).await
}

pub(super) async fn from_storage_many<S: Service>(
    State(api): State<Arc<Api<S>>>,
    request: Request,
) -> Result<Response, Problem> {
    many::<S, Reads>(api, request).await
}

async fn many<S: Service, O: Operation>(
    api: Arc<Api<S>>,
    request: Request,
) -> Result<Response, Problem> {
    if request.uri().query().is_some_and(|query| !query.is_empty()) {
        return Err(Problem::bad_request(
            "this path takes no parameters: each value in the body has its own resource and key",
        ));
    }
    let (body, mut place) = api.read(request.into_body(), LIMIT).await?;
    let answers = Answers::<S, O> {
        service: api.service.clone(),
        rest: decode(body, &mut place)?.into_iter(),
        group: None,
        operation: PhantomData,
    };
    Ok(answer(Body::new(answers), "application/x-protobuf", place))
}

/// Decodes a whole body. The values share its memory, which is erased when the last of them is dropped.
///
/// A body of many short values takes far more memory once it is decoded, so that counts towards the request's memory, too.
pub(super) fn decode(
    mut body: Zeroizing<Vec<u8>>,
    place: &mut Place<'_>,
) -> Result<Vec<Value>, Problem> {
    let length = body.len();
    let mut rest = Bytes::from_owner(Plaintext::from(std::mem::take(&mut *body)));
    let mut values: Vec<Value> = Vec::new();
    while !rest.is_empty() {
        if values.len() == VALUES {
            return Err(Problem::too_large(format!("the body has more than {VALUES} values")));
        }
        if values.len() == values.capacity() {
            values.reserve_exact(STEP);
            // The names of the resources are copies of a part of the body.
            place.try_reserve(2 * length + values.capacity() * size_of::<Value>())?;
        }
        let value = Value::decode_length_delimited(&mut rest).map_err(|_| {
            let number = values.len() + 1;
            Problem::bad_request(format!(
                "value {number} of the body is not a Value message with its length before it: see proto/proto/dekker/values.proto"
            ))
        })?;
        values.push(value);
    }
    Ok(values)
}

/// What is done with the values: encryption or decryption.
trait Operation: 'static {
    /// The longest value.
    const LIMIT: usize;

    /// Handles a group of values. The outcomes have the order of the values.
    fn handle<S: Service>(
        service: &S,
        values: Vec<(Location, Bytes)>,
    ) -> impl Future<Output = Vec<Outcome>> + Send;
}

struct Writes;

impl Operation for Writes {
    const LIMIT: usize = body::LIMIT;

    async fn handle<S: Service>(service: &S, values: Vec<(Location, Bytes)>) -> Vec<Outcome> {
        let done = service.to_storage_many(values).await;
        done.into_iter().map(written).collect()
    }
}

struct Reads;

impl Operation for Reads {
    const LIMIT: usize = body::STORED_LIMIT;

    async fn handle<S: Service>(service: &S, values: Vec<(Location, Bytes)>) -> Vec<Outcome> {
        let done = service.from_storage_many(values).await;
        done.into_iter().map(read).collect()
    }
}

fn written(done: Result<Encrypted, HostError>) -> Outcome {
    match done {
        Ok(Encrypted { stored, key_id_hash, .. }) => Outcome {
            value: stored,
            key_id_hash: key_id_hash.as_deref().unwrap_or_default().to_owned(),
            state: ProtoState::Unspecified.into(),
            problem: None,
        },
        Err(error) => failed(error.into()),
    }
}

fn read(done: Result<Decrypted, HostError>) -> Outcome {
    match done {
        Ok(Decrypted { plaintext, state, key_id_hash, .. }) => Outcome {
            value: std::mem::take(&mut *plaintext.into_zeroizing()),
            key_id_hash: key_id_hash.as_deref().unwrap_or_default().to_owned(),
            state: match state {
                None => ProtoState::Unspecified,
                Some(ValueState::Fresh) => ProtoState::Fresh,
                Some(ValueState::OtherSource) => ProtoState::OtherSource,
                Some(ValueState::Stale) => ProtoState::Stale,
            }
            .into(),
            problem: None,
        },
        Err(error) => failed(error.into()),
    }
}

fn failed(problem: Problem) -> Outcome {
    let mut outcome = Outcome::default();
    outcome.problem = Some(problem.into_message());
    outcome
}

/// Returns the location and the value, or why they cannot be handled.
fn checked<O: Operation>(value: Value) -> Result<(Location, Bytes), Problem> {
    let Value { resource, key, value } = value;
    if resource.is_empty() {
        return Err(QueryError::Missing("resource").into());
    }
    if key.is_empty() {
        return Err(QueryError::Missing("key").into());
    }
    if value.len() > O::LIMIT {
        return Err(Problem::too_large(format!("the value is longer than {} bytes", O::LIMIT)));
    }
    Ok((Location { resource, key: key.to_vec() }, value))
}

/// The body of an answer: the outcomes of one group after the other.
struct Answers<S, O> {
    service: S,
    /// The values of later groups.
    rest: std::vec::IntoIter<Value>,
    /// The group at work.
    group: Option<Pin<Box<dyn Future<Output = Plaintext> + Send>>>,
    operation: PhantomData<fn() -> O>,
}

/// No field is pinned in place.
impl<S, O> Unpin for Answers<S, O> {}

impl<S: Service, O: Operation> HttpBody for Answers<S, O> {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let Self { service, rest, group, .. } = self.get_mut();
        if group.is_none() && rest.len() == 0 {
            return Poll::Ready(None);
        }
        let at_work = group.get_or_insert_with(|| {
            let values = first_group(rest);
            Box::pin(outcomes::<S, O>(service.clone(), values))
        });
        let outcomes = ready!(at_work.as_mut().poll(cx));
        *group = None;
        Poll::Ready(Some(Ok(Frame::data(Bytes::from_owner(outcomes)))))
    }

    fn is_end_stream(&self) -> bool {
        self.group.is_none() && self.rest.len() == 0
    }
}

/// Takes values until the group is full.
fn first_group(rest: &mut std::vec::IntoIter<Value>) -> Vec<Value> {
    let mut bytes = 0;
    let mut has_room = |value: &Value| {
        let fits = bytes < GROUP_BYTES;
        bytes += value.value.len();
        fits
    };
    let count = rest.as_slice().iter().take(GROUP).take_while(|value| has_room(value)).count();
    rest.take(count).collect()
}

/// Handles a group, and returns the outcomes as they are sent.
async fn outcomes<S: Service, O: Operation>(service: S, values: Vec<Value>) -> Plaintext {
    let mut good = Vec::with_capacity(values.len());
    let refused: Vec<Option<Outcome>> = values
        .into_iter()
        .map(|value| checked::<O>(value).map(|value| good.push(value)).err().map(failed))
        .collect();
    let mut done = O::handle(&service, good).await.into_iter();
    let outcomes = refused.into_iter().filter_map(|refused| refused.or_else(|| done.next()));
    encode(&outcomes.collect::<Vec<_>>())
}

/// Writes each outcome after its length.
fn encode(outcomes: &[Outcome]) -> Plaintext {
    let length = |outcome: &Outcome| {
        let len = outcome.encoded_len();
        prost::length_delimiter_len(len) + len
    };
    // The buffer never grows, so it leaves no copy behind.
    let mut bytes = Vec::with_capacity(outcomes.iter().map(length).sum());
    for outcome in outcomes {
        // A `Vec` has room for every message.
        let _ = outcome.encode_length_delimited(&mut bytes);
    }
    bytes.into()
}
