//! Connections that rest: what a request needs is given up while there is none, and got again for
//! the next one.

use std::time::{Duration, Instant};

use http::Request;
use http_body_util::Full;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpStream, UnixStream};
use tokio::time::{sleep, timeout};
use wiremock::ResponseTemplate;

use crate::support::bytes::Api;
use crate::support::caller::{PATIENCE, assert_took, read_until, send};
use crate::support::tls::{connect_tls, serving_tls};
use crate::support::{Proxy, TestProxy, answer, api};

/// Longer than a connection waits before it rests the first time, and the second.
const REST: Duration = Duration::from_millis(350);

const GET: &[u8] = b"GET /v2/captain/x HTTP/1.1\r\nHost: a\r\n\r\n";
const POST: &[u8] = b"POST /v2/captain/x HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\nbody";

/// Sends `bytes`, and reads as many `answers` that end in "ok".
async fn ask<IO: AsyncRead + AsyncWrite + Unpin>(caller: &mut IO, bytes: &[u8], answers: usize) {
    caller.write_all(bytes).await.unwrap();
    let mut come = Vec::new();
    let read = async {
        while come.windows(6).filter(|end| end == b"\r\n\r\nok").count() < answers {
            assert_ne!(
                caller.read_buf(&mut come).await.unwrap(),
                0,
                "closed before its answers"
            );
        }
    };
    timeout(PATIENCE, read).await.expect("an answer is missing");
    assert!(
        come.ends_with(b"\r\n\r\nok"),
        "{}",
        String::from_utf8_lossy(&come)
    );
}

/// What comes until the other side closes.
async fn rest<IO: AsyncRead + Unpin>(caller: &mut IO) -> String {
    let mut rest = Vec::new();
    timeout(PATIENCE, caller.read_to_end(&mut rest))
        .await
        .expect("the connection stays open")
        .unwrap();
    String::from_utf8(rest).unwrap()
}

/// A proxy before an API that is content with everything, and a connection to it that rests.
async fn resting(set: &[&str]) -> (Api, Proxy, TcpStream) {
    let api = Api::content().await;
    let proxy = api.proxy(set).await;
    let mut caller = TcpStream::connect(proxy.addr()).await.unwrap();
    ask(&mut caller, GET, 1).await;
    sleep(REST).await;
    (api, proxy, caller)
}

#[tokio::test]
async fn a_parked_connection_serves_further_requests() {
    let (api, proxy, mut caller) = resting(&[]).await;
    for request in [POST, GET, POST] {
        ask(&mut caller, request, 1).await;
        sleep(REST).await;
    }
    assert_eq!(
        api.seen()
            .iter()
            .map(|request| request.ends_with("body"))
            .collect::<Vec<_>>(),
        [false, true, false, true]
    );
    let metrics = Request::get("/metrics")
        .header("host", "localhost")
        .body(Full::default())
        .unwrap();
    let metrics = send(proxy.admin(), metrics).await.into_body();
    let metrics = String::from_utf8_lossy(&metrics);
    for line in [
        "gbg_proxy_connections{side=\"downstream\"} 1.0\n",
        "gbg_proxy_connections_opened_total{side=\"downstream\"} 1\n",
        "gbg_proxy_in_flight 0.0\n",
    ] {
        assert!(metrics.contains(line), "no {line} in {metrics}");
    }
    ask(
        &mut caller,
        b"GET /v2/captain/x HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
        1,
    )
    .await;
    assert_eq!(rest(&mut caller).await, "");
}

#[tokio::test]
async fn tls_and_unix_socket_connections_are_parked() {
    let wiremock = api().await;
    answer(&wiremock, ResponseTemplate::new(200).set_body_string("ok")).await;
    let (proxy, roots) = serving_tls(&wiremock).await;
    let mut secured = connect_tls(&proxy, roots, &[]).await;
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("s");
    let proxy = TestProxy::before(&wiremock)
        .set(&[&format!("listen.address=unix:{}", path.display())])
        .start()
        .await;
    let mut local = UnixStream::connect(&path).await.unwrap();
    for _ in 0..3 {
        ask(&mut secured, POST, 1).await;
        ask(&mut local, POST, 1).await;
        sleep(REST).await;
    }
    drop(proxy);
    assert_eq!(rest(&mut local).await, "");
    secured.shutdown().await.unwrap();
    assert_eq!(rest(&mut secured).await, "");
}

#[tokio::test]
async fn parking_loses_no_byte() {
    let (api, _proxy, mut caller) = resting(&[]).await;
    ask(&mut caller, &[POST, GET, POST].concat(), 3).await;
    // What came with a request is the beginning of the next one, or nothing.
    let (begun, left) = POST.split_at(20);
    ask(&mut caller, &[GET, begun].concat(), 1).await;
    sleep(REST).await;
    ask(&mut caller, left, 1).await;
    ask(&mut caller, &[POST, b"\r\n\r\n"].concat(), 1).await;
    sleep(REST).await;
    caller.write_all(b"\r\n").await.unwrap();
    sleep(REST).await;
    ask(&mut caller, POST, 1).await;
    assert_eq!(api.seen().len(), 8);
}

#[tokio::test]
async fn a_drain_closes_parked_connections_at_once() {
    let (_api, proxy, mut caller) = resting(&[]).await;
    timeout(Duration::from_secs(5), proxy.shut_down())
        .await
        .expect("the drain does not end");
    assert_eq!(rest(&mut caller).await, "");
}

#[tokio::test]
async fn keep_alive_timeout_closes_parked_connections() {
    let began = Instant::now();
    let (_api, _proxy, mut caller) = resting(&["listen.keep_alive_timeout=700ms"]).await;
    assert_eq!(rest(&mut caller).await, "");
    assert_took(began, Duration::from_millis(700)..Duration::from_secs(5));
}

#[tokio::test]
async fn a_half_close_ends_a_parked_connection() {
    let (_api, _proxy, mut caller) = resting(&[]).await;
    caller.shutdown().await.unwrap();
    assert_eq!(rest(&mut caller).await, "");
}

#[tokio::test]
async fn a_parked_connection_keeps_all_its_checks() {
    let (_api, _proxy, mut caller) = resting(&[]).await;
    caller
        .write_all(b"\x16\x03\x01 no HTTP\r\n\r\n")
        .await
        .unwrap();
    assert!(rest(&mut caller).await.starts_with("HTTP/1.1 400 "));

    let (_api, _proxy, mut caller) = resting(&["listen.header_timeout=300ms"]).await;
    let began = Instant::now();
    caller.write_all(b"GET / HTTP/1.1\r\n").await.unwrap();
    assert!(rest(&mut caller).await.starts_with("HTTP/1.1 408 "));
    assert_took(began, Duration::from_millis(300)..Duration::from_secs(5));
}

/// What is left of a body is no request, however it reads.
#[tokio::test]
async fn an_unread_body_is_never_a_request() {
    const SMUGGLED: &str = "GET /v2/captain/smuggled HTTP/1.1\r\nHost: a\r\n\r\n";
    // One answers before it has read the body, and the proxy does so itself where it refuses a
    // path.
    let early = Api::reading_no_body("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").await;
    let proxy = early.proxy(&[]).await;
    for path in ["/v2/captain/x", "/elsewhere"] {
        for wait in [Duration::ZERO, REST, REST * 4] {
            let mut caller = TcpStream::connect(proxy.addr()).await.unwrap();
            let length = 4 + SMUGGLED.len();
            let head =
                format!("POST {path} HTTP/1.1\r\nHost: a\r\nContent-Length: {length}\r\n\r\nbody");
            caller.write_all(head.as_bytes()).await.unwrap();
            read_until(&mut caller, "HTTP/1.1 ").await;
            sleep(wait).await;
            // It may be closed by now.
            let _ = caller.write_all(SMUGGLED.as_bytes()).await;
            let _ = timeout(REST, caller.read_to_end(&mut Vec::new())).await;
            assert!(
                !early
                    .seen()
                    .iter()
                    .any(|request| request.starts_with("GET ")),
                "{path} after {wait:?}"
            );
        }
    }
}
