//! Dekker's HTTP servers: the transform API on a unix socket, and health, metrics and status on TCP.
//!
//! [`api`] can decrypt, so it listens on a unix socket only and checks which user calls ([`peer`]). [`health`] reports nothing secret and listens on
//! TCP. Both use the engine only through a [`Service`].

mod admission;
pub(crate) mod api;
mod body;
mod coalesce;
#[cfg(test)]
mod fake;
#[cfg(any(test, feature = "fuzz"))]
pub(crate) mod fuzz;
pub(crate) mod health;
pub(crate) mod listen;
pub(crate) mod peer;
mod problem;
mod query;

use std::future::Future;
use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use zeroize::Zeroizing;

use crate::metrics::Metrics;
use crate::model::{Check, Decrypted, Encrypted, HostError, Location, MetricFamily};
use listen::Exchange;
use problem::Problem;

/// The engine's interface to the HTTP servers.
///
/// A future is dropped when its caller is gone (the client hung up). The implementation must then give up the operation.
pub(crate) trait Service: Clone + Send + Sync + 'static {
    /// Encrypts a value for storage.
    fn to_storage(
        &self,
        at: Location,
        plaintext: Zeroizing<Vec<u8>>,
    ) -> impl Future<Output = Result<Encrypted, HostError>> + Send;

    /// Decrypts a stored value.
    fn from_storage(
        &self,
        at: Location,
        stored: Vec<u8>,
    ) -> impl Future<Output = Result<Decrypted, HostError>> + Send;

    /// Encrypts values. The results have the order of the values.
    fn to_storage_many(
        &self,
        values: Vec<(Location, Bytes)>,
    ) -> impl Future<Output = Vec<Result<Encrypted, HostError>>> + Send;

    /// Decrypts stored values. The results have the order of the values.
    fn from_storage_many(
        &self,
        values: Vec<(Location, Bytes)>,
    ) -> impl Future<Output = Vec<Result<Decrypted, HostError>>> + Send;

    /// Runs the KMS checks, as upstream would run them now. May wait for the plugin.
    fn health(&self) -> impl Future<Output = Result<Vec<Check>, HostError>> + Send;

    /// Returns the names of the KMS checks without running them. The names and their order do not change during the life of the process.
    fn check_names(&self) -> impl Future<Output = Result<Vec<String>, HostError>> + Send;

    /// Returns the content of `/statusz`. It contains no secrets and no key IDs.
    fn status(&self) -> impl Future<Output = Result<serde_json::Value, HostError>> + Send;

    /// Returns the engine's metrics. They contain no secrets and no key IDs.
    fn metrics(&self) -> impl Future<Output = Result<Vec<MetricFamily>, HostError>> + Send;
}

/// Counts each answer in `dekker_http_requests_total`, labelled with a path that the server knows. If the request's connection is shed while the
/// request runs, the request is answered with 503.
async fn answer(State(metrics): State<Arc<Metrics>>, request: Request, next: Next) -> Response {
    let path = known_path(request.uri().path());
    let exchange = request.extensions().get::<Exchange>().cloned();
    let answer = next.run(request);
    let response = match exchange {
        Some(exchange) => tokio::select! {
            biased;
            response = answer => response,
            () = exchange.shed() => Problem::overloaded().into_response(),
        },
        None => answer.await,
    };
    metrics.http_request(path, response.status().as_u16());
    response
}

/// Returns the path label for metrics. Unknown paths become `other`, so that clients cannot create metric series. A single check counts as its
/// endpoint.
fn known_path(path: &str) -> &'static str {
    const PATHS: [&str; 9] = [
        api::TO_STORAGE,
        api::FROM_STORAGE,
        api::TO_STORAGE_MANY,
        api::FROM_STORAGE_MANY,
        "/healthz",
        "/livez",
        "/readyz",
        "/metrics",
        "/statusz",
    ];
    let known = |known: &&str| {
        path.strip_prefix(*known).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    };
    PATHS.into_iter().find(known).unwrap_or("other")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unknown_paths_create_no_series() {
        let table = [
            ("/v1/to-storage", "/v1/to-storage"),
            ("/v1/from-storage-many", "/v1/from-storage-many"),
            ("/healthz", "/healthz"),
            ("/healthz/kms-provider-0", "/healthz"),
            ("/healthzz", "other"),
            ("/", "other"),
            ("/x/healthz", "other"),
        ];
        for (path, expected) in table {
            assert_eq!(known_path(path), expected, "{path}");
        }
    }
}
