//! The way out through a corporate proxy, and the certificate that is shown to the API.

use std::path::Path;

use gbg_proxy::config::{self, Sources};
use http::StatusCode;
use tempfile::TempDir;
use wiremock::{MockServer, ResponseTemplate};

use crate::support::caller::{assert_ok, post, send};
use crate::support::egress::{Egress, tls_before};
use crate::support::{
    CLIENT_SECRET, TOKEN, TestProxy, answer, api, environment, forwarded, token_calls,
    token_endpoint,
};

pub(crate) const START: &str = "/v2/captain/journey/start";
pub(crate) const API: &str = "https://api.example";
pub(crate) const TOKENS: &str = "https://tokens.example/as/token.oauth2";

/// An API that serves tokens as well, behind TLS and an egress proxy, and the set that trusts its
/// certificate.
async fn network() -> (MockServer, Egress, TempDir, String) {
    let api = api().await;
    answer(&api, ResponseTemplate::new(200)).await;
    let (tls, pem) = tls_before(*api.address(), &["api.example", "tokens.example"], None).await;
    let directory = tempfile::tempdir().unwrap();
    let ca_file = directory.path().join("ca.pem");
    std::fs::write(&ca_file, pem).unwrap();
    (
        api,
        Egress::to(tls).await,
        directory,
        format!("upstream.ca_file={}", ca_file.display()),
    )
}

#[tokio::test]
async fn api_and_token_endpoint_use_the_tunnel() {
    let (api, egress, _directory, ca_file) = network().await;
    let proxy = TestProxy::new(API, TOKENS)
        .set(&[&ca_file, &egress.set(), "listen.workers=1"])
        .start()
        .await;
    for _ in 0..3 {
        assert_ok(proxy.addr(), START).await;
    }
    assert_eq!(
        (token_calls(&api).await, forwarded(&api).await.len()),
        (1, 3)
    );
    assert_eq!(forwarded(&api).await[0].headers["host"], "api.example");
    // One tunnel for the token, and one for all requests: it is pooled as any other connection is.
    assert_eq!(
        (
            egress.count("tokens.example:443"),
            egress.count("api.example:443")
        ),
        (1, 1)
    );
    let heads = egress.heads();
    assert!(
        heads
            .iter()
            .all(|head| head.contains("\r\nuser-agent: gbg-proxy/")),
        "{heads:?}"
    );
    assert!(!format!("{heads:?}").contains("authorization"), "{heads:?}");
    let seen = egress.seen();
    assert!(!seen.is_empty());
    for secret in [
        TOKEN,
        CLIENT_SECRET,
        "uthorization",
        "client_id",
        "/v2/captain",
    ] {
        assert!(
            !seen.contains(secret),
            "{secret} went through the tunnel in clear"
        );
    }
}

#[tokio::test]
async fn only_the_egress_proxy_gets_its_credentials() {
    let (api, egress, directory, ca_file) = network().await;
    let with_password = egress.set_with("corp%5Cada:p%40ss", directory.path());
    let proxy = TestProxy::new(API, TOKENS)
        .set(&[&ca_file, &with_password])
        .start()
        .await;
    assert_ok(proxy.addr(), START).await;
    let heads = egress.heads();
    assert_eq!(heads.len(), 2);
    for head in &heads {
        // "corp\ada:p@ss"
        let field = "\r\nproxy-authorization: basic y29ycfxhzge6cebzcw==\r\n";
        assert!(head.contains(field), "{head}");
    }
    let reached = api.received_requests().await.unwrap();
    assert!(
        reached
            .iter()
            .all(|req| !req.headers.contains_key("proxy-authorization")),
        "{reached:?}"
    );
}

#[tokio::test]
async fn a_plaintext_api_uses_the_tunnel_too() {
    let api = api().await;
    answer(&api, ResponseTemplate::new(200)).await;
    let egress = Egress::to(*api.address()).await;
    let set = [&egress.set(), "upstream.allow_http=true"];
    let proxy = TestProxy::new("http://api.example:8080", &token_endpoint(&api))
        .set(&set)
        .start()
        .await;
    assert_ok(proxy.addr(), START).await;
    assert_eq!(
        egress.heads().len(),
        1,
        "the token endpoint is on this machine"
    );
    assert_eq!(egress.count("api.example:8080"), 1);
    assert_eq!(forwarded(&api).await[0].url.path(), START);
}

#[tokio::test]
async fn loopback_and_no_proxy_hosts_are_reached_directly() {
    let api = api().await;
    answer(&api, ResponseTemplate::new(200)).await;
    let dead = "upstream.egress_proxy=http://127.0.0.1:1";
    let proxy = TestProxy::before(&api).set(&[dead]).start().await;
    assert_ok(proxy.addr(), START).await;

    // Linux takes this address for this machine; by the book it is none of loopback.
    let here = format!("http://0.0.0.0:{}", api.address().port());
    let plain = ["upstream.allow_http=true", "token.allow_http=true"];
    for (no_proxy, status) in [
        (
            "upstream.no_proxy=[\"a.example\", \"0.0.0.0/8\"]",
            StatusCode::OK,
        ),
        (
            "upstream.no_proxy=[\"a.example\"]",
            StatusCode::SERVICE_UNAVAILABLE,
        ),
    ] {
        let set = [
            dead,
            no_proxy,
            "token.wait_timeout=300ms",
            plain[0],
            plain[1],
        ];
        let proxy = TestProxy::new(&here, &format!("{here}/as/token.oauth2"))
            .set(&set)
            .start()
            .await;
        assert_eq!(
            send(proxy.addr(), post(START)).await.status(),
            status,
            "{no_proxy}"
        );
    }
}

/// A certificate of a client's, and the keys that name it.
fn certificate(directory: &Path) -> (rcgen::CertifiedKey<rcgen::KeyPair>, [String; 2]) {
    let client = rcgen::generate_simple_self_signed(["the-client".to_owned()]).unwrap();
    let written = |name: &str, text: String| {
        let path = directory.join(name);
        std::fs::write(&path, text).unwrap();
        path.display().to_string()
    };
    let set = [
        format!(
            "upstream.client_cert={}",
            written("client.crt", client.cert.pem())
        ),
        format!(
            "upstream.client_key={}",
            written("client.key", client.signing_key.serialize_pem())
        ),
    ];
    (client, set)
}

#[tokio::test]
async fn the_api_gets_the_client_certificate() {
    let api = api().await;
    answer(&api, ResponseTemplate::new(200)).await;
    let directory = tempfile::tempdir().unwrap();
    let (client, [cert, key]) = certificate(directory.path());
    let (addr, pem) = tls_before(
        *api.address(),
        &["localhost"],
        Some(client.cert.der().clone()),
    )
    .await;
    let ca_file = directory.path().join("ca.pem");
    std::fs::write(&ca_file, pem).unwrap();
    let ca_file = format!("upstream.ca_file={}", ca_file.display());
    let base_url = format!("https://localhost:{}", addr.port());

    let proxy = TestProxy::new(&base_url, &token_endpoint(&api))
        .set(&[&ca_file, &cert, &key])
        .start()
        .await;
    assert_ok(proxy.addr(), START).await;

    let proxy = TestProxy::new(&base_url, &token_endpoint(&api))
        .set(&[&ca_file])
        .start()
        .await;
    assert_eq!(
        send(proxy.addr(), post(START)).await.status(),
        StatusCode::BAD_GATEWAY
    );
    assert_eq!(forwarded(&api).await.len(), 1);
}

#[test]
fn a_client_certificate_needs_key_and_https() {
    let directory = tempfile::tempdir().unwrap();
    let (_, [cert, key]) = certificate(directory.path());
    let load = |set: &[&str]| {
        let set = set.iter().map(|&set| set.to_owned()).collect();
        config::load(&Sources {
            set,
            env: environment(),
            file: None,
        })
        .map_err(|error| error.to_string())
    };
    assert!(
        load(&[&cert, &key])
            .unwrap()
            .config
            .upstream
            .identity
            .is_some()
    );
    let other = directory.path().join("other.key");
    std::fs::write(&other, rcgen::KeyPair::generate().unwrap().serialize_pem()).unwrap();
    let other = format!("upstream.client_key={}", other.display());
    for (set, key, fix) in [
        (
            &[cert.as_str()][..],
            "upstream.client_key",
            "write upstream.client_key as well",
        ),
        (
            &[&key],
            "upstream.client_cert",
            "write upstream.client_cert as well",
        ),
        (
            &[&cert, &other],
            "upstream.client_key",
            "give the key that the first certificate",
        ),
        (
            &[&cert, "upstream.client_key=/no/such/file"],
            "upstream.client_key",
            "check the path",
        ),
        (
            &[&cert, &key, "upstream.base_url=http://localhost"],
            "upstream.client_cert",
            "write an https://",
        ),
    ] {
        let error = load(set).map(drop).unwrap_err();
        assert!(
            error.contains(&format!("{key}: ")) && error.contains(&format!("fix: {fix}")),
            "{error}"
        );
    }
}
