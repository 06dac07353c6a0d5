mod bodies;

use std::net::SocketAddr;

use axum::body::{Body, to_bytes};
use axum::http::Request;
use tokio::sync::oneshot;
use tower::ServiceExt;

use super::*;
use crate::http::fake::Fake;

const OK: u16 = 200;
const FAILED: u16 = 500;

fn collapsed(fault: Option<&str>) -> Fake {
    Fake::with_checks(&[("kms-providers", fault)])
}

fn separate(first: Option<&str>, second: Option<&str>) -> Fake {
    Fake::with_checks(&[("kms-provider-0", first), ("kms-provider-1", second)])
}

fn app(fake: &Fake) -> Router {
    let limits = Limits::default();
    let registry = Registry::new(&limits);
    router(fake.clone(), Arc::new(Metrics::new("")), &limits, &registry)
}

async fn send(app: Router, method: &str, target: &str) -> (u16, axum::http::HeaderMap, String) {
    let request = Request::builder().method(method).uri(target).body(Body::empty()).unwrap();
    let (parts, body) = app.oneshot(request).await.unwrap().into_parts();
    let body = to_bytes(body, usize::MAX).await.unwrap();
    (parts.status.as_u16(), parts.headers, String::from_utf8(body.to_vec()).unwrap())
}

#[tokio::test]
async fn excluded_checks_are_not_run() {
    let table = [
        ("all excluded", "/healthz?verbose&exclude=kms-provider-0&exclude=kms-provider-1", 0),
        ("one of two excluded", "/healthz?exclude=kms-provider-0", 1),
        ("none excluded", "/readyz", 1),
        ("livez", "/livez?verbose", 0),
        ("ping alone", "/healthz/ping", 0),
        ("single", "/healthz/kms-provider-1", 1),
        ("single that is not there", "/healthz/kms-provider-2", 0),
    ];
    for (desc, target, runs) in table {
        let fake = separate(None, None);
        send(app(&fake), "GET", target).await;
        assert_eq!(fake.health_runs(), runs, "{desc}");
    }
}

#[tokio::test]
async fn engine_that_does_not_answer_fails_every_kms_check() {
    let known = "[+]ping ok\n[-]kms-provider-0 failed: reason withheld\n[-]kms-provider-1 failed: reason withheld\nhealthz check failed\n";
    let unknown = "[+]ping ok\n[-]kms-providers failed: reason withheld\nhealthz check failed\n";
    for fault in [HostError::Trapped, HostError::Closed] {
        let fake = separate(None, None);
        let app = app(&fake);
        assert_eq!(send(app.clone(), "GET", "/healthz").await.0, OK);
        fake.fail(fault.clone());
        assert_eq!(send(app.clone(), "GET", "/healthz").await.2, known, "{fault}");
        assert_eq!(send(app.clone(), "GET", "/livez").await.2, "ok", "{fault}");
        let single = send(app, "GET", "/healthz/kms-provider-0").await;
        assert_eq!((single.0, single.2), (FAILED, format!("internal server error: {fault}\n")));

        let (status, _, body) = send(self::app(&fake), "GET", "/healthz").await;
        assert_eq!((status, body.as_str()), (FAILED, unknown), "{fault}, provider names unknown");
    }
}

#[tokio::test]
async fn other_methods_are_refused() {
    let fake = collapsed(None);
    for target in ["/healthz", "/livez/ping", "/metrics", "/statusz"] {
        for method in ["POST", "PUT", "DELETE", "OPTIONS"] {
            let (status, headers, body) = send(app(&fake), method, target).await;
            assert_eq!((status, body.as_str()), (405, "Method Not Allowed\n"), "{method} {target}");
            assert_eq!(headers["allow"], "GET, HEAD", "{method} {target}");
        }
        assert_eq!(send(app(&fake), "HEAD", target).await.0, OK, "{target}");
    }
    assert_eq!(send(app(&fake), "POST", "/nothing").await.0, 404);
}

#[tokio::test]
async fn metrics_include_the_host_and_the_engine() {
    let fake = collapsed(None);
    let app = app(&fake);
    send(app.clone(), "GET", "/healthz/ping").await;
    send(app.clone(), "GET", "/nothing").await;
    let (status, headers, body) = send(app.clone(), "GET", "/metrics").await;
    assert_eq!(status, OK);
    assert_eq!(headers["content-type"], "text/plain; version=0.0.4; charset=utf-8");
    let engine = "apiserver_storage_envelope_transformation_cache_misses_total 4\n";
    assert!(
        body.contains("dekker_http_requests_total{path=\"/healthz\",class=\"2xx\"} 1\n"),
        "{body}"
    );
    assert!(
        body.contains("dekker_http_requests_total{path=\"other\",class=\"4xx\"} 1\n"),
        "{body}"
    );
    assert!(body.contains(engine), "{body}");

    fake.fail(HostError::Trapped);
    let (status, _, body) = send(app, "GET", "/metrics").await;
    assert_eq!(status, OK);
    assert!(body.contains("dekker_component_traps_total 0\n") && !body.contains(engine), "{body}");
}

#[tokio::test]
async fn status_is_json_and_a_missing_one_is_a_problem_document() {
    let fake = collapsed(None);
    let (status, headers, body) = send(app(&fake), "GET", "/statusz").await;
    assert_eq!((status, body.as_str()), (OK, "{\"config\":\"sha256:bb\"}"));
    assert_eq!(headers["content-type"], "application/json");

    fake.fail(HostError::Closed);
    let (status, headers, _) = send(app(&fake), "GET", "/statusz").await;
    assert_eq!(status, 503);
    assert_eq!(headers["content-type"], "application/problem+json");
}

/// Uses a real socket, to check the head that probes see and that `HEAD` gets no body.
#[tokio::test]
async fn serves_tcp_until_it_is_stopped() {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    let listener = TcpListener::bind(SocketAddr::from(([127, 0, 0, 1], 0))).await.unwrap();
    let address = listener.local_addr().unwrap();
    let (stop, stopped) = oneshot::channel::<()>();
    let metrics = Arc::new(Metrics::new(""));
    let task =
        tokio::spawn(serve(listener, collapsed(None), metrics, async { drop(stopped.await) }));
    for (method, expected) in [("GET", "\r\n\r\nok"), ("HEAD", "\r\n\r\n")] {
        let mut stream = tokio::net::TcpStream::connect(address).await.unwrap();
        let request = format!("{method} /healthz HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
        assert!(answer.contains("content-length: 2\r\n"), "{answer}");
        assert!(answer.ends_with(expected), "{method}: {answer}");
    }
    stop.send(()).unwrap();
    task.await.unwrap();
}
