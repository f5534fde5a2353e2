//! Callers of HTTP/2 whose requests are malformed (RFC 9113 section 8.1.1), frame by frame.

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::support::Proxy;
use crate::support::bytes::Api;
use crate::support::caller::PATIENCE;
use crate::support::frames::{
    DATA, END_HEADERS, END_STREAM, GOAWAY, GOOD, HEADERS, RST_STREAM, block, frame, preface,
};

/// What became of one request.
#[derive(Debug, PartialEq)]
enum Fate {
    Answered(u8),
    Reset,
    GoAway,
}

/// Sends one request with `fields`, and `body` as one DATA frame, if there is one.
async fn send(proxy: &Proxy, fields: &[(&str, &str)], body: Option<&str>) -> Fate {
    let mut stream = TcpStream::connect(proxy.addr()).await.unwrap();
    let mut bytes = preface();
    let end = if body.is_none() { END_STREAM } else { 0 };
    bytes.extend(frame(HEADERS, END_HEADERS | end, 1, &block(fields)));
    if let Some(body) = body {
        bytes.extend(frame(DATA, END_STREAM, 1, body.as_bytes()));
    }
    stream.write_all(&bytes).await.unwrap();
    let outcome = async {
        loop {
            let mut head = [0; 9];
            if stream.read_exact(&mut head).await.is_err() {
                return Fate::GoAway;
            }
            let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
            let mut payload = vec![0; length as usize];
            stream.read_exact(&mut payload).await.unwrap();
            match head[3] {
                RST_STREAM => return Fate::Reset,
                GOAWAY => return Fate::GoAway,
                // The status stands first, as an index of the static table or as a literal behind
                // one.
                HEADERS => return Fate::Answered(payload[0]),
                _ => {}
            }
        }
    };
    timeout(PATIENCE, outcome).await.expect("no answer")
}

fn with(more: &[(&'static str, &'static str)]) -> Vec<(&'static str, &'static str)> {
    [&GOOD[..], more].concat()
}

#[tokio::test]
async fn a_well_formed_request_gets_a_response() {
    let api = Api::content().await;
    let proxy = api.proxy(&[]).await;
    // `:status: 200` is number 8 of the static table.
    assert_eq!(
        send(&proxy, &with(&[("content-length", "2")]), Some("ab")).await,
        Fate::Answered(0x88)
    );
    assert_eq!(
        send(&proxy, &with(&[("te", "trailers")]), None).await,
        Fate::Answered(0x88)
    );
    assert_eq!(api.seen().len(), 2);
}

/// RFC 9113 section 8.1: the end of a stream ends the body, with or without a length.
#[tokio::test]
async fn get_and_head_bodies_need_no_length() {
    let api = Api::answering("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").await;
    let proxy = api.proxy(&[]).await;
    for method in ["GET", "HEAD"] {
        let [_, scheme, authority, path] = GOOD;
        let fields = [(":method", method), scheme, authority, path];
        assert_eq!(
            send(&proxy, &fields, Some("abc")).await,
            Fate::Answered(0x88)
        );
    }
    for (seen, method) in api.seen().iter().zip(["GET ", "HEAD "]) {
        assert!(
            seen.starts_with(method) && seen.ends_with("\r\n\r\n3\r\nabc\r\n0\r\n\r\n"),
            "{seen}"
        );
    }
    assert_eq!(api.seen().len(), 2);
}

#[tokio::test]
async fn connection_fields_and_uppercase_names_are_malformed() {
    let api = Api::content().await;
    let proxy = api.proxy(&[]).await;
    for field in [
        ("connection", "close"),
        ("transfer-encoding", "chunked"),
        ("keep-alive", "timeout=5"),
        ("proxy-connection", "close"),
        ("upgrade", "h2c"),
        ("te", "gzip"),
        ("X-Upper", "1"),
        ("x a", "1"),
        ("x", "a\r\nb: c"),
        ("x", "a\0b"),
        ("", "1"),
    ] {
        let fate = send(&proxy, &with(&[field]), None).await;
        assert!(
            matches!(fate, Fate::Reset | Fate::GoAway),
            "{field:?}: {fate:?}"
        );
    }
    assert!(api.seen().is_empty(), "{:?}", api.seen());
}

#[tokio::test]
async fn pseudo_fields_come_once_and_first() {
    let api = Api::content().await;
    let proxy = api.proxy(&[]).await;
    let [method, scheme, authority, path] = GOOD;
    for fields in [
        vec![scheme, authority, path],
        vec![method, authority, path],
        vec![method, scheme, authority],
        vec![method, scheme, authority, path, path],
        vec![method, method, scheme, authority, path],
        vec![method, scheme, authority, (":path", "")],
        vec![method, scheme, authority, path, (":status", "200")],
        vec![method, scheme, authority, path, (":other", "1")],
        vec![method, scheme, ("x", "1"), authority, path],
    ] {
        let fate = send(&proxy, &fields, None).await;
        assert!(
            matches!(fate, Fate::Reset | Fate::GoAway),
            "{fields:?}: {fate:?}"
        );
    }
    assert!(api.seen().is_empty(), "{:?}", api.seen());
}

/// RFC 9113 section 8.1.1: a body whose length differs from Content-Length is not a complete request.
#[tokio::test]
async fn a_body_of_wrong_length_never_completes() {
    let api = Api::content().await;
    let proxy = api.proxy(&[]).await;
    for (length, body) in [
        ("5", "ab"),
        ("1", "ab"),
        ("0", "ab"),
        ("2, 3", "ab"),
        ("x", "ab"),
        ("-1", "ab"),
    ] {
        let fate = send(&proxy, &with(&[("content-length", length)]), Some(body)).await;
        assert_ne!(fate, Fate::Answered(0x88), "content-length {length}");
    }
    assert!(api.seen().is_empty(), "{:?}", api.seen());
}

#[tokio::test]
async fn a_missing_or_conflicting_authority_is_rejected() {
    let api = Api::content().await;
    let proxy = api.proxy(&[]).await;
    let [method, scheme, _, path] = GOOD;
    for fields in [
        with(&[("host", "b")]),
        vec![method, scheme, path],
        vec![method, scheme, (":authority", "u@a"), path],
        vec![
            method,
            scheme,
            (":authority", "a"),
            ("host", "a"),
            ("host", "a"),
            path,
        ],
    ] {
        let fate = send(&proxy, &fields, None).await;
        assert_ne!(fate, Fate::Answered(0x88), "{fields:?}");
    }
    assert!(api.seen().is_empty(), "{:?}", api.seen());
}
