//! Connections to the API within the limit of open files: requests wait for one, and what the API
//! causes is not the limit's.

use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use h2::Ping;
use h2::client::{ResponseFuture, SendRequest};
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use tokio::net::TcpStream;
use tokio::sync::{mpsc, watch};
use tokio::task::spawn_blocking;
use tokio::time::{sleep, timeout};
use wiremock::MockServer;

use crate::support::caller::{PATIENCE, assert_ok, raw, until};
use crate::support::process::Running;
use crate::support::server::{http, http2, silent};
use crate::support::{api, token_endpoint};

const START: &str = "/v2/captain/journey/start";

/// A proxy with so many open files before `upstream`, to which it speaks `http_version`; where its
/// tokens come from.
async fn started(
    files: u32,
    upstream: &str,
    http_version: &str,
    set: &[&str],
) -> (Running, MockServer) {
    let tokens = api().await;
    let own = [
        format!("upstream.base_url={upstream}"),
        format!("upstream.http_version={http_version}"),
        format!("token.endpoint={}", token_endpoint(&tokens)),
        "listen.workers=1".to_owned(),
    ];
    let set: Vec<_> = own
        .iter()
        .map(String::as_str)
        .chain(set.iter().copied())
        .collect();
    (Running::start_with_open_files(files, &set), tokens)
}

/// One HTTP/2 connection of a caller.
async fn connect(addr: SocketAddr) -> SendRequest<Bytes> {
    let stream = TcpStream::connect(addr).await.unwrap();
    let (sender, connection) = h2::client::handshake(stream).await.unwrap();
    tokio::spawn(connection);
    sender
}

async fn begin(sender: &SendRequest<Bytes>) -> ResponseFuture {
    let req = Request::get(format!("http://localhost{START}"))
        .body(())
        .unwrap();
    sender
        .clone()
        .ready()
        .await
        .unwrap()
        .send_request(req, true)
        .unwrap()
        .0
}

/// The status of an answer, with the reason.
async fn answer(answering: ResponseFuture) -> (StatusCode, String) {
    let res = timeout(PATIENCE, answering)
        .await
        .expect("no answer")
        .unwrap();
    let reason = res
        .headers()
        .get("proxy-status")
        .map(|value| value.to_str().unwrap().to_owned());
    (res.status(), reason.unwrap_or_default())
}

/// Ends the process, which has not logged that the limit was reached. Callers' connections go on
/// meanwhile, and close.
async fn assert_ends_without_limit(mut running: Running) {
    let ended = spawn_blocking(move || {
        assert_eq!(running.end("-TERM"), 0);
        assert!(
            !running
                .log
                .contains("reached the limit of connections to the API"),
            "{}",
            running.log
        );
    });
    ended.await.unwrap();
}

#[tokio::test]
async fn a_request_waits_for_a_free_connection() {
    let upstream = http(|req: Request<Incoming>| async {
        let _ = req.into_body().collect().await;
        sleep(Duration::from_millis(100)).await;
        Response::new(Full::new(Bytes::from_static(b"ok")))
    });
    assert_requests_wait(upstream.await, "1.1").await;
}

#[tokio::test]
async fn a_request_waits_for_a_free_stream() {
    let upstream = http2(1, |_, mut connection| async move {
        while let Some(Ok((_, mut respond))) = connection.accept().await {
            tokio::spawn(async move {
                sleep(Duration::from_millis(100)).await;
                let _ = respond.send_response(Response::new(()), true);
            });
        }
    });
    assert_requests_wait(upstream.await, "2").await;
}

/// Sends more requests than there may be connections, and expects that each is answered.
async fn assert_requests_wait(upstream: SocketAddr, http_version: &str) {
    // The limit of 64 leaves 64 - 32 - 8 - 8 = 16 files, half of them to callers.
    let (running, _tokens) = started(64, &format!("http://{upstream}"), http_version, &[]).await;
    let sender = connect(running.addr()).await;
    let mut answers = Vec::new();
    for _ in 0..60 {
        answers.push(begin(&sender).await);
    }
    for answering in answers {
        assert_eq!(answer(answering).await.0, StatusCode::OK);
    }
    assert_ok(running.addr(), START).await;
    assert_ends_without_limit(running).await;
}

/// All files are taken by the connection that is being opened. After five attempts the circuit is
/// open.
#[tokio::test]
async fn a_dead_api_is_unreachable_despite_few_files() {
    let dead = silent().await;
    for (http_version, scheme) in [("1.1", "https"), ("2", "https"), ("2", "http")] {
        let set = ["upstream.connect_timeout=100ms"];
        // 52 - 32 - 8 - 8 = 4 files, half of them to callers: one connection to the API.
        let (running, _tokens) =
            started(52, &format!("{scheme}://{dead}"), http_version, &set).await;
        let sender = connect(running.addr()).await;
        for _ in 0..6 {
            let mut answers = Vec::new();
            for _ in 0..4 {
                answers.push(begin(&sender).await);
            }
            for answering in answers {
                let (status, reason) = answer(answering).await;
                assert_eq!(
                    status,
                    StatusCode::BAD_GATEWAY,
                    "{http_version}, {scheme}: {reason}"
                );
                assert!(
                    reason.contains("upstream_unreachable"),
                    "{http_version}, {scheme}: {reason}"
                );
            }
        }
        assert_ends_without_limit(running).await;
    }
}

/// The first connection takes no further request (GOAWAY) while one is in flight on it, and beside
/// it there is room for `full` others, on which all places are taken. The one in flight is given
/// up: the connection ends after that, and not with it.
async fn assert_request_waits_for_connection_that_goes_away(files: u32, full: usize) {
    let (come, mut coming) = mpsc::unbounded_channel();
    let (release, released) = watch::channel(false);
    let upstream = http2(1, move |number, mut connection| {
        let (come, released) = (come.clone(), released.clone());
        async move {
            let mut pings = connection.ping_pong().filter(|_| number == 1);
            while let Some(Ok((_, mut respond))) = connection.accept().await {
                let (come, mut released, pings) = (come.clone(), released.clone(), pings.take());
                if pings.is_some() {
                    connection.graceful_shutdown();
                }
                tokio::spawn(async move {
                    if let Some(mut pings) = pings {
                        // The proxy has read what came before it.
                        pings.ping(Ping::opaque()).await.unwrap();
                    }
                    come.send(number).unwrap();
                    let is_held = number <= 1 + full;
                    released
                        .wait_for(|released| *released || !is_held)
                        .await
                        .unwrap();
                    let _ = respond.send_response(Response::new(()), true);
                });
            }
        }
    });
    let upstream = format!("http://{}", upstream.await);
    let set = ["upstream.connect_timeout=10s", "admin.address=127.0.0.1:0"];
    let (running, _tokens) = started(files, &upstream, "2", &set).await;
    let (sender, admin) = (connect(running.addr()).await, running.admin());
    let mut held = Vec::new();
    for number in 1..=1 + full {
        held.push(begin(&sender).await);
        assert_eq!(
            timeout(PATIENCE, coming.recv())
                .await
                .expect("it does not come"),
            Some(number)
        );
    }
    let waiting = begin(&sender).await;
    let scrape = "GET /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
    until(async || {
        let metrics = raw(admin, scrape).await;
        let in_flight = metrics
            .lines()
            .find_map(|line| line.strip_prefix("gbg_proxy_in_flight "));
        in_flight.unwrap().parse() == Ok(held.len() as f64 + 1.0)
    })
    .await;

    drop(held.remove(0));
    assert_eq!(answer(waiting).await, (StatusCode::OK, String::new()));
    release.send_replace(true);
    for answering in held {
        assert_eq!(answer(answering).await.0, StatusCode::OK);
    }
    assert_ends_without_limit(running).await;
}

/// 52 - 32 - 8 - 8 = 4 files, half of them to callers: one connection to the API.
#[tokio::test]
async fn a_request_waits_out_the_only_connections_goaway() {
    assert_request_waits_for_connection_that_goes_away(52, 0).await;
}

/// 54 - 32 - 8 - 8 = 6 files, half of them to callers: two connections to the API.
#[tokio::test]
async fn a_waiting_request_gets_a_released_connection() {
    assert_request_waits_for_connection_that_goes_away(54, 1).await;
}
