//! Bodies over HTTP/2 to the API: large, slow, or none at all.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::{Channel, Full};
use hyper::body::{Body, Incoming};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::time::timeout;

use crate::support::caller::{
    assert_echoed_as_it_is_sent, assert_held_back, post, read_until, send,
};
use crate::support::server::{http2, scripted};
use crate::support::{Proxy, TestProxy};

pub(crate) const SUBMIT: &str = "/v2/captain/journey/interaction/submit";
const MIB: usize = 1024 * 1024;

pub(crate) async fn proxy_before(upstream: SocketAddr, set: &[&str]) -> Proxy {
    let set = [&["upstream.http_version=2", "listen.workers=1"], set].concat();
    TestProxy::before_server(&format!("http://{upstream}"))
        .set(&set)
        .start()
        .await
}

/// An HTTP/2 server that answers with `answer`.
async fn answering<F, R, B>(answer: F) -> SocketAddr
where
    F: Fn(Request<Incoming>) -> R + Clone + Send + 'static,
    R: Future<Output = Response<B>> + Send + 'static,
    B: Body<Data = Bytes, Error: Into<Box<dyn std::error::Error + Send + Sync>>> + Send + 'static,
{
    scripted(move |stream| {
        let answer = answer.clone();
        async move {
            let service = hyper::service::service_fn(move |req| {
                let answered = answer(req);
                async move { Ok::<_, Infallible>(answered.await) }
            });
            let _ = hyper::server::conn::http2::Builder::new(TokioExecutor::new())
                .serve_connection(TokioIo::new(stream), service)
                .await;
        }
    })
    .await
}

pub(crate) async fn begin(proxy: &Proxy, fields: &str) -> TcpStream {
    let mut stream = TcpStream::connect(proxy.addr()).await.unwrap();
    let head = format!("POST {SUBMIT} HTTP/1.1\r\nHost: a\r\n{fields}\r\n");
    stream.write_all(head.as_bytes()).await.unwrap();
    stream
}

#[tokio::test]
async fn large_bodies_stream_both_ways_concurrently() {
    let upstream =
        answering(|req: Request<Incoming>| async { Response::new(req.into_body()) }).await;
    let proxy = proxy_before(upstream, &[]).await;
    let addr = proxy.addr();
    let sent: Vec<_> = (0..4_u32)
        .map(|seed| {
            let numbers = (0..5 * MIB as u32 / 4)
                .map(move |number| (number ^ seed).wrapping_mul(2_654_435_761));
            let body: Bytes = numbers.flat_map(u32::to_le_bytes).collect();
            tokio::spawn(async move {
                let req = Request::post(SUBMIT)
                    .header("host", "a")
                    .body(Full::new(body.clone()))
                    .unwrap();
                assert!(
                    send(addr, req).await.body() == &body,
                    "the body was changed"
                );
            })
        })
        .collect();
    for sent in sent {
        sent.await.unwrap();
    }
}

#[tokio::test]
async fn both_sides_stream_at_the_same_time() {
    let upstream =
        answering(|req: Request<Incoming>| async { Response::new(req.into_body()) }).await;
    let proxy = proxy_before(upstream, &[]).await;
    let mut stream = begin(&proxy, "Transfer-Encoding: chunked\r\n").await;
    assert_echoed_as_it_is_sent(&mut stream).await;
}

#[tokio::test]
async fn a_get_body_loses_its_http1_framing() {
    let upstream = answering(|req: Request<Incoming>| async {
        assert!(!req.headers().contains_key("transfer-encoding"));
        Response::new(req.into_body())
    });
    let proxy = proxy_before(upstream.await, &[]).await;
    let mut stream = TcpStream::connect(proxy.addr()).await.unwrap();
    let head = format!("GET {SUBMIT} HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n");
    stream.write_all(head.as_bytes()).await.unwrap();
    assert_echoed_as_it_is_sent(&mut stream).await;
}

#[tokio::test]
async fn one_callers_backpressure_delays_no_other_stream() {
    let (made, mut chunks) = mpsc::unbounded_channel();
    let upstream = answering(move |req: Request<Incoming>| {
        let made = made.clone();
        async move {
            let (mut sender, body) = Channel::<Bytes, Infallible>::new(1);
            tokio::spawn(async move {
                if req.headers().contains_key("x-short") {
                    return;
                }
                while sender
                    .send_data(Bytes::from(vec![7; 64 * 1024]))
                    .await
                    .is_ok()
                {
                    let _ = made.send(());
                }
            });
            Response::new(body)
        }
    });
    let proxy = proxy_before(upstream.await, &[]).await;
    let mut held = Vec::new();
    for _ in 0..20 {
        let mut stream = begin(&proxy, "Content-Length: 0\r\n").await;
        read_until(&mut stream, "\r\n\r\n").await;
        held.push(stream);
    }
    let mut count = 0;
    while timeout(Duration::from_millis(500), chunks.recv())
        .await
        .is_ok()
    {
        count += 1;
        assert!(
            count < 20 * 320,
            "20 MiB an answer were taken for callers that read nothing"
        );
    }
    let mut req = post(SUBMIT);
    req.headers_mut().insert("x-short", "1".parse().unwrap());
    assert_eq!(send(proxy.addr(), req).await.status(), StatusCode::OK);
}

#[tokio::test]
async fn backpressure_of_the_api_reaches_the_caller() {
    let upstream = http2(100, |_, mut connection| async move {
        let mut kept = Vec::new();
        while let Some(Ok(stream)) = connection.accept().await {
            kept.push(stream);
        }
    });
    let proxy = proxy_before(upstream.await, &["limits.max_request_body=1GiB"]).await;
    let mut stream = begin(&proxy, "Content-Length: 1073741824\r\n").await;
    assert_held_back(&mut stream).await;
}

#[tokio::test]
async fn bodiless_and_interim_responses_are_understood() {
    let upstream = http2(100, |_, mut connection| async move {
        while let Some(Ok((req, mut respond))) = connection.accept().await {
            let early = Response::builder()
                .status(103)
                .header("link", "</a>")
                .body(())
                .unwrap();
            respond.send_informational(early).unwrap();
            let res = Response::builder();
            let (res, is_empty) = match req.method().as_str() {
                "HEAD" => (res.header("content-length", "2"), true),
                "DELETE" => (res.status(204), true),
                _ => (res.header("content-length", "2"), false),
            };
            let mut stream = respond
                .send_response(res.body(()).unwrap(), is_empty)
                .unwrap();
            if !is_empty {
                stream.send_data("ok".into(), true).unwrap();
            }
        }
    });
    let proxy = proxy_before(upstream.await, &[]).await;
    for (method, status, length, body) in [
        ("HEAD", 200, Some("2"), ""),
        ("DELETE", 204, None, ""),
        ("GET", 200, Some("2"), "ok"),
    ] {
        let req = Request::builder()
            .method(method)
            .uri(SUBMIT)
            .header("host", "a");
        let res = send(proxy.addr(), req.body(Full::default()).unwrap()).await;
        let content_length = res
            .headers()
            .get("content-length")
            .map(|length| length.to_str().unwrap());
        assert_eq!(
            (res.status().as_u16(), content_length, &res.body()[..]),
            (status, length, body.as_bytes())
        );
    }
}
