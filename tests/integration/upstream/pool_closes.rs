//! Connections to the API that close at the wrong moment, and requests that are sent again.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, StatusCode};
use http_body_util::Full;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};

use crate::support::TestProxy;
use crate::support::caller::{PATIENCE, assert_ok, json, post, raw, read_until, send};
use crate::support::server::{http2, scripted};
use crate::upstream::pool::{OK, START, next_request};

#[tokio::test]
async fn dead_pooled_connections_cost_no_request() {
    for version in ["upstream.http_version=1.1", "upstream.http_version=2"] {
        let (die, dying) = tokio::sync::watch::channel(());
        let arrived = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&arrived);
        let upstream = match version.ends_with('2') {
            false => {
                scripted(move |mut stream: TcpStream| {
                    let (mut dying, count) = (dying.clone(), Arc::clone(&count));
                    async move {
                        dying.mark_unchanged();
                        let served = async {
                            while next_request(&mut stream, PATIENCE).await.is_some() {
                                count.fetch_add(1, Ordering::SeqCst);
                                // So that each of those that come together has a connection.
                                sleep(Duration::from_millis(100)).await;
                                stream.write_all(OK).await.unwrap();
                            }
                        };
                        tokio::select! { () = served => {}, _ = dying.changed() => {} }
                    }
                })
                .await
            }
            // Two streams on each, and no GOAWAY before it closes.
            true => {
                http2(2, move |_, mut connection| {
                    let (mut dying, count) = (dying.clone(), Arc::clone(&count));
                    async move {
                        dying.mark_unchanged();
                        let served = async {
                            while let Some(Ok((_, mut respond))) = connection.accept().await {
                                count.fetch_add(1, Ordering::SeqCst);
                                respond
                                    .send_response(http::Response::new(()), true)
                                    .unwrap();
                            }
                        };
                        tokio::select! { () = served => {}, _ = dying.changed() => {} }
                    }
                })
                .await
            }
        };
        let set = [version, "listen.workers=1"];
        let proxy = TestProxy::before_server(&format!("http://{upstream}"))
            .set(&set)
            .start()
            .await;
        for _ in 0..3 {
            let addr = proxy.addr();
            let sent: Vec<_> = (0..20)
                .map(|_| tokio::spawn(send(addr, post(START))))
                .collect();
            for sent in sent {
                assert_eq!(sent.await.unwrap().status(), StatusCode::OK, "{version}");
            }
            die.send_replace(());
            sleep(Duration::from_millis(100)).await;
        }
        assert_eq!(arrived.load(Ordering::SeqCst), 60, "{version}");
    }
}

#[tokio::test]
async fn early_and_mid_response_closes_are_distinguished() {
    const CLOSED: &str = "the API closed the connection before a response";
    const BROKEN: &str = "the connection to the API broke before a response";
    for (served, begun, detail) in [(1, "", CLOSED), (1, "HTTP/1.1 20", BROKEN), (0, "", BROKEN)] {
        let upstream = scripted(move |mut stream: TcpStream| async move {
            for _ in 0..served {
                read_until(&mut stream, "{}").await;
                stream.write_all(OK).await.unwrap();
            }
            read_until(&mut stream, "{}").await;
            stream.write_all(begun.as_bytes()).await.unwrap();
        })
        .await;
        let proxy = TestProxy::before_server(&format!("http://{upstream}"))
            .set(&["listen.workers=1"])
            .start()
            .await;
        for _ in 0..served {
            assert_ok(proxy.addr(), START).await;
        }
        let res = json(&send(proxy.addr(), post(START)).await);
        assert_eq!(
            (&res["reason"], &res["detail"]),
            (&"upstream_broken".into(), &detail.into()),
            "{begun:?}"
        );
    }
}

/// A close of one pooled connection may have been that of all of them.
#[tokio::test]
async fn lost_requests_are_retried_on_new_connections() {
    let upstream = scripted(|mut stream: TcpStream| async move {
        next_request(&mut stream, PATIENCE).await.unwrap();
        // So that each of those that come together has a connection.
        sleep(Duration::from_millis(200)).await;
        stream.write_all(OK).await.unwrap();
        next_request(&mut stream, PATIENCE).await;
    })
    .await;
    let proxy = TestProxy::before_server(&format!("http://{upstream}"))
        .set(&["listen.workers=1"])
        .start()
        .await;
    let addr = proxy.addr();
    let path = "/v2/captain/journey/state/fetch";
    let sent: Vec<_> = (0..4)
        .map(|_| tokio::spawn(send(addr, post(path))))
        .collect();
    // The second comes when the other connections have been used just now as well.
    let fetch = format!("POST {path} HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n");
    let answers = raw(
        addr,
        format!("{fetch}\r\n{{}}{fetch}Connection: close\r\n\r\n{{}}"),
    )
    .await;
    assert_eq!(answers.matches("HTTP/1.1 200 OK").count(), 2, "{answers}");
    for sent in sent {
        assert_eq!(sent.await.unwrap().status(), StatusCode::OK);
    }
}

/// The worst API: closes each connection at a time of its own after an answer, which may be the
/// very one at which the next request is written. Of 2,000 requests to `path`: how many were not
/// answered, and how often each arrived.
async fn under_random_closes(path: &'static str) -> (usize, Vec<usize>) {
    let seen: Arc<Mutex<HashMap<String, usize>>> = Arc::default();
    let noted = Arc::clone(&seen);
    let upstream = scripted(move |mut stream: TcpStream| {
        let seen = Arc::clone(&noted);
        async move {
            let mut patience = PATIENCE;
            while let Some(request) = next_request(&mut stream, patience).await {
                let id = request
                    .split_once("x-id: ")
                    .unwrap()
                    .1
                    .split("\r\n")
                    .next()
                    .unwrap()
                    .to_owned();
                *seen.lock().unwrap().entry(id).or_default() += 1;
                stream.write_all(OK).await.unwrap();
                patience = Duration::from_micros(fastrand::u64(0..20_000));
            }
        }
    })
    .await;
    let proxy = TestProxy::before_server(&format!("http://{upstream}"))
        .set(&["listen.workers=1"])
        .start()
        .await;
    let addr = proxy.addr();
    let callers: Vec<_> = (0..8)
        .map(|caller| {
            tokio::spawn(async move {
                let mut lost = 0;
                for number in 0..250 {
                    let body = Full::new(Bytes::from_static(b"{}"));
                    let req = Request::post(path)
                        .header("host", "a")
                        .header("x-id", format!("{caller}-{number}"));
                    let res = send(addr, req.body(body).unwrap()).await;
                    if res.status() != StatusCode::OK {
                        assert_eq!(json(&res)["reason"], "upstream_broken");
                        lost += 1;
                    }
                    sleep(Duration::from_micros(fastrand::u64(0..10_000))).await;
                }
                lost
            })
        })
        .collect();
    let mut lost = 0;
    for caller in callers {
        lost += caller.await.unwrap();
    }
    let seen = seen.lock().unwrap();
    println!(
        "{path}: of 2000 requests {lost} were not answered, and {} arrived",
        seen.len()
    );
    (lost, seen.values().copied().collect())
}

/// A start that may have arrived is not retried, so its caller gets an error.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn random_closes_lose_few_requests_duplicate_none() {
    let (lost, arrived) = under_random_closes(START).await;
    assert!(
        arrived.iter().all(|times| *times == 1),
        "a request arrived twice"
    );
    // How many are lost is a matter of the machine and its load; one in five would be another
    // thing.
    assert!(lost < 400, "{lost} of 2000");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn random_closes_lose_no_read_only_request() {
    let (lost, arrived) = under_random_closes("/v2/captain/journey/state/fetch").await;
    assert_eq!((lost, arrived.len()), (0, 2000));
}

/// RFC 9110 section 9.2.2: once more, and not without an end.
#[tokio::test]
async fn only_read_only_requests_are_sent_twice() {
    let count = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&count);
    let upstream = scripted(move |mut stream: TcpStream| {
        let count = Arc::clone(&counted);
        async move {
            read_until(&mut stream, "{}").await;
            count.fetch_add(1, Ordering::SeqCst);
        }
    })
    .await;
    let proxy = TestProxy::before_server(&format!("http://{upstream}"))
        .start()
        .await;
    for (path, times) in [
        (START, 1),
        ("/v2/captain/journey/state/fetch", 2),
        ("/captain/api/journey/task/update", 1),
    ] {
        count.store(0, Ordering::SeqCst);
        let res = send(proxy.addr(), post(path)).await;
        assert_eq!(json(&res)["reason"], "upstream_broken");
        assert_eq!(count.load(Ordering::SeqCst), times, "{path}");
    }
}

/// An API on its last legs: connections that end after a few requests, streams that are refused,
/// callers that hang up.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn random_http2_failures_lose_and_duplicate_nothing() {
    let seen: Arc<Mutex<HashMap<String, usize>>> = Arc::default();
    let noted = Arc::clone(&seen);
    let upstream = http2(5, move |_, mut connection| {
        let seen = Arc::clone(&noted);
        async move {
            let mut left = fastrand::usize(1..30);
            while let Some(Ok((req, mut respond))) = connection.accept().await {
                left = left.saturating_sub(1);
                if left == 0 {
                    connection.graceful_shutdown();
                }
                if fastrand::usize(0..100) == 0 {
                    respond.send_reset(h2::Reason::REFUSED_STREAM);
                    continue;
                }
                let id = req.headers()["x-id"].to_str().unwrap().to_owned();
                *seen.lock().unwrap().entry(id).or_default() += 1;
                tokio::spawn(async move {
                    sleep(Duration::from_micros(fastrand::u64(0..5_000))).await;
                    let _ = respond.send_response(http::Response::new(()), true);
                });
            }
        }
    })
    .await;
    let set = ["listen.workers=1", "upstream.http_version=2"];
    let proxy = TestProxy::before_server(&format!("http://{upstream}"))
        .set(&set)
        .start()
        .await;
    let addr = proxy.addr();
    let callers: Vec<_> = (0..20)
        .map(|caller| {
            tokio::spawn(async move {
                for number in 0..100 {
                    let mut req = post(START);
                    req.headers_mut()
                        .insert("x-id", format!("{caller}-{number}").parse().unwrap());
                    let sent = || send(addr, req.clone());
                    if caller % 10 == 0 {
                        // Every tenth caller has little patience.
                        let _ = timeout(Duration::from_millis(3), sent()).await;
                        continue;
                    }
                    let mut res = sent().await;
                    if res.status() == StatusCode::SERVICE_UNAVAILABLE {
                        assert_eq!(json(&res)["reason"], "upstream_refused");
                        res = sent().await;
                    }
                    assert_eq!(res.status(), StatusCode::OK, "{res:?}");
                }
            })
        })
        .collect();
    for caller in callers {
        caller.await.unwrap();
    }
    assert!(
        seen.lock().unwrap().values().all(|times| *times == 1),
        "a request was acted on twice"
    );
}
