//! API v2: a journey asks for interactions, and is polled until it is completed.

use std::sync::Arc;

use http::StatusCode;
use serde_json::{Map, Value, json};

use super::api_call::{ApiCall, CallFields};
use super::api_error::ApiError;
use super::journey::{Journey, Phase, split_resource_id};
use super::response::{SandboxResponse, json, ok};
use super::scenario::{self, Scenario};
use super::{devices, interactions, invented_calls, loqate, scenario_calls, schemas};
use crate::gbg::{self, ApiVersion};

/// Serves one call below `/v2/captain/`.
pub(super) async fn respond(call: &mut ApiCall<'_>) -> Result<SandboxResponse, ApiError> {
    match call.name {
        "journey/interaction/asset/upload" => interactions::upload(call).await,
        "journey/device/refresh" => devices::refresh(call).await,
        "journey/device/validate" => devices::validate(call),
        "journey/instance/handoff-token" => devices::hand_off(call),
        "sandbox/scenarios" => scenario_calls::collection(call).await,
        "sandbox/scenario" => scenario_calls::one(call).await,
        "openapi.json" => {
            call.authorize("GET")?;
            Ok(ok(&openapi()))
        }
        "other" => invented(call).await,
        name => {
            let fields = call.post().await?;
            post(call, name, &fields)
        }
    }
}

/// Serves a POST with JSON.
fn post(call: &ApiCall<'_>, name: &str, fields: &CallFields) -> Result<SandboxResponse, ApiError> {
    match name {
        "journey/start" => start(call, fields),
        "journey/interaction/fetch" => interactions::fetch(call, fields),
        "journey/interaction/submit" => interactions::submit(call, fields),
        "journey/interaction/schema" => schemas::of_interaction(call, fields),
        "journey/loqate/search" => loqate::search(call, fields),
        "journey/loqate/retrieve" => loqate::retrieve(call, fields),
        "journey/schema/fetch" => schemas::of_design(fields),
        "journey/state/fetch" => fetch_state(call, fields),
        "journey/state/delete" => delete_state(call, fields),
        "journey/terminate" => terminate(call, fields),
        "journey/history" => fetch_history(call, fields),
        // None is left: a test calls each endpoint of the table.
        _ => Err(ApiError::Unauthorized),
    }
}

async fn invented(call: &mut ApiCall<'_>) -> Result<SandboxResponse, ApiError> {
    if call.path == "sandbox/sink" {
        call.authorize("POST")?;
        invented_calls::sink(call.body).await
    } else if let Some(count) = call.path.strip_prefix("sandbox/bytes/") {
        call.authorize("GET")?;
        invented_calls::bytes(count)
    } else {
        // An unknown path gets the same response as a wrong token.
        Err(ApiError::Unauthorized)
    }
}

fn start(call: &ApiCall<'_>, fields: &CallFields) -> Result<SandboxResponse, ApiError> {
    let resource_id = fields.required("resourceId")?;
    if !fields.get("/context/config").is_object() {
        return Err(ApiError::Field("context.config", "object"));
    }
    let page = match fields.get("/context/config/delivery").as_str() {
        Some("page") => true,
        Some("api") => false,
        _ => return Err(ApiError::Field("context.config.delivery", "page or api")),
    };
    let scenario = scenario_of(call, resource_id, fields)?;
    let sandbox = call.sandbox;
    let mut state = sandbox.state();
    let id = state
        .journeys
        .start(resource_id, Phase::Preparing, scenario);
    let mut body = json!({
        "instanceId": id,
        "status": "started",
        "message": format!("Journey {id} started successfully"),
    });
    if page {
        // The sandbox has no such page, and responds with 404.
        body["instanceUrl"] = json!(format!("{}/journey/{id}", sandbox.base_url));
    }
    Ok(json(StatusCode::CREATED, &body))
}

/// Returns the scenario that the header field names, of those stored for the design, else the one in
/// the body.
fn scenario_of(
    call: &ApiCall<'_>,
    resource_id: &str,
    fields: &CallFields,
) -> Result<Option<Arc<Scenario>>, ApiError> {
    if let Some(name) = call.header(scenario::HEADER) {
        let (design, _) = split_resource_id(resource_id);
        let state = call.sandbox.state();
        let stored = state.scenarios.find(design, name)?;
        return Ok(Some(Arc::clone(&stored.scenario)));
    }
    match fields.get("/scenario") {
        Value::Null => Ok(None),
        data => Scenario::parse(data).map(Some),
    }
}

fn fetch_state(call: &ApiCall<'_>, fields: &CallFields) -> Result<SandboxResponse, ApiError> {
    let instance = fields.required("instanceId")?;
    call.with_journey(instance, |journey| ok(&state_json(instance, journey)))
}

fn state_json(instance: &str, journey: &mut Journey) -> Value {
    let phase = journey.poll();
    let (resource, version) = journey.resource();
    let mut process = json!({
        "journey": {
            "name": "Sandbox", "id": resource, "version": version, "startedAt": journey.started(),
        },
        "instance": {"id": instance, "instanceId": instance},
        "steps": [],
    });
    if let Some(ended) = journey.ended() {
        process["journey"]["endedAt"] = json!(ended);
    }
    let result = match (phase, journey.scenario()) {
        (Phase::Completed, None) => {
            process["steps"] = json!([{
                "name": "Identity", "nodeId": "sandbox-1", "outcome": "Match: 1+1",
                "outcomeClassification": "positive", "result": {"status": "complete", "outcome": "Match: 1+1"},
            }]);
            json!({"status": "completed", "advice": {"match": "1+1"}})
        }
        (Phase::Completed, Some(scenario)) => {
            process["steps"] = scenario.steps();
            scenario.result()
        }
        (Phase::Failed, _) => json!({"status": "failed", "advice": {}}),
        _ => json!({"status": "pending", "advice": {}}),
    };
    // GBG puts the collected data into the subject; the sandbox keeps none.
    let context = json!({"process": process, "subject": {}, "result": result});
    json!({"instanceId": instance, "status": phase.status(), "context": context})
}

fn delete_state(call: &ApiCall<'_>, fields: &CallFields) -> Result<SandboxResponse, ApiError> {
    let id = fields.required("instanceId")?;
    if call.sandbox.state().journeys.delete(id) {
        let message = format!("Journey {id} deleted");
        Ok(ok(
            &json!({"instanceId": id, "status": "deleted", "message": message}),
        ))
    } else {
        Err(ApiError::NotFound("instance"))
    }
}

fn terminate(call: &ApiCall<'_>, fields: &CallFields) -> Result<SandboxResponse, ApiError> {
    let instance = fields.required("instanceId")?;
    if call.with_journey(instance, Journey::terminate)? {
        Ok(ok(&json!({"instanceId": instance})))
    } else {
        Err(ApiError::NotActive)
    }
}

/// GBG does not document this call; the response is invented.
fn fetch_history(call: &ApiCall<'_>, fields: &CallFields) -> Result<SandboxResponse, ApiError> {
    let instance = fields.required("instanceId")?;
    call.with_journey(instance, |journey| {
        let mut events = vec![json!({"event": "started", "at": journey.started()})];
        if let Some(ended) = journey.ended() {
            events.push(json!({"event": "ended", "at": ended}));
        }
        ok(&json!({"instanceId": instance, "events": events}))
    })
}

/// The paths of the API, without their methods.
fn openapi() -> Value {
    let of_v2 = gbg::endpoints().filter(|(version, _)| *version == ApiVersion::V2);
    let paths = of_v2.map(|(version, endpoint)| {
        let path = format!("{}{}", version.prefix(), endpoint.template);
        (path, json!({}))
    });
    json!({
        "openapi": "3.1.0",
        "info": {"title": "Sandbox of gbg-proxy", "version": "2.x"},
        "paths": paths.collect::<Map<_, _>>(),
    })
}
