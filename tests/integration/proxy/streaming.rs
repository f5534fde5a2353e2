//! Bodies that are large, slow or broken off.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, Channel, Full};
use hyper::body::Incoming;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::time::timeout;

use crate::support::caller::{
    PATIENCE, assert_echoed_as_it_is_sent, assert_held_back, raw, read_until, send, try_send,
};
use crate::support::server::{http, scripted, tls};
use crate::support::tls::{Identity, connect_tls};
use crate::support::{Proxy, TestProxy};

const SUBMIT: &str = "/v2/captain/journey/interaction/submit";
const MIB: usize = 1024 * 1024;

/// Bytes that are different everywhere, so that none can be lost, doubled or swapped unseen.
fn pattern(length: usize) -> Bytes {
    (0..length as u32 / 4)
        .flat_map(|number| number.wrapping_mul(2_654_435_761).to_le_bytes())
        .collect()
}

async fn proxy_before(upstream: SocketAddr) -> Proxy {
    TestProxy::before_server(&format!("http://{upstream}"))
        .start()
        .await
}

/// Opens a connection to `proxy` and begins a request on it.
async fn begin(proxy: &Proxy, method: &str, fields: &str) -> TcpStream {
    let mut stream = TcpStream::connect(proxy.addr()).await.unwrap();
    stream
        .write_all(format!("{method} {SUBMIT} HTTP/1.1\r\nHost: a\r\n{fields}\r\n").as_bytes())
        .await
        .unwrap();
    stream
}

async fn echo(req: Request<Incoming>) -> Response<Incoming> {
    Response::new(req.into_body())
}

#[tokio::test]
async fn large_bodies_arrive_unchanged() {
    let proxy = proxy_before(http(echo).await).await;
    let body = pattern(20 * MIB);
    let req = Request::post(SUBMIT)
        .header("host", "a")
        .body(Full::new(body.clone()))
        .unwrap();
    let res = send(proxy.addr(), req).await;
    assert!(res.body() == &body, "the body was changed");
}

#[tokio::test]
async fn a_chunked_body_arrives_unchanged() {
    let upstream = http(|req: Request<Incoming>| async {
        assert!(!req.headers().contains_key("content-length"));
        Response::new(Full::new(
            req.into_body().collect().await.unwrap().to_bytes(),
        ))
    });
    let proxy = proxy_before(upstream.await).await;
    let body = "x".repeat(1000);
    let request = format!(
        "POST {SUBMIT} HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n\
         3e8\r\n{body}\r\n0\r\n\r\n"
    );
    let answer = raw(proxy.addr(), request).await;
    assert!(
        answer.starts_with("HTTP/1.1 200") && answer.ends_with(&body),
        "{answer}"
    );
}

#[tokio::test]
async fn both_sides_stream_at_the_same_time() {
    let proxy = proxy_before(http(echo).await).await;
    let mut stream = begin(&proxy, "POST", "Transfer-Encoding: chunked\r\n").await;
    assert_echoed_as_it_is_sent(&mut stream).await;
}

#[tokio::test]
async fn expect_100_continue_gets_a_100() {
    let proxy = proxy_before(http(echo).await).await;
    let mut stream = begin(
        &proxy,
        "POST",
        "Expect: 100-continue\r\nContent-Length: 5\r\n",
    )
    .await;
    let first = read_until(&mut stream, "HTTP/1.1 100 Continue\r\n\r\n").await;
    stream.write_all(b"hello").await.unwrap();
    // The head of the answer may have come with the 100.
    let answer = first + &read_until(&mut stream, "hello").await;
    assert!(
        answer.starts_with("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200"),
        "{answer}"
    );
}

#[tokio::test]
async fn backpressure_of_the_caller_reaches_the_api() {
    let (made, mut chunks) = mpsc::unbounded_channel();
    let upstream = http(move |_| {
        let made = made.clone();
        async move {
            let (mut sender, body) = Channel::<Bytes, Infallible>::new(1);
            tokio::spawn(async move {
                while sender
                    .send_data(Bytes::from(vec![7; 64 * 1024]))
                    .await
                    .is_ok()
                {
                    let _ = made.send(());
                }
            });
            Response::new(body)
        }
    });
    let proxy = proxy_before(upstream.await).await;
    let mut stream = begin(&proxy, "GET", "").await;
    read_until(&mut stream, "\r\n\r\n").await;
    // The API stops when the buffers on the way are full: those of the sockets, and a few of ours.
    let mut count = 0;
    while timeout(Duration::from_millis(500), chunks.recv())
        .await
        .is_ok()
    {
        count += 1;
        assert!(count < 1024, "64 MiB went to a caller that reads nothing");
    }
}

#[tokio::test]
async fn backpressure_of_the_api_reaches_the_caller() {
    let upstream = scripted(|mut stream: TcpStream| async move {
        read_until(&mut stream, "\r\n\r\n").await;
        std::future::pending::<()>().await;
    });
    let set = ["limits.max_request_body=1GiB"];
    let proxy = TestProxy::before_server(&format!("http://{}", upstream.await))
        .set(&set)
        .start()
        .await;
    let mut stream = begin(&proxy, "POST", "Content-Length: 1073741824\r\n").await;
    assert_held_back(&mut stream).await;
}

#[tokio::test]
async fn a_truncated_response_never_ends_cleanly() {
    for framing in [
        "Content-Length: 100\r\n\r\nhalf",
        "Transfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n",
    ] {
        let upstream = scripted(move |mut stream: TcpStream| async move {
            read_until(&mut stream, "\r\n\r\n").await;
            stream
                .write_all(format!("HTTP/1.1 200 OK\r\n{framing}").as_bytes())
                .await
                .unwrap();
        });
        let proxy = proxy_before(upstream.await).await;
        let mut stream = begin(&proxy, "GET", "").await;
        let mut answer = Vec::new();
        // A reset is as good as an end that comes too early.
        let _ = timeout(PATIENCE, stream.read_to_end(&mut answer))
            .await
            .expect("the connection stays open");
        let answer = String::from_utf8(answer).unwrap();
        assert!(
            answer.starts_with("HTTP/1.1 200") && answer.contains("half"),
            "{answer}"
        );
        assert!(!answer.ends_with("0\r\n\r\n"), "{answer}");
    }
}

#[tokio::test]
async fn a_tls_truncation_without_length_is_detected() {
    let upstream = scripted(|mut stream: TcpStream| async move {
        read_until(&mut stream, "\r\n\r\n").await;
        let answer = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n";
        stream.write_all(answer).await.unwrap();
    });
    let identity = Identity::new();
    let proxy = TestProxy::before_server(&format!("http://{}", upstream.await))
        .set(&identity.set())
        .start()
        .await;
    let mut caller = connect_tls(&proxy, identity.roots.clone(), &[b"http/1.0"]).await;
    // Its answer ends where the connection ends.
    caller
        .write_all(format!("GET {SUBMIT} HTTP/1.0\r\nHost: a\r\n\r\n").as_bytes())
        .await
        .unwrap();
    let mut answer = Vec::new();
    let read = timeout(PATIENCE, caller.read_to_end(&mut answer))
        .await
        .expect("the connection stays open");
    assert!(read.is_err(), "{}", String::from_utf8_lossy(&answer));
}

#[tokio::test]
async fn a_disconnect_cancels_the_request_at_once() {
    let (begun, mut begin_seen) = mpsc::unbounded_channel();
    let (ended, mut end) = mpsc::unbounded_channel();
    let upstream = scripted(move |mut stream: TcpStream| {
        let (begun, ended) = (begun.clone(), ended.clone());
        async move {
            read_until(&mut stream, "\r\n\r\n").await;
            let _ = begun.send(());
            let rest = stream.read_to_end(&mut Vec::new()).await;
            let _ = ended.send(rest);
        }
    });
    let proxy = proxy_before(upstream.await).await;
    let stream = begin(&proxy, "GET", "").await;
    timeout(PATIENCE, begin_seen.recv())
        .await
        .expect("the request does not reach the API");
    // Waits for an answer that does not come; then it is gone.
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert!(
        end.try_recv().is_err(),
        "the request ended before its caller went"
    );
    drop(stream);
    timeout(PATIENCE, end.recv())
        .await
        .expect("the upstream request goes on without a caller");
}

#[tokio::test]
async fn an_early_upstream_response_reaches_the_caller() {
    let upstream = scripted(|mut stream: TcpStream| async move {
        read_until(&mut stream, "\r\n\r\n").await;
        let answer = b"HTTP/1.1 413 Payload Too Large\r\nContent-Length: 3\r\n\r\nbig";
        stream.write_all(answer).await.unwrap();
        let _ = stream.read_to_end(&mut Vec::new()).await;
    });
    let proxy = proxy_before(upstream.await).await;
    let mut stream = begin(&proxy, "POST", "Content-Length: 1000000\r\n").await;
    stream.write_all(b"the first bytes").await.unwrap();
    let answer = read_until(&mut stream, "big").await;
    assert!(answer.starts_with("HTTP/1.1 413"), "{answer}");
}

#[tokio::test]
async fn a_response_arrives_despite_an_unread_body() {
    for (status, rounds) in [("413 Payload Too Large", 30), ("401 Unauthorized", 10)] {
        let upstream = scripted(move |mut stream: TcpStream| async move {
            let mut head = [0; 64];
            stream.read_exact(&mut head).await.unwrap();
            let answer = format!("HTTP/1.1 {status}\r\nContent-Length: 3\r\n\r\nbig");
            stream.write_all(answer.as_bytes()).await.unwrap();
            // What is unread makes this a reset.
        });
        let proxy = proxy_before(upstream.await).await;
        for _ in 0..rounds {
            let req = Request::post(SUBMIT)
                .header("host", "a")
                .body(Full::new(pattern(2 * MIB)))
                .unwrap();
            let res = send(proxy.addr(), req).await;
            assert_eq!(
                (res.status().to_string().as_str(), &res.body()[..]),
                (status, &b"big"[..])
            );
        }
    }
}

#[tokio::test]
async fn a_tls_response_arrives_despite_an_unread_body() {
    let secured = tls(&["http/1.1"], |mut stream| async move {
        // Else its answer waits for what TLS sent before, and is lost with its connection.
        stream.get_ref().0.set_nodelay(true).unwrap();
        stream.read_exact(&mut [0; 64]).await.unwrap();
        let answer = b"HTTP/1.1 413 Payload Too Large\r\nContent-Length: 3\r\n\r\nbig";
        stream.write_all(answer).await.unwrap();
        stream.flush().await.unwrap();
    })
    .await;
    let proxy = TestProxy::before_server(&secured.base_url)
        .set(&[&secured.ca_file])
        .start()
        .await;
    for _ in 0..20 {
        let req = Request::post(SUBMIT)
            .header("host", "a")
            .body(Full::new(pattern(2 * MIB)))
            .unwrap();
        let res = send(proxy.addr(), req).await;
        assert_eq!((res.status().as_u16(), &res.body()[..]), (413, &b"big"[..]));
    }
}

#[tokio::test]
async fn an_incomplete_response_before_a_reset_fails() {
    for answer in ["", "HTTP/1.1 200 OK\r\n\r\nhalf"] {
        let upstream = scripted(move |mut stream: TcpStream| async move {
            stream.read_exact(&mut [0; 64]).await.unwrap();
            stream.write_all(answer.as_bytes()).await.unwrap();
        });
        let proxy = proxy_before(upstream.await).await;
        for _ in 0..10 {
            let req = Request::post(SUBMIT)
                .header("host", "a")
                .body(Full::new(pattern(2 * MIB)))
                .unwrap();
            // Without a length its answer ends where the connection ends, and that was reset.
            match try_send(proxy.addr(), req).await {
                Ok(res) => assert_eq!(res.status(), 502, "{answer:?}"),
                Err(_) => assert!(!answer.is_empty()),
            }
        }
    }
}

#[tokio::test]
async fn a_request_without_a_body_has_none_upstream() {
    let upstream = scripted(|mut stream: TcpStream| async move {
        let head = read_until(&mut stream, "\r\n\r\n").await.to_lowercase();
        assert!(
            !head.contains("transfer-encoding") && !head.contains("content-length"),
            "{head}"
        );
        stream
            .write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
            .await
            .unwrap();
    });
    let proxy = proxy_before(upstream.await).await;
    let req = Request::get(SUBMIT)
        .header("host", "a")
        .body(Full::new(Bytes::new()))
        .unwrap();
    assert_eq!(send(proxy.addr(), req).await.status(), 200);
}

/// More than is read at once.
#[tokio::test]
async fn decrypted_bytes_are_forwarded_without_waiting() {
    const LENGTH: usize = 60_000;
    let secured = tls(&["http/1.1"], async |mut stream| {
        let answer = format!(
            "HTTP/1.1 200 OK\r\nContent-Length: {LENGTH}\r\n\r\n{}",
            "x".repeat(LENGTH)
        );
        let mut head = [0; 4096];
        while matches!(stream.read(&mut head).await, Ok(1..)) {
            stream.write_all(answer.as_bytes()).await.unwrap();
            stream.flush().await.unwrap();
        }
    })
    .await;
    let proxy = TestProxy::before_server(&secured.base_url)
        .set(&[&secured.ca_file, "listen.workers=1"])
        .start()
        .await;
    for _ in 0..20 {
        let req = Request::get(SUBMIT)
            .header("host", "a")
            .body(Full::new(Bytes::new()))
            .unwrap();
        let res = timeout(PATIENCE, send(proxy.addr(), req))
            .await
            .expect("the answer came to a stop");
        assert_eq!((res.status().as_u16(), res.body().len()), (200, LENGTH));
    }
}
