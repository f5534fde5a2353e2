//! What goes wrong at the token endpoint, by the bytes that come.

use std::time::Instant;

use super::raw::*;
use super::*;

#[tokio::test]
async fn a_token_comes_late() {
    let sandbox = with_faults(&["token-delay=300ms*1"]).await;
    let began = Instant::now();
    assert!(is_good(ask_token(&sandbox).await.text()));
    assert!(began.elapsed() >= SHORT, "{:?}", began.elapsed());
    assert!(sandbox.faults().is_empty());
}

#[tokio::test]
async fn a_token_never_comes() {
    let sandbox = with_faults(&["token-hang*1"]).await;
    assert!(
        begun(&mut open_token(&sandbox).await, 1, SHORT)
            .await
            .is_empty()
    );
    assert_eq!((sandbox.token_calls(), sandbox.tokens_issued()), (1, 0));
    assert!(is_good(ask_token(&sandbox).await.text()));
}

#[tokio::test]
async fn the_token_endpoint_closes_the_connection() {
    let sandbox = with_faults(&["token-reset*2"]).await;
    for _ in 0..2 {
        assert!(ask_token(&sandbox).await.is_nothing());
    }
    assert_eq!((sandbox.token_calls(), sandbox.tokens_issued()), (2, 0));
    assert!(is_good(ask_token(&sandbox).await.text()));
}

#[tokio::test]
async fn the_token_endpoint_answers_with_a_status_and_a_retry_after() {
    let sandbox = with_faults(&[
        "token-status=500*1",
        "token-status=429*1",
        "token-retry-after=7*1",
    ])
    .await;
    sandbox.set_faults(sandbox.faults().into_iter().rev());
    let answer = ask_token(&sandbox).await;
    assert_eq!(
        (answer.status(), answer.field("retry-after")),
        ("429", Some("7"))
    );
    let answer = ask_token(&sandbox).await;
    assert_eq!(
        (answer.status(), answer.field("retry-after")),
        ("500", None)
    );
    assert_eq!(answer.text(), "the sandbox was told to answer with 500\n");

    let date = "Wed, 21 Oct 2015 07:28:00 GMT";
    sandbox.set_faults([format!("token-retry-after={date}").parse().unwrap()]);
    let answer = ask_token(&sandbox).await;
    assert_eq!(
        (answer.status(), answer.field("retry-after")),
        ("200", Some(date))
    );
    assert!(is_good(answer.text()));
}

#[tokio::test]
async fn bodies_without_a_token() {
    let sandbox = with_faults(&[
        "token-body=empty*1",
        "token-body=html*1",
        "token-body=no-token*1",
    ])
    .await;
    let answer = ask_token(&sandbox).await;
    assert_eq!(
        (
            answer.status(),
            answer.field("content-length"),
            answer.text()
        ),
        ("200", Some("0"), "")
    );
    let answer = ask_token(&sandbox).await;
    assert_eq!(
        answer.field("content-type"),
        Some("text/html;charset=utf-8")
    );
    assert!(answer.text().starts_with("<!DOCTYPE html>"));
    let answer = ask_token(&sandbox).await;
    assert_eq!(
        answer.text(),
        r#"{"token_type":"Bearer","expires_in":3600}"#
    );
    assert_eq!(sandbox.tokens_issued(), 0);
}

#[tokio::test]
async fn bodies_with_something_around_the_token() {
    let sandbox = with_faults(&["token-body=crlf*1", "token-body=bom*1"]).await;
    let answer = ask_token(&sandbox).await;
    assert!(answer.text().ends_with("}\r\n") && is_good(answer.text()));
    let answer = ask_token(&sandbox).await;
    assert!(answer.body.starts_with(b"\xef\xbb\xbf{") && is_good(&answer.text()[3..]));
}

#[tokio::test]
async fn a_body_is_shorter_than_it_says() {
    let sandbox = with_faults(&["token-body=truncated"]).await;
    let answer = ask_token(&sandbox).await;
    assert_eq!(
        answer.field("content-length").unwrap(),
        (answer.body.len() + 1).to_string()
    );
    assert!(is_good(answer.text()));
}

#[tokio::test]
async fn a_body_has_no_end() {
    let sandbox = with_faults(&["token-body=endless"]).await;
    let body = begun(&mut open_token(&sandbox).await, 400_000, LONG).await;
    assert_eq!(body.len(), 400_000);
    assert!(body.iter().filter(|&&byte| byte == b' ').count() > 390_000);
}

#[tokio::test]
async fn a_body_drips() {
    let sandbox = with_faults(&["token-body=drip"]).await;
    let mut stream = open_token(&sandbox).await;
    let mut body = Vec::new();
    while !body.ends_with(b"\r\n\r\n1\r\n{\r\n") {
        body.extend(begun(&mut stream, 1, LONG).await);
    }
    assert!(begun(&mut stream, 1, SHORT).await.is_empty());
    assert_eq!(begun(&mut stream, 6, LONG).await, b"1\r\n\"\r\n");
}

#[tokio::test]
async fn a_token_is_of_another_type() {
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
async fn a_token_is_the_one_before_while_it_lives() {
    let sandbox = with_faults(&["token-life=10s*1", "token-same"]).await;
    let first = ask_token(&sandbox).await.json();
    let again = ask_token(&sandbox).await.json();
    assert_eq!(again["access_token"], first["access_token"]);
    // Less than 10 s are left, of which only the whole ones are told.
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
async fn expires_in_is_whatever_was_written() {
    let sandbox = with_faults(&[]).await;
    for value in ["\"3600\"", "3600.5", "-1", "1e300", "1e999", "null"] {
        sandbox.set_faults([FaultKind::TokenExpiresIn(Some(value.to_owned())).into()]);
        let answer = ask_token(&sandbox).await;
        let end = format!(r#"","token_type":"Bearer","expires_in":{value}}}"#);
        assert!(answer.text().ends_with(&end), "{}", answer.text());
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
async fn a_token_lives_as_long_as_it_was_told_to() {
    let sandbox = with_faults(&["token-life=300ms"]).await;
    let began = Instant::now();
    let answer = ask_token(&sandbox).await.json();
    assert_eq!(answer["expires_in"], 0);
    let token = answer["access_token"].as_str().unwrap();
    let long = "/v2/captain/sandbox/bytes/1";
    let status = call_with(&sandbox, token, long).await.status().to_owned();
    assert!(status == "200" || began.elapsed() >= SHORT, "{status}");
    tokio::time::sleep(SHORT).await;
    assert_eq!(call_with(&sandbox, token, long).await.status(), "401");
}

#[tokio::test]
async fn the_client_is_refused() {
    let sandbox = with_faults(&["refuse-client*1"]).await;
    let answer = ask_token(&sandbox).await;
    assert_eq!(answer.status(), "401");
    assert_eq!(
        answer.text(),
        "{\"error_description\":\"Invalid client or client credentials\",\"error\":\"invalid_client\"}\r\n"
    );
    assert!(is_good(ask_token(&sandbox).await.text()));
}
