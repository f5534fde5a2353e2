//! Counts of requests, bytes, connections and tokens at `/metrics` and `/status`.

use http::{Request, StatusCode};
use http_body_util::Full;
use wiremock::ResponseTemplate;

use crate::admin::health::{START, get, said};
use crate::support::caller::{json, post, send, until};
use crate::support::configured_callers::KeyedCaller;
use crate::support::{TestProxy, answer, api};

/// The value of the line of `metrics` that begins with `series` and a space.
fn value(metrics: &str, series: &str) -> f64 {
    let line = metrics
        .lines()
        .find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
    line.unwrap_or_else(|| panic!("no {series} in {metrics}"))
        .parse()
        .unwrap()
}

#[tokio::test]
async fn metrics_match_the_requests_sent() {
    let api = api().await;
    answer(&api, ResponseTemplate::new(201).set_body_string("12345")).await;
    let (crm, web) = (
        KeyedCaller::new("crm", ""),
        KeyedCaller::new("web", "max_in_flight = 1"),
    );
    let proxy = TestProxy::before(&api)
        .callers(&[crm.table(), web.table()])
        .start()
        .await;
    for (caller, times) in [(&crm, 3), (&web, 2)] {
        for _ in 0..times {
            let mut req = post(START);
            req.headers_mut()
                .extend([caller.key_field("x-api-key", "")]);
            assert_eq!(send(proxy.addr(), req).await.status(), StatusCode::CREATED);
        }
    }
    send(proxy.addr(), post(START)).await;
    send(proxy.addr(), post("/elsewhere/4711")).await;
    // A request is counted when its connection has let go of it.
    until(async || json(&get(proxy.admin(), "/status").await)["requests"]["total"] == 7).await;

    let metrics = get(proxy.admin(), "/metrics").await;
    assert_eq!(
        metrics.headers()["content-type"],
        "text/plain; version=0.0.4; charset=utf-8"
    );
    let metrics = said(&metrics);
    let of = |caller: &str, endpoint: &str, status: u16, source: &str| {
        // Without a caller a request ends before it gets an account.
        let account = if caller.is_empty() { "" } else { "default" };
        format!(
            "gbg_proxy_requests_total{{account=\"{account}\",caller=\"{caller}\",endpoint=\"{endpoint}\",status=\"{status}\",source=\"{source}\"}}"
        )
    };
    assert_eq!(
        value(&metrics, &of("crm", "journey/start", 201, "gbg")),
        3.0
    );
    assert_eq!(
        value(&metrics, &of("web", "journey/start", 201, "gbg")),
        2.0
    );
    assert_eq!(value(&metrics, &of("", "journey/start", 401, "proxy")), 1.0);
    assert_eq!(value(&metrics, &of("", "other", 404, "proxy")), 1.0);
    assert!(!metrics.contains("4711"), "a path is a label");
    assert_eq!(
        value(
            &metrics,
            "gbg_proxy_refusals_total{account=\"\",reason=\"caller_unknown\"}"
        ),
        1.0
    );
    let started = "{account=\"default\",endpoint=\"journey/start\",source=\"gbg\"}";
    assert_eq!(
        value(
            &metrics,
            &format!("gbg_proxy_request_duration_seconds_count{started}")
        ),
        5.0
    );
    assert_eq!(
        value(
            &metrics,
            "gbg_proxy_upstream_duration_seconds_count{account=\"default\",endpoint=\"journey/start\"}"
        ),
        5.0
    );
    assert_eq!(
        value(
            &metrics,
            "gbg_proxy_body_bytes_total{account=\"default\",direction=\"received\"}"
        ),
        10.0
    );
    assert_eq!(value(&metrics, "gbg_proxy_in_flight"), 0.0);
    assert_eq!(value(&metrics, "gbg_proxy_queued"), 0.0);
    let left = value(
        &metrics,
        "gbg_proxy_token_expires_seconds{account=\"default\"}",
    );
    assert!((3000.0..=3600.0).contains(&left), "{left}");
    assert_eq!(
        value(&metrics, "gbg_proxy_token_generation{account=\"default\"}"),
        1.0
    );
    assert_eq!(
        value(
            &metrics,
            "gbg_proxy_token_fetches_total{account=\"default\",outcome=\"ok\",reason=\"\"}"
        ),
        1.0
    );
    assert_eq!(
        value(
            &metrics,
            "gbg_proxy_connections_opened_total{side=\"downstream\"}"
        ),
        7.0
    );
    let opened = value(
        &metrics,
        "gbg_proxy_connections_opened_total{side=\"upstream\",account=\"default\"}",
    );
    let reused = value(
        &metrics,
        "gbg_proxy_connections_reused_total{account=\"default\"}",
    );
    assert_eq!(opened + reused, 5.0, "{metrics}");
    assert!(
        metrics.contains("# TYPE gbg_proxy_requests_total counter\n"),
        "{metrics}"
    );
    assert!(
        !metrics.contains("# EOF") && !metrics.contains("# UNIT"),
        "{metrics}"
    );
    let asked = Request::get("/metrics").header("host", "a");
    let asked = asked.header(
        "accept",
        "application/openmetrics-text;version=1.0.0,text/plain;q=0.5",
    );
    let open = send(proxy.admin(), asked.body(Full::default()).unwrap()).await;
    assert!(
        open.headers()["content-type"]
            .to_str()
            .unwrap()
            .starts_with("application/openmetrics-text")
    );
    assert!(
        said(&open).contains("# TYPE gbg_proxy_requests counter\n")
            && said(&open).ends_with("# EOF\n")
    );
    for caller in [&crm, &web] {
        assert!(!metrics.contains(&caller.key));
    }

    let status = json(&get(proxy.admin(), "/status").await);
    assert_eq!(
        status["requests"]["by_caller"],
        serde_json::json!({ "crm": 3, "web": 2 })
    );
    assert_eq!(
        status["requests"]["by_source"],
        serde_json::json!({ "gbg": 5, "proxy": 2 })
    );
}

#[tokio::test]
async fn a_token_refused_by_the_api_is_counted() {
    let api = api().await;
    answer(&api, ResponseTemplate::new(401)).await;
    let proxy = TestProxy::before(&api).start().await;
    assert_eq!(
        send(proxy.addr(), post(START)).await.status(),
        StatusCode::UNAUTHORIZED
    );
    let metrics = said(&get(proxy.admin(), "/metrics").await);
    assert_eq!(
        value(
            &metrics,
            "gbg_proxy_upstream_unauthorized_total{account=\"default\"}"
        ),
        1.0
    );
}

#[tokio::test]
async fn accept_decides_the_format_of_metrics() {
    let proxy = TestProxy::before(&api().await).start().await;
    for (lines, format) in [
        (
            &["text/plain", "application/openmetrics-text"][..],
            "application/openmetrics-text",
        ),
        (&["application/openmetrics-text;q=0, */*"], "text/plain"),
        (&["*/*;x=\"application/openmetrics-text\""], "text/plain"),
    ] {
        let mut asked = Request::get("/metrics").header("host", "a");
        for line in lines {
            asked = asked.header("accept", *line);
        }
        let response = send(proxy.admin(), asked.body(Full::default()).unwrap()).await;
        let media_type = response.headers()["content-type"].to_str().unwrap();
        assert_eq!(media_type.split(';').next(), Some(format), "{lines:?}");
    }
}
