//! Unused connections of one HTTP version make room for the other.

use std::net::SocketAddr;

use bytes::Bytes;
use http::StatusCode;
use http_body_util::Empty;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::io::DuplexStream;
use tokio::net::TcpListener;

use super::acquire::IdleOrNew;
use super::connection_limit::ConnectionPermit;
use super::http1::pool::PooledConnection;
use super::timeouts::UpstreamTimeouts;
use super::timeouts::tests::load_config;
use super::watchdog::Watchdog;
use super::*;

/// An API that speaks HTTP/2 without TLS, and responds to each request.
async fn start_api() -> SocketAddr {
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
async fn upstream() -> UpstreamClient<Empty<Bytes>> {
    let mut config = load_config(&format!("upstream.base_url=http://{}", start_api().await));
    config.http_version = config::HttpVersion::Http2;
    UpstreamClient::new(&config, Arc::default(), ConnectionLimit::new(Some(2))).unwrap()
}

/// An idle HTTP/1.1 connection that holds `permit`, and the API's end of it.
async fn idle_connection(
    permit: ConnectionPermit,
    timeouts: UpstreamTimeouts,
) -> (PooledConnection<Empty<Bytes>>, DuplexStream) {
    let (io, end) = tokio::io::duplex(64);
    let (mut sender, connection) = http1::handshake(TokioIo::new(io)).await.unwrap();
    tokio::spawn(async move {
        let _permit = permit;
        connection.await
    });
    sender.ready().await.unwrap();
    let connection = PooledConnection {
        sender,
        watchdog: Watchdog::default(),
        retirement: timeouts.idle.retirement(),
    };
    (connection, end)
}

#[tokio::test]
async fn an_idle_http1_connection_makes_room_for_http2() {
    let upstream = upstream().await;
    let source = &upstream.source;
    let mut permit = source.connector.limit.try_acquire().unwrap();
    permit.release_spare();
    let (connection, _end) = idle_connection(permit.into_open(), source.pool.timeouts).await;
    source.pool.release(connection);
    assert!(source.connector.limit.is_exhausted());
    let req = Request::new(Empty::new());
    let res = upstream.send(Box::new(req), |_| Ok(())).await.unwrap();
    assert_eq!(res.status(), StatusCode::OK);
}

#[tokio::test]
async fn an_unused_http2_connection_makes_room_for_another() {
    let upstream = upstream().await;
    let source = &upstream.source;
    let opened = source.connector.open_unconditionally().await.unwrap();
    source.http2.as_ref().unwrap().add_any(opened).await;
    assert!(source.connector.limit.is_exhausted());
    let obtained = source.wait_or_open(false).await.unwrap();
    assert!(matches!(obtained, IdleOrNew::New(_)));
}
