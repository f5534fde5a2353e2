//! JSON Schemas of the data that a journey collects.

use serde_json::{Value, json};

use super::api_call::{ApiCall, CallFields};
use super::api_error::ApiError;
use super::interactions::INTERACTION;
use super::journey::split_resource_id;
use super::response::{SandboxResponse, ok};

/// The schema of a journey's only task, and of its only interaction.
pub(super) fn task_schema() -> Value {
    json!({
        "$schema": "http://json-schema.org/draft-07/schema#",
        "$id": "sandbox/identity",
        "type": "object",
        "properties": {"context": {"type": "object", "properties": {"subject": {
            "type": "object",
            "properties": {"identity": {"type": "object", "properties": {
                "firstName": {"type": "string"},
                "lastNames": {"type": "array", "items": {"type": "string"}},
                "dateOfBirth": {"type": "string", "format": "date"},
            }}},
        }}}},
    })
}

/// Returns the schema of a task.
pub(super) fn of_task(
    call: &ApiCall<'_>,
    fields: &CallFields,
) -> Result<SandboxResponse, ApiError> {
    let task = fields.required("taskId")?;
    if call.sandbox.state().journeys.has_task(task) {
        Ok(ok(&task_schema()))
    } else {
        Err(ApiError::NotFound("task"))
    }
}

/// Returns the schemas of a design, of which the sandbox has one for every resource id.
pub(super) fn of_design(fields: &CallFields) -> Result<SandboxResponse, ApiError> {
    let (design, version) = split_resource_id(fields.required("resourceId")?);
    let interaction = fields.get("/interactionId");
    if !interaction.is_null() && interaction != INTERACTION {
        return Err(ApiError::Unprocessable(
            "interactionId: the journey has no such interaction",
        ));
    }
    let mut schema = json!({"interactionId": INTERACTION, "schema": task_schema()});
    if let Some(instruction) = fields.get("/instruction").as_str() {
        schema["instruction"] = json!(instruction);
    }
    Ok(ok(&json!({
        "deliveryId": design, "resolvedVersion": version, "schemas": [schema],
    })))
}

/// Returns the schema of the interaction of an instance. GBG does not document this call.
pub(super) fn of_interaction(
    call: &ApiCall<'_>,
    fields: &CallFields,
) -> Result<SandboxResponse, ApiError> {
    call.with_journey(fields.required("instanceId")?, |_| ok(&task_schema()))
}
