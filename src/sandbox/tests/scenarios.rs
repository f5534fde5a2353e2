//! Scenarios: stored, changed and deleted, and the outcomes that they script.

use super::*;

const SCENARIOS: &str = "/v2/captain/sandbox/journeys/abc/scenarios";
const STATE: &str = "/v2/captain/journey/state/fetch";

fn flagged() -> Value {
    json!({
        "description": "the second module raises a flag",
        "modules": {"document": {"outcome": "Pass"}, "fraud": {"outcome": "Flag"}},
        "defaultOutcome": "Refer",
    })
}

async fn request(caller: &mut Caller, method: Method, name: &str, body: Value) -> (u16, Value) {
    let token = caller.token().await;
    let path = format!("{SCENARIOS}/{name}");
    let res = caller.send(method, &path, &token, body.to_string()).await;
    let body = serde_json::from_slice(res.body()).unwrap_or_default();
    (res.status().as_u16(), body)
}

/// Creates the scenario `name`, and returns the status.
async fn create(caller: &mut Caller, name: &str, data: Value) -> u16 {
    let token = caller.token().await;
    let body = json!({"name": name, "data": data});
    caller.post(SCENARIOS, &token, body).await.0
}

/// Starts a journey with a scenario in the header, and returns status and response.
async fn start(caller: &mut Caller, resource_id: &str, scenario: &str) -> (u16, Value) {
    let token = caller.token().await;
    let fields = [("x-gbg-scenario", scenario)];
    let body = json!({"resourceId": resource_id, "context": {"config": {"delivery": "api"}}});
    let res = caller
        .send_with(Method::POST, V2_START, &token, &fields, body.to_string())
        .await;
    (
        res.status().as_u16(),
        serde_json::from_slice(res.body()).unwrap(),
    )
}

/// Completes a journey, and returns its state.
async fn outcome(caller: &mut Caller, started: &Value) -> Value {
    let token = caller.token().await;
    let id = json!({"instanceId": started["instanceId"]});
    let submit = json!({
        "instanceId": started["instanceId"], "interactionId": "a", "participants": [{}],
        "context": {"subject": {"identity": {}}},
    });
    let path = "/v2/captain/journey/interaction/submit";
    assert_eq!(caller.post(path, &token, submit).await.0, 200);
    caller.post(STATE, &token, id.clone()).await;
    let (_, state) = caller.post(STATE, &token, id).await;
    assert_eq!(state["status"], "Completed");
    state["context"].clone()
}

#[tokio::test]
async fn a_scenario_is_created_changed_and_deleted() {
    let sandbox = plain().await;
    let mut caller = Caller::to(&sandbox).await;
    let token = caller.token().await;
    let body = json!({"name": "flag", "data": flagged()});
    let created = caller.post(SCENARIOS, &token, body).await;
    let written = json!({"name": "flag", "journeyId": "abc", "tier": "org"});
    assert_eq!(created, (201, written.clone()));
    assert_eq!(create(&mut caller, "flag", flagged()).await, 409);

    let list = caller.send(Method::GET, SCENARIOS, &token, "").await;
    let list: Value = serde_json::from_slice(list.body()).unwrap();
    assert_eq!(list[0]["name"], "flag");
    assert_eq!(list[0]["description"], "the second module raises a flag");
    assert_eq!(
        (list[0]["editable"].clone(), list.as_array().unwrap().len()),
        (json!(true), 1)
    );
    let other = "/v2/captain/sandbox/journeys/other/scenarios?includePlatform=true";
    let list = caller.send(Method::GET, other, &token, "").await;
    assert_eq!(*list.body(), "[]");

    let (status, found) = request(&mut caller, Method::GET, "flag", json!({})).await;
    assert_eq!((status, &found["data"]), (200, &flagged()));
    let passed = json!({"modules": {"fraud": {"outcome": "Pass"}}});
    let change = json!({"data": passed});
    assert_eq!(
        request(&mut caller, Method::PUT, "flag", change.clone()).await,
        (200, written)
    );
    let (_, found) = request(&mut caller, Method::GET, "flag", json!({})).await;
    assert_eq!(found["data"], passed);

    let deleted = request(&mut caller, Method::DELETE, "flag", json!({})).await;
    assert_eq!(deleted, (204, json!(null)));
    for (method, body) in [
        (Method::GET, json!({})),
        (Method::PUT, change),
        (Method::DELETE, json!({})),
    ] {
        assert_eq!(request(&mut caller, method, "flag", body).await.0, 404);
    }
}

#[tokio::test]
async fn an_invalid_scenario_is_refused() {
    let sandbox = plain().await;
    let mut caller = Caller::to(&sandbox).await;
    for (name, data) in [
        ("", flagged()),
        ("a b", flagged()),
        (&*"x".repeat(65), flagged()),
        ("a", json!(null)),
        ("a", json!({"modules": 1})),
    ] {
        assert_eq!(create(&mut caller, name, data).await, 400, "{name}");
    }
    let token = caller.token().await;
    let path = "/v2/captain/sandbox/journeys/a%20b/scenarios";
    assert_eq!(
        caller.send(Method::GET, path, &token, "").await.status(),
        400
    );
}

#[tokio::test]
async fn the_scenario_of_a_start_decides_the_outcome() {
    let sandbox = plain().await;
    let mut caller = Caller::to(&sandbox).await;
    assert_eq!(create(&mut caller, "flag", flagged()).await, 201);
    assert_eq!(start(&mut caller, "abc@1", "unknown").await.0, 404);
    assert_eq!(
        start(&mut caller, "other@1", "flag").await.0,
        404,
        "of another design"
    );

    let (status, started) = start(&mut caller, "abc@1", "flag").await;
    assert_eq!(status, 201);
    // A running journey keeps its scenario.
    request(&mut caller, Method::DELETE, "flag", json!({})).await;
    let context = outcome(&mut caller, &started).await;
    let outcomes = context["process"]["steps"].as_array().unwrap().iter();
    let outcomes: Vec<_> = outcomes.map(|step| &step["outcome"]).collect();
    assert_eq!(outcomes, ["Pass", "Flag"]);
    assert_eq!(context["result"]["outcome"], "Refer");
}

#[tokio::test]
async fn a_scenario_in_the_body_needs_no_store() {
    let sandbox = plain().await;
    let mut caller = Caller::to(&sandbox).await;
    let token = caller.token().await;
    let mut body = json!({"resourceId": "abc", "context": {"config": {"delivery": "api"}}});
    body["scenario"] = flagged();
    let (status, started) = caller.post(V2_START, &token, body.clone()).await;
    assert_eq!(status, 201);
    let context = outcome(&mut caller, &started).await;
    assert_eq!(context["result"]["outcome"], "Refer");
    body["scenario"] = json!({});
    assert_eq!(caller.post(V2_START, &token, body).await.0, 400);
}
