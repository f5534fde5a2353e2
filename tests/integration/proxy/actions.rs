//! Details and actions of rejected requests: each has the values of its request.

use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use wiremock::ResponseTemplate;

use crate::support::caller::raw;
use crate::support::configured_callers::KeyedCaller;
use crate::support::process::Running;
use crate::support::tls::{connect_tls, serving_tls};
use crate::support::{Proxy, TestProxy, answer, api, configured_callers, forwarded};

const START: &str = "/v2/captain/journey/start";

/// The body of the response to a request with `line` and `fields`.
async fn rejected(proxy: &Proxy, line: &str, fields: &str) -> Value {
    let sent = format!("{line} HTTP/1.1\r\n{fields}Connection: close\r\n\r\n");
    let response = raw(proxy.addr(), &sent).await;
    let (_, body) = response.split_once("\r\n\r\n").expect(&sent);
    serde_json::from_str(body).expect(&response)
}

#[tokio::test]
async fn an_action_has_the_values_of_its_request() {
    let api = api().await;
    let set = [
        "limits.max_request_body=5KiB",
        "limits.max_replay_body=1KiB",
    ];
    let proxy = TestProxy::before(&api).set(&set).start().await;
    let below = "Call a path below /v2/captain/, /captain/api/";
    for (line, fields, detail, action) in [
        (
            "CONNECT eu.platform.go.gbgplc.com:443",
            "Host: eu.platform.go.gbgplc.com:443\r\n",
            "this is not a forward proxy: it opens no tunnels",
            "Use the address of this proxy as the base URL, and remove it from the proxy settings",
        ),
        (
            &format!("POST {START}"),
            "Host: gbg.example:8080\r\n",
            "the host \"gbg.example\" is not allowed",
            "Call by localhost, by the address or by a name of the proxy's certificate, or have \"gbg.example\" added to \
             listen.hosts",
        ),
        (
            &format!("POST /{START}"),
            "Host: localhost\r\n",
            "the path has an empty segment (//)",
            "Remove the double slash; if the base URL ends with a slash, remove that",
        ),
        (
            "POST /v2/captain//journey/start",
            "Host: localhost\r\n",
            "the path has an empty segment (//)",
            "Remove the double slash; if the base URL ends with a slash, remove that",
        ),
        (
            "GET /designer/api",
            "Host: localhost\r\n",
            "this path is not forwarded",
            below,
        ),
        (
            &format!("POST {START}"),
            "Host: localhost\r\nContent-Length: 5121\r\n",
            "the request body is larger than 5KiB (limits.max_request_body)",
            "Send a smaller body",
        ),
    ] {
        let body = rejected(&proxy, line, fields).await;
        assert_eq!(body["detail"], detail, "{line}");
        let shown = body["errors"][0]["action"].as_str().unwrap();
        assert!(shown.starts_with(action), "{line}: {shown}");
    }
    assert!(forwarded(&api).await.is_empty());
}

#[tokio::test]
async fn a_413_during_the_body_names_the_limit() {
    let api = api().await;
    answer(&api, ResponseTemplate::new(200)).await;
    let set = [
        "limits.max_request_body=1KiB",
        "limits.max_replay_body=1KiB",
    ];
    let proxy = TestProxy::before(&api).set(&set).start().await;
    let chunk = format!("401\r\n{}\r\n0\r\n\r\n", "x".repeat(1025));
    let sent = format!(
        "POST {START} HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n{chunk}"
    );
    let response = raw(proxy.addr(), sent).await;
    assert!(response.starts_with("HTTP/1.1 413"), "{response}");
    assert!(
        response.contains("larger than 1KiB (limits.max_request_body)"),
        "{response}"
    );
}

#[tokio::test]
async fn v1_errors_have_an_action_too() {
    let api = api().await;
    let proxy = TestProxy::before(&api).start().await;
    let body = rejected(&proxy, "GET /captain/api//x", "Host: localhost\r\n").await;
    assert_eq!(body["message"], body["detail"]);
    let action = body["action"].as_str().unwrap();
    assert!(action.starts_with("Remove the double slash"), "{action}");
}

#[tokio::test]
async fn names_of_the_certificate_are_allowed_hosts() {
    let api = api().await;
    answer(&api, ResponseTemplate::new(200)).await;
    let (over_tls, roots) = serving_tls(&api).await;
    let plain = TestProxy::before(&api).start().await;
    let request = |host: &str| {
        format!(
            "POST {START} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"
        )
    };
    for (host, status) in [("gbg.example:8443", "200"), ("evil.example", "403")] {
        let mut tls = connect_tls(&over_tls, roots.clone(), &[]).await;
        tls.write_all(request(host).as_bytes()).await.unwrap();
        let mut response = String::new();
        let _ = tls.read_to_string(&mut response).await;
        assert!(
            response.starts_with(&format!("HTTP/1.1 {status}")),
            "{host}: {response}"
        );
    }
    let response = raw(plain.addr(), request("gbg.example:8443")).await;
    assert!(response.starts_with("HTTP/1.1 403"), "{response}");
}

#[tokio::test]
async fn the_log_names_rejected_hosts_and_expired_callers() {
    let gone = KeyedCaller::new("gone", "expires = 2020-01-01");
    let file = configured_callers::config_file(&[gone.table()]);
    let mut running = Running::start_with_file(file.path(), &[]);
    let line = format!("POST {START} HTTP/1.1\r\nConnection: close\r\nContent-Length: 0\r\n");
    let foreign = format!("{line}Host: evil.example:1\r\n\r\n");
    assert!(raw(running.addr(), foreign).await.contains(" 403 "));
    let expired = format!("{line}Host: localhost\r\nX-Api-Key: {}\r\n\r\n", gone.key);
    let response = raw(running.addr(), expired).await;
    assert!(
        response.starts_with("HTTP/1.1 401")
            && response.contains("details=\"caller_expired\"")
            && response.contains("access of caller \\\"gone\\\" ended at 2020-01-01T00:00:00Z"),
        "{response}"
    );
    assert_eq!(running.end("-TERM"), 0);
    let has_line = |parts: &[&str]| {
        let mut lines = running.log.lines();
        lines.any(|line| parts.iter().all(|part| line.contains(part)))
    };
    assert!(
        has_line(&["reason=\"host_not_allowed\"", "evil.example"]),
        "{}",
        running.log
    );
    assert!(
        has_line(&["caller=\"gone\"", "reason=\"caller_expired\"", "2020-01-01"]),
        "{}",
        running.log
    );
    assert!(!running.log.contains(&gone.key));
}
