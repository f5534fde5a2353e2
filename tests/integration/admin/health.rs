//! The admin listener: readiness, who reads it, `/quit`, and `wait`, which asks it.

use std::net::SocketAddr;
use std::time::Duration;

use http::{Request, StatusCode};
use http_body_util::Full;
use tokio::task::spawn_blocking;
use wiremock::ResponseTemplate;

use crate::support::caller::{Whole, assert_ok, assert_took, json, post, raw, send, until};
use crate::support::process::{Running, text, with_client};
use crate::support::{TestProxy, answer, api, server, token_endpoint};

pub(crate) const START: &str = "/v2/captain/journey/start";

pub(crate) async fn get(addr: SocketAddr, path: &str) -> Whole {
    send(
        addr,
        Request::get(path)
            .header("host", "localhost")
            .body(Full::default())
            .unwrap(),
    )
    .await
}

pub(crate) fn said(res: &Whole) -> String {
    String::from_utf8_lossy(res.body()).into_owned()
}

#[tokio::test]
async fn readiness_needs_a_token_and_names_the_cause() {
    let api = api().await;
    let proxy = TestProxy::before(&api).start().await;
    until(async || get(proxy.admin(), "/readyz").await.status() == StatusCode::OK).await;
    for path in ["/livez", "/startupz"] {
        assert_eq!(
            get(proxy.admin(), path).await.status(),
            StatusCode::OK,
            "{path}"
        );
    }

    let without = TestProxy::new(&api.uri(), "http://127.0.0.1:1/")
        .start()
        .await;
    let ready = async || get(without.admin(), "/readyz").await;
    assert_eq!(ready().await.status(), StatusCode::SERVICE_UNAVAILABLE);
    // From the first failed fetch on.
    until(async || {
        let text = said(&ready().await);
        text.starts_with("not ready: there is no access token at the moment")
            && text.contains("127.0.0.1:1: Connection refused")
    })
    .await;
    for path in ["/livez", "/startupz"] {
        assert_eq!(
            get(without.admin(), path).await.status(),
            StatusCode::OK,
            "{path}: it would be restarted for nothing"
        );
    }
    let status = json(&get(without.admin(), "/status").await);
    assert_eq!(
        (
            &status["state"],
            &status["accounts"][0]["token"]["expires_in_seconds"]
        ),
        (&"no_token".into(), &0.into())
    );
    assert!(
        status["fix"].as_str().unwrap().contains("doctor"),
        "{status}"
    );
    until(async || {
        let status = json(&get(without.admin(), "/status").await);
        let failure = &status["accounts"][0]["token"]["last_failure"];
        let cause =
            "cannot connect to the token endpoint: 127.0.0.1:1: Connection refused (os error 111)";
        failure["reason"] == "unreachable" && failure["cause"] == cause
    })
    .await;
}

#[tokio::test]
async fn a_drain_is_reported_before_it_begins() {
    let api = api().await;
    answer(&api, ResponseTemplate::new(200)).await;
    let proxy = TestProxy::before(&api)
        .set(&["drain.delay=2s"])
        .start()
        .await;
    let (addr, admin) = (proxy.addr(), proxy.admin());
    assert_ok(addr, START).await;
    let drained = tokio::spawn(proxy.shut_down());
    until(async || said(&get(admin, "/readyz").await).contains("shutting down")).await;
    assert_eq!(
        send(addr, post(START)).await.status(),
        StatusCode::OK,
        "balancers may still send"
    );
    assert_eq!(json(&get(admin, "/status").await)["state"], "draining");
    drained.await.unwrap();
}

#[tokio::test]
async fn admin_paths_need_the_admin_listener_and_host() {
    let proxy = TestProxy::before(&api().await).start().await;
    for path in [
        "/", "/livez", "/readyz", "/metrics", "/status", "/history", "/quit",
    ] {
        assert_eq!(
            get(proxy.addr(), path).await.status(),
            StatusCode::NOT_FOUND,
            "{path}"
        );
    }
    for (path, status) in [
        ("/", "403"),
        ("/status", "403"),
        ("/history", "403"),
        ("/quit", "403"),
        ("/metrics", "200"),
        ("/livez", "200"),
    ] {
        let asked =
            format!("GET {path} HTTP/1.1\r\nHost: evil.example\r\nConnection: close\r\n\r\n");
        let response = raw(proxy.admin(), asked).await;
        assert!(
            response.starts_with(&format!("HTTP/1.1 {status}")),
            "{path}: {response}"
        );
    }
    let named = TestProxy::before(&api().await)
        .set(&["admin.hosts=[\"ops.example\"]"])
        .start()
        .await;
    let asked = "GET /status HTTP/1.1\r\nHost: ops.example\r\nConnection: close\r\n\r\n";
    assert!(raw(named.admin(), asked).await.starts_with("HTTP/1.1 200"));
}

#[tokio::test]
async fn wrong_paths_and_methods_list_the_valid_ones() {
    let proxy = TestProxy::before(&api().await).start().await;
    let res = get(proxy.admin(), "/index.html").await;
    assert_eq!(res.status(), StatusCode::NOT_FOUND);
    assert!(said(&res).contains("/readyz"), "{res:?}");
    let res = send(proxy.admin(), post("/status")).await;
    assert_eq!(
        (res.status(), &res.headers()["allow"]),
        (
            StatusCode::METHOD_NOT_ALLOWED,
            &"GET, HEAD".parse().unwrap()
        )
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
async fn quit_ends_the_process_if_configured() {
    let mut process = spawn_blocking(|| running("127.0.0.1:0", &["admin.quit=true"]))
        .await
        .unwrap();
    let admin = process.admin();
    let res = get(admin, "/quit").await;
    assert_eq!(
        (res.status(), &res.headers()["allow"]),
        (StatusCode::METHOD_NOT_ALLOWED, &"POST".parse().unwrap())
    );
    let mut of_a_page = post("/quit");
    of_a_page
        .headers_mut()
        .insert("origin", "https://evil.example".parse().unwrap());
    assert_eq!(send(admin, of_a_page).await.status(), StatusCode::FORBIDDEN);
    assert_eq!(send(admin, post("/quit")).await.status(), StatusCode::OK);
    let code = spawn_blocking(move || process.wait()).await.unwrap();
    assert_eq!(code, 0);
}

/// Each byte of it is in time, and all of it never is.
#[tokio::test]
async fn wait_times_out_on_a_dripping_response() {
    let drips = server::scripted(async |mut stream| {
        for _ in 0..200 {
            let _ = tokio::io::AsyncWriteExt::write_all(&mut stream, b" ").await;
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    })
    .await;
    let address = format!("admin.address={drips}");
    let waiting = spawn_blocking(move || {
        with_client(&["wait", "--timeout", "300ms", "--set", &address])
            .output()
            .unwrap()
    });
    let waited = tokio::time::timeout(Duration::from_secs(10), waiting)
        .await
        .expect("it waits on")
        .unwrap();
    assert_eq!(waited.status.code(), Some(1), "{waited:?}");
}

#[tokio::test]
async fn wait_ends_at_readiness_or_times_out() {
    let api = api().await;
    let endpoint = format!("token.endpoint={}", token_endpoint(&api));
    let process = spawn_blocking(move || running("127.0.0.1:0", &[&endpoint]))
        .await
        .unwrap();
    let wait = async |address: String| {
        let address = format!("admin.address={address}");
        let waited = spawn_blocking(move || {
            with_client(&["wait", "--timeout", "5s", "--set", &address])
                .output()
                .unwrap()
        });
        waited.await.unwrap()
    };
    let waited = wait(process.admin().to_string()).await;
    assert_eq!(waited.status.code(), Some(0), "{waited:?}");

    let without = spawn_blocking(|| running("127.0.0.1:0", &[]))
        .await
        .unwrap();
    let address = format!("admin.address={}", without.admin());
    let began = std::time::Instant::now();
    let waited = spawn_blocking(move || {
        with_client(&["wait", "--timeout", "500ms", "--set", &address])
            .output()
            .unwrap()
    });
    let waited = waited.await.unwrap();
    assert_took(began, ..Duration::from_secs(5));
    assert_eq!(waited.status.code(), Some(1));
    assert!(
        text(&waited).1.contains("there is no access token"),
        "{waited:?}"
    );

    let off = wait("off".to_owned()).await;
    assert_eq!(off.status.code(), Some(64));
    assert!(text(&off).1.contains("fix: write an address"), "{off:?}");
}

#[test]
fn public_or_duplicate_admin_addresses_are_rejected() {
    for (address, expected) in [
        ("0.0.0.0:8081", "admin.allow_anonymous = true"),
        ("127.0.0.1:8080", "listen.address"),
    ] {
        let output = with_client(&["check", "--set", &format!("admin.address={address}")])
            .output()
            .unwrap();
        assert_eq!(output.status.code(), Some(64), "{address}");
        assert!(text(&output).1.contains(expected), "{output:?}");
    }
}
