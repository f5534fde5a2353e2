//! API v2: a journey asks for interactions, and is polled until it is completed.

use http::{Method, StatusCode};
use serde_json::{Value, json};

use super::api_call::{ApiCall, CallFields, RequiredToken};
use super::api_error::ApiError;
use super::invented_calls;
use super::journey::{Phase, SubmitError};
use super::response::{SandboxResponse, json, ok};
use super::state::SandboxContext;

/// The participant of the interaction, named in its `outstanding` and a submission's
/// `participants`.
const PARTICIPANT: &str = "grn:::gbg:design:domainelement:sandbox-identity@latest";

/// In-band code for an interaction that is over, as observed at GBG.
const GONE: u16 = 410;

/// In-band code for an unknown instance; invented.
const UNKNOWN: u16 = 404;

/// Serves one call below `/v2/captain/`.
pub(super) async fn respond(call: &mut ApiCall<'_>) -> Result<SandboxResponse, ApiError> {
    use RequiredToken::{Access, AccessOrEndUser};
    let sandbox = call.sandbox;
    match call.path {
        "journey/start" => start(sandbox, &call.post(Access).await?),
        "journey/interaction/fetch" => {
            fetch_interaction(sandbox, &call.post(AccessOrEndUser).await?)
        }
        "journey/interaction/submit" => {
            submit_interaction(sandbox, &call.post(AccessOrEndUser).await?)
        }
        "journey/state/fetch" => {
            let fields = call.post(Access).await?;
            fetch_state(call, &fields)
        }
        "journey/state/delete" => delete_state(sandbox, &call.post(Access).await?),
        "sandbox/sink" => {
            call.authorize(Method::POST, Access)?;
            invented_calls::sink(call.body).await
        }
        path => match path.strip_prefix("sandbox/bytes/") {
            Some(count) => {
                call.authorize(Method::GET, Access)?;
                invented_calls::bytes(count)
            }
            // An unknown path gets the same response as a wrong token.
            None => Err(ApiError::Unauthorized),
        },
    }
}

fn start(sandbox: &SandboxContext, fields: &CallFields) -> Result<SandboxResponse, ApiError> {
    let resource_id = fields.required("resourceId")?;
    if !fields.get("/context/config").is_object() {
        return Err(ApiError::Field("context.config", "object"));
    }
    let page = match fields.get("/context/config/delivery").as_str() {
        Some("page") => true,
        Some("api") => false,
        _ => return Err(ApiError::Field("context.config.delivery", "page or api")),
    };
    let id = sandbox
        .state()
        .journeys
        .start(resource_id, Phase::Preparing);
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

fn fetch_interaction(
    sandbox: &SandboxContext,
    fields: &CallFields,
) -> Result<SandboxResponse, ApiError> {
    let id = fields.required("instanceId")?;
    let mut state = sandbox.state();
    let Some(journey) = state.journeys.find(id) else {
        return Ok(in_band(UNKNOWN, "There is no such instance"));
    };
    let phase = journey.poll();
    let mut body = json!({"instanceId": id, "journey": {"status": phase.status()}, "outstanding": [], "instructions": []});
    match phase {
        Phase::Preparing | Phase::Checking => body["processing"] = json!(true),
        Phase::Collecting => {
            body["interactionId"] = json!("grn:::gbg:design:interaction:sandbox@latest");
            body["interaction"] = interaction();
            body["outstanding"] = json!([PARTICIPANT]);
        }
        Phase::Completed => {
            body["interactionId"] = json!("grn:::gbg:design:interaction:end@latest")
        }
    }
    Ok(ok(&body))
}

fn interaction() -> Value {
    json!({
        "grId": "grn:::gbg:design:interaction:sandbox@latest",
        "resource": {
            "id": "sandbox", "name": "Who are you?", "version": "latest", "type": "interaction",
            "data": {"pages": [{"id": "page-1", "label": "Identity", "cards": [{"id": "identity"}]}]},
        },
        "collects": [{"ref": PARTICIPANT, "spec": "required"}],
        "consumes": [],
    })
}

fn submit_interaction(
    sandbox: &SandboxContext,
    fields: &CallFields,
) -> Result<SandboxResponse, ApiError> {
    let id = fields.required("instanceId")?;
    fields.required("interactionId")?;
    let mut state = sandbox.state();
    let Some(journey) = state.journeys.find(id) else {
        return Ok(in_band(UNKNOWN, "There is no such instance"));
    };
    match journey.submit(fields.has("/participants"), fields.has("/context/subject")) {
        Ok(()) => Ok(ok(&json!({"status": "success"}))),
        Err(SubmitError::NoData) => Err(ApiError::Field("context.subject", "object")),
        Err(SubmitError::Closed) => Ok(in_band(GONE, "The interaction is over")),
    }
}

/// Returns an error in a 200 response.
fn in_band(code: u16, message: &str) -> SandboxResponse {
    ok(&json!({"status": "error", "code": code, "message": message}))
}

fn fetch_state(call: &ApiCall<'_>, fields: &CallFields) -> Result<SandboxResponse, ApiError> {
    call.with_journey(fields, |id, journey| {
        let phase = journey.poll();
        let (resource, version) = journey.resource();
        let mut process = json!({
            "journey": {
                "name": "Sandbox", "id": resource, "version": version, "startedAt": journey.started(),
            },
            "instance": {"id": id, "instanceId": id},
            "steps": [],
        });
        let mut result = json!({"status": "pending", "advice": {}});
        if phase == Phase::Completed {
            process["journey"]["endedAt"] = json!(journey.ended());
            process["steps"] = json!([{
                "name": "Identity", "nodeId": "sandbox-1", "outcome": "Match: 1+1",
                "outcomeClassification": "positive", "result": {"status": "complete", "outcome": "Match: 1+1"},
            }]);
            result = json!({"status": "completed", "advice": {"match": "1+1"}});
        }
        // GBG puts the collected data into the subject; the sandbox keeps none.
        let context = json!({"process": process, "subject": {}, "result": result});
        ok(&json!({"instanceId": id, "status": phase.status(), "context": context}))
    })
}

fn delete_state(
    sandbox: &SandboxContext,
    fields: &CallFields,
) -> Result<SandboxResponse, ApiError> {
    let id = fields.required("instanceId")?;
    if sandbox.state().journeys.delete(id) {
        Ok(ok(&json!({"instanceId": id})))
    } else {
        Err(ApiError::NotFound("instance"))
    }
}
