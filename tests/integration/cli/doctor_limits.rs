//! `gbg-proxy doctor` before servers that are slow, or write their fields badly.

use std::time::SystemTime;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::cli::doctor::doctor;
use crate::support::caller::read_until;
use crate::support::server::{scripted, silent};
use crate::support::{api, token_endpoint};

#[tokio::test]
async fn each_step_has_the_time_limit_of_run() {
    let silent = silent().await;
    let egress = format!("upstream.egress_proxy=http://{silent}");
    let limits = [
        "token.timeout=300ms",
        "upstream.connect_timeout=400ms",
        "upstream.response_timeout=500ms",
    ];
    let names = [
        "upstream.base_url=https://api.example",
        "token.endpoint=https://tokens.example/",
    ];
    let said = doctor(&[&limits[..], &names, &[&egress]].concat()).await;
    let slow = "does not open the tunnel in time";
    said.assert(
        '✗',
        "egress proxy: CONNECT",
        &["token.timeout (300ms) expired", slow, "raise token.timeout"],
    );
    let second = said.out.rsplit("egress proxy: CONNECT").next().unwrap();
    assert!(
        second.contains("upstream.connect_timeout (400ms) expired"),
        "{}",
        said.out
    );

    let port = silent.port();
    let tls = [
        format!("upstream.base_url=https://localhost:{port}"),
        format!("token.endpoint=https://localhost:{port}"),
    ];
    let said = doctor(&[&limits[..], &[&tls[0], &tls[1]]].concat()).await;
    said.assert(
        '✗',
        "token endpoint: TLS",
        &[
            "token.timeout (300ms) expired",
            "raise token.timeout (300ms)",
        ],
    );
    said.assert(
        '✗',
        "API: TLS",
        &["upstream.connect_timeout (400ms) expired"],
    );

    let plain = [
        format!("upstream.base_url=http://localhost:{port}"),
        format!("token.endpoint=http://localhost:{port}"),
    ];
    let said = doctor(&[&limits[..], &[&plain[0], &plain[1]]].concat()).await;
    said.assert('✗', "clock", &["no response within token.timeout (300ms)"]);
    said.assert(
        '✗',
        "token request",
        &["token.timeout (300ms) expired during the response of localhost"],
    );

    let endpoint = format!("token.endpoint={}", token_endpoint(&api().await));
    let said = doctor(&[&limits[1..], &[&endpoint, &plain[0]]].concat()).await;
    said.assert(
        '✗',
        "API: call",
        &["no response within upstream.response_timeout (500ms)"],
    );
}

#[tokio::test]
async fn white_space_before_a_colon_breaks_no_step() {
    let addr = scripted(|mut stream: TcpStream| async move {
        let head = read_until(&mut stream, "\r\n\r\n").await;
        let body = match head.starts_with("POST /token") {
            true => r#"{"access_token":"a","token_type":"Bearer","expires_in":60}"#,
            false => "{}",
        };
        let date = httpdate::fmt_http_date(SystemTime::now());
        let response = format!(
            "HTTP/1.1 200 OK\r\nDate : {date}\r\nContent-Length : {}\r\n\r\n{body}",
            body.len()
        );
        let _ = stream.write_all(response.as_bytes()).await;
        // To close with a part of the request unread would take the response back.
        let _ = stream.read_to_end(&mut Vec::new()).await;
    })
    .await;
    let set = [
        format!("upstream.base_url=http://{addr}"),
        format!("token.endpoint=http://{addr}/token"),
    ];
    let said = doctor(&[&set[0], &set[1]]).await;
    assert_eq!(said.code, Some(0), "{}", said.out);
    said.assert('✓', "clock", &["agrees"]);
    said.assert('✓', "token request", &["lifetime of 1m"]);
    said.assert('✓', "API: call", &["accepted"]);
}
