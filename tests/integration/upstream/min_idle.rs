//! Connections to the API that are open before anybody asks.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::time::Duration;

use http::Response;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncWriteExt, copy, sink};
use tokio::net::TcpStream;
use tokio::sync::Notify;
use tokio::time::sleep;

use crate::ops::reload::{replace, running};
use crate::support::caller::{assert_ok, read_until, until};
use crate::support::configured_callers::config_file;
use crate::support::server::{http2, scripted, tls};
use crate::support::{TestProxy, api};

const START: &str = "/v2/captain/journey/start";
const OK: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";
/// Longer than it takes to look whether connections are to be opened.
const A_WHILE: Duration = Duration::from_millis(1500);

#[tokio::test]
async fn min_idle_connections_are_opened_and_replaced() {
    let (opened, close) = (Arc::new(AtomicUsize::new(0)), Arc::new(Notify::new()));
    let (count, closing) = (Arc::clone(&opened), Arc::clone(&close));
    let upstream = scripted(move |mut stream: TcpStream| {
        count.fetch_add(1, SeqCst);
        let closing = Arc::clone(&closing);
        async move {
            let answer = async {
                loop {
                    read_until(&mut stream, "{}").await;
                    stream.write_all(OK).await.unwrap();
                }
            };
            tokio::select! {
                () = closing.notified() => {}
                () = answer => {}
            }
        }
    })
    .await;
    let set = ["listen.workers=1", "upstream.min_idle=2"];
    let proxy = TestProxy::before_server(&format!("http://{upstream}"))
        .set(&set)
        .start()
        .await;
    let opened = || opened.load(SeqCst);

    until(async || opened() == 2).await;
    assert_ok(proxy.addr(), START).await;
    sleep(A_WHILE).await;
    assert_eq!(
        opened(),
        2,
        "the request had one that was ready, and both are again"
    );

    close.notify_waiters();
    until(async || opened() == 4).await;
    assert_ok(proxy.addr(), START).await;
    assert_eq!(opened(), 4);
}

#[tokio::test]
async fn min_idle_over_http2_is_one_connection() {
    let (opened, close) = (Arc::new(AtomicUsize::new(0)), Arc::new(Notify::new()));
    let (count, closing) = (Arc::clone(&opened), Arc::clone(&close));
    let upstream = http2(100, move |_, mut connection| {
        count.fetch_add(1, SeqCst);
        let closing = Arc::clone(&closing);
        async move {
            let answer = async {
                while let Some(Ok((_, mut respond))) = connection.accept().await {
                    respond.send_response(Response::new(()), true).unwrap();
                }
            };
            tokio::select! {
                () = closing.notified() => {}
                () = answer => {}
            }
        }
    })
    .await;
    let set = [
        "listen.workers=1",
        "upstream.min_idle=3",
        "upstream.http_version=2",
    ];
    let proxy = TestProxy::before_server(&format!("http://{upstream}"))
        .set(&set)
        .start()
        .await;
    until(async || opened.load(SeqCst) == 1).await;
    sleep(A_WHILE).await;
    assert_ok(proxy.addr(), START).await;
    assert_eq!(opened.load(SeqCst), 1);

    close.notify_waiters();
    until(async || opened.load(SeqCst) == 2).await;
    assert_ok(proxy.addr(), START).await;
    assert_eq!(opened.load(SeqCst), 2);
}

#[tokio::test]
async fn an_api_choosing_http1_gets_all_min_idle() {
    let opened = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&opened);
    let secured = tls(&["http/1.1"], move |stream| {
        count.fetch_add(1, SeqCst);
        async move {
            let answer = service_fn(async |_| Ok::<_, Infallible>(Response::new(String::new())));
            let _ = http1::Builder::new()
                .serve_connection(TokioIo::new(stream), answer)
                .await;
        }
    })
    .await;
    let set = [
        "listen.workers=1",
        "upstream.min_idle=3",
        "upstream.http_version=auto",
        &secured.ca_file,
    ];
    let proxy = TestProxy::before_server(&secured.base_url)
        .set(&set)
        .start()
        .await;
    until(async || opened.load(SeqCst) == 3).await;
    assert_ok(proxy.addr(), START).await;
    sleep(A_WHILE).await;
    assert_eq!(opened.load(SeqCst), 3);
}

/// Another upstream takes the place of the one that was, with all that was ready.
#[tokio::test]
async fn min_idle_changes_by_a_reload() {
    let open = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&open);
    let upstream = scripted(move |mut stream: TcpStream| {
        count.fetch_add(1, SeqCst);
        let count = Arc::clone(&count);
        async move {
            let _ = copy(&mut stream, &mut sink()).await;
            count.fetch_sub(1, SeqCst);
        }
    })
    .await;
    let base_url = format!("upstream.base_url=http://{upstream}");
    let set = [&base_url, "listen.workers=1"];
    let ready = |count: usize| format!("[upstream]\nmin_idle = {count}\n");
    let config = config_file(&[ready(2)]);
    let mut running = running(config.path(), &api().await, &set).await;
    until(async || open.load(SeqCst) == 2).await;
    for count in [3, 0, 1] {
        replace(config.path(), &ready(count));
        running.signal("-HUP");
        running.read_until("changed=\"upstream.min_idle\"");
        until(async || open.load(SeqCst) == count).await;
        sleep(A_WHILE).await;
        assert_eq!(open.load(SeqCst), count);
    }
    assert_eq!(running.end("-TERM"), 0);
}
