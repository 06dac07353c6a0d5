//! Reads a plugin's answer as grpc-go does.
//!
//! kube-apiserver uses grpc-go. So this module reports the code and the message that kube-apiserver would report, whatever the plugin sends. tonic
//! would use other messages, repeat a call that the plugin had answered, and panic on a status whose details are not base64. Upstream: grpc-go's
//! internal/transport/http2_client.go (`operateHeaders`, `handleRSTStream`) and http_util.go.

use std::error::Error;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use axum::body::Bytes;
use axum::http::{HeaderMap, HeaderValue, Request, Response, StatusCode};
use http_body_util::BodyExt;
use hyper::body::{Body as _, Frame};
use percent_encoding::percent_decode;
use tonic::body::Body;
use tonic::transport::Channel;
use tonic::{Code, Status};
use tower::{BoxError, Service};

use crate::kms::bounds::{LargeMessages, OneMessage, Reader};

/// 4 KiB: the maximum length that is kept of a text from a plugin. Users see 1 KiB of it (core's `CallError::MESSAGE_MAX`).
pub(super) const MAX_TEXT: usize = 4 << 10;

/// 1 KiB: the length that grpc-go shows of an answer that is not gRPC (`nonGRPCDataMaxLen`).
const MAX_SHOWN: usize = 1 << 10;

/// The connection to a plugin, for any service on its socket.
#[derive(Clone, Debug)]
pub(in crate::kms) struct Plugin {
    channel: Channel,
    large: LargeMessages,
}

impl Plugin {
    pub(super) fn new(channel: Channel) -> Self {
        Self { channel, large: LargeMessages::default() }
    }
}

impl Service<Request<Body>> for Plugin {
    type Response = Response<AnswerBody>;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<Response<AnswerBody>, BoxError>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.channel.poll_ready(cx).map_err(Into::into)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let response = self.channel.call(request);
        let large = self.large.clone();
        Box::pin(async move {
            let response = response.await.map_err(|error| ended(error.into()))?;
            Ok(begin(response, large).await?)
        })
    }
}

/// Checks the headers of an answer.
pub(super) async fn begin(
    response: Response<Body>,
    large: LargeMessages,
) -> Result<Response<AnswerBody>, Status> {
    let (mut parts, body) = response.into_parts();
    if let Err(fault) = content_type(&parts.headers) {
        return Err(not_grpc(parts.status, fault, body).await);
    }
    if body.is_end_stream() {
        return Err(match final_status(&parts.headers) {
            Ok(()) => no_message(),
            Err(status) => status,
        });
    }
    let encoding = parts.headers.get("grpc-encoding").map(text);
    // Only trailers report how a call ended. A declared compression is no error if the message is not compressed.
    for name in ["grpc-status", "grpc-message", "grpc-status-details-bin", "grpc-encoding"] {
        parts.headers.remove(name);
    }
    let message = OneMessage::new(body, Reader::Client, encoding, large);
    Ok(Response::from_parts(parts, AnswerBody(message)))
}

/// The message of an answer. It ends with an error if the plugin's status is one.
pub(in crate::kms) struct AnswerBody(OneMessage<Body>);

impl hyper::body::Body for AnswerBody {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let message = &mut self.get_mut().0;
        let frame = match ready!(Pin::new(&mut *message).poll_frame(cx)) {
            Some(Ok(frame)) => frame,
            Some(Err(error)) => return Poll::Ready(Some(Err(ended(error)))),
            None => {
                let status = Status::internal("server closed the stream without sending trailers");
                return Poll::Ready(Some(Err(status.into())));
            }
        };
        let Some(trailers) = frame.trailers_ref() else {
            return Poll::Ready(Some(Ok(frame)));
        };
        Poll::Ready(Some(match final_status(trailers) {
            Err(status) => Err(status.into()),
            Ok(()) if message.is_empty() => Err(no_message().into()),
            Ok(()) if !message.is_complete() => Err(Status::internal("unexpected EOF").into()),
            Ok(()) => {
                let ok = (Status::GRPC_STATUS, HeaderValue::from_static("0"));
                Ok(Frame::trailers(HeaderMap::from_iter([ok])))
            }
        }))
    }
}

/// Returns the result that `grpc-status` and `grpc-message` report. The status details are ignored.
fn final_status(trailers: &HeaderMap) -> Result<(), Status> {
    let code = match trailers.get("grpc-status").map(text) {
        None => Code::Unknown,
        Some(code) => match code.parse() {
            Ok(0) => return Ok(()),
            Ok(code) => Code::from_i32(code),
            Err(_) => {
                return Err(Status::unknown(format!(
                    "transport: malformed grpc-status: strconv.ParseInt: parsing {code:?}: invalid syntax"
                )));
            }
        },
    };
    let message = trailers.get("grpc-message").map(HeaderValue::as_bytes);
    Err(Status::new(code, decode_message(message.unwrap_or_default())))
}

fn no_message() -> Status {
    Status::internal(
        "cardinality violation: received no response message from non-server-streaming RPC",
    )
}

/// Decodes percent-encoding and then UTF-8. An invalid escape stays as it is, and invalid UTF-8 becomes U+FFFD. The result is cut to [`MAX_TEXT`].
fn decode_message(encoded: &[u8]) -> String {
    // Each byte of the message takes at most three encoded bytes.
    let encoded = encoded.get(..3 * MAX_TEXT).unwrap_or(encoded);
    let mut message = percent_decode(encoded).decode_utf8_lossy().into_owned();
    cut(&mut message);
    message
}

/// Cuts a text from a plugin to [`MAX_TEXT`].
pub(super) fn cut(text: &mut String) {
    text.truncate(text.floor_char_boundary(MAX_TEXT));
}

fn text(value: &HeaderValue) -> String {
    let bytes = value.as_bytes();
    String::from_utf8_lossy(bytes.get(..MAX_SHOWN).unwrap_or(bytes)).into_owned()
}

/// Checks the content type, and returns why the answer is not gRPC. Upstream: grpc-go's grpcutil `ContentSubtype`.
fn content_type(headers: &HeaderMap) -> Result<(), String> {
    let Some(found) = headers.get("content-type").map(text) else {
        return Err("malformed header: missing HTTP content-type".to_owned());
    };
    let lower = found.to_lowercase();
    match lower.strip_prefix("application/grpc") {
        Some("") => Ok(()),
        Some(rest) if rest.starts_with(['+', ';']) => Ok(()),
        _ => Err(format!("transport: received unexpected content-type {found:?}")),
    }
}

/// Returns the error for an answer that is not gRPC. It shows the beginning of the body.
async fn not_grpc(http: StatusCode, fault: String, mut body: Body) -> Status {
    let code = match http.as_u16() {
        400 => Code::Internal,
        401 => Code::Unauthenticated,
        403 => Code::PermissionDenied,
        404 => Code::Unimplemented,
        429 | 502 | 503 | 504 => Code::Unavailable,
        _ => Code::Unknown,
    };
    let mut message = format!(
        "unexpected HTTP status code received from server: {} ({}); {fault}",
        http.as_u16(),
        http.canonical_reason().unwrap_or_default()
    );
    if !body.is_end_stream() {
        let mut data = Vec::new();
        while data.len() < MAX_SHOWN
            && let Some(Ok(frame)) = body.frame().await
        {
            let bytes = frame.into_data().unwrap_or_default();
            let room = MAX_SHOWN - data.len();
            data.extend_from_slice(bytes.get(..room).unwrap_or(&bytes));
        }
        message.push_str(&format!("\ndata: {:?}", String::from_utf8_lossy(&data)));
    }
    Status::new(code, message)
}

/// Converts the error of a call that ended without an answer. If the plugin ended the call, the error becomes the plugin's status. Otherwise the
/// connection failed, and the error is returned unchanged.
fn ended(error: BoxError) -> BoxError {
    let mut cause: Option<&(dyn Error + 'static)> = Some(&*error);
    while let Some(found) = cause {
        if let Some(h2) = found.downcast_ref::<h2::Error>() {
            return reset(h2).map_or(error, Into::into);
        }
        cause = found.source();
    }
    error
}

/// Returns the status for a stream that the plugin reset. Returns `None` for an I/O error and for the end of the connection; also for a call that the
/// plugin refused to begin, which is repeated.
fn reset(error: &h2::Error) -> Option<Status> {
    use h2::Reason;

    let reason = error.reason().filter(|_| error.is_reset())?;
    if error.is_library() {
        return Some(Status::internal(
            "the KMS plugin's answer is not valid HTTP/2, or its headers are over 16 MiB",
        ));
    }
    let code = match reason {
        Reason::REFUSED_STREAM => return None,
        Reason::CANCEL => Code::Cancelled,
        Reason::FLOW_CONTROL_ERROR | Reason::ENHANCE_YOUR_CALM => Code::ResourceExhausted,
        Reason::INADEQUATE_SECURITY => Code::PermissionDenied,
        reason if u32::from(reason) <= u32::from(Reason::HTTP_1_1_REQUIRED) => Code::Internal,
        _ => Code::Unknown,
    };
    Some(Status::new(
        code,
        format!("stream terminated by RST_STREAM with error code: {}", name(reason)),
    ))
}

/// Returns the name that Go prints.
fn name(reason: h2::Reason) -> String {
    use h2::Reason;

    match reason {
        Reason::NO_ERROR => "NO_ERROR".to_owned(),
        Reason::PROTOCOL_ERROR => "PROTOCOL_ERROR".to_owned(),
        Reason::INTERNAL_ERROR => "INTERNAL_ERROR".to_owned(),
        Reason::FLOW_CONTROL_ERROR => "FLOW_CONTROL_ERROR".to_owned(),
        Reason::SETTINGS_TIMEOUT => "SETTINGS_TIMEOUT".to_owned(),
        Reason::STREAM_CLOSED => "STREAM_CLOSED".to_owned(),
        Reason::FRAME_SIZE_ERROR => "FRAME_SIZE_ERROR".to_owned(),
        Reason::CANCEL => "CANCEL".to_owned(),
        Reason::COMPRESSION_ERROR => "COMPRESSION_ERROR".to_owned(),
        Reason::CONNECT_ERROR => "CONNECT_ERROR".to_owned(),
        Reason::ENHANCE_YOUR_CALM => "ENHANCE_YOUR_CALM".to_owned(),
        Reason::INADEQUATE_SECURITY => "INADEQUATE_SECURITY".to_owned(),
        Reason::HTTP_1_1_REQUIRED => "HTTP_1_1_REQUIRED".to_owned(),
        other => format!("unknown error code 0x{:x}", u32::from(other)),
    }
}
