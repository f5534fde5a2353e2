//! Two instances, Unix sockets, TLS, draining.

use std::io::ErrorKind;
use std::time::Duration;

use gbg_proxy::app::StartError;
use http::StatusCode;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UnixStream};
use tokio::time::timeout;
use wiremock::ResponseTemplate;

use crate::support::caller::{PATIENCE, assert_ok, post, read_until, send};
use crate::support::tls::{connect_tls, serving_tls};
use crate::support::{TestProxy, answer, api, forwarded, token_endpoint};

const START: &str = "/v2/captain/journey/start";

#[tokio::test]
async fn a_second_instance_cannot_share_the_port() {
    let api = api().await;
    let first = TestProxy::before(&api).start().await;
    let address = format!("listen.address={}", first.addr());
    let second = TestProxy::new(&api.uri(), &token_endpoint(&api))
        .set(&[&address])
        .try_start()
        .await;
    match second.map(drop) {
        Err(StartError::Listen { source, .. }) => assert_eq!(source.kind(), ErrorKind::AddrInUse),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn every_worker_serves() {
    let api = api().await;
    answer(&api, ResponseTemplate::new(200)).await;
    let proxy = TestProxy::before(&api)
        .set(&["listen.workers=4"])
        .start()
        .await;
    for _ in 0..64 {
        assert_ok(proxy.addr(), START).await;
    }
    assert_eq!(forwarded(&api).await.len(), 64);
}

#[tokio::test]
async fn fewer_connections_than_workers_serve_every_caller() {
    let api = api().await;
    answer(&api, ResponseTemplate::new(200)).await;
    let proxy = TestProxy::before(&api)
        .set(&["listen.workers=4", "listen.max_connections=1"])
        .start()
        .await;
    for _ in 0..16 {
        assert_ok(proxy.addr(), START).await;
    }
}

#[tokio::test]
async fn a_connection_above_the_limit_waits() {
    let proxy = TestProxy::before(&api().await)
        .set(&["listen.workers=4", "listen.max_connections=1"])
        .start()
        .await;
    let request = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n";
    let mut first = TcpStream::connect(proxy.addr()).await.unwrap();
    first.write_all(request).await.unwrap();
    read_until(&mut first, "path_unknown").await;

    let mut second = TcpStream::connect(proxy.addr()).await.unwrap();
    second.write_all(request).await.unwrap();
    let waited = timeout(Duration::from_millis(300), second.readable()).await;
    assert!(waited.is_err(), "the limit was passed");

    drop(first);
    read_until(&mut second, "path_unknown").await;
}

#[tokio::test]
async fn callers_may_use_a_unix_socket() {
    let api = api().await;
    answer(&api, ResponseTemplate::new(200)).await;
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("proxy.sock");
    let address = format!("listen.address=unix:{}", path.display());
    let proxy = TestProxy::before(&api)
        .set(&[&address, "listen.socket_mode=0600"])
        .start()
        .await;

    let mode =
        std::os::unix::fs::PermissionsExt::mode(&std::fs::metadata(&path).unwrap().permissions());
    assert_eq!(mode & 0o777, 0o600);
    let stream = UnixStream::connect(&path).await.unwrap();
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
        .await
        .unwrap();
    let connection = tokio::spawn(connection);
    assert_eq!(
        sender.send_request(post(START)).await.unwrap().status(),
        StatusCode::OK
    );
    connection.abort();

    proxy.shut_down().await;
    assert!(!path.exists(), "the socket file was left");
}

#[tokio::test]
async fn a_draining_instance_keeps_its_successors_socket() {
    let api = api().await;
    answer(
        &api,
        ResponseTemplate::new(200).set_delay(Duration::from_secs(1)),
    )
    .await;
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("proxy.sock");
    let address = format!("listen.address=unix:{}", path.display());
    let old = TestProxy::before(&api).set(&[&address]).start().await;
    let mut in_flight = UnixStream::connect(&path).await.unwrap();
    in_flight
        .write_all(format!("GET {START} HTTP/1.1\r\nHost: a\r\n\r\n").as_bytes())
        .await
        .unwrap();
    while forwarded(&api).await.is_empty() {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let draining = tokio::spawn(old.shut_down());
    while path.exists() {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let _new = TestProxy::before(&api).set(&[&address]).start().await;
    draining.await.unwrap();
    UnixStream::connect(&path)
        .await
        .expect("the successor is out of reach");
}

#[tokio::test]
async fn tls_serves_both_http_versions() {
    let api = api().await;
    answer(&api, ResponseTemplate::new(200)).await;
    let (proxy, roots) = serving_tls(&api).await;
    for (alpn, version) in [
        (&b"h2"[..], http::Version::HTTP_2),
        (b"http/1.1", http::Version::HTTP_11),
    ] {
        let stream = connect_tls(&proxy, roots.clone(), &[alpn]).await;
        assert_eq!(stream.get_ref().1.alpn_protocol(), Some(alpn));
        let res = if version == http::Version::HTTP_2 {
            let executor = hyper_util::rt::TokioExecutor::new();
            let handshake = hyper::client::conn::http2::handshake(executor, TokioIo::new(stream));
            let (mut sender, connection) = handshake.await.unwrap();
            tokio::spawn(connection);
            let mut req = post(&format!("https://localhost{START}"));
            req.headers_mut().remove("host");
            sender.send_request(req).await.unwrap()
        } else {
            let handshake = hyper::client::conn::http1::handshake(TokioIo::new(stream));
            let (mut sender, connection) = handshake.await.unwrap();
            tokio::spawn(connection);
            sender.send_request(post(START)).await.unwrap()
        };
        assert_eq!((res.status(), res.version()), (StatusCode::OK, version));
    }
}

#[tokio::test]
async fn a_drain_finishes_requests_and_closes_idle_connections() {
    let api = api().await;
    answer(
        &api,
        ResponseTemplate::new(200).set_delay(Duration::from_millis(700)),
    )
    .await;
    // An address of its own, which no other test can take when it is free again.
    let proxy = TestProxy::before(&api)
        .set(&["listen.address=127.0.0.77:0"])
        .start()
        .await;
    let addr = proxy.addr();
    let mut unused = TcpStream::connect(addr).await.unwrap();
    let in_flight = tokio::spawn(async move { send(addr, post(START)).await });
    while forwarded(&api).await.is_empty() {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }

    let mut used = TcpStream::connect(addr).await.unwrap();
    used.write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        .await
        .unwrap();
    read_until(&mut used, "path_unknown").await;

    timeout(Duration::from_secs(5), proxy.shut_down())
        .await
        .expect("the drain does not end");

    assert_eq!(in_flight.await.unwrap().status(), StatusCode::OK);
    for idle in [&mut used, &mut unused] {
        timeout(PATIENCE, idle.read_to_end(&mut Vec::new()))
            .await
            .expect("an idle connection stays")
            .unwrap();
    }
    assert!(TcpStream::connect(addr).await.is_err(), "it still listens");
}

#[tokio::test]
async fn draining_ends_with_its_deadline() {
    let api = api().await;
    answer(
        &api,
        ResponseTemplate::new(200).set_delay(Duration::from_secs(60)),
    )
    .await;
    let proxy = TestProxy::before(&api)
        .set(&["drain.timeout=300ms"])
        .start()
        .await;
    let addr = proxy.addr();
    let in_flight = tokio::spawn(async move {
        let mut stream = TcpStream::connect(addr).await.unwrap();
        stream
            .write_all(format!("GET {START} HTTP/1.1\r\nHost: a\r\n\r\n").as_bytes())
            .await
            .unwrap();
        stream.read_to_end(&mut Vec::new()).await
    });
    while forwarded(&api).await.is_empty() {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    timeout(Duration::from_secs(10), proxy.shut_down())
        .await
        .expect("the drain has no end");
    let _ = timeout(PATIENCE, in_flight)
        .await
        .expect("the connection stays open");
}

#[tokio::test]
async fn a_drain_serves_a_tls_connections_first_request() {
    let api = api().await;
    let (proxy, roots) = serving_tls(&api).await;
    let addr = proxy.addr();
    let mut caller = connect_tls(&proxy, roots, &[]).await;

    let draining = tokio::spawn(proxy.shut_down());
    while TcpStream::connect(addr).await.is_ok() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    caller
        .write_all(b"GET /elsewhere HTTP/1.1\r\nHost: a\r\n\r\n")
        .await
        .unwrap();
    let mut answer = Vec::new();
    let _ = caller.read_to_end(&mut answer).await;

    assert!(
        answer.starts_with(b"HTTP/1.1 404"),
        "{}",
        String::from_utf8_lossy(&answer)
    );
    draining.await.unwrap();
}
