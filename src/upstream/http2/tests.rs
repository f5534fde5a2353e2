//! Connections that are not used, and make room for those of the other version of HTTP.

use std::net::SocketAddr;

use http::StatusCode;
use http_body_util::Empty;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::io::DuplexStream;
use tokio::net::TcpListener;

use super::super::Times;
use super::super::connection_limit::ConnectionPermit;
use super::super::pool::Slot;
use super::super::progress::Watch;
use super::super::timeouts::tests::configured;
use super::super::{ConnectionLimit, Obtained, Upstream};
use super::*;

/// An API that speaks HTTP/2 without TLS, and answers each request.
async fn api() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut connection = h2::server::handshake(stream).await.unwrap();
                while let Some(Ok((_, mut respond))) = connection.accept().await {
                    let _ = respond.send_response(Response::new(()), true);
                }
            });
        }
    });
    addr
}

/// An upstream that may have one connection to the API.
async fn upstream() -> Upstream<Empty<Bytes>> {
    let mut config = configured(&format!("upstream.base_url=http://{}", api().await));
    config.http_version = config::HttpVersion::Http2;
    Upstream::new(&config, Arc::default(), ConnectionLimit::new(Some(2))).unwrap()
}

/// An idle HTTP/1.1 connection that has `permit`, and the API's end of it.
async fn idle(permit: ConnectionPermit, times: Times) -> (Slot<Empty<Bytes>>, DuplexStream) {
    let (io, end) = tokio::io::duplex(64);
    let (mut sender, connection) = http1::handshake(TokioIo::new(io)).await.unwrap();
    tokio::spawn(async move {
        let _permit = permit;
        connection.await
    });
    sender.ready().await.unwrap();
    (Slot::new(sender, Watch::default(), times.retirement()), end)
}

#[tokio::test]
async fn an_idle_http1_connection_makes_room_for_an_http2_one() {
    let upstream = upstream().await;
    let mut permit = upstream.connector.limit.try_acquire().unwrap();
    permit.settle();
    let (slot, _end) = idle(permit.opened(), upstream.pool.times).await;
    upstream.pool.take_back(slot);
    assert!(upstream.connector.limit.is_exhausted());
    let req = Request::new(Empty::new());
    let res = upstream.send(Box::new(req), |_| Ok(())).await.unwrap();
    assert_eq!(res.status(), StatusCode::OK);
}

#[tokio::test]
async fn an_unused_http2_connection_makes_room_for_another_one() {
    let upstream = upstream().await;
    let opened = upstream.connector.try_open().await.unwrap();
    upstream.http2.as_ref().unwrap().take_in(opened).await;
    assert!(upstream.connector.limit.is_exhausted());
    let obtained = upstream.obtain(false).await.unwrap();
    assert!(matches!(obtained, Obtained::Opened(_)));
}
