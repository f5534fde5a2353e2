//! Findings, certificates and failures in `/status`, of proxies in the state that they report.

use std::path::Path;
use std::time::{Duration, SystemTime};

use http::StatusCode;
use serde_json::Value;
use tempfile::TempDir;

use crate::admin::health::{START, get, said};
use crate::ops::reload::{content, replace, running};
use crate::support::caller::{json, post, send, until};
use crate::support::configured_callers::{KeyedCaller, config_file};
use crate::support::process::{text, with_client};
use crate::support::{TestProxy, api, sandbox};

const DAY: u64 = 86_400;

async fn status(admin: std::net::SocketAddr) -> Value {
    json(&get(admin, "/status").await)
}

/// The value of the metric that begins with `series` and a space.
async fn metric(admin: std::net::SocketAddr, series: &str) -> Option<f64> {
    let metrics = said(&get(admin, "/metrics").await);
    let mut lines = metrics.lines();
    let value = lines.find_map(|line| line.strip_prefix(series)?.strip_prefix(' '))?;
    Some(value.parse().unwrap())
}

fn rfc3339_in(days: u64) -> String {
    let time = SystemTime::now() + Duration::from_secs(days * DAY);
    humantime::format_rfc3339_seconds(time).to_string()
}

/// A directory with `cert.pem` and `key.pem`.
struct CertificateFiles(TempDir);

impl CertificateFiles {
    fn ending_in(days: u64) -> Self {
        let files = CertificateFiles(tempfile::tempdir().unwrap());
        files.renew(days);
        files
    }

    fn renew(&self, days: u64) {
        let mut params = rcgen::CertificateParams::new(["localhost".to_owned()]).unwrap();
        let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        let end = since.unwrap() + Duration::from_secs(days * DAY);
        params.not_after = rcgen::date_time_ymd(1970, 1, 1) + end;
        let key = rcgen::KeyPair::generate().unwrap();
        let certificate = params.self_signed(&key).unwrap();
        std::fs::write(self.0.path().join("cert.pem"), certificate.pem()).unwrap();
        std::fs::write(self.0.path().join("key.pem"), key.serialize_pem()).unwrap();
    }

    /// Assigns the files to two keys.
    fn set(&self, keys: [&str; 2]) -> [String; 2] {
        let path = |name: &str| self.0.path().join(name).display().to_string();
        [
            format!("{}={}", keys[0], path("cert.pem")),
            format!("{}={}", keys[1], path("key.pem")),
        ]
    }
}

#[tokio::test]
async fn a_certificate_near_its_end_is_reported() {
    let files = CertificateFiles::ending_in(100);
    let [cert, key] = files.set(["listen.tls.cert", "listen.tls.key"]);
    let proxy = TestProxy::before(&api().await)
        .set(&[&cert, &key])
        .start()
        .await;
    let admin = proxy.admin();
    let series = "gbg_proxy_certificate_expires_seconds{use=\"listener\",account=\"\"}";
    let days = async || {
        metric(admin, series)
            .await
            .map(|left| (left / DAY as f64).round())
    };
    until(async || days().await == Some(100.0)).await;
    until(async || status(admin).await["verdict"]["kind"] == "healthy").await;

    files.renew(29);
    until(async || days().await == Some(29.0)).await;
    let status = status(admin).await;
    let verdict = &status["verdict"];
    assert_eq!(
        (&verdict["kind"], &verdict["level"], &verdict["fault"]),
        (
            &"certificate_expires".into(),
            &"warn".into(),
            &"proxy".into()
        )
    );
    let end = status["certificates"][0]["expires_at"].as_str().unwrap();
    assert_eq!(
        verdict["cause"],
        format!("listen.tls.cert expires at {end}")
    );
    assert_eq!(status["certificates"][0]["key"], "listen.tls.cert");
    assert_eq!(status["certificates"][0]["level"], "warn");
}

#[tokio::test]
async fn client_certificates_have_their_ends() {
    let (upstream, token) = (
        CertificateFiles::ending_in(50),
        CertificateFiles::ending_in(70),
    );
    let [cert, key] = upstream.set(["upstream.client_cert", "upstream.client_key"]);
    let [token_cert, token_key] = token.set(["token.client_cert", "token.client_key"]);
    let ca = format!("upstream.ca_file={}", cert.split_once('=').unwrap().1);
    let proxy = TestProxy::new("https://localhost:1", "https://localhost:1/as/token.oauth2")
        .set(&[
            &cert,
            &key,
            &token_cert,
            &token_key,
            &ca,
            "token.client_auth=tls",
        ])
        .start()
        .await;
    for (used, days) in [("upstream_client", 50.0), ("token_client", 70.0)] {
        let series =
            format!("gbg_proxy_certificate_expires_seconds{{use=\"{used}\",account=\"default\"}}");
        let left = async || metric(proxy.admin(), &series).await;
        until(async || left().await.map(|left| (left / DAY as f64).round()) == Some(days)).await;
    }
}

#[tokio::test]
async fn a_reload_changes_the_ends_of_callers() {
    let api = content().await;
    let caller = |days| {
        let expires = format!("expires = \"{}\"\n", rfc3339_in(days));
        KeyedCaller::new("crm", "").table() + &expires
    };
    let config = config_file(&[caller(100)]);
    let mut running = running(config.path(), &api, &[]).await;
    let admin = running.admin();
    let series = "gbg_proxy_caller_expires_seconds{caller=\"crm\"}";
    let days = async || {
        metric(admin, series)
            .await
            .map(|left| (left / DAY as f64).round())
    };
    assert_eq!(days().await, Some(100.0));
    replace(config.path(), &caller(13));
    running.signal("-HUP");
    until(async || days().await == Some(13.0)).await;
    let status = status(admin).await;
    assert_eq!(status["verdict"]["kind"], "caller_expires");
    let end = status["callers"][0]["expires_at"].as_str().unwrap();
    assert_eq!(
        status["verdict"]["cause"],
        format!("caller \"crm\" ends at {end}")
    );
    assert_eq!(running.end("-TERM"), 0);
}

#[tokio::test]
async fn keys_that_need_a_restart_are_named() {
    let api = content().await;
    let config = config_file(&[]);
    let mut running = running(config.path(), &api, &[]).await;
    let admin = running.admin();
    let found = async |kind: &str| {
        until(async || status(admin).await["verdict"]["kind"] == kind).await;
        status(admin).await
    };
    found("healthy").await;
    for (text, key) in [
        ("[listen]\nh2_streams = 9\n", "listen.h2_streams"),
        (
            "[listen]\nallow_plaintext_keys = true\n",
            "listen.allow_plaintext_keys",
        ),
    ] {
        replace(config.path(), text);
        running.signal("-HUP");
        until(async || status(admin).await["configuration"]["restart_keys"][0] == key).await;
        let status = found("restart_needed").await;
        assert_eq!(status["verdict"]["cause"], format!("changed: {key}"));
    }
    replace(config.path(), "");
    running.signal("-HUP");
    let status = found("healthy").await;
    assert_eq!(
        status["configuration"]["restart_keys"],
        serde_json::json!([])
    );
    assert_eq!(running.end("-TERM"), 0);
}

/// The errors that `check` prints for `file`.
fn check_errors(file: &Path) -> String {
    let file = file.to_str().unwrap();
    let checked = with_client(&["check", "--config", file]).output().unwrap();
    assert_eq!(checked.status.code(), Some(64), "{checked:?}");
    text(&checked).1
}

#[tokio::test]
async fn a_rejected_configuration_shows_what_check_prints() {
    let api = content().await;
    let config = config_file(&[]);
    let mut running = running(config.path(), &api, &[]).await;
    let admin = running.admin();
    let wrong = "[limits]\nmax_in_flight = \"100\"\n[token]\ntimeout = \"30\"\n";
    replace(config.path(), wrong);
    running.signal("-HUP");
    until(async || status(admin).await["verdict"]["kind"] == "config_rejected").await;
    let status = status(admin).await;
    let cause = status["verdict"]["cause"].as_str().unwrap();
    assert_eq!(status["configuration"]["problem"], cause);
    let position = format!("{}:2:1: limits.max_in_flight:", config.path().display());
    assert!(cause.starts_with(&position), "{cause}");
    assert!(
        cause.contains("\n  fix: write \"30s\" or \"30ms\""),
        "{cause}"
    );
    let printed = check_errors(config.path());
    assert!(printed.contains(cause), "{printed}");
    assert_eq!(running.end("-TERM"), 0);
}

#[tokio::test]
async fn three_failures_make_an_unreachable_api_a_verdict() {
    let proxy = TestProxy::before_server("http://127.0.0.1:1").start().await;
    let admin = proxy.admin();
    let fail = async |count: u64| {
        assert_eq!(
            send(proxy.addr(), post(START)).await.status(),
            StatusCode::BAD_GATEWAY
        );
        until(async || status(admin).await["requests"]["total"] == count).await;
        status(admin).await
    };
    for count in 1..=2 {
        let status = fail(count).await;
        assert_eq!(status["verdict"]["kind"], "healthy", "{count}");
        assert_eq!(
            status["verdict"]["title"],
            "The proxy works; single requests failed"
        );
    }
    let status = fail(3).await;
    assert_eq!(status["verdict"]["kind"], "upstream_unresponsive");
    let cause = status["verdict"]["cause"].as_str().unwrap();
    assert!(
        cause.contains("127.0.0.1:1: ") && cause.contains("refused"),
        "{cause}"
    );
    let failure = &status["accounts"][0]["upstream"]["last_failure"];
    assert_eq!(failure["reason"], "upstream_unreachable");
    assert_eq!(failure["cause"], cause);

    let groups = status["failures"].as_array().unwrap();
    assert_eq!(groups.len(), 1, "{groups:?}");
    let group = &groups[0];
    assert_eq!(
        (&group["count"], &group["endpoint"], &group["reason"]),
        (
            &3.into(),
            &"journey/start".into(),
            &"upstream_unreachable".into()
        )
    );
    assert!(
        group["first_at"].as_str() <= group["last_at"].as_str(),
        "{group}"
    );
    let series =
        "gbg_proxy_upstream_duration_seconds_count{account=\"default\",endpoint=\"journey/start\"}";
    assert_eq!(
        metric(admin, series).await,
        None,
        "a failure is no response"
    );
}

#[tokio::test]
async fn the_process_and_its_identity_are_shown() {
    let running = running(config_file(&[]).path(), &content().await, &[]).await;
    let admin = running.admin();
    let status = status(admin).await;
    let hostname = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap();
    assert_eq!(status["instance"]["hostname"], hostname.trim());
    let listen = format!("http://{}", running.addr());
    assert_eq!(status["instance"]["listen"], listen);
    assert_eq!(status["instance"]["admin"], admin.to_string());
    assert_eq!(status["accounts"][0]["region"], Value::Null);

    let value = async |name: &str| metric(admin, name).await.unwrap();
    let resident = running.resident_bytes() as f64;
    let shown = value("process_resident_memory_bytes").await;
    assert!(
        (resident * 0.5..resident * 2.0).contains(&shown),
        "{shown} {resident}"
    );
    assert!(value("process_virtual_memory_bytes").await > shown);
    let files = running.open_files() as f64;
    let shown = value("process_open_fds").await;
    assert!(
        (files - 5.0..files + 5.0).contains(&shown),
        "{shown} {files}"
    );
    assert!(value("process_max_fds").await >= 1024.0);
    assert!((0.01..60.0).contains(&value("process_cpu_seconds_total").await));
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    let age = now.unwrap().as_secs_f64() - value("process_start_time_seconds").await;
    assert!((0.0..60.0).contains(&age), "{age}");
}

#[tokio::test]
async fn the_last_error_response_names_its_id() {
    let sandbox = sandbox(&["api-status=503"]).await;
    let proxy = TestProxy::before_sandbox(&sandbox).start().await;
    let mut ids = Vec::new();
    for _ in 0..3 {
        let res = send(proxy.addr(), post(START)).await;
        assert_eq!(res.status(), StatusCode::SERVICE_UNAVAILABLE);
        ids.push(res.headers()["x-request-id"].to_str().unwrap().to_owned());
    }
    let counted = async || status(proxy.admin()).await["failures"][0]["count"] == 3;
    until(counted).await;
    let status = status(proxy.admin()).await;
    assert_eq!(status["verdict"]["kind"], "upstream_errors");
    let id = status["failures"][0]["gbg_request_id"].as_str().unwrap();
    assert!(ids.iter().any(|known| known == id), "{id} {ids:?}");
    let cause = format!("status 503 to journey/start, X-Request-ID {id}");
    assert_eq!(status["verdict"]["cause"], cause);
}
