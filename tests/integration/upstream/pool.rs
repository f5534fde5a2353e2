//! Connections to the API that grow old, rest, or fall silent in the middle of an answer.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};

use crate::support::TestProxy;
use crate::support::caller::{PATIENCE, assert_ok, read_until};
use crate::support::server::{http2, scripted};

pub(crate) const START: &str = "/v2/captain/journey/start";
pub(crate) const OK: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";

/// The bytes of the next request, if one comes within `patience`.
pub(crate) async fn next_request(stream: &mut TcpStream, patience: Duration) -> Option<String> {
    let mut request = Vec::new();
    let read = async {
        while !request.ends_with(b"{}") {
            if !matches!(stream.read_buf(&mut request).await, Ok(1..)) {
                return false;
            }
        }
        true
    };
    timeout(patience, read)
        .await
        .unwrap_or(false)
        .then(|| String::from_utf8(request).unwrap())
}

#[tokio::test]
async fn an_old_connection_takes_no_request() {
    let opened = Arc::new(AtomicUsize::new(0));
    let (closed, mut closing) = tokio::sync::mpsc::unbounded_channel();
    let count = Arc::clone(&opened);
    let http1 = scripted(move |mut stream: TcpStream| {
        count.fetch_add(1, Ordering::SeqCst);
        let closed = closed.clone();
        async move {
            while next_request(&mut stream, PATIENCE).await.is_some() {
                stream.write_all(OK).await.unwrap();
            }
            let _ = closed.send(());
        }
    })
    .await;
    let count = Arc::clone(&opened);
    let http2 = http2(100, move |_, mut connection| {
        count.fetch_add(1, Ordering::SeqCst);
        async move {
            while let Some(Ok((_, mut respond))) = connection.accept().await {
                respond
                    .send_response(http::Response::new(()), true)
                    .unwrap();
            }
        }
    })
    .await;
    for (upstream, version) in [
        (http1, "upstream.http_version=1.1"),
        (http2, "upstream.http_version=2"),
    ] {
        opened.store(0, Ordering::SeqCst);
        let set = [version, "listen.workers=1", "upstream.max_age=1s"];
        let proxy = TestProxy::before_server(&format!("http://{upstream}"))
            .set(&set)
            .start()
            .await;
        let began = Instant::now();
        // Busy all the time: it is never idle for long.
        while began.elapsed() < Duration::from_millis(1500) {
            assert_ok(proxy.addr(), START).await;
            sleep(Duration::from_millis(20)).await;
        }
        assert_eq!(opened.load(Ordering::SeqCst), 2, "{version}");
    }
    timeout(PATIENCE, closing.recv())
        .await
        .expect("the old connection stays open");
}

#[tokio::test]
async fn an_idle_http2_connection_is_closed_in_time() {
    let (closed, mut closing) = tokio::sync::mpsc::unbounded_channel();
    let upstream = http2(100, move |_, mut connection| {
        let closed = closed.clone();
        async move {
            while let Some(Ok((_, mut respond))) = connection.accept().await {
                respond
                    .send_response(http::Response::new(()), true)
                    .unwrap();
            }
            let _ = closed.send(());
        }
    })
    .await;
    let set = ["upstream.http_version=2", "upstream.idle_timeout=300ms"];
    let proxy = TestProxy::before_server(&format!("http://{upstream}"))
        .set(&set)
        .start()
        .await;
    assert_ok(proxy.addr(), START).await;
    timeout(PATIENCE, closing.recv())
        .await
        .expect("the connection stays open")
        .unwrap();
}

#[tokio::test]
async fn silence_within_a_response_closes_the_connection() {
    let (closed, mut closing) = tokio::sync::mpsc::unbounded_channel();
    let upstream = scripted(move |mut stream: TcpStream| {
        let closed = closed.clone();
        async move {
            read_until(&mut stream, "{}").await;
            // Slow, and never silent for too long; then it is.
            stream
                .write_all(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
                .await
                .unwrap();
            for _ in 0..4 {
                sleep(Duration::from_millis(300)).await;
                stream.write_all(b"4\r\nhalf\r\n").await.unwrap();
            }
            let _ = stream.read_to_end(&mut Vec::new()).await;
            let _ = closed.send(());
        }
    })
    .await;
    let proxy = TestProxy::before_server(&format!("http://{upstream}"))
        .set(&["upstream.body_timeout=600ms"])
        .start()
        .await;
    let began = Instant::now();
    let mut stream = TcpStream::connect(proxy.addr()).await.unwrap();
    let request = format!("POST {START} HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\n{{}}");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    let _ = timeout(PATIENCE, stream.read_to_end(&mut answer))
        .await
        .expect("the answer goes on");
    let answer = String::from_utf8(answer).unwrap();
    assert_eq!(answer.matches("half").count(), 4, "{answer}");
    assert!(!answer.ends_with("0\r\n\r\n"), "{answer}");
    assert!(
        (1800..6000).contains(&began.elapsed().as_millis()),
        "{:?}",
        began.elapsed()
    );
    timeout(PATIENCE, closing.recv())
        .await
        .expect("the connection stays open")
        .unwrap();
}

#[tokio::test]
async fn a_slow_reader_is_not_upstream_silence() {
    const LENGTH: usize = 24 << 20;
    let upstream = scripted(|mut stream: TcpStream| async move {
        read_until(&mut stream, "{}").await;
        let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {LENGTH}\r\n\r\n");
        stream.write_all(head.as_bytes()).await.unwrap();
        stream.write_all(&vec![b'x'; LENGTH]).await.unwrap();
        let _ = stream.read_to_end(&mut Vec::new()).await;
    })
    .await;
    let proxy = TestProxy::before_server(&format!("http://{upstream}"))
        .set(&["upstream.body_timeout=200ms"])
        .start()
        .await;
    let mut stream = TcpStream::connect(proxy.addr()).await.unwrap();
    let fields = "Host: a\r\nConnection: close\r\nContent-Length: 2";
    stream
        .write_all(format!("POST {START} HTTP/1.1\r\n{fields}\r\n\r\n{{}}").as_bytes())
        .await
        .unwrap();
    let head = read_until(&mut stream, "\r\n\r\n").await;
    sleep(Duration::from_secs(1)).await;
    let mut rest = Vec::new();
    timeout(PATIENCE, stream.read_to_end(&mut rest))
        .await
        .unwrap()
        .unwrap();
    let begun = head.split_once("\r\n\r\n").unwrap().1.len();
    assert_eq!(begun + rest.len(), LENGTH);
}
