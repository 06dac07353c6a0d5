//! A plugin that sends invalid answers, and the error that kube-apiserver's client reports for each.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use h2::Reason;
use hyper::body::Bytes;
use hyper::http::{HeaderMap, HeaderName, HeaderValue, Response};
use tokio::net::UnixListener;
use tokio::task::JoinHandle;

/// One invalid answer.
pub(crate) struct Case {
    pub desc: &'static str,
    answer: Answer,
    /// The beginning of the error of kube-apiserver 1.37's client, as far as people see it.
    pub says: String,
}

#[derive(Clone)]
enum Answer {
    /// Headers only.
    Only(u16, Vec<Field>),
    /// A body, and optional trailers.
    Body(u16, Vec<Field>, Vec<u8>, Option<Vec<Field>>),
    /// The call is reset.
    Reset(Reason),
}

type Field = (&'static str, Vec<u8>);

/// A KMS v2 plugin on `socket`. It serves until it is dropped.
pub(crate) struct Rogue {
    asked: Arc<AtomicUsize>,
    serving: JoinHandle<()>,
}

impl Rogue {
    pub(crate) fn serve(socket: &Path, case: &Case) -> Self {
        let listener = UnixListener::bind(socket).expect("a free socket");
        let asked = Arc::new(AtomicUsize::new(0));
        let (answer, count) = (case.answer.clone(), asked.clone());
        let serving = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (answer, count) = (answer.clone(), count.clone());
                tokio::spawn(async move {
                    let mut calls = h2::server::handshake(stream).await.expect("HTTP/2");
                    while let Some(Ok((request, respond))) = calls.accept().await {
                        count.fetch_add(1, Ordering::Relaxed);
                        tokio::spawn(answer.clone().send(request.into_body(), respond));
                    }
                });
            }
        });
        Self { asked, serving }
    }

    /// Returns how many calls it has received.
    pub(crate) fn asked(&self) -> usize {
        self.asked.load(Ordering::Relaxed)
    }
}

impl Drop for Rogue {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

impl Answer {
    async fn send(self, mut request: h2::RecvStream, mut respond: h2::server::SendResponse<Bytes>) {
        while request.data().await.is_some() {}
        let head = |status, fields: &[Field]| {
            let mut response = Response::builder().status(status).body(()).expect("a status");
            *response.headers_mut() = map(fields);
            response
        };
        // Each call fails if the client has gone, which it may do once it has seen enough.
        match self {
            Self::Only(status, fields) => {
                let _ = respond.send_response(head(status, &fields), true);
            }
            Self::Body(status, fields, body, trailers) => {
                let Ok(mut stream) = respond.send_response(head(status, &fields), false) else {
                    return;
                };
                let _ = stream.send_data(body.into(), trailers.is_none());
                if let Some(trailers) = trailers {
                    let _ = stream.send_trailers(map(&trailers));
                }
            }
            Self::Reset(reason) => respond.send_reset(reason),
        }
    }
}

fn map(fields: &[Field]) -> HeaderMap {
    let field = |(name, value): &Field| {
        let value = HeaderValue::from_bytes(value).expect("no control characters");
        (HeaderName::from_static(name), value)
    };
    fields.iter().map(field).collect()
}

fn grpc(mut more: Vec<Field>) -> Vec<Field> {
    more.push(("content-type", b"application/grpc".to_vec()));
    more
}

fn status(code: &str, message: impl Into<Vec<u8>>) -> Vec<Field> {
    vec![("grpc-status", code.as_bytes().to_vec()), ("grpc-message", message.into())]
}

/// Returns a message with this format byte, this length, and possibly less content.
fn message(format: u8, len: u32, content: &[u8]) -> Vec<u8> {
    [&[format][..], &len.to_be_bytes(), content].concat()
}

/// `StatusResponse{version: "v2", healthz: "ok", key_id: "k"}`.
const HEALTHY: &[u8] = b"\x0a\x02v2\x12\x02ok\x1a\x01k";

pub(crate) fn cases() -> Vec<Case> {
    let well = message(0, HEALTHY.len() as u32, HEALTHY);
    let ok = || Some(status("0", ""));
    let error = |code: &str, text: &str| format!("rpc error: code = {code} desc = {text}");
    let internal = |text: &str| error("Internal", text);
    let mut cases = Vec::new();
    let mut case = |desc, answer, says| cases.push(Case { desc, answer, says });
    for (desc, len) in [
        ("a text of 20 KiB", 20 << 10),
        ("a text of 1 MiB", 1 << 20),
        ("a text of 15 MiB", 15 << 20),
    ] {
        let text = "the HSM is away ".repeat(len / 16);
        let says = error("Unavailable", &text[..1024]);
        case(desc, Answer::Only(200, grpc(status("14", text))), says);
    }
    let long = "€".repeat(20 << 10);
    let coded = "%E2%82%AC".repeat(20 << 10);
    case(
        "a text in percent-encoding, after a message",
        Answer::Body(200, grpc(vec![]), well.clone(), Some(status("14", coded))),
        error("Unavailable", &long[..1023]),
    );
    case(
        "text that only looks percent-encoded",
        Answer::Only(200, grpc(status("5", "caf%C3%A9 100%25 %zz %4"))),
        error("NotFound", "café 100% %zz %4"),
    );
    case(
        "not UTF-8",
        Answer::Only(200, grpc(status("5", "a%FF%FEb"))),
        error("NotFound", "a\u{fffd}\u{fffd}b"),
    );
    case(
        "bytes as they are",
        Answer::Only(200, grpc(status("5", "café"))),
        error("NotFound", "café"),
    );
    case(
        "a status that is not a number",
        Answer::Only(200, grpc(status("bad", "text"))),
        error(
            "Unknown",
            "transport: malformed grpc-status: strconv.ParseInt: parsing \"bad\": invalid syntax",
        ),
    );
    case(
        "trailers without a status",
        Answer::Body(200, grpc(vec![]), well.clone(), Some(vec![])),
        error("Unknown", ""),
    );
    case(
        "no trailers",
        Answer::Body(200, grpc(vec![]), well.clone(), None),
        internal("server closed the stream without sending trailers"),
    );
    case(
        "no message",
        Answer::Body(200, grpc(vec![]), vec![], ok()),
        internal(
            "cardinality violation: received no response message from non-server-streaming RPC",
        ),
    );
    case(
        "no message, in headers alone",
        Answer::Only(200, grpc(status("0", ""))),
        internal(
            "cardinality violation: received no response message from non-server-streaming RPC",
        ),
    );
    case(
        "two messages",
        Answer::Body(200, grpc(vec![]), [&*well, &*well].concat(), ok()),
        internal(
            "cardinality violation: expected <EOF> for non server-streaming RPCs, but received another message",
        ),
    );
    case(
        "half a message",
        Answer::Body(200, grpc(vec![]), well[..9].to_vec(), ok()),
        internal("unexpected EOF"),
    );
    case(
        "a message over 4 MiB",
        Answer::Body(200, grpc(vec![]), message(0, (4 << 20) + 1, HEALTHY), ok()),
        error("ResourceExhausted", "grpc: received message larger than max (4194305 vs. 4194304)"),
    );
    case(
        "compressed without an encoding header",
        Answer::Body(200, grpc(vec![]), message(1, 3, b"abc"), ok()),
        internal("grpc: compressed flag set with identity or empty encoding"),
    );
    case(
        "compressed",
        Answer::Body(
            200,
            grpc(vec![("grpc-encoding", b"zstd".to_vec())]),
            message(1, 3, b"abc"),
            ok(),
        ),
        internal("grpc: Decompressor is not installed for grpc-encoding \"zstd\""),
    );
    case(
        "another server",
        Answer::Body(
            404,
            vec![("content-type", b"text/html".to_vec())],
            b"<html>no</html>".to_vec(),
            None,
        ),
        error(
            "Unimplemented",
            "unexpected HTTP status code received from server: 404 (Not Found); transport: received unexpected content-type \"text/html\"\ndata: \"<html>no</html>\"",
        ),
    );
    case(
        "a proxy without its server",
        Answer::Only(503, vec![]),
        error(
            "Unavailable",
            "unexpected HTTP status code received from server: 503 (Service Unavailable); malformed header: missing HTTP content-type",
        ),
    );
    for (reason, code, name) in [
        (Reason::NO_ERROR, "Internal", "NO_ERROR"),
        (Reason::PROTOCOL_ERROR, "Internal", "PROTOCOL_ERROR"),
        (Reason::INTERNAL_ERROR, "Internal", "INTERNAL_ERROR"),
        (Reason::FLOW_CONTROL_ERROR, "ResourceExhausted", "FLOW_CONTROL_ERROR"),
        (Reason::CANCEL, "Canceled", "CANCEL"),
        (Reason::ENHANCE_YOUR_CALM, "ResourceExhausted", "ENHANCE_YOUR_CALM"),
        (Reason::INADEQUATE_SECURITY, "PermissionDenied", "INADEQUATE_SECURITY"),
        (Reason::HTTP_1_1_REQUIRED, "Internal", "HTTP_1_1_REQUIRED"),
    ] {
        case(
            "a reset",
            Answer::Reset(reason),
            error(code, &format!("stream terminated by RST_STREAM with error code: {name}")),
        );
    }
    cases
}
