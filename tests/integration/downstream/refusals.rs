//! Connections that are refused before a request reaches the stack: each is counted by reason and
//! logged with its peer.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use http::Request;
use http_body_util::Full;
use rcgen::{CertificateParams, date_time_ymd};
use rustls::RootCertStore;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;
use wiremock::ResponseTemplate;

use crate::support::caller::{PATIENCE, raw, send, until};
use crate::support::process::Running;
use crate::support::tls::{ClientCa, Identity, connect_with, try_connect_tls};
use crate::support::{TestProxy, answer, api, token_endpoint};

/// Sent in each case, and never part of the log.
const CANARY: &str = "canary-5b1e";
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";
const ADMIN: &str = "admin.address=127.0.0.1:0";

/// The connections that the listener for callers has refused, by reason; those without any are left
/// out.
async fn refused(admin: SocketAddr) -> BTreeMap<String, u64> {
    let req = Request::get("/metrics")
        .header("host", "localhost")
        .body(Full::default())
        .unwrap();
    let metrics = String::from_utf8(send(admin, req).await.body().to_vec()).unwrap();
    let start = "gbg_proxy_refused_connections_total{listener=\"callers\",reason=\"";
    let lines = metrics
        .lines()
        .filter_map(|line| line.strip_prefix(start)?.split_once("\"} "));
    let counts = lines.map(|(reason, count)| (reason.to_owned(), count.parse().unwrap()));
    counts.filter(|(_, count)| *count > 0).collect()
}

/// Waits until `reasons` have been counted once each, and nothing else.
async fn assert_counted(admin: SocketAddr, reasons: &[&str]) {
    let expected: BTreeMap<_, _> = reasons
        .iter()
        .map(|reason| ((*reason).to_owned(), 1))
        .collect();
    let all_counted = until(async || refused(admin).await.len() >= expected.len());
    let _ = timeout(PATIENCE / 2, all_counted).await;
    assert_eq!(refused(admin).await, expected);
}

/// Ends the process, and looks for one line for each of `reasons`, with its peer, and for nothing
/// that was sent.
fn assert_logged(mut running: Running, reasons: &[&str]) {
    assert_eq!(running.end("-TERM"), 0);
    for reason in reasons {
        let reason = format!("reason=\"{reason}\"");
        let lines: Vec<_> = running
            .log
            .lines()
            .filter(|line| line.contains(&reason))
            .collect();
        assert_eq!(lines.len(), 1, "{reason}: {}", running.log);
        for part in [
            "INFO",
            "refused a connection",
            "listener=\"callers\"",
            "peer=127.0.0.1:",
            "cause=",
        ] {
            assert!(lines[0].contains(part), "{part} is not in {}", lines[0]);
        }
    }
    assert!(!running.log.contains(CANARY), "{}", running.log);
}

/// Sends `bytes`, and waits until the other side closes the connection.
async fn send_bytes(addr: SocketAddr, bytes: impl AsRef<[u8]>) {
    let mut stream = TcpStream::connect(addr).await.unwrap();
    // The other side may have closed before all of it was sent.
    let _ = stream.write_all(bytes.as_ref()).await;
    let _ = timeout(PATIENCE, stream.read_to_end(&mut Vec::new()))
        .await
        .expect("it stays open");
}

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

#[tokio::test]
async fn refused_plain_connections_are_counted_and_logged() {
    let mut running = Running::start(&[
        ADMIN,
        "listen.workers=2",
        "listen.header_timeout=300ms",
        "listen.body_timeout=300ms",
        "log.level=trace",
    ]);
    let (addr, admin) = (running.addr(), running.admin());

    let hello = [
        b"\x16\x03\x01\x00\xfa\x01\x00\x00\xf6\x03\x03",
        CANARY.as_bytes(),
    ]
    .concat();
    assert!(raw(addr, hello).await.starts_with("HTTP/1.1 400 "));
    assert!(
        raw(addr, format!("{CANARY} / HTTP/9\r\n\r\n"))
            .await
            .starts_with("HTTP/1.1 400 ")
    );
    let fields = format!("X: {CANARY}\r\n").repeat(200);
    assert!(
        raw(addr, format!("GET / HTTP/1.1\r\n{fields}\r\n"))
            .await
            .starts_with("HTTP/1.1 431 ")
    );
    assert!(
        raw(addr, format!("GET /{CANARY} HTTP/1.1\r\nHo"))
            .await
            .starts_with("HTTP/1.1 408 ")
    );
    assert_eq!(raw(addr, "").await, "");
    let mut stream = TcpStream::connect(addr).await.unwrap();
    stream
        .write_all(format!("GET /{CANARY} HTTP/1.1\r\nHo").as_bytes())
        .await
        .unwrap();
    drop(stream);
    let data_on_no_stream = frame(0, 0, 0, CANARY.as_bytes());
    send_bytes(addr, [PREFACE, &data_on_no_stream].concat()).await;
    // GET / by the static table; each is reset at once (CVE-2023-44487).
    let request = |stream| {
        [
            frame(1, 5, stream, b"\x82\x84\x86\x41\x01a"),
            frame(3, 0, stream, &[0, 0, 0, 8]),
        ]
    };
    let resets = (0..500).flat_map(|count| request(2 * count + 1)).flatten();
    send_bytes(
        addr,
        PREFACE.iter().copied().chain(resets).collect::<Vec<_>>(),
    )
    .await;

    let reasons = [
        "tls_on_http_port",
        "malformed_request",
        "request_head_too_large",
        "request_timeout",
        "no_request",
        "incomplete_request",
        "http2_protocol_error",
        "http2_flood",
    ];
    assert_counted(admin, &reasons).await;
    running.read_until("http2_flood");
    assert_logged(running, &reasons);
}

#[tokio::test]
async fn refused_tls_connections_are_counted_and_logged() {
    let (identity, ca) = (Identity::new(), ClientCa::new());
    let ca_file = identity.path("client_ca.pem");
    std::fs::write(&ca_file, ca.pem()).unwrap();
    let client_ca = format!("listen.tls.client_ca={}", ca_file.display());
    let [cert, key] = identity.set();
    let mut running = Running::start(&[
        ADMIN,
        cert,
        key,
        &client_ca,
        "listen.handshake_timeout=300ms",
        "listen.header_timeout=300ms",
        "log.level=trace",
    ]);
    let (addr, admin) = (running.addr(), running.admin());
    let version = &rustls::version::TLS12;

    let answer = raw(addr, format!("GET /{CANARY} HTTP/1.1\r\nHost: a\r\n\r\n")).await;
    assert!(answer.starts_with("HTTP/1.1 400 "), "{answer}");
    let record_of_no_type = [b"\x7f\x03\x01\x00\x20", CANARY.as_bytes(), &[0; 32]].concat();
    send_bytes(addr, record_of_no_type).await;
    // A ClientHello of TLS 1.0: version, random, no session, one cipher suite, no compression.
    let hello = [b"\x03\x01", &[7; 32][..], b"\x00\x00\x02\x00\x2f\x01\x00"].concat();
    let length = u8::try_from(hello.len()).unwrap();
    let record = [&[0x16, 3, 1, 0, length + 4, 1, 0, 0, length][..], &hello].concat();
    send_bytes(addr, record).await;
    send_bytes(addr, b"\x16\x03\x01\x00\xfa").await;
    send_bytes(addr, b"").await;
    assert!(try_connect_tls(addr, RootCertStore::empty()).await.is_err());
    let foreign = ClientCa::new().certify(CANARY);
    assert!(
        connect_with(addr, identity.roots.clone(), foreign, version)
            .await
            .is_err()
    );
    let mut params = CertificateParams::new([CANARY.to_owned()]).unwrap();
    (params.not_before, params.not_after) = (date_time_ymd(2020, 1, 1), date_time_ymd(2021, 1, 1));
    let expired = ca.certify_with(params);
    assert!(
        connect_with(addr, identity.roots.clone(), expired, version)
            .await
            .is_err()
    );

    let reasons = [
        "http_on_tls_port",
        "tls_handshake_failed",
        "tls_incompatible",
        "tls_handshake_timeout",
        "no_request",
        "server_certificate_rejected",
        "client_certificate_untrusted",
        "client_certificate_expired",
    ];
    assert_counted(admin, &reasons).await;
    running.read_until("client_certificate_expired");
    assert_logged(running, &reasons);
}

#[tokio::test]
async fn callers_that_stop_within_a_request_are_counted() {
    const BODY: usize = 32 << 20;
    let api = api().await;
    answer(
        &api,
        ResponseTemplate::new(200).set_body_bytes(vec![7; BODY]),
    )
    .await;
    let proxy = TestProxy::before(&api)
        .set(&["listen.body_timeout=300ms"])
        .start()
        .await;
    let head = "POST /v2/captain/journey/start HTTP/1.1\r\nHost: a\r\nContent-Length: ";

    assert!(
        raw(proxy.addr(), format!("{head}9\r\n\r\n{{"))
            .await
            .starts_with("HTTP/1.1 408 ")
    );
    assert_counted(proxy.admin(), &["request_timeout"]).await;

    let mut stream = TcpStream::connect(proxy.addr()).await.unwrap();
    stream
        .write_all(format!("{head}2\r\n\r\n{{}}").as_bytes())
        .await
        .unwrap();
    assert_counted(proxy.admin(), &["request_timeout", "response_timeout"]).await;
    drop(stream);
}

#[tokio::test]
async fn repeated_refusals_are_counted_and_logged_once() {
    let running = Running::start(&[ADMIN, "listen.workers=2"]);
    for _ in 0..20 {
        raw(running.addr(), "no request\r\n\r\n").await;
    }
    let admin = running.admin();
    until(async || refused(admin).await.get("malformed_request") == Some(&20)).await;
    assert_logged(running, &["malformed_request"]);
}

#[tokio::test]
async fn clean_closes_and_port_checks_are_not_counted() {
    let identity = Identity::new();
    let api = api().await;
    let plain = TestProxy::before(&api)
        .set(&["listen.keep_alive_timeout=200ms"])
        .start()
        .await;
    let secured = TestProxy::before(&api).set(&identity.set()).start().await;
    for addr in [plain.addr(), secured.addr()] {
        drop(TcpStream::connect(addr).await.unwrap());
    }
    drop(
        try_connect_tls(secured.addr(), identity.roots.clone())
            .await
            .unwrap(),
    );
    let idle = "GET /elsewhere HTTP/1.1\r\nHost: a\r\n\r\n";
    assert!(raw(plain.addr(), idle).await.starts_with("HTTP/1.1 404 "));
    let closing = "GET /elsewhere HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";
    assert!(
        raw(plain.addr(), closing)
            .await
            .starts_with("HTTP/1.1 404 ")
    );

    // These are counted, and after those before them.
    raw(plain.addr(), "no request\r\n\r\n").await;
    raw(secured.addr(), closing).await;
    assert_counted(plain.admin(), &["malformed_request"]).await;
    assert_counted(secured.admin(), &["http_on_tls_port"]).await;

    let endpoint = format!("token.endpoint={}", token_endpoint(&api));
    let mut draining = Running::start(&[&endpoint, identity.set()[0], identity.set()[1]]);
    let silent = TcpStream::connect(draining.addr()).await.unwrap();
    let mut begun = TcpStream::connect(draining.addr()).await.unwrap();
    begun.write_all(b"\x16\x03\x01").await.unwrap();
    assert_eq!(draining.end("-TERM"), 0);
    assert!(
        !draining.log.contains("refused a connection"),
        "{}",
        draining.log
    );
    drop(silent);
}
