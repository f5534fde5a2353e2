//! Memory that the process holds for callers who send or read slowly.

use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::join_all;
use http::{Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::Incoming;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::task::spawn_blocking;
use tokio::time::{sleep, timeout};

use crate::support::caller::{PATIENCE, assert_ok, post, read_until, send, until};
use crate::support::frames::{
    DATA, END_HEADERS, END_STREAM, GOOD, HEADERS, SETTINGS, block, frame, largest_windows,
};
use crate::support::process::Running;
use crate::support::server::http;
use crate::support::{api, token_endpoint};

const LOGIN: &str = "/as/token.oauth2";
const START: &str = "/v2/captain/journey/start";
const PING: u8 = 6;
/// Of no meaning (RFC 9113 section 4.1).
const UNKNOWN: u8 = 0x42;

async fn started(set: Vec<String>) -> Running {
    spawn_blocking(move || {
        let set: Vec<_> = set.iter().map(String::as_str).collect();
        Running::start(&set)
    })
    .await
    .unwrap()
}

async fn metrics(admin: SocketAddr) -> String {
    let req = Request::get("/metrics")
        .header("host", "localhost")
        .body(Full::default())
        .unwrap();
    String::from_utf8_lossy(send(admin, req).await.body()).into_owned()
}

/// Sends a login form of `length` bytes, each in a frame of its own and with a long frame behind it
/// that means nothing; its end never comes. Returns when the proxy has read all of it.
async fn send_form_slowly(addr: SocketAddr, length: usize) -> TcpStream {
    let fields = [
        (":method", "POST"),
        (":scheme", "http"),
        (":authority", "a"),
        (":path", LOGIN),
    ];
    let mut stream = TcpStream::connect(addr).await.unwrap();
    stream
        .write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
        .await
        .unwrap();
    stream.write_all(&frame(SETTINGS, 0, 0, &[])).await.unwrap();
    stream
        .write_all(&frame(HEADERS, END_HEADERS, 1, &block(&fields)))
        .await
        .unwrap();
    let byte = [
        frame(DATA, 0, 1, b"g"),
        frame(UNKNOWN, 0, 1, &[0; 16 << 10]),
    ]
    .concat();
    for _ in 0..length {
        stream.write_all(&byte).await.unwrap();
    }
    stream
        .write_all(&frame(PING, 0, 0, b"all read"))
        .await
        .unwrap();
    read_until(&mut stream, "all read").await;
    stream
}

#[tokio::test]
async fn slow_login_forms_hold_little_memory() {
    const CONNECTIONS: usize = 26;
    const FORM_BYTES: usize = 600;
    const MAX_GROWTH: u64 = 64 << 20;
    let set = [
        "listen.workers=1",
        "listen.header_timeout=2m",
        "admin.address=127.0.0.1:0",
    ];
    let running = started(set.map(str::to_owned).to_vec()).await;
    let (addr, admin) = (running.addr(), running.admin());
    let log_in = async || {
        let form = Full::from("grant_type=client_credentials");
        let req = Request::post(LOGIN)
            .header("host", "localhost")
            .body(form)
            .unwrap();
        send(addr, req).await.status()
    };
    assert_eq!(log_in().await, StatusCode::OK);

    let before = running.resident_bytes();
    let sent = join_all((0..CONNECTIONS).map(|_| send_form_slowly(addr, FORM_BYTES)));
    let held = timeout(PATIENCE * 3, sent)
        .await
        .expect("the forms are not read");
    let grown = running.resident_bytes().saturating_sub(before);
    assert!(
        grown < MAX_GROWTH,
        "{grown} bytes for {CONNECTIONS} forms of {FORM_BYTES} bytes"
    );
    let reading = format!("gbg_proxy_login_forms {CONNECTIONS}.0\n");
    assert!(
        metrics(admin).await.contains(&reading),
        "not all forms are being read"
    );
    assert_eq!(log_in().await, StatusCode::OK);
    drop(held);
}

/// Begins `count` requests whose responses may all be sent at once, and reads none.
async fn request_and_not_read(addr: SocketAddr, count: u32) -> TcpStream {
    let mut stream = TcpStream::connect(addr).await.unwrap();
    stream
        .write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
        .await
        .unwrap();
    stream.write_all(&largest_windows()).await.unwrap();
    for request in 0..count {
        let head = frame(
            HEADERS,
            END_HEADERS | END_STREAM,
            2 * request + 1,
            &block(&GOOD),
        );
        stream.write_all(&head).await.unwrap();
    }
    stream
}

/// The memory of `running` when it has stopped growing.
async fn settled_bytes(running: &Running) -> u64 {
    const SAME: u64 = 1 << 20;
    let mut last = running.resident_bytes();
    let mut steady = 0;
    for _ in 0..40 {
        sleep(Duration::from_millis(500)).await;
        let now = running.resident_bytes();
        steady = if now.abs_diff(last) < SAME {
            steady + 1
        } else {
            0
        };
        last = now;
        if steady == 3 {
            break;
        }
    }
    last
}

#[tokio::test]
async fn stalled_http2_readers_hold_little_memory() {
    const CONNECTIONS: u32 = 4;
    const STREAMS: u32 = 64;
    /// An unoptimized build holds about 430 KiB a stream, and 340 more with hyper's own size of the
    /// send buffer.
    const MAX_GROWTH: u64 = (CONNECTIONS * STREAMS) as u64 * (560 << 10);
    /// More than the sockets of one connection hold.
    const BODY_BYTES: usize = 16 << 20;
    let tokens = api().await;
    let body = Bytes::from(vec![b'x'; BODY_BYTES]);
    let upstream = http(move |_: Request<Incoming>| {
        let body = body.clone();
        async { Response::new(Full::new(body)) }
    });
    let set = vec![
        format!("upstream.base_url=http://{}", upstream.await),
        format!("token.endpoint={}", token_endpoint(&tokens)),
        "admin.address=127.0.0.1:0".to_owned(),
        "listen.workers=1".to_owned(),
    ];
    let running = started(set).await;
    let (addr, admin) = (running.addr(), running.admin());
    assert_ok(addr, START).await;

    let before = running.resident_bytes();
    let held = join_all((0..CONNECTIONS).map(|_| request_and_not_read(addr, STREAMS))).await;
    let in_flight = format!("gbg_proxy_in_flight {}.0\n", CONNECTIONS * STREAMS);
    until(async || metrics(admin).await.contains(&in_flight)).await;
    let grown = settled_bytes(&running).await.saturating_sub(before);
    assert!(
        grown < MAX_GROWTH,
        "{grown} bytes for {CONNECTIONS} connections of {STREAMS} streams"
    );
    let res = timeout(PATIENCE, send(addr, post(START)))
        .await
        .expect("no response");
    assert_eq!(
        (res.status(), res.body().len()),
        (StatusCode::OK, BODY_BYTES)
    );
    assert!(
        metrics(admin).await.contains(&in_flight),
        "not all responses are held"
    );
    drop(held);
}
