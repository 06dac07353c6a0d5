//! Errors as `application/problem+json` (RFC 9457).

use axum::http::header::{ALLOW, CONTENT_TYPE, RETRY_AFTER};
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use dekker_proto::values;
use serde_json::{Value, json};

use super::admission::Overloaded;
use super::body::BodyError;
use super::query::QueryError;
use crate::model::{ErrorKind, HostError, TransformError};

/// Seconds after which to retry a write that found no usable DEK: upstream polls an unhealthy plugin every 10 s.
const NOT_READY_RETRY_SECONDS: u16 = 10;

/// Seconds after which to retry a request that got no slot or no memory.
const OVERLOADED_RETRY_SECONDS: u16 = 1;

/// The only detail that a caller receives about a value that does not decrypt. It names neither the provider nor the step that failed.
const DECRYPT_FAILED: &str =
    "the value cannot be decrypted: wrong key, wrong location, or altered bytes";

/// An error, ready to be sent as an answer.
///
/// `{"type": "about:blank", "title": <the status' phrase>, "status": …, "detail": …, "kind": …}`, and `"grpc-code"` if a plugin's answer caused the
/// error. `kind` is for programs, `detail` for people.
#[derive(Debug)]
pub(super) struct Problem {
    status: StatusCode,
    kind: &'static str,
    detail: String,
    grpc_code: Option<u32>,
    allow: Option<&'static str>,
    retry_after: Option<u16>,
}

impl Problem {
    fn new(status: StatusCode, kind: &'static str, detail: impl Into<String>) -> Self {
        Self {
            status,
            kind,
            detail: detail.into(),
            grpc_code: None,
            allow: None,
            retry_after: None,
        }
    }

    /// 400: the request is not what the path expects.
    pub(super) fn bad_request(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "bad-request", detail)
    }

    /// 413: the body or a value in it is too large.
    pub(super) fn too_large(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::PAYLOAD_TOO_LARGE, "too-large", detail)
    }

    /// Returns the problem of one value among many.
    pub(super) fn into_message(self) -> values::Problem {
        let Self { status, kind, detail, grpc_code, allow: _, retry_after } = self;
        values::Problem {
            status: status.as_u16().into(),
            kind: kind.to_owned(),
            detail,
            grpc_code: grpc_code.unwrap_or_default(),
            retry_after: retry_after.unwrap_or_default().into(),
        }
    }

    /// 403: the caller's user may not call.
    pub(super) fn forbidden() -> Self {
        Self::new(StatusCode::FORBIDDEN, "forbidden", "this user may not call; see --allow-uid")
    }

    /// 404: no such path.
    pub(super) fn not_found() -> Self {
        Self::new(StatusCode::NOT_FOUND, "not-found", "no such path")
    }

    /// 405: the path accepts only the methods in `allow`.
    pub(super) fn method_not_allowed(allow: &'static str) -> Self {
        let detail = format!("this path answers {allow} only");
        let status = StatusCode::METHOD_NOT_ALLOWED;
        Self { allow: Some(allow), ..Self::new(status, "method-not-allowed", detail) }
    }

    /// 503: too many requests at once.
    pub(super) fn overloaded() -> Self {
        Self::try_again("too many requests at once; try again")
    }

    fn try_again(detail: &str) -> Self {
        let status = StatusCode::SERVICE_UNAVAILABLE;
        Self {
            retry_after: Some(OVERLOADED_RETRY_SECONDS),
            ..Self::new(status, ErrorKind::Overloaded.as_str(), detail)
        }
    }
}

impl From<QueryError> for Problem {
    fn from(error: QueryError) -> Self {
        Self::bad_request(error.to_string())
    }
}

impl From<Overloaded> for Problem {
    fn from(Overloaded: Overloaded) -> Self {
        Self::overloaded()
    }
}

impl From<BodyError> for Problem {
    fn from(error: BodyError) -> Self {
        match error {
            BodyError::TooLarge(limit) => {
                Self::too_large(format!("the body is longer than {limit} bytes"))
            }
            BodyError::TimedOut => Self::new(
                StatusCode::REQUEST_TIMEOUT,
                "request-timeout",
                "the body did not arrive in time",
            ),
            BodyError::Overloaded => {
                Self::try_again("other requests use all of the memory for values; try again")
            }
            BodyError::Broken => Self::bad_request("the body is incomplete"),
        }
    }
}

impl From<HostError> for Problem {
    fn from(error: HostError) -> Self {
        let detail = error.to_string();
        match error {
            HostError::Transform(error) => error.into(),
            HostError::Trapped => Self::new(StatusCode::INTERNAL_SERVER_ERROR, "trapped", detail),
            HostError::Closed => Self::new(StatusCode::SERVICE_UNAVAILABLE, "closed", detail),
        }
    }
}

impl From<TransformError> for Problem {
    fn from(error: TransformError) -> Self {
        let TransformError { kind, message, grpc_code } = error;
        let (status, detail) = match kind {
            ErrorKind::NoMatchingPrefix | ErrorKind::Malformed | ErrorKind::EncryptedData => {
                (StatusCode::UNPROCESSABLE_ENTITY, message)
            }
            ErrorKind::DecryptFailed => {
                (StatusCode::UNPROCESSABLE_ENTITY, DECRYPT_FAILED.to_owned())
            }
            ErrorKind::Kms => (StatusCode::BAD_GATEWAY, message),
            ErrorKind::NotReady | ErrorKind::NoncesExhausted | ErrorKind::Overloaded => {
                (StatusCode::SERVICE_UNAVAILABLE, message)
            }
            ErrorKind::ReadOnly => (StatusCode::FORBIDDEN, message),
            ErrorKind::Internal => (StatusCode::INTERNAL_SERVER_ERROR, message),
        };
        let retry_after = match kind {
            ErrorKind::NotReady => Some(NOT_READY_RETRY_SECONDS),
            ErrorKind::Overloaded => Some(OVERLOADED_RETRY_SECONDS),
            ErrorKind::NoMatchingPrefix
            | ErrorKind::EncryptedData
            | ErrorKind::DecryptFailed
            | ErrorKind::Malformed
            | ErrorKind::Kms
            | ErrorKind::NoncesExhausted
            | ErrorKind::ReadOnly
            | ErrorKind::Internal => None,
        };
        Self { grpc_code, retry_after, ..Self::new(status, kind.as_str(), detail) }
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let Self { status, kind, detail, grpc_code, allow, retry_after } = self;
        let mut document = json!({
            "type": "about:blank",
            "title": status.canonical_reason().unwrap_or("Error"),
            "status": status.as_u16(),
            "detail": detail,
            "kind": kind,
        });
        if let (Some(code), Value::Object(members)) = (grpc_code, &mut document) {
            members.insert("grpc-code".to_owned(), code.into());
        }
        let mut response = (status, document.to_string()).into_response();
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        if let Some(allow) = allow {
            headers.insert(ALLOW, HeaderValue::from_static(allow));
        }
        if let Some(seconds) = retry_after {
            headers.insert(RETRY_AFTER, HeaderValue::from(seconds));
        }
        response
    }
}
