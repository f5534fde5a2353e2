//! Settings that are changed while the proxy runs: how a token is got, how long is waited, what is
//! logged.

use std::time::{Duration, Instant};

use http::{Request, StatusCode};
use http_body_util::Full;
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;
use tokio::task::spawn_blocking;
use wiremock::matchers::{body_string_contains, path};
use wiremock::{Mock, ResponseTemplate};

use crate::ops::reload::{content, replace, running};
use crate::support::caller::{json, post, raw, send, until};
use crate::support::configured_callers::config_file;
use crate::support::process::Running;
use crate::support::{answer, forwarded, granting, token_calls, token_endpoint};

pub(crate) const START: &str = "/v2/captain/journey/start";

pub(crate) async fn status(running: &Running) -> StatusCode {
    send(running.addr(), post(START)).await.status()
}

/// Reads the file again, and waits until the log says `logged`.
pub(crate) fn reload(running: &mut Running, logged: &str) {
    running.signal("-HUP");
    running.read_until(logged);
}

#[tokio::test]
async fn a_new_client_takes_over_without_a_gap() {
    let api = wiremock::MockServer::start().await;
    Mock::given(path("/as/token.oauth2"))
        .and(body_string_contains("client_id=new"))
        .respond_with(granting("new-token", 3600).set_delay(Duration::from_secs(1)))
        .mount(&api)
        .await;
    Mock::given(path("/as/token.oauth2"))
        .respond_with(granting("old-token", 3600))
        .mount(&api)
        .await;
    answer(&api, ResponseTemplate::new(200)).await;
    let config = config_file(&["[token]\nclient_id = \"old\"\n".to_owned()]);
    let mut running = running(config.path(), &api, &[]).await;
    assert_eq!(status(&running).await, StatusCode::OK);

    // How long is waited is no reason to ask.
    replace(
        config.path(),
        "[token]\nclient_id = \"old\"\ntimeout = \"9s\"\nwait_timeout = \"3s\"\n",
    );
    reload(
        &mut running,
        "changed=\"token.timeout, token.wait_timeout\"",
    );
    assert_eq!(
        (status(&running).await, token_calls(&api).await),
        (StatusCode::OK, 1)
    );

    replace(
        config.path(),
        "[token]\nclient_id = \"new\"\nscope = \"gbg.token other\"\n",
    );
    reload(
        &mut running,
        "changed=\"token.client_id, token.scope, token.timeout, token.wait_timeout\"",
    );
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
    let forms: Vec<_> = asked
        .iter()
        .filter(|asked| asked.url.path() == "/as/token.oauth2")
        .collect();
    assert_eq!(forms.len(), 3);
    assert!(String::from_utf8_lossy(&forms[1].body).contains("scope=gbg.token+other"));
    let sent = forwarded(&api).await;
    assert!(
        sent.iter()
            .all(|sent| sent.headers.contains_key("authorization"))
    );
    assert_eq!(running.end("-TERM"), 0);
}

#[tokio::test]
async fn wait_timeout_and_max_in_flight_change() {
    let api = content().await;
    let config = config_file(&["[token]\nwait_timeout = \"5m\"\n".to_owned()]);
    let mut lonely = running(config.path(), &api, &["token.endpoint=http://127.0.0.1:1/"]).await;
    replace(config.path(), "[token]\nwait_timeout = \"50ms\"\n");
    reload(&mut lonely, "changed=\"token.wait_timeout\"");
    assert_eq!(status(&lonely).await, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(lonely.end("-TERM"), 0);

    Mock::given(path("/v2/captain/slow"))
        .respond_with(ResponseTemplate::new(200).set_delay(Duration::from_secs(30)))
        .with_priority(1)
        .mount(&api)
        .await;
    let mut running = running(config.path(), &api, &["drain.timeout=1ms"]).await;
    tokio::spawn(raw(
        running.addr(),
        "GET /v2/captain/slow HTTP/1.1\r\nhost: localhost\r\n\r\n",
    ));
    until(async || forwarded(&api).await.len() == 1).await;
    assert_eq!(status(&running).await, StatusCode::OK);
    replace(config.path(), "[limits]\nmax_in_flight = 1\nqueue = 0\n");
    reload(
        &mut running,
        "changed=\"limits.max_in_flight, limits.queue, token.wait_timeout\"",
    );
    assert_eq!(status(&running).await, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(
        spawn_blocking(move || running.end("-TERM")).await.unwrap(),
        0
    );
}

/// A secret is for one endpoint, and a token for one API: they change together with where they go,
/// which is at a restart.
#[tokio::test]
async fn destinations_change_only_by_a_restart() {
    let api = content().await;
    let places = |api: &str, endpoint: &str, client: &str| {
        format!(
            "[upstream]\nbase_url = \"{api}\"\n[token]\nendpoint = \"{endpoint}\"\nclient_id = \"{client}\"\n"
        )
    };
    let (here, endpoint) = (api.uri(), token_endpoint(&api));
    let config = config_file(&[places(&here, &endpoint, "old")]);
    let path = config.path().to_owned();
    let mut running = spawn_blocking(move || Running::start_placed_by(&path))
        .await
        .unwrap();
    assert_eq!(status(&running).await, StatusCode::OK);
    for (text, key) in [
        (
            places("http://127.0.0.1:1", &endpoint, "new"),
            "upstream.base_url",
        ),
        (
            places(&here, "http://127.0.0.1:1/", "new"),
            "token.endpoint",
        ),
    ] {
        replace(config.path(), &text);
        reload(
            &mut running,
            &format!("{key} changed, which needs a restart"),
        );
        assert_eq!(status(&running).await, StatusCode::OK);
    }
    assert_eq!(token_calls(&api).await, 1);
    assert_eq!(running.end("-TERM"), 0);
}

#[tokio::test]
async fn the_log_level_changes() {
    let api = content().await;
    let config = config_file(&[]);
    let mut running = running(config.path(), &api, &[]).await;
    assert_eq!(status(&running).await, StatusCode::OK);
    running.read_until("request request_id=");
    // At this level the reload itself is not logged.
    replace(config.path(), "[log]\nlevel = \"error\"\n");
    running.signal("-HUP");
    let admin = running.admin();
    let reloads = async || {
        let status = Request::get("/status")
            .header("host", "localhost")
            .body(Full::default())
            .unwrap();
        json(&send(admin, status).await)["configuration"]["reloads"].clone()
    };
    until(async || reloads().await == 1).await;
    let quiet = Request::post(START)
        .header("host", "localhost")
        .header("x-proxy-request-id", "quiet-one");
    let quiet = send(running.addr(), quiet.body(Full::default()).unwrap()).await;
    assert_eq!(quiet.status(), StatusCode::OK);

    replace(config.path(), "[log]\nlevel = \"info\"\n");
    reload(&mut running, "configuration reloaded why=");
    let loud = Request::post(START)
        .header("host", "localhost")
        .header("x-proxy-request-id", "loud-one");
    send(running.addr(), loud.body(Full::default()).unwrap()).await;
    running.read_until("loud-one");
    assert_eq!(running.end("-TERM"), 0);
    assert!(!running.log.contains("quiet-one"), "{}", running.log);
}

/// Also for a connection that is open, at the next look at it.
#[tokio::test]
async fn caller_and_drain_timeouts_change() {
    let api = content().await;
    Mock::given(path("/v2/captain/slow"))
        .respond_with(ResponseTemplate::new(200).set_delay(Duration::from_secs(30)))
        .with_priority(1)
        .mount(&api)
        .await;
    let config = config_file(&["[listen]\nheader_timeout = \"300ms\"\n".to_owned()]);
    let mut running = running(config.path(), &api, &[]).await;
    let mut idle = TcpStream::connect(running.addr()).await.unwrap();
    let head = format!("POST {START} HTTP/1.1\r\nhost: localhost\r\ncontent-length: 0\r\n\r\n");
    tokio::io::AsyncWriteExt::write_all(&mut idle, head.as_bytes())
        .await
        .unwrap();
    assert!(idle.read(&mut [0; 4096]).await.unwrap() > 0);

    replace(
        config.path(),
        "[listen]\nheader_timeout = \"300ms\"\nkeep_alive_timeout = \"100ms\"\n[drain]\ntimeout = \"100ms\"\ndelay = \"1s\"\n",
    );
    reload(
        &mut running,
        "changed=\"drain.delay, drain.timeout, listen.keep_alive_timeout\"",
    );
    assert_eq!(
        idle.read(&mut [0; 4096]).await.unwrap(),
        0,
        "it is idle, and stays open"
    );

    let addr = running.addr();
    let slow = tokio::spawn(raw(
        addr,
        "GET /v2/captain/slow HTTP/1.1\r\nhost: localhost\r\n\r\n",
    ));
    until(async || {
        forwarded(&api)
            .await
            .iter()
            .any(|sent| sent.url.path() == "/v2/captain/slow")
    })
    .await;
    let began = Instant::now();
    let (code, running) = spawn_blocking(move || (running.end("-TERM"), running))
        .await
        .unwrap();
    assert_eq!(code, 0);
    assert!(
        began.elapsed() >= Duration::from_secs(1),
        "drain.delay has not passed"
    );
    assert!(
        running.log.contains("signal=\"SIGTERM\" timeout=100ms"),
        "{}",
        running.log
    );
    assert!(
        running.log.contains("drain.timeout has passed"),
        "{}",
        running.log
    );
    assert!(!slow.await.unwrap().contains("200 OK"));
}
