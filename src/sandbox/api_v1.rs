//! API v1: a journey starts synchronously, and asks for tasks.

use http::StatusCode;
use serde_json::json;

use super::api_call::{ApiCall, CallFields, RequiredToken};
use super::api_error::ApiError;
use super::instances::{ok, task_id, with_journey};
use super::journey::{Phase, task_schema};
use super::response::{SandboxResponse, json};
use super::state::SandboxContext;

/// The start of an instance id; the journey's id follows.
pub(super) const INSTANCE_PREFIX: &str = "Pi";

/// The variant of the journey's only task, under which its results are listed.
const VARIANT: &str = "sandbox-identity";

/// Serves one call below `/captain/api/`.
pub(super) async fn respond(call: &mut ApiCall<'_>) -> Result<SandboxResponse, ApiError> {
    use RequiredToken::{Access, AccessOrEndUser};
    let sandbox = call.sandbox;
    match call.path {
        "journey/start" => start(sandbox, &call.post(Access).await?).await,
        "journey/task/list" => list_tasks(sandbox, &call.post(AccessOrEndUser).await?),
        "journey/task/list/schema" => list_schemas(sandbox, &call.post(AccessOrEndUser).await?),
        "journey/task/update" => update_task(sandbox, &call.post(AccessOrEndUser).await?),
        "journey/state/fetch" => fetch_state(sandbox, &call.post(Access).await?),
        _ => Err(ApiError::NotFound("path")),
    }
}

async fn start(sandbox: &SandboxContext, fields: &CallFields) -> Result<SandboxResponse, ApiError> {
    let resource_id = fields.required("resourceId")?;
    let phase = if fields.get("/context/config/async") == true {
        Phase::Preparing
    } else {
        tokio::time::sleep(sandbox.options.v1_start_time).await;
        Phase::Collecting
    };
    let id = sandbox.state().journeys.start(resource_id, phase);
    Ok(ok(&json!({"instanceId": instance_id(&id)})))
}

fn list_tasks(sandbox: &SandboxContext, fields: &CallFields) -> Result<SandboxResponse, ApiError> {
    with_journey(sandbox, fields, INSTANCE_PREFIX, |id, journey| {
        let phase = journey.poll();
        let tasks = if phase == Phase::Collecting {
            json!([{"taskId": task_id(id), "variantId": VARIANT}])
        } else {
            json!([])
        };
        ok(&json!({"instanceId": instance_id(id), "status": phase.status(), "tasks": tasks}))
    })
}

fn list_schemas(
    sandbox: &SandboxContext,
    fields: &CallFields,
) -> Result<SandboxResponse, ApiError> {
    with_journey(sandbox, fields, INSTANCE_PREFIX, |id, journey| {
        let phase = journey.poll();
        let tasks = if phase == Phase::Collecting {
            json!([{"taskId": task_id(id), "schema": {"$ref": format!("#/schemas/{VARIANT}")}}])
        } else {
            json!([])
        };
        let body =
            json!({"status": phase.status(), "tasks": tasks, "schemas": {VARIANT: task_schema()}});
        json(StatusCode::CREATED, &body)
    })
}

fn update_task(sandbox: &SandboxContext, fields: &CallFields) -> Result<SandboxResponse, ApiError> {
    let task = fields.required("taskId")?;
    // Older documentation writes COMPLETE.
    let complete = match fields.required("intent")?.to_ascii_lowercase().as_str() {
        "complete" => true,
        "save" | "validate" => false,
        _ => return Err(ApiError::Field("intent", "Save, Complete or Validate")),
    };
    with_journey(sandbox, fields, INSTANCE_PREFIX, |id, journey| {
        if task != task_id(id) || (complete && journey.submit(true, true).is_err()) {
            return Err(ApiError::NotFound("task"));
        }
        Ok(ok(&json!({"instanceId": instance_id(id), "taskId": task})))
    })?
}

fn fetch_state(sandbox: &SandboxContext, fields: &CallFields) -> Result<SandboxResponse, ApiError> {
    with_journey(sandbox, fields, INSTANCE_PREFIX, |id, journey| {
        let phase = journey.poll();
        let mut body = json!({
            "instanceId": instance_id(id),
            "status": phase.status(),
            "metaData": {"createdTime": journey.started()},
        });
        if let Some(ended) = journey.ended() {
            body["metaData"]["completedTime"] = json!(ended);
        }
        if fields.has("/filterKeys") {
            let flow = if phase == Phase::Completed {
                json!({VARIANT: {"result": {"status": "completed", "outcome": "Match: 1+1"}}})
            } else {
                json!({})
            };
            body["data"] = json!({"context": {"process": {"flow": flow}}});
        }
        ok(&body)
    })
}

fn instance_id(journey_id: &str) -> String {
    format!("{INSTANCE_PREFIX}{journey_id}")
}
