//! Calls below `sandbox/journeys/`, which store scenarios. GBG also has scenarios of its own
//! platform; this sandbox has none, so `includePlatform` changes nothing.

use std::time::SystemTime;

use bytes::Bytes;
use http::{Method, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use serde_json::{Value, json};

use super::api_call::{ApiCall, CallFields};
use super::api_error::ApiError;
use super::response::{SandboxResponse, json, ok};
use super::scenario::Scenario;

/// Lists or creates scenarios of a design.
pub(super) async fn collection(call: &mut ApiCall<'_>) -> Result<SandboxResponse, ApiError> {
    call.authorize("GET, POST")?;
    let design = design(call)?;
    if call.method == Method::GET {
        return Ok(list(call, design));
    }
    let fields = call.fields().await?;
    let name = fields.required("name")?;
    if !is_name(name, 64) {
        return Err(ApiError::Field("name", "1 to 64 letters, digits, _ or -"));
    }
    let scenario = Scenario::parse(data(&fields)?)?;
    let mut state = call.sandbox.state();
    state.scenarios.create(design, name, scenario)?;
    Ok(json(StatusCode::CREATED, &written(design, name)))
}

/// Reads, replaces or deletes one scenario.
pub(super) async fn one(call: &mut ApiCall<'_>) -> Result<SandboxResponse, ApiError> {
    call.authorize("GET, PUT, DELETE")?;
    let design = design(call)?;
    let name = call.segment(4);
    match *call.method {
        Method::GET => {
            let state = call.sandbox.state();
            let stored = state.scenarios.find(design, name)?;
            let mut body = written(design, name);
            body["data"] = stored.scenario.data();
            body["lastModifiedTime"] = timestamp(stored.saved);
            Ok(ok(&body))
        }
        Method::PUT => {
            let fields = call.fields().await?;
            let scenario = Scenario::parse(data(&fields)?)?;
            let mut state = call.sandbox.state();
            state.scenarios.replace(design, name, scenario)?;
            Ok(ok(&written(design, name)))
        }
        _ => {
            call.sandbox.state().scenarios.delete(design, name)?;
            let empty = Full::<Bytes>::default().map_err(|never| match never {});
            let mut response = Response::new(empty.boxed_unsync());
            *response.status_mut() = StatusCode::NO_CONTENT;
            Ok(response)
        }
    }
}

fn list(call: &ApiCall<'_>, design: &str) -> SandboxResponse {
    let state = call.sandbox.state();
    let summaries = state.scenarios.list(design).map(|(name, stored)| {
        let mut summary = json!({
            "name": name, "tier": "org", "editable": true, "lastModifiedTime": timestamp(stored.saved),
        });
        if let Value::String(description) = &stored.scenario.data()["description"] {
            summary["description"] = json!(description);
        }
        summary
    });
    ok(&summaries.collect())
}

/// Returns the id of the design in the path.
fn design<'a>(call: &ApiCall<'a>) -> Result<&'a str, ApiError> {
    let design = call.segment(2);
    if is_name(design, 128) {
        Ok(design)
    } else {
        Err(ApiError::Field(
            "journeyId",
            "1 to 128 letters, digits, _ or -",
        ))
    }
}

fn data(fields: &CallFields) -> Result<&Value, ApiError> {
    match fields.get("/data") {
        Value::Null => Err(ApiError::Field("data", "object")),
        data => Ok(data),
    }
}

fn written(design: &str, name: &str) -> Value {
    json!({"name": name, "journeyId": design, "tier": "org"})
}

fn is_name(text: &str, max_chars: usize) -> bool {
    let is_safe = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-');
    (1..=max_chars).contains(&text.len()) && text.bytes().all(is_safe)
}

fn timestamp(time: SystemTime) -> Value {
    json!(humantime::format_rfc3339_millis(time).to_string())
}
