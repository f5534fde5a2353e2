//! Callers: one that writes bytes and reads bytes, and one that speaks HTTP.

use std::fmt::Debug;
use std::net::{Ipv4Addr, SocketAddr};
use std::ops::RangeBounds;
use std::panic::Location;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::timeout;

/// No test waits longer for anything.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// Sends `bytes` on a connection of its own, and reads until the other side closes it.
pub async fn raw(addr: SocketAddr, bytes: impl AsRef<[u8]>) -> String {
    let mut stream = TcpStream::connect(addr).await.unwrap();
    stream.write_all(bytes.as_ref()).await.unwrap();
    let mut answer = Vec::new();
    timeout(PATIENCE, stream.read_to_end(&mut answer))
        .await
        .expect("no end of the answer")
        .unwrap();
    String::from_utf8_lossy(&answer).into_owned()
}

/// Sends `head`, then `part` again and again until the connection closes, and returns the response.
pub async fn send_dripping(addr: SocketAddr, head: String, part: &'static [u8]) -> String {
    let (mut read, mut write) = TcpStream::connect(addr).await.unwrap().into_split();
    let drip = tokio::spawn(async move {
        write.write_all(head.as_bytes()).await.unwrap();
        while write.write_all(part).await.is_ok() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    });
    let mut response = Vec::new();
    // A reset may follow, because the proxy closes with bytes unread.
    let _ = timeout(PATIENCE, read.read_to_end(&mut response))
        .await
        .expect("the connection stays open");
    drip.abort();
    String::from_utf8_lossy(&response).into_owned()
}

/// A connection to `addr` from `127.0.0.{host}`.
pub async fn connect_from(host: u8, addr: SocketAddr) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket
        .bind((Ipv4Addr::new(127, 0, 0, host), 0).into())
        .unwrap();
    timeout(PATIENCE, socket.connect(addr))
        .await
        .expect("not accepted")
        .unwrap()
}

/// Reads from `stream` until `end` has come.
pub async fn read_until(stream: &mut TcpStream, end: &str) -> String {
    let mut answer = Vec::new();
    let read = async {
        while !answer.windows(end.len()).any(|part| part == end.as_bytes()) {
            assert_ne!(
                stream.read_buf(&mut answer).await.unwrap(),
                0,
                "closed before {end:?}"
            );
        }
    };
    timeout(PATIENCE, read)
        .await
        .unwrap_or_else(|_| panic!("{end:?} did not come"));
    String::from_utf8_lossy(&answer).into_owned()
}

/// An answer that has come as a whole.
pub type Whole = Response<Bytes>;

/// Sends `req` over HTTP/1.1 on a connection of its own.
pub async fn send(addr: SocketAddr, req: Request<Full<Bytes>>) -> Whole {
    try_send(addr, req).await.unwrap()
}

/// As [`send`]; an answer may fail to come, or break off.
pub async fn try_send(addr: SocketAddr, req: Request<Full<Bytes>>) -> Result<Whole, String> {
    let stream = TcpStream::connect(addr).await.unwrap();
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
        .await
        .unwrap();
    let connection = tokio::spawn(connection);
    let answer = timeout(PATIENCE, async {
        whole(sender.send_request(req).await?).await
    });
    let answer = answer
        .await
        .expect("no answer")
        .map_err(|error| error.to_string());
    connection.abort();
    answer
}

/// Sends `req` over HTTP/2 with prior knowledge.
pub async fn send_http2(addr: SocketAddr, req: Request<Full<Bytes>>) -> Whole {
    let stream = TcpStream::connect(addr).await.unwrap();
    let handshake =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream));
    let (mut sender, connection) = handshake.await.unwrap();
    let connection = tokio::spawn(connection);
    let answer = timeout(PATIENCE, async {
        whole(sender.send_request(req).await?).await
    });
    let answer = answer.await.expect("no answer").unwrap();
    connection.abort();
    answer
}

async fn whole(res: Response<hyper::body::Incoming>) -> hyper::Result<Whole> {
    let (head, body) = res.into_parts();
    Ok(Response::from_parts(head, body.collect().await?.to_bytes()))
}

/// A POST as a legacy caller makes it.
pub fn post(path: &str) -> Request<Full<Bytes>> {
    Request::post(path)
        .header("host", "localhost")
        .header("content-type", "application/json")
        .body(Full::new(Bytes::from_static(b"{}")))
        .unwrap()
}

/// Posts to `path`, and requires a 200.
#[track_caller]
pub fn assert_ok(addr: SocketAddr, path: &str) -> impl Future<Output = ()> + use<> {
    let (req, line) = (post(path), Location::caller());
    async move { assert_eq!(send(addr, req).await.status(), StatusCode::OK, "{line}") }
}

/// Requires that the time since `began` lies in `range`.
#[track_caller]
pub fn assert_took(began: Instant, range: impl RangeBounds<Duration> + Debug) {
    let took = began.elapsed();
    assert!(range.contains(&took), "{took:?} is not in {range:?}");
}

/// The JSON of an answer.
pub fn json(answer: &Whole) -> serde_json::Value {
    serde_json::from_slice(answer.body()).unwrap()
}

/// Tries `done` again until it is true.
pub async fn until(done: impl AsyncFn() -> bool) {
    let wait = async {
        while !done().await {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    timeout(PATIENCE, wait)
        .await
        .expect("it did not come to pass");
}

/// Sends a body of declared length until nothing more of it is taken, as it must be for an API
/// that reads nothing.
pub async fn assert_held_back(stream: &mut TcpStream) {
    let chunk = vec![7; 64 * 1024];
    let mut count = 0;
    while let Ok(written) = timeout(Duration::from_millis(500), stream.write_all(&chunk)).await {
        written.unwrap();
        count += 1;
        assert!(
            count < 1024,
            "64 MiB were taken for an API that reads nothing"
        );
    }
}

/// Sends a chunked body word by word to an API that gives back what it gets.
pub async fn assert_echoed_as_it_is_sent(stream: &mut TcpStream) {
    for word in ["first", "second", "third"] {
        stream
            .write_all(format!("{:x}\r\n{word}\r\n", word.len()).as_bytes())
            .await
            .unwrap();
        // It comes back while the request is still being sent: nothing on the way collects it.
        read_until(stream, word).await;
    }
    stream.write_all(b"0\r\n\r\n").await.unwrap();
    read_until(stream, "0\r\n\r\n").await;
}
