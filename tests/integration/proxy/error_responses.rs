//! Responses to callers when the API fails.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use http::StatusCode;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};

use crate::support::caller::{PATIENCE, Whole, assert_ok, json, post, raw, read_until, send};
use crate::support::server::{scripted, silent};
use crate::support::{TestProxy, api};

const START: &str = "/v2/captain/journey/start";

/// One request to a proxy whose API is at `upstream`.
async fn response_of(upstream: &str, set: &[&str]) -> Whole {
    let proxy = TestProxy::before_server(upstream).set(set).start().await;
    send(proxy.addr(), post(START)).await
}

fn assert_error(res: &Whole, status: StatusCode, reason: &str) {
    assert_eq!(
        (res.status(), json(res)["reason"].as_str()),
        (status, Some(reason))
    );
    assert!(
        res.headers()["proxy-status"]
            .to_str()
            .unwrap()
            .starts_with("gbg-proxy; error=")
    );
    assert_eq!(res.headers()["content-type"], "application/json");
}

#[tokio::test]
async fn a_refused_connection_is_upstream_unreachable() {
    // Bound and not listening: no other test can take the port meanwhile.
    let unheard = TcpSocket::new_v4().unwrap();
    unheard.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let addr = unheard.local_addr().unwrap();
    let res = response_of(&format!("http://{addr}"), &[]).await;
    assert_error(&res, StatusCode::BAD_GATEWAY, "upstream_unreachable");
    assert!(
        !format!("{res:?}").contains("refused"),
        "the cause is for the log"
    );
}

#[tokio::test]
async fn an_unknown_host_is_upstream_unreachable() {
    // Below .localhost, which no resolver is to ask a server for (RFC 6761 section 6.3).
    let res = response_of("http://no-such-host.localhost:1", &[]).await;
    assert_error(&res, StatusCode::BAD_GATEWAY, "upstream_unreachable");
}

#[tokio::test]
async fn an_untrusted_certificate_is_upstream_unreachable() {
    let certified = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let other = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let directory = tempfile::tempdir().unwrap();
    let ca_file = directory.path().join("ca.pem");
    std::fs::write(&ca_file, other.cert.pem()).unwrap();
    let _ = rustls::crypto::ring::default_provider().install_default();
    let key =
        rustls::pki_types::PrivateKeyDer::try_from(certified.signing_key.serialize_der()).unwrap();
    let tls = rustls::ServerConfig::builder().with_no_client_auth();
    let tls = tls
        .with_single_cert(vec![certified.cert.der().clone()], key)
        .unwrap();
    let tls = tokio_rustls::TlsAcceptor::from(Arc::new(tls));
    let addr = scripted(move |stream| {
        let tls = tls.clone();
        async move {
            let served = tls.accept(stream).await;
            assert!(
                served.is_err(),
                "the proxy took a certificate that nobody it trusts has signed"
            );
        }
    })
    .await;
    let ca_file = format!("upstream.ca_file={}", ca_file.display());
    let res = response_of(&format!("https://localhost:{}", addr.port()), &[&ca_file]).await;
    assert_error(&res, StatusCode::BAD_GATEWAY, "upstream_unreachable");
}

#[tokio::test]
async fn a_hanging_handshake_is_upstream_unreachable() {
    let silent = silent().await;
    let began = Instant::now();
    let res = response_of(
        &format!("https://localhost:{}", silent.port()),
        &["upstream.connect_timeout=300ms"],
    )
    .await;
    assert_error(&res, StatusCode::BAD_GATEWAY, "upstream_unreachable");
    assert!(began.elapsed() < Duration::from_secs(5));
}

#[tokio::test]
async fn a_broken_connection_gets_502_without_retry() {
    // On a new connection, and on one that has served before.
    for served in [0, 1] {
        let arrived = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&arrived);
        let breaking = scripted(move |mut stream: TcpStream| {
            let count = Arc::clone(&count);
            async move {
                for _ in 0..served {
                    read_until(&mut stream, "{}").await;
                    count.fetch_add(1, Ordering::SeqCst);
                    stream
                        .write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
                        .await
                        .unwrap();
                }
                read_until(&mut stream, "{}").await;
                count.fetch_add(1, Ordering::SeqCst);
            }
        })
        .await;
        let proxy = TestProxy::before_server(&format!("http://{breaking}"))
            .set(&["listen.workers=1"])
            .start()
            .await;
        for _ in 0..served {
            assert_ok(proxy.addr(), START).await;
        }
        assert_error(
            &send(proxy.addr(), post(START)).await,
            StatusCode::BAD_GATEWAY,
            "upstream_broken",
        );
        assert_eq!(arrived.load(Ordering::SeqCst), served + 1);
    }
}

#[tokio::test]
async fn an_unrequested_upgrade_is_upstream_broken() {
    let switching = scripted(|mut stream: TcpStream| async move {
        read_until(&mut stream, "{}").await;
        let answer =
            b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n";
        stream.write_all(answer).await.unwrap();
        let _ = stream.read_to_end(&mut Vec::new()).await;
    })
    .await;
    let res = response_of(&format!("http://{switching}"), &[]).await;
    assert_error(&res, StatusCode::BAD_GATEWAY, "upstream_broken");
}

#[tokio::test]
async fn an_idle_upstream_connection_is_closed_in_time() {
    let (closed, mut closing) = tokio::sync::mpsc::unbounded_channel();
    let upstream = scripted(move |mut stream: TcpStream| {
        let closed = closed.clone();
        async move {
            read_until(&mut stream, "{}").await;
            stream
                .write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
                .await
                .unwrap();
            let _ = stream.read_to_end(&mut Vec::new()).await;
            let _ = closed.send(());
        }
    })
    .await;
    let proxy = TestProxy::before_server(&format!("http://{upstream}"))
        .set(&["upstream.idle_timeout=300ms"])
        .start()
        .await;
    assert_ok(proxy.addr(), START).await;
    tokio::time::timeout(PATIENCE, closing.recv())
        .await
        .expect("the connection stays open")
        .unwrap();
}

#[tokio::test]
async fn a_non_http_response_is_upstream_broken() {
    let talking = scripted(|mut stream: TcpStream| async move {
        read_until(&mut stream, "{}").await;
        stream
            .write_all(b"220 mail.example ESMTP\r\n")
            .await
            .unwrap();
        let _ = stream.read_to_end(&mut Vec::new()).await;
    })
    .await;
    let res = response_of(&format!("http://{talking}"), &[]).await;
    assert_error(&res, StatusCode::BAD_GATEWAY, "upstream_broken");
}

#[tokio::test]
async fn a_missing_response_is_upstream_timeout() {
    let silent = silent().await;
    let res = response_of(
        &format!("http://{silent}"),
        &["upstream.response_timeout=300ms"],
    )
    .await;
    assert_error(&res, StatusCode::GATEWAY_TIMEOUT, "upstream_timeout");
}

#[tokio::test]
async fn a_stalled_request_body_is_caller_too_slow() {
    let silent = silent().await;
    let proxy = TestProxy::before_server(&format!("http://{silent}"))
        .set(&["upstream.response_timeout=300ms"])
        .start()
        .await;
    let mut stream = TcpStream::connect(proxy.addr()).await.unwrap();
    let head = format!("POST {START} HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\nhalf");
    stream.write_all(head.as_bytes()).await.unwrap();
    let answer = read_until(&mut stream, "caller_too_slow").await;
    assert!(answer.starts_with("HTTP/1.1 408"), "{answer}");
}

#[tokio::test]
async fn a_dead_pooled_connection_causes_no_error() {
    // Answers one request a connection, promises more, and closes.
    let connections = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&connections);
    let fickle = scripted(move |mut stream: TcpStream| {
        count.fetch_add(1, Ordering::SeqCst);
        async move {
            read_until(&mut stream, "{}").await;
            stream
                .write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
                .await
                .unwrap();
        }
    })
    .await;
    let proxy = TestProxy::before_server(&format!("http://{fickle}"))
        .set(&["listen.workers=1"])
        .start()
        .await;
    for _ in 0..20 {
        assert_ok(proxy.addr(), START).await;
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert!(connections.load(Ordering::SeqCst) >= 20);
}

#[tokio::test]
async fn non_http_bytes_get_400_and_harm_nothing() {
    let api = api().await;
    crate::support::answer(&api, wiremock::ResponseTemplate::new(200)).await;
    let proxy = TestProxy::before(&api).start().await;
    for garbage in [
        "\u{1}\u{2}\u{3}\r\n\r\n",
        "GET\r\n\r\n",
        "GET / HTTP/9.9\r\n\r\n",
        "PRI * HTTP/2.0\r\n\r\nXX\r\n\r\n",
    ] {
        let answer = raw(proxy.addr(), garbage).await;
        assert!(
            answer.starts_with("HTTP/1.1 400") || answer.is_empty(),
            "{garbage:?}: {answer}"
        );
    }
    assert_ok(proxy.addr(), START).await;
}
