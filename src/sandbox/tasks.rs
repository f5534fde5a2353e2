//! Tasks of a journey, which both API versions list and update, with small differences.

use http::StatusCode;
use serde_json::{Value, json};

use super::api_call::{ApiCall, CallFields};
use super::api_error::ApiError;
use super::journey::{Journey, Phase};
use super::response::{SandboxResponse, json, ok};
use super::schemas::task_schema;
use crate::gbg::ApiVersion;

/// The variant of the journey's only task in v1, which lists the task's results under it.
pub(super) const V1_VARIANT: &str = "sandbox-identity";

pub(super) fn list(call: &ApiCall<'_>, fields: &CallFields) -> Result<SandboxResponse, ApiError> {
    let instance = fields.required("instanceId")?;
    call.with_journey(instance, |journey| {
        let mut task = json!({"taskId": journey.task_id()});
        if call.version == ApiVersion::V1 {
            task["variantId"] = json!(V1_VARIANT);
        }
        let (phase, tasks) = poll(journey, task);
        ok(&json!({"instanceId": instance, "status": phase.status(), "tasks": tasks}))
    })
}

pub(super) fn list_schemas(
    call: &ApiCall<'_>,
    fields: &CallFields,
) -> Result<SandboxResponse, ApiError> {
    let (status, name) = match call.version {
        ApiVersion::V1 => (StatusCode::CREATED, V1_VARIANT),
        ApiVersion::V2 => (StatusCode::OK, "identity"),
    };
    call.with_journey(fields.required("instanceId")?, |journey| {
        let schema = json!({"$ref": format!("#/schemas/{name}")});
        let task = json!({"taskId": journey.task_id(), "schema": schema});
        let (phase, tasks) = poll(journey, task);
        let mut body = json!({"tasks": tasks, "schemas": {name: task_schema()}});
        if call.version == ApiVersion::V1 {
            body["status"] = json!(phase.status());
        }
        json(status, &body)
    })
}

/// Polls `journey`, and returns its phase and open tasks, of which `task` is the only one.
fn poll(journey: &mut Journey, task: Value) -> (Phase, Vec<Value>) {
    let phase = journey.poll();
    let is_open = phase == Phase::Collecting;
    (phase, is_open.then_some(task).into_iter().collect())
}

pub(super) fn update(call: &ApiCall<'_>, fields: &CallFields) -> Result<SandboxResponse, ApiError> {
    let task = fields.required("taskId")?;
    let intent = fields.required("intent")?;
    let is = |name: &str| match call.version {
        // Older documentation writes COMPLETE.
        ApiVersion::V1 => intent.eq_ignore_ascii_case(name),
        ApiVersion::V2 => intent == name,
    };
    let completes = is("Complete");
    if !completes && !is("Save") && !is("Validate") {
        return Err(ApiError::Field("intent", "Save, Complete or Validate"));
    }
    let instance = fields.required("instanceId")?;
    call.with_journey(instance, |journey| {
        if task != journey.task_id() || (completes && journey.submit(true, true).is_err()) {
            return Err(ApiError::NotFound("task"));
        }
        Ok(ok(&json!({"instanceId": instance, "taskId": task})))
    })?
}
