//! Interactions of API v2: the data that a journey asks an end user for.

use serde_json::{Value, json};

use super::api_call::{ApiCall, CallFields};
use super::api_error::ApiError;
use super::journey::{Journey, Phase, SubmitError};
use super::random;
use super::response::{SandboxResponse, ok};

/// The only interaction of a journey.
pub(super) const INTERACTION: &str = "grn:::gbg:design:interaction:sandbox@latest";

/// The participant of the interaction, named in its `outstanding` and a submission's
/// `participants`.
const PARTICIPANT: &str = "grn:::gbg:design:domainelement:sandbox-identity@latest";

/// The elements that the interaction collects as files. The form of their ids is invented.
const PRIMARY_DOCUMENT: &str = "grn:::gbg:design:domainelement:PrimaryDocument@latest";
const SELFIE: &str = "grn:::gbg:design:domainelement:Selfie@latest";

/// The names of the elements that GBG takes as files.
const UPLOADABLE: [&str; 3] = ["EncryptedSelfie", "PrimaryDocument", "Selfie"];

/// GBG's limit is not published; the code of integrators limits files to 10 MB.
pub(super) const MAX_UPLOAD_BYTES: u64 = 10 << 20;

pub(super) fn fetch(call: &ApiCall<'_>, fields: &CallFields) -> Result<SandboxResponse, ApiError> {
    let instance = fields.required("instanceId")?;
    call.with_journey(instance, |journey| ok(&interaction_json(instance, journey)))
}

fn interaction_json(instance: &str, journey: &mut Journey) -> Value {
    let phase = journey.poll();
    let mut body = json!({
        "instanceId": instance,
        "journey": {"status": phase.status()},
        "outstanding": [],
        "instructions": [],
        "joinedDevice": {"connected": journey.has_joined_device()},
    });
    match phase {
        Phase::Preparing | Phase::Checking => body["processing"] = json!(true),
        Phase::Collecting => {
            body["interactionId"] = json!(INTERACTION);
            body["interaction"] = interaction();
            body["outstanding"] = json!([PARTICIPANT]);
        }
        Phase::Completed | Phase::Failed => {
            body["interactionId"] = json!("grn:::gbg:design:interaction:end@latest");
        }
    }
    body
}

fn interaction() -> Value {
    json!({
        "grId": INTERACTION,
        "resource": {
            "id": "sandbox", "name": "Who are you?", "version": "latest", "type": "interaction",
            "data": {"pages": [{"id": "page-1", "label": "Identity", "cards": [{"id": "identity"}]}]},
        },
        "collects": [
            {"ref": PARTICIPANT, "spec": "required"},
            {"ref": PRIMARY_DOCUMENT, "spec": "optional"},
            {"ref": SELFIE, "spec": "optional"},
        ],
        "consumes": [],
    })
}

pub(super) fn submit(call: &ApiCall<'_>, fields: &CallFields) -> Result<SandboxResponse, ApiError> {
    let instance = fields.required("instanceId")?;
    fields.required("interactionId")?;
    let (participants, data) = (fields.has("/participants"), fields.has("/context/subject"));
    let submitted =
        call.with_limited_journey(instance, |journey| journey.submit(participants, data));
    match submitted {
        Ok(Ok(())) => Ok(ok(&json!({"status": "success"}))),
        Ok(Err(SubmitError::NoData)) => Err(ApiError::Field("context.subject", "object")),
        Ok(Err(SubmitError::InteractionOver)) => Err(ApiError::Outdated(
            "interactionId",
            "the interaction is over",
        )),
        // GBG declares no 404 for this call.
        Ok(Err(SubmitError::Ended)) | Err(ApiError::NotFound(_)) => Err(ApiError::NotActive),
        Err(error) => Err(error),
    }
}

/// Reads a file and drops it.
pub(super) async fn upload(call: &mut ApiCall<'_>) -> Result<SandboxResponse, ApiError> {
    call.authorize("POST")?;
    let required = |name| call.header(name).ok_or(ApiError::Header(name));
    let instance = required("X-Instance-Id")?;
    let interaction = required("X-Interaction-Id")?;
    let element = required("X-Domain-Element-Id")?;
    if !UPLOADABLE.contains(&element_name(element)) {
        return Err(ApiError::Unprocessable(
            "X-Domain-Element-Id: the element takes no file; submit its data instead",
        ));
    }
    let is_collected = interaction == INTERACTION && [PRIMARY_DOCUMENT, SELFIE].contains(&element);
    let phase = call.with_limited_journey(instance, |journey| journey.phase());
    match phase {
        Ok(Phase::Collecting) if is_collected => {}
        // GBG declares no 404 for this call.
        Ok(_) | Err(ApiError::NotFound(_)) => {
            return Err(ApiError::Conflict("The element is not being collected"));
        }
        Err(error) => return Err(error),
    }
    while call.body.chunk().await?.is_some() {
        if call.body.bytes() > MAX_UPLOAD_BYTES {
            return Err(ApiError::Unprocessable("The file is larger than 10 MiB"));
        }
    }
    Ok(ok(&json!({
        "domainElementId": element,
        "gofsKey": format!("sandbox/{}", random::text(32)),
    })))
}

/// The name in the id of an element: `grn:::gbg:design:domainelement:{name}@{version}`.
fn element_name(id: &str) -> &str {
    let name = id.rsplit(':').next().unwrap_or(id);
    name.split('@').next().unwrap_or(name)
}
