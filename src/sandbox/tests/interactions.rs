//! Submissions, uploads and their limits; address search and schemas.

use super::*;

const FETCH: &str = "/v2/captain/journey/interaction/fetch";
const SUBMIT: &str = "/v2/captain/journey/interaction/submit";
const UPLOAD: &str = "/v2/captain/journey/interaction/asset/upload";
const TERMINATE: &str = "/v2/captain/journey/terminate";
const STATE: &str = "/v2/captain/journey/state/fetch";

const INTERACTION: &str = "grn:::gbg:design:interaction:sandbox@latest";

/// Starts a journey that waits for data.
async fn collecting(caller: &mut Caller, token: &str) -> String {
    let instance = start_journey(caller, token).await;
    let id = json!({"instanceId": instance});
    assert_eq!(caller.post(FETCH, token, id).await.1["processing"], true);
    instance
}

fn element(name: &str) -> String {
    format!("grn:::gbg:design:domainelement:{name}@latest")
}

async fn upload(
    caller: &mut Caller,
    token: &str,
    instance: &str,
    name: &str,
    bytes: usize,
) -> Response<Bytes> {
    let fields = [
        ("content-type", "application/octet-stream"),
        ("x-instance-id", instance),
        ("x-interaction-id", INTERACTION),
        ("x-domain-element-id", &*element(name)),
    ];
    let file = vec![0xff; bytes];
    caller
        .send_with(Method::POST, UPLOAD, token, &fields, file)
        .await
}

fn error(response: &Response<Bytes>) -> Value {
    let body: Value = serde_json::from_slice(response.body()).unwrap();
    body["errors"][0].clone()
}

fn data(instance: &str) -> Value {
    json!({
        "instanceId": instance, "interactionId": INTERACTION, "participants": [{}],
        "context": {"subject": {"identity": {"firstName": "Ada"}}},
    })
}

#[tokio::test]
async fn an_upload_returns_a_key() {
    let sandbox = plain().await;
    let mut caller = Caller::to(&sandbox).await;
    let token = caller.token().await;
    let instance = collecting(&mut caller, &token).await;
    let connected = connect_device(&mut caller, &token, &instance).await;
    for bearer in [token, text(&connected["endUserToken"])] {
        let stored = upload(&mut caller, &bearer, &instance, "Selfie", 100_000).await;
        assert_eq!(stored.status(), 200);
        let stored: Value = serde_json::from_slice(stored.body()).unwrap();
        assert_eq!(stored["domainElementId"], element("Selfie"));
        assert!(
            stored["gofsKey"]
                .as_str()
                .is_some_and(|key| !key.is_empty())
        );
    }
    let last = sandbox.recorded_calls().pop().unwrap();
    assert_eq!(last.body_bytes, 100_000);
}

#[tokio::test]
async fn an_upload_needs_its_three_fields() {
    let sandbox = plain().await;
    let mut caller = Caller::to(&sandbox).await;
    let token = caller.token().await;
    let instance = collecting(&mut caller, &token).await;
    let all = [
        ("X-Instance-Id", &*instance),
        ("X-Interaction-Id", INTERACTION),
        ("X-Domain-Element-Id", &*element("Selfie")),
    ];
    for missing in all {
        let fields: Vec<_> = all.into_iter().filter(|field| *field != missing).collect();
        let refused = caller
            .send_with(Method::POST, UPLOAD, &token, &fields, "a")
            .await;
        assert_eq!(refused.status(), 400);
        let error = error(&refused);
        assert_eq!(
            (&error["code"], &error["location"]),
            (&json!("4002"), &json!("Header"))
        );
        assert!(error["problem"].as_str().unwrap().starts_with(missing.0));
    }
}

#[tokio::test]
async fn an_unsuitable_upload_is_refused() {
    const LIMIT: usize = 10 << 20;
    let sandbox = plain().await;
    let mut caller = Caller::to(&sandbox).await;
    let token = caller.token().await;
    let instance = collecting(&mut caller, &token).await;
    for (name, bytes, expected) in [
        ("PrimaryDocument", LIMIT, 200),
        ("PrimaryDocument", LIMIT + 1, 422),
        ("sandbox-identity", 1, 422),
        ("EncryptedSelfie", 1, 409),
    ] {
        let res = upload(&mut caller, &token, &instance, name, bytes).await;
        assert_eq!(res.status(), expected, "{name}, {bytes} bytes");
    }
    let preparing = start_journey(&mut caller, &token).await;
    for instance in [&*preparing, "unknown"] {
        let res = upload(&mut caller, &token, instance, "Selfie", 1).await;
        assert_eq!(res.status(), 409);
    }
    let connected = connect_device(&mut caller, &token, &preparing).await;
    let other = text(&connected["endUserToken"]);
    let res = upload(&mut caller, &other, &instance, "Selfie", 1).await;
    assert_eq!(res.status(), 401);
}

#[tokio::test]
async fn a_late_submission_says_what_to_do() {
    let sandbox = plain().await;
    let mut caller = Caller::to(&sandbox).await;
    let token = caller.token().await;
    let instance = collecting(&mut caller, &token).await;
    assert_eq!(caller.post(SUBMIT, &token, data(&instance)).await.0, 200);
    let id = json!({"instanceId": instance});
    // The interaction is over, then the journey, and then the instance is gone.
    let mut codes = Vec::new();
    for next in [STATE, "/v2/captain/journey/state/delete", STATE] {
        let (status, body) = caller.post(SUBMIT, &token, data(&instance)).await;
        codes.push((status, text(&body["errors"][0]["code"])));
        caller.post(next, &token, id.clone()).await;
    }
    let expected = [(409, "4003"), (409, "4009"), (409, "4009")];
    assert_eq!(
        codes,
        expected.map(|(status, code)| (status, code.to_owned()))
    );
}

#[tokio::test]
async fn a_terminated_journey_takes_nothing_more() {
    let sandbox = plain().await;
    let mut caller = Caller::to(&sandbox).await;
    let token = caller.token().await;
    let instance = collecting(&mut caller, &token).await;
    let id = json!({"instanceId": instance, "reason": "test"});
    let (status, body) = caller.post(TERMINATE, &token, id.clone()).await;
    assert_eq!((status, body), (200, json!({"instanceId": instance})));
    let (status, body) = caller.post(TERMINATE, &token, id.clone()).await;
    assert_eq!((status, &body["errors"][0]["code"]), (409, &json!("4009")));
    let (status, body) = caller.post(SUBMIT, &token, data(&instance)).await;
    assert_eq!((status, &body["errors"][0]["code"]), (409, &json!("4009")));
    let (_, state) = caller.post(STATE, &token, id.clone()).await;
    assert_eq!(state["status"], "Failed");
    assert_eq!(state["context"]["result"]["status"], "failed");
    let (_, fetched) = caller.post(FETCH, &token, id.clone()).await;
    assert_eq!(fetched["journey"]["status"], "Failed");
    let (_, history) = caller.post("/v2/captain/journey/history", &token, id).await;
    assert_eq!(history["events"].as_array().unwrap().len(), 2);
    let unknown = json!({"instanceId": "unknown"});
    assert_eq!(caller.post(TERMINATE, &token, unknown).await.0, 404);
}

#[tokio::test]
async fn the_rate_of_a_journey_spares_others() {
    let sandbox = plain().await;
    sandbox.set_faults(["api-instance-rate=2/1h*2".parse().unwrap()]);
    let mut caller = Caller::to(&sandbox).await;
    let token = caller.token().await;
    let (one, two) = (
        collecting(&mut caller, &token).await,
        collecting(&mut caller, &token).await,
    );
    let mut incomplete = data(&one);
    incomplete["participants"] = json!([]);
    assert_eq!(caller.post(SUBMIT, &token, incomplete).await.0, 200);
    let stored = upload(&mut caller, &token, &one, "Selfie", 1).await;
    assert_eq!(stored.status(), 200);

    let limited = upload(&mut caller, &token, &one, "Selfie", 1).await;
    assert_eq!(limited.status(), 429);
    let wait: u32 = limited.headers()["retry-after"]
        .to_str()
        .unwrap()
        .parse()
        .unwrap();
    assert!((3590..=3600).contains(&wait), "{wait}");
    assert_eq!(
        upload(&mut caller, &token, &two, "Selfie", 1)
            .await
            .status(),
        200
    );
    assert_eq!(
        caller
            .post(STATE, &token, json!({"instanceId": one}))
            .await
            .0,
        200
    );
    assert_eq!(caller.post(SUBMIT, &token, data(&one)).await.0, 429);
    // The fault has refused two calls, and is over.
    assert_eq!(sandbox.faults(), []);
    assert_eq!(caller.post(SUBMIT, &token, data(&one)).await.0, 200);
}

#[tokio::test]
async fn addresses_are_found_and_retrieved() {
    let sandbox = plain().await;
    let mut caller = Caller::to(&sandbox).await;
    let token = caller.token().await;
    let instance = start_journey(&mut caller, &token).await;
    let (search, retrieve) = (
        "/v2/captain/journey/loqate/search",
        "/v2/captain/journey/loqate/retrieve",
    );
    for (limit, items) in [(json!(null), 10), (json!(1), 1), (json!(25), 25)] {
        let body = json!({"instanceId": instance, "text": "SB1", "limit": limit});
        let (status, found) = caller.post(search, &token, body).await;
        assert_eq!(
            (status, found["Items"].as_array().unwrap().len()),
            (200, items)
        );
        let last = &found["Items"][items - 1];
        let body = json!({"instanceId": instance, "addressId": last["Id"]});
        let (status, address) = caller.post(retrieve, &token, body).await;
        assert_eq!(
            (status, &address["Items"][0]["Line1"]),
            (200, &last["Text"])
        );
    }
    for (field, value) in [
        ("limit", json!(0)),
        ("limit", json!(26)),
        ("text", json!("x".repeat(256))),
    ] {
        let mut body = json!({"instanceId": instance, "text": "SB1"});
        body[field] = value;
        assert_eq!(caller.post(search, &token, body).await.0, 400, "{field}");
    }
    let body = json!({"instanceId": instance, "addressId": "sandbox-address-26"});
    assert_eq!(caller.post(retrieve, &token, body).await.0, 404);
    let body = json!({"instanceId": "unknown", "text": "SB1"});
    assert_eq!(caller.post(search, &token, body).await.0, 404);
}

#[tokio::test]
async fn a_design_has_one_schema() {
    let sandbox = plain().await;
    let mut caller = Caller::to(&sandbox).await;
    let token = caller.token().await;
    let path = "/v2/captain/journey/schema/fetch";
    let body = json!({"resourceId": "abc@7", "interactionId": INTERACTION});
    let (status, found) = caller.post(path, &token, body).await;
    assert_eq!((status, &found["deliveryId"]), (200, &json!("abc")));
    assert_eq!(found["resolvedVersion"], "7");
    assert_eq!(found["schemas"][0]["interactionId"], INTERACTION);
    assert_eq!(found["schemas"][0]["schema"]["type"], "object");
    let body = json!({"resourceId": "abc@7", "interactionId": "another"});
    assert_eq!(caller.post(path, &token, body).await.0, 422);
    let instance = start_journey(&mut caller, &token).await;
    let path = "/v2/captain/journey/interaction/schema";
    let (_, schema) = caller
        .post(path, &token, json!({"instanceId": instance}))
        .await;
    assert_eq!(schema, found["schemas"][0]["schema"]);
}
