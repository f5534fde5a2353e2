//! Ways to the token endpoint that are slow, and responses of it that are unusual.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use gbg_proxy::error::chain;
use gbg_proxy::token::{Client, FetchError, TokenResponse};
use rustls::pki_types::PrivateKeyDer;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional};
use tokio::net::TcpStream;
use tokio::time::sleep;
use tokio_rustls::TlsAcceptor;
use wiremock::matchers::path;
use wiremock::{Mock, MockServer, ResponseTemplate};

use crate::support::caller::{assert_ok, read_until};
use crate::support::egress::OPENED;
use crate::support::server::{scripted, silent};
use crate::support::{
    TOKEN, TestProxy, answer, api, configured, granting, sandbox, token_endpoint,
};

const START: &str = "/v2/captain/journey/start";
const TOKENS: &str = "https://tokens.example/as/token.oauth2";

async fn fetch(token_endpoint: &str, set: &[&str]) -> Result<TokenResponse, FetchError> {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let config = configured("http://127.0.0.1:1", token_endpoint, set).config;
    Client::new("default", &config.token).unwrap().fetch().await
}

/// An egress proxy that sends `head` after `delay`, and leads to `server`.
async fn egress(head: &'static str, delay: Duration, server: SocketAddr) -> String {
    let addr = scripted(move |mut stream| async move {
        read_until(&mut stream, "\r\n\r\n").await;
        sleep(delay).await;
        if stream.write_all(head.as_bytes()).await.is_ok() {
            let mut server = TcpStream::connect(server).await.unwrap();
            let _ = copy_bidirectional(&mut stream, &mut server).await;
        }
    });
    format!("upstream.egress_proxy=http://{}", addr.await)
}

/// TLS for `tokens.example` and `localhost` before `plain`, `delay` after a connection has come;
/// and the set that trusts it.
async fn slow_tls(plain: SocketAddr, delay: Duration) -> (SocketAddr, TempDir, String) {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let names = ["tokens.example", "localhost"].map(str::to_owned);
    let certified = rcgen::generate_simple_self_signed(names).unwrap();
    let key = PrivateKeyDer::try_from(certified.signing_key.serialize_der()).unwrap();
    let tls = rustls::ServerConfig::builder().with_no_client_auth();
    let tls = tls
        .with_single_cert(vec![certified.cert.der().clone()], key)
        .unwrap();
    let tls = TlsAcceptor::from(Arc::new(tls));
    let addr = scripted(move |stream| {
        let tls = tls.clone();
        async move {
            sleep(delay).await;
            let Ok(mut stream) = tls.accept(stream).await else {
                return;
            };
            let mut plain = TcpStream::connect(plain).await.unwrap();
            let _ = copy_bidirectional(&mut stream, &mut plain).await;
        }
    });
    let addr = addr.await;
    let directory = tempfile::tempdir().unwrap();
    let ca_file = directory.path().join("ca.pem");
    std::fs::write(&ca_file, certified.cert.pem()).unwrap();
    (
        addr,
        directory,
        format!("token.ca_file={}", ca_file.display()),
    )
}

/// A server that answers each request with `response`.
async fn raw(response: String) -> String {
    let addr = scripted(move |mut stream| {
        let response = response.clone();
        async move {
            read_until(&mut stream, "\r\n\r\n").await;
            let _ = stream.write_all(response.as_bytes()).await;
            // To close with a part of the request unread would take the response back.
            let _ = stream.read_to_end(&mut Vec::new()).await;
        }
    });
    format!("http://{}/as/token.oauth2", addr.await)
}

/// Half a second longer than the three seconds that connecting was once allowed.
#[tokio::test]
async fn token_timeout_alone_bounds_connect_and_tls() {
    const DELAY: Duration = Duration::from_millis(3500);
    let tokens = api().await;
    let (tls, _directory, ca_file) = slow_tls(*tokens.address(), Duration::ZERO).await;
    let (slow, _slow_directory, slow_ca_file) = slow_tls(*tokens.address(), DELAY).await;
    let egress = egress(OPENED, DELAY, tls).await;
    let slow = format!("https://localhost:{}/as/token.oauth2", slow.port());

    let connect_set = [ca_file.as_str(), &egress];
    let tls_set = [slow_ca_file.as_str()];
    let (by_egress, by_tls) = tokio::join!(fetch(TOKENS, &connect_set), fetch(&slow, &tls_set));

    by_egress.expect("a slow CONNECT");
    by_tls.expect("a slow TLS handshake");
}

#[tokio::test]
async fn an_expired_timeout_names_its_step() {
    let silent = silent().await;
    let egress = format!("upstream.egress_proxy=http://{silent}");
    let port = silent.port();
    let (tls, plain) = (
        format!("https://localhost:{port}/"),
        format!("http://localhost:{port}/"),
    );
    for (endpoint, set, step) in [
        (
            TOKENS,
            Some(egress.as_str()),
            format!("CONNECT to tokens.example:443 through the egress proxy {silent}"),
        ),
        (
            tls.as_str(),
            None,
            format!("the TLS handshake with localhost:{port} (127.0.0.1)"),
        ),
        (
            plain.as_str(),
            None,
            format!("the response of localhost:{port} (127.0.0.1)"),
        ),
    ] {
        let set: Vec<_> = set.into_iter().chain(["token.timeout=300ms"]).collect();
        let error = fetch(endpoint, &set).await.unwrap_err();
        assert_eq!(error.kind().name(), "timeout");
        let text = chain(&error);
        assert!(
            text.ends_with(&format!(": token.timeout (300ms) expired during {step}")),
            "{text}"
        );
    }
}

#[tokio::test]
async fn any_2xx_opens_the_tunnel() {
    let tokens = api().await;
    let (tls, _directory, ca_file) = slow_tls(*tokens.address(), Duration::ZERO).await;
    for head in [
        "HTTP/1.1 201 Created\r\n\r\n",
        "HTTP/1.1 204 No Content\r\n\r\n",
        "HTTP/1.0 299 Odd\r\nContent-Length: 7\r\nTransfer-Encoding: chunked\r\n\r\n",
        "HTTP/1.1 200 OK\r\nProxy-Agent : Old/1.0\r\n\r\n",
    ] {
        let egress = egress(head, Duration::ZERO, tls).await;
        fetch(TOKENS, &[&ca_file, &egress])
            .await
            .unwrap_or_else(|error| panic!("{head:?}: {}", chain(&error)));
    }
    let egress = egress("HTTP/1.1 302 Found\r\n\r\n", Duration::ZERO, tls).await;
    let text = chain(&fetch(TOKENS, &[&ca_file, &egress]).await.unwrap_err());
    assert!(
        text.contains(
            " opened no tunnel to tokens.example:443: it responded with 302 Found: it did not"
        ),
        "{text}"
    );
}

#[tokio::test]
async fn any_2xx_with_a_token_grants_it() {
    for status in [200, 201, 202, 203, 206] {
        let tokens = MockServer::start().await;
        let template = ResponseTemplate::new(status).set_body_json(
            serde_json::json!({"access_token": TOKEN, "token_type": "Bearer", "expires_in": 60}),
        );
        Mock::given(path("/as/token.oauth2"))
            .respond_with(template)
            .mount(&tokens)
            .await;
        let grant = fetch(&token_endpoint(&tokens), &[])
            .await
            .unwrap_or_else(|error| panic!("{status}: {error}"));
        assert_eq!(grant.header, format!("Bearer {TOKEN}"));
    }
    let tokens = MockServer::start().await;
    Mock::given(path("/as/token.oauth2"))
        .respond_with(ResponseTemplate::new(204))
        .mount(&tokens)
        .await;
    let error = fetch(&token_endpoint(&tokens), &[]).await.unwrap_err();
    assert!(error.to_string().ends_with("the body is empty"), "{error}");
}

#[tokio::test]
async fn only_the_identity_coding_is_requested_and_accepted() {
    let tokens = MockServer::start().await;
    let coded = |coding: &str| granting(TOKEN, 60).insert_header("content-encoding", coding);
    for coding in ["identity", "gzip", "hunter2"] {
        let once = Mock::given(path("/as/token.oauth2"))
            .respond_with(coded(coding))
            .up_to_n_times(1);
        once.mount(&tokens).await;
    }
    let endpoint = token_endpoint(&tokens);
    assert!(fetch(&endpoint, &[]).await.is_ok());
    let error = fetch(&endpoint, &[]).await.unwrap_err();
    assert!(
        error.to_string().contains("Content-Encoding is gzip"),
        "{error}"
    );
    assert_eq!(error.kind().name(), "answer");
    let error = fetch(&endpoint, &[]).await.unwrap_err();
    assert!(!error.to_string().contains("hunter2"), "{error}");
    let requests = tokens.received_requests().await.unwrap();
    assert!(
        requests
            .iter()
            .all(|req| req.headers["accept-encoding"] == "identity"),
        "{requests:?}"
    );
}

#[tokio::test]
async fn white_space_before_a_colon_costs_no_token() {
    let body = format!(r#"{{"access_token":"{TOKEN}","token_type":"Bearer","expires_in":60}}"#);
    let length = body.len();
    let response = format!(
        "HTTP/1.1 200 OK\r\nContent-Type : application/json\r\nContent-Length\t : {length}\r\n\r\n{body}"
    );
    let endpoint = raw(response).await;
    assert_eq!(
        fetch(&endpoint, &[]).await.unwrap().header,
        format!("Bearer {TOKEN}")
    );

    let api = api().await;
    answer(&api, ResponseTemplate::new(200)).await;
    let proxy = TestProxy::new(&api.uri(), &endpoint).start().await;
    assert_ok(proxy.addr(), START).await;
}

#[tokio::test]
async fn a_query_of_the_endpoint_reaches_it() {
    let tokens = MockServer::start().await;
    let mock = Mock::given(wiremock::matchers::query_param("tenant", "a b"));
    mock.and(path("/as/token.oauth2"))
        .respond_with(granting(TOKEN, 60))
        .mount(&tokens)
        .await;
    let endpoint = format!("{}?tenant=a%20b", token_endpoint(&tokens));
    fetch(&endpoint, &[]).await.unwrap();
    let host = tokens.received_requests().await.unwrap()[0].headers["host"].clone();
    assert_eq!(host.to_str().unwrap(), tokens.address().to_string());
}

#[tokio::test]
async fn each_unusable_response_has_its_reason() {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let bad = [
        ("token-body=empty", "the body is empty"),
        ("token-body=html", "the body is not JSON"),
        (
            "token-body=no-token",
            "access_token or token_type is missing",
        ),
        (
            "token-body=truncated",
            "the connection to the token endpoint was lost",
        ),
        ("token-body=endless", "the body is longer than 64 KiB"),
        ("token-body=drip", "did not respond in time"),
        ("token-hang", "did not respond in time"),
        ("token-delay=20s", "did not respond in time"),
        (
            "token-reset",
            "the connection to the token endpoint was lost",
        ),
        ("token-type=mac", "the token_type is not Bearer"),
        ("token-bad", "the access_token is not a bearer token"),
        (
            "token-expires-in=0",
            "the expires_in is not a plausible lifetime",
        ),
        (
            "token-expires-in=-1",
            "the expires_in is not a plausible lifetime",
        ),
        (
            "token-expires-in=1e300",
            "the expires_in is not a plausible lifetime",
        ),
        (
            "token-status=500",
            "the token endpoint returned an error status: 500",
        ),
        (
            "token-status=429",
            "the token endpoint returned an error status: 429",
        ),
        (
            "token-status=302",
            "the token endpoint returned an error status: 302",
        ),
        (
            "refuse-client",
            "refuses our credentials: 401 Unauthorized, invalid_client",
        ),
    ];
    for (fault, reason) in bad {
        let sandbox = sandbox(&[fault]).await;
        let set = ["token.timeout=1s"];
        let config = configured(&sandbox.base_url(), &sandbox.token_endpoint(), &set).config;
        let error = Client::new("default", &config.token)
            .unwrap()
            .fetch()
            .await
            .expect_err(fault);
        assert!(error.to_string().contains(reason), "{fault}: {error}");
    }
    let good = [
        "token-body=crlf",
        "token-body=bom",
        "token-type=bEARER",
        "token-expires-in=\"60\"",
        "token-expires-in=60.5",
        "token-expires-in=none",
        "token-same",
        "token-retry-after=7",
    ];
    for fault in good {
        let sandbox = sandbox(&[fault]).await;
        let config = configured(&sandbox.base_url(), &sandbox.token_endpoint(), &[]).config;
        let grant = Client::new("default", &config.token).unwrap().fetch().await;
        grant.unwrap_or_else(|error| panic!("{fault}: {error}"));
    }
}
