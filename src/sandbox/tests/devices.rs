//! Devices of end users: their tokens, which are bound to one instance, and handing off.

use super::*;

const FETCH: &str = "/v2/captain/journey/interaction/fetch";
const REFRESH: &str = "/v2/captain/journey/device/refresh";
const VALIDATE: &str = "/v2/captain/journey/device/validate";

fn handoff(instance: &str) -> String {
    format!("/v2/captain/journey/instance/{instance}/handoff-token")
}

#[tokio::test]
async fn a_connected_device_gets_the_documented_fields() {
    let sandbox = plain().await;
    let mut caller = Caller::to(&sandbox).await;
    let token = caller.token().await;
    let instance = start_journey(&mut caller, &token).await;
    let connected = connect_device(&mut caller, &token, &instance).await;
    assert_eq!(connected["tokenType"], "end-user");
    assert_eq!(connected["expiresIn"], 3600);
    assert_eq!(connected["instanceId"], *instance);
    assert!(connected["resumeCredential"].is_string());
    let left = connected["credentialExpiresIn"].as_u64().unwrap();
    assert!((7190..=7200).contains(&left), "{left}");
    let expires = connected["credentialExpiresAt"].as_str().unwrap();
    assert!(humantime::parse_rfc3339(expires).is_ok(), "{expires}");

    let end_user = text(&connected["endUserToken"]);
    let (status, session) = caller.post(VALIDATE, &end_user, json!({})).await;
    assert_eq!((status, &session["valid"]), (200, &json!(true)));
    assert_eq!(session["instanceId"], *instance);
    assert!(session["sessionId"].is_string() && session["orgId"].is_string());
    let expires = session["expiresAt"].as_str().unwrap();
    assert!(humantime::parse_rfc3339(expires).is_ok(), "{expires}");
}

#[tokio::test]
async fn an_invalid_connect_request_is_refused() {
    let sandbox = plain().await;
    let mut caller = Caller::to(&sandbox).await;
    let token = caller.token().await;
    let instance = start_journey(&mut caller, &token).await;
    let start = json!({"instanceId": instance});
    let path = "/v2/captain/journey/device/start";
    let connect_token = text(&caller.post(path, &token, start).await.1["connectToken"]);
    let connect = "/v2/captain/journey/device/connect";
    for device in ["x".repeat(15), "x".repeat(65)] {
        let body = json!({"connectToken": connect_token, "deviceInfo": {"deviceId": device}});
        assert_eq!(caller.post(connect, &connect_token, body).await.0, 400);
    }
    let body = json!({"connectToken": "another", "deviceInfo": {"deviceId": "a-device-of-16-ch"}});
    assert_eq!(caller.post(connect, &connect_token, body).await.0, 401);
    // The token is not used up.
    connect_with(&mut caller, &connect_token).await;
}

#[tokio::test]
async fn an_end_user_token_reaches_one_instance() {
    let sandbox = plain().await;
    let mut caller = Caller::to(&sandbox).await;
    let token = caller.token().await;
    let mine = start_journey(&mut caller, &token).await;
    let other = start_journey(&mut caller, &token).await;
    let connected = connect_device(&mut caller, &token, &mine).await;
    let end_user = text(&connected["endUserToken"]);
    for path in [
        "journey/interaction/fetch",
        "journey/interaction/submit",
        "journey/loqate/search",
        "journey/loqate/retrieve",
        "journey/task/list",
    ] {
        let path = format!("/v2/captain/{path}");
        let body = |instance: &str| {
            json!({
                "instanceId": instance, "interactionId": "a", "text": "a", "addressId": "sandbox-address-1",
            })
        };
        assert_eq!(
            caller.post(&path, &end_user, body(&mine)).await.0,
            200,
            "{path}"
        );
        for instance in [&*other, "unknown"] {
            let status = caller.post(&path, &end_user, body(instance)).await.0;
            assert_eq!(status, 401, "{path}");
        }
        assert_eq!(
            caller.post(&path, &token, body(&other)).await.0,
            200,
            "{path}"
        );
    }
    assert_eq!(
        caller.post(&handoff(&other), &end_user, json!({})).await.0,
        403
    );
}

#[tokio::test]
async fn a_handoff_link_connects_a_second_device() {
    let sandbox = plain().await;
    let mut caller = Caller::to(&sandbox).await;
    let token = caller.token().await;
    let instance = start_journey(&mut caller, &token).await;
    let first = connect_device(&mut caller, &token, &instance).await;
    let path = handoff(&instance);
    assert_eq!(caller.post(&path, &token, json!({})).await.0, 403);
    assert_eq!(caller.post(&path, "", json!({})).await.0, 401);

    let end_user = text(&first["endUserToken"]);
    assert_eq!(
        caller
            .post(&handoff("unknown"), &end_user, json!({}))
            .await
            .0,
        404
    );
    let (status, link) = caller.post(&path, &end_user, json!({})).await;
    assert_eq!((status, &link["devicePosition"]), (201, &json!("joined")));
    assert_eq!(link["expiresIn"], 120);
    let url = link["instanceUrl"].as_str().unwrap();
    assert!(url.starts_with(&sandbox.base_url()), "{url}");

    let id = json!({"instanceId": instance});
    let (_, fetched) = caller.post(FETCH, &end_user, id.clone()).await;
    assert_eq!(fetched["joinedDevice"]["connected"], false);
    let (_, connect_token) = url.split_once("connectToken=").unwrap();
    let second = connect_with(&mut caller, connect_token).await;
    let (_, fetched) = caller.post(FETCH, &end_user, id).await;
    assert_eq!(fetched["joinedDevice"]["connected"], true);
    let joined = text(&second["endUserToken"]);
    assert_eq!(caller.post(&path, &joined, json!({})).await.0, 403);
}

#[tokio::test]
async fn a_session_is_refreshed_by_token_or_credential() {
    let sandbox = plain().await;
    let mut caller = Caller::to(&sandbox).await;
    let token = caller.token().await;
    let instance = start_journey(&mut caller, &token).await;
    let connected = connect_device(&mut caller, &token, &instance).await;
    let end_user = text(&connected["endUserToken"]);
    let credential = &connected["resumeCredential"];
    let by_credential = json!({"resumeCredential": credential});

    let with_token = caller.post(REFRESH, &end_user, json!({})).await;
    let with_credential = caller.post(REFRESH, "", by_credential.clone()).await;
    for (status, refreshed) in [with_token, with_credential] {
        assert_eq!(status, 201);
        assert_eq!(refreshed["instanceId"], *instance);
        assert_eq!(&refreshed["resumeCredential"], credential);
        assert!(refreshed["linkExpiresAt"].is_string());
        assert!(refreshed.get("tokenType").is_none());
        let renewed = text(&refreshed["endUserToken"]);
        assert_ne!(renewed, end_user);
        assert_eq!(caller.post(VALIDATE, &renewed, json!({})).await.0, 200);
    }
    // Neither kind stands in for the other, and a customer token is neither.
    let credential = text(credential);
    for (bearer, body) in [
        ("", json!({})),
        (&*token, json!({})),
        (&*credential, json!({})),
        ("", json!({"resumeCredential": end_user})),
    ] {
        assert_eq!(caller.post(REFRESH, bearer, body).await.0, 401);
    }
    assert_eq!(caller.post(VALIDATE, &credential, json!({})).await.0, 401);

    let delete = "/v2/captain/journey/state/delete";
    let id = json!({"instanceId": instance});
    assert_eq!(caller.post(delete, &token, id).await.0, 200);
    assert_eq!(caller.post(VALIDATE, &end_user, json!({})).await.0, 401);
    assert_eq!(caller.post(REFRESH, "", by_credential).await.0, 401);
}
