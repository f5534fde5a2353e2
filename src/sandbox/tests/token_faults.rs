//! Faults of the token endpoint, checked byte by byte.

use std::time::Instant;

use super::raw::*;
use super::*;

#[tokio::test]
async fn token_delay_delays_the_response() {
    let sandbox = with_faults(&["token-delay=300ms*1"]).await;
    let began = Instant::now();
    assert!(is_good(ask_token(&sandbox).await.text()));
    assert!(began.elapsed() >= SHORT, "{:?}", began.elapsed());
    assert!(sandbox.faults().is_empty());
}

#[tokio::test]
async fn a_hanging_request_issues_no_token() {
    let sandbox = with_faults(&["token-hang*1"]).await;
    assert!(
        read_start(&mut open_token(&sandbox).await, 1, SHORT)
            .await
            .is_empty()
    );
    assert_eq!((sandbox.token_calls(), sandbox.tokens_issued()), (1, 0));
    assert!(is_good(ask_token(&sandbox).await.text()));
}

#[tokio::test]
async fn a_reset_request_issues_no_token() {
    let sandbox = with_faults(&["token-reset*2"]).await;
    for _ in 0..2 {
        assert!(ask_token(&sandbox).await.is_nothing());
    }
    assert_eq!((sandbox.token_calls(), sandbox.tokens_issued()), (2, 0));
    assert!(is_good(ask_token(&sandbox).await.text()));
}

#[tokio::test]
async fn status_and_retry_after_are_injected() {
    let sandbox = with_faults(&[
        "token-status=500*1",
        "token-status=429*1",
        "token-retry-after=7*1",
    ])
    .await;
    sandbox.set_faults(sandbox.faults().into_iter().rev());
    let response = ask_token(&sandbox).await;
    assert_eq!(
        (response.status(), response.field("retry-after")),
        ("429", Some("7"))
    );
    let response = ask_token(&sandbox).await;
    assert_eq!(
        (response.status(), response.field("retry-after")),
        ("500", None)
    );
    assert_eq!(
        response.text(),
        "the sandbox was asked to respond with 500\n"
    );

    let date = "Wed, 21 Oct 2015 07:28:00 GMT";
    sandbox.set_faults([format!("token-retry-after={date}").parse().unwrap()]);
    let response = ask_token(&sandbox).await;
    assert_eq!(
        (response.status(), response.field("retry-after")),
        ("200", Some(date))
    );
    assert!(is_good(response.text()));
}

#[tokio::test]
async fn bodies_without_a_token() {
    let sandbox = with_faults(&[
        "token-body=empty*1",
        "token-body=html*1",
        "token-body=no-token*1",
    ])
    .await;
    let response = ask_token(&sandbox).await;
    assert_eq!(
        (
            response.status(),
            response.field("content-length"),
            response.text()
        ),
        ("200", Some("0"), "")
    );
    let response = ask_token(&sandbox).await;
    assert_eq!(
        response.field("content-type"),
        Some("text/html;charset=utf-8")
    );
    assert!(response.text().starts_with("<!DOCTYPE html>"));
    let response = ask_token(&sandbox).await;
    assert_eq!(
        response.text(),
        r#"{"token_type":"Bearer","expires_in":3600}"#
    );
    assert_eq!(sandbox.tokens_issued(), 0);
}

#[tokio::test]
async fn bodies_with_bytes_around_the_token() {
    let sandbox = with_faults(&["token-body=crlf*1", "token-body=bom*1"]).await;
    let response = ask_token(&sandbox).await;
    assert!(response.text().ends_with("}\r\n") && is_good(response.text()));
    let response = ask_token(&sandbox).await;
    assert!(response.body.starts_with(b"\xef\xbb\xbf{") && is_good(&response.text()[3..]));
}

#[tokio::test]
async fn a_truncated_body_lacks_its_last_byte() {
    let sandbox = with_faults(&["token-body=truncated"]).await;
    let response = ask_token(&sandbox).await;
    assert_eq!(
        response.field("content-length").unwrap(),
        (response.body.len() + 1).to_string()
    );
    assert!(is_good(response.text()));
}

#[tokio::test]
async fn an_endless_body_keeps_coming() {
    let sandbox = with_faults(&["token-body=endless"]).await;
    let body = read_start(&mut open_token(&sandbox).await, 400_000, LONG).await;
    assert_eq!(body.len(), 400_000);
    assert!(body.iter().filter(|&&byte| byte == b' ').count() > 390_000);
}

#[tokio::test]
async fn a_dripping_body_sends_single_bytes() {
    let sandbox = with_faults(&["token-body=drip"]).await;
    let mut stream = open_token(&sandbox).await;
    let mut body = Vec::new();
    while !body.ends_with(b"\r\n\r\n1\r\n{\r\n") {
        body.extend(read_start(&mut stream, 1, LONG).await);
    }
    assert!(read_start(&mut stream, 1, SHORT).await.is_empty());
    assert_eq!(read_start(&mut stream, 6, LONG).await, b"1\r\n\"\r\n");
}

#[tokio::test]
async fn the_token_type_is_replaced() {
    let sandbox = with_faults(&["token-type=mac"]).await;
    assert_eq!(ask_token(&sandbox).await.json()["token_type"], "mac");
}

#[tokio::test]
async fn a_token_has_a_line_end_in_it() {
    let sandbox = with_faults(&["token-bad"]).await;
    let token = ask_token(&sandbox).await.json()["access_token"]
        .as_str()
        .unwrap()
        .to_owned();
    assert_eq!(
        token,
        format!("{}\r\nX-Injected: 1", sandbox.issued_tokens()[0])
    );
    assert!(HeaderValue::from_str(&token).is_err());
}

#[tokio::test]
async fn token_same_repeats_a_valid_token() {
    let sandbox = with_faults(&["token-lifetime=10s*1", "token-same"]).await;
    let first = ask_token(&sandbox).await.json();
    let again = ask_token(&sandbox).await.json();
    assert_eq!(again["access_token"], first["access_token"]);
    // Less than 10 s are left, rounded down to whole seconds.
    assert!(
        (1..10).contains(&again["expires_in"].as_u64().unwrap()),
        "{again}"
    );
    assert_eq!(
        (&first["expires_in"], sandbox.tokens_issued()),
        (&json!(10), 1)
    );
    sandbox.revoke_all();
    let other = ask_token(&sandbox).await.json();
    assert_ne!(other["access_token"], first["access_token"]);
    assert_eq!(other["expires_in"], 3600);
    assert_eq!(
        sandbox.issued_tokens(),
        [first, other].map(|json| json["access_token"].as_str().unwrap().to_owned())
    );
}

#[tokio::test]
async fn expires_in_is_sent_as_written() {
    let sandbox = with_faults(&[]).await;
    for value in ["\"3600\"", "3600.5", "-1", "1e300", "1e999", "null"] {
        sandbox.set_faults([format!("token-expires-in={value}").parse().unwrap()]);
        let response = ask_token(&sandbox).await;
        let end = format!(r#"","token_type":"Bearer","expires_in":{value}}}"#);
        assert!(response.text().ends_with(&end), "{}", response.text());
    }
    sandbox.set_faults(["token-expires-in=none".parse().unwrap()]);
    assert!(
        ask_token(&sandbox)
            .await
            .text()
            .ends_with(r#"","token_type":"Bearer"}"#)
    );
}

#[tokio::test]
async fn token_life_sets_the_lifetime() {
    let sandbox = with_faults(&["token-lifetime=300ms"]).await;
    let began = Instant::now();
    let response = ask_token(&sandbox).await.json();
    assert_eq!(response["expires_in"], 0);
    let token = response["access_token"].as_str().unwrap();
    let long = "/v2/captain/sandbox/bytes/1";
    let status = call_with(&sandbox, token, long).await.status().to_owned();
    assert!(status == "200" || began.elapsed() >= SHORT, "{status}");
    tokio::time::sleep(SHORT).await;
    assert_eq!(call_with(&sandbox, token, long).await.status(), "401");
}

#[tokio::test]
async fn refuse_client_refuses_a_valid_client() {
    let sandbox = with_faults(&["refuse-client*1"]).await;
    let response = ask_token(&sandbox).await;
    assert_eq!(response.status(), "401");
    assert_eq!(
        response.text(),
        "{\"error_description\":\"Invalid client or client credentials\",\"error\":\"invalid_client\"}\r\n"
    );
    assert!(is_good(ask_token(&sandbox).await.text()));
}
