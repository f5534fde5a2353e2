//! Requests that the API says it has not processed: by REFUSED_STREAM, or by GOAWAY with a lower
//! stream.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use h2::Reason;
use http::StatusCode;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::http2::{START, answer, assert_error, each, proxy_before, read};
use crate::support::caller::{Whole, post, read_until, send};
use crate::support::frames::{GOAWAY, SETTINGS, frame};
use crate::support::server::{http2, scripted};

#[tokio::test]
async fn requests_beyond_goaway_are_retried_with_bodies() {
    let opened = Arc::new(AtomicUsize::new(0));
    let upstream = scripted(move |mut stream: TcpStream| {
        let is_first = opened.fetch_add(1, Ordering::SeqCst) == 0;
        async move {
            if is_first {
                stream.write_all(&frame(SETTINGS, 0, 0, &[])).await.unwrap();
                // All of it has come, and none of it is looked at.
                read_until(&mut stream, "{}").await;
                stream
                    .write_all(&frame(GOAWAY, 0, 0, &[0; 8]))
                    .await
                    .unwrap();
                let _ = stream.read_to_end(&mut Vec::new()).await;
                return;
            }
            let connection = h2::server::handshake(stream).await.unwrap();
            each(connection, |req, respond| async {
                assert_eq!(answer(req, respond, "second").await, "{}");
            })
            .await;
        }
    });
    let proxy = proxy_before(upstream.await, &[]).await;
    assert_eq!(send(proxy.addr(), post(START)).await.body(), "second");
}

/// The response when the first `times` requests are reset for `reason`, and the requests that
/// arrived.
async fn reset(reason: Reason, times: usize, set: &[&str]) -> (Whole, Vec<(usize, Bytes)>) {
    let seen = Arc::new(Mutex::new(Vec::new()));
    let noted = Arc::clone(&seen);
    let upstream = http2(100, move |number, connection| {
        let seen = Arc::clone(&seen);
        each(connection, move |req, mut respond| {
            let seen = Arc::clone(&seen);
            async move {
                if seen.lock().unwrap().len() < times {
                    let body = read(req.into_body()).await;
                    seen.lock().unwrap().push((number, body));
                    respond.send_reset(reason);
                } else {
                    let body = answer(req, respond, "taken").await;
                    seen.lock().unwrap().push((number, body));
                }
            }
        })
    })
    .await;
    let proxy = proxy_before(upstream, set).await;
    let res = send(proxy.addr(), post(START)).await;
    let seen = noted.lock().unwrap().clone();
    (res, seen)
}

#[tokio::test]
async fn a_refused_request_is_retried_once() {
    let whole = || Bytes::from_static(b"{}");
    // A refused stream says nothing of its connection (RFC 9113 section 8.7).
    let (res, seen) = reset(Reason::REFUSED_STREAM, 1, &[]).await;
    assert_eq!(
        (&res.body()[..], seen),
        (&b"taken"[..], vec![(1, whole()), (1, whole())])
    );
    let (res, seen) = reset(Reason::REFUSED_STREAM, 100, &[]).await;
    assert_error(&res, StatusCode::SERVICE_UNAVAILABLE, "upstream_refused");
    assert_eq!(res.headers()["retry-after"], "1");
    assert_eq!(seen, [(1, whole()), (1, whole())]);
    // A body that was not kept cannot be sent again.
    let (res, seen) = reset(Reason::REFUSED_STREAM, 1, &["limits.max_replay_body=0"]).await;
    assert_error(&res, StatusCode::SERVICE_UNAVAILABLE, "upstream_refused");
    assert_eq!(seen.len(), 1);
}

/// The same holds where the bearer is the caller's own, and for calls that change nothing.
#[tokio::test]
async fn a_refused_request_is_sent_twice_at_most() {
    const READ: &str = "/v2/captain/journey/state/fetch";
    const CALLERS: &str = "/v2/captain/journey/device/connect";
    let (seen, opened) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let (streams, connections) = (Arc::clone(&seen), Arc::clone(&opened));
    let upstream = http2(100, move |number, connection| {
        connections.fetch_max(number, Ordering::SeqCst);
        let streams = Arc::clone(&streams);
        each(connection, move |_, mut respond| {
            streams.fetch_add(1, Ordering::SeqCst);
            async move { respond.send_reset(Reason::REFUSED_STREAM) }
        })
    })
    .await;
    let proxy = proxy_before(upstream, &[]).await;
    for (path, sent) in [(START, 20), (READ, 40), (CALLERS, 60)] {
        for _ in 0..20 {
            let res = send(proxy.addr(), post(path)).await;
            assert_error(&res, StatusCode::SERVICE_UNAVAILABLE, "upstream_refused");
        }
        assert_eq!(seen.load(Ordering::SeqCst), 2 * sent, "{path}");
    }
    // What is sent again comes out of a budget: a hundred in ten seconds, and a fifth of the calls
    // that may be repeated.
    for _ in 0..60 {
        send(proxy.addr(), post(START)).await;
    }
    let repeated = seen.load(Ordering::SeqCst) - 120;
    assert!(
        (100..=110).contains(&repeated),
        "{repeated} were sent again"
    );
    assert_eq!(
        opened.load(Ordering::SeqCst),
        1,
        "a refusal ended its connection"
    );
}

#[tokio::test]
async fn other_resets_are_not_retried() {
    for reason in [
        Reason::INTERNAL_ERROR,
        Reason::CANCEL,
        Reason::NO_ERROR,
        Reason::ENHANCE_YOUR_CALM,
    ] {
        let (res, seen) = reset(reason, 1, &[]).await;
        assert_error(&res, StatusCode::BAD_GATEWAY, "upstream_broken");
        assert_eq!(seen.len(), 1, "{reason:?}");
    }
}
