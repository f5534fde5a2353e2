//! Answers that come before all of the request, or end the connection, and reach the caller whole.

use std::time::{Duration, Instant};

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};

use crate::downstream::timeouts::{SHORT_BODY, START, connect, rest};
use crate::support::caller::{PATIENCE, assert_took, read_until};
use crate::support::server::scripted;
use crate::support::tls::{connect_tls, serving_tls};
use crate::support::{TestProxy, answer, api};

const MIB: usize = 1024 * 1024;

/// An API that answers 413 before the body, and never closes by itself.
async fn refusing() -> String {
    let upstream = scripted(|mut stream: TcpStream| async move {
        read_until(&mut stream, "\r\n\r\n").await;
        stream
            .write_all(b"HTTP/1.1 413 Payload Too Large\r\nContent-Length: 3\r\n\r\nbig")
            .await
            .unwrap();
        let _ = stream.read_to_end(&mut Vec::new()).await;
    });
    format!("http://{}", upstream.await)
}

#[tokio::test]
async fn an_early_response_to_a_silent_caller_closes() {
    let proxy = TestProxy::before_server(&refusing().await)
        .set(SHORT_BODY)
        .start()
        .await;
    let began = Instant::now();
    let mut caller = connect(&proxy).await;
    let head = format!("POST {START} HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000\r\n\r\n");
    caller.write_all(head.as_bytes()).await.unwrap();
    let answer = rest(&mut caller).await;
    assert!(
        answer.starts_with("HTTP/1.1 413 ") && answer.ends_with("big"),
        "{answer}"
    );
    assert_took(began, ..Duration::from_secs(3));
}

/// Writes 5 MiB to `path` before it reads anything, as many a caller does.
async fn response_after_all<IO: AsyncRead + AsyncWrite + Unpin>(
    mut caller: IO,
    path: &str,
) -> String {
    let body = vec![7; 5 * MIB];
    let length = body.len();
    // The sockets on the way may hold all of it; then the connection would be kept.
    let head = format!(
        "POST {path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n"
    );
    caller.write_all(head.as_bytes()).await.unwrap();
    timeout(PATIENCE, caller.write_all(&body))
        .await
        .expect("the body is not taken")
        .unwrap();
    caller.flush().await.unwrap();
    rest(&mut caller).await
}

#[tokio::test]
async fn an_early_response_reaches_a_still_sending_caller() {
    let closing = scripted(|mut stream: TcpStream| async move {
        read_until(&mut stream, "\r\n\r\n").await;
        stream
            .write_all(b"HTTP/1.1 413 Payload Too Large\r\nContent-Length: 3\r\n\r\nbig")
            .await
            .unwrap();
        stream.shutdown().await.unwrap();
        // Not a byte of the body, so that most of it is still with the caller.
        sleep(Duration::from_millis(300)).await;
    });
    let proxy = TestProxy::before_server(&format!("http://{}", closing.await))
        .start()
        .await;
    for _ in 0..10 {
        let answer = response_after_all(connect(&proxy).await, START).await;
        assert!(
            answer.starts_with("HTTP/1.1 413 ") && answer.ends_with("big"),
            "{answer}"
        );
        let answer = response_after_all(connect(&proxy).await, "/elsewhere").await;
        assert!(
            answer.starts_with("HTTP/1.1 404 ") && answer.ends_with('}'),
            "{answer}"
        );
    }
}

#[tokio::test]
async fn an_early_tls_response_reaches_a_sending_caller() {
    let (proxy, roots) = serving_tls(&api().await).await;
    let answer = response_after_all(connect_tls(&proxy, roots, &[]).await, "/elsewhere").await;
    assert!(
        answer.starts_with("HTTP/1.1 404 ") && answer.ends_with('}'),
        "{answer}"
    );
}

#[tokio::test]
async fn a_431_reaches_a_caller_that_sent_everything() {
    let proxy = TestProxy::before(&api().await).start().await;
    let mut caller = connect(&proxy).await;
    let head = format!(
        "GET / HTTP/1.1\r\nHost: a\r\nX: {}\r\n\r\n",
        "x".repeat(2 * MIB)
    );
    timeout(PATIENCE, caller.write_all(head.as_bytes()))
        .await
        .expect("the head is not taken")
        .unwrap();
    let answer = rest(&mut caller).await;
    assert!(answer.starts_with("HTTP/1.1 431 "), "{answer}");
}

#[tokio::test]
async fn connection_close_is_honored_at_once() {
    let api = api().await;
    answer(&api, wiremock::ResponseTemplate::new(200)).await;
    let proxy = TestProxy::before(&api).start().await;
    let began = Instant::now();
    for _ in 0..20 {
        let mut caller = connect(&proxy).await;
        let head = format!(
            "POST {START} HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: 2\r\n\r\n{{}}"
        );
        caller.write_all(head.as_bytes()).await.unwrap();
        assert!(rest(&mut caller).await.starts_with("HTTP/1.1 200 "));
    }
    assert_took(began, ..Duration::from_secs(2));
}
