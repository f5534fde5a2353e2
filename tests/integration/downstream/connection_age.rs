//! The age of callers' connections: `listen.max_age` ends them, and no request with them.

use std::time::Duration;

use bytes::Bytes;
use http::{Request, StatusCode};
use http_body_util::{BodyExt, Empty};
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};
use wiremock::ResponseTemplate;

use crate::support::caller::PATIENCE;
use crate::support::{TestProxy, answer, api, forwarded};

const PATH: &str = "/v2/captain/x";

#[tokio::test]
async fn an_old_http1_connection_announces_its_close() {
    let api = api().await;
    answer(&api, ResponseTemplate::new(200)).await;
    let proxy = TestProxy::before(&api)
        .set(&["listen.max_age=1s"])
        .start()
        .await;
    let stream = TcpStream::connect(proxy.addr()).await.unwrap();
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.unwrap();
    let connection = tokio::spawn(connection);
    let mut count = 0;
    let last = async {
        loop {
            let req = Request::get(PATH)
                .header("host", "localhost")
                .body(Empty::<Bytes>::new())
                .unwrap();
            let res = sender
                .send_request(req)
                .await
                .expect("it closes without a word");
            count += 1;
            assert_eq!(res.status(), StatusCode::OK);
            let closes = res
                .headers()
                .get("connection")
                .is_some_and(|value| value == "close");
            res.into_body().collect().await.unwrap();
            if closes {
                return;
            }
            // Long enough to rest in between.
            sleep(Duration::from_millis(120)).await;
            sender.ready().await.unwrap();
        }
    };
    timeout(PATIENCE, last)
        .await
        .expect("it is never said to close");
    timeout(PATIENCE, connection)
        .await
        .expect("it stays open")
        .unwrap()
        .unwrap();
    assert!(count > 1, "a new connection is closed at once");
    assert_eq!(forwarded(&api).await.len(), count);
}

#[tokio::test]
async fn an_old_http2_connection_finishes_requests_first() {
    let api = api().await;
    answer(
        &api,
        ResponseTemplate::new(200).set_delay(Duration::from_secs(3)),
    )
    .await;
    let proxy = TestProxy::before(&api)
        .set(&["listen.max_age=1s"])
        .start()
        .await;
    let stream = TcpStream::connect(proxy.addr()).await.unwrap();
    let (mut sender, connection) = http2::handshake(TokioExecutor::new(), TokioIo::new(stream))
        .await
        .unwrap();
    let connection = tokio::spawn(connection);
    let req = Request::get(format!("http://localhost{PATH}"))
        .body(Empty::<Bytes>::new())
        .unwrap();
    let res = timeout(PATIENCE, sender.send_request(req))
        .await
        .expect("no answer")
        .unwrap();
    assert_eq!(res.status(), StatusCode::OK);
    res.into_body().collect().await.unwrap();
    timeout(PATIENCE, connection)
        .await
        .expect("it stays open")
        .unwrap()
        .unwrap();
    assert!(sender.is_closed());
}
