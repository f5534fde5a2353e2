//! Requests to the API that share HTTP/2 connections.

use std::convert::Infallible;
use std::future::poll_fn;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use h2::server::{Connection, SendResponse};
use h2::{Reason, RecvStream};
use http::{Request, Response, StatusCode, Version};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::{Barrier, mpsc};
use tokio::time::{sleep, timeout};

use crate::support::caller::{PATIENCE, Whole, json, post, raw, read_until, send};
use crate::support::server::{http2, scripted, tls};
use crate::support::{Proxy, TOKEN, TestProxy};

pub(crate) const START: &str = "/v2/captain/journey/start?a=%41";
const HTTP2: &str = "upstream.http_version=2";

pub(crate) type Responder = SendResponse<Bytes>;

pub(crate) async fn proxy_before(upstream: std::net::SocketAddr, set: &[&str]) -> Proxy {
    let set = [&[HTTP2, "listen.workers=1"], set].concat();
    TestProxy::before_server(&format!("http://{upstream}"))
        .set(&set)
        .start()
        .await
}

/// Serves each request of `connection` in a task of its own.
pub(crate) async fn each<F, R>(mut connection: Connection<TcpStream, Bytes>, serve: F)
where
    F: Fn(Request<RecvStream>, Responder) -> R,
    R: Future<Output = ()> + Send + 'static,
{
    while let Some(Ok((req, respond))) = connection.accept().await {
        tokio::spawn(serve(req, respond));
    }
}

/// Reads the whole of `req` and answers with `text`.
pub(crate) async fn answer(
    req: Request<RecvStream>,
    mut respond: Responder,
    text: impl Into<Bytes>,
) -> Bytes {
    let body = read(req.into_body()).await;
    let mut stream = respond.send_response(Response::new(()), false).unwrap();
    let _ = stream.send_data(text.into(), true);
    body
}

pub(crate) async fn read(mut body: RecvStream) -> Bytes {
    let mut whole = Vec::new();
    while let Some(Ok(data)) = body.data().await {
        body.flow_control().release_capacity(data.len()).unwrap();
        whole.extend_from_slice(&data);
    }
    whole.into()
}

pub(crate) fn assert_error(res: &Whole, status: StatusCode, reason: &str) {
    assert_eq!(
        (res.status(), json(res)["reason"].as_str()),
        (status, Some(reason))
    );
}

/// Sends so many requests at once; the answers.
async fn at_once(proxy: &Proxy, count: usize) -> Vec<Whole> {
    let addr = proxy.addr();
    let sent: Vec<_> = (0..count)
        .map(|_| tokio::spawn(send(addr, post(START))))
        .collect();
    let mut answers = Vec::new();
    for answered in sent {
        answers.push(answered.await.unwrap());
    }
    answers
}

#[tokio::test]
async fn the_head_has_upstream_authority_and_one_bearer() {
    let (seen, mut requests) = mpsc::unbounded_channel();
    let upstream = http2(100, move |_, connection| {
        let seen = seen.clone();
        each(connection, move |req, respond| {
            seen.send((
                req.method().clone(),
                req.uri().clone(),
                req.headers().clone(),
            ))
            .unwrap();
            async move { assert_eq!(answer(req, respond, "started").await, "{}") }
        })
    })
    .await;
    let proxy = proxy_before(upstream, &[]).await;
    let request = format!(
        "POST {START} HTTP/1.1\r\nHost: proxy.internal\r\nAuthorization: Bearer stolen\r\nConnection: close, X-Once\r\n\
         X-Once: 1\r\nKeep-Alive: timeout=5\r\nTE: trailers\r\nUpgrade: h2c\r\nProxy-Connection: close\r\n\
         Transfer-Encoding: chunked\r\nX-GBG-Source: legacy\r\n\r\n2\r\n{{}}\r\n0\r\n\r\n"
    );
    let res = raw(proxy.addr(), request).await;
    assert!(
        res.starts_with("HTTP/1.1 200") && res.contains("started"),
        "{res}"
    );
    let (method, uri, headers) = requests.recv().await.unwrap();
    assert_eq!(
        (method.as_str(), uri.to_string()),
        ("POST", format!("http://{upstream}{START}"))
    );
    let authorization: Vec<_> = headers.get_all("authorization").iter().collect();
    assert_eq!(authorization, [format!("Bearer {TOKEN}").as_str()]);
    let mut names: Vec<_> = headers.keys().map(|name| name.as_str()).collect();
    names.sort_unstable();
    assert_eq!(names, ["authorization", "te", "via", "x-gbg-source"]);
    assert_eq!(headers["te"], "trailers");
}

/// Responds over the HTTP version that ALPN picked, with its name as the body.
async fn whichever(stream: tokio_rustls::server::TlsStream<TcpStream>) {
    let service = hyper::service::service_fn(|req: Request<Incoming>| async move {
        assert_eq!(
            req.headers().contains_key("host"),
            req.version() == Version::HTTP_11
        );
        Ok::<_, Infallible>(Response::new(Full::new(Bytes::from(format!(
            "{:?}",
            req.version()
        )))))
    });
    let io = TokioIo::new(stream);
    let _ = match io.inner().get_ref().1.alpn_protocol() == Some(b"h2") {
        true => {
            hyper::server::conn::http2::Builder::new(TokioExecutor::new())
                .serve_connection(io, service)
                .await
        }
        false => {
            hyper::server::conn::http1::Builder::new()
                .serve_connection(io, service)
                .await
        }
    };
}

#[tokio::test]
async fn alpn_picks_a_common_configured_version() {
    let (old, new, none) = (&["http/1.1"][..], &["h2", "http/1.1"][..], &[][..]);
    for (speaks, version, picked) in [
        (new, "1.1", Some("HTTP/1.1")),
        (new, "2", Some("HTTP/2.0")),
        (new, "auto", Some("HTTP/2.0")),
        (old, "auto", Some("HTTP/1.1")),
        (none, "auto", Some("HTTP/1.1")),
        (old, "2", None),
        (none, "2", None),
    ] {
        let opened = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&opened);
        let upstream = tls(speaks, move |stream| {
            count.fetch_add(1, Ordering::SeqCst);
            whichever(stream)
        })
        .await;
        let version = format!("upstream.http_version={version}");
        let set = [upstream.ca_file.as_str(), &version, "listen.workers=1"];
        let proxy = TestProxy::before_server(&upstream.base_url)
            .set(&set)
            .start()
            .await;
        for _ in 0..3 {
            let res = send(proxy.addr(), post(START)).await;
            match picked {
                Some(picked) => assert_eq!(res.body(), picked, "{speaks:?} {version}"),
                None => assert_error(&res, StatusCode::BAD_GATEWAY, "upstream_unreachable"),
            }
        }
        if picked.is_some() {
            assert_eq!(opened.load(Ordering::SeqCst), 1, "{speaks:?} {version}");
        }
    }
}

#[tokio::test]
async fn concurrent_requests_fall_back_to_http1() {
    let upstream = tls(&["http/1.1"], whichever).await;
    let set = [
        upstream.ca_file.as_str(),
        "upstream.http_version=auto",
        "listen.workers=1",
    ];
    let proxy = TestProxy::before_server(&upstream.base_url)
        .set(&set)
        .start()
        .await;
    for res in at_once(&proxy, 30).await {
        assert_eq!(res.body(), "HTTP/1.1");
    }
}

#[tokio::test]
async fn an_api_without_http2_fails_at_connect() {
    let old = scripted(|mut stream: TcpStream| async move {
        read_until(&mut stream, "\r\n\r\n").await;
        let _ = stream
            .write_all(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n")
            .await;
        let _ = stream.read_to_end(&mut Vec::new()).await;
    });
    let proxy = proxy_before(old.await, &[]).await;
    assert_error(
        &send(proxy.addr(), post(START)).await,
        StatusCode::BAD_GATEWAY,
        "upstream_unreachable",
    );
}

#[tokio::test]
async fn max_concurrent_streams_opens_another_connection() {
    let (together, opened) = (Arc::new(Barrier::new(10)), Arc::new(AtomicUsize::new(0)));
    let count = Arc::clone(&opened);
    let upstream = http2(2, move |number, connection| {
        count.fetch_max(number, Ordering::SeqCst);
        let together = Arc::clone(&together);
        let in_flight = Arc::new(AtomicUsize::new(0));
        each(connection, move |req, respond| {
            assert!(
                in_flight.fetch_add(1, Ordering::SeqCst) < 2,
                "a stream too many"
            );
            let (together, in_flight) = (Arc::clone(&together), Arc::clone(&in_flight));
            async move {
                together.wait().await;
                in_flight.fetch_sub(1, Ordering::SeqCst);
                answer(req, respond, "").await;
            }
        })
    })
    .await;
    let proxy = proxy_before(upstream, &[]).await;
    for _ in 0..3 {
        assert!(
            at_once(&proxy, 10)
                .await
                .iter()
                .all(|res| res.status() == StatusCode::OK)
        );
    }
    assert_eq!(opened.load(Ordering::SeqCst), 5);
}

#[tokio::test]
async fn a_cold_start_opens_one_connection() {
    let opened = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&opened);
    let upstream = scripted(move |stream| {
        count.fetch_add(1, Ordering::SeqCst);
        async move {
            sleep(Duration::from_millis(300)).await;
            let connection = h2::server::handshake(stream).await.unwrap();
            each(connection, |req, respond| async {
                drop(answer(req, respond, "").await)
            })
            .await;
        }
    });
    let proxy = proxy_before(upstream.await, &[]).await;
    assert!(
        at_once(&proxy, 90)
            .await
            .iter()
            .all(|res| res.status() == StatusCode::OK)
    );
    assert_eq!(opened.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn a_failed_connect_fails_all_waiting_requests() {
    let opened = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&opened);
    let upstream = scripted(move |stream: TcpStream| {
        count.fetch_add(1, Ordering::SeqCst);
        async move {
            sleep(Duration::from_millis(300)).await;
            drop(stream);
        }
    });
    let proxy = proxy_before(upstream.await, &[]).await;
    for res in at_once(&proxy, 50).await {
        assert_error(&res, StatusCode::BAD_GATEWAY, "upstream_unreachable");
    }
    assert_eq!(opened.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn after_goaway_new_requests_use_another_connection() {
    let (begun, mut begins) = mpsc::unbounded_channel();
    let (release, released) = tokio::sync::watch::channel(false);
    let upstream = http2(100, move |number, mut connection| {
        let (begun, mut released) = (begun.clone(), released.clone());
        async move {
            while let Some(Ok((req, respond))) = connection.accept().await {
                let mut released = released.clone();
                begun.send(number).unwrap();
                if number == 1 {
                    connection.graceful_shutdown();
                }
                tokio::spawn(async move {
                    released
                        .wait_for(|released| *released || number == 2)
                        .await
                        .unwrap();
                    answer(req, respond, number.to_string()).await;
                });
            }
            let _ = released.changed().await;
        }
    })
    .await;
    let proxy = proxy_before(upstream, &[]).await;
    let first = tokio::spawn(send(proxy.addr(), post(START)));
    assert_eq!(begins.recv().await, Some(1));
    // GOAWAY is on its way; what overtakes it is the API's to answer.
    sleep(Duration::from_millis(300)).await;
    for _ in 0..3 {
        assert_eq!(send(proxy.addr(), post(START)).await.body(), "2");
    }
    release.send_replace(true);
    assert_eq!(first.await.unwrap().body(), "1");
}

#[tokio::test]
async fn a_disconnect_resets_only_its_own_stream() {
    let (begun, mut begins) = mpsc::unbounded_channel();
    let (ended, mut ends) = mpsc::unbounded_channel();
    let upstream = http2(100, move |number, connection| {
        let (begun, ended) = (begun.clone(), ended.clone());
        each(connection, move |req, mut respond| {
            let (begun, ended) = (begun.clone(), ended.clone());
            async move {
                if req.method() == "POST" {
                    return drop(answer(req, respond, number.to_string()).await);
                }
                // One waits for the head, one reads a body.
                let reset = if req.uri().path().ends_with("body") {
                    let mut stream = respond.send_response(Response::new(()), false).unwrap();
                    stream.send_data("some".into(), false).unwrap();
                    begun.send(()).unwrap();
                    poll_fn(|cx| stream.poll_reset(cx)).await
                } else {
                    begun.send(()).unwrap();
                    poll_fn(|cx| respond.poll_reset(cx)).await
                };
                ended.send(reset.unwrap()).unwrap();
            }
        })
    })
    .await;
    let proxy = proxy_before(upstream, &[]).await;
    for path in ["/v2/captain/head", "/v2/captain/body"] {
        let mut stream = TcpStream::connect(proxy.addr()).await.unwrap();
        stream
            .write_all(format!("GET {path} HTTP/1.1\r\nHost: a\r\n\r\n").as_bytes())
            .await
            .unwrap();
        begins.recv().await.unwrap();
        if path.ends_with("body") {
            read_until(&mut stream, "some").await;
        }
        drop(stream);
        let reset = timeout(PATIENCE, ends.recv())
            .await
            .expect("the stream goes on without a caller");
        assert_eq!(reset, Some(Reason::CANCEL));
    }
    assert_eq!(
        send(proxy.addr(), post(START)).await.body(),
        "1",
        "the connection was closed"
    );
}
