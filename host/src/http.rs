//! What Dekker serves over HTTP: the transform API on a unix socket, and health, metrics and status on TCP.
//!
//! [`api`] can decrypt, so it listens on a unix socket only and asks who calls ([`peer`]). [`health`] tells nothing that is
//! secret and listens on TCP. Neither knows the engine: both speak to a [`Service`].

mod admission;
pub mod api;
mod body;
mod coalesce;
#[cfg(test)]
mod fake;
#[cfg(any(test, feature = "fuzz"))]
pub(crate) mod fuzz;
pub mod health;
pub mod listen;
pub mod peer;
mod problem;
mod query;

use std::future::Future;
use std::sync::Arc;

use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use zeroize::Zeroizing;

use crate::metrics::Metrics;
use crate::model::{Check, Decrypted, Encrypted, HostError, Location, MetricFamily};
use listen::Exchange;
use problem::Problem;

/// The engine, as the servers see it.
///
/// A future that is dropped has lost its caller (the client hung up): whatever waits for it must be given up.
pub trait Service: Clone + Send + Sync + 'static {
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

    /// Runs the KMS checks, as upstream would run them now; may wait for the plugin.
    fn health(&self) -> impl Future<Output = Result<Vec<Check>, HostError>> + Send;

    /// The names of the KMS checks, without running them: the same, in the same order, for the life of the process.
    fn check_names(&self) -> impl Future<Output = Result<Vec<String>, HostError>> + Send;

    /// What `/statusz` shows. No secrets, no key IDs.
    fn status(&self) -> impl Future<Output = Result<serde_json::Value, HostError>> + Send;

    /// What the engine counts. No secrets, no key IDs.
    fn metrics(&self) -> impl Future<Output = Result<Vec<MetricFamily>, HostError>> + Send;
}

/// Counts each answer in `dekker_http_requests_total`, under a path that the server knows. A request whose place is needed is refused here.
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

/// A client must not be able to make series, so whatever is not a path of ours is `other`; single checks count as their endpoint.
fn known_path(path: &str) -> &'static str {
    const PATHS: [&str; 7] = [
        api::TO_STORAGE,
        api::FROM_STORAGE,
        "/healthz",
        "/livez",
        "/readyz",
        "/metrics",
        "/statusz",
    ];
    let known = |known: &&str| {
        path.strip_prefix(*known)
            .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    };
    PATHS.into_iter().find(known).unwrap_or("other")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_of_clients_make_no_series() {
        let table = [
            ("/v1/to-storage", "/v1/to-storage"),
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
