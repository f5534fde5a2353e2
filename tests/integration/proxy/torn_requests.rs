//! Requests that an HTTP/2 caller resets before their end: the API never receives one as complete.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use http::Response;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::support::caller::{PATIENCE, post, send, until};
use crate::support::frames::{
    DATA, END_HEADERS, END_STREAM, GOOD, HEADERS, RST_STREAM, block, frame, preface,
};
use crate::support::server::{http2, scripted};
use crate::support::{Proxy, TestProxy};

const HEALTHY: &str = "/v2/captain/healthy";
const BODY: &str = "half of a passport";

/// The requests that an API received.
#[derive(Default)]
struct Received {
    begun: AtomicUsize,
    ended: AtomicUsize,
    complete: AtomicUsize,
}

impl Received {
    fn count(counter: &AtomicUsize) -> usize {
        counter.load(Ordering::SeqCst)
    }

    /// Waits until each request has been received to its end, or was broken off.
    async fn settle(&self) {
        until(async || Received::count(&self.begun) == Received::count(&self.ended)).await;
    }
}

/// An HTTP/1.1 API that reads one request from each connection, and answers it once it is complete.
async fn http1_api(received: Arc<Received>) -> SocketAddr {
    scripted(move |mut stream| {
        let received = Arc::clone(&received);
        async move {
            let mut request = Vec::new();
            while !is_complete(&request) {
                let is_first = request.is_empty();
                match stream.read_buf(&mut request).await {
                    Ok(0) | Err(_) => break,
                    Ok(_) => drop(
                        received
                            .begun
                            .fetch_add(usize::from(is_first), Ordering::SeqCst),
                    ),
                }
            }
            received
                .complete
                .fetch_add(usize::from(is_complete(&request)), Ordering::SeqCst);
            // One that was closed before its first byte carried no request.
            received
                .ended
                .fetch_add(usize::from(!request.is_empty()), Ordering::SeqCst);
            let _ = stream
                .write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
                .await;
        }
    })
    .await
}

/// Whether a request is complete by its framing.
fn is_complete(request: &[u8]) -> bool {
    let text = String::from_utf8_lossy(request).to_lowercase();
    let Some((head, body)) = text.split_once("\r\n\r\n") else {
        return false;
    };
    if head.contains("transfer-encoding: chunked") {
        return body.ends_with("0\r\n\r\n");
    }
    let length = head
        .split("content-length: ")
        .nth(1)
        .and_then(|rest| rest.lines().next());
    body.len() >= length.map_or(0, |length| length.parse().unwrap())
}

/// An HTTP/2 API that reads each request, and answers it once it is complete.
async fn http2_api(received: Arc<Received>) -> SocketAddr {
    http2(100, move |_, mut connection| {
        let received = Arc::clone(&received);
        async move {
            while let Some(Ok((req, mut respond))) = connection.accept().await {
                let received = Arc::clone(&received);
                received.begun.fetch_add(1, Ordering::SeqCst);
                tokio::spawn(async move {
                    let mut body = req.into_body();
                    let is_complete = loop {
                        match body.data().await {
                            Some(Ok(data)) => {
                                body.flow_control().release_capacity(data.len()).unwrap()
                            }
                            Some(Err(_)) => break false,
                            None => break true,
                        }
                    };
                    received
                        .complete
                        .fetch_add(usize::from(is_complete), Ordering::SeqCst);
                    received.ended.fetch_add(1, Ordering::SeqCst);
                    if is_complete {
                        respond.send_response(Response::new(()), true).unwrap();
                    }
                });
            }
        }
    })
    .await
}

/// What a caller sends only when the API has received the head.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Split {
    Nothing,
    Reset,
    DataAndReset,
}

/// How a caller gives its request up.
#[derive(Clone, Copy, Debug)]
struct Reset {
    /// The error code of RST_STREAM.
    code: u32,
    length: Option<&'static str>,
    announces_trailers: bool,
    body: Option<&'static str>,
    split: Split,
}

impl Reset {
    /// Each error code of RFC 9113 section 7, and one that is none, with each kind of request.
    fn all() -> impl Iterator<Item = Reset> {
        (0..=14).flat_map(|code| {
            let kinds = [
                (None, false, Some(BODY)),
                (Some("1000"), false, Some(BODY)),
                (None, true, Some(BODY)),
                (None, false, None),
                (Some("1000"), false, None),
            ];
            kinds
                .into_iter()
                .flat_map(move |(length, announces_trailers, body)| {
                    [Split::Nothing, Split::Reset, Split::DataAndReset].map(|split| Reset {
                        code,
                        length,
                        announces_trailers,
                        body,
                        split,
                    })
                })
        })
    }

    async fn send(self, proxy: &Proxy, received: &Received) {
        let mut fields = GOOD.to_vec();
        fields.extend(self.length.map(|length| ("content-length", length)));
        if self.announces_trailers {
            fields.extend([("te", "trailers"), ("trailer", "x-checksum")]);
        }
        let data: Vec<u8> = self
            .body
            .iter()
            .flat_map(|body| frame(DATA, 0, 1, body.as_bytes()))
            .collect();
        let mut bytes = [preface(), frame(HEADERS, END_HEADERS, 1, &block(&fields))].concat();
        if self.split != Split::DataAndReset {
            bytes.extend(&data);
        }
        let mut stream = TcpStream::connect(proxy.addr()).await.unwrap();
        if self.split != Split::Nothing {
            let before = Received::count(&received.begun);
            stream.write_all(&bytes).await.unwrap();
            bytes.clear();
            until(async || Received::count(&received.begun) > before).await;
        }
        if self.split == Split::DataAndReset {
            bytes.extend(&data);
        }
        bytes.extend(frame(RST_STREAM, 0, 1, &self.code.to_be_bytes()));
        stream.write_all(&bytes).await.unwrap();
        // The proxy has read the reset when it answers what was sent behind it.
        const PING: u8 = 6;
        stream
            .write_all(&frame(PING, 0, 0, b"are read"))
            .await
            .unwrap();
        let mut answer = Vec::new();
        let pong = async {
            while !answer.windows(8).any(|part| part == b"are read") {
                assert_ne!(
                    stream.read_buf(&mut answer).await.unwrap(),
                    0,
                    "{self:?}: the connection was closed"
                );
            }
        };
        timeout(PATIENCE, pong).await.expect("no answer to PING");
    }
}

async fn never_complete(api: SocketAddr, received: &Received, set: &[&str]) {
    let set = [&["listen.workers=1"], set].concat();
    let proxy = TestProxy::before_server(&format!("http://{api}"))
        .set(&set)
        .start()
        .await;
    for reset in Reset::all() {
        reset.send(&proxy, received).await;
        // Behind it on the same worker: by then the reset request has been forwarded, or never is.
        let before = Received::count(&received.complete);
        assert_eq!(send(proxy.addr(), post(HEALTHY)).await.status(), 200);
        received.settle().await;
        assert_eq!(
            Received::count(&received.complete),
            before + 1,
            "{reset:?}: complete at the API"
        );
    }
    // Anything that was still on its way.
    tokio::time::sleep(Duration::from_millis(200)).await;
    received.settle().await;
    assert_eq!(Received::count(&received.complete), Reset::all().count());
}

#[tokio::test]
async fn a_reset_request_is_never_complete_over_http1() {
    let received = Arc::<Received>::default();
    never_complete(http1_api(Arc::clone(&received)).await, &received, &[]).await;
}

#[tokio::test]
async fn a_reset_request_is_never_complete_over_http2() {
    let received = Arc::<Received>::default();
    never_complete(
        http2_api(Arc::clone(&received)).await,
        &received,
        &["upstream.http_version=2"],
    )
    .await;
}

/// What has ended stays complete, whatever is reset behind it: END_STREAM, or all of the length.
#[tokio::test]
async fn a_body_with_its_end_is_complete() {
    for (length, flags) in [(None, END_STREAM), (Some("18"), 0)] {
        let received = Arc::<Received>::default();
        let api = http1_api(Arc::clone(&received)).await;
        let proxy = TestProxy::before_server(&format!("http://{api}"))
            .start()
            .await;
        let mut fields = GOOD.to_vec();
        fields.extend(length.map(|length| ("content-length", length)));
        let mut stream = TcpStream::connect(proxy.addr()).await.unwrap();
        let mut bytes = preface();
        bytes.extend(frame(HEADERS, END_HEADERS, 1, &block(&fields)));
        bytes.extend(frame(DATA, flags, 1, BODY.as_bytes()));
        stream.write_all(&bytes).await.unwrap();
        until(async || Received::count(&received.complete) == 1).await;
    }
}
