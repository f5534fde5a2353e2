//! Callers that are slow, silent or gone, and how their connections end.

use std::convert::Infallible;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt, Channel, Empty, Full};
use hyper::body::Incoming;
use hyper::client::conn::http2::{self, SendRequest};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};

use crate::support::caller::{PATIENCE, assert_took, post, read_until, send, send_http2};
use crate::support::process::Running;
use crate::support::server::{http, silent};
use crate::support::{Proxy, TestProxy, api};

pub(crate) const START: &str = "/v2/captain/journey/start";

/// Every limit is much shorter than what the API takes, and much longer than what the machine does.
const SHORT: [&str; 3] = [
    "listen.header_timeout=300ms",
    "listen.keep_alive_timeout=300ms",
    "listen.body_timeout=300ms",
];

/// The one limit that a test is about; the others are as they are.
const SHORT_HEADER: &[&str] = &["listen.header_timeout=300ms"];
const SHORT_KEEP_ALIVE: &[&str] = &["listen.keep_alive_timeout=300ms"];
pub(crate) const SHORT_BODY: &[&str] = &["listen.body_timeout=300ms"];

pub(crate) async fn connect(proxy: &Proxy) -> TcpStream {
    TcpStream::connect(proxy.addr()).await.unwrap()
}

/// What comes until the other side closes.
pub(crate) async fn rest<IO: AsyncRead + Unpin>(stream: &mut IO) -> String {
    let mut rest = Vec::new();
    let read = timeout(PATIENCE, stream.read_to_end(&mut rest))
        .await
        .expect("the connection stays open");
    read.unwrap();
    String::from_utf8_lossy(&rest).into_owned()
}

/// A connection that speaks HTTP/2 with prior knowledge, and its end.
async fn connect_http2(
    proxy: &Proxy,
) -> (SendRequest<Empty<Bytes>>, JoinHandle<hyper::Result<()>>) {
    let stream = TokioIo::new(connect(proxy).await);
    let (sender, connection) = http2::handshake(TokioExecutor::new(), stream)
        .await
        .unwrap();
    (sender, tokio::spawn(connection))
}

#[tokio::test]
async fn a_dripping_head_times_out_with_408() {
    let proxy = TestProxy::before(&api().await)
        .set(SHORT_HEADER)
        .start()
        .await;
    let began = Instant::now();
    let (mut read, mut write) = connect(&proxy).await.into_split();
    let drip = tokio::spawn(async move {
        write
            .write_all(b"GET / HTTP/1.1\r\nHost: a\r\nX: ")
            .await
            .unwrap();
        while write.write_all(b"x").await.is_ok() {
            sleep(Duration::from_millis(20)).await;
        }
    });
    let answer = rest(&mut read).await;
    assert!(
        answer.starts_with("HTTP/1.1 408 ") && answer.contains("connection: close"),
        "{answer}"
    );
    assert_took(began, Duration::from_millis(300)..Duration::from_secs(3));
    drip.abort();
}

#[tokio::test]
async fn every_head_has_the_same_timeout() {
    let proxy = TestProxy::before(&api().await)
        .set(SHORT_HEADER)
        .start()
        .await;
    let mut caller = connect(&proxy).await;
    for _ in 0..2 {
        // A kept connection may rest for longer than a head may take.
        caller
            .write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
            .await
            .unwrap();
        read_until(&mut caller, "path_unknown").await;
        sleep(Duration::from_millis(500)).await;
    }
    caller.write_all(b"GET / HTTP/1.1\r\n").await.unwrap();
    assert!(rest(&mut caller).await.contains("HTTP/1.1 408 "));
}

#[tokio::test]
async fn a_silent_connection_is_closed_without_response() {
    let proxy = TestProxy::before(&api().await)
        .set(SHORT_HEADER)
        .start()
        .await;
    assert_eq!(rest(&mut connect(&proxy).await).await, "");
}

#[tokio::test]
async fn an_idle_connection_is_closed_without_response() {
    let proxy = TestProxy::before(&api().await)
        .set(SHORT_KEEP_ALIVE)
        .start()
        .await;
    let mut caller = connect(&proxy).await;
    caller
        .write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        .await
        .unwrap();
    let answer = rest(&mut caller).await;
    assert!(
        answer.starts_with("HTTP/1.1 404 ") && answer.ends_with('}'),
        "{answer}"
    );
}

#[tokio::test]
async fn an_idle_http2_connection_gets_goaway() {
    let proxy = TestProxy::before(&api().await)
        .set(SHORT_KEEP_ALIVE)
        .start()
        .await;
    let (mut sender, connection) = connect_http2(&proxy).await;
    let req = Request::get("http://localhost/")
        .body(Empty::<Bytes>::new())
        .unwrap();
    let res = sender.send_request(req).await.unwrap();
    assert_eq!(res.status(), StatusCode::NOT_FOUND);
    res.into_body().collect().await.unwrap();
    timeout(PATIENCE, connection)
        .await
        .expect("the connection stays open")
        .unwrap()
        .unwrap();
}

#[tokio::test]
async fn a_dead_http2_caller_is_disconnected() {
    let proxy = TestProxy::before(&api().await).set(&SHORT).start().await;
    let mut caller = connect(&proxy).await;
    // The preface, SETTINGS without any, and no word more: not even to the PING that comes with
    // GOAWAY.
    caller
        .write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0")
        .await
        .unwrap();
    let mut frames = Vec::new();
    timeout(PATIENCE, caller.read_to_end(&mut frames))
        .await
        .expect("the connection stays open")
        .unwrap();
    let mut types = Vec::new();
    let mut left = &frames[..];
    while let [a, b, c, kind, ..] = *left {
        types.push(kind);
        left = &left[9 + u32::from_be_bytes([0, a, b, c]) as usize..];
    }
    assert!(
        types.contains(&7),
        "no GOAWAY among frames of the types {types:?}"
    );
}

#[tokio::test]
async fn a_stalled_request_body_gets_408() {
    let silent = silent().await;
    let proxy = TestProxy::before_server(&format!("http://{silent}"))
        .set(SHORT_BODY)
        .start()
        .await;
    let mut caller = connect(&proxy).await;
    let head = format!("POST {START} HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\nhalf");
    caller.write_all(head.as_bytes()).await.unwrap();
    let answer = rest(&mut caller).await;
    assert!(answer.starts_with("HTTP/1.1 408 "), "{answer}");
}

#[tokio::test]
async fn with_equal_deadlines_the_caller_is_blamed() {
    let silent = silent().await;
    let limits = [
        "listen.body_timeout=300ms",
        "upstream.response_timeout=300ms",
    ];
    let proxy = TestProxy::before_server(&format!("http://{silent}"))
        .set(&limits)
        .start()
        .await;
    let mut caller = connect(&proxy).await;
    let head = format!("POST {START} HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\nhalf");
    caller.write_all(head.as_bytes()).await.unwrap();
    let answer = rest(&mut caller).await;
    assert!(
        answer.starts_with("HTTP/1.1 408 ") && answer.contains("caller_too_slow"),
        "{answer}"
    );
}

/// An API that answers without end, and the sign that it was cut off.
async fn endless() -> (String, mpsc::UnboundedReceiver<()>) {
    let (cut_off, cut) = mpsc::unbounded_channel();
    let upstream = http(move |_| {
        let cut_off = cut_off.clone();
        async move {
            let (mut sender, body) = Channel::<Bytes, Infallible>::new(1);
            tokio::spawn(async move {
                while sender
                    .send_data(Bytes::from(vec![7; 64 * 1024]))
                    .await
                    .is_ok()
                {}
                let _ = cut_off.send(());
            });
            Response::new(body)
        }
    });
    (format!("http://{}", upstream.await), cut)
}

#[tokio::test]
async fn a_caller_that_stops_reading_is_disconnected() {
    let (upstream, mut cut) = endless().await;
    let proxy = TestProxy::before_server(&upstream)
        .set(SHORT_BODY)
        .start()
        .await;
    let mut caller = connect(&proxy).await;
    caller
        .write_all(format!("GET {START} HTTP/1.1\r\nHost: a\r\n\r\n").as_bytes())
        .await
        .unwrap();
    timeout(PATIENCE, cut.recv())
        .await
        .expect("the answer waits for ever")
        .unwrap();
}

#[tokio::test]
async fn a_stalled_http2_reader_is_disconnected() {
    let (upstream, mut cut) = endless().await;
    let proxy = TestProxy::before_server(&upstream)
        .set(SHORT_BODY)
        .start()
        .await;
    let (mut sender, _) = connect_http2(&proxy).await;
    let req = Request::get(format!("http://localhost{START}"))
        .body(Empty::<Bytes>::new())
        .unwrap();
    let res = sender.send_request(req).await.unwrap();
    assert_eq!(res.status(), StatusCode::OK);
    // Nobody reads on, so the window stays shut, while the connection itself takes every frame.
    timeout(PATIENCE, cut.recv())
        .await
        .expect("the answer waits for ever")
        .unwrap();
}

#[tokio::test]
async fn a_slow_api_is_not_the_callers_fault() {
    let upstream = http(|req: Request<Incoming>| async {
        let _ = req.into_body().collect().await;
        sleep(Duration::from_secs(1)).await;
        let (mut sender, body) = Channel::<Bytes, Infallible>::new(1);
        tokio::spawn(async move {
            for part in ["first ", "second"] {
                let _ = sender.send_data(Bytes::from(part)).await;
                sleep(Duration::from_millis(700)).await;
            }
        });
        Response::new(body)
    });
    let proxy = TestProxy::before_server(&format!("http://{}", upstream.await))
        .set(&SHORT)
        .start()
        .await;
    assert_eq!(send(proxy.addr(), post(START)).await.body(), "first second");
    let mut req = post(&format!("http://localhost{START}"));
    req.headers_mut().remove("host");
    assert_eq!(send_http2(proxy.addr(), req).await.body(), "first second");
}

/// The proxy is a process of its own: both ends of so many connections need more files than one
/// process often has.
#[tokio::test]
async fn slow_and_idle_callers_delay_no_others() {
    rlimit::increase_nofile_limit(4096).unwrap();
    let limits = [
        "listen.header_timeout=2s",
        "listen.keep_alive_timeout=2s",
        "listen.max_connections=1300",
    ];
    let proxy = tokio::task::spawn_blocking(move || Running::start(&limits))
        .await
        .unwrap();
    let addr = proxy.addr();
    let mut crowd = Vec::new();
    for index in 0..1200 {
        let mut caller = TcpStream::connect(addr).await.unwrap();
        caller
            .write_all(b"GET / HTTP/1.1\r\nHost: a\r\n")
            .await
            .unwrap();
        // One of six never ends its head; the others rest after an answer.
        if index % 6 > 0 {
            caller.write_all(b"\r\n").await.unwrap();
            read_until(&mut caller, "path_unknown").await;
        }
        crowd.push(caller);
    }
    let began = Instant::now();
    let req = Request::get("/")
        .header("host", "a")
        .body(Full::new(Bytes::new()))
        .unwrap();
    assert_eq!(send(addr, req).await.status(), StatusCode::NOT_FOUND);
    assert_took(began, ..Duration::from_millis(500));

    let mut timed_out = 0;
    for mut caller in crowd {
        timed_out += usize::from(rest(&mut caller).await.starts_with("HTTP/1.1 408 "));
    }
    assert_eq!(timed_out, 200);
    assert_took(began, ..Duration::from_secs(10));
}
