//! Callers that close their half of the connection and wait for their answer.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use hyper::body::Incoming;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::time::{sleep, timeout};

use crate::support::bytes::Api;
use crate::support::caller::{PATIENCE, assert_took, read_until};
use crate::support::server::{http, scripted};
use crate::support::tls::{Identity, connect_tls};
use crate::support::{Proxy, TestProxy};

const SUBMIT: &str = "/v2/captain/journey/interaction/submit";
const INTERIM: &str = "HTTP/1.1 100 Continue\r\n\r\n";

async fn proxy_before(upstream: SocketAddr) -> Proxy {
    TestProxy::before_server(&format!("http://{upstream}"))
        .start()
        .await
}

/// An API that takes `time` for its answer.
async fn slow(time: Duration) -> SocketAddr {
    http(move |_| async move {
        sleep(time).await;
        Response::new(Full::new(Bytes::from_static(b"late")))
    })
    .await
}

/// A caller that has sent `parts`, each a little after the one before, and has closed its half
/// right behind the last.
async fn half_closed(proxy: &Proxy, parts: &[&[u8]]) -> TcpStream {
    let mut caller = TcpStream::connect(proxy.addr()).await.unwrap();
    caller.set_nodelay(true).unwrap();
    for (number, part) in parts.iter().enumerate() {
        if number > 0 {
            sleep(Duration::from_millis(20)).await;
        }
        caller.write_all(part).await.unwrap();
    }
    caller.shutdown().await.unwrap();
    caller
}

async fn rest(caller: &mut TcpStream) -> String {
    let mut answer = Vec::new();
    timeout(PATIENCE, caller.read_to_end(&mut answer))
        .await
        .expect("the connection stays open")
        .unwrap();
    String::from_utf8(answer).unwrap()
}

#[tokio::test]
async fn a_half_closed_caller_gets_its_response() {
    let proxy = proxy_before(slow(Duration::from_millis(400)).await).await;
    for (version, body) in [("1.1", ""), ("1.0", ""), ("1.1", "body")] {
        let length = body.len();
        let request = format!(
            "POST {SUBMIT} HTTP/{version}\r\nHost: a\r\nContent-Length: {length}\r\n\r\n{body}"
        );
        let answer = rest(&mut half_closed(&proxy, &[request.as_bytes()]).await).await;
        // What was sent to see whether it is still there is of no harm, and nothing that HTTP/1.0
        // does not know.
        assert_eq!(answer.starts_with(INTERIM), version == "1.1", "{answer}");
        let answer = answer.replace(INTERIM, "");
        assert!(
            answer.starts_with(&format!("HTTP/{version} 200 OK")) && answer.ends_with("late"),
            "{answer}"
        );
    }
}

#[tokio::test]
async fn pipelined_requests_survive_a_half_close() {
    let proxy = proxy_before(slow(Duration::from_millis(10)).await).await;
    let request = format!("GET {SUBMIT} HTTP/1.1\r\nHost: a\r\n\r\n");
    let answers = rest(&mut half_closed(&proxy, &[request.repeat(5).as_bytes()]).await).await;
    assert_eq!(answers.matches("HTTP/1.1 200 OK").count(), 5, "{answers}");
}

#[tokio::test]
async fn half_close_may_accompany_the_bodys_end() {
    let api = Api::content().await;
    let proxy = api.proxy(&[]).await;
    let head = |version: &str, fields: &str| {
        format!("POST {SUBMIT} HTTP/{version}\r\nHost: a\r\n{fields}\r\n\r\n").into_bytes()
    };
    let with = |head: &[u8], body: &[u8]| [head, body].concat();
    let chunked = head("1.1", "Transfer-Encoding: chunked");
    let short = head("1.1", "Content-Length: 3");
    let long = head("1.1", "Content-Length: 300000");
    let old = head("1.0", "Content-Length: 3");
    let expecting = head("1.1", "Expect: 100-continue\r\nContent-Length: 3");
    let large = vec![b'x'; 300_000];
    let requests: [&[&[u8]]; 8] = [
        &[&with(&chunked, b"3\r\nabc\r\n0\r\n\r\n")],
        &[&chunked, b"3\r\nabc\r\n", b"0\r\n\r\n"],
        &[&with(&short, b"a"), b"b", b"c"],
        &[&with(&long, &large)],
        &[&long, &large[..1000], &large[1000..]],
        &[&with(&old, b"abc")],
        &[&old, b"a", b"bc"],
        &[&expecting, b"abc"],
    ];
    const ROUNDS: usize = 5;
    for parts in requests {
        for _ in 0..ROUNDS {
            let answer = rest(&mut half_closed(&proxy, parts).await)
                .await
                .replace(INTERIM, "");
            let head =
                String::from_utf8_lossy(parts[0].split(|&byte| byte == b'x').next().unwrap());
            assert!(
                answer.contains(" 200 OK\r\n") && answer.ends_with("\r\n\r\nok"),
                "{head}: {answer}"
            );
        }
    }
    assert_eq!(api.seen().len(), requests.len() * ROUNDS);
}

#[tokio::test]
async fn tls_half_close_may_accompany_the_bodys_end() {
    let api = Api::content().await;
    let identity = Identity::new();
    let proxy = api.proxy(&identity.set()).await;
    let request = format!(
        "POST {SUBMIT} HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n"
    );
    for _ in 0..10 {
        let mut caller = connect_tls(&proxy, identity.roots.clone(), &[b"http/1.1"]).await;
        caller.write_all(request.as_bytes()).await.unwrap();
        caller.shutdown().await.unwrap();
        let mut answer = String::new();
        let read = timeout(PATIENCE, caller.read_to_string(&mut answer)).await;
        read.expect("the connection stays open").unwrap();
        assert!(
            answer.replace(INTERIM, "").starts_with("HTTP/1.1 200 OK"),
            "{answer}"
        );
    }
}

#[tokio::test]
async fn a_truncated_body_gets_400_and_never_completes() {
    let api = Api::content().await;
    let proxy = api.proxy(&[]).await;
    for request in [
        "Content-Length: 10\r\n\r\nabc",
        "Content-Length: 10\r\n\r\n",
        "Expect: 100-continue\r\nContent-Length: 10\r\n\r\nabc",
        "Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n",
        "Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n",
        "Transfer-Encoding: chunked\r\n\r\n3\r\na",
    ] {
        let head = format!("POST {SUBMIT} HTTP/1.1\r\nHost: a\r\n");
        for parts in [
            &[(head.clone() + request).as_bytes()][..],
            &[head.as_bytes(), request.as_bytes()],
        ] {
            let answer = rest(&mut half_closed(&proxy, parts).await)
                .await
                .replace(INTERIM, "");
            assert!(
                answer.starts_with("HTTP/1.1 400 Bad Request"),
                "{request}: {answer}"
            );
        }
    }
    assert!(api.seen().is_empty(), "{:?}", api.seen());
}

#[tokio::test]
async fn the_connection_closes_right_after_the_response() {
    // A look comes after 750 ms, and then one after 1550 ms.
    let proxy = proxy_before(slow(Duration::from_millis(800)).await).await;
    let request = format!("GET {SUBMIT} HTTP/1.1\r\nHost: a\r\n\r\n");
    let mut caller = half_closed(&proxy, &[request.as_bytes()]).await;
    read_until(&mut caller, "late").await;
    let answered = Instant::now();
    assert_eq!(rest(&mut caller).await, "");
    assert_took(answered, ..Duration::from_millis(500));
}

/// The end of an answer may lie with us while the sockets are full. Of these lengths one ends just
/// then.
#[tokio::test]
async fn a_slow_reader_gets_the_whole_response() {
    let upstream = http(async |req: Request<Incoming>| {
        let length = req.headers()["x-length"].to_str().unwrap().parse().unwrap();
        Response::new(Full::new(Bytes::from(vec![b'x'; length])))
    });
    let proxy = Arc::new(proxy_before(upstream.await).await);
    let callers: Vec<_> = (10..=60)
        .map(|number| {
            let (proxy, length) = (Arc::clone(&proxy), number * 100_000);
            tokio::spawn(async move {
                let request =
                    format!("GET {SUBMIT} HTTP/1.1\r\nHost: a\r\nX-Length: {length}\r\n\r\n");
                let mut caller = half_closed(&proxy, &[request.as_bytes()]).await;
                sleep(Duration::from_millis(500)).await;
                let answer = rest(&mut caller).await.replace(INTERIM, "");
                let (_, body) = answer.split_once("\r\n\r\n").unwrap();
                assert_eq!(body.len(), length);
            })
        })
        .collect();
    for caller in callers {
        caller.await.unwrap();
    }
}

#[tokio::test]
async fn a_paused_response_is_abandoned_within_seconds() {
    let (ended, mut end) = mpsc::unbounded_channel();
    let upstream = scripted(move |mut stream: TcpStream| {
        let ended = ended.clone();
        async move {
            read_until(&mut stream, "\r\n\r\n").await;
            stream
                .write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf")
                .await
                .unwrap();
            let _ = stream.read_to_end(&mut Vec::new()).await;
            let _ = ended.send(());
        }
    });
    let proxy = proxy_before(upstream.await).await;
    let request = format!("GET {SUBMIT} HTTP/1.1\r\nHost: a\r\n\r\n");
    let mut caller = half_closed(&proxy, &[request.as_bytes()]).await;
    read_until(&mut caller, "half").await;
    let paused = Instant::now();
    timeout(PATIENCE, end.recv())
        .await
        .expect("the request goes on");
    let pause = paused.elapsed();
    assert!(
        pause > Duration::from_millis(500) && pause < Duration::from_secs(4),
        "{pause:?}"
    );
}
