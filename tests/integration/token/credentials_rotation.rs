//! Credentials of the client that are replaced while the proxy runs, or cannot be read.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use gbg_proxy::config::{self, Sources};
use http::StatusCode;
use tokio::time::timeout;
use wiremock::matchers::{body_string_contains, path};
use wiremock::{Mock, MockServer, ResponseTemplate};

use crate::support::caller::{assert_ok, post, send, until};
use crate::support::{
    Proxy, TestProxy, answer, api, environment, forwarded, granting, token_endpoint,
};
use crate::token::credentials::{endpoint, forms, secret_file};
use gbg_proxy::token::TokenSource;

const START: &str = "/v2/captain/journey/start";

#[test]
fn every_credential_file_is_watched() {
    let directory = tempfile::tempdir().unwrap();
    let file = |name: &str, text: String| {
        let path = directory.path().join(name);
        fs::write(&path, text).unwrap();
        path
    };
    let client = rcgen::generate_simple_self_signed(["the-client".to_owned()]).unwrap();
    let files = [
        ("client_id=file:", file("id", "a".to_owned())),
        ("client_secret=file:", file("secret", "b".to_owned())),
        ("username=file:", file("user", "c".to_owned())),
        ("password=file:", file("password", "d".to_owned())),
        ("client_cert=", file("cert", client.cert.pem())),
        (
            "client_key=",
            file("key", client.signing_key.serialize_pem()),
        ),
    ];
    let mut set: Vec<_> = files
        .iter()
        .map(|(key, path)| format!("token.{key}{}", path.display()))
        .collect();
    set.push("token.grant=password".to_owned());
    let loaded = config::load(&Sources {
        set,
        env: environment(),
        file: None,
    })
    .unwrap();
    assert_eq!(
        loaded.config.token.credentials.files(),
        files.each_ref().map(|(_, path)| path.as_path())
    );
}

#[tokio::test]
async fn unreadable_sources_leave_the_last_credentials() {
    let (_directory, secret, kept) = secret_file("one\n");
    let api = api().await;
    let set = [kept];
    let endpoint = endpoint(&token_endpoint(&api), &set).unwrap();
    endpoint.fetch().await.unwrap();
    fs::write(&secret, "two\n").unwrap();
    endpoint.fetch().await.unwrap();
    fs::write(&secret, "").unwrap();
    endpoint.fetch().await.unwrap();
    fs::remove_file(&secret).unwrap();
    endpoint.fetch().await.unwrap();
    let sent: Vec<_> = forms(&api)
        .await
        .iter()
        .map(|form| form["client_secret"].clone())
        .collect();
    assert_eq!(sent, ["one", "two", "two", "two"]);
}

/// A tool that renders the same content again and again would otherwise cause a token call a
/// second.
#[tokio::test]
async fn an_unchanged_rewritten_secret_causes_no_fetch() {
    let (_directory, secret, kept) = secret_file("one");
    let api = api().await;
    let set = [kept];
    let endpoint = endpoint(&token_endpoint(&api), &set).unwrap();
    let patience = Duration::from_millis(2500);
    fs::write(&secret, "one\n").unwrap();
    assert!(timeout(patience, endpoint.changed()).await.is_err());
    fs::remove_file(&secret).unwrap();
    assert!(timeout(patience, endpoint.changed()).await.is_err());
    fs::write(&secret, "two").unwrap();
    assert!(timeout(patience, endpoint.changed()).await.is_ok());
}

/// A pipe that nobody writes to would else be waited for without an end, and each token with it.
#[cfg(unix)]
#[tokio::test]
async fn a_pipe_as_secret_hangs_no_fetch() {
    let (_directory, secret, kept) = secret_file("one");
    let api = api().await;
    let set = [kept];
    let endpoint = endpoint(&token_endpoint(&api), &set).unwrap();
    fs::remove_file(&secret).unwrap();
    assert!(
        Command::new("mkfifo")
            .arg(&secret)
            .status()
            .unwrap()
            .success()
    );
    timeout(Duration::from_secs(10), endpoint.fetch())
        .await
        .expect("it hangs")
        .unwrap();
    fs::remove_file(&secret).unwrap();
    fs::create_dir(&secret).unwrap();
    timeout(Duration::from_secs(10), endpoint.fetch())
        .await
        .expect("it hangs")
        .unwrap();
    let sent: Vec<_> = forms(&api)
        .await
        .iter()
        .map(|form| form["client_secret"].clone())
        .collect();
    assert_eq!(sent, ["one", "one"]);
}

/// A token endpoint that knows two clients, each by its secret.
async fn api_of_two_clients() -> MockServer {
    let api = MockServer::start().await;
    for (secret, token) in [
        ("client_id=one&client_secret=first", "of-one"),
        ("client_id=two&client_secret=second", "of-two"),
    ] {
        Mock::given(path("/as/token.oauth2"))
            .and(body_string_contains(secret))
            .respond_with(granting(token, 3600))
            .mount(&api)
            .await;
    }
    let refusal = ResponseTemplate::new(401).set_body_string("{\"error\":\"invalid_client\"}\r\n");
    Mock::given(path("/as/token.oauth2"))
        .respond_with(refusal)
        .mount(&api)
        .await;
    answer(&api, ResponseTemplate::new(200)).await;
    api
}

/// An API of two clients, and a proxy that has served a request with the pair in `directory`.
async fn serving_pair(directory: &Path) -> (MockServer, Proxy) {
    let api = api_of_two_clients().await;
    let set = ["id", "secret"].map(|name| {
        let file = directory.join(name);
        format!("token.client_{name}=file:{}", file.display())
    });
    let proxy = TestProxy::before(&api)
        .set(&[&set[0], &set[1]])
        .start()
        .await;
    assert_ok(proxy.addr(), START).await;
    (api, proxy)
}

async fn sent_with(api: &MockServer, token: &str) -> bool {
    forwarded(api)
        .await
        .last()
        .is_some_and(|req| req.headers["authorization"] == format!("Bearer {token}").as_str())
}

#[tokio::test]
async fn rotation_of_a_pair_fails_no_request() {
    let directory = tempfile::tempdir().unwrap();
    let file = |name: &str| directory.path().join(name);
    fs::write(file("id"), "one\n").unwrap();
    fs::write(file("secret"), "first\n").unwrap();
    let (api, proxy) = serving_pair(directory.path()).await;
    assert!(sent_with(&api, "of-one").await);

    // One after the other, as a careless hand does it: the pair in between is refused, and the
    // token serves on.
    fs::write(file("id"), "two\n").unwrap();
    until(async || {
        assert_ok(proxy.addr(), START).await;
        api.received_requests().await.unwrap().iter().any(|req| {
            req.body.starts_with(b"grant_type") && {
                let body = String::from_utf8_lossy(&req.body);
                body.contains("client_id=two&client_secret=first")
            }
        })
    })
    .await;
    assert!(sent_with(&api, "of-one").await);
    fs::write(file("secret"), "second\n").unwrap();
    until(async || {
        assert_ok(proxy.addr(), START).await;
        sent_with(&api, "of-two").await
    })
    .await;
}

/// Kubernetes swaps one link for all files of a secret.
#[cfg(unix)]
#[tokio::test]
async fn a_kubernetes_secret_is_swapped_atomically() {
    use std::os::unix::fs::symlink;
    let directory = tempfile::tempdir().unwrap();
    let file = |name: &str| directory.path().join(name);
    for (version, id, secret) in [("..v1", "one", "first"), ("..v2", "two", "second")] {
        fs::create_dir(file(version)).unwrap();
        fs::write(file(version).join("id"), id).unwrap();
        fs::write(file(version).join("secret"), secret).unwrap();
    }
    symlink("..v1", file("..data")).unwrap();
    for name in ["id", "secret"] {
        symlink(Path::new("..data").join(name), file(name)).unwrap();
    }
    let (api, proxy) = serving_pair(directory.path()).await;
    symlink("..v2", file("..data_tmp")).unwrap();
    fs::rename(file("..data_tmp"), file("..data")).unwrap();
    until(async || {
        assert_ok(proxy.addr(), START).await;
        sent_with(&api, "of-two").await
    })
    .await;
}

#[tokio::test]
async fn a_corrected_secret_ends_the_refusal_at_once() {
    let (_directory, secret, kept) = secret_file("wrong");
    let api = api_of_two_clients().await;
    let proxy = TestProxy::before(&api)
        .set(&["token.client_id=one", &kept])
        .start()
        .await;
    let refused = send(proxy.addr(), post(START)).await;
    assert_eq!(
        crate::support::caller::json(&refused)["reason"],
        "client_refused"
    );
    assert!(
        refused.headers()["retry-after"]
            .to_str()
            .unwrap()
            .parse::<u64>()
            .unwrap()
            >= 1
    );
    fs::write(&secret, "first").unwrap();
    until(async || send(proxy.addr(), post(START)).await.status() == StatusCode::OK).await;
}
