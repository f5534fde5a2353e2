//! Another way to the API while the proxy runs, and the connections that were open before.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use http::{Response, StatusCode};
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;
use tokio::sync::Semaphore;

use crate::ops::reload::{replace, running};
use crate::ops::reload_settings::{START, reload, status};
use crate::support::caller::{read_until, until};
use crate::support::configured_callers::config_file;
use crate::support::{api, server};

#[tokio::test]
async fn changed_upstream_timeouts_replace_open_connections() {
    let api = api().await;
    let (open, opened) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let counted = (Arc::clone(&open), Arc::clone(&opened));
    let slow = server::scripted(move |mut stream| {
        let (open, opened) = counted.clone();
        async move {
            open.fetch_add(1, Ordering::SeqCst);
            opened.fetch_add(1, Ordering::SeqCst);
            let mut seen = Vec::new();
            while stream.read_buf(&mut seen).await.is_ok_and(|read| read > 0) {
                if seen.ends_with(b"{}") {
                    seen.clear();
                    tokio::time::sleep(Duration::from_millis(400)).await;
                    let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n";
                    let _ = tokio::io::AsyncWriteExt::write_all(&mut stream, answer).await;
                }
            }
            open.fetch_sub(1, Ordering::SeqCst);
        }
    })
    .await;
    let config = config_file(&[]);
    let base_url = format!("upstream.base_url=http://{slow}");
    let mut running = running(config.path(), &api, &[&base_url, "listen.workers=1"]).await;
    assert_eq!(
        (status(&running).await, open.load(Ordering::SeqCst)),
        (StatusCode::OK, 1)
    );

    replace(config.path(), "[upstream]\nresponse_timeout = \"100ms\"\n");
    reload(&mut running, "changed=\"upstream.response_timeout\"");
    assert_eq!(status(&running).await, StatusCode::GATEWAY_TIMEOUT);
    until(async || open.load(Ordering::SeqCst) == 0).await;

    replace(config.path(), "[upstream]\nresponse_timeout = \"60s\"\n");
    running.signal("-HUP");
    until(async || status(&running).await == StatusCode::OK).await;
    // A reload without changes has no effect on connections.
    let before = opened.load(Ordering::SeqCst);
    reload(&mut running, "no changes");
    assert_eq!(
        (status(&running).await, opened.load(Ordering::SeqCst)),
        (StatusCode::OK, before)
    );
    assert_eq!(running.end("-TERM"), 0);
}

/// The caller's stays, and so does what it was served by.
#[tokio::test]
async fn a_busy_connection_closes_after_its_request() {
    let api = api().await;
    let (open, go) = (Arc::new(AtomicUsize::new(0)), Arc::new(Semaphore::new(0)));
    let held = (Arc::clone(&open), Arc::clone(&go));
    let slow = server::scripted(move |mut stream| {
        let (open, go) = held.clone();
        async move {
            let _ = read_until(&mut stream, "\r\n\r\n").await;
            open.fetch_add(1, Ordering::SeqCst);
            go.acquire().await.unwrap().forget();
            let answer = b"HTTP/1.1 200 OK\r\nX-Odd-CASE: 1\r\ncontent-length: 0\r\n\r\n";
            tokio::io::AsyncWriteExt::write_all(&mut stream, answer)
                .await
                .unwrap();
            assert_eq!(stream.read(&mut [0]).await.unwrap(), 0);
            open.fetch_sub(1, Ordering::SeqCst);
        }
    })
    .await;
    let config = config_file(&[]);
    let base_url = format!("upstream.base_url=http://{slow}");
    let mut running = running(config.path(), &api, &[&base_url, "listen.workers=1"]).await;
    let mut caller = TcpStream::connect(running.addr()).await.unwrap();
    let head = format!("POST {START} HTTP/1.1\r\nhost: localhost\r\ncontent-length: 0\r\n\r\n");
    // The spelling of fields stays that of the listener, which needs a restart.
    for way in [
        "max_age = \"9s\"\n[listen]\nheader_case = \"preserve\"",
        "max_age = \"8s\"",
    ] {
        tokio::io::AsyncWriteExt::write_all(&mut caller, head.as_bytes())
            .await
            .unwrap();
        until(async || open.load(Ordering::SeqCst) == 1).await;
        replace(config.path(), &format!("[upstream]\n{way}\n"));
        let log = std::mem::take(&mut running.log);
        reload(&mut running, "changed=\"upstream.max_age\"");
        running.log.insert_str(0, &log);
        go.add_permits(1);
        let answer = read_until(&mut caller, "\r\n\r\n").await;
        assert!(
            answer.starts_with("HTTP/1.1 200") && answer.contains("x-odd-case: 1"),
            "{answer}"
        );
        until(async || open.load(Ordering::SeqCst) == 0).await;
    }
    assert_eq!(running.end("-TERM"), 0);
}

/// Both that on which a request is in flight, and that which opens when another way has taken its
/// place; the caller's stays.
#[tokio::test]
async fn old_http2_connections_close_once_idle() {
    let api = api().await;
    let (open, seen) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let go = Arc::new(Semaphore::new(0));
    let held = (Arc::clone(&open), Arc::clone(&seen), Arc::clone(&go));
    let slow = server::scripted(move |stream| {
        let (open, seen, go) = held.clone();
        async move {
            open.fetch_add(1, Ordering::SeqCst);
            go.acquire().await.unwrap().forget();
            let mut connection = h2::server::handshake(stream).await.unwrap();
            while let Some(Ok((_, mut respond))) = connection.accept().await {
                seen.fetch_add(1, Ordering::SeqCst);
                go.acquire().await.unwrap().forget();
                respond.send_response(Response::new(()), true).unwrap();
            }
            open.fetch_sub(1, Ordering::SeqCst);
        }
    })
    .await;
    let config = config_file(&[]);
    let base_url = format!("upstream.base_url=http://{slow}");
    let set = [&base_url, "upstream.http_version=2", "listen.workers=1"];
    let mut running = running(config.path(), &api, &set).await;
    let mut caller = TcpStream::connect(running.addr()).await.unwrap();
    let head = format!("POST {START} HTTP/1.1\r\nhost: localhost\r\ncontent-length: 0\r\n\r\n");
    let ways = [
        "response_timeout = \"50s\"",
        "response_timeout = \"50s\"\nmax_age = \"9s\"",
    ];
    for (way, key, is_open) in [
        (ways[0], "upstream.response_timeout", false),
        (ways[1], "upstream.max_age", true),
    ] {
        tokio::io::AsyncWriteExt::write_all(&mut caller, head.as_bytes())
            .await
            .unwrap();
        if is_open {
            go.add_permits(1);
            until(async || seen.load(Ordering::SeqCst) == 2).await;
        } else {
            until(async || open.load(Ordering::SeqCst) == 1).await;
        }
        replace(config.path(), &format!("[upstream]\n{way}\n"));
        reload(&mut running, &format!("changed={key:?}"));
        go.add_permits(if is_open { 1 } else { 2 });
        let answer = read_until(&mut caller, "\r\n\r\n").await;
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
        until(async || open.load(Ordering::SeqCst) == 0).await;
    }
    assert_eq!(running.end("-TERM"), 0);
}

/// The configuration does not change, and nobody sends a signal.
#[tokio::test]
async fn a_replaced_upstream_ca_file_is_read() {
    let api = api().await;
    let secured = server::tls(&[], async |mut stream| {
        let mut seen = [0; 4096];
        while stream.read(&mut seen).await.is_ok_and(|read| read > 0) {
            let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n";
            let _ = tokio::io::AsyncWriteExt::write_all(&mut stream, answer).await;
        }
    })
    .await;
    let right = secured.ca_file.strip_prefix("upstream.ca_file=").unwrap();
    let other = rcgen::generate_simple_self_signed(["localhost".to_owned()])
        .unwrap()
        .cert
        .pem();
    let ca_file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(ca_file.path(), other).unwrap();
    let config = config_file(&[]);
    let values = [
        format!("upstream.base_url={}", secured.base_url),
        format!("upstream.ca_file={}", ca_file.path().display()),
    ];
    let set = values.each_ref().map(String::as_str);
    let mut running = running(config.path(), &api, &set).await;
    assert_eq!(status(&running).await, StatusCode::BAD_GATEWAY);
    std::fs::copy(right, ca_file.path()).unwrap();
    running.read_until("changed=\"upstream.ca_file (its content)\"");
    assert_eq!(status(&running).await, StatusCode::OK);
    reload(&mut running, "no changes");
    assert_eq!(running.end("-TERM"), 0);
}
