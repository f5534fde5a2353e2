//! Token lifecycle: when a token is fetched, kept and replaced.

use std::sync::Arc;
use std::time::{Duration, Instant};

use http::StatusCode;
use tokio::io::AsyncReadExt;
use tokio_rustls::TlsAcceptor;
use wiremock::matchers::path;
use wiremock::{Mock, MockServer, ResponseTemplate};

use crate::support::caller::{assert_ok, json, post, send, until};
use crate::support::server::scripted;
use crate::support::{
    CLIENT_ID, CLIENT_SECRET, TestProxy, answer, api, forwarded, grant_once, granting, token_calls,
    token_endpoint,
};
use gbg_proxy::token::{Client, ReloadableClient, TokenSource};

const START: &str = "/v2/captain/journey/start";

#[tokio::test]
async fn early_requests_share_the_first_token_call() {
    let api = MockServer::start().await;
    let slow = granting("a", 3600).set_delay(Duration::from_millis(500));
    Mock::given(path("/as/token.oauth2"))
        .respond_with(slow)
        .mount(&api)
        .await;
    answer(&api, ResponseTemplate::new(200)).await;
    let proxy = TestProxy::before(&api).start().await;

    let addr = proxy.addr();
    let callers: Vec<_> = (0..50)
        .map(|_| tokio::spawn(async move { send(addr, post(START)).await }))
        .collect();
    for caller in callers {
        assert_eq!(caller.await.unwrap().status(), StatusCode::OK);
    }

    assert_eq!(
        (token_calls(&api).await, forwarded(&api).await.len()),
        (1, 50)
    );
}

#[tokio::test]
async fn the_token_request_is_the_documented_form() {
    let api = api().await;
    answer(&api, ResponseTemplate::new(200)).await;
    let proxy = TestProxy::before(&api).start().await;
    send(proxy.addr(), post(START)).await;
    let all = api.received_requests().await.unwrap();
    let call = all
        .iter()
        .find(|req| req.url.path() == "/as/token.oauth2")
        .unwrap();
    assert_eq!(call.method, http::Method::POST);
    assert_eq!(
        call.headers["content-type"],
        "application/x-www-form-urlencoded"
    );
    assert!(!call.headers.contains_key("authorization"));
    let mut form: Vec<_> = url::form_urlencoded::parse(&call.body)
        .into_owned()
        .collect();
    form.sort();
    let expected = [
        ("client_id", CLIENT_ID),
        ("client_secret", CLIENT_SECRET),
        ("grant_type", "client_credentials"),
        ("scope", "gbg.token"),
    ];
    assert_eq!(
        form,
        expected.map(|(name, value)| (name.to_owned(), value.to_owned()))
    );
}

#[tokio::test]
async fn basic_auth_sends_no_secret_in_the_form() {
    let api = api().await;
    answer(&api, ResponseTemplate::new(200)).await;
    let proxy = TestProxy::before(&api)
        .set(&["token.client_auth=basic", "token.scope="])
        .start()
        .await;
    send(proxy.addr(), post(START)).await;
    let all = api.received_requests().await.unwrap();
    let call = all
        .iter()
        .find(|req| req.url.path() == "/as/token.oauth2")
        .unwrap();
    assert_eq!(
        call.headers["authorization"],
        "Basic dGVzdC1jbGllbnQ6dGVzdC1zZWNyZXQtN2MxZg=="
    );
    assert_eq!(call.body, b"grant_type=client_credentials");
}

#[tokio::test]
async fn a_refused_client_gets_503_and_forwards_nothing() {
    for status in [400, 401] {
        let api = MockServer::start().await;
        let refusal = ResponseTemplate::new(status).set_body_string(
            "{\"error_description\":\"Invalid client or client credentials\",\"error\":\"invalid_client\"}\r\n",
        );
        Mock::given(path("/as/token.oauth2"))
            .respond_with(refusal)
            .mount(&api)
            .await;
        let proxy = TestProxy::before(&api).start().await;
        let res = send(proxy.addr(), post(START)).await;
        assert_eq!(
            (res.status(), &json(&res)["reason"]),
            (StatusCode::SERVICE_UNAVAILABLE, &"client_refused".into())
        );
        assert!(!format!("{res:?}").contains(CLIENT_SECRET));
        assert!(forwarded(&api).await.is_empty());
    }
}

#[tokio::test]
async fn responses_without_a_token_are_failures() {
    let useless = [
        ResponseTemplate::new(200),
        ResponseTemplate::new(200).set_body_string("<html>login</html>"),
        ResponseTemplate::new(200).set_body_string("{\"token_type\":\"Bearer\"}"),
        ResponseTemplate::new(200).set_body_string(format!(
            "{{\"access_token\":\"a\",\"token_type\":\"Bearer\"}}{}",
            " ".repeat(64 << 10)
        )),
        ResponseTemplate::new(302).insert_header("location", "http://127.0.0.1:1/"),
        ResponseTemplate::new(500),
        ResponseTemplate::new(429),
    ];
    for template in useless {
        let api = MockServer::start().await;
        Mock::given(path("/as/token.oauth2"))
            .respond_with(template.clone())
            .mount(&api)
            .await;
        let proxy = TestProxy::before(&api)
            .set(&["token.wait_timeout=200ms"])
            .start()
            .await;
        let res = send(proxy.addr(), post(START)).await;
        assert_eq!(
            res.status(),
            StatusCode::SERVICE_UNAVAILABLE,
            "{template:?}"
        );
        assert_eq!(json(&res)["reason"], "token_unavailable", "{template:?}");
        assert!(forwarded(&api).await.is_empty());
    }
}

#[tokio::test]
async fn a_dead_token_endpoint_gets_503_in_time() {
    let api = MockServer::start().await;
    answer(&api, ResponseTemplate::new(200)).await;
    let dead = Mock::given(path("/as/token.oauth2"))
        .respond_with(ResponseTemplate::new(503))
        .mount_as_scoped(&api)
        .await;
    let proxy = TestProxy::before(&api)
        .set(&["token.wait_timeout=200ms"])
        .start()
        .await;
    assert_eq!(
        json(&send(proxy.addr(), post(START)).await)["reason"],
        "token_unavailable"
    );

    drop(dead);
    Mock::given(path("/as/token.oauth2"))
        .respond_with(granting("a", 3600))
        .mount(&api)
        .await;

    until(async || send(proxy.addr(), post(START)).await.status() == StatusCode::OK).await;
}

#[tokio::test]
async fn a_token_is_replaced_before_it_expires() {
    let api = MockServer::start().await;
    Mock::given(path("/as/token.oauth2"))
        .respond_with(granting("first", 4))
        .up_to_n_times(1)
        .mount(&api)
        .await;
    Mock::given(path("/as/token.oauth2"))
        .respond_with(granting("second", 3600))
        .mount(&api)
        .await;
    answer(&api, ResponseTemplate::new(200)).await;
    let proxy = TestProxy::before(&api).start().await;

    until(async || {
        assert_ok(proxy.addr(), START).await;
        let seen = forwarded(&api).await;
        seen[0].headers["authorization"] == "Bearer first"
            && seen.last().unwrap().headers["authorization"] == "Bearer second"
    })
    .await;
    assert_eq!(token_calls(&api).await, 2);
}

#[tokio::test]
async fn an_expired_token_is_never_sent() {
    let api = MockServer::start().await;
    grant_once(&api, "only", 6).await;
    answer(&api, ResponseTemplate::new(200)).await;
    let began = Instant::now();
    let proxy = TestProxy::before(&api)
        .set(&["token.wait_timeout=100ms"])
        .start()
        .await;

    // The refresh is due after half the life, and fails; the token serves on.
    until(async || {
        assert_ok(proxy.addr(), START).await;
        token_calls(&api).await >= 2
    })
    .await;
    until(async || {
        send(proxy.addr(), post(START)).await.status() == StatusCode::SERVICE_UNAVAILABLE
    })
    .await;
    assert!(
        began.elapsed() >= Duration::from_millis(5400),
        "given up too early: {:?}",
        began.elapsed()
    );
    let count = forwarded(&api).await.len();
    let res = send(proxy.addr(), post(START)).await;
    assert_eq!(json(&res)["reason"], "token_unavailable");
    assert_eq!(forwarded(&api).await.len(), count);
}

#[tokio::test]
async fn token_endpoint_redirects_are_not_followed() {
    let elsewhere = api().await;
    let moved = ResponseTemplate::new(307)
        .insert_header("location", format!("{}/as/token.oauth2", elsewhere.uri()));
    let api = MockServer::start().await;
    Mock::given(path("/as/token.oauth2"))
        .respond_with(moved)
        .mount(&api)
        .await;
    let proxy = TestProxy::before(&api)
        .set(&["token.wait_timeout=300ms"])
        .start()
        .await;
    assert_eq!(
        json(&send(proxy.addr(), post(START)).await)["reason"],
        "token_unavailable"
    );
    assert_eq!(
        token_calls(&elsewhere).await,
        0,
        "the secret went elsewhere"
    );
}

#[tokio::test]
async fn a_token_expired_during_connect_is_not_sent() {
    let tokens = MockServer::start().await;
    grant_once(&tokens, "short", 2).await;
    // Takes connections, and begins a TLS handshake that takes three seconds.
    let certified = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let key =
        rustls::pki_types::PrivateKeyDer::try_from(certified.signing_key.serialize_der()).unwrap();
    let _ = rustls::crypto::ring::default_provider().install_default();
    let tls = rustls::ServerConfig::builder().with_no_client_auth();
    let tls = TlsAcceptor::from(Arc::new(
        tls.with_single_cert(vec![certified.cert.der().clone()], key)
            .unwrap(),
    ));
    let slow = scripted(move |stream| {
        let tls = tls.clone();
        async move {
            tokio::time::sleep(Duration::from_secs(3)).await;
            let mut seen = Vec::new();
            let _ = tls
                .accept(stream)
                .await
                .unwrap()
                .read_to_end(&mut seen)
                .await;
            assert!(seen.is_empty(), "an expired token was sent");
        }
    })
    .await;
    let directory = tempfile::tempdir().unwrap();
    let ca_file = directory.path().join("ca.pem");
    std::fs::write(&ca_file, certified.cert.pem()).unwrap();
    let set = [format!("upstream.ca_file={}", ca_file.display())];
    let api = format!("https://localhost:{}", slow.port());
    let proxy = TestProxy::new(&api, &token_endpoint(&tokens))
        .set(&[&set[0]])
        .start()
        .await;
    let res = send(proxy.addr(), post(START)).await;
    assert_eq!(json(&res)["reason"], "token_unavailable");
}

#[tokio::test]
async fn an_error_that_echoes_the_secret_is_redacted() {
    let in_a_form = format!("client_secret={CLIENT_SECRET}");
    let in_basic = "dGVzdC1jbGllbnQ6dGVzdC1zZWNyZXQtN2MxZg==".to_owned();
    for said in [CLIENT_SECRET.to_owned(), in_a_form, in_basic] {
        let api = MockServer::start().await;
        let answer = serde_json::json!({"error": "invalid_client", "error_description": format!("what is {said}?")});
        let other = serde_json::json!({"error": said, "error_description": "x"});
        for (status, body) in [(401, answer), (400, other)] {
            let echo = ResponseTemplate::new(status).set_body_json(body);
            Mock::given(path("/as/token.oauth2"))
                .respond_with(echo)
                .up_to_n_times(1)
                .mount(&api)
                .await;
        }
        let _ = rustls::crypto::ring::default_provider().install_default();
        let config = crate::support::configured(&api.uri(), &token_endpoint(&api), &[]).config;
        let endpoint = ReloadableClient::new(Client::new("default", &config.token).unwrap());
        let (first, second) = (
            endpoint.fetch().await.unwrap_err(),
            endpoint.fetch().await.unwrap_err(),
        );
        let text = format!("{first} {first:?} {second} {second:?} {endpoint:?} {config:?}");
        assert!(
            text.contains("invalid_client; check token.client_id"),
            "{text}"
        );
        assert!(!text.contains(&said), "{text}");
    }
}
