//! Requests that come back to the proxy that has forwarded them, and proxies in a chain on purpose.

use std::net::TcpListener;

use http::StatusCode;
use wiremock::ResponseTemplate;

use crate::support::caller::{json, post, send};
use crate::support::configured_callers::{KeyedCaller, config_file};
use crate::support::process::Running;
use crate::support::{answer, api, forwarded, token_endpoint};

const START: &str = "/v2/captain/journey/start";

#[tokio::test]
async fn a_returning_request_gets_508() {
    let api = api().await;
    let socket = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = socket.local_addr().unwrap();
    // Without its key it would be an unknown caller the second time.
    let caller = KeyedCaller::new("crm", "");
    let file = config_file(&[caller.table()]);
    let set = [
        format!("upstream.base_url=http://localhost:{}", addr.port()),
        format!("token.endpoint={}", token_endpoint(&api)),
        "listen.workers=2".to_owned(),
    ];
    let set = set.each_ref().map(String::as_str);
    let mut proxy = Running::start_on_with_file(socket, file.path(), &set);
    let mut req = post(START);
    req.headers_mut()
        .extend([caller.key_field("x-api-key", "")]);
    let res = send(addr, req).await;
    assert_eq!(res.status(), StatusCode::LOOP_DETECTED);
    let status = res.headers()["proxy-status"].to_str().unwrap();
    assert_eq!(
        status,
        "gbg-proxy; error=proxy_loop_detected; details=\"loop_detected\""
    );
    assert_eq!(json(&res)["reason"], "loop_detected");
    assert_eq!(proxy.end("-TERM"), 0);
    for text in [
        &format!(
            "upstream.base_url: {} is listen.address of this proxy: requests",
            set[0].split_once('=').unwrap().1
        ),
        "a request failed",
        "reason=\"loop_detected\"",
    ] {
        assert!(proxy.log.contains(text), "{text}: {}", proxy.log);
    }
}

/// Its own answer to those who log in is no token of GBG.
#[tokio::test]
async fn a_returning_token_request_is_reported() {
    let socket = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = socket.local_addr().unwrap();
    let endpoint = format!("token.endpoint=http://{addr}/as/token.oauth2");
    let mut proxy = Running::start_on(socket, &[&endpoint, "token.wait_timeout=100ms"]);
    assert!(
        proxy
            .log
            .contains("is listen.address of this proxy: it grants no token of GBG"),
        "{}",
        proxy.log
    );
    proxy.read_until(
        "the token endpoint returned an error status: 508 Loop Detected: token.endpoint leads back to this proxy",
    );
    assert_eq!(
        send(addr, post(START)).await.status(),
        StatusCode::SERVICE_UNAVAILABLE
    );
    assert_eq!(proxy.end("-TERM"), 0);
}

#[tokio::test]
async fn two_proxies_in_a_chain_are_no_loop() {
    let api = api().await;
    answer(&api, ResponseTemplate::new(200)).await;
    let tokens = format!("token.endpoint={}", token_endpoint(&api));
    let mut gateway = Running::start(&[&format!("upstream.base_url={}", api.uri()), &tokens]);
    let to_gateway = format!("upstream.base_url=http://{}", gateway.addr());
    let mut sidecar = Running::start(&[&to_gateway, &tokens]);
    assert_eq!(
        send(sidecar.addr(), post(START)).await.status(),
        StatusCode::OK
    );
    // One that gets its token from the gateway, too.
    let from_gateway = format!("token.endpoint=http://{}/as/token.oauth2", gateway.addr());
    let mut other = Running::start(&[&to_gateway, &from_gateway]);
    assert_eq!(
        send(other.addr(), post(START)).await.status(),
        StatusCode::OK
    );
    let seen = forwarded(&api).await;
    let via: Vec<_> = seen[0].headers.get_all("via").iter().collect();
    assert!(via.len() == 2 && via[0] != via[1], "{via:?}");
    for proxy in [&mut gateway, &mut sidecar, &mut other] {
        assert_eq!(proxy.end("-TERM"), 0);
        assert!(!proxy.log.contains("of this proxy"), "{}", proxy.log);
    }
}
