//! Journeys as calls name them: by the id of an instance or of its only task.

use http::StatusCode;
use serde_json::Value;

use super::api_call::CallFields;
use super::api_error::ApiError;
use super::journey::Journey;
use super::response::{SandboxResponse, json};
use super::state::SandboxContext;

const TASK_PREFIX: &str = "Tk";

/// The id of the only task of a journey.
pub(super) fn task_id(journey_id: &str) -> String {
    format!("{TASK_PREFIX}{journey_id}")
}

/// Calls `act` with the journey that `instanceId` names, by `prefix` and the journey's id.
pub(super) fn with_journey<T>(
    sandbox: &SandboxContext,
    fields: &CallFields,
    prefix: &str,
    act: impl FnOnce(&str, &mut Journey) -> T,
) -> Result<T, ApiError> {
    let instance = fields.required("instanceId")?;
    let id = instance.strip_prefix(prefix).unwrap_or_default();
    let mut state = sandbox.state();
    let journey = state.journeys.find(id);
    Ok(act(id, journey.ok_or(ApiError::NotFound("instance"))?))
}

/// Checks that the task exists.
pub(super) fn require_task(sandbox: &SandboxContext, task: &str) -> Result<(), ApiError> {
    let id = task.strip_prefix(TASK_PREFIX).unwrap_or_default();
    let mut state = sandbox.state();
    let journey = state.journeys.find(id);
    journey.map(|_| ()).ok_or(ApiError::NotFound("task"))
}

pub(super) fn ok(body: &Value) -> SandboxResponse {
    json(StatusCode::OK, body)
}
