//! Slow attacks: frames and bytes that keep coming, bring a request no further, and hold nothing.

use std::time::Duration;

use futures_util::future::join_all;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{interval, timeout};

use crate::downstream::exhaustion::{LOGIN, START};
use crate::support::bytes::Api;
use crate::support::caller::{PATIENCE, send_dripping};
use crate::support::server::silent;
use crate::support::{Proxy, TestProxy, api};

/// A frame of HTTP/2 (RFC 9113 section 4.1).
fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

/// The head of a POST to `path` in stream 1, in literals without a name from a table (RFC 7541
/// section 6.2.2).
fn head(path: &str) -> Vec<u8> {
    const END_HEADERS: u8 = 4;
    let fields = [
        (":method", "POST"),
        (":scheme", "http"),
        (":authority", "a"),
        (":path", path),
    ];
    let text = |text: &str| [&[u8::try_from(text.len()).unwrap()], text.as_bytes()].concat();
    let block: Vec<u8> = fields
        .iter()
        .flat_map(|(n, v)| [vec![0], text(n), text(v)].concat())
        .collect();
    frame(1, END_HEADERS, 1, &block)
}

/// Opens a connection with `settings`, sends `request`, and then `again` and again until the proxy
/// closes.
async fn closes(proxy: &Proxy, settings: &[u8], request: &[u8], again: &[u8]) -> bool {
    let stream = TcpStream::connect(proxy.addr()).await.unwrap();
    let (mut read, mut write) = stream.into_split();
    let begun = [
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        &*frame(4, 0, 0, settings),
        request,
    ]
    .concat();
    write.write_all(&begun).await.unwrap();
    let again = again.to_vec();
    let repeat = tokio::spawn(async move {
        let mut times = interval(Duration::from_millis(30));
        while write.write_all(&again).await.is_ok() {
            times.tick().await;
        }
    });
    // An error is a reset: the proxy has closed what more had come for.
    let closed = timeout(PATIENCE, async { while read.read_u8().await.is_ok() {} })
        .await
        .is_ok();
    repeat.abort();
    closed
}

#[tokio::test]
async fn frames_without_progress_do_not_extend_body_timeout() {
    const PADDED: u8 = 8;
    let frames = [
        ("PING", frame(6, 0, 0, &[0; 8])),
        (
            "WINDOW_UPDATE of the connection",
            frame(8, 0, 0, &1_u32.to_be_bytes()),
        ),
        (
            "WINDOW_UPDATE of the stream",
            frame(8, 0, 1, &1_u32.to_be_bytes()),
        ),
        ("SETTINGS", frame(4, 0, 0, &[])),
        ("PRIORITY", frame(2, 0, 1, &[0, 0, 0, 0, 16])),
        ("padding", frame(0, PADDED, 1, &[3, 0, 0, 0])),
        ("an unknown type", frame(0x42, 0, 1, b"abc")),
    ];
    let silent = silent().await;
    let proxy = TestProxy::before_server(&format!("http://{silent}"))
        .set(&["listen.body_timeout=300ms"])
        .start()
        .await;
    for path in [LOGIN, START] {
        let request = [head(path), frame(0, 0, 1, b"g")].concat();
        let closed = join_all(
            frames
                .iter()
                .map(|(_, again)| closes(&proxy, &[], &request, again)),
        )
        .await;
        for ((name, _), closed) in frames.iter().zip(closed) {
            assert!(closed, "{name} holds a request to {path}");
        }
    }
}

#[tokio::test]
async fn pings_do_not_hold_an_unread_response() {
    let api = Api::content().await;
    let proxy = api.proxy(&["listen.body_timeout=300ms"]).await;
    let no_window = [0, 4, 0, 0, 0, 0];
    let request = [head(START), frame(0, 1, 1, b"")].concat();
    assert!(closes(&proxy, &no_window, &request, &frame(6, 0, 0, &[0; 8])).await);
}

#[tokio::test]
async fn pings_do_not_hold_an_idle_connection() {
    let limits = [
        "listen.keep_alive_timeout=300ms",
        "listen.body_timeout=300ms",
    ];
    let proxy = TestProxy::before(&api().await).set(&limits).start().await;
    assert!(closes(&proxy, &[], &[], &frame(6, 0, 0, &[0; 8])).await);
}

/// Zeros before a chunk's size mean nothing (RFC 9112 section 7.1).
#[tokio::test]
async fn a_dripping_chunk_size_is_not_progress() {
    let silent = silent().await;
    let proxy = TestProxy::before_server(&format!("http://{silent}"))
        .set(&["listen.body_timeout=300ms"])
        .start()
        .await;
    let head =
        format!("POST {START} HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n1\r\ng\r\n");
    let answer = send_dripping(proxy.addr(), head, b"0").await;
    assert!(answer.starts_with("HTTP/1.1 408 "), "{answer}");
}
