//! Addresses in the log of failed connections, to the API and to the token endpoint; responses to
//! callers have none.

use tokio::io::AsyncReadExt;
use tokio::net::{TcpSocket, TcpStream};

use crate::support::api;
use crate::support::caller::{json, post, read_until, send};
use crate::support::process::Running;
use crate::support::server::{scripted, silent};

const START: &str = "/v2/captain/journey/start";

/// The log of a proxy whose only request fails for `reason`, with a response that has no `hidden`.
async fn log_of_failure(set: &[&str], reason: &str, hidden: &str) -> String {
    let mut running = Running::start(set);
    let res = send(running.addr(), post(START)).await;
    assert_eq!(json(&res)["reason"], reason, "{res:?}");
    let response = format!("{res:?}");
    assert!(!response.contains(hidden), "{hidden} in {response}");
    assert_eq!(running.end("-TERM"), 0);
    std::mem::take(&mut running.log)
}

#[tokio::test(flavor = "multi_thread")]
async fn each_failure_of_the_api_names_its_address() {
    // Bound and not listening: no other test can take the port meanwhile.
    let unheard = TcpSocket::new_v4().unwrap();
    unheard.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let dead = unheard.local_addr().unwrap().port();
    let plain = scripted(|mut stream: TcpStream| async move {
        let _ = stream.read(&mut [0]).await;
    })
    .await
    .port();
    let breaking = scripted(|mut stream: TcpStream| async move {
        read_until(&mut stream, "\r\n\r\n").await;
    })
    .await
    .port();
    let silent = silent().await.port();
    let unreachable = "upstream_unreachable";
    for (url, reason, hidden, cause) in [
        (
            format!("http://localhost:{dead}"),
            unreachable,
            dead.to_string(),
            format!(": localhost:{dead}: Connection refused (os error 111) at 127.0.0.1"),
        ),
        (
            format!("http://127.0.0.1:{dead}"),
            unreachable,
            dead.to_string(),
            format!(": 127.0.0.1:{dead}: Connection refused (os error 111)\""),
        ),
        (
            "http://no-such-host.localhost:1".to_owned(),
            unreachable,
            "no-such-host".to_owned(),
            ": no-such-host.localhost:1: the name lookup failed: ".to_owned(),
        ),
        (
            format!("https://localhost:{plain}"),
            unreachable,
            plain.to_string(),
            format!(": localhost:{plain} (127.0.0.1): "),
        ),
        (
            format!("http://localhost:{breaking}"),
            "upstream_broken",
            breaking.to_string(),
            format!(" before a response: localhost:{breaking}: "),
        ),
        (
            format!("http://localhost:{silent}"),
            "upstream_timeout",
            silent.to_string(),
            format!(
                " in time: localhost:{silent}: it sent nothing within upstream.response_timeout (500ms)"
            ),
        ),
    ] {
        let tokens = api().await;
        let endpoint = format!("token.endpoint={}/as/token.oauth2", tokens.uri());
        let set = [
            &format!("upstream.base_url={url}"),
            endpoint.as_str(),
            "upstream.response_timeout=500ms",
        ];
        let log = log_of_failure(&set, reason, &hidden).await;
        assert!(log.contains(&cause), "no {cause:?} in {log}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn each_token_failure_names_its_address() {
    for (endpoint, cause) in [
        (
            "http://localhost:1/",
            "the token endpoint: localhost:1: Connection refused (os error 111) at 127.0.0.1",
        ),
        (
            "http://no-such-host.localhost:1/",
            "the token endpoint: no-such-host.localhost:1: the name lookup failed: ",
        ),
    ] {
        let endpoint = format!("token.endpoint={endpoint}");
        let set = [endpoint.as_str(), "token.wait_timeout=200ms"];
        let log = log_of_failure(&set, "token_unavailable", "localhost").await;
        assert!(log.contains(cause), "no {cause:?} in {log}");
    }
}
