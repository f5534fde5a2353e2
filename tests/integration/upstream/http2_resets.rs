//! Streams of HTTP/2 to the API that are reset, broken off or silent.

use std::future::poll_fn;
use std::time::{Duration, Instant};

use http::{Request, Response, StatusCode};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::{mpsc, watch};
use tokio::time::{sleep, timeout};

use crate::downstream::exhaustion::metric;
use crate::support::caller::{
    PATIENCE, assert_held_back, json, post, read_until, send, try_send, until,
};
use crate::support::frames::{
    DATA, END_HEADERS, END_STREAM, GOAWAY, GOOD, HEADERS, RST_STREAM, SETTINGS, block, frame,
    largest_windows, preface,
};
use crate::support::server::{http2, scripted};
use crate::upstream::http2_bodies::{SUBMIT, begin, proxy_before};

/// A connection that takes no more bytes keeps the head of a request waiting. If its caller leaves,
/// and a GOAWAY comes, the API closes the connection if RST_STREAM is all that it sees of the
/// request (RFC 9113 section 5.1).
#[tokio::test]
async fn no_stream_begins_with_its_reset() {
    const PREFACE_BYTES: usize = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".len();
    const UPLOAD: u32 = 1;
    const LEFT: u32 = 3;
    let (frames, mut received) = mpsc::unbounded_channel();
    let (go_on, goes_on) = watch::channel(false);
    let upstream = scripted(move |mut stream: TcpStream| {
        let (frames, mut goes_on) = (frames.clone(), goes_on.clone());
        async move {
            stream.write_all(&largest_windows()).await.unwrap();
            stream.read_exact(&mut [0; PREFACE_BYTES]).await.unwrap();
            goes_on.wait_for(|goes_on| *goes_on).await.unwrap();
            let goaway = [
                UPLOAD.to_be_bytes(),
                u32::from(h2::Reason::NO_ERROR).to_be_bytes(),
            ]
            .concat();
            stream
                .write_all(&frame(GOAWAY, 0, 0, &goaway))
                .await
                .unwrap();
            let mut head = [0; 9];
            while stream.read_exact(&mut head).await.is_ok() {
                let [_, _, _, kind, _, id @ ..] = head;
                let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
                stream
                    .read_exact(&mut vec![0; length as usize])
                    .await
                    .unwrap();
                let _ = frames.send((u32::from_be_bytes(id), kind));
            }
        }
    });
    let proxy = proxy_before(upstream.await, &["limits.max_request_body=1GiB"]).await;
    let mut upload = begin(&proxy, "Content-Length: 1073741824\r\n").await;
    assert_held_back(&mut upload).await;
    let mut left = TcpStream::connect(proxy.addr()).await.unwrap();
    let request = frame(HEADERS, END_HEADERS | END_STREAM, 1, &block(&GOOD));
    left.write_all(&[preface(), request].concat())
        .await
        .unwrap();
    // It waits for the connection to the API.
    until(async || metric(proxy.admin(), "gbg_proxy_in_flight").await == 2.0).await;
    let cancel = u32::from(h2::Reason::CANCEL).to_be_bytes();
    let leave = [
        frame(RST_STREAM, 0, 1, &cancel),
        frame(GOAWAY, 0, 0, &[0; 8]),
    ]
    .concat();
    left.write_all(&leave).await.unwrap();
    let closed = timeout(PATIENCE, left.read_to_end(&mut Vec::new())).await;
    closed.expect("the connection stays open").unwrap();
    go_on.send_replace(true);
    drop(upload);
    let mut first = None;
    loop {
        match timeout(PATIENCE, received.recv())
            .await
            .expect("no end of the upload")
        {
            Some((UPLOAD, RST_STREAM)) | None => break,
            Some((LEFT, kind)) => drop(first.get_or_insert(kind)),
            Some(_) => {}
        }
    }
    assert!(matches!(first, None | Some(HEADERS)), "{first:?}");
}

#[tokio::test]
async fn a_response_before_a_no_error_reset_arrives() {
    // Dropped, what has not come of the request is reset with NO_ERROR.
    let upstream = http2(100, |_, mut connection| async move {
        while let Some(Ok((req, mut respond))) = connection.accept().await {
            let res = Response::builder().status(413).body(()).unwrap();
            let mut stream = respond.send_response(res, false).unwrap();
            stream.send_data("big".into(), true).unwrap();
            drop(req);
        }
    });
    let proxy = proxy_before(upstream.await, &[]).await;
    let mut stream = begin(&proxy, "Content-Length: 1000000\r\n").await;
    stream.write_all(b"the first bytes").await.unwrap();
    let answer = read_until(&mut stream, "0\r\n\r\n").await;
    assert!(
        answer.starts_with("HTTP/1.1 413") && answer.contains("big"),
        "{answer}"
    );
}

#[tokio::test]
async fn a_truncated_response_never_ends_cleanly() {
    for reason in [
        h2::Reason::INTERNAL_ERROR,
        h2::Reason::CANCEL,
        h2::Reason::NO_ERROR,
    ] {
        let upstream = http2(100, move |_, mut connection| async move {
            while let Some(Ok((_, mut respond))) = connection.accept().await {
                let res = Response::builder()
                    .header("content-length", "100")
                    .body(())
                    .unwrap();
                let mut stream = respond.send_response(res, false).unwrap();
                stream.send_data("half".into(), false).unwrap();
                tokio::spawn(async move {
                    sleep(Duration::from_millis(100)).await;
                    stream.send_reset(reason);
                });
            }
        });
        let proxy = proxy_before(upstream.await, &[]).await;
        assert!(
            try_send(proxy.addr(), post(SUBMIT)).await.is_err(),
            "{reason:?}"
        );
    }
}

/// The body that a caller of HTTP/2 gets where the API sends `frames` in stream 1 and closes the
/// connection.
async fn body_of(frames: Vec<u8>) -> Result<Vec<u8>, h2::Error> {
    let upstream = scripted(move |mut stream: TcpStream| {
        let frames = frames.clone();
        async move {
            stream.write_all(&frame(SETTINGS, 0, 0, &[])).await.unwrap();
            read_until(&mut stream, "{}").await;
            stream.write_all(&frames).await.unwrap();
            stream.shutdown().await.unwrap();
            let _ = stream.read_to_end(&mut Vec::new()).await;
        }
    });
    let proxy = proxy_before(upstream.await, &[]).await;
    let (sender, connection) =
        h2::client::handshake(TcpStream::connect(proxy.addr()).await.unwrap())
            .await
            .unwrap();
    tokio::spawn(connection);
    let req = Request::post(format!("http://a{SUBMIT}")).body(()).unwrap();
    let (answering, mut request_body) = sender.ready().await?.send_request(req, false)?;
    // Its end never comes.
    request_body.send_data("{}".into(), false)?;
    let mut res = timeout(PATIENCE, answering).await.expect("no response")?;
    let mut body = Vec::new();
    while let Some(data) = timeout(PATIENCE, res.body_mut().data())
        .await
        .expect("no end")
    {
        body.extend_from_slice(&data?);
    }
    Ok(body)
}

#[tokio::test]
async fn a_response_of_the_whole_length_is_whole() {
    let head = |length| {
        frame(
            HEADERS,
            END_HEADERS,
            1,
            &block(&[(":status", "200"), ("content-length", length)]),
        )
    };
    let (ok, end) = (frame(DATA, 0, 1, b"ok"), frame(DATA, END_STREAM, 1, b"ok"));
    for whole in [[head("2"), ok.clone()].concat(), [head("2"), end].concat()] {
        assert_eq!(body_of(whole).await.unwrap(), b"ok");
    }
    let torn = [head("3"), ok.clone()].concat();
    let too_long = [head("2"), ok.clone(), frame(DATA, 0, 1, b"x")].concat();
    let without_length = [
        frame(HEADERS, END_HEADERS, 1, &block(&[(":status", "200")])),
        ok,
    ]
    .concat();
    for broken in [torn, too_long, without_length] {
        assert!(body_of(broken).await.is_err());
    }
}

#[tokio::test]
async fn silence_before_the_head_is_attributed_correctly() {
    let upstream = http2(100, |_, mut connection| async move {
        let mut kept = Vec::new();
        while let Some(Ok(stream)) = connection.accept().await {
            kept.push(stream);
        }
    });
    let proxy = proxy_before(upstream.await, &["upstream.response_timeout=300ms"]).await;
    let res = send(proxy.addr(), post(SUBMIT)).await;
    assert_eq!(
        (res.status(), json(&res)["reason"].as_str()),
        (StatusCode::GATEWAY_TIMEOUT, Some("upstream_timeout"))
    );
    let mut stream = begin(&proxy, "Content-Length: 100\r\n").await;
    stream.write_all(b"half").await.unwrap();
    let answer = read_until(&mut stream, "caller_too_slow").await;
    assert!(answer.starts_with("HTTP/1.1 408"), "{answer}");
}

#[tokio::test]
async fn silence_within_a_response_resets_the_stream() {
    let (reset, mut resets) = mpsc::unbounded_channel();
    let upstream = http2(100, move |_, mut connection| {
        let reset = reset.clone();
        async move {
            while let Some(Ok((_, mut respond))) = connection.accept().await {
                let mut stream = respond.send_response(Response::new(()), false).unwrap();
                stream.send_data("half".into(), false).unwrap();
                let reset = reset.clone();
                tokio::spawn(
                    async move { reset.send(poll_fn(|cx| stream.poll_reset(cx)).await.ok()) },
                );
            }
        }
    });
    let proxy = proxy_before(upstream.await, &["upstream.body_timeout=300ms"]).await;
    let began = Instant::now();
    let mut stream = begin(&proxy, "Content-Length: 0\r\n").await;
    let mut answer = Vec::new();
    let _ = timeout(PATIENCE, stream.read_to_end(&mut answer))
        .await
        .expect("the answer goes on");
    let answer = String::from_utf8(answer).unwrap();
    assert!(
        answer.contains("half") && !answer.ends_with("0\r\n\r\n"),
        "{answer}"
    );
    assert!((300..3000).contains(&began.elapsed().as_millis()));
    assert_eq!(
        timeout(PATIENCE, resets.recv()).await.unwrap(),
        Some(Some(h2::Reason::CANCEL))
    );
}
