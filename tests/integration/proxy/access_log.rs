//! Log lines of a request, and what must not be in them.

use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::time::Duration;

use http::{Request, StatusCode};
use http_body_util::Full;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::timeout;
use wiremock::ResponseTemplate;

use crate::support::caller::{PATIENCE, assert_ok, post, read_until, send};
use crate::support::process::Running;
use crate::support::server::{http2, scripted};
use crate::support::{CLIENT_SECRET, TOKEN, answer, api, token_endpoint};

#[tokio::test]
async fn each_request_has_one_line_without_data() {
    let api = api().await;
    let template = ResponseTemplate::new(201)
        .insert_header("x-request-id", "gbg-7")
        .set_body_string("answer-data");
    answer(&api, template).await;
    let mut running = Running::start_before(&api.uri(), &api, &["log.level=trace"]);

    let mut req = post("/v2/captain/journey/start?query-data=1");
    req.headers_mut()
        .insert("x-field", "field-data".parse().unwrap());
    req.headers_mut()
        .insert("authorization", "Bearer caller-data".parse().unwrap());
    *req.body_mut() = "body-data".into();
    assert_eq!(
        send(running.addr(), req).await.status(),
        StatusCode::CREATED
    );
    send(running.addr(), post("/elsewhere")).await;
    assert_eq!(running.end("-TERM"), 0);

    let log = &running.log;
    let lines: Vec<_> = log
        .lines()
        .filter(|line| line.contains(" request request_id="))
        .collect();
    assert_eq!(lines.len(), 2, "{log}");
    for part in [
        "method=\"POST\"",
        "path=\"/v2/captain/journey/start\"",
        "status=201",
        "source=\"gbg\"",
        "bytes_out=11",
        "gbg_request_id=\"gbg-7\"",
    ] {
        assert!(lines[0].contains(part), "{part} is not in {}", lines[0]);
    }
    assert!(
        lines[1].contains("status=404 source=\"proxy\" reason=\"path_unknown\""),
        "{}",
        lines[1]
    );
    for data in [
        "query-data",
        "field-data",
        "caller-data",
        "body-data",
        "answer-data",
        TOKEN,
        CLIENT_SECRET,
    ] {
        assert!(!log.contains(data), "{data} is in the log:\n{log}");
    }
}

#[tokio::test]
async fn the_line_counts_retries_and_ignores_unrequested_bodies() {
    let tokens = api().await;
    let connections = Arc::new(AtomicUsize::new(0));
    let api = scripted(move |mut stream| {
        let is_first = connections.fetch_add(1, SeqCst) == 0;
        async move {
            read_until(&mut stream, "\r\n\r\n").await;
            if !is_first {
                let answer = b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 4\r\n\r\n";
                stream.write_all(answer).await.unwrap();
            }
        }
    })
    .await;
    let mut running = Running::start_before(&format!("http://{api}"), &tokens, &[]);
    for _ in 0..2 {
        let head = Request::head("/v2/captain/x")
            .header("host", "a")
            .body(Full::default())
            .unwrap();
        assert_eq!(send(running.addr(), head).await.status(), StatusCode::OK);
    }
    assert_eq!(running.end("-TERM"), 0);

    let lines: Vec<_> = running
        .log
        .lines()
        .filter(|line| line.contains(" request request_id="))
        .collect();
    assert!(
        lines[0].contains(" retried=true") && !lines[1].contains(" retried="),
        "{lines:?}"
    );
    for line in lines {
        assert!(
            line.contains("method=\"HEAD\"") && line.contains("bytes_out=0"),
            "{line}"
        );
        assert!(!line.contains("outcome="), "{line}");
    }
}

#[tokio::test]
async fn without_access_log_only_failures_are_logged() {
    let api = api().await;
    let set = [
        format!("token.endpoint={}", token_endpoint(&api)),
        "log.access=false".to_owned(),
    ];
    let mut running = Running::start(&[&set[0], &set[1]]);
    assert_eq!(
        send(running.addr(), post("/v2/captain/x")).await.status(),
        StatusCode::BAD_GATEWAY
    );
    assert_eq!(
        send(running.addr(), post("/elsewhere")).await.status(),
        StatusCode::NOT_FOUND
    );
    assert_eq!(running.end("-TERM"), 0);
    assert!(
        !running.log.contains(" request request_id="),
        "{}",
        running.log
    );
    let failures: Vec<_> = running
        .log
        .lines()
        .filter(|line| line.contains("WARN"))
        .collect();
    assert_eq!(failures.len(), 1, "{}", running.log);
    assert!(
        failures[0].contains("upstream_unreachable") && failures[0].contains("refused"),
        "{failures:?}"
    );
}

#[tokio::test]
async fn exhausted_open_files_are_logged_once() {
    let api = api().await;
    answer(&api, ResponseTemplate::new(200)).await;
    let mut running = Running::start_before(&api.uri(), &api, &["listen.workers=1"]);
    running.read_until("received an access token account=\"default\"");
    running.limit_open_files(40);

    let crowd: Vec<_> = (0..100)
        .map(|_| TcpStream::connect(running.addr()).unwrap())
        .collect();
    running.read_until("cannot accept connections");
    // Still out of files for some rounds of the accept loop, which have nothing new to say.
    tokio::time::sleep(Duration::from_millis(500)).await;
    drop(crowd);

    assert_ok(running.addr(), "/v2/captain/x").await;
    assert_eq!(running.end("-TERM"), 0);
    assert_eq!(
        running.log.matches("cannot accept connections").count(),
        1,
        "{}",
        running.log
    );
}

#[tokio::test]
async fn callers_leave_files_for_upstream_connections() {
    let api = api().await;
    answer(&api, ResponseTemplate::new(200)).await;
    let set = [
        format!("upstream.base_url={}", api.uri()),
        format!("token.endpoint={}", token_endpoint(&api)),
    ];
    let mut running = Running::start_with_open_files(64, &[&set[0], &set[1], "listen.workers=1"]);
    assert!(
        running.log.contains("reduced listen.max_connections"),
        "{}",
        running.log
    );

    let addr = running.addr();
    let callers: Vec<_> = (0..100)
        .map(|_| tokio::spawn(async move { send(addr, post("/v2/captain/x")).await.status() }))
        .collect();
    for caller in callers {
        assert_eq!(caller.await.unwrap(), StatusCode::OK);
    }
    assert_eq!(running.end("-TERM"), 0);
}

#[tokio::test]
async fn a_disconnected_caller_is_logged_as_such() {
    let endless = scripted(|mut stream: tokio::net::TcpStream| async move {
        read_until(&mut stream, "\r\n\r\n").await;
        let head = b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\nthe first bytes";
        stream.write_all(head).await.unwrap();
        let _ = stream.read_to_end(&mut Vec::new()).await;
    })
    .await;
    let api = api().await;
    let mut running = Running::start_before(&format!("http://{endless}"), &api, &[]);
    let mut caller = tokio::net::TcpStream::connect(running.addr())
        .await
        .unwrap();
    caller
        .write_all(b"GET /v2/captain/x HTTP/1.1\r\nHost: a\r\n\r\n")
        .await
        .unwrap();
    read_until(&mut caller, "the first bytes").await;
    drop(caller);
    running.read_until("status=200 source=\"gbg\" outcome=\"cut off\" bytes_in=0 bytes_out=15");
    assert_eq!(running.end("-TERM"), 0);
}

/// The connection of an HTTP/1.1 caller asks no further when all of the length has come.
#[tokio::test]
async fn a_late_end_of_stream_is_not_truncation() {
    let (release, released) = tokio::sync::watch::channel(false);
    let upstream = http2(100, move |_, mut connection| {
        let released = released.clone();
        async move {
            while let Some(Ok((_, mut respond))) = connection.accept().await {
                let mut released = released.clone();
                tokio::spawn(async move {
                    let res = http::Response::builder()
                        .header("content-length", 3)
                        .body(())
                        .unwrap();
                    let mut stream = respond.send_response(res, false).unwrap();
                    stream.send_data("all".into(), false).unwrap();
                    released.wait_for(|released| *released).await.unwrap();
                    let _ = stream.send_data("".into(), true);
                });
            }
        }
    });
    let api = api().await;
    let mut running = Running::start_before(
        &format!("http://{}", upstream.await),
        &api,
        &["upstream.http_version=2"],
    );
    assert_eq!(
        send(running.addr(), post("/v2/captain/x")).await.body(),
        "all"
    );
    running.read_until("bytes_out=3 ");
    assert!(!running.log.contains("outcome="), "{}", running.log);
    release.send_replace(true);
    assert_eq!(running.end("-TERM"), 0);
}

#[tokio::test]
async fn a_response_longer_than_its_length_breaks_off() {
    let upstream = http2(100, |_, mut connection| async move {
        while let Some(Ok((_, mut respond))) = connection.accept().await {
            let res = http::Response::builder()
                .header("content-length", 3)
                .body(())
                .unwrap();
            let mut stream = respond.send_response(res, false).unwrap();
            stream.send_data("all".into(), false).unwrap();
            let _ = stream.send_data("more".into(), true);
        }
    });
    let api = api().await;
    let mut running = Running::start_before(
        &format!("http://{}", upstream.await),
        &api,
        &["upstream.http_version=2"],
    );
    let stream = tokio::net::TcpStream::connect(running.addr())
        .await
        .unwrap();
    let (mut sender, connection) = h2::client::handshake(stream).await.unwrap();
    let connection = tokio::spawn(connection);
    let req = Request::get("http://a/v2/captain/x").body(()).unwrap();
    let (res, _) = sender.send_request(req, true).unwrap();
    let read = async {
        let mut body = res.await?.into_body();
        while let Some(data) = body.data().await {
            data?;
        }
        Ok::<_, h2::Error>(())
    };
    let ended = timeout(PATIENCE, read).await.expect("the response goes on");
    assert!(ended.is_err());
    drop(sender);
    // `end` blocks this thread: the connection could not take part in the drain.
    connection.abort();
    let _ = connection.await;
    running.read_until("bytes_out=");
    assert!(
        running.log.contains("outcome=\"the response broke off\""),
        "{}",
        running.log
    );
    assert_eq!(running.end("-TERM"), 0);
}

#[tokio::test]
async fn odd_http2_is_not_quoted_in_the_log() {
    let api = api().await;
    let set = [
        format!("token.endpoint={}", token_endpoint(&api)),
        "log.level=trace".to_owned(),
    ];
    let mut running = Running::start(&[&set[0], &set[1]]);
    let mut caller = tokio::net::TcpStream::connect(running.addr())
        .await
        .unwrap();
    caller
        .write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0")
        .await
        .unwrap();
    // HEADERS with `:path` of /x? and a mark, after a space that no path may have; literal fields
    // (RFC 7541 6.2.2).
    let mut block = vec![0x82, 0x86, 0x04, 14];
    block.extend_from_slice(b"/x y?q=markpath");
    block[3] = 15;
    let mut frame = vec![0, 0, block.len() as u8, 1, 5, 0, 0, 0, 1];
    frame.extend_from_slice(&block);
    // GOAWAY with debug data.
    let data = b"markdebug";
    frame.extend_from_slice(&[
        0,
        0,
        8 + data.len() as u8,
        7,
        0,
        0,
        0,
        0,
        0,
        0,
        0,
        0,
        0,
        0,
        0,
        0,
        2,
    ]);
    frame.extend_from_slice(data);
    caller.write_all(&frame).await.unwrap();
    let _ = caller.read_to_end(&mut Vec::new()).await;
    assert_eq!(running.end("-TERM"), 0);
    for mark in ["markpath", "markdebug"] {
        assert!(
            !running.log.contains(mark),
            "{mark} is in the log:\n{}",
            running.log
        );
    }
}
