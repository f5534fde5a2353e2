//! Tests of the OAuth client: changed credentials, and the limit of a request.

use std::path::Path;
use std::sync::mpsc;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::time::sleep;

use super::*;
use crate::config::{Sources, load};
use crate::upstream::ConnectStep;

/// A client whose secret is in the file `secret`.
fn client(secret: &Path) -> Client {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let set = vec![
        "token.endpoint=http://127.0.0.1:1".to_owned(),
        "token.client_id=a".to_owned(),
        format!("token.client_secret=file:{}", secret.display()),
    ];
    let loaded = load(&Sources {
        set,
        ..Sources::default()
    });
    Client::new("default", &loaded.unwrap().config.token).unwrap()
}

#[test]
fn a_changed_secret_file_makes_a_new_client() {
    let secret = tempfile::NamedTempFile::new().unwrap();
    let [one, same, other] = ["one", "one", "other"].map(|text| {
        std::fs::write(secret.path(), text).unwrap();
        client(secret.path())
    });
    assert!(one.requests_same_token(&same) && !one.requests_same_token(&other));
}

#[tokio::test]
async fn a_change_survives_a_dropped_wait() {
    let directory = tempfile::tempdir().unwrap();
    let secret = directory.path().join("secret");
    std::fs::write(&secret, "one").unwrap();
    let client = client(&secret);
    std::fs::write(&secret, "another").unwrap();
    let (release, held) = mpsc::channel::<()>();
    let hang = client.blocking.run(move || held.recv());
    let _ = timeout(Duration::from_millis(10), hang).await;
    assert!(
        timeout(Duration::from_millis(1500), client.credentials_changed())
            .await
            .is_err()
    );
    drop(release);
    timeout(Duration::from_secs(1), client.credentials_changed())
        .await
        .expect("the change is lost");
}

/// Requests a token from an endpoint whose name is resolved after `delay`; `token.timeout` is 10 s.
async fn fetch_after_lookup(delay: Duration) -> Result<TokenResponse, FetchError> {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut request = Vec::new();
        while !request.ends_with(b"client_secret=s") {
            assert_ne!(stream.read_buf(&mut request).await.unwrap(), 0);
        }
        let body = r#"{"access_token":"a","token_type":"Bearer"}"#;
        let response = format!(
            "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        );
        stream.write_all(response.as_bytes()).await.unwrap();
    });
    let set = [
        "token.endpoint=http://tokens.example/",
        "token.allow_http=true",
        "token.timeout=10s",
    ];
    let env = [("GBG_CLIENT_ID", "a"), ("GBG_CLIENT_SECRET", "s")];
    let env = env
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .into();
    let config = load(&Sources {
        set: set.map(str::to_owned).into(),
        env,
        file: None,
    })
    .unwrap()
    .config
    .token;
    let mut client = Client::new("default", &config).unwrap();
    let dialer = Dialer::new(config.endpoint.origin().unwrap(), None);
    client.dialer = dialer.with_resolver(move |host, port| {
        assert_eq!((host.as_str(), port), ("tokens.example", 80));
        Box::pin(async move {
            sleep(delay).await;
            Ok(vec![addr])
        })
    });
    client.fetch().await
}

/// With a dead first name server glibc takes five seconds.
#[tokio::test(start_paused = true)]
async fn token_timeout_bounds_the_name_lookup() {
    assert!(fetch_after_lookup(Duration::from_secs(5)).await.is_ok());
    assert!(fetch_after_lookup(Duration::from_secs(9)).await.is_ok());
    let error = fetch_after_lookup(Duration::from_secs(11))
        .await
        .unwrap_err();
    let FetchError::Timeout(late) = error else {
        panic!("{error:?}")
    };
    assert_eq!(late.step, ConnectStep::Lookup);
    let text = "token.timeout (10s) expired during the name lookup of tokens.example:80";
    assert_eq!(late.to_string(), text);
}
