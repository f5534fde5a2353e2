//! Settings that are changed while the proxy runs: how the API is reached, how a token is got, how long is waited, what is
//! logged.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use http::{Request, Response, StatusCode};
use http_body_util::Full;
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio::task::spawn_blocking;
use wiremock::matchers::{body_string_contains, path};
use wiremock::{Mock, ResponseTemplate};

use crate::reload::{content, replace, running};
use crate::support::caller::{json, post, raw, read_until, send, until};
use crate::support::known::file;
use crate::support::process::Running;
use crate::support::{answer, api, forwarded, granting, server, token_calls, token_endpoint};

const START: &str = "/v2/captain/journey/start";

async fn status(running: &Running) -> StatusCode {
    send(running.addr(), post(START)).await.status()
}

/// Reads the file again, and waits until the log says `told`.
fn reload(running: &mut Running, told: &str) {
    running.signal("-HUP");
    running.read_until(told);
}

#[tokio::test]
async fn how_long_the_api_is_waited_for_changes_and_its_old_connections_are_closed() {
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
    let config = file(&[]);
    let base_url: &'static str = format!("upstream.base_url=http://{slow}").leak();
    let set: &'static [&'static str] = vec![base_url, "listen.workers=1"].leak();
    let mut running = running(config.path(), &api, set).await;
    assert_eq!((status(&running).await, open.load(Ordering::SeqCst)), (StatusCode::OK, 1));

    replace(config.path(), "[upstream]\nresponse_timeout = \"100ms\"\n");
    reload(&mut running, "changed=\"upstream.response_timeout\"");
    assert_eq!(status(&running).await, StatusCode::GATEWAY_TIMEOUT);
    until(async || open.load(Ordering::SeqCst) == 0).await;

    replace(config.path(), "[upstream]\nresponse_timeout = \"60s\"\n");
    running.signal("-HUP");
    until(async || status(&running).await == StatusCode::OK).await;
    // What says the same has no effect on connections.
    let before = opened.load(Ordering::SeqCst);
    reload(&mut running, "says the same");
    assert_eq!((status(&running).await, opened.load(Ordering::SeqCst)), (StatusCode::OK, before));
    assert_eq!(running.end("-TERM"), 0);
}

/// The caller's stays, and so does what it was served by.
#[tokio::test]
async fn a_connection_on_which_a_request_is_in_flight_at_a_change_is_closed_after_it() {
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
            tokio::io::AsyncWriteExt::write_all(&mut stream, answer).await.unwrap();
            assert_eq!(stream.read(&mut [0]).await.unwrap(), 0);
            open.fetch_sub(1, Ordering::SeqCst);
        }
    })
    .await;
    let config = file(&[]);
    let base_url: &'static str = format!("upstream.base_url=http://{slow}").leak();
    let set: &'static [&'static str] = vec![base_url, "listen.workers=1"].leak();
    let mut running = running(config.path(), &api, set).await;
    let mut caller = TcpStream::connect(running.addr()).await.unwrap();
    let head = format!("POST {START} HTTP/1.1\r\nhost: localhost\r\ncontent-length: 0\r\n\r\n");
    // The spelling of fields stays that of the listener, which needs a restart.
    for way in ["max_age = \"9s\"\n[listen]\nheader_case = \"preserve\"", "max_age = \"8s\""] {
        tokio::io::AsyncWriteExt::write_all(&mut caller, head.as_bytes()).await.unwrap();
        until(async || open.load(Ordering::SeqCst) == 1).await;
        replace(config.path(), &format!("[upstream]\n{way}\n"));
        let log = std::mem::take(&mut running.log);
        reload(&mut running, "changed=\"upstream.max_age\"");
        running.log.insert_str(0, &log);
        go.add_permits(1);
        let answer = read_until(&mut caller, "\r\n\r\n").await;
        assert!(answer.starts_with("HTTP/1.1 200") && answer.contains("x-odd-case: 1"), "{answer}");
        until(async || open.load(Ordering::SeqCst) == 0).await;
    }
    assert_eq!(running.end("-TERM"), 0);
}

/// Both that on which a request is in flight, and that which opens when another way has taken its place; the caller's stays.
#[tokio::test]
async fn old_http2_connections_are_closed_as_soon_as_nothing_is_in_flight_on_them() {
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
    let config = file(&[]);
    let base_url: &'static str = format!("upstream.base_url=http://{slow}").leak();
    let set: &'static [&'static str] = vec![base_url, "upstream.http_version=2", "listen.workers=1"].leak();
    let mut running = running(config.path(), &api, set).await;
    let mut caller = TcpStream::connect(running.addr()).await.unwrap();
    let head = format!("POST {START} HTTP/1.1\r\nhost: localhost\r\ncontent-length: 0\r\n\r\n");
    let ways = ["response_timeout = \"50s\"", "response_timeout = \"50s\"\nmax_age = \"9s\""];
    for (way, told, is_open) in
        [(ways[0], "upstream.response_timeout", false), (ways[1], "upstream.max_age", true)]
    {
        tokio::io::AsyncWriteExt::write_all(&mut caller, head.as_bytes()).await.unwrap();
        if is_open {
            go.add_permits(1);
            until(async || seen.load(Ordering::SeqCst) == 2).await;
        } else {
            until(async || open.load(Ordering::SeqCst) == 1).await;
        }
        replace(config.path(), &format!("[upstream]\n{way}\n"));
        reload(&mut running, &format!("changed={told:?}"));
        go.add_permits(if is_open { 1 } else { 2 });
        let answer = read_until(&mut caller, "\r\n\r\n").await;
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
        until(async || open.load(Ordering::SeqCst) == 0).await;
    }
    assert_eq!(running.end("-TERM"), 0);
}

/// The file has the same name, and the configuration the same text: SIGHUP alone takes it in.
#[tokio::test]
async fn certificates_that_the_api_is_trusted_by_are_read_again() {
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
    let other = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap().cert.pem();
    let ca_file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(ca_file.path(), other).unwrap();
    let config = file(&[]);
    let values = [
        format!("upstream.base_url={}", secured.base_url),
        format!("upstream.ca_file={}", ca_file.path().display()),
    ];
    let set: Vec<&'static str> = values.map(|value| &*value.leak()).into();
    let mut running = running(config.path(), &api, set.leak()).await;
    assert_eq!(status(&running).await, StatusCode::BAD_GATEWAY);
    std::fs::copy(right, ca_file.path()).unwrap();
    reload(&mut running, "says the same");
    assert_eq!(status(&running).await, StatusCode::OK);
    assert_eq!(running.end("-TERM"), 0);
}

#[tokio::test]
async fn another_client_gets_a_token_at_once_and_the_old_one_serves_until_then() {
    let api = wiremock::MockServer::start().await;
    Mock::given(path("/as/token.oauth2"))
        .and(body_string_contains("client_id=new"))
        .respond_with(granting("new-token", 3600).set_delay(Duration::from_secs(1)))
        .mount(&api)
        .await;
    Mock::given(path("/as/token.oauth2")).respond_with(granting("old-token", 3600)).mount(&api).await;
    answer(&api, ResponseTemplate::new(200)).await;
    let config = file(&["[token]\nclient_id = \"old\"\n".to_owned()]);
    let mut running = running(config.path(), &api, &[]).await;
    assert_eq!(status(&running).await, StatusCode::OK);

    // How long is waited is no reason to ask.
    replace(config.path(), "[token]\nclient_id = \"old\"\ntimeout = \"9s\"\nwait = \"3s\"\n");
    reload(&mut running, "changed=\"token.timeout, token.wait\"");
    assert_eq!((status(&running).await, token_calls(&api).await), (StatusCode::OK, 1));

    replace(config.path(), "[token]\nclient_id = \"new\"\nscope = \"gbg.token other\"\n");
    reload(&mut running, "changed=\"token.client_id, token.scope, token.timeout, token.wait\"");
    until(async || {
        assert_eq!(status(&running).await, StatusCode::OK);
        let last = forwarded(&api).await.pop().unwrap();
        last.headers["authorization"] == "Bearer new-token"
    })
    .await;
    // And back again, as if the other had never been.
    replace(config.path(), "[token]\nclient_id = \"old\"\n");
    running.signal("-HUP");
    until(async || {
        assert_eq!(status(&running).await, StatusCode::OK);
        forwarded(&api).await.pop().unwrap().headers["authorization"] == "Bearer old-token"
    })
    .await;
    let asked = api.received_requests().await.unwrap();
    let forms: Vec<_> = asked.iter().filter(|asked| asked.url.path() == "/as/token.oauth2").collect();
    assert_eq!(forms.len(), 3);
    assert!(String::from_utf8_lossy(&forms[1].body).contains("scope=gbg.token+other"));
    let sent = forwarded(&api).await;
    assert!(sent.iter().all(|sent| sent.headers.contains_key("authorization")));
    assert_eq!(running.end("-TERM"), 0);
}

#[tokio::test]
async fn how_long_is_waited_for_a_token_and_how_much_may_be_in_flight_changes() {
    let api = content().await;
    let config = file(&["[token]\nwait = \"5m\"\n".to_owned()]);
    let mut lonely = running(config.path(), &api, &["token.endpoint=http://127.0.0.1:1/"]).await;
    replace(config.path(), "[token]\nwait = \"50ms\"\n");
    reload(&mut lonely, "changed=\"token.wait\"");
    assert_eq!(status(&lonely).await, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(lonely.end("-TERM"), 0);

    Mock::given(path("/v2/captain/slow"))
        .respond_with(ResponseTemplate::new(200).set_delay(Duration::from_secs(30)))
        .with_priority(1)
        .mount(&api)
        .await;
    let mut running = running(config.path(), &api, &["drain.timeout=1ms"]).await;
    tokio::spawn(raw(running.addr(), "GET /v2/captain/slow HTTP/1.1\r\nhost: localhost\r\n\r\n"));
    until(async || forwarded(&api).await.len() == 1).await;
    assert_eq!(status(&running).await, StatusCode::OK);
    replace(config.path(), "[limits]\nmax_in_flight = 1\nqueue = 0\n");
    reload(&mut running, "changed=\"limits.max_in_flight, limits.queue, token.wait\"");
    assert_eq!(status(&running).await, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(spawn_blocking(move || running.end("-TERM")).await.unwrap(), 0);
}

/// A secret is for one endpoint, and a token for one API: they change together with where they go, which is at a restart.
#[tokio::test]
async fn where_requests_and_credentials_go_changes_by_a_restart_alone_and_nothing_with_it() {
    let api = content().await;
    let places = |api: &str, endpoint: &str, client: &str| {
        format!(
            "[upstream]\nbase_url = \"{api}\"\n[token]\nendpoint = \"{endpoint}\"\nclient_id = \"{client}\"\n"
        )
    };
    let (here, endpoint) = (api.uri(), token_endpoint(&api));
    let config = file(&[places(&here, &endpoint, "old")]);
    let path = config.path().to_owned();
    let mut running = spawn_blocking(move || Running::start_placed_by(&path)).await.unwrap();
    assert_eq!(status(&running).await, StatusCode::OK);
    for (text, key) in [
        (places("http://127.0.0.1:1", &endpoint, "new"), "upstream.base_url"),
        (places(&here, "http://127.0.0.1:1/", "new"), "token.endpoint"),
    ] {
        replace(config.path(), &text);
        reload(&mut running, &format!("{key} is another one, which needs a restart"));
        assert_eq!(status(&running).await, StatusCode::OK);
    }
    assert_eq!(token_calls(&api).await, 1);
    assert_eq!(running.end("-TERM"), 0);
}

#[tokio::test]
async fn how_much_is_logged_changes() {
    let api = content().await;
    let config = file(&[]);
    let mut running = running(config.path(), &api, &[]).await;
    assert_eq!(status(&running).await, StatusCode::OK);
    running.read_until("request request_id=");
    // At this level the reload itself is not told.
    replace(config.path(), "[log]\nlevel = \"error\"\n");
    running.signal("-HUP");
    let admin = running.admin();
    let reloads = async || {
        let status = Request::get("/status").header("host", "localhost").body(Full::default()).unwrap();
        json(&send(admin, status).await)["configuration"]["reloads"].clone()
    };
    until(async || reloads().await == 1).await;
    let quiet = Request::post(START).header("host", "localhost").header("x-proxy-request-id", "quiet-one");
    let quiet = send(running.addr(), quiet.body(Full::default()).unwrap()).await;
    assert_eq!(quiet.status(), StatusCode::OK);

    replace(config.path(), "[log]\nlevel = \"info\"\n");
    reload(&mut running, "is put in force");
    let loud = Request::post(START).header("host", "localhost").header("x-proxy-request-id", "loud-one");
    send(running.addr(), loud.body(Full::default()).unwrap()).await;
    running.read_until("loud-one");
    assert_eq!(running.end("-TERM"), 0);
    assert!(!running.log.contains("quiet-one"), "{}", running.log);
}

/// Also for a connection that is open, at the next look at it.
#[tokio::test]
async fn how_long_callers_and_the_end_are_waited_for_changes() {
    let api = content().await;
    Mock::given(path("/v2/captain/slow"))
        .respond_with(ResponseTemplate::new(200).set_delay(Duration::from_secs(30)))
        .with_priority(1)
        .mount(&api)
        .await;
    let config = file(&["[listen]\nheader_timeout = \"300ms\"\n".to_owned()]);
    let mut running = running(config.path(), &api, &[]).await;
    let mut idle = TcpStream::connect(running.addr()).await.unwrap();
    let head = format!("POST {START} HTTP/1.1\r\nhost: localhost\r\ncontent-length: 0\r\n\r\n");
    tokio::io::AsyncWriteExt::write_all(&mut idle, head.as_bytes()).await.unwrap();
    assert!(idle.read(&mut [0; 4096]).await.unwrap() > 0);

    replace(
        config.path(),
        "[listen]\nheader_timeout = \"300ms\"\nkeep_alive_timeout = \"100ms\"\n[drain]\ntimeout = \"100ms\"\ndelay = \"1s\"\n",
    );
    reload(&mut running, "changed=\"drain.delay, drain.timeout, listen.keep_alive_timeout\"");
    assert_eq!(idle.read(&mut [0; 4096]).await.unwrap(), 0, "it is idle, and stays open");

    let addr = running.addr();
    let slow = tokio::spawn(raw(addr, "GET /v2/captain/slow HTTP/1.1\r\nhost: localhost\r\n\r\n"));
    until(async || forwarded(&api).await.iter().any(|sent| sent.url.path() == "/v2/captain/slow")).await;
    let began = Instant::now();
    let (code, running) = spawn_blocking(move || (running.end("-TERM"), running)).await.unwrap();
    assert_eq!(code, 0);
    assert!(began.elapsed() >= Duration::from_secs(1), "drain.delay has not passed");
    assert!(running.log.contains("signal=\"SIGTERM\" timeout=100ms"), "{}", running.log);
    assert!(running.log.contains("drain.timeout has passed"), "{}", running.log);
    assert!(!slow.await.unwrap().contains("200 OK"));
}
