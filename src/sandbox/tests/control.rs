//! Control endpoint over HTTP.

use super::*;

async fn request(caller: &mut Caller, method: Method, path: &str, body: &str) -> (u16, Value) {
    let res = caller.send(method, path, "", body.to_owned()).await;
    (
        res.status().as_u16(),
        serde_json::from_slice(res.body()).unwrap(),
    )
}

#[tokio::test]
async fn faults_are_set_listed_used_up_and_cleared() {
    let sandbox = plain().await;
    let mut caller = Caller::to(&sandbox).await;
    let (faults, version) = ("/sandbox/faults", "/v2/captain/version");
    assert_eq!(
        request(&mut caller, Method::GET, faults, "").await,
        (200, json!([]))
    );

    let list = json!(["api-status=503*2", "token-delay=1m"]);
    assert_eq!(
        request(&mut caller, Method::PUT, faults, &list.to_string()).await,
        (200, list)
    );
    assert_eq!(request(&mut caller, Method::GET, version, "").await.0, 503);
    let left = json!(["api-status=503*1", "token-delay=1m"]);
    assert_eq!(
        request(&mut caller, Method::GET, faults, "").await,
        (200, left)
    );

    assert_eq!(
        request(&mut caller, Method::PUT, faults, "[\"api-hang\"]").await,
        (200, json!(["api-hang"])),
        "they replace the earlier ones"
    );
    assert_eq!(
        request(&mut caller, Method::DELETE, faults, "").await,
        (200, json!([]))
    );
    assert_eq!(request(&mut caller, Method::GET, version, "").await.0, 200);
}

#[tokio::test]
async fn an_invalid_list_changes_nothing() {
    let sandbox = plain().await;
    let mut caller = Caller::to(&sandbox).await;
    let hang: Fault = "token-hang*2".parse().unwrap();
    sandbox.set_faults([hang.clone()]);
    let (status, problem) = request(
        &mut caller,
        Method::PUT,
        "/sandbox/faults",
        r#"["api-hang", "api-hnag*2"]"#,
    )
    .await;
    let error = "unknown fault \"api-hnag\"; did you mean api-hang?";
    assert_eq!(
        (status, problem),
        (400, json!({"error": error, "fault": "api-hnag*2"}))
    );
    for list in ["", "{}", "[1]", "api-hang"] {
        let (status, problem) = request(&mut caller, Method::PUT, "/sandbox/faults", list).await;
        assert_eq!(status, 400, "{list}");
        assert!(
            problem["error"]
                .as_str()
                .unwrap()
                .starts_with("expected a JSON list of strings")
        );
    }
    assert_eq!(sandbox.faults(), [hang]);
}

#[tokio::test]
async fn control_calls_are_not_counted() {
    let sandbox = plain().await;
    let mut caller = Caller::to(&sandbox).await;
    let token = caller.token().await;
    assert_eq!(
        caller
            .send(Method::GET, "/v2/captain/sandbox/bytes/1", &token, "")
            .await
            .status(),
        200
    );
    assert_eq!(
        request(&mut caller, Method::POST, "/sandbox/revoke", "").await,
        (200, json!({"revoked": 1}))
    );
    assert_eq!(
        caller
            .send(Method::GET, "/v2/captain/sandbox/bytes/1", &token, "")
            .await
            .status(),
        401
    );
    let started = caller
        .send(Method::POST, "/v2/captain/journey/start?x=1", &token, "")
        .await;
    assert_eq!(started.status(), 401);
    let answered = json!({"other": {"200": 1, "401": 1}, "journey/start": {"401": 1}});
    let counts =
        json!({"token_calls": 1, "tokens_issued": 1, "api_calls": 3, "answered": answered});
    assert_eq!(
        request(&mut caller, Method::GET, "/sandbox/calls", "").await,
        (200, counts)
    );
    assert_eq!(sandbox.recorded_calls().len(), 3);
}

#[tokio::test]
async fn other_paths_and_methods_are_refused() {
    let sandbox = plain().await;
    let mut caller = Caller::to(&sandbox).await;
    for (path, allow) in [
        ("/sandbox/faults", "GET, PUT, DELETE"),
        ("/sandbox/revoke", "POST"),
        ("/sandbox/calls", "GET"),
    ] {
        let res = caller.send(Method::PATCH, path, "", "").await;
        assert_eq!(
            (
                res.status().as_u16(),
                res.headers()[ALLOW].to_str().unwrap()
            ),
            (405, allow)
        );
    }
    assert_eq!(
        request(&mut caller, Method::GET, "/sandbox/", "").await.0,
        404
    );
}
