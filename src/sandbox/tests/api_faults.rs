//! Faults of API calls, checked byte by byte.

use std::time::Instant;

use super::raw::*;
use super::*;

#[tokio::test]
async fn an_injected_status_has_its_versions_format() {
    let sandbox = with_faults(&[
        "api-status=503*2",
        "api-status=401*1",
        "api-retry-after=9*1",
    ])
    .await;
    let response = call(&sandbox, VERSION).await;
    assert_eq!(
        (response.status(), response.field("retry-after")),
        ("503", Some("9"))
    );
    let problem = "The sandbox was asked to respond with 503";
    assert_eq!(
        response.json(),
        json!({"errors": [{
            "code": "5030", "name": "SANDBOX_FAULT", "location": "Service", "problem": problem,
            "action": "Clear the sandbox's faults",
        }]})
    );
    let response = call(&sandbox, "/captain/api/version").await;
    assert_eq!(
        (response.status(), response.field("retry-after")),
        ("503", None)
    );
    assert_eq!(
        response.json(),
        json!({"status": 503, "message": problem, "error": "sandbox-fault-error"})
    );
    let response = call(&sandbox, VERSION).await;
    assert_eq!(
        (response.status(), response.field("www-authenticate")),
        ("401", Some("Bearer"))
    );
    assert_eq!(call(&sandbox, VERSION).await.status(), "200");
    let seen: Vec<_> = sandbox
        .recorded_calls()
        .iter()
        .map(|seen| seen.status.as_u16())
        .collect();
    assert_eq!(seen, [503, 503, 401, 200]);
}

#[tokio::test]
async fn api_delay_spares_the_token_endpoint() {
    let sandbox = with_faults(&["api-delay=300ms"]).await;
    let began = Instant::now();
    assert_eq!(call(&sandbox, VERSION).await.status(), "200");
    assert!(began.elapsed() >= SHORT, "{:?}", began.elapsed());
    assert!(read_start(&mut open_token(&sandbox).await, 12, LONG).await == b"HTTP/1.1 200");
}

#[tokio::test]
async fn a_hanging_call_is_recorded() {
    let sandbox = with_faults(&["api-hang*1"]).await;
    assert!(
        read_start(&mut open(&sandbox, "GET", VERSION, "", "").await, 1, SHORT)
            .await
            .is_empty()
    );
    assert_eq!(
        (sandbox.api_calls(), sandbox.recorded_calls().len()),
        (1, 1)
    );
    assert_eq!(call(&sandbox, VERSION).await.status(), "200");
}

#[tokio::test]
async fn a_reset_call_is_recorded() {
    let sandbox = with_faults(&["api-reset*1"]).await;
    assert!(call(&sandbox, VERSION).await.is_nothing());
    assert_eq!(sandbox.recorded_calls()[0].path, VERSION);
    assert_eq!(call(&sandbox, VERSION).await.status(), "200");
}

#[tokio::test]
async fn a_truncated_response_breaks_off_in_the_middle() {
    let sandbox = with_faults(&["api-truncated*2"]).await;
    let response = call(&sandbox, VERSION).await;
    assert_eq!(
        (response.field("content-length"), response.text()),
        (Some("21"), r#"{"version""#)
    );

    let token = ask_token(&sandbox).await.json()["access_token"]
        .as_str()
        .unwrap()
        .to_owned();
    let response = call_with(&sandbox, &token, "/v2/captain/sandbox/bytes/3000000").await;
    assert_eq!(response.field("content-length"), Some("3000000"));
    assert!(
        (1_000_000..=1_500_000).contains(&response.body.len()),
        "{}",
        response.body.len()
    );
    assert_eq!(
        call(&sandbox, VERSION).await.text(),
        r#"{"version":"sandbox"}"#
    );
}

#[tokio::test]
async fn a_reset_closes_a_reused_connection() {
    let sandbox = with_faults(&[]).await;
    let mut caller = Caller::to(&sandbox).await;
    caller.token().await;
    sandbox.set_faults(["api-reset".parse().unwrap()]);
    let req = Request::builder()
        .uri(VERSION)
        .header(HOST, "a")
        .body(Full::new(Bytes::new()))
        .unwrap();
    caller.0.ready().await.unwrap();
    assert!(
        caller
            .0
            .send_request(req)
            .await
            .unwrap_err()
            .is_incomplete_message()
    );
}

#[tokio::test]
async fn revoked_tokens_get_401() {
    let sandbox = with_faults(&[]).await;
    let path = "/v2/captain/sandbox/bytes/1";
    let token = ask_token(&sandbox).await.json()["access_token"]
        .as_str()
        .unwrap()
        .to_owned();
    assert_eq!(call_with(&sandbox, &token, path).await.status(), "200");
    sandbox.revoke_all();
    assert_eq!(call_with(&sandbox, &token, path).await.status(), "401");
    assert_eq!(sandbox.issued_tokens(), [token]);
}

#[tokio::test]
async fn a_stopping_sandbox_ends_hanging_calls() {
    let sandbox = with_faults(&["token-hang"]).await;
    let hanging = open_token(&sandbox).await;
    while sandbox.token_calls() == 0 {
        tokio::task::yield_now().await;
    }
    let began = Instant::now();
    sandbox.stop().await;
    assert!(began.elapsed() < STOP_TIMEOUT, "{:?}", began.elapsed());
    assert!(read(hanging).await.is_nothing());
}
