//! The endpoints `/healthz`, `/livez`, `/readyz`, `/metrics` and `/statusz`, on TCP.
//!
//! The health endpoints answer exactly as kube-apiserver's do, byte for byte. Upstream: pkg/server/healthz/healthz.go.

mod report;

use std::collections::BTreeSet;
use std::future::Future;
use std::sync::{Arc, OnceLock};

use axum::Router;
use axum::body::Bytes;
use axum::extract::{Request, State};
use axum::http::header::{ALLOW, CONTENT_TYPE, X_CONTENT_TYPE_OPTIONS};
use axum::http::{HeaderValue, Method, StatusCode, Uri};
use axum::middleware::from_fn_with_state;
use axum::response::{IntoResponse, Response};
use tokio::net::TcpListener;

use super::admission::Admission;
use super::coalesce::Coalesced;
use super::listen::{self, Limits, Registry, Routes};
use super::problem::Problem;
use super::{Service, query};
use crate::metrics::{self, Metrics};
use crate::model::{Check, ErrorKind, HostError, TransformError};
use report::{Outcome, Report};

/// The name of the first check, which always passes.
const PING: &str = "ping";

const TEXT: HeaderValue = HeaderValue::from_static("text/plain; charset=utf-8");

/// Serves health, metrics and status on `listener` until `shutdown` completes, then lets running requests finish, as [`api`](super::api) does.
pub(crate) async fn serve<S: Service>(
    listener: TcpListener,
    service: S,
    metrics: Arc<Metrics>,
    shutdown: impl Future<Output = ()> + Send,
) {
    let limits = Limits::health();
    let registry = Registry::new(&limits);
    let routes = Routes { router: router(service, metrics, &limits, &registry), once: false };
    let admit = move |_: &_| Some(routes.clone());
    listen::serve(listener, &limits, registry, shutdown, admit).await;
}

#[derive(Clone, Copy)]
enum Endpoint {
    Healthz,
    Livez,
    Readyz,
}

impl Endpoint {
    const ALL: [Self; 3] = [Self::Healthz, Self::Livez, Self::Readyz];

    const fn name(self) -> &'static str {
        match self {
            Self::Healthz => "healthz",
            Self::Livez => "livez",
            Self::Readyz => "readyz",
        }
    }

    /// Returns whether the endpoint runs the KMS checks. `/livez` does not: a plugin that is down is no reason to restart Dekker.
    const fn has_kms_checks(self) -> bool {
        match self {
            Self::Healthz | Self::Readyz => true,
            Self::Livez => false,
        }
    }
}

struct Health<S> {
    service: S,
    metrics: Arc<Metrics>,
    /// Set by the first successful query: the names do not change during the life of the process.
    kms_names: OnceLock<Vec<String>>,
    checks: Coalesced<Arc<Result<Vec<Check>, HostError>>>,
    texts: Coalesced<Bytes>,
    statuses: Coalesced<Result<Bytes, HostError>>,
    /// Admits requests that wait for checks.
    asking: Admission,
    /// Admits requests for metrics and status, separately, so that a plugin that hangs does not use up their slots.
    reporting: Admission,
}

fn router<S: Service>(
    service: S,
    metrics: Arc<Metrics>,
    limits: &Limits,
    registry: &Registry,
) -> Router {
    let counted = from_fn_with_state(Arc::clone(&metrics), super::answer);
    let health = Health {
        service,
        metrics,
        kms_names: OnceLock::new(),
        checks: Coalesced::default(),
        texts: Coalesced::default(),
        statuses: Coalesced::default(),
        asking: Admission::new(limits, registry.clone()),
        reporting: Admission::new(limits, registry.clone()),
    };
    Router::new().fallback(dispatch::<S>).layer(counted).with_state(Arc::new(health))
}

/// What a path requests.
enum Target<'a> {
    All(Endpoint),
    One(Endpoint, &'a str),
    Metrics,
    Statusz,
}

impl<'a> Target<'a> {
    fn of(path: &'a str) -> Option<Self> {
        match path {
            "/metrics" => return Some(Self::Metrics),
            "/statusz" => return Some(Self::Statusz),
            _ => {}
        }
        Endpoint::ALL.into_iter().find_map(|endpoint| {
            let rest = path.strip_prefix('/')?.strip_prefix(endpoint.name())?;
            match rest.strip_prefix('/') {
                Some(check) => Some(Self::One(endpoint, check)),
                None => rest.is_empty().then_some(Self::All(endpoint)),
            }
        })
    }
}

/// Routes a request by its decoded path alone, as upstream's mux does (pkg/server/mux/pathrecorder.go).
async fn dispatch<S: Service>(State(health): State<Arc<Health<S>>>, request: Request) -> Response {
    let path = query::unescape(request.uri().path().as_bytes(), false);
    let path = path.and_then(|path| String::from_utf8(path).ok()).unwrap_or_default();
    let Some(target) = Target::of(&path) else {
        return not_found();
    };
    if let Target::One(endpoint, check) = target
        && !health.names(endpoint).await.iter().any(|name| name == check)
    {
        return not_found();
    }
    // Upstream's health endpoints accept every method; probes and scrapers use only these two.
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        return method_not_allowed();
    }
    match target {
        Target::All(endpoint) => health.all(endpoint, request.uri()).await,
        Target::One(_, check) => health.one(check).await,
        Target::Metrics => health.metrics().await,
        Target::Statusz => health.status().await,
    }
}

impl<S: Service> Health<S> {
    /// Returns the checks installed at an endpoint, in order.
    async fn names(&self, endpoint: Endpoint) -> Vec<String> {
        let mut names = vec![PING.to_owned()];
        if endpoint.has_kms_checks() {
            names.extend(self.kms_names().await);
        }
        names
    }

    async fn kms_names(&self) -> Vec<String> {
        if let Some(names) = self.kms_names.get() {
            return names.clone();
        }
        match self.service.check_names().await {
            Ok(names) => self.kms_names.get_or_init(|| names).clone(),
            // Without the names the endpoint must not report healthy. `kms-providers` is the check's name where there is only one.
            Err(_) => vec!["kms-providers".to_owned()],
        }
    }

    /// Runs all checks of an endpoint except the excluded ones. Excluded checks are not run, so that a plugin that hangs does not delay a client that
    /// excluded it. The engine runs the KMS checks together, so they are skipped only if all of them are excluded.
    async fn all(&self, endpoint: Endpoint, uri: &Uri) -> Response {
        let pairs = query::go_pairs(uri.query().unwrap_or_default());
        let verbose = pairs.iter().any(|(name, _)| name == b"verbose");
        let mut unknown: BTreeSet<Vec<u8>> = pairs
            .into_iter()
            .filter(|(name, _)| name == b"exclude")
            .map(|(_, value)| value)
            .collect();
        let installed = self.names(endpoint).await;
        // A name that is removed from `unknown` is excluded. The names that remain match no check.
        let excluded: Vec<bool> =
            installed.iter().map(|name| unknown.remove(name.as_bytes())).collect();
        let asks = |(name, excluded): (&String, &bool)| name != PING && !excluded;
        let checks = match installed.iter().zip(&excluded).any(asks) {
            true => self.checks().await,
            false => Arc::new(Ok(Vec::new())),
        };
        let mut report = Report::new(endpoint.name());
        for (name, excluded) in installed.iter().zip(excluded) {
            report.push(name, &if excluded { Outcome::Excluded } else { outcome(name, &checks) });
        }
        report.cannot_exclude(&unknown);
        match report.finish(verbose) {
            Ok(body) => text(StatusCode::OK, body),
            Err(body) => error(StatusCode::INTERNAL_SERVER_ERROR, &body),
        }
    }

    /// Runs one installed check.
    async fn one(&self, name: &str) -> Response {
        let checks = match name {
            PING => Arc::new(Ok(Vec::new())),
            _ => self.checks().await,
        };
        match outcome(name, &checks) {
            // Upstream sets no header here. Go detects the content type from the text, and sends no `nosniff`.
            Outcome::Passed | Outcome::Excluded => ([(CONTENT_TYPE, TEXT)], "ok").into_response(),
            Outcome::Failed(fault) => {
                error(StatusCode::INTERNAL_SERVER_ERROR, &format!("internal server error: {fault}"))
            }
        }
    }

    /// Returns the results of the KMS checks; concurrent requests share a run. The reason for a failure goes to the log only, because the endpoints
    /// are public.
    async fn checks(&self) -> Arc<Result<Vec<Check>, HostError>> {
        let Ok(_place) = self.asking.request().await else {
            // The engine's own error for this case. The caller reports the check as failed.
            return Arc::new(Err(HostError::Transform(TransformError {
                kind: ErrorKind::Overloaded,
                message: "too many requests wait for the KMS plugin".to_owned(),
                grpc_code: None,
            })));
        };
        let run = async || {
            let checks = self.service.health().await;
            log_failed(&checks);
            Arc::new(checks)
        };
        self.checks.get(run).await
    }

    /// Returns the host's metrics, and the engine's if it answers.
    async fn metrics(&self) -> Response {
        let Ok(place) = self.reporting.request().await else {
            return Problem::overloaded().into_response();
        };
        let run = async || {
            let engine = self.service.metrics().await.unwrap_or_default();
            Bytes::from(self.metrics.render(&engine))
        };
        let text = self.texts.get(run).await;
        let headers = [(CONTENT_TYPE, HeaderValue::from_static(metrics::CONTENT_TYPE))];
        let mut response = (headers, text).into_response();
        response.extensions_mut().insert(place.held());
        response
    }

    async fn status(&self) -> Response {
        let Ok(place) = self.reporting.request().await else {
            return Problem::overloaded().into_response();
        };
        let run = async || {
            let status = self.service.status().await?;
            Ok(Bytes::from(status.to_string()))
        };
        match self.statuses.get(run).await {
            Ok(status) => {
                let headers = [(CONTENT_TYPE, HeaderValue::from_static("application/json"))];
                let mut response = (headers, status).into_response();
                response.extensions_mut().insert(place.held());
                response
            }
            Err(error) => Problem::from(error).into_response(),
        }
    }
}

fn log_failed(checks: &Result<Vec<Check>, HostError>) {
    match checks {
        Err(error) => tracing::info!(%error, "the health checks failed"),
        Ok(checks) => {
            for Check { name, fault } in checks {
                if let Some(fault) = fault {
                    tracing::info!(check = name, fault, "health check failed");
                }
            }
        }
    }
}

/// Returns the outcome of a requested check. A check that the engine does not report has failed.
fn outcome(name: &str, checks: &Result<Vec<Check>, HostError>) -> Outcome {
    if name == PING {
        return Outcome::Passed;
    }
    match checks {
        Err(error) => Outcome::Failed(error.to_string()),
        Ok(checks) => match checks.iter().find(|check| check.name == name) {
            None => Outcome::Failed("the check was not reported".to_owned()),
            Some(Check { fault: Some(fault), .. }) => Outcome::Failed(fault.clone()),
            Some(Check { fault: None, .. }) => Outcome::Passed,
        },
    }
}

fn text(status: StatusCode, body: String) -> Response {
    let nosniff = HeaderValue::from_static("nosniff");
    (status, [(CONTENT_TYPE, TEXT), (X_CONTENT_TYPE_OPTIONS, nosniff)], body).into_response()
}

/// Like Go's `http.Error`: the text and a newline.
fn error(status: StatusCode, body: &str) -> Response {
    text(status, format!("{body}\n"))
}

/// Like Go's `http.NotFound`.
fn not_found() -> Response {
    error(StatusCode::NOT_FOUND, "404 page not found")
}

/// Answers as Go's `ServeMux` does.
fn method_not_allowed() -> Response {
    let mut response = error(StatusCode::METHOD_NOT_ALLOWED, "Method Not Allowed");
    response.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
    response
}

#[cfg(test)]
mod tests;
