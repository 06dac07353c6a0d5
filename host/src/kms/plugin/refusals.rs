//! Logs the refusals of clients, at most once a minute for each kind, so that a client that retries constantly cannot fill the log.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tonic::{Code, Status};

/// 1 minute: how long refusals of a kind are only counted after one was logged.
const QUIET: Duration = Duration::from_secs(60);

/// 64 characters: how much is shown of a name that a client sends.
const SHOWN: usize = 64;

/// The log of a server's refusals. Clones share it.
#[derive(Clone, Debug, Default)]
pub(super) struct Refusals(Arc<Mutex<HashMap<Kind, Noted>>>);

/// When a kind was last logged, and the number of refusals since.
#[derive(Debug)]
struct Noted {
    logged: Instant,
    since: u64,
}

/// A refusal.
#[derive(Debug)]
pub(super) struct Refusal {
    kind: Kind,
    detail: String,
}

/// The kind of a refusal. The kinds are few enough to keep a time for each.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Kind {
    NotHttp2,
    Tls,
    EmptyAuthority,
    Protocol(u32),
    UnknownMethod,
    KmsV1,
    Call(i32),
    Stranger,
    Accept,
}

impl Refusal {
    /// The client sent these bytes, after `seen` bytes of the preface, and they are not HTTP/2's preface.
    pub(super) fn not_http2(came: &[u8], seen: usize) -> Self {
        // The type of a TLS handshake record (RFC 8446 §5.1).
        let kind =
            if seen == 0 && came.first() == Some(&0x16) { Kind::Tls } else { Kind::NotHttp2 };
        Self { kind, detail: String::new() }
    }

    /// h2 ended a call or a connection with this error code (RFC 9113 §7).
    pub(super) fn protocol(code: u32, empty_authority: bool) -> Self {
        let kind = if empty_authority { Kind::EmptyAuthority } else { Kind::Protocol(code) };
        Self { kind, detail: h2_code(code) }
    }

    /// A call was answered with an error.
    pub(super) fn call(method: &str, status: &Status) -> Self {
        let kind = match status.code() {
            Code::Unimplemented if method.starts_with("/v1beta1.KeyManagementService/") => {
                Kind::KmsV1
            }
            Code::Unimplemented => Kind::UnknownMethod,
            code => Kind::Call(code as i32),
        };
        let method: String = method.chars().take(SHOWN).collect();
        Self { kind, detail: format!("{:?}: {:?}: {}", method, status.code(), status.message()) }
    }

    /// Another user connected.
    pub(super) fn stranger(uid: Option<u32>) -> Self {
        Self {
            kind: Kind::Stranger,
            detail: uid.map_or_else(|| "an unknown user".to_owned(), |uid| format!("uid {uid}")),
        }
    }

    /// The system failed to accept a connection.
    pub(super) fn accept(error: &std::io::Error) -> Self {
        Self { kind: Kind::Accept, detail: error.to_string() }
    }
}

impl Refusals {
    /// Logs a refusal, or only counts it if its kind was logged less than a minute ago. Ignores error codes of calls that end normally.
    pub(super) fn note(&self, refusal: Refusal) {
        if let Some(since) = self.due(refusal.kind, Instant::now()) {
            tracing::warn!(
                detail = refusal.detail,
                before = since,
                "the KMS plugin refused a client: {}",
                refusal.kind
            );
        }
    }

    /// Returns how many refusals of this kind have not been logged since the last one that was, or `None` if this one is not to be logged either.
    fn due(&self, kind: Kind, now: Instant) -> Option<u64> {
        // A call for which no client waits any more ends with NO_ERROR, STREAM_CLOSED or CANCEL.
        if matches!(kind, Kind::Protocol(0 | 5 | 8)) {
            return None;
        }
        let mut noted = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(last) = noted.get_mut(&kind) else {
            noted.insert(kind, Noted { logged: now, since: 0 });
            return Some(0);
        };
        if now.duration_since(last.logged) < QUIET {
            last.since += 1;
            return None;
        }
        last.logged = now;
        Some(std::mem::take(&mut last.since))
    }
}

/// What happened and the remedy.
impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NotHttp2 => {
                "it does not speak gRPC (HTTP/2 without TLS): only a KMS v2 client belongs on this socket"
            }
            Self::Tls => "it speaks TLS: connect without TLS, as kube-apiserver does",
            Self::EmptyAuthority => {
                "it sends an empty `:authority`: set the client's authority to `localhost`"
            }
            Self::Protocol(_) => {
                "its HTTP/2 was not accepted: report this with the client's name and version, and set its authority to `localhost` if it sends another"
            }
            Self::UnknownMethod => "it called a method that a KMS v2 plugin does not have",
            Self::KmsV1 => {
                "it speaks KMS v1: set `apiVersion: v2` for this provider in the EncryptionConfiguration"
            }
            Self::Call(_) => "a call failed",
            Self::Stranger => {
                "it belongs to another user: run it as this user or as root, or listen on a socket file"
            }
            Self::Accept => {
                "its connection could not be accepted: raise the limit of open files (`ulimit -n`) if that is the reason"
            }
        })
    }
}

/// Returns the name of an error code (RFC 9113 §7).
fn h2_code(code: u32) -> String {
    const NAMES: [&str; 14] = [
        "NO_ERROR",
        "PROTOCOL_ERROR",
        "INTERNAL_ERROR",
        "FLOW_CONTROL_ERROR",
        "SETTINGS_TIMEOUT",
        "STREAM_CLOSED",
        "FRAME_SIZE_ERROR",
        "REFUSED_STREAM",
        "CANCEL",
        "COMPRESSION_ERROR",
        "CONNECT_ERROR",
        "ENHANCE_YOUR_CALM",
        "INADEQUATE_SECURITY",
        "HTTP_1_1_REQUIRED",
    ];
    usize::try_from(code)
        .ok()
        .and_then(|code| NAMES.get(code))
        .map_or_else(|| format!("code {code}"), |name| (*name).to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_is_logged_once_a_minute_and_counted_in_between() {
        let refusals = Refusals::default();
        let start = Instant::now();
        assert_eq!(refusals.due(Kind::NotHttp2, start), Some(0));
        assert_eq!(refusals.due(Kind::NotHttp2, start), None);
        assert_eq!(refusals.due(Kind::Tls, start), Some(0), "another kind");
        let other = refusals.clone();
        assert_eq!(other.due(Kind::NotHttp2, start + QUIET / 2), None, "one log");
        assert_eq!(refusals.due(Kind::NotHttp2, start + QUIET), Some(2));
        assert_eq!(refusals.due(Kind::NotHttp2, start + QUIET), None);
        assert_eq!(refusals.due(Kind::NotHttp2, start + 2 * QUIET), Some(1));
    }

    #[test]
    fn orderly_ends_are_not_logged() {
        let refusals = Refusals::default();
        for code in [0, 5, 8] {
            let Refusal { kind, .. } = Refusal::protocol(code, false);
            assert_eq!(refusals.due(kind, Instant::now()), None, "{code}");
        }
        assert_eq!(refusals.due(Kind::Protocol(1), Instant::now()), Some(0));
    }

    #[test]
    fn each_kind_names_its_remedy() {
        let status = |code| Status::new(code, "text");
        let v1 = "/v1beta1.KeyManagementService/Version";
        let table = [
            (Refusal::not_http2(b"GET / HTTP/1.1", 0), "gRPC"),
            (Refusal::not_http2(b"\x16\x03\x01", 0), "TLS"),
            (Refusal::not_http2(b"\x16", 3), "gRPC"),
            (Refusal::protocol(1, false), "`localhost`"),
            (Refusal::protocol(1, true), "empty `:authority`"),
            (Refusal::call(v1, &status(Code::Unimplemented)), "apiVersion: v2"),
            (Refusal::call("/x.Y/Z", &status(Code::Unimplemented)), "method"),
            (Refusal::stranger(Some(7)), "root"),
        ];
        for (refusal, remedy) in table {
            let text = refusal.kind.to_string();
            assert!(text.contains(remedy), "{text}");
        }
        let long = Refusal::call(&"/\u{e9}\n".repeat(100), &status(Code::NotFound));
        assert!(long.detail.len() < 200, "{}", long.detail);
        assert!(!long.detail.contains('\n'), "{}", long.detail);
    }
}
