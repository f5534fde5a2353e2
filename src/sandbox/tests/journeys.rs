//! Whole journeys of both versions, and the devices that join them.

use super::*;

#[tokio::test]
async fn a_v2_journey_completes_and_is_recorded() {
    let sandbox = plain().await;
    let mut news = sandbox.subscribe();
    let mut caller = Caller::to(&sandbox).await;
    let token = caller.token().await;

    let start =
        json!({"resourceId": "abc@1", "context": {"config": {"delivery": "api"}, "subject": {}}});
    let (status, started) = caller.post(V2_START, &token, start).await;
    assert_eq!((status, &started["status"]), (201, &json!("started")));
    assert!(started.get("instanceUrl").is_none());
    let id = json!({"instanceId": started["instanceId"]});

    let fetch = "/v2/captain/journey/interaction/fetch";
    assert_eq!(
        caller.post(fetch, &token, id.clone()).await.1["processing"],
        true
    );
    let (_, asked) = caller.post(fetch, &token, id.clone()).await;
    assert!(asked["interaction"]["collects"].is_array());

    let submit = "/v2/captain/journey/interaction/submit";
    let mut data = json!({"instanceId": id["instanceId"], "interactionId": asked["interactionId"]});
    data["context"] = json!({"subject": {"documents": [{"side1Image": "aGk/".repeat(100_000)}]}});
    assert_eq!(
        caller.post(submit, &token, data.clone()).await,
        (200, json!({"status": "success"}))
    );
    let state = "/v2/captain/journey/state/fetch";
    assert_eq!(
        caller.post(state, &token, id.clone()).await.1["status"],
        "InProgress"
    );
    data["participants"] = json!([{"domainElementId": asked["outstanding"][0]}]);
    assert_eq!(
        caller.post(submit, &token, data.clone()).await,
        (200, json!({"status": "success"}))
    );
    assert_eq!(
        caller.post(state, &token, id.clone()).await.1["status"],
        "InProgress"
    );
    let (_, ended) = caller.post(state, &token, id.clone()).await;
    assert_eq!(ended["status"], "Completed");
    assert_eq!(ended["context"]["result"]["status"], "completed");
    let (status, error) = caller.post(submit, &token, data.clone()).await;
    assert_eq!(
        (status, &error["errors"][0]["name"]),
        (409, &json!("JOURNEY_NOT_ACTIVE"))
    );

    let (status, deleted) = caller
        .post("/v2/captain/journey/state/delete", &token, id.clone())
        .await;
    assert_eq!((status, &deleted["status"]), (200, &json!("deleted")));
    assert_eq!(caller.post(state, &token, id.clone()).await.0, 404);
    assert_eq!(caller.post(fetch, &token, id).await.0, 404);

    let seen = sandbox.recorded_calls();
    assert_eq!(seen.len(), 12);
    assert_eq!(seen[0].path, V2_START);
    assert_eq!(
        seen[0].authorization,
        Authorization::Bearer {
            generation: 1,
            current: true
        }
    );
    assert!(seen[3].body_bytes > 400_000);
    assert!(!format!("{seen:?}").contains(&token));
    assert_eq!(news.recv().await.unwrap().request_id, seen[0].request_id);
    assert_eq!((sandbox.token_calls(), sandbox.tokens_issued()), (1, 1));
}

#[tokio::test]
async fn a_v1_journey_completes() {
    let sandbox = plain().await;
    let mut caller = Caller::to(&sandbox).await;
    let token = caller.token().await;

    let (_, started) = caller
        .post(
            "/captain/api/journey/start",
            &token,
            json!({"resourceId": "abc@1"}),
        )
        .await;
    let id = started["instanceId"].as_str().unwrap().to_owned();
    assert!(id.starts_with("Pi") && id.len() == 24, "{id}");
    let (_, list) = caller
        .post(
            "/captain/api/journey/task/list",
            &token,
            json!({"instanceId": id}),
        )
        .await;
    let task = list["tasks"][0]["taskId"].clone();
    let (status, schema) = caller
        .post(
            "/captain/api/journey/task/list/schema",
            &token,
            json!({"instanceId": id}),
        )
        .await;
    assert_eq!((status, &schema["tasks"][0]["taskId"]), (201, &task));
    let (status, _) = caller
        .post(
            "/captain/api/journey/task/schema",
            &token,
            json!({"taskId": task}),
        )
        .await;
    assert_eq!(status, 200);

    let update =
        json!({"instanceId": id, "taskId": task, "intent": "Complete", "context": {"subject": {}}});
    assert_eq!(
        caller
            .post("/captain/api/journey/task/update", &token, update.clone())
            .await
            .0,
        200
    );
    let state = json!({"instanceId": id, "filterKeys": ["/.*/"]});
    let path = "/captain/api/journey/state/fetch";
    assert_eq!(
        caller.post(path, &token, state.clone()).await.1["status"],
        "InProgress"
    );
    let (_, ended) = caller.post(path, &token, state).await;
    assert_eq!(ended["status"], "Completed");
    assert!(ended["metaData"]["completedTime"].is_string());
    assert!(ended["data"]["context"]["process"]["flow"]["sandbox-identity"].is_object());
    assert_eq!(
        caller
            .post("/captain/api/journey/task/update", &token, update)
            .await
            .0,
        404
    );
}

#[tokio::test]
async fn a_connect_token_connects_one_device() {
    let sandbox = plain().await;
    let mut caller = Caller::to(&sandbox).await;
    let token = caller.token().await;
    for (base, expires_in) in [("/v2/captain", json!(120)), ("/captain/api", json!("120"))] {
        let start = json!({"resourceId": "abc@1", "context": {"config": {"delivery": "page"}}});
        let (_, started) = caller
            .post(&format!("{base}/journey/start"), &token, start)
            .await;
        let id = started["instanceId"].clone();
        let device = json!({"instanceId": id, "scope": ["*"]});
        let (status, pair) = caller
            .post(&format!("{base}/journey/device/start"), &token, device)
            .await;
        assert_eq!((status, &pair["expiresIn"]), (201, &expires_in));

        let connect = format!("{base}/journey/device/connect");
        let body = json!({
            "connectToken": pair["connectToken"], "deviceInfo": {"deviceId": "a-device-of-16-ch"},
        });
        let connect_token = pair["connectToken"].as_str().unwrap();
        assert_eq!(caller.post(&connect, &token, body.clone()).await.0, 401);
        let (status, connected) = caller.post(&connect, connect_token, body.clone()).await;
        assert_eq!(status, 201);
        assert_eq!(caller.post(&connect, connect_token, body).await.0, 401);

        assert_eq!(connected["instanceId"], id);
        let end_user = connected["endUserToken"].as_str().unwrap();
        let list = format!("{base}/journey/task/list");
        assert_eq!(
            caller
                .post(&list, end_user, json!({"instanceId": id}))
                .await
                .0,
            200
        );
        assert_eq!(
            caller
                .post(&format!("{base}/journey/state/fetch"), end_user, json!({}))
                .await
                .0,
            401
        );
    }
}
