//! Responses that the API breaks off: no caller receives one as complete, and an HTTP/2 caller
//! receives an error code.

use std::net::SocketAddr;
use std::time::Duration;

use h2::Reason;
use http::{Request, Response};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};

use crate::support::caller::{PATIENCE, read_until};
use crate::support::server::{http2, scripted};
use crate::support::{Proxy, TestProxy};

const START: &str = "/v2/captain/journey/start";

/// Where an API that speaks HTTP/2 breaks off.
#[derive(Clone, Copy, Debug)]
struct Break {
    code: u32,
    length: Option<u32>,
    data: Option<&'static str>,
    /// Whether the stream is reset only after a while, rather than at once.
    is_late: bool,
}

impl Break {
    /// Each error code of RFC 9113 section 7, and one that is none, right after the head or behind
    /// some of the body.
    fn all() -> impl Iterator<Item = Break> {
        (0..=14).flat_map(|code| {
            let kinds = [
                (None, None),
                (None, Some("half")),
                (Some(100), None),
                (Some(100), Some("half")),
            ];
            kinds.into_iter().flat_map(move |(length, data)| {
                [false, true].map(|is_late| Break {
                    code,
                    length,
                    data,
                    is_late,
                })
            })
        })
    }

    async fn api(self) -> SocketAddr {
        http2(100, move |_, mut connection| async move {
            while let Some(Ok((_, mut respond))) = connection.accept().await {
                let mut res = Response::new(());
                if let Some(length) = self.length {
                    res.headers_mut().insert("content-length", length.into());
                }
                let mut stream = respond.send_response(res, false).unwrap();
                if let Some(data) = self.data {
                    stream.send_data(data.into(), false).unwrap();
                }
                tokio::spawn(async move {
                    if self.is_late {
                        sleep(Duration::from_millis(20)).await;
                    }
                    stream.send_reset(Reason::from(self.code));
                });
            }
        })
        .await
    }

    async fn proxy(self) -> Proxy {
        let set = ["upstream.http_version=2", "listen.workers=1"];
        TestProxy::before_server(&format!("http://{}", self.api().await))
            .set(&set)
            .start()
            .await
    }
}

/// What an HTTP/1.1 caller receives, to the end of the connection.
async fn received_over_http1(proxy: &Proxy) -> String {
    let mut stream = TcpStream::connect(proxy.addr()).await.unwrap();
    let req = format!(
        "POST {START} HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
    );
    stream.write_all(req.as_bytes()).await.unwrap();
    let mut response = Vec::new();
    // A reset connection is not a complete response either.
    let _ = timeout(PATIENCE, stream.read_to_end(&mut response))
        .await
        .expect("the response goes on");
    String::from_utf8(response).unwrap()
}

/// Whether `response` is complete by its framing.
fn is_complete(response: &str) -> bool {
    // A head that was not written yet when the response broke off.
    let Some((head, body)) = response.split_once("\r\n\r\n") else {
        return false;
    };
    let head = head.to_lowercase();
    match head
        .split("content-length: ")
        .nth(1)
        .and_then(|rest| rest.lines().next())
    {
        Some(length) => body.len() >= length.parse().unwrap(),
        None if head.contains("transfer-encoding: chunked") => body.ends_with("0\r\n\r\n"),
        None => panic!("the response ends with its connection: {response}"),
    }
}

/// How a response ends for an HTTP/2 caller: with the error code of RST_STREAM, or as complete.
async fn end_over_http2(proxy: &Proxy) -> Result<(), Option<Reason>> {
    let stream = TcpStream::connect(proxy.addr()).await.unwrap();
    let (sender, connection) = h2::client::handshake(stream).await.unwrap();
    tokio::spawn(connection);
    let req = Request::post(format!("http://a{START}")).body(()).unwrap();
    let (res, _) = sender
        .ready()
        .await
        .unwrap()
        .send_request(req, true)
        .unwrap();
    let read = async {
        let mut body = res.await.map_err(|error| error.reason())?.into_body();
        while let Some(data) = body.data().await {
            body.flow_control()
                .release_capacity(data.map_err(|error| error.reason())?.len())
                .unwrap();
        }
        Ok(())
    };
    timeout(PATIENCE, read).await.expect("the response goes on")
}

#[tokio::test]
async fn a_reset_response_is_never_complete() {
    for reset in Break::all() {
        let response = received_over_http1(&reset.proxy().await).await;
        // A reset right behind the head may arrive before the proxy has passed the head on.
        let is_error = response.starts_with("HTTP/1.1 50");
        assert!(is_error || !is_complete(&response), "{reset:?}: {response}");
        assert!(!is_error || !reset.is_late, "{reset:?}: {response}");
    }
}

#[tokio::test]
async fn a_reset_response_resets_with_internal_error() {
    for reset in Break::all() {
        // An error code of the API's would be false here: NO_ERROR, or REFUSED_STREAM, which
        // invites to send it again.
        let end = end_over_http2(&reset.proxy().await).await;
        let is_own_response = end.is_ok() && !reset.is_late && reset.data.is_none();
        assert!(
            is_own_response || end == Err(Some(Reason::INTERNAL_ERROR)),
            "{reset:?}: {end:?}"
        );
    }
}

/// All of the length is there: what comes behind it takes nothing away.
#[tokio::test]
async fn a_response_with_all_its_length_is_complete() {
    for code in 0..=14 {
        let whole = Break {
            code,
            length: Some(4),
            data: Some("half"),
            is_late: true,
        };
        let response = received_over_http1(&whole.proxy().await).await;
        assert!(is_complete(&response), "{whole:?}: {response}");
        assert_eq!(
            end_over_http2(&whole.proxy().await).await,
            Ok(()),
            "{whole:?}"
        );
    }
}

#[tokio::test]
async fn a_response_cut_over_http1_is_never_complete() {
    const CHUNKED: &str = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
    const LENGTH: &str = "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n";
    let chunked = [
        "",
        "4",
        "4\r",
        "4\r\n",
        "4\r\nha",
        "4\r\nhalf",
        "4\r\nhalf\r\n",
        "4\r\nhalf\r\n0",
        "4\r\nhalf\r\n0\r\n",
    ];
    let cut = chunked.map(|body| format!("{CHUNKED}{body}"));
    for cut in cut
        .into_iter()
        .chain(["", "half"].map(|body| format!("{LENGTH}{body}")))
    {
        let answer = cut.clone();
        let api = scripted(move |mut stream: TcpStream| {
            let answer = answer.clone();
            async move {
                read_until(&mut stream, "\r\n\r\n").await;
                let _ = stream.write_all(answer.as_bytes()).await;
            }
        })
        .await;
        let proxy = TestProxy::before_server(&format!("http://{api}"))
            .set(&["listen.workers=1"])
            .start()
            .await;
        let response = received_over_http1(&proxy).await;
        assert!(!is_complete(&response), "{cut:?}: {response}");
        assert_eq!(
            end_over_http2(&proxy).await,
            Err(Some(Reason::INTERNAL_ERROR)),
            "{cut:?}"
        );
    }
}

/// A response without length or chunks ends with its connection (RFC 9112 section 6.3), unless that
/// is reset.
#[tokio::test]
async fn a_response_to_the_close_ends_there() {
    for is_reset in [false, true] {
        let api = scripted(move |mut stream: TcpStream| async move {
            read_until(&mut stream, "\r\n\r\n").await;
            stream
                .write_all(b"HTTP/1.1 200 OK\r\n\r\nhalf")
                .await
                .unwrap();
            if is_reset {
                sleep(Duration::from_millis(20)).await;
                stream.set_zero_linger().unwrap();
            }
        })
        .await;
        let proxy = TestProxy::before_server(&format!("http://{api}"))
            .start()
            .await;
        assert_eq!(is_complete(&received_over_http1(&proxy).await), !is_reset);
        let end = if is_reset {
            Err(Some(Reason::INTERNAL_ERROR))
        } else {
            Ok(())
        };
        assert_eq!(end_over_http2(&proxy).await, end);
    }
}
