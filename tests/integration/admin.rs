//! What is told of the proxy, on a listener of its own.

use std::net::SocketAddr;
use std::time::Duration;

use http::{Request, StatusCode};
use http_body_util::Full;
use tokio::task::spawn_blocking;
use wiremock::ResponseTemplate;

use crate::support::caller::{Whole, json, post, raw, send, until};
use crate::support::known::Known;
use crate::support::process::{Running, text, with_client};
use crate::support::{Proxy, answer, api, server, token_endpoint};

const START: &str = "/v2/captain/journey/start";

async fn get(addr: SocketAddr, path: &str) -> Whole {
    send(addr, Request::get(path).header("host", "localhost").body(Full::default()).unwrap()).await
}

fn said(res: &Whole) -> String {
    String::from_utf8_lossy(res.body()).into_owned()
}

/// The value of the line of `metrics` that begins with `series` and a space.
fn value(metrics: &str, series: &str) -> f64 {
    let line = metrics.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
    line.unwrap_or_else(|| panic!("no {series} in {metrics}")).parse().unwrap()
}

#[tokio::test]
async fn who_has_a_token_is_ready_and_who_has_none_says_why() {
    let api = api().await;
    let proxy = Proxy::before(&api, &[]).await;
    until(async || get(proxy.admin(), "/readyz").await.status() == StatusCode::OK).await;
    for path in ["/livez", "/startupz"] {
        assert_eq!(get(proxy.admin(), path).await.status(), StatusCode::OK, "{path}");
    }

    let without = Proxy::start(&api.uri(), "http://127.0.0.1:1/", &[]).await;
    let res = get(without.admin(), "/readyz").await;
    assert_eq!(res.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert!(said(&res).contains("there is no access token"), "{res:?}");
    for path in ["/livez", "/startupz"] {
        assert_eq!(
            get(without.admin(), path).await.status(),
            StatusCode::OK,
            "{path}: it would be restarted for nothing"
        );
    }
    let status = json(&get(without.admin(), "/status").await);
    assert_eq!((&status["state"], &status["token"]["expires_in_seconds"]), (&"no_token".into(), &0.into()));
    assert!(status["mend"].as_str().unwrap().contains("doctor"), "{status}");
    until(async || {
        let status = json(&get(without.admin(), "/status").await);
        status["token"]["last_failure"]["reason"] == "unreachable"
    })
    .await;
}

#[tokio::test]
async fn a_drain_is_told_before_it_begins() {
    let api = api().await;
    answer(&api, ResponseTemplate::new(200)).await;
    let proxy = Proxy::before(&api, &["drain.delay=2s"]).await;
    let (addr, admin) = (proxy.addr(), proxy.admin());
    assert_eq!(send(addr, post(START)).await.status(), StatusCode::OK);
    let drained = tokio::spawn(proxy.shut_down());
    until(async || said(&get(admin, "/readyz").await).contains("about to end")).await;
    assert_eq!(send(addr, post(START)).await.status(), StatusCode::OK, "balancers may still send");
    assert_eq!(json(&get(admin, "/status").await)["state"], "draining");
    drained.await.unwrap();
}

#[tokio::test]
async fn what_is_counted_is_what_was_sent() {
    let api = api().await;
    answer(&api, ResponseTemplate::new(201).set_body_string("12345")).await;
    let (crm, web) = (Known::new("crm", ""), Known::new("web", "max_in_flight = 1"));
    let proxy = Proxy::knowing(&api, &[crm.table(), web.table()], &[]).await;
    for (known, times) in [(&crm, 3), (&web, 2)] {
        for _ in 0..times {
            let mut req = post(START);
            req.headers_mut().extend([known.shown("x-api-key", "")]);
            assert_eq!(send(proxy.addr(), req).await.status(), StatusCode::CREATED);
        }
    }
    send(proxy.addr(), post(START)).await;
    send(proxy.addr(), post("/elsewhere/4711")).await;
    // A request is counted when its connection has let go of it.
    until(async || json(&get(proxy.admin(), "/status").await)["requests"]["total"] == 7).await;

    let metrics = get(proxy.admin(), "/metrics").await;
    assert_eq!(metrics.headers()["content-type"], "text/plain; version=0.0.4; charset=utf-8");
    let metrics = said(&metrics);
    let of = |caller: &str, endpoint: &str, status: u16, source: &str| {
        format!(
            "gbg_proxy_requests_total{{caller=\"{caller}\",endpoint=\"{endpoint}\",status=\"{status}\",source=\"{source}\"}}"
        )
    };
    assert_eq!(value(&metrics, &of("crm", "journey/start", 201, "gbg")), 3.0);
    assert_eq!(value(&metrics, &of("web", "journey/start", 201, "gbg")), 2.0);
    assert_eq!(value(&metrics, &of("", "journey/start", 401, "proxy")), 1.0);
    assert_eq!(value(&metrics, &of("", "other", 404, "proxy")), 1.0);
    assert!(!metrics.contains("4711"), "a path is a label");
    assert_eq!(value(&metrics, "gbg_proxy_refusals_total{reason=\"caller_unknown\"}"), 1.0);
    let started = "{endpoint=\"journey/start\",source=\"gbg\"}";
    assert_eq!(value(&metrics, &format!("gbg_proxy_request_duration_seconds_count{started}")), 5.0);
    assert_eq!(value(&metrics, "gbg_proxy_upstream_duration_seconds_count{endpoint=\"journey/start\"}"), 5.0);
    assert_eq!(value(&metrics, "gbg_proxy_body_bytes_total{direction=\"received\"}"), 10.0);
    assert_eq!(value(&metrics, "gbg_proxy_in_flight"), 0.0);
    assert_eq!(value(&metrics, "gbg_proxy_queue"), 0.0);
    let left = value(&metrics, "gbg_proxy_token_expires_seconds");
    assert!((3000.0..=3600.0).contains(&left), "{left}");
    assert_eq!(value(&metrics, "gbg_proxy_token_generation"), 1.0);
    assert_eq!(value(&metrics, "gbg_proxy_token_fetches_total{outcome=\"ok\",reason=\"\"}"), 1.0);
    assert_eq!(value(&metrics, "gbg_proxy_connections_opened_total{side=\"downstream\"}"), 7.0);
    let opened = value(&metrics, "gbg_proxy_connections_opened_total{side=\"upstream\"}");
    let reused = value(&metrics, "gbg_proxy_connections_reused_total");
    assert_eq!(opened + reused, 5.0, "{metrics}");
    assert!(metrics.contains("# TYPE gbg_proxy_requests_total counter\n"), "{metrics}");
    assert!(!metrics.contains("# EOF") && !metrics.contains("# UNIT"), "{metrics}");
    let asked = Request::get("/metrics").header("host", "a");
    let asked = asked.header("accept", "application/openmetrics-text;version=1.0.0,text/plain;q=0.5");
    let open = send(proxy.admin(), asked.body(Full::default()).unwrap()).await;
    assert!(open.headers()["content-type"].to_str().unwrap().starts_with("application/openmetrics-text"));
    assert!(said(&open).contains("# TYPE gbg_proxy_requests counter\n") && said(&open).ends_with("# EOF\n"));
    for known in [&crm, &web] {
        assert!(!metrics.contains(&known.key));
    }

    let status = json(&get(proxy.admin(), "/status").await);
    assert_eq!(status["requests"]["by_caller"], serde_json::json!({ "crm": 3, "web": 2 }));
    assert_eq!(status["requests"]["by_source"], serde_json::json!({ "gbg": 5, "proxy": 2 }));
}

#[tokio::test]
async fn a_token_that_the_api_refuses_is_counted() {
    let api = api().await;
    answer(&api, ResponseTemplate::new(401)).await;
    let proxy = Proxy::before(&api, &[]).await;
    assert_eq!(send(proxy.addr(), post(START)).await.status(), StatusCode::UNAUTHORIZED);
    let metrics = said(&get(proxy.admin(), "/metrics").await);
    assert_eq!(value(&metrics, "gbg_proxy_upstream_unauthorized_total"), 1.0);
}

#[tokio::test]
async fn it_is_not_where_callers_come_in_and_web_pages_do_not_read_it() {
    let proxy = Proxy::before(&api().await, &[]).await;
    for path in ["/", "/livez", "/readyz", "/metrics", "/status", "/history", "/quit"] {
        assert_eq!(get(proxy.addr(), path).await.status(), StatusCode::NOT_FOUND, "{path}");
    }
    for (path, status) in [
        ("/", "403"),
        ("/status", "403"),
        ("/history", "403"),
        ("/quit", "403"),
        ("/metrics", "200"),
        ("/livez", "200"),
    ] {
        let asked = format!("GET {path} HTTP/1.1\r\nHost: evil.example\r\nConnection: close\r\n\r\n");
        let told = raw(proxy.admin(), asked).await;
        assert!(told.starts_with(&format!("HTTP/1.1 {status}")), "{path}: {told}");
    }
    let named = Proxy::before(&api().await, &["admin.hosts=[\"ops.example\"]"]).await;
    let asked = "GET /status HTTP/1.1\r\nHost: ops.example\r\nConnection: close\r\n\r\n";
    assert!(raw(named.admin(), asked).await.starts_with("HTTP/1.1 200"));
}

#[tokio::test]
async fn whoever_asks_for_nothing_that_is_there_is_told_what_is() {
    let proxy = Proxy::before(&api().await, &[]).await;
    let res = get(proxy.admin(), "/index.html").await;
    assert_eq!(res.status(), StatusCode::NOT_FOUND);
    assert!(said(&res).contains("/readyz"), "{res:?}");
    let res = send(proxy.admin(), post("/status")).await;
    assert_eq!(
        (res.status(), &res.headers()["allow"]),
        (StatusCode::METHOD_NOT_ALLOWED, &"GET, HEAD".parse().unwrap())
    );
    assert_eq!(
        send(proxy.admin(), post("/quit")).await.status(),
        StatusCode::METHOD_NOT_ALLOWED,
        "it is not allowed"
    );
}

/// A process that listens for it at an address of its own choice.
fn running(address: &str, set: &[&str]) -> Running {
    let address = format!("admin.address={address}");
    Running::start(&[&[address.as_str()], set].concat())
}

#[tokio::test]
async fn quit_ends_the_process_if_that_is_written() {
    let mut process = spawn_blocking(|| running("127.0.0.1:0", &["admin.quit=true"])).await.unwrap();
    let admin = process.admin();
    let res = get(admin, "/quit").await;
    assert_eq!(
        (res.status(), &res.headers()["allow"]),
        (StatusCode::METHOD_NOT_ALLOWED, &"POST".parse().unwrap())
    );
    let mut of_a_page = post("/quit");
    of_a_page.headers_mut().insert("origin", "https://evil.example".parse().unwrap());
    assert_eq!(send(admin, of_a_page).await.status(), StatusCode::FORBIDDEN);
    assert_eq!(send(admin, post("/quit")).await.status(), StatusCode::OK);
    let code = spawn_blocking(move || process.wait()).await.unwrap();
    assert_eq!(code, 0);
}

/// Each byte of it is in time, and all of it never is.
#[tokio::test]
async fn wait_fails_in_time_also_before_who_answers_byte_by_byte() {
    let drips = server::scripted(async |mut stream| {
        for _ in 0..200 {
            let _ = tokio::io::AsyncWriteExt::write_all(&mut stream, b" ").await;
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    })
    .await;
    let address = format!("admin.address={drips}");
    let waiting = spawn_blocking(move || {
        with_client(&["wait", "--timeout", "300ms", "--set", &address]).output().unwrap()
    });
    let waited = tokio::time::timeout(Duration::from_secs(10), waiting).await.expect("it waits on").unwrap();
    assert_eq!(waited.status.code(), Some(1), "{waited:?}");
}

#[tokio::test]
async fn wait_ends_when_the_proxy_is_ready_and_fails_in_time_when_it_is_not() {
    let api = api().await;
    let endpoint = format!("token.endpoint={}", token_endpoint(&api));
    let process = spawn_blocking(move || running("127.0.0.1:0", &[&endpoint])).await.unwrap();
    let wait = async |address: String| {
        let address = format!("admin.address={address}");
        let waited = spawn_blocking(move || {
            with_client(&["wait", "--timeout", "5s", "--set", &address]).output().unwrap()
        });
        waited.await.unwrap()
    };
    let waited = wait(process.admin().to_string()).await;
    assert_eq!(waited.status.code(), Some(0), "{waited:?}");

    let without = spawn_blocking(|| running("127.0.0.1:0", &[])).await.unwrap();
    let address = format!("admin.address={}", without.admin());
    let began = std::time::Instant::now();
    let waited = spawn_blocking(move || {
        with_client(&["wait", "--timeout", "500ms", "--set", &address]).output().unwrap()
    });
    let waited = waited.await.unwrap();
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
    assert_eq!(waited.status.code(), Some(1));
    assert!(text(&waited).1.contains("there is no access token"), "{waited:?}");

    let off = wait("off".to_owned()).await;
    assert_eq!(off.status.code(), Some(64));
    assert!(text(&off).1.contains("mend: write an address"), "{off:?}");
}

#[test]
fn an_address_that_others_can_reach_or_that_is_the_callers_is_refused() {
    for (address, told) in
        [("0.0.0.0:8081", "admin.allow_anonymous = true"), ("127.0.0.1:8080", "listen.address")]
    {
        let output = with_client(&["check", "--set", &format!("admin.address={address}")]).output().unwrap();
        assert_eq!(output.status.code(), Some(64), "{address}");
        assert!(text(&output).1.contains(told), "{output:?}");
    }
}
