//! The transform API: plaintext in and stored bytes out, and the reverse, over HTTP/1.1 and HTTP/2 on a unix socket.
//!
//! | request | answer |
//! |---|---|
//! | `POST /v1/to-storage?resource=R&key=K`, plaintext | 200, stored bytes; `dekker-key-id-hash` |
//! | `POST /v1/from-storage?resource=R&key=K`, stored bytes | 200, plaintext; `dekker-stale`, `dekker-state`, `dekker-key-id-hash` |
//! | `POST /v1/to-storage-many`, values | 200, an outcome for each value |
//! | `POST /v1/from-storage-many`, values | 200, an outcome for each value |
//!
//! Bodies for one value are raw bytes: a plaintext of at most 2 MiB, or the stored value of such a plaintext. `key` is percent-decoded to bytes, and a `+` in it is
//! a plus sign; `resource` is UTF-8. `dekker-stale` is `true` or `false`. `dekker-state` is `fresh`, `other-source` or `stale`, and absent if the state is
//! unknown, as it may be in a read-only host. `dekker-key-id-hash` is absent if the value has no key ID. Errors are `application/problem+json`. Their member
//! `kind` is the engine's error kind, or `bad-request`, `forbidden`, `not-found`, `method-not-allowed`, `too-large`, `request-timeout`, `trapped` or
//! `closed`.
//!
//! Bodies for many values are sequences of protobuf messages, each with its length before it: `Value` in the request and `Outcome` in the answer, of
//! `proto/proto/dekker/values.proto`. A body has at most 8 MiB and 65536 values; each value has the limits that it has alone. A value that fails has
//! an outcome with the problem, and the others are not affected; the answer is 400 or 413 only if the body itself cannot be read. The answer is made
//! while it is read, group by group, with the memory of one group.
//!
//! A request that gets no slot, or no memory for its value, is answered with 503, kind `overloaded` and `Retry-After`. See [`super::listen`] for the
//! limits of connections and `admission` for the limits of requests. A client that sends its whole body before it reads still receives every answer:
//! the server reads and drops the rest of a refused body, up to 64 MiB. A client that sends `Expect: 100-continue` sends no body if the request can
//! be refused without it.

mod many;

use std::future::Future;
use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use axum::http::{HeaderName, HeaderValue};
use axum::middleware::from_fn_with_state;
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use zeroize::Zeroizing;

use super::admission::{Admission, Place};
use super::listen::{self, Limits, Registry, Routes, UnixSocket};
use super::peer::PeerPolicy;
use super::problem::Problem;
use super::{Service, body, query};
use crate::metrics::Metrics;
use crate::model::{Decrypted, Encrypted, Location};
pub(crate) use many::{FROM_STORAGE_MANY, TO_STORAGE_MANY};

/// The path that encrypts a plaintext to stored bytes.
pub(crate) const TO_STORAGE: &str = "/v1/to-storage";

/// The path that decrypts stored bytes to plaintext.
pub(crate) const FROM_STORAGE: &str = "/v1/from-storage";

/// The response header with the hash of the key ID that the value is encrypted with, as `sha256:<hex>`.
pub(crate) const KEY_ID_HASH: HeaderName = HeaderName::from_static("dekker-key-id-hash");

/// The response header that is `true` if the value is stale and should be written again.
pub(crate) const STALE: HeaderName = HeaderName::from_static("dekker-stale");

/// The response header with the name of the value's [`ValueState`](crate::model::ValueState).
pub(crate) const STATE: HeaderName = HeaderName::from_static("dekker-state");

/// Serves the API on `socket` until `shutdown` completes.
///
/// After that it closes the socket, removes the socket's file, gives the running requests at most 20 seconds to finish, and returns. Counts requests
/// in `metrics`.
pub(crate) async fn serve<S: Service>(
    socket: UnixSocket,
    service: S,
    metrics: Arc<Metrics>,
    peers: PeerPolicy,
    shutdown: impl Future<Output = ()> + Send,
) {
    serve_within(socket, service, metrics, peers, Limits::api(), shutdown).await;
}

async fn serve_within<S: Service>(
    socket: UnixSocket,
    service: S,
    metrics: Arc<Metrics>,
    peers: PeerPolicy,
    limits: Limits,
    shutdown: impl Future<Output = ()> + Send,
) {
    let registry = Registry::new(&limits);
    let welcome =
        Routes { router: router(service, metrics, &limits, registry.clone()), once: false };
    let refused = Routes { router: Router::new().fallback(forbidden), once: true };
    let admit = move |connection: &tokio::net::UnixStream| {
        let uid = connection.peer_cred().ok()?.uid();
        if peers.allows(uid) {
            return Some(welcome.clone());
        }
        tracing::warn!(uid, "refused a connection to the transform API");
        Some(refused.clone())
    };
    listen::serve(socket, &limits, registry, shutdown, admit).await;
}

struct Api<S> {
    service: S,
    admission: Admission,
    limits: Limits,
}

impl<S: Service> Api<S> {
    /// Reads the location and the body, which both operations take. The request keeps its slot until the answer is written.
    async fn take(
        &self,
        request: Request,
        limit: usize,
    ) -> Result<(Location, Zeroizing<Vec<u8>>, Place<'_>), Problem> {
        let at = query::location(request.uri().query().unwrap_or_default())?;
        let (value, place) = self.read(request.into_body(), limit).await?;
        Ok((at, value, place))
    }

    /// Reads a body.
    async fn read(
        &self,
        body: Body,
        limit: usize,
    ) -> Result<(Zeroizing<Vec<u8>>, Place<'_>), Problem> {
        // A body that announces too great a length is refused before the request takes a slot or memory.
        body::announced(&body, limit)?;
        let mut place = self.admission.request().await?;
        let value = body::read(body, limit, self.limits.body, &mut place).await?;
        Ok((value, place))
    }
}

fn router<S: Service>(
    service: S,
    metrics: Arc<Metrics>,
    limits: &Limits,
    registry: Registry,
) -> Router {
    let counted = from_fn_with_state(metrics, super::answer);
    Router::new()
        .route(TO_STORAGE, post(to_storage::<S>))
        .route(FROM_STORAGE, post(from_storage::<S>))
        .route(TO_STORAGE_MANY, post(many::to_storage_many::<S>))
        .route(FROM_STORAGE_MANY, post(many::from_storage_many::<S>))
        .fallback(async || Problem::not_found())
        .method_not_allowed_fallback(async || Problem::method_not_allowed("POST"))
        .layer(counted)
        .with_state(Arc::new(Api {
            service,
            admission: Admission::new(limits, registry),
            limits: limits.clone(),
        }))
}

async fn to_storage<S: Service>(
    State(api): State<Arc<Api<S>>>,
    request: Request,
) -> Result<Response, Problem> {
    let (at, plaintext, place) = api.take(request, body::LIMIT).await?;
    let Encrypted { stored, transformer_prefix: _, key_prefix: _, has_rule: _, key_id_hash } =
        api.service.to_storage(at, plaintext).await?;
    // May be plaintext: identity stores the plaintext itself.
    let mut response = answer(body::erasing(stored.into()), RAW, place);
    insert_hash(&mut response, key_id_hash.as_deref());
    Ok(response)
}

async fn from_storage<S: Service>(
    State(api): State<Arc<Api<S>>>,
    request: Request,
) -> Result<Response, Problem> {
    let (at, mut stored, place) = api.take(request, body::STORED_LIMIT).await?;
    let Decrypted {
        plaintext,
        stale,
        state,
        transformer_prefix: _,
        key_prefix: _,
        has_rule: _,
        key_id_hash,
    } = api.service.from_storage(at, std::mem::take(&mut *stored)).await?;
    let mut response = answer(body::erasing(plaintext), RAW, place);
    insert_hash(&mut response, key_id_hash.as_deref());
    let stale = HeaderValue::from_static(if stale { "true" } else { "false" });
    response.headers_mut().insert(STALE, stale);
    if let Some(state) = state {
        response.headers_mut().insert(STATE, HeaderValue::from_static(state.as_str()));
    }
    Ok(response)
}

/// The content type of an answer with one value.
const RAW: &str = "application/octet-stream";

/// Returns a 200 answer. Until its last byte is sent, the request keeps its slot.
fn answer(body: Body, content_type: &'static str, place: Place<'_>) -> Response {
    let mut response = Response::new(body);
    response.extensions_mut().insert(place.held());
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

/// Adds the header with the hash of the key ID. The hash comes from the guest. It is left out if it is not a valid header value.
fn insert_hash(response: &mut Response, key_id_hash: Option<&str>) {
    if let Some(hash) = key_id_hash.and_then(|hash| HeaderValue::try_from(hash).ok()) {
        response.headers_mut().insert(KEY_ID_HASH, hash);
    }
}

/// Refuses the request. Its body is read and dropped.
async fn forbidden(_request: Request<Body>) -> Response {
    Problem::forbidden().into_response()
}

#[cfg(test)]
mod tests;
