//! API v1: a journey starts synchronously, and asks for tasks.

use serde_json::json;

use super::api_call::{ApiCall, CallFields};
use super::api_error::ApiError;
use super::journey::Phase;
use super::response::{SandboxResponse, ok};
use super::tasks::V1_VARIANT;

/// Serves one call below `/captain/api/`.
pub(super) async fn respond(call: &mut ApiCall<'_>) -> Result<SandboxResponse, ApiError> {
    match call.path {
        "journey/start" => {
            let fields = call.post().await?;
            start(call, &fields).await
        }
        "journey/state/fetch" => {
            let fields = call.post().await?;
            fetch_state(call, &fields)
        }
        _ => Err(ApiError::NotFound("path")),
    }
}

async fn start(call: &ApiCall<'_>, fields: &CallFields) -> Result<SandboxResponse, ApiError> {
    let resource_id = fields.required("resourceId")?;
    let phase = if fields.get("/context/config/async") == true {
        Phase::Preparing
    } else {
        tokio::time::sleep(call.sandbox.options.v1_start_time).await;
        Phase::Collecting
    };
    let mut state = call.sandbox.state();
    let id = state.journeys.start(resource_id, phase, None);
    Ok(ok(&json!({"instanceId": call.instance_id(&id)})))
}

fn fetch_state(call: &ApiCall<'_>, fields: &CallFields) -> Result<SandboxResponse, ApiError> {
    let instance = fields.required("instanceId")?;
    call.with_journey(instance, |journey| {
        let phase = journey.poll();
        let mut body = json!({
            "instanceId": instance,
            "status": phase.status(),
            "metaData": {"createdTime": journey.started()},
        });
        if let Some(ended) = journey.ended() {
            body["metaData"]["completedTime"] = json!(ended);
        }
        if fields.has("/filterKeys") {
            let flow = if phase == Phase::Completed {
                json!({V1_VARIANT: {"result": {"status": "completed", "outcome": "Match: 1+1"}}})
            } else {
                json!({})
            };
            body["data"] = json!({"context": {"process": {"flow": flow}}});
        }
        ok(&body)
    })
}
