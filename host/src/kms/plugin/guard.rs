//! The layer in front of every call of the plugin: it enforces grpc-go's limits on requests and reports errors to the log.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use axum::http::{Request, Response};
use tonic::Status;
use tonic::body::Body;
use tower::{Layer, Service};

use super::refusals::{Refusal, Refusals};
use crate::kms::bounds::{self, LargeMessages, OneMessage, Reader};

/// Wraps a server's services in a [`Guard`].
#[derive(Clone)]
pub(super) struct GuardLayer {
    refusals: Refusals,
    large: LargeMessages,
}

impl GuardLayer {
    pub(super) fn new(refusals: Refusals, large: LargeMessages) -> Self {
        Self { refusals, large }
    }
}

impl<S> Layer<S> for GuardLayer {
    type Service = Guard<S>;

    fn layer(&self, service: S) -> Guard<S> {
        Guard { service, all: self.clone() }
    }
}

/// A service behind the guard.
#[derive(Clone)]
pub(super) struct Guard<S> {
    service: S,
    all: GuardLayer,
}

impl<S> Service<Request<Body>> for Guard<S>
where
    S: Service<Request<Body>, Response = Response<Body>>,
    S::Future: Send + 'static,
    S::Error: Send + 'static,
{
    type Response = Response<Body>;
    type Error = S::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Body>, S::Error>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.service.poll_ready(cx)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let refusals = self.all.refusals.clone();
        let method = request.uri().path().to_owned();
        let encoding = request.headers().get("grpc-encoding");
        let encoding = encoding
            .map(|encoding| String::from_utf8_lossy(encoding.as_bytes()).into_owned())
            .filter(|encoding| encoding != "identity");
        if let Some(encoding) = encoding {
            let status = bounds::not_installed(Reader::Server, &encoding);
            refusals.note(Refusal::call(&method, &status));
            return Box::pin(async { Ok(status.into_http()) });
        }
        let large = self.all.large.clone();
        let request =
            request.map(|body| Body::new(OneMessage::new(body, Reader::Server, None, large)));
        let answer = self.service.call(request);
        Box::pin(async move {
            let response = answer.await?;
            // tonic puts the status into the extensions if the response consists of nothing else. For an unknown method the status is only in the
            // headers.
            let status = response.extensions().get::<Status>().map_or_else(
                || Status::from_header_map(response.headers()),
                |status| Some(Status::new(status.code(), status.message())),
            );
            if let Some(status) = status
                && status.code() != tonic::Code::Ok
            {
                refusals.note(Refusal::call(&method, &status));
            }
            Ok(response)
        })
    }
}
